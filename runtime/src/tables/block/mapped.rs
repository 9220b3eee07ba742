//! Memory from the operating system, in large pages where it has them: a table that is written once, row behind row, would otherwise spend a good part of
//! its time in page faults and in copying itself (`mremap` moves pages).

use std::ptr::null_mut;

use libc::{MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE, madvise, mmap, mremap, munmap};

/// So many bytes, all zero; none where there is no memory.
pub(super) fn map(bytes: usize) -> Option<*mut u8> {
    // SAFETY: a new anonymous mapping takes nobody's memory.
    let base = unsafe { mmap(null_mut(), bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
    (base != MAP_FAILED).then(|| advise(base.cast(), bytes))
}

/// More bytes behind those of a mapping, which may move.
///
/// # Safety
/// `base` was mapped here with `old` bytes, and is not used any more.
pub(super) unsafe fn grow(base: *mut u8, old: usize, new: usize) -> Option<*mut u8> {
    // SAFETY: the caller's promise.
    let base = unsafe { mremap(base.cast(), old, new, MREMAP_MAYMOVE) };
    (base != MAP_FAILED).then(|| advise(base.cast(), new))
}

/// Gives a mapping back.
///
/// # Safety
/// `base` was mapped here with so many bytes, and is not used any more.
pub(super) unsafe fn unmap(base: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise. It fails only for a mapping that is none.
    unsafe { munmap(base.cast(), bytes) };
}

fn advise(base: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the mapping is ours. Where there are no large pages, small ones do.
    unsafe { madvise(base.cast(), bytes, MADV_HUGEPAGE) };
    base
}
