//! Scalar operations over vectors.

mod arith;
mod boolean;
mod call;
pub(crate) mod cast;
mod compare;
mod conditional;
mod date;
mod decimal;
mod string;

pub(crate) use conditional::region;

use std::rc::Rc;

use stagefuse_ir::abi::{ErrorCode, StrRef};
use stagefuse_ir::{BinaryOp, EntityRef, Lit, Op, Repr, UnaryOp, Value};

use self::cast::OnFailure;
use super::level::Frame;
use super::opaque;
use super::vector::{Arg, Buf, Prim, Vector};
use crate::error::Error;

/// Evaluates the operation that defines `value` for the rows of the top level.
pub(crate) fn eval(frame: &mut Frame<'_>, value: Value, op: &Op) -> Result<Rc<Vector>, Error> {
    let ty = frame.plan.ty(value);
    match op {
        Op::Literal(lit) => Ok(literal(frame, *lit, ty.repr)),
        Op::Param(param) => {
            let [value, valid] = frame.run.literals.param(*param);
            Ok(Rc::new(constant(value, valid[0] != 0, ty.repr)))
        }
        Op::Unary(op, arg) => {
            let (vector, from) = (frame.get(*arg)?, frame.plan.ty(*arg));
            match op {
                UnaryOp::Not => boolean::not(&vector),
                UnaryOp::IsNull => Ok(boolean::is_null(&vector, true)),
                UnaryOp::IsNotNull => Ok(boolean::is_null(&vector, false)),
                UnaryOp::IsTrue => boolean::is_true(&vector),
                // Whoever reads a value that is not nullable does not look at its validity.
                UnaryOp::AssumeValid => Ok(vector),
                UnaryOp::Convert | UnaryOp::Cast => cast::cast(&vector, from, ty, value, OnFailure::Raise),
                UnaryOp::TryCast => cast::cast(&vector, from, ty, value, OnFailure::Null),
                UnaryOp::Neg | UnaryOp::NegChecked | UnaryOp::Abs => arith::unary(*op, &vector, from, ty, value),
                UnaryOp::Year | UnaryOp::Month | UnaryOp::Day => date::part(*op, &vector),
                UnaryOp::CharLength => string::char_length(&vector),
            }
        }
        Op::Binary(op, a, b) => {
            let (left, right) = (frame.get(*a)?, frame.get(*b)?);
            let (from, other) = (frame.plan.ty(*a), frame.plan.ty(*b));
            use BinaryOp::*;
            match op {
                And | Or => boolean::and_or(*op == And, &left, &right),
                Eq | Ne | Lt | Le | Gt | Ge | NotDistinct | Distinct => compare::compare(*op, &left, &right, from, other),
                Add | Sub | Mul | AddChecked | SubChecked | MulChecked | Div | Rem | BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight => {
                    arith::binary(*op, &left, &right, ty, value)
                }
            }
        }
        Op::If(condition, then, otherwise) => conditional::eval(frame, *condition, then, otherwise, ty),
        Op::In(arg, lits) => string::is_in(frame, value, *arg, lits),
        Op::Like(arg, _) | Op::Ilike(arg, _) => string::like(frame, value, *arg),
        Op::Call(function, args) => call::eval(frame, value, *function, args, ty),
        Op::Substr(text, start, count) => string::substr(frame, value, *text, *start, *count),
        Op::Entry(input, column, number) => string::entry(frame, *input, *column, *number),
        Op::Opaque(opaque, args) => opaque::eval(frame, *opaque, args),
    }
}

/// A literal, for all rows.
pub(crate) fn literal(frame: &Frame<'_>, lit: Lit, repr: Repr) -> Rc<Vector> {
    let valid = !frame.run.program.literals[lit].ty.nullable;
    Rc::new(constant(frame.run.literals.words[lit.index()], valid, repr))
}

/// A value of the literal table in a representation.
fn constant(words: [u64; 2], valid: bool, repr: Repr) -> Vector {
    let number = ((u128::from(words[1]) << 64) | u128::from(words[0])) as i128;
    match repr {
        Repr::Bool => Vector::constant(number as u8, valid),
        Repr::I8 => Vector::constant(number as i8, valid),
        Repr::I16 => Vector::constant(number as i16, valid),
        Repr::I32 => Vector::constant(number as i32, valid),
        Repr::I64 => Vector::constant(number as i64, valid),
        Repr::I128 => Vector::constant(number, valid),
        Repr::F32 => Vector::constant(f64::from_bits(words[0]) as f32, valid),
        Repr::F64 => Vector::constant(f64::from_bits(words[0]), valid),
        Repr::Str => Vector::constant(StrRef { lo: words[0], hi: words[1] }, valid),
    }
}

/// No error, where a kernel tells for each row whether it failed.
const FINE: u8 = 0;

/// Applies a function that may fail. Failures of nulls do not count.
#[inline(always)]
fn map_checked<A: Prim, R: Prim>(a: &Vector, value: Value, f: impl Fn(A) -> (R, u8)) -> Result<Vector, Error> {
    let (mut failed, mut out) = (FINE, Buf::<R>::new());
    let values = a.arg::<A>()?;
    let mut one = |a: A| {
        let (result, code) = f(a);
        failed |= code;
        result
    };
    match values {
        Arg::Const(a) => out.push(one(a)),
        Arg::Slice(a) => out.extend(a.iter().map(|a| one(*a))),
    }
    let result = Vector { data: R::wrap(out), valid: a.valid.clone(), constant: a.constant };
    if failed != FINE {
        let rows = if let Arg::Slice(a) = values { a.len() } else { 1 };
        raise(&result, value, rows, |row| f(values.at(row)).1)?;
    }
    Ok(result)
}

/// Applies a function whose failures are nulls.
fn map_or_null<A: Prim, R: Prim>(a: &Vector, f: impl Fn(A) -> (R, u8)) -> Result<Vector, Error> {
    let (mut fits, mut out) = (Buf::<u8>::new(), Buf::<R>::new());
    let mut one = |a: A| {
        let (result, code) = f(a);
        out.push(result);
        fits.push(u8::from(code == FINE));
    };
    match a.arg::<A>()? {
        Arg::Const(a) => one(a),
        Arg::Slice(a) => a.iter().for_each(|a| one(*a)),
    }
    if let Some(valid) = &a.valid {
        fits.iter_mut().zip(valid.iter()).for_each(|(fits, valid)| *fits &= valid);
    }
    let valid = fits.contains(&0).then(|| Rc::new(fits));
    Ok(Vector { data: R::wrap(out), valid, constant: a.constant })
}

/// Applies a function of two operands that may fail.
#[inline(always)]
fn zip_checked<A: Prim, B: Prim, R: Prim>(a: &Vector, b: &Vector, value: Value, f: impl Fn(A, B) -> (R, u8)) -> Result<Vector, Error> {
    let failed = std::cell::Cell::new(FINE);
    let result = super::vector::zip::<A, B, R>(a, b, |a, b| {
        let (result, code) = f(a, b);
        failed.set(failed.get() | code);
        result
    })?;
    if failed.get() != FINE {
        let (a, b) = (a.arg::<A>()?, b.arg::<B>()?);
        let rows = match (a, b) {
            (Arg::Slice(a), _) => a.len(),
            (_, Arg::Slice(b)) => b.len(),
            _ => 1,
        };
        raise(&result, value, rows, |row| f(a.at(row), b.at(row)).1)?;
    }
    Ok(result)
}

/// Raises the error of the first row that failed and is not null.
fn raise(result: &Vector, value: Value, rows: usize, code: impl Fn(usize) -> u8) -> Result<(), Error> {
    let failed = (0..rows).filter(|row| result.is_valid(*row)).map(code).find(|code| *code != FINE);
    match failed.and_then(|code| ErrorCode::from_i32(i32::from(code))) {
        Some(code) => Err(Error::Arithmetic { code, value }),
        None => Ok(()),
    }
}
