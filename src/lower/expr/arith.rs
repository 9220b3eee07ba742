//! Arithmetic, by Arrow's rules: integers wrap, decimals align their scales and fail beyond 128 bits.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{BinaryOp, Datum, Function, Op, SqlType, Type, Value};

use super::Scope;
use crate::lower::{Lowering, Result};

impl Lowering {
    pub(super) fn arithmetic(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, binary: &BinaryExpr) -> Result<Option<Value>> {
        let Some(result) = self.result_type(scope, expr) else { return Ok(None) };
        let dates = |side: &Arc<dyn PhysicalExpr>| side.data_type(scope.schema).is_ok_and(|ty| ty == DataType::Date32);
        if result.sql.is_temporal() || dates(binary.left()) && dates(binary.right()) {
            return self.time_arithmetic(scope, expr, binary);
        }
        let wrapping = match binary.op() {
            Operator::Plus => BinaryOp::Add,
            Operator::Minus => BinaryOp::Sub,
            Operator::Multiply => BinaryOp::Mul,
            Operator::Divide => BinaryOp::Div,
            Operator::Modulo => BinaryOp::Rem,
            Operator::BitwiseAnd => BinaryOp::BitAnd,
            Operator::BitwiseOr => BinaryOp::BitOr,
            Operator::BitwiseXor => BinaryOp::BitXor,
            Operator::BitwiseShiftLeft => BinaryOp::ShiftLeft,
            Operator::BitwiseShiftRight => BinaryOp::ShiftRight,
            Operator::StringConcat => {
                let args = vec![self.scoped(scope, binary.left())?, self.scoped(scope, binary.right())?];
                return self.call(scope, expr, Function::Concat, args);
            }
            _ => return Ok(None),
        };
        let (a, b) = (self.scoped(scope, binary.left())?, self.scoped(scope, binary.right())?);
        let (ta, tb) = (scope.s.ty(a), scope.s.ty(b));
        let result = result.with_nullable(ta.nullable || tb.nullable);
        if let (SqlType::Decimal { scale: sa, .. }, SqlType::Decimal { scale: sb, .. }, SqlType::Decimal { scale, .. }) =
            (ta.sql, tb.sql, result.sql)
        {
            return self.decimal(scope, wrapping, (a, sa), (b, sb), result, scale);
        }
        let number = ta.sql.is_integer() || ta.sql.is_float();
        let bits = matches!(wrapping, BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::ShiftLeft | BinaryOp::ShiftRight);
        if ta.sql != tb.sql || ta.sql != result.sql || !number || bits && !ta.sql.is_integer() {
            return Ok(None);
        }
        // Whether overflow fails can only be told by building the expression anew.
        let plain = BinaryExpr::new(Arc::clone(binary.left()), *binary.op(), Arc::clone(binary.right()));
        let op = match (wrapping, plain == *binary || ta.sql.is_float()) {
            (BinaryOp::Add, false) => BinaryOp::AddChecked,
            (BinaryOp::Sub, false) => BinaryOp::SubChecked,
            (BinaryOp::Mul, false) => BinaryOp::MulChecked,
            (op, _) => op,
        };
        Ok(Some(scope.s.binary(op, a, b, result)))
    }

    fn decimal(
        &mut self,
        scope: &mut Scope<'_>,
        op: BinaryOp,
        (a, sa): (Value, i8),
        (b, sb): (Value, i8),
        result: Type,
        scale: i8,
    ) -> Result<Option<Value>> {
        Ok(match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Rem if scale == sa.max(sb) => {
                let (a, b) = (self.rescale_up(scope.s, a, scale - sa)?, self.rescale_up(scope.s, b, scale - sb)?);
                let op = match op {
                    BinaryOp::Add => BinaryOp::AddChecked,
                    BinaryOp::Sub => BinaryOp::SubChecked,
                    other => other,
                };
                Some(scope.s.binary(op, a, b, result))
            }
            BinaryOp::Mul if i16::from(scale) == i16::from(sa) + i16::from(sb) => Some(scope.s.binary(BinaryOp::MulChecked, a, b, result)),
            // The dividend gets the digits that the quotient shall have.
            BinaryOp::Div if i16::from(scale) - i16::from(sa) + i16::from(sb) >= 0 => {
                let a = self.rescale_up(scope.s, a, scale - sa + sb)?;
                Some(scope.s.binary(BinaryOp::Div, a, b, result))
            }
            _ => None,
        })
    }

    /// A decimal with `digits` more digits behind the point: a product with one, written with that many zeros.
    pub(crate) fn rescale_up(&mut self, s: &mut StageBuilder, value: Value, digits: i8) -> Result<Value> {
        let ty = s.ty(value);
        let SqlType::Decimal { scale, .. } = ty.sql else { return Ok(value) };
        if digits <= 0 {
            return Ok(value);
        }
        let one = Type::new(SqlType::Decimal { precision: digits as u8 + 1, scale: digits }, false);
        let one_lit = self.p.literal(one, Datum::Int(10i128.pow(digits as u32)));
        let one = s.op(Op::Literal(one_lit), one);
        let ty = Type::new(SqlType::Decimal { precision: 38, scale: scale + digits }, ty.nullable);
        Ok(s.binary(BinaryOp::MulChecked, value, one, ty))
    }
}
