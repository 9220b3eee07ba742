//! Asking for memory ahead of time.

use stagefuse_ir::abi::{ENTRY_ROW_BITS, HASH_ALL, JoinHead, SLOT_ADDRESS, order_word};

use crate::tables::number::hash_of;

pub(super) unsafe extern "C" fn prefetch(addresses: *mut u8, count: u64, behind: u64) -> i32 {
    for at in 0..count as usize {
        // SAFETY: generated code passes so many addresses; they need not be aligned.
        let address = unsafe { addresses.cast::<u64>().add(at).read_unaligned() };
        ask_for(address);
        ask_for(address.wrapping_add(behind));
    }
    0
}

pub(super) unsafe extern "C" fn prefetch_join(table: *mut u8, keys: *mut u8, count: u64, stride: u64, numeric: i32) -> i32 {
    // SAFETY: generated code passes the table that its stage looks up in, which does not change any more, and its own room, where so many words lie, aligned.
    let (table, keys) = unsafe { (&*table.cast::<JoinHead>(), std::slice::from_raw_parts_mut(keys.cast::<u64>(), count as usize)) };
    if numeric != 0 && table.range > 0 {
        for key in keys.iter_mut() {
            let place = key.wrapping_sub(table.first as u64);
            // What is out of range is looked for elsewhere; there are few such keys, if any.
            *key = table.direct as u64 + 4 * if place < table.range { place } else { 0 };
            ask_for(*key);
        }
        for element in keys.iter() {
            // SAFETY: the address of one of `range` elements.
            let element = unsafe { (*element as *const u32).read() };
            // Without an entry, some other one: that is no branch to mispredict.
            let number = element.max(1) - 1;
            // SAFETY: numbers of entries name buffers that are there; a table of elements has at least one.
            let base = unsafe { table.bases.add((number >> ENTRY_ROW_BITS) as usize).read() };
            let entry = base.wrapping_add(u64::from(number & ((1 << ENTRY_ROW_BITS) - 1)) * stride);
            ask_for(entry);
            ask_for(entry.wrapping_add(stride - 8));
        }
        return 0;
    }
    for key in keys.iter_mut() {
        let word = match (numeric != 0, table.turn) {
            (false, _) => *key,
            (true, 0) => hash_of(Some(*key as i64), HASH_ALL),
            (true, turn) => order_word(*key as i64, table.first, turn),
        };
        *key = table.directory as u64 + 8 * (word & table.mask);
        ask_for(*key);
    }
    for slot in keys.iter() {
        // SAFETY: the address of one of `mask + 1` slots.
        let entry = unsafe { (*slot as *const u64).read() } & SLOT_ADDRESS;
        ask_for(entry);
        ask_for(entry.wrapping_add(stride - 8));
    }
    0
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ask_for(address: u64) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint: it neither reads nor faults, whatever the address is.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address as usize)) }
}

/// Elsewhere rows wait for memory when they come to it.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_for(_address: u64) {}
