//! Dates and times. Time zones are DataFusion's: what looks at the calendar is lowered for timestamps without one.

use std::str::FromStr;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::IntervalUnit;
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::functions::datetime;
use datafusion::functions::datetime::to_timestamp::{
    ToTimestampFunc, ToTimestampMicrosFunc, ToTimestampMillisFunc, ToTimestampNanosFunc, ToTimestampSecondsFunc,
};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::{BinaryOp, Datum, Function, Op, SqlType, TimePart, TimeUnit, Type, UnaryOp, Value};

use super::Scope;
use super::cast::OnFailure;
use super::pattern::text_of;
use crate::lower::{Lowering, Result, types};

const INT64: SqlType = SqlType::Int64;

impl Lowering {
    pub(super) fn time_function(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        call: &ScalarFunctionExpr,
    ) -> Result<Option<Value>> {
        let is = |known: Arc<datafusion::logical_expr::ScalarUDF>| call.fun() == known.as_ref();
        match call.args() {
            [part, time] if is(datetime::date_part()) => {
                let Some(part) = text_of(part) else { return Ok(None) };
                self.date_part(scope, expr, &part, time)
            }
            [part, time] if is(datetime::date_trunc()) => {
                let Some(part) = text_of(part) else { return Ok(None) };
                self.date_trunc(scope, &part.to_lowercase(), time)
            }
            [value] if makes_timestamp(expr) => self.timestamp_of(scope, expr, value),
            [value] if is(datetime::to_date()) => self.date_of(scope, value),
            [value] if is(datetime::to_unixtime()) => self.seconds_of(scope, value),
            [width, time] if is(datetime::date_bin()) => self.date_bin(scope, width, time, 0),
            [width, time, origin] if is(datetime::date_bin()) => match origin.downcast_ref::<Literal>().map(Literal::value) {
                Some(ScalarValue::TimestampNanosecond(Some(origin), _)) => self.date_bin(scope, width, time, *origin),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// A text, a number of some unit or another timestamp as a point in time without a zone.
    fn timestamp_of(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        value: &Arc<dyn PhysicalExpr>,
    ) -> Result<Option<Value>> {
        let zoned = expr.data_type(scope.schema).map_or(true, |ty| types::zone(&ty).is_some());
        let Some(SqlType::Timestamp(unit)) = self.result_type(scope, expr).map(|ty| ty.sql).filter(|_| !zoned) else { return Ok(None) };
        let to = SqlType::Timestamp(unit);
        let seconds = ScalarFunctionExpr::try_downcast_func::<ToTimestampFunc>(expr.as_ref()).is_some();
        let value = self.scoped(scope, value)?;
        let ty = scope.s.ty(value);
        Ok(match ty.sql {
            SqlType::Utf8 => {
                // All of them go through nanoseconds.
                let nanos = TimeUnit::Nanosecond.per_second();
                let args = vec![value, self.number(scope, nanos)];
                let number = Type::new(INT64, ty.nullable);
                let time =
                    scope.s.op(Op::Call(Function::ParseTimestamp, args), Type::new(SqlType::Timestamp(TimeUnit::Nanosecond), ty.nullable));
                let time = self.renamed(scope, time, INT64);
                let factor = self.number(scope, nanos / unit.per_second());
                let time = scope.s.binary(BinaryOp::Div, time, factor, number);
                Some(self.renamed(scope, time, to))
            }
            sql if seconds && sql.is_integer() => {
                let time = self.cast_value(scope, value, SqlType::Timestamp(TimeUnit::Second), OnFailure::Raise);
                time.and_then(|time| self.cast_value(scope, time, to, OnFailure::Raise))
            }
            sql if sql.is_integer() || !seconds && sql.is_float() || matches!(sql, SqlType::Timestamp(_)) => {
                self.cast_value(scope, value, to, OnFailure::Raise)
            }
            _ => None,
        })
    }

    fn date_of(&mut self, scope: &mut Scope<'_>, value: &Arc<dyn PhysicalExpr>) -> Result<Option<Value>> {
        let zoned = value.data_type(scope.schema).map_or(true, |ty| types::zone(&ty).is_some());
        let value = self.scoped(scope, value)?;
        Ok(match scope.s.ty(value).sql {
            SqlType::Timestamp(_) if zoned => None,
            SqlType::Utf8 | SqlType::Int32 | INT64 | SqlType::Date32 | SqlType::Date64 | SqlType::Timestamp(_) => {
                self.cast_value(scope, value, SqlType::Date32, OnFailure::Raise)
            }
            _ => None,
        })
    }

    fn seconds_of(&mut self, scope: &mut Scope<'_>, value: &Arc<dyn PhysicalExpr>) -> Result<Option<Value>> {
        let value = self.scoped(scope, value)?;
        let seconds = SqlType::Timestamp(TimeUnit::Second);
        Ok(match scope.s.ty(value).sql {
            sql if sql.is_integer() || sql.is_float() => self.cast_value(scope, value, INT64, OnFailure::Raise),
            SqlType::Date32 | SqlType::Timestamp(_) => {
                let time = self.cast_value(scope, value, seconds, OnFailure::Raise);
                time.and_then(|time| self.cast_value(scope, time, INT64, OnFailure::Raise))
            }
            // What zone a text is in is a setting.
            _ => None,
        })
    }

    /// The start of the bin that a point in time lies in, whatever its zone.
    fn date_bin(
        &mut self,
        scope: &mut Scope<'_>,
        width: &Arc<dyn PhysicalExpr>,
        time: &Arc<dyn PhysicalExpr>,
        origin: i64,
    ) -> Result<Option<Value>> {
        const DAY: i128 = 86_400_000_000_000;
        let width = match width.downcast_ref::<Literal>().map(Literal::value) {
            Some(ScalarValue::IntervalMonthDayNano(Some(width))) => *width,
            Some(ScalarValue::IntervalDayTime(Some(width))) => {
                IntervalMonthDayNano::new(0, width.days, i64::from(width.milliseconds) * 1_000_000)
            }
            _ => return Ok(None),
        };
        let nanos = i64::try_from(i128::from(width.days) * DAY + i128::from(width.nanoseconds));
        let (width, months) = match (width.months, nanos) {
            (0, Ok(nanos)) => (nanos, false),
            (months, Ok(0)) => (i64::from(months), true),
            _ => return Ok(None),
        };
        let time = self.scoped(scope, time)?;
        let SqlType::Timestamp(unit) = scope.s.ty(time).sql else { return Ok(None) };
        if width == 0 {
            return Ok(None);
        }
        let mut args = vec![time];
        args.extend([unit.per_second(), width, i64::from(months), origin].map(|number| self.number(scope, number)));
        Ok(Some(scope.s.op(Op::Call(Function::TimeBin, args), Type::new(SqlType::Timestamp(unit), true))))
    }

    /// What counts something as a number of its width, or the other way round.
    pub(super) fn renamed(&mut self, scope: &mut Scope<'_>, value: Value, sql: SqlType) -> Value {
        let ty = scope.s.ty(value);
        if ty.sql == sql { value } else { scope.s.unary(UnaryOp::Convert, value, Type::new(sql, ty.nullable)) }
    }

    /// A point in time without a zone, and how many of its unit make a second (0: it counts days).
    fn point(&mut self, scope: &mut Scope<'_>, time: &Arc<dyn PhysicalExpr>) -> Result<Option<(Value, i64)>> {
        let zoned = time.data_type(scope.schema).map_or(true, |ty| types::zone(&ty).is_some());
        let value = self.scoped(scope, time)?;
        Ok(match scope.s.ty(value).sql {
            SqlType::Date32 => Some((value, 0)),
            SqlType::Timestamp(unit) if !zoned => Some((value, unit.per_second())),
            _ => None,
        })
    }

    fn date_part(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        part: &str,
        time: &Arc<dyn PhysicalExpr>,
    ) -> Result<Option<Value>> {
        let part = unquoted(part);
        let Some((time, per_second)) = self.point(scope, time)? else { return Ok(None) };
        if part.eq_ignore_ascii_case("epoch") {
            return Ok(Some(self.epoch(scope, time, per_second)));
        }
        let Some(part) = part_of(part) else { return Ok(None) };
        let ty = scope.s.ty(time);
        let of_date = match part {
            TimePart::Year => Some(UnaryOp::Year),
            TimePart::Month => Some(UnaryOp::Month),
            TimePart::Day => Some(UnaryOp::Day),
            _ => None,
        };
        match of_date {
            Some(op) if ty.sql == SqlType::Date32 => return Ok(Some(self.part_of_date(scope, op, time))),
            _ => {}
        }
        // Of a date, DataFusion does not ask Arrow for these.
        if per_second == 0 && matches!(part, TimePart::Milliseconds | TimePart::Microseconds | TimePart::Nanoseconds) {
            return Ok(None);
        }
        let args = vec![time, self.number(scope, per_second), self.number(scope, part as i64)];
        self.call(scope, expr, Function::TimePart, args)
    }

    /// Year, month or day of a date: null beyond the calendar that Arrow knows. Passes drop the question where the answer is known.
    fn part_of_date(&mut self, scope: &mut Scope<'_>, op: UnaryOp, date: Value) -> Value {
        let ty = scope.s.ty(date);
        let within = Type::boolean(ty.nullable);
        let [least, greatest] =
            [-96_465_292, 95_026_236].map(|day| self.constant(scope, Type::new(SqlType::Date32, false), Datum::Int(day)));
        let least = scope.s.binary(BinaryOp::Ge, date, least, within);
        let greatest = scope.s.binary(BinaryOp::Le, date, greatest, within);
        let within = scope.s.binary(BinaryOp::And, least, greatest, within);
        let part = Type::new(SqlType::Int32, ty.nullable);
        scope.s.begin_region();
        let then = scope.s.unary(op, date, part);
        let then = scope.s.end_region(then);
        scope.s.begin_region();
        let null = self.constant(scope, part.with_nullable(true), Datum::Null);
        let otherwise = scope.s.end_region(null);
        scope.s.op(Op::If(within, Box::new(then), Box::new(otherwise)), part.with_nullable(true))
    }

    /// Seconds since 1970-01-01.
    fn epoch(&mut self, scope: &mut Scope<'_>, time: Value, per_second: i64) -> Value {
        let nullable = scope.s.ty(time).nullable;
        let float = Type::new(SqlType::Float64, nullable);
        let number = if per_second == 0 { SqlType::Int32 } else { INT64 };
        let number = self.renamed(scope, time, number);
        let number = scope.s.unary(UnaryOp::Convert, number, float);
        let (op, factor) = if per_second == 0 { (BinaryOp::Mul, 86_400.0) } else { (BinaryOp::Div, per_second as f64) };
        let factor = self.constant(scope, float.with_nullable(false), Datum::Float(f64::to_bits(factor)));
        scope.s.binary(op, number, factor, float)
    }

    fn date_trunc(&mut self, scope: &mut Scope<'_>, granularity: &str, time: &Arc<dyn PhysicalExpr>) -> Result<Option<Value>> {
        let Some((time, per_second @ 1..)) = self.point(scope, time)? else { return Ok(None) };
        let ty = scope.s.ty(time);
        let part = match granularity {
            "week" => TimePart::Week,
            "month" => TimePart::Month,
            "quarter" => TimePart::Quarter,
            "year" => TimePart::Year,
            _ => {
                let nanos = match granularity {
                    "day" => 86_400_000_000_000,
                    "hour" => 3_600_000_000_000,
                    "minute" => 60_000_000_000,
                    "second" => 1_000_000_000,
                    "millisecond" => 1_000_000,
                    "microsecond" => 1_000,
                    _ => return Ok(None),
                };
                return Ok(Some(self.floor_to(scope, time, nanos / (1_000_000_000 / per_second))));
            }
        };
        let args = vec![time, self.number(scope, per_second), self.number(scope, part as i64)];
        Ok(Some(scope.s.op(Op::Call(Function::TimeTrunc, args), ty)))
    }

    /// The greatest multiple of a unit that is not beyond a point in time.
    fn floor_to(&mut self, scope: &mut Scope<'_>, time: Value, unit: i64) -> Value {
        if unit <= 1 {
            return time;
        }
        let ty = scope.s.ty(time);
        let number = Type::new(INT64, ty.nullable);
        let count = self.renamed(scope, time, INT64);
        let unit = self.number(scope, unit);
        let rest = scope.s.binary(BinaryOp::Rem, count, unit, number);
        let rest = scope.s.binary(BinaryOp::Add, rest, unit, number);
        let rest = scope.s.binary(BinaryOp::Rem, rest, unit, number);
        let start = scope.s.binary(BinaryOp::Sub, count, rest, number);
        self.renamed(scope, start, ty.sql)
    }

    /// Sums and differences of points in time, spans and intervals.
    pub(super) fn time_arithmetic(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        binary: &BinaryExpr,
    ) -> Result<Option<Value>> {
        let back = *binary.op() == Operator::Minus;
        if !back && *binary.op() != Operator::Plus {
            return Ok(None);
        }
        match (interval_of(binary.left()), interval_of(binary.right())) {
            (None, Some(interval)) => return self.moved(scope, expr, binary.left(), interval, back),
            (Some(interval), None) if !back => return self.moved(scope, expr, binary.right(), interval, false),
            (None, None) => {}
            _ => return Ok(None),
        }
        let Some(result) = self.result_type(scope, expr) else { return Ok(None) };
        let (a, b) = (self.scoped(scope, binary.left())?, self.scoped(scope, binary.right())?);
        let (ta, tb) = (scope.s.ty(a), scope.s.ty(b));
        let nullable = ta.nullable || tb.nullable;
        let number = Type::new(INT64, nullable);
        let difference = match (ta.sql, tb.sql, result.sql) {
            (SqlType::Date32, SqlType::Date32, SqlType::Duration(TimeUnit::Second) | INT64) if back => {
                let int32 = |this: &mut Self, scope: &mut Scope<'_>, value: Value| {
                    let days = this.renamed(scope, value, SqlType::Int32);
                    scope.s.unary(UnaryOp::Convert, days, Type::new(INT64, scope.s.ty(value).nullable))
                };
                let (a, b) = (int32(self, scope, a), int32(self, scope, b));
                let days = scope.s.binary(BinaryOp::Sub, a, b, number);
                if result.sql == INT64 {
                    return Ok(Some(days));
                }
                let day = self.number(scope, 86_400);
                scope.s.binary(BinaryOp::Mul, days, day, number)
            }
            (SqlType::Timestamp(x), SqlType::Timestamp(y), SqlType::Duration(z)) if back && x == y && y == z => {
                let (a, b) = (self.renamed(scope, a, INT64), self.renamed(scope, b, INT64));
                scope.s.binary(BinaryOp::SubChecked, a, b, number)
            }
            (SqlType::Timestamp(x), SqlType::Duration(y), SqlType::Timestamp(z)) if x == y && y == z => {
                let (a, b) = (self.renamed(scope, a, INT64), self.renamed(scope, b, INT64));
                scope.s.binary(if back { BinaryOp::SubChecked } else { BinaryOp::AddChecked }, a, b, number)
            }
            _ => return Ok(None),
        };
        Ok(Some(self.renamed(scope, difference, result.sql)))
    }

    fn moved(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        time: &Arc<dyn PhysicalExpr>,
        interval: IntervalMonthDayNano,
        back: bool,
    ) -> Result<Option<Value>> {
        let Some((time, per_second)) = self.point(scope, time)? else { return Ok(None) };
        let result = self.result_type(scope, expr);
        if result.is_none_or(|result| result.sql != scope.s.ty(time).sql) {
            return Ok(None);
        }
        let mut args = vec![time];
        let numbers = [per_second, interval.months.into(), interval.days.into(), interval.nanoseconds, back.into()];
        args.extend(numbers.map(|number| self.number(scope, number)));
        self.call(scope, expr, Function::TimeAdd, args)
    }
}

/// Whether a function makes a point in time of many things.
fn makes_timestamp(expr: &Arc<dyn PhysicalExpr>) -> bool {
    ScalarFunctionExpr::try_downcast_func::<ToTimestampSecondsFunc>(expr.as_ref()).is_some()
        || ScalarFunctionExpr::try_downcast_func::<ToTimestampFunc>(expr.as_ref()).is_some()
        || ScalarFunctionExpr::try_downcast_func::<ToTimestampMillisFunc>(expr.as_ref()).is_some()
        || ScalarFunctionExpr::try_downcast_func::<ToTimestampMicrosFunc>(expr.as_ref()).is_some()
        || ScalarFunctionExpr::try_downcast_func::<ToTimestampNanosFunc>(expr.as_ref()).is_some()
}

/// An interval that is the same for all rows.
fn interval_of(expr: &Arc<dyn PhysicalExpr>) -> Option<IntervalMonthDayNano> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => Some(*interval),
        _ => None,
    }
}

/// A part's name without quotes around it.
fn unquoted(part: &str) -> &str {
    let quote = |c: char| c == '\'' || c == '"';
    part.strip_prefix(quote).and_then(|part| part.strip_suffix(quote)).unwrap_or(part)
}

/// The part of this name; DataFusion takes Arrow's names for the units of intervals, and some of its own.
fn part_of(part: &str) -> Option<TimePart> {
    Some(match IntervalUnit::from_str(part) {
        Ok(IntervalUnit::Year) => TimePart::Year,
        Ok(IntervalUnit::Month) => TimePart::Month,
        Ok(IntervalUnit::Week) => TimePart::Week,
        Ok(IntervalUnit::Day) => TimePart::Day,
        Ok(IntervalUnit::Hour) => TimePart::Hour,
        Ok(IntervalUnit::Minute) => TimePart::Minute,
        Ok(IntervalUnit::Second) => TimePart::Second,
        Ok(IntervalUnit::Millisecond) => TimePart::Milliseconds,
        Ok(IntervalUnit::Microsecond) => TimePart::Microseconds,
        Ok(IntervalUnit::Nanosecond) => TimePart::Nanoseconds,
        Ok(_) => return None,
        Err(_) => match part.to_lowercase().as_str() {
            "isoyear" => TimePart::IsoYear,
            "qtr" | "quarter" => TimePart::Quarter,
            "doy" => TimePart::DayOfYear,
            "dow" => TimePart::DayFromSunday,
            "isodow" => TimePart::IsoDay,
            _ => return None,
        },
    })
}
