//! The rows that one worker builds for a join table, or collects for a sort.

use stagefuse_ir::abi::RowsHead;

use super::block::Block;
use crate::error::Error;
use crate::memory::Memory;

/// Rows next to each other, growing. Generated code appends through the head; when it is full it calls [`BuildRows::grow`].
#[derive(Debug)]
pub(crate) struct BuildRows {
    pub(crate) head: RowsHead,
    block: Block,
    stride: usize,
}

// SAFETY: the head's address is that of the block, which the rows own.
unsafe impl Send for BuildRows {}
// SAFETY: shared access only reads the head, and rows whose writers are done.
unsafe impl Sync for BuildRows {}

impl BuildRows {
    pub(crate) fn new(stride: u32) -> Self {
        let head = RowsHead { base: std::ptr::null_mut(), used: 0, capacity: 0, least: i64::MAX, greatest: i64::MIN, threshold: u64::MAX };
        BuildRows { head, block: Block::new(), stride: stride as usize }
    }

    /// Makes room for at least one more row.
    pub(crate) fn grow(&mut self, memory: &Memory) -> Result<(), Error> {
        let old = self.block.capacity();
        let rows = (old / self.stride * 2).max(memory.sizes.first_rows);
        memory.grow(rows * self.stride - old)?;
        self.block.grow(rows * self.stride);
        self.head.base = self.block.base();
        self.head.capacity = self.block.capacity() as u64;
        Ok(())
    }

    /// Keeps the first rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.head.used = self.head.used.min((rows * self.stride) as u64);
    }

    /// Room for one more row; its bytes are not set.
    #[cfg(test)]
    pub(crate) fn append(&mut self, memory: &Memory) -> Result<*mut u8, Error> {
        if self.head.used == self.head.capacity {
            self.grow(memory)?;
        }
        // SAFETY: `used` is below the capacity, both multiples of the stride, so the row lies within the block.
        let row = unsafe { self.head.base.add(self.head.used as usize) };
        self.head.used += self.stride as u64;
        Ok(row)
    }

    pub(crate) fn rows(&self) -> usize {
        self.head.used as usize / self.stride
    }

    /// Address of row `row`.
    pub(crate) fn row(&self, row: usize) -> *mut u8 {
        debug_assert!(row < self.rows(), "row {row} of {}", self.rows());
        // SAFETY: the row is one of those that were appended.
        unsafe { self.head.base.add(row * self.stride) }
    }
}
