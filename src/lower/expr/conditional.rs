//! CASE, as nested conditionals: a branch is evaluated only for its rows.

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CaseExpr;
use stagefuse_ir::{BinaryOp, Datum, Op, Type, Value};

use super::Scope;
use crate::lower::{Lowering, Result};

impl Lowering {
    pub(super) fn case(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, case: &CaseExpr) -> Result<Option<Value>> {
        let Some(ty) = self.any_result_type(scope, expr) else { return Ok(None) };
        let operand = match case.expr() {
            Some(operand) => Some(self.scoped(scope, operand)?),
            None => None,
        };
        self.branch(scope, case, operand, 0, ty.with_nullable(true))
    }

    /// The branches from number `index` on; none where one has no lowering of the result's type.
    fn branch(&mut self, scope: &mut Scope<'_>, case: &CaseExpr, operand: Option<Value>, index: usize, ty: Type) -> Result<Option<Value>> {
        let Some((when, then)) = case.when_then_expr().get(index) else {
            return match case.else_expr() {
                Some(otherwise) => Ok(Some(self.scoped(scope, otherwise)?).filter(|value| scope.s.ty(*value).sql == ty.sql)),
                None => {
                    let null = self.p.literal(ty, Datum::Null);
                    Ok(Some(scope.s.op(Op::Literal(null), ty)))
                }
            };
        };
        let mut condition = self.scoped(scope, when)?;
        if let Some(operand) = operand {
            let (a, b) = (scope.s.ty(operand), scope.s.ty(condition));
            if a.sql != b.sql || a.sql.is_host() {
                return Ok(None);
            }
            condition = scope.s.binary(BinaryOp::Eq, operand, condition, Type::boolean(a.nullable || b.nullable));
        }
        scope.s.begin_region();
        let then = self.scoped(scope, then);
        let then = match then {
            Ok(value) => scope.s.end_region(value),
            Err(error) => return Err(error),
        };
        scope.s.begin_region();
        scope.depth += 1;
        let otherwise = self.branch(scope, case, operand, index + 1, ty)?;
        scope.depth -= 1;
        let Some(otherwise) = otherwise else {
            // What the region holds is dropped with it; unused operations before it do no harm.
            scope.s.end_region(condition);
            return Ok(None);
        };
        let otherwise = scope.s.end_region(otherwise);
        let (a, b) = (scope.s.ty(then.result), scope.s.ty(otherwise.result));
        if a.sql != ty.sql || b.sql != ty.sql {
            return Ok(None);
        }
        let ty = ty.with_nullable(a.nullable || b.nullable);
        Ok(Some(scope.s.op(Op::If(condition, Box::new(then), Box::new(otherwise)), ty)))
    }
}
