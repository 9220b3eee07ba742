//! Casts between the types whose rules the IR shares with Arrow.

use arrow::datatypes::DataType;
use datafusion::physical_expr::expressions::CastExpr;
use stagefuse_ir::{SqlType, UnaryOp, Value};

use super::Scope;
use crate::lower::{Lowering, Result, types};

impl Lowering {
    pub(super) fn cast(&mut self, scope: &mut Scope<'_>, cast: &CastExpr) -> Result<Option<Value>> {
        if cast.cast_options().safe {
            return Ok(None);
        }
        let Some(to) = types::ir_type(cast.cast_type(), false) else { return Ok(None) };
        let value = self.scoped(scope, cast.expr())?;
        let from = scope.s.ty(value);
        let to = to.with_nullable(from.nullable);
        if from.sql == to.sql {
            // A time zone is taken on or left by moving the timestamp; FixedSizeBinary refuses what has another size.
            let known = cast.expr().data_type(scope.schema).is_ok_and(|from| types::same_zone(&from, cast.cast_type()));
            let is_sized = matches!(cast.cast_type(), DataType::FixedSizeBinary(_));
            return Ok(Some(value).filter(|_| known && !is_sized));
        }
        let (f, t) = (from.sql, to.sql);
        let signed = |sql: SqlType| sql.is_integer() && !sql.is_unsigned();
        let op = match (f, t) {
            _ if signed(f) && signed(t) && t.default_repr() > f.default_repr() => UnaryOp::Convert,
            (_, SqlType::Float64) if f.is_integer() || f.scale().is_some() || f == SqlType::Float32 => UnaryOp::Convert,
            _ if f.is_integer() && t.is_integer() => UnaryOp::Cast,
            (_, SqlType::Decimal { scale, .. }) if (f.is_integer() || f.scale().is_some()) && scale >= 0 => UnaryOp::Cast,
            (SqlType::Float64, SqlType::Decimal { scale, .. }) if scale >= 0 => UnaryOp::Cast,
            _ => return Ok(None),
        };
        Ok(Some(scope.s.unary(op, value, to)))
    }
}
