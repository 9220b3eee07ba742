//! Directories in the order of keys: slots of a join table that numbers find by where they lie in their range, and no hash.
//!
//! Rows often come in the order of a key, or nearly: those of a fact table that is clustered by it, those that were built from one. Hashes scatter them, so that each look-up waits for memory
//! once the directory exceeds the cache; in the order of keys one slot lies next to the other, and so do the entries. Where keys come in no order it makes no
//! difference, as long as they are spread over their range about evenly. That is looked at in a sample.

use stagefuse_ir::layout::RowLayout;

use super::number::{Span, key_of};
use super::rows::BuildRows;

/// Rows next to each other in the sample.
const BLOCK: usize = 16;
/// Most entries of a chain, on average, that hold other keys.
const LONGEST: f64 = 5.0;

/// By how many bits the directory of a range of keys is turned ([`stagefuse_ir::abi::order_word`]), where it shall be in their order. `slots`: a power of two, about twice the
/// rows or more.
pub(super) fn turn(rows: &[BuildRows], layout: &RowLayout, span: Span, slots: usize) -> Option<u32> {
    let total: usize = rows.iter().map(BuildRows::rows).sum();
    let bits = u64::BITS - (span.range - 1).leading_zeros();
    let turn = bits.checked_sub(slots.trailing_zeros()).filter(|turn| (1..u64::BITS).contains(turn))?;
    // Of rows in no order each shares its slot with as many others as pairs of the sample do among all pairs; of rows in order, with some of its block.
    let blocks = ((total as f64).sqrt() as usize / 2).max(1);
    let mut keys: Vec<(u64, usize)> = vec![];
    for block in 0..blocks {
        let mut first = total * block / blocks;
        let Some(buffer) = rows.iter().find(|buffer| {
            let is_here = first < buffer.rows();
            first -= if is_here { 0 } else { buffer.rows() };
            is_here
        }) else {
            continue;
        };
        for row in first..buffer.rows().min(first + BLOCK) {
            // SAFETY: the row is one of this layout, which is numeric.
            let place = unsafe { key_of(layout, buffer.row(row)) }.and_then(|key| span.place(key));
            keys.extend(place.map(|place| (place as u64, block)));
        }
    }
    keys.sort_unstable();
    let (mut near, mut far) = (0.0, 0.0);
    let (mut others, mut of_blocks): (Vec<(u64, usize)>, Vec<usize>) = (vec![], vec![]);
    // Most have a slot to themselves.
    for slot in keys.chunk_by(|a, b| a.0 >> turn == b.0 >> turn).filter(|slot| slot.len() > 1) {
        // Equal keys share a chain in any directory.
        others.clear();
        others.extend_from_slice(slot);
        others.dedup_by_key(|(place, _)| *place);
        let pairs = |count: usize| (count * count.saturating_sub(1)) as f64;
        of_blocks.clear();
        of_blocks.extend(others.iter().map(|(_, block)| *block));
        of_blocks.sort_unstable();
        let within: f64 = of_blocks.chunk_by(|a, b| a == b).map(|block| pairs(block.len())).sum();
        near += within;
        far += pairs(others.len()) - within;
    }
    let sampled = keys.len() as f64;
    let even = near <= sampled * LONGEST && far * total as f64 <= sampled * sampled * LONGEST;
    even.then_some(turn)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stagefuse_ir::abi::order_word;
    use stagefuse_ir::{JoinDecl, SqlType, Type};

    use super::*;
    use crate::config::Unlimited;
    use crate::memory::Memory;

    /// Two workers' rows with these keys, of which each has a half.
    fn build(keys: &[i64]) -> (Vec<BuildRows>, RowLayout) {
        let memory = Memory::new(Arc::new(Unlimited));
        let decl = JoinDecl { keys: vec![Type::new(SqlType::Int64, false)], payload: vec![], null_equal: false, tracked: false };
        let layout = RowLayout::join(&decl);
        let rows = keys.chunks(keys.len().div_ceil(2)).map(|keys| {
            let mut rows = BuildRows::new(layout.stride);
            for key in keys {
                let row = rows.append(&memory).unwrap();
                // SAFETY: the key lies within the row.
                unsafe { row.add(layout.fields[0].offset as usize).cast::<i64>().write(*key) }
            }
            rows
        });
        (rows.collect(), layout)
    }

    #[test]
    fn a_directory_is_in_the_order_of_keys_that_are_spread_evenly() {
        type Keys = fn(i64) -> i64;
        let random = |row: i64| row.wrapping_mul(0x5851_F42D_4C95_7F2D).unsigned_abs() as i64;
        let cases: [(&str, Keys, bool); 8] = [
            ("ascending", |row| row * 40 - 7_000_000, true),
            // Eight of 32 numbers, as TPC-H numbers its orders, of which one in ten has come.
            ("ascending in groups", |row| (row * 10 / 8 * 32 + row * 10 % 8) * 4, true),
            ("in no order", |row| row * 7919 % 100_003 * 64, true),
            ("each key ten times", |row| row / 10 * 640, true),
            ("up to both ends", |row| if row % 2 == 0 { row * 1000 } else { i64::MAX - row * 1000 }, false),
            ("in heaps", |row| row / 100 * 1_000_000 + row % 100, false),
            ("in heaps, in no order", |row| (row * 7919 % 100_003) / 100 * 1_000_000 + row % 100, false),
            ("one far away", |row| if row == 5 { 1 << 40 } else { row }, false),
        ];
        for (name, key_of_row, ordered) in cases {
            let mut keys: Vec<i64> = (0..100_000).map(key_of_row).collect();
            let (rows, layout) = build(&keys);
            keys.sort_unstable();
            let span = Span::of(keys[0], keys[keys.len() - 1]).unwrap();
            let slots = (keys.len() * 2).next_power_of_two();
            let turn = turn(&rows, &layout, span, slots);
            assert_eq!(turn.is_some(), ordered, "{name}");
            let Some(turn) = turn else { continue };
            // Every slot has a place of its own, in the order of keys.
            let slot = |key: &i64| order_word(*key, span.first, u64::from(turn)) & (slots as u64 - 1);
            assert!(keys.iter().map(slot).is_sorted(), "{name}");
            assert!(slot(&keys[keys.len() - 1]) >= slots as u64 / 2, "{name}: half of the slots are used");
        }
        // All 64 bits.
        let (rows, layout) = build(&(0..5_000).map(random).collect::<Vec<_>>());
        let span = Span::of(0, i64::MAX - 1).unwrap();
        assert_eq!(turn(&rows, &layout, span, 1 << 14), Some(63 - 14));
    }
}
