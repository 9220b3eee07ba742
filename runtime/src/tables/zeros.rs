//! Arrays of atomics that several workers clear, each a part, before anybody looks at them.
//!
//! Clearing takes as long as the memory does to come: of a directory of megabytes it was a tenth of the time of a short join, on one thread.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

/// Elements of `T`, an atomic number: zero once all parts are cleared.
#[derive(Debug)]
pub(super) struct Zeros<T> {
    elements: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Elements of a part.
    part: usize,
}

// SAFETY: elements are atomics, and before those are read each is written by whoever clears its part, alone.
unsafe impl<T: Sync> Sync for Zeros<T> {}

impl<T> Zeros<T> {
    /// Memory for so many elements, to be cleared in parts of about `part_bytes`.
    pub(super) fn new(len: usize, part_bytes: usize) -> Self {
        let mut elements = Vec::with_capacity(len);
        // SAFETY: the elements need not be initialised.
        unsafe { elements.set_len(len) };
        Zeros { elements: elements.into_boxed_slice(), part: (part_bytes / size_of::<T>()).max(1) }
    }

    pub(super) fn parts(&self) -> usize {
        self.elements.len().div_ceil(self.part)
    }

    /// Clears a part.
    ///
    /// # Safety
    /// No other thread clears this part or looks at its elements.
    pub(super) unsafe fn clear(&self, part: usize) {
        let first = part * self.part;
        let len = self.part.min(self.elements.len() - first);
        // SAFETY: they lie within the elements, which only the caller touches; all bytes zero are a number of an atomic.
        unsafe { self.elements.as_ptr().add(first).cast::<T>().cast_mut().write_bytes(0, len) }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn as_ptr(&self) -> *const T {
        self.elements.as_ptr().cast()
    }

    /// An element.
    ///
    /// # Safety
    /// Its part has been cleared.
    pub(super) unsafe fn get(&self, index: usize) -> &T {
        // SAFETY: it has been written, and is changed as an atomic from then on.
        unsafe { (*self.elements[index].get()).assume_init_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn all_parts_together_are_all_elements() {
        for (len, part_bytes) in [(0, 64), (1, 64), (7, 16), (8, 16), (9, 16), (1000, 1), (1000, 1 << 20)] {
            let zeros: Zeros<AtomicU64> = Zeros::new(len, part_bytes);
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    let zeros = &zeros;
                    scope.spawn(move || {
                        for part in (thread..zeros.parts()).step_by(2) {
                            // SAFETY: no other thread has this part.
                            unsafe { zeros.clear(part) }
                        }
                    });
                }
            });
            // SAFETY: all parts have been cleared.
            assert!((0..zeros.len()).all(|index| unsafe { zeros.get(index) }.load(Ordering::Relaxed) == 0));
        }
        assert_eq!(Zeros::<AtomicU32>::new(100, 64).parts(), 7);
    }
}
