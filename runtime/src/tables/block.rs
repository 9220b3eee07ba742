//! A block of bytes that grows: what rows of tables lie in.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::ptr::null_mut;

/// Bytes from the allocator, aligned to 8, not zeroed unless they are asked for so.
#[derive(Debug)]
pub(crate) struct Block {
    base: *mut u8,
    capacity: usize,
}

// SAFETY: a block owns its bytes; nothing in it is tied to a thread.
unsafe impl Send for Block {}
// SAFETY: shared access only reads the address and the size.
unsafe impl Sync for Block {}

impl Block {
    pub(crate) const fn new() -> Self {
        Block { base: null_mut(), capacity: 0 }
    }

    /// So many bytes, a multiple of 8 and not none, all zero. What nobody touches takes no memory.
    pub(crate) fn zeroed(capacity: usize) -> Self {
        assert!(capacity > 0 && capacity.is_multiple_of(8), "a block has words");
        let layout = Layout::from_size_align(capacity, 8).expect("tables are smaller than the address space");
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Block { base, capacity }
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
        let layout = |bytes| Layout::from_size_align(bytes, 8).expect("tables are smaller than the address space");
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
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.capacity > 0 {
            let layout = Layout::from_size_align(self.capacity, 8).expect("the block was allocated with it");
            // SAFETY: `base` came from this allocator with this layout.
            unsafe { dealloc(self.base, layout) }
        }
    }
}
