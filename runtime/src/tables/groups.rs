//! One worker's group table: open addressing with linear probing over entries next to each other (see [`GroupsHead`]).

use stagefuse_ir::abi::{GroupsHead, SLOT_ADDRESS};
use stagefuse_ir::layout::{GROUP_HASH, RowLayout};

use super::block::Block;
use crate::error::Error;
use crate::memory::Memory;

/// Slots of a table when its first group comes.
const FIRST_SLOTS: usize = 128;

/// A group table.
#[derive(Debug)]
pub(crate) struct GroupTable {
    pub(crate) head: GroupsHead,
    slots: Vec<u64>,
    block: Block,
    stride: usize,
    /// Bytes counted for this table.
    pub(crate) held: usize,
}

// SAFETY: the head's addresses are those of the slots and the block, which the table owns.
unsafe impl Send for GroupTable {}
// SAFETY: shared access only reads.
unsafe impl Sync for GroupTable {}

/// An always empty directory: a table that has no group yet can be probed without a special case.
static EMPTY: u64 = 0;

impl GroupTable {
    /// A table without groups; without keys, one that has its single group.
    pub(crate) fn new(layout: &RowLayout, memory: &Memory) -> Result<Self, Error> {
        let mut table = GroupTable::empty(layout);
        if layout.keys == 0 {
            table.insert(0, memory)?;
        }
        Ok(table)
    }

    /// A table without groups, whatever its keys.
    pub(crate) fn empty(layout: &RowLayout) -> Self {
        let head = GroupsHead { slots: (&raw const EMPTY).cast_mut(), mask: 0, entries: std::ptr::null_mut(), rows: 0 };
        GroupTable { head, slots: vec![], block: Block::new(), stride: layout.stride as usize, held: 0 }
    }

    /// Adds a group of this hash and returns its entry: hash set, all else zero.
    pub(crate) fn insert(&mut self, hash: u64, memory: &Memory) -> Result<*mut u8, Error> {
        let rows = self.head.rows as usize;
        // At most half full: probes stay short, and there is always an empty slot.
        if (rows + 1) * 2 > self.slots.len() {
            self.grow_slots(memory)?;
        }
        if (rows + 2) * self.stride > self.block.capacity() {
            self.grow_block(memory)?;
        }
        let offset = (rows + 1) * self.stride;
        // SAFETY: the block has room for `rows + 2` strides.
        let entry = unsafe {
            let entry = self.block.base().add(offset);
            entry.write_bytes(0, self.stride);
            entry.add(GROUP_HASH as usize).cast::<u64>().write(hash);
            entry
        };
        self.place(hash, offset as u64);
        self.head.rows += 1;
        Ok(entry)
    }

    fn place(&mut self, hash: u64, offset: u64) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (hash & !SLOT_ADDRESS) | offset;
    }

    fn grow_slots(&mut self, memory: &Memory) -> Result<(), Error> {
        let old = self.slots.len();
        let new = if old == 0 { FIRST_SLOTS } else { old * if old < 1 << 16 { 4 } else { 2 } };
        self.count((new - old) * 8, memory)?;
        self.slots.clear();
        self.slots.resize(new, 0);
        for row in 0..self.head.rows as usize {
            // SAFETY: the entry is one of those inserted.
            let hash = unsafe { self.entry(row).add(GROUP_HASH as usize).cast::<u64>().read() };
            self.place(hash, ((row + 1) * self.stride) as u64);
        }
        self.head.slots = self.slots.as_mut_ptr();
        self.head.mask = new as u64 - 1;
        Ok(())
    }

    fn grow_block(&mut self, memory: &Memory) -> Result<(), Error> {
        let old = self.block.capacity();
        let new = (old / self.stride * 2).max(64) * self.stride;
        self.count(new - old, memory)?;
        self.block.grow(new);
        self.head.entries = self.block.base();
        Ok(())
    }

    fn count(&mut self, bytes: usize, memory: &Memory) -> Result<(), Error> {
        memory.grow(bytes)?;
        self.held += bytes;
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.head.rows as usize
    }

    /// Address of entry number `row`.
    pub(crate) fn entry(&self, row: usize) -> *mut u8 {
        debug_assert!(row < self.rows(), "entry {row} of {}", self.rows());
        // SAFETY: the first stride is left free, the entries follow.
        unsafe { self.block.base().add((row + 1) * self.stride) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stagefuse_ir::abi::hash_word;
    use stagefuse_ir::{GroupsDecl, SqlType, Type};

    use super::*;
    use crate::config::Unlimited;

    #[test]
    fn every_group_is_found_after_the_table_has_grown() {
        let memory = Memory::new(Arc::new(Unlimited));
        let layout = RowLayout::groups(&GroupsDecl { keys: vec![Type::new(SqlType::Int64, false)], accs: vec![] });
        let key = layout.fields[0].offset as usize;
        let mut table = GroupTable::new(&layout, &memory).unwrap();
        for number in 0..100_000u64 {
            let entry = table.insert(hash_word(number, 1, 2), &memory).unwrap();
            // SAFETY: the key lies within the entry.
            unsafe {
                assert_eq!(entry.add(key).cast::<u64>().read(), 0, "a new entry is zero");
                entry.add(key).cast::<u64>().write(number);
            }
        }
        assert_eq!(table.rows(), 100_000);
        assert!(table.slots.len() >= 200_000, "at most half of the slots are taken");
        for number in 0..100_000u64 {
            let hash = hash_word(number, 1, 2);
            let mut at = hash & table.head.mask;
            loop {
                // SAFETY: the head's addresses are those of the table; a slot holds the offset of an entry.
                let (slot, found) = unsafe {
                    let slot = *table.head.slots.add(at as usize);
                    assert_ne!(slot, 0, "{number} is not found");
                    (slot, table.head.entries.add((slot & SLOT_ADDRESS) as usize + key).cast::<u64>().read())
                };
                if (slot ^ hash) & !SLOT_ADDRESS == 0 && found == number {
                    break;
                }
                at = (at + 1) & table.head.mask;
            }
        }
    }
}
