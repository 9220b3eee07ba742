//! Asking for memory ahead of time.

pub(super) unsafe extern "C" fn prefetch(addresses: *mut u8, count: u64, behind: u64) -> i32 {
    for at in 0..count as usize {
        // SAFETY: generated code passes so many addresses; they need not be aligned.
        let address = unsafe { addresses.cast::<u64>().add(at).read_unaligned() };
        ask_for(address);
        ask_for(address.wrapping_add(behind));
    }
    0
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask_for(address: u64) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint: it neither reads nor faults, whatever the address is.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address as usize)) }
}

/// Elsewhere rows wait for memory when they come to it.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_for(_address: u64) {}
