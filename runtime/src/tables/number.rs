//! Numeric keys: reading them from rows, hashing them, and whether they take few enough values to address a table directly.

use stagefuse_ir::Repr;
use stagefuse_ir::abi::{HASH_NULL, HASH_SEED, hash_word};
use stagefuse_ir::layout::{Field, RowLayout};

/// A range of numbers: the first, and how many.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) range: u64,
}

impl Span {
    /// The numbers from `least` to `greatest`; `None` where there is none, or where they are more than can be counted.
    pub(crate) fn of(least: i64, greatest: i64) -> Option<Self> {
        let range = greatest.checked_sub(least)?.checked_add(1)?;
        (range > 0).then_some(Span { first: least, range: range as u64 })
    }

    /// Whether a table of `rows` rows may have an element for each of these numbers: at most `per_row` elements of 4 bytes a row, which is about what
    /// slots of a hash table take.
    pub(crate) fn is_dense(self, rows: usize, per_row: u64) -> bool {
        self.range <= (rows as u64).saturating_mul(per_row).max(SMALL)
    }

    /// The place of a number, if it is in range.
    #[inline(always)]
    pub(crate) fn place(self, number: i64) -> Option<usize> {
        let at = number.wrapping_sub(self.first) as u64;
        (at < self.range).then_some(at as usize)
    }
}

/// A range that always is small enough: its elements fit the first-level cache.
const SMALL: u64 = 4096;

/// Reads the numeric key of a row; `None` where it is null.
///
/// # Safety
/// `entry` is a row of this layout, which is numeric.
#[inline(always)]
pub(crate) unsafe fn key_of(layout: &RowLayout, entry: *const u8) -> Option<i64> {
    let Field { ty, offset, valid } = layout.fields[0];
    // SAFETY: the caller's promise; fields lie within the row.
    unsafe {
        if valid.is_some_and(|valid| *entry.add(valid as usize) == 0) {
            return None;
        }
        let at = entry.add(offset as usize);
        Some(match ty.repr {
            Repr::I8 => i64::from(at.cast::<i8>().read()),
            Repr::I16 => i64::from(at.cast::<i16>().read_unaligned()),
            Repr::I32 => i64::from(at.cast::<i32>().read_unaligned()),
            _ => at.cast::<i64>().read_unaligned(),
        })
    }
}

/// The hash of a numeric key, of which the bits of a mask count.
#[inline(always)]
pub(crate) fn hash_of(key: Option<i64>, mask: u64) -> u64 {
    hash_word(HASH_SEED, key.map_or(HASH_NULL, |key| key as u64), 0) & mask
}

/// The hash of a row's keys, of which the bits of a mask count.
///
/// # Safety
/// `entry` is a row of this layout.
#[inline(always)]
pub(crate) unsafe fn row_hash(layout: &RowLayout, entry: *const u8, mask: u64) -> u64 {
    match layout.hash {
        // SAFETY: the caller's promise.
        Some(offset) => unsafe { entry.add(offset as usize).cast::<u64>().read() },
        // SAFETY: a layout without hash is numeric.
        None => hash_of(unsafe { key_of(layout, entry) }, mask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_far_numbers_are_none() {
        assert_eq!(Span::of(3, 7), Some(Span { first: 3, range: 5 }));
        assert_eq!(Span::of(i64::MAX, i64::MIN), None, "nothing was noted");
        assert_eq!(Span::of(i64::MIN, 0), None);
        assert_eq!(Span::of(i64::MIN, -2), Some(Span { first: i64::MIN, range: i64::MAX as u64 }));
        let span = Span::of(-2, 2).unwrap();
        assert_eq!([-3, -2, 2, 3, i64::MAX, i64::MIN].map(|number| span.place(number)), [None, Some(0), Some(4), None, None, None]);
        assert!(Span::of(0, 4_000).unwrap().is_dense(0, 8) && !Span::of(0, 8_000).unwrap().is_dense(999, 8));
    }
}
