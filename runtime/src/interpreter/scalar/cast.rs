//! Changes of type and of representation.

use std::rc::Rc;

use stagefuse_ir::abi::ErrorCode;
use stagefuse_ir::{Repr, SqlType, Type, Value};

use super::{FINE, map_checked, map_or_null};
use crate::builtins::{f64_to_decimal_value, rescale};
use crate::error::Error;
use crate::interpreter::vector::{Prim, Vector, map};

const FAILED: u8 = ErrorCode::Cast as u8;

/// What becomes of a value that does not fit.
#[derive(Copy, Clone)]
pub(super) enum OnFailure {
    /// An error.
    Raise,
    /// Null.
    Null,
}

/// Applies a function that may fail.
fn checked<A: Prim, R: Prim>(a: &Vector, (value, on): (Value, OnFailure), f: impl Fn(A) -> (R, u8)) -> Result<Vector, Error> {
    match on {
        OnFailure::Raise => map_checked(a, value, f),
        OnFailure::Null => map_or_null(a, f),
    }
}

/// Runs `$go!(held)` for the representation of integers.
macro_rules! by_repr {
    ($repr:expr, $go:ident) => {
        match $repr {
            Repr::Bool => $go!(u8),
            Repr::I8 => $go!(i8),
            Repr::I16 => $go!(i16),
            Repr::I32 => $go!(i32),
            Repr::I64 => $go!(i64),
            Repr::I128 => $go!(i128),
            repr => Err(Error::Internal(format!("an integer held in {repr:?}"))),
        }
    };
}

/// Runs `$go!(held, meant)` for a type of integers: values are held in `held`, whose bits are a `meant`.
macro_rules! by_meaning {
    ($ty:expr, $go:ident) => {
        match ($ty.repr, $ty.sql.is_unsigned()) {
            (Repr::Bool, _) => $go!(u8, u8),
            (Repr::I8, false) => $go!(i8, i8),
            (Repr::I8, true) => $go!(i8, u8),
            (Repr::I16, false) => $go!(i16, i16),
            (Repr::I16, true) => $go!(i16, u16),
            (Repr::I32, false) => $go!(i32, i32),
            (Repr::I32, true) => $go!(i32, u32),
            (Repr::I64, false) => $go!(i64, i64),
            (Repr::I64, true) => $go!(i64, u64),
            (Repr::I128, _) => $go!(i128, i128),
            (repr, _) => Err(Error::Internal(format!("an integer held in {repr:?}"))),
        }
    };
}

/// The same integers in another representation; those that are wider than it lose their high bits.
pub(crate) fn resize(a: &Rc<Vector>, repr: Repr) -> Result<Rc<Vector>, Error> {
    if a.repr() == repr {
        return Ok(Rc::clone(a));
    }
    macro_rules! from {
        ($from:ty) => {{
            macro_rules! to {
                ($to:ty) => {
                    map::<$from, $to>(a, |value| value as $to)
                };
            }
            by_repr!(repr, to)
        }};
    }
    by_repr!(a.repr(), from).map(Rc::new)
}

/// `convert` and `cast`: what can fail does so where a value does not fit.
pub(super) fn cast(a: &Rc<Vector>, from: Type, to: Type, value: Value, on: OnFailure) -> Result<Rc<Vector>, Error> {
    use SqlType::Decimal;
    let place = (value, on);
    if from.sql == to.sql || from.repr == Repr::Str {
        return if a.repr() == to.repr { Ok(Rc::clone(a)) } else { resize(a, to.repr) };
    }
    match (from.sql, to.sql) {
        (SqlType::Float32, SqlType::Float64) => map::<f32, f64>(a, f64::from).map(Rc::new),
        (SqlType::Float64, SqlType::Float32) => map::<f64, f32>(a, |value| value as f32).map(Rc::new),
        (SqlType::Float32, _) => from_float(&map::<f32, f64>(a, f64::from)?, to, place),
        (SqlType::Float64, _) => from_float(a, to, place),
        (_, SqlType::Float32 | SqlType::Float64) => to_float(a, from, to),
        (Decimal { scale, .. }, Decimal { precision, scale: wanted }) => {
            if scale == wanted && precision >= precision_of(from) {
                return resize(a, to.repr);
            }
            to_decimal(a, from, i32::from(wanted) - i32::from(scale), precision, to, place)
        }
        (_, Decimal { precision, scale }) => to_decimal(a, from, i32::from(scale), precision, to, place),
        (Decimal { scale, .. }, _) => decimal_to_int(a, i32::from(scale), to, place),
        _ => to_int(a, from, to, place),
    }
}

fn precision_of(ty: Type) -> u8 {
    match ty.sql {
        SqlType::Decimal { precision, .. } => precision,
        _ => u8::MAX,
    }
}

/// Whether a number is one of an integer type.
fn range(to: Type) -> (i128, i128) {
    match to.sql {
        SqlType::Boolean => (0, 1),
        SqlType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        SqlType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        sql if sql.default_repr() == Repr::I32 && !sql.is_unsigned() => (i32::MIN.into(), i32::MAX.into()),
        SqlType::UInt8 => (0, u8::MAX.into()),
        SqlType::UInt16 => (0, u16::MAX.into()),
        SqlType::UInt32 => (0, u32::MAX.into()),
        SqlType::UInt64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

fn to_int(a: &Vector, from: Type, to: Type, place: (Value, OnFailure)) -> Result<Rc<Vector>, Error> {
    let (low, high) = range(to);
    let (from_low, from_high) = range(from);
    let always = from_low >= low && from_high <= high;
    macro_rules! from {
        ($held:ty, $meant:ty) => {{
            macro_rules! to {
                ($to:ty) => {
                    if always {
                        map::<$held, $to>(a, |value| (value as $meant) as $to)
                    } else {
                        checked::<$held, $to>(a, place, |value| {
                            let wide = (value as $meant) as i128;
                            (value as $meant as $to, if wide < low || wide > high { FAILED } else { FINE })
                        })
                    }
                };
            }
            by_repr!(to.repr, to)
        }};
    }
    by_meaning!(from, from).map(Rc::new)
}

fn to_float(a: &Vector, from: Type, to: Type) -> Result<Rc<Vector>, Error> {
    let decimal = from.sql.scale();
    let divisor = 10f64.powi(decimal.unwrap_or(0).into());
    macro_rules! go {
        ($held:ty, $meant:ty) => {
            match (to.repr, decimal) {
                (Repr::F32, None) => map::<$held, f32>(a, |value| (value as $meant) as f32),
                (Repr::F32, Some(_)) => map::<$held, f32>(a, |value| ((value as $meant) as f64 / divisor) as f32),
                (_, None) => map::<$held, f64>(a, |value| (value as $meant) as f64),
                (_, Some(_)) => map::<$held, f64>(a, |value| (value as $meant) as f64 / divisor),
            }
        };
    }
    by_meaning!(from, go).map(Rc::new)
}

/// The low bits of a number in a representation of integers, where the check has passed.
fn narrowed(numbers: Vector, to: Type) -> Result<Rc<Vector>, Error> {
    resize(&Rc::new(numbers), to.repr)
}

fn to_decimal(a: &Vector, from: Type, shift: i32, precision: u8, to: Type, place: (Value, OnFailure)) -> Result<Rc<Vector>, Error> {
    let precision = i32::from(precision);
    // Most casts go from a small integer or the like, and multiply without a check that could fail.
    let factor = u32::try_from(shift).ok().and_then(|shift| 10i128.checked_pow(shift)).filter(|factor| *factor < 1 << 62);
    let limit = 10i128.checked_pow(precision as u32).unwrap_or(i128::MAX);
    macro_rules! go {
        ($held:ty, $meant:ty) => {
            match factor {
                Some(factor) if size_of::<$held>() <= 8 => checked::<$held, i128>(a, place, |value| {
                    let scaled = ((value as $meant) as i128).wrapping_mul(factor);
                    (scaled, if scaled >= limit || scaled <= -limit { FAILED } else { FINE })
                }),
                _ => checked::<$held, i128>(a, place, |value| match rescale((value as $meant) as i128, shift, precision) {
                    Some(value) => (value, FINE),
                    None => (0, FAILED),
                }),
            }
        };
    }
    narrowed(by_meaning!(from, go)?, to)
}

fn decimal_to_int(a: &Rc<Vector>, scale: i32, to: Type, place: (Value, OnFailure)) -> Result<Rc<Vector>, Error> {
    let (low, high) = range(to);
    let power = 10i128.checked_pow(scale.unsigned_abs());
    let wide = resize(a, Repr::I128)?;
    let numbers = checked::<i128, i128>(&wide, place, |value| {
        let number = match power {
            Some(power) if scale >= 0 => Some(value / power),
            Some(power) => value.checked_mul(power),
            None if scale >= 0 || value == 0 => Some(0),
            None => None,
        };
        match number {
            Some(number) if number >= low && number <= high => (number, FINE),
            _ => (0, FAILED),
        }
    })?;
    narrowed(numbers, to)
}

fn from_float(a: &Vector, to: Type, place: (Value, OnFailure)) -> Result<Rc<Vector>, Error> {
    let numbers = match to.sql {
        SqlType::Decimal { precision, scale } => checked::<f64, i128>(a, place, |value| {
            f64_to_decimal_value(value, precision.into(), scale.into()).map_or((0, FAILED), |value| (value, FINE))
        })?,
        _ => {
            let (low, high) = range(to);
            checked::<f64, i128>(a, place, |value| {
                // Truncated first: what lies less than one beyond the range still fits. NaN and infinities saturate to numbers that do not.
                let number = value.trunc();
                let fits = number.is_finite() && number as i128 >= low && number as i128 <= high;
                if fits { (number as i128, FINE) } else { (0, FAILED) }
            })?
        }
    };
    narrowed(numbers, to)
}
