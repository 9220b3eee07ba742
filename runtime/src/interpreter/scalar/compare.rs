//! Comparisons.

use std::cmp::Ordering;
use std::rc::Rc;

use stagefuse_ir::abi::{STR_INLINE, StrRef};
use stagefuse_ir::{BinaryOp, Repr, Type};

use super::cast::resize;
use crate::builtins::strings;
use crate::error::Error;
use crate::interpreter::row::probe::same_text;
use crate::interpreter::vector::{Arg, Vector, zip};

pub(super) fn compare(op: BinaryOp, a: &Rc<Vector>, b: &Rc<Vector>, from: Type, other: Type) -> Result<Rc<Vector>, Error> {
    let unsigned = from.sql.is_unsigned() || other.sql.is_unsigned();
    let (a, b) = if a.repr().is_int() && b.repr().is_int() {
        let repr = a.repr().max(b.repr());
        (resize(a, repr)?, resize(b, repr)?)
    } else {
        (Rc::clone(a), Rc::clone(b))
    };
    match op {
        BinaryOp::NotDistinct => distinct(&values(BinaryOp::Eq, &a, &b, unsigned)?, &a, &b, true),
        BinaryOp::Distinct => distinct(&values(BinaryOp::Eq, &a, &b, unsigned)?, &a, &b, false),
        op => values(op, &a, &b, unsigned).map(Rc::new),
    }
}

/// Compares, null where either is null.
fn values(op: BinaryOp, a: &Vector, b: &Vector, unsigned: bool) -> Result<Vector, Error> {
    macro_rules! native {
        ($held:ty, $as:ty) => {
            match op {
                BinaryOp::Eq => zip::<$held, $held, u8>(a, b, |a, b| u8::from(a == b)),
                BinaryOp::Ne => zip::<$held, $held, u8>(a, b, |a, b| u8::from(a != b)),
                BinaryOp::Lt => zip::<$held, $held, u8>(a, b, |a, b| u8::from((a as $as) < (b as $as))),
                BinaryOp::Le => zip::<$held, $held, u8>(a, b, |a, b| u8::from((a as $as) <= (b as $as))),
                BinaryOp::Gt => zip::<$held, $held, u8>(a, b, |a, b| u8::from((a as $as) > (b as $as))),
                _ => zip::<$held, $held, u8>(a, b, |a, b| u8::from((a as $as) >= (b as $as))),
            }
        };
    }
    macro_rules! ordered {
        ($held:ty, $order:expr, $equal:expr) => {
            match op {
                BinaryOp::Eq => zip::<$held, $held, u8>(a, b, |a, b| u8::from($equal(a, b))),
                BinaryOp::Ne => zip::<$held, $held, u8>(a, b, |a, b| u8::from(!$equal(a, b))),
                BinaryOp::Lt => zip::<$held, $held, u8>(a, b, |a, b| u8::from($order(a, b) == Ordering::Less)),
                BinaryOp::Le => zip::<$held, $held, u8>(a, b, |a, b| u8::from($order(a, b) != Ordering::Greater)),
                BinaryOp::Gt => zip::<$held, $held, u8>(a, b, |a, b| u8::from($order(a, b) == Ordering::Greater)),
                _ => zip::<$held, $held, u8>(a, b, |a, b| u8::from($order(a, b) != Ordering::Less)),
            }
        };
    }
    match (a.repr(), unsigned) {
        (Repr::Bool, _) => native!(u8, u8),
        (Repr::I8, false) => native!(i8, i8),
        (Repr::I8, true) => native!(i8, u8),
        (Repr::I16, false) => native!(i16, i16),
        (Repr::I16, true) => native!(i16, u16),
        (Repr::I32, false) => native!(i32, i32),
        (Repr::I32, true) => native!(i32, u32),
        (Repr::I64, false) => native!(i64, i64),
        (Repr::I64, true) => native!(i64, u64),
        (Repr::I128, _) => native!(i128, i128),
        (Repr::F32, _) => ordered!(f32, |a: f32, b: f32| a.total_cmp(&b), |a: f32, b: f32| a.to_bits() == b.to_bits()),
        (Repr::F64, _) => ordered!(f64, |a: f64, b: f64| a.total_cmp(&b), |a: f64, b: f64| a.to_bits() == b.to_bits()),
        (Repr::Str, _) => ordered!(StrRef, text_order, same_text),
    }
}

/// The order of two texts by bytes.
#[inline(always)]
fn text_order(a: StrRef, b: StrRef) -> Ordering {
    let prefix = |text: StrRef| ((text.lo >> 32) as u32).swap_bytes();
    // Bytes beyond a short text are zero, so that a differing prefix decides.
    match prefix(a).cmp(&prefix(b)) {
        Ordering::Equal if a.lo as u32 <= STR_INLINE && b.lo as u32 <= STR_INLINE => {
            a.hi.swap_bytes().cmp(&b.hi.swap_bytes()).then((a.lo as u32).cmp(&(b.lo as u32)))
        }
        // SAFETY: both refer to text that is alive.
        Ordering::Equal => unsafe { strings::bytes(&a).cmp(strings::bytes(&b)) },
        decided => decided,
    }
}

/// From whether values are equal: whether they are not distinct (`same`), or are.
fn distinct(equal: &Vector, a: &Vector, b: &Vector, same: bool) -> Result<Rc<Vector>, Error> {
    let (av, bv) = (a.validity().unwrap_or(Arg::Const(1)), b.validity().unwrap_or(Arg::Const(1)));
    let one = |row: usize, equal: u8| {
        let (av, bv) = (av.at(row), bv.at(row));
        let not_distinct = (av & bv & equal) | ((av ^ 1) & (bv ^ 1));
        not_distinct ^ u8::from(!same)
    };
    Ok(Rc::new(match equal.arg::<u8>()? {
        Arg::Const(equal) => Vector::constant(one(0, equal), true),
        Arg::Slice(equal) => Vector::new::<u8>(equal.iter().enumerate().map(|(row, equal)| one(row, *equal)).collect(), None),
    }))
}
