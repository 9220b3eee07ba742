//! Arithmetic.

use std::rc::Rc;

use stagefuse_ir::abi::ErrorCode;
use stagefuse_ir::{BinaryOp, Repr, SqlType, Type, UnaryOp, Value};

use super::cast::resize;
use super::{FINE, decimal, map_checked, zip_checked};
use crate::error::Error;
use crate::interpreter::vector::{Vector, map, zip};

const OVERFLOW: u8 = ErrorCode::Overflow as u8;
const BY_ZERO: u8 = ErrorCode::DivideByZero as u8;

/// The widest of the integer representations involved.
fn widest(a: &Vector, b: &Vector, ty: Type) -> Repr {
    a.repr().max(b.repr()).max(ty.repr)
}

/// Runs `$go!(held, computed)` for an integer representation: values are held in `held` and computed with in `computed`.
macro_rules! by_int {
    ($repr:expr, $unsigned:expr, $go:ident) => {
        match ($repr, $unsigned) {
            (Repr::I8, false) => $go!(i8, i8),
            (Repr::I8, true) => $go!(i8, u8),
            (Repr::I16, false) => $go!(i16, i16),
            (Repr::I16, true) => $go!(i16, u16),
            (Repr::I32, false) => $go!(i32, i32),
            (Repr::I32, true) => $go!(i32, u32),
            (Repr::I64, false) => $go!(i64, i64),
            (Repr::I64, true) => $go!(i64, u64),
            (Repr::I128, _) => $go!(i128, i128),
            (repr, _) => Err(Error::Internal(format!("integer arithmetic in {repr:?}"))),
        }
    };
}

pub(super) fn binary(op: BinaryOp, a: &Rc<Vector>, b: &Rc<Vector>, ty: Type, value: Value) -> Result<Rc<Vector>, Error> {
    use BinaryOp::*;
    if ty.sql.is_float() {
        let result = if ty.repr == Repr::F32 { float32(op, a, b) } else { float64(op, a, b) };
        return result.map(Rc::new);
    }
    if let Some(result) = decimal::mixed(op, a, b, ty) {
        return result.map(Rc::new);
    }
    let unsigned = ty.sql.is_unsigned();
    let repr = match op {
        // Modulo the result's width, wider operands yield the same.
        Add | Sub | Mul | BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight => ty.repr,
        AddChecked | SubChecked | MulChecked => ty.sql.default_repr(),
        _ => widest(a, b, ty),
    };
    let (a, b) = (resize(a, repr)?, resize(b, repr)?);
    let (a, b) = (&*a, &*b);
    macro_rules! wrapping {
        ($method:ident) => {{
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    zip::<$held, $held, $held>(a, b, |a, b| (a as $as).$method(b as $as) as $held)
                };
            }
            by_int!(repr, unsigned, go)
        }};
    }
    macro_rules! shift {
        ($method:ident) => {{
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    zip::<$held, $held, $held>(a, b, |a, b| (a as $as).$method(b as u32) as $held)
                };
            }
            by_int!(repr, unsigned, go)
        }};
    }
    macro_rules! checked {
        ($method:ident) => {{
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    zip_checked::<$held, $held, $held>(a, b, value, |a, b| {
                        let (result, overflow) = (a as $as).$method(b as $as);
                        (result as $held, if overflow { OVERFLOW } else { FINE })
                    })
                };
            }
            by_int!(repr, unsigned, go)
        }};
    }
    macro_rules! division {
        ($method:ident, $fails:expr) => {{
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    zip_checked::<$held, $held, $held>(a, b, value, |a, b| {
                        if b == 0 {
                            return (0, BY_ZERO);
                        }
                        let (result, overflow) = (a as $as).$method(b as $as);
                        (result as $held, if overflow && $fails { OVERFLOW } else { FINE })
                    })
                };
            }
            by_int!(repr, unsigned, go)
        }};
    }
    let result = match op {
        Add => wrapping!(wrapping_add),
        Sub => wrapping!(wrapping_sub),
        Mul => wrapping!(wrapping_mul),
        BitAnd => {
            use std::ops::BitAnd;
            wrapping!(bitand)
        }
        BitOr => {
            use std::ops::BitOr;
            wrapping!(bitor)
        }
        BitXor => {
            use std::ops::BitXor;
            wrapping!(bitxor)
        }
        ShiftLeft => shift!(wrapping_shl),
        ShiftRight => shift!(wrapping_shr),
        AddChecked => checked!(overflowing_add),
        SubChecked => checked!(overflowing_sub),
        MulChecked => checked!(overflowing_mul),
        Div => division!(overflowing_div, true),
        // The remainder by -1 is 0, also of the smallest number.
        Rem => division!(overflowing_rem, false),
        other => Err(Error::Internal(format!("{} is no arithmetic", other.name()))),
    };
    resize(&Rc::new(result?), ty.repr)
}

macro_rules! floats {
    ($name:ident, $ty:ty) => {
        fn $name(op: BinaryOp, a: &Vector, b: &Vector) -> Result<Vector, Error> {
            use BinaryOp::*;
            match op {
                Add | AddChecked => zip::<$ty, $ty, $ty>(a, b, |a, b| a + b),
                Sub | SubChecked => zip::<$ty, $ty, $ty>(a, b, |a, b| a - b),
                Mul | MulChecked => zip::<$ty, $ty, $ty>(a, b, |a, b| a * b),
                Div => zip::<$ty, $ty, $ty>(a, b, |a, b| a / b),
                Rem => zip::<$ty, $ty, $ty>(a, b, |a, b| a % b),
                other => Err(Error::Internal(format!("{} of floats", other.name()))),
            }
        }
    };
}
floats!(float32, f32);
floats!(float64, f64);

pub(super) fn unary(op: UnaryOp, a: &Rc<Vector>, from: Type, ty: Type, value: Value) -> Result<Rc<Vector>, Error> {
    let negate = op != UnaryOp::Abs;
    match from.repr {
        Repr::F32 => return map::<f32, f32>(a, |a| if negate { -a } else { a.abs() }).map(Rc::new),
        Repr::F64 => return map::<f64, f64>(a, |a| if negate { -a } else { a.abs() }).map(Rc::new),
        _ => {}
    }
    let unsigned = from.sql.is_unsigned();
    let repr = match (op, ty.sql) {
        (UnaryOp::Neg, _) => ty.repr,
        (_, SqlType::Decimal { .. }) => Repr::I128,
        (_, sql) => sql.default_repr(),
    };
    let a = resize(a, repr)?;
    let a = &*a;
    let result = match op {
        UnaryOp::Neg => {
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    map::<$held, $held>(a, |a| a.wrapping_neg())
                };
            }
            by_int!(repr, unsigned, go)
        }
        UnaryOp::NegChecked => {
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    map_checked::<$held, $held>(a, value, |a| {
                        let (result, overflow) = (a as $as).overflowing_neg();
                        (result as $held, if overflow { OVERFLOW } else { FINE })
                    })
                };
            }
            by_int!(repr, unsigned, go)
        }
        _ if unsigned => return resize(&Rc::new(a.expand(1, a.constant)), ty.repr),
        _ => {
            macro_rules! go {
                ($held:ty, $as:ty) => {
                    map_checked::<$held, $held>(a, value, |a| {
                        let (result, overflow) = a.overflowing_abs();
                        (result, if overflow { OVERFLOW } else { FINE })
                    })
                };
            }
            by_int!(repr, false, go)
        }
    };
    resize(&Rc::new(result?), ty.repr)
}
