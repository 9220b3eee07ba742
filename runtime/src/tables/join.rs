//! Join tables: the workers' rows, and what finds them: an array addressed by the key, or a directory of hashes (see [`JoinHead`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use stagefuse_ir::JoinDecl;
use stagefuse_ir::abi::{ENTRY_ROW_BITS, HASH_ALL, JoinHead, SLOT_ADDRESS, entry_number, join_tag, order_word};
use stagefuse_ir::layout::{JOIN_NEXT, RowLayout};

use super::number::{Span, key_of, row_hash};
use super::ordered;
use super::rows::BuildRows;
use super::zeros::Zeros;
use crate::builtins::prefetch::ask_for;
use crate::error::Error;
use crate::memory::Memory;

/// Most elements of a directly addressed table for each row: as many bytes as the slots and the entry's first line take that it saves.
const DIRECT_PER_ROW: u64 = 16;

/// Most bits of the bitmap for each row: no more bytes than the rows take.
const BITS_PER_ROW: u64 = 256;

/// Rows ahead of the one that is linked whose slots are asked for: a locked write lets nothing that comes after it begin, so that each would wait for memory by itself.
const ROWS_AHEAD: usize = 16;

/// Bits of a bitmap that costs next to nothing: few keys are most often a selection, too.
const SMALL_FILTER: u64 = 1024;

/// Parts of the directory that are cleared by whoever begins to finish the table.
const FEW_PARTS: usize = 3;

/// A join table whose rows are all there.
#[derive(Debug)]
pub(crate) struct JoinTable {
    pub(crate) head: JoinHead,
    directory: Zeros<AtomicU64>,
    direct: Zeros<AtomicU32>,
    /// Words of the bitmap; none where there is none.
    bits: Zeros<AtomicU64>,
    progress: Progress,
    _bases: Vec<u64>,
    rows: Vec<BuildRows>,
    /// Pieces of the rows: buffer, first row, number of rows.
    pieces: Vec<(usize, usize, usize)>,
    /// Offsets of validity bytes of keys that must not be null to match.
    null_keys: Vec<u32>,
    layout: RowLayout,
    hash_mask: u64,
}

/// How far a table is finished.
#[derive(Debug, Default)]
struct Progress {
    round: AtomicU8,
    /// Parts of the directory that somebody clears, or has.
    claimed: AtomicUsize,
    /// Those that are cleared.
    cleared: AtomicUsize,
}

// SAFETY: the head's addresses are those of vectors that the table owns.
unsafe impl Send for JoinTable {}
// SAFETY: linking goes through atomics; after it rows change only in their matched bytes, which any number of workers set to 1.
unsafe impl Sync for JoinTable {}

/// Rounds in which a table is finished.
mod round {
    /// It has not been begun.
    pub(super) const NONE: u8 = 0;
    /// The directory is cleared.
    pub(super) const CLEAR: u8 = 1;
    /// Rows are linked.
    pub(super) const LINK: u8 = 2;
    /// All is done.
    pub(super) const END: u8 = 3;
}

/// A join table of a run: there once its build side is done.
pub(crate) type SharedJoin = OnceLock<Box<JoinTable>>;

impl JoinTable {
    pub(crate) fn new(decl: &JoinDecl, layout: &RowLayout, rows: Vec<BuildRows>, memory: &Memory) -> Result<Self, Error> {
        let total: usize = rows.iter().map(BuildRows::rows).sum();
        let span = if layout.numeric { direct_span(&rows, total) } else { None };
        let slots = if span.is_some() { 1 } else { (total * 2).next_power_of_two().max(16) };
        let elements = span.map_or(0, |span| span.range as usize);
        let filter = if layout.numeric { filter_span(&rows, total) } else { None };
        let words = filter.map_or(0, |filter| filter.range.div_ceil(64) as usize);
        memory.grow(slots * 8 + elements * 4 + words * 8)?;
        let part_bytes = memory.sizes.clear_bytes;
        let directory = Zeros::<AtomicU64>::new(slots, part_bytes);
        let direct = Zeros::<AtomicU32>::new(elements, part_bytes);
        let bits = Zeros::<AtomicU64>::new(words, part_bytes);
        let bases: Vec<u64> = rows.iter().map(|rows| rows.head.base as u64).collect();
        let none = Span { first: 0, range: 0 };
        let ordered = if span.is_none() && layout.numeric { ordered_span(&rows, layout, slots, total, memory) } else { None };
        let Span { first, range } = span.unwrap_or(ordered.map_or(none, |(span, _)| Span { range: 0, ..span }));
        let filter = filter.unwrap_or(none);
        let head = JoinHead {
            directory: directory.as_ptr().cast(),
            mask: slots as u64 - 1,
            direct: direct.as_ptr().cast(),
            first,
            range,
            bases: bases.as_ptr(),
            bits: if words == 0 { std::ptr::null() } else { bits.as_ptr().cast() },
            bits_first: filter.first,
            bits_range: filter.range,
            bytes: (slots * 8 + elements * 4 + total * layout.stride as usize) as u64,
            turn: ordered.map_or(0, |(_, turn)| u64::from(turn)),
        };
        let mut pieces = vec![];
        for (buffer, rows) in rows.iter().enumerate() {
            for first in (0..rows.rows()).step_by(memory.sizes.part_rows) {
                pieces.push((buffer, first, memory.sizes.part_rows.min(rows.rows() - first)));
            }
        }
        let keys = if decl.null_equal { &[] } else { &layout.fields[..layout.keys] };
        let null_keys = keys.iter().filter_map(|field| field.valid).collect();
        let (layout, hash_mask) = (layout.clone(), memory.sizes.hash_mask);
        let progress = Progress::default();
        Ok(JoinTable { head, directory, direct, bits, progress, _bases: bases, rows, pieces, null_keys, layout, hash_mask })
    }

    /// Begins the next round of finishing the table, when all parts of the one before are done: how many parts it has, to be done by [`JoinTable::finish`], at
    /// the same time or not. One without parts is the last.
    pub(crate) fn round(&self) -> Result<usize, Error> {
        let clears = self.clear_parts();
        let is_small = clears <= FEW_PARTS;
        if is_small {
            // Others would come too late to help.
            (0..clears).for_each(|_| self.clear());
        }
        let next = match self.progress.round.load(Ordering::Acquire) {
            round::NONE if !is_small => round::CLEAR,
            round::NONE | round::CLEAR => round::LINK,
            _ => round::END,
        };
        if next == round::LINK && !self.is_cleared() {
            return Err(Error::Internal("a join table is linked before it is cleared".into()));
        }
        self.progress.round.store(next, Ordering::Release);
        Ok(match next {
            round::CLEAR => clears,
            round::LINK => self.parts(),
            _ => 0,
        })
    }

    /// Does a part of the round.
    pub(crate) fn finish(&self, part: usize) {
        match self.progress.round.load(Ordering::Acquire) {
            round::CLEAR => self.clear(),
            round::LINK => self.link(part),
            _ => {}
        }
    }

    /// Whether it can be probed: rows that are not linked are not found then.
    pub(crate) fn is_cleared(&self) -> bool {
        self.progress.cleared.load(Ordering::Acquire) >= self.clear_parts()
    }

    fn clear_parts(&self) -> usize {
        self.directory.parts() + self.direct.parts() + self.bits.parts()
    }

    /// Clears the next part of the directory and the bitmap, if any is left.
    fn clear(&self) {
        let part = self.progress.claimed.fetch_add(1, Ordering::Relaxed);
        let (of_directory, of_direct) = (self.directory.parts(), self.direct.parts());
        // SAFETY: every number comes once, so that no other thread has this part; rows are linked only when all parts have been cleared.
        unsafe {
            if part < of_directory {
                self.directory.clear(part);
            } else if part < of_directory + of_direct {
                self.direct.clear(part - of_directory);
            } else if part < self.clear_parts() {
                self.bits.clear(part - of_directory - of_direct);
            } else {
                return;
            }
        }
        self.progress.cleared.fetch_add(1, Ordering::Release);
    }

    /// Number of parts that linking has.
    pub(crate) fn parts(&self) -> usize {
        self.pieces.len()
    }

    /// Address and number of the rows of a part.
    pub(crate) fn part(&self, part: usize) -> (*mut u8, usize) {
        let (buffer, first, rows) = self.pieces[part];
        (self.rows[buffer].row(first), rows)
    }

    /// Links the rows of a part, once the directory is cleared. Parts may be linked at the same time.
    fn link(&self, part: usize) {
        if self.head.range > 0 {
            self.link_direct(part)
        } else {
            self.link_hashed(part)
        }
        if self.head.bits_range > 0 {
            self.set_bits(part);
        }
    }

    fn set_bits(&self, part: usize) {
        let (base, rows) = self.part(part);
        let span = Span { first: self.head.bits_first, range: self.head.bits_range };
        for row in 0..rows {
            // SAFETY: the row is one of the part's.
            let key = unsafe { key_of(&self.layout, base.add(row * self.layout.stride as usize)) };
            let Some(place) = key.and_then(|key| span.place(key)) else { continue };
            // Little-endian words: the bit of byte `place / 8` that generated code looks at.
            // SAFETY: linking comes after clearing.
            let (word, bit) = (unsafe { self.bits.get(place / 64) }, (1u64 << (place % 64)).to_le());
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    fn link_hashed(&self, part: usize) {
        let (base, rows) = self.part(part);
        let stride = self.layout.stride as usize;
        let slot_of = |row: usize| {
            // SAFETY: the row is one of the part's; linking comes after clearing.
            unsafe {
                let word = self.word(base.add(row * stride));
                (word, self.directory.get((word & self.head.mask) as usize))
            }
        };
        for row in 0..rows {
            if row + ROWS_AHEAD < rows {
                ask_for(slot_of(row + ROWS_AHEAD).1.as_ptr() as u64);
            }
            // SAFETY: the row is one of the part's; only this part writes its rows.
            unsafe {
                let entry = base.add(row * stride);
                if self.null_keys.iter().any(|valid| *entry.add(*valid as usize) == 0) {
                    continue;
                }
                let (word, slot) = slot_of(row);
                let mut old = slot.load(Ordering::Relaxed);
                loop {
                    entry.add(JOIN_NEXT as usize).cast::<u64>().write(old & SLOT_ADDRESS);
                    let new = entry as u64 | (old & !SLOT_ADDRESS) | join_tag(word);
                    match slot.compare_exchange_weak(old, new, Ordering::Release, Ordering::Relaxed) {
                        Ok(_) => break,
                        Err(now) => old = now,
                    }
                }
            }
        }
    }

    /// What finds the slot of a row: its hash, or where its key lies in their order.
    ///
    /// # Safety
    /// `entry` is a row of the table.
    unsafe fn word(&self, entry: *const u8) -> u64 {
        match self.head.turn {
            // SAFETY: the caller's promise.
            0 => unsafe { row_hash(&self.layout, entry, self.hash_mask) },
            // SAFETY: as above; the layout is numeric. A null key is not linked.
            turn => order_word(unsafe { key_of(&self.layout, entry) }.unwrap_or(self.head.first), self.head.first, turn),
        }
    }

    fn link_direct(&self, part: usize) {
        let (buffer, first, _) = self.pieces[part];
        let (base, rows) = self.part(part);
        let span = Span { first: self.head.first, range: self.head.range };
        let stride = self.layout.stride as usize;
        // SAFETY: as above.
        let place_of = |row: usize| unsafe { key_of(&self.layout, base.add(row * stride)) }.and_then(|key| span.place(key));
        for row in 0..rows {
            if row + ROWS_AHEAD < rows {
                ask_for(self.direct.as_ptr().wrapping_add(place_of(row + ROWS_AHEAD).unwrap_or(0)) as u64);
            }
            // SAFETY: as above; linking comes after clearing.
            unsafe {
                let entry = base.add(row * stride);
                let place = place_of(row);
                let (Some(place), Some(number)) = (place, entry_number(buffer, first + row)) else { continue };
                let next = match self.direct.get(place).swap(number, Ordering::Relaxed) {
                    0 => 0,
                    other => self.entry(other) as u64,
                };
                entry.add(JOIN_NEXT as usize).cast::<u64>().write(next);
            }
        }
    }

    /// The entry of this number.
    fn entry(&self, number: u32) -> *mut u8 {
        let number = number as usize - 1;
        self.rows[number >> ENTRY_ROW_BITS].row(number & ((1 << ENTRY_ROW_BITS) - 1))
    }
}

/// The range of the keys, where the table shall be addressed by them.
fn direct_span(rows: &[BuildRows], total: usize) -> Option<Span> {
    let least = rows.iter().map(|rows| rows.head.least).min()?;
    let greatest = rows.iter().map(|rows| rows.head.greatest).max()?;
    let numbered = rows.iter().enumerate().all(|(buffer, rows)| entry_number(buffer, rows.rows()).is_some());
    Span::of(least, greatest).filter(|span| numbered && span.is_dense(total, DIRECT_PER_ROW))
}

/// The range of the keys, and by how much the directory is turned, where it shall be in their order.
fn ordered_span(rows: &[BuildRows], layout: &RowLayout, slots: usize, total: usize, memory: &Memory) -> Option<(Span, u32)> {
    let least = rows.iter().map(|rows| rows.head.least).min()?;
    let greatest = rows.iter().map(|rows| rows.head.greatest).max()?;
    // Hashes of which few bits count are to collide.
    let span = Span::of(least, greatest).filter(|_| total >= memory.sizes.ordered_rows && memory.sizes.hash_mask == HASH_ALL)?;
    Some((span, ordered::turn(rows, layout, span, slots)?))
}

/// The range of the keys, where a bitmap of them shall stand ahead of the table: where it is not large, and may rule out much.
fn filter_span(rows: &[BuildRows], total: usize) -> Option<Span> {
    let least = rows.iter().map(|rows| rows.head.least).min()?;
    let greatest = rows.iter().map(|rows| rows.head.greatest).max()?;
    let span = Span::of(least, greatest)?;
    let selective = span.range >= total as u64 * 2 || span.range <= SMALL_FILTER;
    (selective && span.is_dense(total, BITS_PER_ROW)).then_some(span)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stagefuse_ir::abi::HASH_COLLIDING;
    use stagefuse_ir::{SqlType, Type};

    use super::*;
    use crate::config::{Sizes, Unlimited};
    use crate::tables::number::hash_of;

    /// Builds two workers' rows with key `number % distinct * spread`, null where the number is divisible by 10, and links them from two threads.
    fn build(rows: u64, distinct: u64, spread: u64, null_equal: bool, hash_mask: u64) -> (JoinTable, RowLayout) {
        let memory = Memory::with_sizes(Arc::new(Unlimited), Sizes { hash_mask, ..Sizes::default() });
        let decl = JoinDecl {
            keys: vec![Type::new(SqlType::Int64, true)],
            payload: vec![Type::new(SqlType::Int64, false)],
            null_equal,
            tracked: true,
        };
        let layout = RowLayout::join(&decl);
        let mut workers = vec![BuildRows::new(layout.stride), BuildRows::new(layout.stride)];
        for number in 0..rows {
            let row = workers[(number % 3 == 0) as usize].append(&memory).unwrap();
            // SAFETY: the row is `stride` bytes long, and offsets are those of its layout.
            unsafe {
                row.write_bytes(0, layout.stride as usize);
                let key = (number % distinct) * spread;
                if let Some(offset) = layout.hash {
                    row.add(offset as usize).cast::<u64>().write(hash_of((number % 10 != 0).then_some(key as i64), hash_mask));
                }
                row.add(layout.fields[0].offset as usize).cast::<u64>().write(key);
                row.add(layout.fields[1].offset as usize).cast::<u64>().write(number);
                row.add(layout.fields[0].valid.unwrap() as usize).write(u8::from(number % 10 != 0));
                if number % 10 != 0 {
                    let head = &mut workers[(number % 3 == 0) as usize].head;
                    head.least = head.least.min(key as i64);
                    head.greatest = head.greatest.max(key as i64);
                }
            }
        }
        let table = JoinTable::new(&decl, &layout, workers, &memory).unwrap();
        while let parts @ 1.. = table.round().unwrap() {
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    let table = &table;
                    scope.spawn(move || (0..parts).filter(|part| part % 2 == thread).for_each(|part| table.finish(part)));
                }
            });
        }
        (table, layout)
    }

    /// What stands in a slot of a finished table's directory.
    fn slot(table: &JoinTable, index: usize) -> u64 {
        // SAFETY: the table is finished.
        unsafe { table.directory.get(index) }.load(Ordering::Relaxed)
    }

    /// Numbers of the rows with a key, looked up as a probe does.
    fn chain(table: &JoinTable, layout: &RowLayout, key: u64) -> Vec<u64> {
        let span = Span { first: table.head.first, range: table.head.range };
        let hash = hash_of(Some(key as i64), table.hash_mask);
        let mut entry = match span.place(key as i64) {
            // SAFETY: the table is finished.
            Some(place) => match unsafe { table.direct.get(place) }.load(Ordering::Relaxed) {
                0 => std::ptr::null(),
                number => table.entry(number).cast_const(),
            },
            None => {
                let word = if table.head.turn > 0 { order_word(key as i64, table.head.first, table.head.turn) } else { hash };
                let slot = slot(table, (word & table.head.mask) as usize);
                if slot & join_tag(word) == 0 { std::ptr::null() } else { (slot & SLOT_ADDRESS) as *const u8 }
            }
        };
        let mut found = vec![];
        while !entry.is_null() {
            // SAFETY: chains hold addresses of the table's rows.
            unsafe {
                // Nulls that match nulls are hashed by themselves.
                let number = entry.add(layout.fields[1].offset as usize).cast::<u64>().read();
                if entry.add(layout.fields[0].offset as usize).cast::<u64>().read() == key && number % 10 != 0 {
                    found.push(number);
                }
                entry = entry.add(JOIN_NEXT as usize).cast::<*const u8>().read();
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn keys_that_collide_share_a_chain() {
        let (table, layout) = build(1000, 100, 1 << 40, false, HASH_COLLIDING);
        assert_eq!((0..table.directory.len()).filter(|index| slot(&table, *index) != 0).count(), 2);
        for key in 0..100 {
            let expected: Vec<u64> = (0..1000).filter(|number| number % 10 != 0 && number % 100 == key).collect();
            assert_eq!(chain(&table, &layout, key << 40), expected, "key {key}");
        }
    }

    #[test]
    fn every_row_is_in_the_chain_of_its_key() {
        let cases =
            [(0, 1, 1), (1, 1, 1), (300, 7, 1), (1000, 1000, 3), (1000, 1000, 1 << 40), (200_000, 150_000, 4), (200_000, 150_000, 1 << 30)];
        for (rows, distinct, spread) in cases {
            for null_equal in [false, true] {
                let (table, layout) = build(rows, distinct, spread, null_equal, HASH_ALL);
                let direct = !null_equal && rows > 1 && spread < 1 << 20;
                assert_eq!(table.head.range > 0, direct, "{rows} rows, spread {spread}");
                assert_eq!(table.head.turn > 0, !null_equal && rows == 200_000 && !direct, "{rows} rows, spread {spread}");
                assert!(direct || table.directory.len().is_power_of_two() && table.directory.len() as u64 >= rows * 2);
                let mut expected = vec![vec![]; distinct as usize];
                (0..rows).filter(|number| number % 10 != 0).for_each(|number| expected[(number % distinct) as usize].push(number));
                for key in 0..distinct {
                    assert_eq!(chain(&table, &layout, key * spread), expected[key as usize], "key {key} of {rows} rows");
                }
                // Rows that no probe finds are still there to be read.
                assert_eq!((0..table.parts()).map(|part| table.part(part).1 as u64).sum::<u64>(), rows);
            }
        }
    }
}
