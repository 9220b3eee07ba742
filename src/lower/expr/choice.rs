//! Functions that choose one of their operands.

use std::sync::Arc;

use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::{BinaryOp, Function, Op, Type, UnaryOp, Value};

use super::Scope;
use crate::lower::{Lowering, Result};

impl Lowering {
    /// The greatest operand, or the least; null where all are null.
    pub(super) fn extreme(&mut self, scope: &mut Scope<'_>, call: &ScalarFunctionExpr, greatest: bool) -> Result<Option<Value>> {
        let types: Vec<_> = call.args().iter().map(|arg| arg.data_type(scope.schema).ok()).collect();
        if types.iter().any(|ty| *ty != types[0]) {
            return Ok(None);
        }
        // DataFusion compares literals first.
        let (literals, others): (Vec<_>, Vec<_>) = call.args().iter().partition(|arg| arg.is::<Literal>());
        let literal_count = literals.len();
        let mut best: Option<Value> = None;
        for arg in literals.into_iter().chain(others) {
            let value = self.scoped(scope, arg)?;
            let ty = scope.s.ty(value);
            // Whether -0.0 is less than 0.0 depends, there, on whether a batch has a null.
            if ty.sql.is_host() || ty.sql.is_float() && (ty.nullable || literal_count > 1) {
                return Ok(None);
            }
            best = Some(match best {
                None => value,
                Some(best) => self.better(scope, value, best, greatest),
            });
        }
        Ok(best)
    }

    /// A value, unless another is greater (or less), or it is null.
    fn better(&mut self, scope: &mut Scope<'_>, value: Value, other: Value, greatest: bool) -> Value {
        let (ty, other_type) = (scope.s.ty(value), scope.s.ty(other));
        let (a, b) = (self.unsigned_zero(scope.s, value), self.unsigned_zero(scope.s, other));
        let op = if greatest { BinaryOp::Ge } else { BinaryOp::Le };
        let mut chosen = scope.s.binary(op, a, b, Type::boolean(ty.nullable || other_type.nullable));
        if other_type.nullable {
            let none = scope.s.unary(UnaryOp::IsNull, other, Type::boolean(false));
            chosen = scope.s.binary(BinaryOp::Or, chosen, none, Type::boolean(scope.s.ty(chosen).nullable));
        }
        self.choose(scope, chosen, value, other)
    }

    /// The first value where a condition is true, else the second.
    fn choose(&mut self, scope: &mut Scope<'_>, condition: Value, value: Value, other: Value) -> Value {
        let ty = scope.s.ty(value).with_nullable(scope.s.ty(value).nullable || scope.s.ty(other).nullable);
        scope.s.begin_region();
        let then = scope.s.end_region(value);
        scope.s.begin_region();
        let otherwise = scope.s.end_region(other);
        scope.s.op(Op::If(condition, Box::new(then), Box::new(otherwise)), ty)
    }

    /// The first operand, unless it is no number.
    pub(super) fn nanvl(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        call: &ScalarFunctionExpr,
    ) -> Result<Option<Value>> {
        let [number, instead] = call.args() else { return Ok(None) };
        let Some(result) = self.result_type(scope, expr) else { return Ok(None) };
        let (number, instead) = (self.scoped(scope, number)?, self.scoped(scope, instead)?);
        let ty = scope.s.ty(number);
        if !ty.sql.is_float() || ty.sql != result.sql || scope.s.ty(instead).sql != result.sql {
            return Ok(None);
        }
        let wide = self.widened(scope, number);
        let is_nan = scope.s.op(Op::Call(Function::IsNan, vec![wide]), Type::boolean(ty.nullable));
        Ok(Some(self.choose(scope, is_nan, instead, number)))
    }
}
