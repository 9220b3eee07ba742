//! One worker's group table: entries next to each other, found by an array that a numeric key addresses, or by slots of hashes (see [`GroupsHead`]);
//! or spread (see [`super::spread`]), or loose (see [`super::loose`]).
//!
//! Which of the two is decided anew whenever the slots are full: keys that lie close together (years, the keys of a clustered table) get the
//! array, and rows that come in the order of their keys then walk through it in that order.

use arrow::array::ArrayRef;
use stagefuse_ir::abi::{GroupsHead, SLOT_ADDRESS};
use stagefuse_ir::layout::RowLayout;

use super::block::Block;
use super::calls::Calls;
use super::loose::Loose;
use super::number::{Span, key_of, row_hash};
use super::spread::Spread;
use crate::builtins::prefetch::ask_for;
use crate::error::Error;
use crate::memory::Memory;

/// Most elements of the array for each row, when it is made.
const DIRECT_PER_ROW: u64 = 16;
/// Groups from which on a table foresees how many there will be: fewer are soon looked up and moved again.
const FORESEEN_ROWS: usize = 2048;
/// Most times that a table grows at once to what it foresees.
const MOST_GROWTH: usize = 16;

/// A group table.
#[derive(Debug)]
pub(crate) struct GroupTable {
    pub(crate) head: GroupsHead,
    slots: Vec<u64>,
    direct: Vec<u32>,
    front: Vec<u64>,
    pub(super) block: Block,
    pub(super) layout: RowLayout,
    /// Entries that are in the slots.
    hashed: usize,
    /// Least and greatest numeric key.
    least: i64,
    greatest: i64,
    /// What the host computes for the groups, until the table is merged.
    pub(crate) calls: Option<Box<Calls>>,
    /// Arrays whose text rows refer to.
    kept: Vec<ArrayRef>,
    /// The place that its first rows come from.
    pub(crate) place: u64,
    /// What of its source the table has seen.
    pub(crate) seen: Seen,
    /// Whether its entries are spread, and whether they may be.
    pub(crate) spread: Spread,
    /// Whether its entries are loose, and whether they may be.
    pub(crate) loose: Loose,
    /// Bytes counted for this table.
    pub(crate) held: usize,
}

/// How far a source has been read, from which a table foresees how many groups there will be.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Rows of the source that this table's worker has read.
    pub(crate) rows: u64,
    /// Those that it will have read in the end, where that is known; else zero.
    pub(crate) expected: u64,
    /// Rows that it had read, and groups that there were, when it grew last.
    last: (u64, u64),
}

// SAFETY: the head's addresses are those of vectors and of the block, which the table owns.
unsafe impl Send for GroupTable {}
// SAFETY: shared access only reads; accumulators of calls are gone before a table is shared.
unsafe impl Sync for GroupTable {}

/// An always empty directory: a table that has no group yet can be probed without a special case.
static EMPTY: u64 = 0;

impl GroupTable {
    /// A table without groups; without keys, one that has its single group.
    pub(crate) fn new(layout: &RowLayout, memory: &Memory) -> Result<Self, Error> {
        let mut table = GroupTable::empty(layout);
        if layout.keys == 0 {
            table.insert(0, None, memory)?;
        }
        Ok(table)
    }

    /// A table without groups, whatever its keys.
    pub(crate) fn empty(layout: &RowLayout) -> Self {
        let head = GroupsHead {
            slots: (&raw const EMPTY).cast_mut(),
            mask: 0,
            entries: std::ptr::null_mut(),
            rows: 0,
            direct: std::ptr::null_mut(),
            first: 0,
            range: 0,
            front: std::ptr::null_mut(),
        };
        let layout = layout.clone();
        GroupTable {
            head,
            slots: vec![],
            direct: vec![],
            front: vec![],
            block: Block::new(),
            layout,
            hashed: 0,
            least: i64::MAX,
            greatest: i64::MIN,
            calls: None,
            kept: vec![],
            place: 0,
            seen: Seen::default(),
            spread: Spread::default(),
            loose: Loose::default(),
            held: 0,
        }
    }

    /// Gives the table a front of so many places.
    pub(crate) fn with_front(mut self, places: usize, memory: &Memory) -> Result<Self, Error> {
        if places > 0 {
            self.count(places * 8, memory)?;
            self.front = vec![0; places];
            self.head.front = self.front.as_mut_ptr();
        }
        Ok(self)
    }

    /// A table without groups, with room for `rows` groups that hashes find.
    pub(crate) fn hashed(layout: &RowLayout, rows: usize, memory: &Memory) -> Result<Self, Error> {
        let mut table = GroupTable::empty(layout);
        table.set_slots((rows * 2).next_power_of_two().max(memory.sizes.first_slots), memory)?;
        table.reserve(rows, memory)?;
        Ok(table)
    }

    /// A table without groups that these numbers address, with room for `rows` groups.
    pub(crate) fn direct(layout: &RowLayout, span: Span, rows: usize, memory: &Memory) -> Result<Self, Error> {
        let mut table = GroupTable::empty(layout);
        table.set_direct(Some(span), memory)?;
        table.reserve(rows, memory)?;
        Ok(table)
    }

    /// Adds a group and returns its entry: hash set, all else zero. `key` is the number of a numeric key that is not null; where it is in
    /// the direct range the hash is not looked at.
    pub(crate) fn insert(&mut self, hash: u64, key: Option<i64>, memory: &Memory) -> Result<*mut u8, Error> {
        let rows = self.rows();
        if let Some(key) = key {
            self.least = self.least.min(key);
            self.greatest = self.greatest.max(key);
        }
        let loose = self.is_loose();
        // At most half full: probes stay short, and there is always an empty slot.
        if !loose && key.and_then(|key| self.span().place(key)).is_none() && (self.hashed + 1) * 2 > self.slots.len() {
            self.rebuild(key == Some(self.greatest), memory)?;
        }
        if (rows + 2) * self.stride() > self.block.capacity() {
            let places = self.spread.places;
            let room = if places > 0 { rows + (rows - places).max(memory.sizes.first_rows) } else { (rows * 2).max(self.foresee()) };
            self.reserve(room.max(memory.sizes.first_rows - 1).max(1), memory)?;
        }
        // SAFETY: the block has room for `rows + 2` strides.
        let entry = unsafe {
            let entry = self.block.base().add((rows + 1) * self.stride());
            entry.write_bytes(0, self.stride());
            if let Some(offset) = self.layout.hash {
                entry.add(offset as usize).cast::<u64>().write(hash);
            }
            entry
        };
        if !loose {
            self.place(rows, hash, key);
        }
        self.head.rows += 1;
        Ok(entry)
    }

    /// The entry of the number at a place of the direct range, if it has one.
    pub(super) fn numbered(&self, place: usize) -> Option<*mut u8> {
        let number = self.direct[place] as usize;
        (number > 0).then(|| self.entry(number - 1))
    }

    /// Adds a copy of another table's entry, of a number that has a place in the direct range and no entry yet.
    pub(super) fn copy_in(&mut self, place: usize, number: i64, entry: *const u8, memory: &Memory) -> Result<(), Error> {
        let rows = self.rows();
        if (rows + 2) * self.stride() > self.block.capacity() {
            self.reserve((rows * 2).max(memory.sizes.first_rows - 1).max(1), memory)?;
        }
        // SAFETY: the block has room for `rows + 2` strides, and the other entry has as many bytes and lies in another block.
        unsafe { self.block.base().add((rows + 1) * self.stride()).copy_from_nonoverlapping(entry, self.stride()) }
        self.least = self.least.min(number);
        self.greatest = self.greatest.max(number);
        self.direct[place] = rows as u32 + 1;
        self.head.rows += 1;
        Ok(())
    }

    /// Adds a copy of another table's entry where its hash has an empty slot, which was looked for. `None`: the table has to grow first.
    pub(super) fn copy_at(&mut self, slot: usize, hash: u64, key: Option<i64>, entry: *const u8) -> Option<*mut u8> {
        let (rows, stride) = (self.rows(), self.stride());
        if self.is_loose() || (self.hashed + 1) * 2 > self.slots.len() || (rows + 2) * stride > self.block.capacity() {
            return None;
        }
        if let Some(key) = key {
            self.least = self.least.min(key);
            self.greatest = self.greatest.max(key);
        }
        self.fill(slot, rows, hash);
        self.head.rows += 1;
        // SAFETY: the block has room for `rows + 2` strides, and the other entry has as many bytes and lies in another block.
        unsafe {
            let new = self.block.base().add((rows + 1) * stride);
            new.copy_from_nonoverlapping(entry, stride);
            Some(new)
        }
    }

    /// Asks for the slot of a hash, which is looked at soon.
    pub(super) fn ask_for_slot(&self, hash: u64) {
        ask_for(self.head.slots.wrapping_add((hash & self.head.mask) as usize) as u64);
    }

    /// Asks for the entry that the slot of a hash names.
    pub(super) fn ask_for_entry(&self, hash: u64) {
        // SAFETY: the mask keeps within the slots; a table without any has one that is empty.
        let slot = unsafe { *self.head.slots.add((hash & self.head.mask) as usize) };
        ask_for(self.head.entries.wrapping_add((slot & SLOT_ADDRESS) as usize) as u64);
    }

    pub(super) fn stride(&self) -> usize {
        self.layout.stride as usize
    }

    pub(crate) fn span(&self) -> Span {
        Span { first: self.head.first, range: self.head.range }
    }

    /// Least and greatest numeric key, or less and more than those; `None` where none has come.
    pub(crate) fn keys(&self) -> Option<(i64, i64)> {
        let range = self.spread.places as i64;
        // Any number that has a place may have come.
        let (least, greatest) = match range {
            0 => (self.least, self.greatest),
            _ => (self.least.min(self.head.first), self.greatest.max(self.head.first.wrapping_add(range - 1))),
        };
        (least <= greatest).then_some((least, greatest))
    }

    /// Makes row number `row` found.
    pub(super) fn place(&mut self, row: usize, hash: u64, key: Option<i64>) {
        if let Some(place) = key.and_then(|key| self.span().place(key)) {
            self.direct[place] = row as u32 + 1;
            return;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.fill(slot, row, hash);
    }

    /// Has an empty slot name row number `row`.
    fn fill(&mut self, slot: usize, row: usize, hash: u64) {
        self.slots[slot] = (hash & !SLOT_ADDRESS) | ((row + 1) * self.stride()) as u64;
        self.hashed += 1;
    }

    /// The groups that there will be, where as many come as before; not more than some times those that are there. Fewer than
    /// those where ever fewer come, or where nothing is known.
    fn foresee(&self) -> usize {
        let (rows, seen) = (self.rows() as u64, self.seen);
        let left = seen.expected.saturating_sub(seen.rows);
        let (new_rows, new_groups) = (seen.rows.saturating_sub(seen.last.0), rows.saturating_sub(seen.last.1));
        if (rows as usize) < FORESEEN_ROWS || left == 0 || new_rows == 0 || new_groups == 0 {
            return 0;
        }
        // Not where groups came faster at first: most of them are there, then.
        let (overall, lately) = (rows as f64 / seen.rows as f64, new_groups as f64 / new_rows as f64);
        if lately < overall * 0.8 {
            return 0;
        }
        let more = (left as f64 * overall.min(lately) * 1.05) as usize;
        (rows as usize + more).min(rows as usize * MOST_GROWTH)
    }

    /// Chooses anew what finds the entries, with room for more of them. `ascending`: no greater key has come than the last one.
    fn rebuild(&mut self, ascending: bool, memory: &Memory) -> Result<(), Error> {
        if self.spread.places > 0 {
            return self.find_again((self.slots.len() * 2).max(memory.sizes.first_slots), memory);
        }
        let rows = self.rows();
        let foreseen = self.foresee();
        self.seen.last = (self.seen.rows, rows as u64);
        let span = if self.layout.numeric { self.dense_span(foreseen, ascending) } else { None };
        self.set_direct(span, memory)?;
        let new = match span {
            // What will not be in the range: as many as make it worth to look at all again.
            Some(_) => (rows / 8).next_power_of_two(),
            None => (rows * 4).max(foreseen * 2).next_power_of_two(),
        };
        self.set_slots(new.max(memory.sizes.first_slots), memory)?;
        for row in 0..rows {
            // SAFETY: the entry is one of those inserted.
            let (hash, key) = unsafe {
                let entry = self.entry(row);
                let key = if self.layout.numeric { key_of(&self.layout, entry) } else { None };
                (row_hash(&self.layout, entry, memory.sizes.hash_mask), key)
            };
            self.place(row, hash, key);
        }
        Ok(())
    }

    /// So many empty slots, a power of two.
    pub(super) fn set_slots(&mut self, slots: usize, memory: &Memory) -> Result<(), Error> {
        if slots > self.slots.len() {
            self.count((slots - self.slots.len()) * 8, memory)?;
            // Fresh zeros are cheaper than cleared ones where there are many.
            self.slots = vec![];
            self.slots = vec![0; slots];
        } else {
            self.slots.truncate(slots);
            self.slots.fill(0);
        }
        self.hashed = 0;
        self.head.slots = self.slots.as_mut_ptr();
        self.head.mask = slots as u64 - 1;
        Ok(())
    }

    /// The range that the array shall have, if any: that of the keys so far, and as much again above, where most new keys come; that of
    /// all keys that are foreseen, where they come in their order. It may be as long as is good for the rows that are foreseen.
    fn dense_span(&self, foreseen: usize, ascending: bool) -> Option<Span> {
        let span = Span::of(self.least, self.greatest)?;
        // Numbers of entries must fit an element.
        if !span.is_dense(self.rows().max(foreseen), DIRECT_PER_ROW) || self.rows() >= 1 << 30 {
            return None;
        }
        let below = (span.range / 8).max(64).min((span.first.wrapping_sub(i64::MIN)) as u64);
        let times = if ascending { (foreseen as u64 / self.rows().max(1) as u64).max(1) + 1 } else { 2 };
        let above = (span.range * (times - 1)).max(512).min(i64::MAX.wrapping_sub(self.greatest) as u64);
        Some(Span { first: span.first - below as i64, range: span.range + below + above })
    }

    fn set_direct(&mut self, span: Option<Span>, memory: &Memory) -> Result<(), Error> {
        let Span { first, range } = span.unwrap_or(Span { first: 0, range: 0 });
        let elements = range as usize;
        if elements > self.direct.len() {
            self.count((elements - self.direct.len()) * 4, memory)?;
        }
        // Fresh zeros are cheaper than cleared ones where there are many.
        self.direct = vec![];
        self.direct = vec![0; elements];
        self.head.direct = self.direct.as_mut_ptr();
        self.head.first = first;
        self.head.range = range;
        Ok(())
    }

    /// Makes room for `rows` entries, and for the stride that is left free.
    fn reserve(&mut self, rows: usize, memory: &Memory) -> Result<(), Error> {
        let (old, new) = (self.block.capacity(), (rows + 1) * self.stride());
        if new > old {
            self.count(new - old, memory)?;
            self.block.grow(new);
            self.head.entries = self.block.base();
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize, memory: &Memory) -> Result<(), Error> {
        memory.grow(bytes)?;
        self.held += bytes;
        Ok(())
    }

    /// Keeps an array as long as the table.
    pub(crate) fn keep(&mut self, array: ArrayRef, memory: &Memory) -> Result<(), Error> {
        self.count(array.get_array_memory_size(), memory)?;
        self.kept.push(array);
        Ok(())
    }

    /// Removes rows, given in ascending order. From now on groups are read only: what finds them is gone.
    pub(crate) fn remove(&mut self, rows: &[usize], memory: &Memory) {
        self.drop_places(memory);
        for row in rows.iter().rev() {
            let last = self.rows() - 1;
            if *row < last {
                // SAFETY: both are entries, which are `stride` bytes long.
                unsafe { self.entry(*row).copy_from_nonoverlapping(self.entry(last), self.stride()) }
            }
            self.head.rows -= 1;
        }
    }

    /// Has engines find nothing.
    pub(super) fn hide_slots(&mut self) {
        (self.head.slots, self.head.mask) = ((&raw const EMPTY).cast_mut(), 0);
    }

    /// Has engines find again what was hidden.
    pub(super) fn show_slots(&mut self) {
        if !self.slots.is_empty() {
            (self.head.slots, self.head.mask) = (self.slots.as_mut_ptr(), self.slots.len() as u64 - 1);
        }
    }

    /// Drops what finds entries.
    pub(super) fn drop_places(&mut self, memory: &Memory) {
        let freed = size_of_val(&self.slots[..]) + size_of_val(&self.direct[..]);
        (self.slots, self.direct) = (vec![], vec![]);
        self.give_back(freed, memory);
        self.hide_slots();
        (self.head.direct, self.head.range) = (std::ptr::null_mut(), 0);
    }

    pub(super) fn give_back(&mut self, bytes: usize, memory: &Memory) {
        self.held = self.held.saturating_sub(bytes);
        memory.shrink(bytes);
    }

    /// The number of an entry's row.
    pub(crate) fn row_of(&self, entry: *const u8) -> usize {
        (entry as usize - self.block.base() as usize) / self.stride() - 1
    }

    pub(crate) fn rows(&self) -> usize {
        self.head.rows as usize
    }

    /// How many groups are known before merging: not how many places of a spread table have one, and none of a loose table.
    pub(crate) fn known(&self) -> usize {
        if self.is_loose() { 0 } else { self.rows() - self.spread.places }
    }

    /// Address of entry number `row`.
    pub(crate) fn entry(&self, row: usize) -> *mut u8 {
        debug_assert!(row < self.rows(), "entry {row} of {}", self.rows());
        // SAFETY: the first stride is left free, the entries follow.
        unsafe { self.block.base().add((row + 1) * self.stride()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stagefuse_ir::abi::{HASH_ALL, HASH_COLLIDING};
    use stagefuse_ir::{GroupsDecl, SqlType, Type};

    use super::*;
    use crate::config::{Sizes, Unlimited};
    use crate::tables::number::hash_of;

    /// The entry of a key, looked up as generated code does.
    fn look_up(table: &GroupTable, number: i64, hash_mask: u64) -> Option<*mut u8> {
        let key = table.layout.fields[0].offset as usize;
        let head = &table.head;
        // SAFETY: the head's addresses are those of the table; an element or a slot leads to an entry.
        unsafe {
            if let Some(place) = table.span().place(number) {
                let row = *head.direct.add(place) as usize;
                return (row > 0).then(|| head.entries.add(row * table.stride()));
            }
            let hash = hash_of(Some(number), hash_mask);
            let mut at = hash & head.mask;
            loop {
                let slot = *head.slots.add(at as usize);
                if slot == 0 {
                    return None;
                }
                let entry = head.entries.add((slot & SLOT_ADDRESS) as usize);
                if (slot ^ hash) & !SLOT_ADDRESS == 0 && entry.add(key).cast::<i64>().read() == number {
                    return Some(entry);
                }
                at = (at + 1) & head.mask;
            }
        }
    }

    /// Yields the key of each row.
    type Keys = fn(i64) -> i64;

    #[test]
    fn every_group_is_found_after_the_table_has_grown() {
        let memory = |hash_mask| Memory::with_sizes(Arc::new(Unlimited), Sizes { hash_mask, ..Sizes::default() });
        let layout = RowLayout::groups(&GroupsDecl::new(vec![Type::new(SqlType::Int64, false)], vec![]));
        let key = layout.fields[0].offset as usize;
        // Ascending, descending, scattered over a dense range, far apart, and a range that stops being dense.
        let orders: [(&str, Keys, bool, i64, u64); 6] = [
            ("ascending", |n| n * 4, true, 100_000, HASH_ALL),
            ("descending", |n| 5_000 - n, true, 100_000, HASH_ALL),
            ("scattered", |n| n * 7919 % 100_003, true, 100_000, HASH_ALL),
            ("far apart", |n| n.wrapping_mul(0x5851_F42D_4C95_7F2D), false, 100_000, HASH_ALL),
            ("outliers", |n| if n % 1000 == 999 { i64::MAX - n } else { n }, false, 100_000, HASH_ALL),
            ("colliding", |n| n.wrapping_mul(0x5851_F42D_4C95_7F2D), false, 1_000, HASH_COLLIDING),
        ];
        for (name, key_of, dense, rows, hash_mask) in orders {
            let memory = memory(hash_mask);
            let mut table = GroupTable::new(&layout, &memory).unwrap();
            for number in (0..rows).map(key_of) {
                assert!(look_up(&table, number, hash_mask).is_none(), "{name}: {number} is new");
                let entry = table.insert(hash_of(Some(number), hash_mask), Some(number), &memory).unwrap();
                // SAFETY: the key lies within the entry.
                unsafe {
                    assert_eq!(entry.add(key).cast::<i64>().read(), 0, "a new entry is zero");
                    entry.add(key).cast::<i64>().write(number);
                }
            }
            assert_eq!(table.rows(), rows as usize);
            assert_eq!(table.head.range > 0, dense, "{name}");
            assert!(table.hashed * 2 <= table.slots.len(), "at most half of the slots are taken");
            for number in (0..rows).map(key_of) {
                let entry = look_up(&table, number, hash_mask).unwrap_or_else(|| panic!("{name}: {number} is not found"));
                // SAFETY: the key lies within the entry.
                assert_eq!(unsafe { entry.add(key).cast::<i64>().read() }, number, "{name}");
            }
        }
    }
}
