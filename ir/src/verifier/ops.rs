//! Typing rules of operations: laws 6 and 7.

use super::declarations::fits_i64;
use crate::function::Function;
use crate::op::{BinaryOp, Nulls, UnaryOp};
use crate::program::{Datum, Literal};
use crate::types::{Repr, SqlType, Stored, Type};

/// Why an operation's types are wrong.
type Rule = Result<(), String>;

fn rule(holds: bool, message: impl FnOnce() -> String) -> Rule {
    if holds { Ok(()) } else { Err(message()) }
}

const fn is_decimal(sql: SqlType) -> bool {
    matches!(sql, SqlType::Decimal { .. })
}

const fn is_exact(sql: SqlType) -> bool {
    sql.is_integer() || is_decimal(sql)
}

const fn is_number(sql: SqlType) -> bool {
    is_exact(sql) || sql.is_float()
}

/// The same type, where decimals may differ in precision.
pub(super) fn same(a: SqlType, b: SqlType) -> bool {
    a == b || (is_decimal(a) && a.scale() == b.scale())
}

/// Whether arithmetic on these representations can yield that one.
fn wide_enough(operands: &[Type], result: Type) -> bool {
    !is_decimal(result.sql) || result.repr != Repr::I64 || operands.iter().all(|operand| operand.repr == Repr::I64)
}

/// Types of an operation of one operand.
pub(super) fn unary(op: UnaryOp, a: Type, result: Type) -> Rule {
    let (from, to) = (a.sql, result.sql);
    let holds = match op {
        UnaryOp::Not | UnaryOp::IsTrue => from == SqlType::Boolean && to == SqlType::Boolean,
        UnaryOp::IsNull | UnaryOp::IsNotNull => to == SqlType::Boolean,
        UnaryOp::Neg | UnaryOp::Abs => is_number(from) && same(from, to) && wide_enough(&[a], result),
        UnaryOp::NegChecked => is_exact(from) && same(from, to) && wide_enough(&[a], result),
        UnaryOp::Convert => converts(from, to),
        UnaryOp::Cast => is_number(from) && is_exact(to),
        UnaryOp::TryCast => is_number(from) && is_exact(to) && result.nullable,
        UnaryOp::AssumeValid => from == to && a.repr == result.repr && !result.nullable,
        UnaryOp::Year | UnaryOp::Month | UnaryOp::Day => from == SqlType::Date32 && to == SqlType::Int32,
        UnaryOp::CharLength => from == SqlType::Utf8 && to == SqlType::Int32,
    };
    rule(holds, || format!("{} does not take {a} to {result}", op.name()))
}

/// Whether a conversion cannot fail.
fn converts(from: SqlType, to: SqlType) -> bool {
    // An integer type holds another if it has the bits for it, one more where only it has a sign.
    let holds_integer = || {
        let (bytes, room) = (from.default_repr().bytes(), to.default_repr().bytes());
        match (from.is_unsigned(), to.is_unsigned()) {
            (true, false) => room > bytes,
            (false, true) => false,
            _ => room >= bytes,
        }
    };
    match (from, to) {
        _ if same(from, to) => true,
        (SqlType::Boolean, to) => to.is_integer(),
        (from, to) if from.is_integer() && to.is_integer() => holds_integer(),
        (from, SqlType::Decimal { scale, .. }) => from.is_integer() && scale >= 0,
        (from, to) if to.is_float() => is_number(from),
        (from, to) => {
            let counts = |sql: SqlType, number: SqlType| sql.is_temporal() && sql.default_repr() == number.default_repr();
            let number = |sql: SqlType| matches!(sql, SqlType::Int32 | SqlType::Int64);
            number(to) && counts(from, to) || number(from) && counts(to, from)
        }
    }
}

/// Types of an operation of two operands.
pub(super) fn binary(op: BinaryOp, a: Type, b: Type, result: Type) -> Rule {
    let (x, y, to) = (a.sql, b.sql, result.sql);
    let scales = || Some((i32::from(x.scale()?), i32::from(y.scale()?), i32::from(to.scale()?)));
    let uniform = same(x, y) && same(x, to);
    let holds = match op {
        BinaryOp::Add | BinaryOp::Sub => is_number(x) && uniform && wide_enough(&[a, b], result),
        BinaryOp::AddChecked | BinaryOp::SubChecked => is_exact(x) && uniform && wide_enough(&[a, b], result),
        BinaryOp::Mul | BinaryOp::MulChecked => {
            let checked_float = op == BinaryOp::MulChecked && x.is_float();
            wide_enough(&[a, b], result) && scales().map_or(is_number(x) && uniform && !checked_float, |(x, y, to)| x + y == to)
        }
        BinaryOp::Div => scales().map_or(is_number(x) && uniform, |(x, y, to)| x - y == to),
        BinaryOp::Rem => is_number(x) && uniform,
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::ShiftLeft | BinaryOp::ShiftRight => x.is_integer() && uniform,
        BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge
        | BinaryOp::NotDistinct
        | BinaryOp::Distinct => same(x, y) && !x.is_host() && to == SqlType::Boolean,
        BinaryOp::And | BinaryOp::Or => [x, y, to] == [SqlType::Boolean; 3],
    };
    rule(holds, || format!("{} does not take {a} and {b} to {result}", op.name()))
}

/// Type of a literal's value.
pub(super) fn literal(literal: &Literal, result: Type) -> Rule {
    let fits = match literal.value {
        Datum::Int(value) if result.repr == Repr::I64 => fits_i64(value, result.sql),
        _ => true,
    };
    rule(literal.ty.sql == result.sql && fits, || format!("the literal {}: {} is no {result}", literal.value, literal.ty))
}

/// Type of a parameter.
pub(super) fn param(declared: Type, result: Type) -> Rule {
    rule(declared.sql == result.sql && declared.repr == result.repr, || format!("the parameter is {declared}, not {result}"))
}

/// Types of `in`.
pub(super) fn in_list(a: Type, list: &[&Literal], result: Type) -> Rule {
    rule(result.sql == SqlType::Boolean, || format!("in yields a boolean, not {result}"))?;
    rule(!a.sql.is_host(), || format!("in does not compare {a}"))?;
    for literal in list {
        rule(literal.ty.sql == a.sql && literal.value != Datum::Null, || {
            format!("in compares {a} with the literal {}: {}", literal.value, literal.ty)
        })?;
    }
    Ok(())
}

/// Types of `like`.
pub(super) fn like(a: Type, pattern: &Literal, result: Type) -> Rule {
    let holds = a.sql == SqlType::Utf8 && matches!(pattern.value, Datum::Str(_)) && result.sql == SqlType::Boolean;
    rule(holds, || format!("like does not take {a} and the literal {}: {} to {result}", pattern.value, pattern.ty))
}

/// Types of a function's operands and result.
pub(super) fn call(function: Function, args: &[Type], result: Type) -> Rule {
    let operands = function.operands();
    let fixed = operands.iter().zip(args).all(|(kind, arg)| kind.holds(*arg));
    let rest = args.get(operands.len()..).unwrap_or_default();
    let more = rest.is_empty() || function.more().is_some_and(|kind| rest.iter().all(|arg| kind.holds(*arg)));
    let holds = args.len() >= operands.len() && fixed && more && function.result().holds(result);
    rule(holds, || format!("{} does not take {args:?} to {result}", function.name()))
}

/// Types of `entry`, of a column that lies so.
pub(super) fn entry(stored: Option<Stored>, number: Type, result: Type) -> Rule {
    let numbers = stored.and_then(Stored::numbers);
    rule(numbers.is_some(), || "entry takes a column that lies as numbers of a dictionary".into())?;
    rule(numbers == Some(number.sql) && result.sql == SqlType::Utf8, || format!("entry does not take {number} to {result}"))
}

/// Types of `substr`.
pub(super) fn substr(a: Type, start: Type, count: Option<Type>, result: Type) -> Rule {
    let holds = a.sql == SqlType::Utf8 && result.sql == SqlType::Utf8;
    let holds = holds && start.sql == SqlType::Int64 && count.is_none_or(|count| count.sql == SqlType::Int64);
    rule(holds, || "substr takes utf8, int64 and int64 to utf8".into())
}

/// Types of an `if`.
pub(super) fn choice(condition: Type, arms: [Type; 2], result: Type) -> Rule {
    rule(condition.sql == SqlType::Boolean, || format!("the condition is {condition}"))?;
    for arm in arms {
        rule(arm.sql == result.sql && arm.repr == result.repr, || format!("a region yields {arm}, not {result}"))?;
    }
    Ok(())
}

/// Whether a nullable operand makes the result nullable.
pub(super) const fn unary_passes_null(op: UnaryOp) -> bool {
    matches!(op.nulls(), Nulls::Strict)
}

/// Whether a nullable operand makes the result nullable.
pub(super) const fn binary_passes_null(op: BinaryOp) -> bool {
    matches!(op.nulls(), Nulls::Strict) || matches!(op, BinaryOp::And | BinaryOp::Or)
}
