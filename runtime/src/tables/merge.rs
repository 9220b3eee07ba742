//! Merges the workers' group tables: partition *p* gets the entries whose hash falls into it.

use std::sync::Arc;

use stagefuse_ir::abi::{SLOT_ADDRESS, STR_INLINE, StrRef};
use stagefuse_ir::layout::{Field, GROUP_HASH, RowLayout};
use stagefuse_ir::{AccOp, GroupsDecl, Repr, SqlType};

use super::groups::GroupTable;
use crate::error::Error;
use crate::memory::Memory;

/// Partition of a hash: its high half, scaled. (The low bits pick the slot.)
fn partition_of(hash: u64, partitions: usize) -> usize {
    (((hash >> 32) * partitions as u64) >> 32) as usize
}

/// Merges partition `partition` of `partitions` of these tables.
pub(crate) fn merge(
    decl: &GroupsDecl,
    layout: &RowLayout,
    tables: &[Arc<GroupTable>],
    partition: usize,
    partitions: usize,
    memory: &Memory,
) -> Result<Arc<GroupTable>, Error> {
    if layout.keys == 0 && partition > 0 {
        return Ok(Arc::new(GroupTable::empty(layout)));
    }
    let filled: Vec<&Arc<GroupTable>> = tables.iter().filter(|table| table.rows() > 0).collect();
    if let [only] = filled[..]
        && (partitions == 1 || layout.keys == 0)
    {
        return Ok(Arc::clone(only));
    }
    let mut target = GroupTable::new(layout, memory)?;
    if layout.keys == 0 {
        for table in filled {
            combine_all(decl, layout, target.entry(0), table.entry(0));
        }
        return Ok(Arc::new(target));
    }
    for table in filled {
        for row in 0..table.rows() {
            let entry = table.entry(row);
            // SAFETY: every entry begins with its hash.
            let hash = unsafe { entry.add(GROUP_HASH as usize).cast::<u64>().read() };
            if partition_of(hash, partitions) != partition {
                continue;
            }
            match find(layout, &target, hash, entry) {
                Some(known) => combine_all(decl, layout, known, entry),
                None => {
                    let new = target.insert(hash, memory)?;
                    // SAFETY: both entries are `stride` bytes long and lie in different tables.
                    unsafe { new.copy_from_nonoverlapping(entry, layout.stride as usize) }
                }
            }
        }
    }
    Ok(Arc::new(target))
}

/// The entry of the same keys, if there is one.
fn find(layout: &RowLayout, table: &GroupTable, hash: u64, entry: *const u8) -> Option<*mut u8> {
    let head = &table.head;
    let mut at = hash & head.mask;
    loop {
        // SAFETY: `at` is within the slots.
        let slot = unsafe { *head.slots.add(at as usize) };
        if slot == 0 {
            return None;
        }
        if (slot ^ hash) & !SLOT_ADDRESS == 0 {
            // SAFETY: a slot holds the offset of an entry.
            let known = unsafe { head.entries.add((slot & SLOT_ADDRESS) as usize) };
            if layout.fields[..layout.keys].iter().all(|field| same(field, known, entry)) {
                return Some(known);
            }
        }
        at = (at + 1) & head.mask;
    }
}

/// Whether a key is the same in two entries.
fn same(field: &Field, a: *const u8, b: *const u8) -> bool {
    if let Some(valid) = field.valid
        && byte(a, valid) != byte(b, valid)
    {
        return false;
    }
    match field.ty.repr {
        Repr::Str => {
            let (a, b): (StrRef, StrRef) = (get(a, field.offset), get(b, field.offset));
            a == b || (a.lo == b.lo && a.lo as u32 > STR_INLINE && text(&a) == text(&b))
        }
        repr => match repr.bytes() {
            1 => get::<u8>(a, field.offset) == get::<u8>(b, field.offset),
            2 => get::<u16>(a, field.offset) == get::<u16>(b, field.offset),
            4 => get::<u32>(a, field.offset) == get::<u32>(b, field.offset),
            8 => get::<u64>(a, field.offset) == get::<u64>(b, field.offset),
            _ => get::<u128>(a, field.offset) == get::<u128>(b, field.offset),
        },
    }
}

/// Adds the accumulators of one entry to those of another.
fn combine_all(decl: &GroupsDecl, layout: &RowLayout, target: *mut u8, source: *const u8) {
    for (acc, field) in decl.accs.iter().zip(&layout.fields[layout.keys..]) {
        combine(acc.op, field, target, source);
    }
}

fn combine(op: AccOp, field: &Field, target: *mut u8, source: *const u8) {
    let at = field.offset;
    let mut first = false;
    if let Some(valid) = field.valid {
        if byte(source, valid) == 0 {
            return;
        }
        first = byte(target, valid) == 0;
        set(target, valid, 1u8);
    }
    match (op, field.ty.repr) {
        (AccOp::CountRows | AccOp::Count | AccOp::Sum, Repr::I64) => {
            set(target, at, get::<i64>(target, at).wrapping_add(get(source, at)));
        }
        (AccOp::Sum, Repr::I128) => set(target, at, get::<i128>(target, at).wrapping_add(get(source, at))),
        (AccOp::Sum, Repr::F64) => set(target, at, get::<f64>(target, at) + get::<f64>(source, at)),
        (AccOp::Min | AccOp::Max, repr) => {
            let smaller = less(field.ty.sql, repr, source, target, at);
            let greater = less(field.ty.sql, repr, target, source, at);
            if first || (op == AccOp::Min && smaller) || (op == AccOp::Max && greater) {
                // SAFETY: the field lies within both entries.
                unsafe { target.add(at as usize).copy_from(source.add(at as usize), repr.bytes() as usize) }
            }
        }
        // The verifier admits no other sums and counts.
        (AccOp::CountRows | AccOp::Count | AccOp::Sum, _) => {}
    }
}

/// Whether the value at `at` of one entry is less than that of another.
fn less(sql: SqlType, repr: Repr, a: *const u8, b: *const u8, at: u32) -> bool {
    macro_rules! number {
        ($ty:ty) => {
            get::<$ty>(a, at) < get::<$ty>(b, at)
        };
    }
    match (repr, sql.is_unsigned()) {
        (Repr::Bool, _) | (Repr::I8, true) => number!(u8),
        (Repr::I8, false) => number!(i8),
        (Repr::I16, true) => number!(u16),
        (Repr::I16, false) => number!(i16),
        (Repr::I32, true) => number!(u32),
        (Repr::I32, false) => number!(i32),
        (Repr::I64, true) => number!(u64),
        (Repr::I64, false) => number!(i64),
        (Repr::I128, _) => number!(i128),
        (Repr::F32, _) => get::<f32>(a, at).total_cmp(&get(b, at)).is_lt(),
        (Repr::F64, _) => get::<f64>(a, at).total_cmp(&get(b, at)).is_lt(),
        (Repr::Str, _) => text(&get(a, at)) < text(&get(b, at)),
    }
}

fn byte(entry: *const u8, at: u32) -> u8 {
    get(entry, at)
}

fn get<T: Copy>(entry: *const u8, at: u32) -> T {
    // SAFETY: `at` comes from the table's layout and `T` has the field's width; 16-byte fields may be aligned to 8 only.
    unsafe { entry.add(at as usize).cast::<T>().read_unaligned() }
}

fn set<T>(entry: *mut u8, at: u32, value: T) {
    // SAFETY: as in `get`.
    unsafe { entry.add(at as usize).cast::<T>().write_unaligned(value) }
}

fn text(s: &StrRef) -> &[u8] {
    // SAFETY: text in tables is inline or lies in an arena of the run.
    unsafe { crate::builtins::strings::bytes(s) }
}
