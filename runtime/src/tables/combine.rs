//! Accumulators of two entries of the same group become one.

use stagefuse_ir::abi::StrRef;
use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{AccOp, GroupsDecl, Repr, SqlType};

/// Adds the accumulators of one entry to those of another.
pub(super) fn combine_all(decl: &GroupsDecl, layout: &RowLayout, target: *mut u8, source: *const u8) {
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
        (AccOp::BitOr | AccOp::BitXor, repr) => {
            for at in at..at + repr.bytes() {
                let (a, b) = (byte(target, at), byte(source, at));
                set(target, at, if op == AccOp::BitOr { a | b } else { a ^ b });
            }
        }
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

pub(super) fn byte(entry: *const u8, at: u32) -> u8 {
    get(entry, at)
}

pub(super) fn get<T: Copy>(entry: *const u8, at: u32) -> T {
    // SAFETY: `at` comes from the table's layout and `T` has the field's width; 16-byte fields may be aligned to 8 only.
    unsafe { entry.add(at as usize).cast::<T>().read_unaligned() }
}

pub(super) fn set<T>(entry: *mut u8, at: u32, value: T) {
    // SAFETY: as in `get`.
    unsafe { entry.add(at as usize).cast::<T>().write_unaligned(value) }
}

pub(super) fn text(s: &StrRef) -> &[u8] {
    // SAFETY: text in tables is inline or lies in an arena of the run.
    unsafe { crate::builtins::strings::bytes(s) }
}
