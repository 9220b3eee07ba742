//! Casts, by Arrow's rules.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, TryCastExpr};
use stagefuse_ir::{BinaryOp, Datum, Function, Op, Repr, SqlType, TimeUnit, Type, UnaryOp, Value};

use super::Scope;
use crate::lower::{Lowering, Result, types};

/// What becomes of a value that a cast cannot hold.
#[derive(Copy, Clone, PartialEq)]
pub(super) enum OnFailure {
    Raise,
    Null,
}

impl Lowering {
    pub(super) fn cast(&mut self, scope: &mut Scope<'_>, cast: &CastExpr) -> Result<Option<Value>> {
        if cast.cast_options().safe {
            return Ok(None);
        }
        self.cast_to(scope, cast.expr(), cast.cast_type(), OnFailure::Raise)
    }

    /// A cast whose failures are nulls.
    pub(super) fn try_cast(&mut self, scope: &mut Scope<'_>, cast: &TryCastExpr) -> Result<Option<Value>> {
        self.cast_to(scope, cast.expr(), cast.cast_type(), OnFailure::Null)
    }

    fn cast_to(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, to: &DataType, on: OnFailure) -> Result<Option<Value>> {
        let Some(ty) = types::ir_type(to, false) else { return Ok(None) };
        let Ok(from) = expr.data_type(scope.schema) else { return Ok(None) };
        // FixedSizeBinary refuses what has another size.
        if matches!(to, DataType::FixedSizeBinary(_)) {
            return Ok(None);
        }
        let value = self.scoped(scope, expr)?;
        // Numbers, and points in time of two zones, count the same instants; a calendar or a clock shows what the zone says.
        let number = |sql: SqlType| sql.is_integer() || sql.is_float();
        let instants = match (scope.s.ty(value).sql, ty.sql) {
            (SqlType::Timestamp(_), SqlType::Timestamp(_)) => types::zone(&from).is_some(),
            (SqlType::Timestamp(_), other) | (other, SqlType::Timestamp(_)) => number(other),
            _ => true,
        };
        if !instants && (types::zone(&from).is_some() || types::zone(to).is_some()) {
            return Ok(None);
        }
        Ok(self.cast_value(scope, value, ty.sql, on))
    }

    /// A value as one of another type, by Arrow's rules.
    pub(super) fn cast_value(&mut self, scope: &mut Scope<'_>, value: Value, t: SqlType, on: OnFailure) -> Option<Value> {
        let from = scope.s.ty(value);
        let f = from.sql;
        if f == t {
            return Some(value);
        }
        let to = Type::new(t, from.nullable);
        let signed = |sql: SqlType| sql.is_integer() && !sql.is_unsigned();
        let number = |sql: SqlType| sql.is_integer() || sql.is_float();
        match (f, t) {
            _ if signed(f) && signed(t) && t.default_repr() > f.default_repr() => Some(scope.s.unary(UnaryOp::Convert, value, to)),
            (_, SqlType::Float64 | SqlType::Float32) if number(f) || f.scale().is_some_and(|scale| scale >= 0) => {
                Some(scope.s.unary(UnaryOp::Convert, value, to))
            }
            (SqlType::Boolean, t) if t.is_integer() => Some(scope.s.unary(UnaryOp::Convert, value, to)),
            (SqlType::Boolean, t) if t.is_float() => {
                let number = scope.s.unary(UnaryOp::Convert, value, Type::new(SqlType::Int8, from.nullable));
                Some(scope.s.unary(UnaryOp::Convert, number, to))
            }
            (f, SqlType::Boolean) if number(f) => {
                let value = self.unsigned_zero(scope.s, value);
                let zero = if f.is_float() { Datum::Float(0) } else { Datum::Int(0) };
                let zero = self.constant(scope, Type::new(f, false), zero);
                Some(scope.s.binary(BinaryOp::Ne, value, zero, to))
            }
            (f, SqlType::Utf8) => self.shown(scope, value, f),
            (SqlType::Utf8, t) => self.parsed(scope, value, t, on),
            (f, t) if f.is_temporal() || t.is_temporal() => self.time_cast(scope, value, t, on),
            (f, t) if f.is_integer() && t.is_integer() => Some(self.checked(scope, value, t, on)),
            (_, SqlType::Decimal { scale, .. }) if (number(f) || f.scale().is_some()) && scale >= 0 => {
                Some(self.checked(scope, value, t, on))
            }
            (f, t) if f.is_float() && t.is_integer() => Some(self.checked(scope, value, t, on)),
            (f, t) if f.scale().is_some_and(|scale| scale >= 0) && t.is_integer() => Some(self.checked(scope, value, t, on)),
            _ => None,
        }
    }

    /// A number as one of a type that may not hold it.
    fn checked(&mut self, scope: &mut Scope<'_>, value: Value, to: SqlType, on: OnFailure) -> Value {
        let nullable = scope.s.ty(value).nullable;
        match on {
            OnFailure::Raise => scope.s.unary(UnaryOp::Cast, value, Type::new(to, nullable)),
            OnFailure::Null => scope.s.unary(UnaryOp::TryCast, value, Type::new(to, true)),
        }
    }

    /// A value as text. What has no text fails whether nulls may stand for failures or not.
    fn shown(&mut self, scope: &mut Scope<'_>, value: Value, from: SqlType) -> Option<Value> {
        let mut args = vec![value];
        let function = match from {
            SqlType::Boolean => Function::BooleanText,
            SqlType::UInt64 => Function::UnsignedText,
            from if from.is_integer() => Function::WholeText,
            SqlType::Float64 => Function::FloatText,
            SqlType::Float32 => Function::SingleText,
            SqlType::Decimal { scale, .. } => {
                args.push(self.number(scope, scale.into()));
                Function::DecimalText
            }
            SqlType::Date32 => Function::DateText,
            SqlType::Date64 => {
                args.push(self.number(scope, 1_000));
                Function::TimestampText
            }
            SqlType::Timestamp(unit) => {
                args.push(self.number(scope, unit.per_second()));
                Function::TimestampText
            }
            SqlType::Time(unit) => {
                args.push(self.number(scope, unit.per_second()));
                Function::TimeText
            }
            _ => return None,
        };
        let ty = Type::new(SqlType::Utf8, scope.s.ty(value).nullable);
        Some(scope.s.op(Op::Call(function, args), ty))
    }

    /// What a text says.
    fn parsed(&mut self, scope: &mut Scope<'_>, text: Value, to: SqlType, on: OnFailure) -> Option<Value> {
        let (function, numbers): (_, Vec<i64>) = match to {
            SqlType::UInt64 => (Function::ParseUnsigned, vec![]),
            to if to.is_integer() => {
                let bits = i64::from(to.default_repr().bytes()) * 8;
                (Function::ParseWhole, vec![if to.is_unsigned() { bits } else { -bits }])
            }
            SqlType::Float64 => (Function::ParseFloat, vec![]),
            SqlType::Float32 => (Function::ParseSingle, vec![]),
            SqlType::Boolean => (Function::ParseBoolean, vec![]),
            SqlType::Decimal { precision, scale: scale @ 0.. } => (Function::ParseDecimal, vec![precision.into(), scale.into()]),
            SqlType::Date32 => (Function::ParseDate, vec![]),
            SqlType::Time(unit) => (Function::ParseTime, vec![unit.per_second()]),
            SqlType::Timestamp(unit) => (Function::ParseTimestamp, vec![unit.per_second()]),
            _ => return None,
        };
        let lenient = function.lenient().filter(|_| on == OnFailure::Null);
        let nullable = scope.s.ty(text).nullable || lenient.is_some();
        let args = [text].into_iter().chain(numbers.into_iter().map(|n| self.number(scope, n))).collect();
        Some(scope.s.op(Op::Call(lenient.unwrap_or(function), args), Type::new(to, nullable)))
    }

    /// Casts from and to what counts days or parts of a second, which is a number of the same width.
    fn time_cast(&mut self, scope: &mut Scope<'_>, value: Value, to: SqlType, on: OnFailure) -> Option<Value> {
        use SqlType::{Date32, Date64, Duration, Int32, Int64, Time, Timestamp};
        let ty = scope.s.ty(value);
        let counts = |unit: TimeUnit| Time(unit).default_repr();
        match (ty.sql, to) {
            (Int64, Timestamp(_) | Duration(_) | Date64)
            | (Timestamp(_) | Duration(_) | Date64, Int64)
            | (Int32, Date32)
            | (Date32, Int32) => Some(self.renamed(scope, value, to)),
            (Int32, Time(unit)) | (Time(unit), Int32) if counts(unit) == Repr::I32 => Some(self.renamed(scope, value, to)),
            (Int64, Time(unit)) | (Time(unit), Int64) if counts(unit) == Repr::I64 => Some(self.renamed(scope, value, to)),
            // Floats are cut.
            (f, Timestamp(_) | Duration(_)) if f.is_integer() || f.is_float() => {
                let number = self.cast_value(scope, value, Int64, on)?;
                Some(self.renamed(scope, number, to))
            }
            (Timestamp(_) | Duration(_), t) if t.is_integer() || t.is_float() => {
                let number = self.renamed(scope, value, Int64);
                self.cast_value(scope, number, t, on)
            }
            (Date32, Int64) => {
                let days = self.renamed(scope, value, Int32);
                self.cast_value(scope, days, Int64, on)
            }
            (Int64, Date32) => {
                let days = self.checked(scope, value, Int32, on);
                Some(self.renamed(scope, days, to))
            }
            (Date32, Timestamp(unit)) => Some(self.days_in(scope, value, 86_400 * unit.per_second(), to, on)),
            (Date32, Date64) => Some(self.days_in(scope, value, 86_400_000, to, on)),
            (Date64, Date32) => {
                let number = Type::new(Int64, ty.nullable);
                let millis = self.renamed(scope, value, Int64);
                let day = self.number(scope, 86_400_000);
                let days = scope.s.binary(BinaryOp::Div, millis, day, number);
                let days = self.checked(scope, days, Int32, on);
                Some(self.renamed(scope, days, to))
            }
            (Timestamp(from), Timestamp(unit)) | (Duration(from), Duration(unit)) => {
                let count = self.renamed(scope, value, Int64);
                let count = match unit.per_second() / from.per_second() {
                    0 => {
                        let divisor = self.number(scope, from.per_second() / unit.per_second());
                        scope.s.binary(BinaryOp::Div, count, divisor, Type::new(Int64, ty.nullable))
                    }
                    1 => count,
                    factor => self.times(scope, count, factor, on),
                };
                Some(self.renamed(scope, count, to))
            }
            (Timestamp(unit), Date32) => {
                let per_second = self.number(scope, unit.per_second());
                Some(scope.s.op(Op::Call(Function::Day, vec![value, per_second]), Type::new(Date32, ty.nullable)))
            }
            _ => None,
        }
    }

    /// Days, counted in a unit that there are so many of in a day.
    fn days_in(&mut self, scope: &mut Scope<'_>, date: Value, per_day: i64, to: SqlType, on: OnFailure) -> Value {
        let number = Type::new(SqlType::Int64, scope.s.ty(date).nullable);
        let days = self.renamed(scope, date, SqlType::Int32);
        let days = scope.s.unary(UnaryOp::Convert, days, number);
        // The days of a date32 may be more microseconds than there is room for, but never too many milliseconds.
        let count = if per_day <= 86_400_000 {
            let unit = self.number(scope, per_day);
            scope.s.binary(BinaryOp::Mul, days, unit, number)
        } else {
            self.times(scope, days, per_day, on)
        };
        self.renamed(scope, count, to)
    }

    /// A number of 64 bits so many times.
    fn times(&mut self, scope: &mut Scope<'_>, number: Value, factor: i64, on: OnFailure) -> Value {
        let ty = scope.s.ty(number);
        let many = self.number(scope, factor);
        if on == OnFailure::Raise {
            return scope.s.binary(BinaryOp::MulChecked, number, many, ty);
        }
        let fits = Type::boolean(ty.nullable);
        let [least, greatest] = [i64::MIN / factor, i64::MAX / factor].map(|end| self.number(scope, end));
        let least = scope.s.binary(BinaryOp::Ge, number, least, fits);
        let greatest = scope.s.binary(BinaryOp::Le, number, greatest, fits);
        let fits = scope.s.binary(BinaryOp::And, least, greatest, fits);
        scope.s.begin_region();
        let product = scope.s.binary(BinaryOp::Mul, number, many, ty);
        let then = scope.s.end_region(product);
        scope.s.begin_region();
        let null = self.constant(scope, ty.with_nullable(true), Datum::Null);
        let otherwise = scope.s.end_region(null);
        scope.s.op(Op::If(fits, Box::new(then), Box::new(otherwise)), ty.with_nullable(true))
    }
}
