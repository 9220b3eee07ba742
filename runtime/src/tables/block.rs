//! A block of bytes that grows: what rows of tables lie in.

#[cfg(target_os = "linux")]
mod mapped;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::null_mut;

/// Blocks of so many bytes are mapped from the operating system, where that moves pages instead of copying bytes when one grows, and gives large pages.
#[cfg(target_os = "linux")]
const MAPPED: usize = 4 << 20;

/// Bytes from the allocator or the operating system, aligned to 8, not zeroed.
#[derive(Debug)]
pub(crate) struct Block {
    base: *mut u8,
    capacity: usize,
    /// Whether it comes from the operating system.
    mapped: bool,
}

// SAFETY: a block owns its bytes; nothing in it is tied to a thread.
unsafe impl Send for Block {}
// SAFETY: shared access only reads the address and the size.
unsafe impl Sync for Block {}

impl Block {
    pub(crate) const fn new() -> Self {
        Block { base: null_mut(), capacity: 0, mapped: false }
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Grows to `capacity` bytes, a multiple of 8; the bytes there are stay, at a new address perhaps.
    pub(crate) fn grow(&mut self, capacity: usize) {
        assert!(capacity > self.capacity && capacity.is_multiple_of(8), "a block grows in words");
        #[cfg(target_os = "linux")]
        if capacity >= MAPPED {
            return self.grow_mapped(capacity);
        }
        let base = if self.capacity == 0 {
            // SAFETY: the size is not zero.
            unsafe { alloc(layout(capacity)) }
        } else {
            // SAFETY: `base` came from this allocator with this layout; the new size is not zero.
            unsafe { realloc(self.base, layout(self.capacity), capacity) }
        };
        if base.is_null() {
            handle_alloc_error(layout(capacity));
        }
        self.base = base;
        self.capacity = capacity;
    }

    #[cfg(target_os = "linux")]
    fn grow_mapped(&mut self, capacity: usize) {
        let base = if self.mapped {
            // SAFETY: `base` was mapped with this capacity, and nobody else has it.
            unsafe { mapped::grow(self.base, self.capacity, capacity) }
        } else {
            mapped::map(capacity)
        };
        let Some(base) = base else { handle_alloc_error(layout(capacity)) };
        if !self.mapped && self.capacity > 0 {
            let old = std::mem::take(self);
            // SAFETY: both blocks are at least so long, and one has just been made.
            unsafe { base.copy_from_nonoverlapping(old.base, old.capacity) }
        }
        // Field by field: the mapping that `base` was must not be given back.
        (self.base, self.capacity, self.mapped) = (base, capacity, true);
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("tables are smaller than the address space")
}

impl Default for Block {
    fn default() -> Self {
        Block::new()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if self.mapped {
            // SAFETY: `base` was mapped with this capacity.
            return unsafe { mapped::unmap(self.base, self.capacity) };
        }
        if self.capacity > 0 {
            // SAFETY: `base` came from this allocator with this layout.
            unsafe { dealloc(self.base, layout(self.capacity)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_while_a_block_grows() {
        let mut block = Block::new();
        let mut filled = 0;
        for capacity in [64, 4096, (4 << 20) - 8, 4 << 20, (4 << 20) + 8, 9 << 20, 40 << 20] {
            block.grow(capacity);
            assert_eq!(block.capacity(), capacity);
            for at in (filled..capacity).step_by(512) {
                // SAFETY: `at` lies within the block.
                unsafe { block.base().add(at).write((at / 512 % 251) as u8) }
            }
            filled = capacity.next_multiple_of(512);
            for at in (0..capacity).step_by(512) {
                // SAFETY: as above.
                assert_eq!(unsafe { block.base().add(at).read() }, (at / 512 % 251) as u8, "byte {at} of {capacity}");
            }
        }
    }
}
