//! Arithmetic of decimals whose operands and result are held in different widths, without widening operands in a pass of their own.

use stagefuse_ir::{BinaryOp, Repr, Type};

use crate::error::Error;
use crate::interpreter::vector::{Vector, zip};

/// Sum, difference or product in 128 bits of operands of which at least one is held in 64; `None` for anything else.
pub(super) fn mixed(op: BinaryOp, a: &Vector, b: &Vector, ty: Type) -> Option<Result<Vector, Error>> {
    if ty.repr != Repr::I128 {
        return None;
    }
    let checked = op.can_fail();
    macro_rules! by_operands {
        ($f:expr) => {
            match (a.repr(), b.repr()) {
                // The result's sign and magnitude need no more than both operands' 64 bits: it cannot overflow.
                (Repr::I64, Repr::I64) => zip::<i64, i64, i128>(a, b, |a, b| $f(i128::from(a), i128::from(b))),
                (Repr::I64, Repr::I128) if !checked => zip::<i64, i128, i128>(a, b, |a, b| $f(i128::from(a), b)),
                (Repr::I128, Repr::I64) if !checked => zip::<i128, i64, i128>(a, b, |a, b| $f(a, i128::from(b))),
                _ => return None,
            }
        };
    }
    Some(match op {
        BinaryOp::Add | BinaryOp::AddChecked => by_operands!(i128::wrapping_add),
        BinaryOp::Sub | BinaryOp::SubChecked => by_operands!(i128::wrapping_sub),
        BinaryOp::Mul | BinaryOp::MulChecked => by_operands!(i128::wrapping_mul),
        _ => return None,
    })
}
