//! Rounding, cutting and logarithms.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::{Datum, Function, Op, SqlType, Type, UnaryOp, Value};

use super::Scope;
use crate::lower::{Lowering, Result, types};

/// More decimal digits than 128 bits hold: all of them.
const ALL_DIGITS: i64 = 39;

/// The digits behind the point that a function shall keep: 0 where it does not say.
fn digits_of(call: &ScalarFunctionExpr) -> Option<i64> {
    match call.args().get(1) {
        None => Some(0),
        Some(digits) => match digits.downcast_ref::<Literal>()?.value() {
            ScalarValue::Int32(digits) => digits.map(i64::from),
            ScalarValue::Int64(digits) => *digits,
            _ => None,
        },
    }
}

impl Lowering {
    /// What rounds an integer or a decimal to a constant number of digits.
    pub(super) fn round_exact(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        call: &ScalarFunctionExpr,
    ) -> Result<Option<Value>> {
        let (Some(result), Some(digits), Some(arg)) = (self.result_type(scope, expr), digits_of(call), call.args().first()) else {
            return Ok(None);
        };
        let Some(from) = arg.data_type(scope.schema).ok().and_then(|ty| types::ir_type(&ty, true)) else { return Ok(None) };
        match (from.sql, result.sql) {
            (from, to) if from == to && from.is_integer() && digits >= 0 => self.scoped(scope, arg).map(Some),
            (SqlType::Decimal { precision, scale: scale @ 0.. }, SqlType::Decimal { precision: wide, scale: kept @ 0.. }) => {
                if digits >= 0 && (precision != wide || i64::from(kept) != digits.min(scale.into())) {
                    return Ok(None);
                }
                // There DataFusion checks the precision.
                if digits < 0 && (kept != 0 || wide == 38 && scale == 0) {
                    return Ok(None);
                }
                let value = self.scoped(scope, arg)?;
                let ty = result.with_nullable(scope.s.ty(value).nullable);
                let scale = i64::from(scale);
                Ok(Some(match digits {
                    0.. if i64::from(kept) == scale => value,
                    // A cast rounds as `round` does.
                    0.. => scope.s.unary(UnaryOp::Cast, value, ty),
                    // Nothing is left of it.
                    _ if -digits > i64::from(precision) - scale => {
                        let all = self.number(scope, ALL_DIGITS);
                        scope.s.op(Op::Call(Function::TruncDecimal, vec![value, all]), ty)
                    }
                    _ => {
                        let args = vec![value, self.number(scope, scale - digits), self.number(scope, -digits)];
                        scope.s.op(Op::Call(Function::RoundDecimal, args), ty)
                    }
                }))
            }
            _ => Ok(None),
        }
    }

    /// Towards zero, to so many digits behind the point.
    pub(super) fn trunc(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        call: &ScalarFunctionExpr,
    ) -> Result<Option<Value>> {
        let args = self.arguments(scope, call)?;
        let Some(arg) = args.first().copied() else { return Ok(None) };
        let ty = scope.s.ty(arg);
        if let SqlType::Decimal { scale, .. } = ty.sql {
            let known = self.result_type(scope, expr).is_some_and(|result| result.sql == ty.sql);
            let Some(digits) = digits_of(call).filter(|_| known) else { return Ok(None) };
            return Ok(Some(match i64::from(scale).saturating_sub(digits) {
                ..=0 => arg,
                cut => {
                    let cut = self.number(scope, if cut >= 38 { ALL_DIGITS } else { cut });
                    scope.s.op(Op::Call(Function::TruncDecimal, vec![arg, cut]), Type::new(ty.sql, ty.nullable))
                }
            }));
        }
        // With a second operand it is another function: it keeps the sign of zero.
        let function = if args.len() == 1 { Function::Trunc } else { Function::TruncDigits };
        self.call(scope, expr, function, args)
    }

    /// A logarithm to a base, or to 10.
    pub(super) fn log(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let mut args = self.arguments(scope, call)?;
        if args.len() == 1 {
            let ten = self.constant(scope, Type::new(SqlType::Float64, false), Datum::Float(10f64.to_bits()));
            args.insert(0, ten);
        }
        args.reverse();
        self.call(scope, expr, Function::Log, args)
    }
}
