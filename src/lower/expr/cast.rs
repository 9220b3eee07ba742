//! Casts between the types whose rules the IR shares with Arrow.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, TryCastExpr};
use stagefuse_ir::{BinaryOp, Datum, Function, Op, SqlType, Type, UnaryOp, Value};

use super::Scope;
use crate::lower::{Lowering, Result, types};

impl Lowering {
    pub(super) fn cast(&mut self, scope: &mut Scope<'_>, cast: &CastExpr) -> Result<Option<Value>> {
        if cast.cast_options().safe {
            return Ok(None);
        }
        self.cast_to(scope, cast.expr(), cast.cast_type(), true)
    }

    /// A cast whose failures are nulls: lowered where there are none.
    pub(super) fn try_cast(&mut self, scope: &mut Scope<'_>, cast: &TryCastExpr) -> Result<Option<Value>> {
        self.cast_to(scope, cast.expr(), cast.cast_type(), false)
    }

    fn cast_to(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, to: &DataType, may_fail: bool) -> Result<Option<Value>> {
        let Some(ty) = types::ir_type(to, false) else { return Ok(None) };
        // A time zone is taken on or left by moving the timestamp; FixedSizeBinary refuses what has another size.
        let known = expr.data_type(scope.schema).is_ok_and(|from| types::same_zone(&from, to));
        if !known || matches!(to, DataType::FixedSizeBinary(_)) {
            return Ok(None);
        }
        let zoned = types::zone(to).is_some();
        let value = self.scoped(scope, expr)?;
        let from = scope.s.ty(value);
        let to = ty.with_nullable(from.nullable);
        if from.sql == to.sql {
            return Ok(Some(value));
        }
        let (f, t) = (from.sql, to.sql);
        let signed = |sql: SqlType| sql.is_integer() && !sql.is_unsigned();
        let op = match (f, t) {
            _ if signed(f) && signed(t) && t.default_repr() > f.default_repr() => UnaryOp::Convert,
            (_, SqlType::Float64) if f.is_integer() || f.scale().is_some() || f == SqlType::Float32 => UnaryOp::Convert,
            (SqlType::Float64, SqlType::Float32) => UnaryOp::Convert,
            (SqlType::Boolean, t) if t.is_integer() => UnaryOp::Convert,
            (f, SqlType::Boolean) if f.is_integer() => {
                let zero = self.constant(scope, Type::new(f, false), Datum::Int(0));
                return Ok(Some(scope.s.binary(BinaryOp::Ne, value, zero, to)));
            }
            (SqlType::Int64, SqlType::Timestamp(_) | SqlType::Duration(_))
            | (SqlType::Timestamp(_) | SqlType::Duration(_), SqlType::Int64)
                if !zoned =>
            {
                return Ok(self.time_cast(scope, value, t));
            }
            (f, SqlType::Utf8) if f == SqlType::Boolean || f.is_integer() && f != SqlType::UInt64 => {
                let function = if f == SqlType::Boolean { Function::BooleanText } else { Function::WholeText };
                return Ok(Some(scope.s.op(Op::Call(function, vec![value]), to)));
            }
            _ if !may_fail => return Ok(None),
            (SqlType::Date32, SqlType::Utf8) => return Ok(Some(scope.s.op(Op::Call(Function::DateText, vec![value]), to))),
            _ if f.is_integer() && t.is_integer() => UnaryOp::Cast,
            (_, SqlType::Decimal { scale, .. }) if (f.is_integer() || f.scale().is_some()) && scale >= 0 => UnaryOp::Cast,
            (SqlType::Float64, SqlType::Decimal { scale, .. }) if scale >= 0 => UnaryOp::Cast,
            (SqlType::Float64, t) if t.is_integer() => UnaryOp::Cast,
            _ if !zoned => return Ok(self.time_cast(scope, value, t)),
            _ => return Ok(None),
        };
        Ok(Some(scope.s.unary(op, value, to)))
    }
}
