//! Arithmetic, by Arrow's rules: integers wrap, decimals align their scales and fail beyond 128 bits.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{BinaryOp, Datum, Function, Op, SqlType, Type, UnaryOp, Value};

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
                let (a, b) = (self.rescale_beside(scope.s, a, scale - sa, b)?, self.rescale_beside(scope.s, b, scale - sb, a)?);
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
                let a = self.rescale_beside(scope.s, a, scale - sa + sb, b)?;
                Some(scope.s.binary(BinaryOp::Div, a, b, result))
            }
            _ => None,
        })
    }

    /// [`Self::rescale_up`] for an operand of an operation that is null where `other` is: there nothing may fail, as in Arrow's kernels.
    fn rescale_beside(&mut self, s: &mut StageBuilder, value: Value, digits: i8, other: Value) -> Result<Value> {
        let ty = s.ty(value);
        let fits = matches!(ty.sql, SqlType::Decimal { precision, .. } if i16::from(precision) + i16::from(digits) <= 38);
        if digits <= 0 || fits || !s.ty(other).nullable {
            return self.rescale_up(s, value, digits);
        }
        let null = s.unary(UnaryOp::IsNull, other, Type::boolean(false));
        s.begin_region();
        let ty = scaled_up(ty, digits).with_nullable(true);
        let none = self.p.literal(ty, Datum::Null);
        let none = s.op(Op::Literal(none), ty);
        let then = s.end_region(none);
        s.begin_region();
        let scaled = self.rescale_up(s, value, digits)?;
        let otherwise = s.end_region(scaled);
        Ok(s.op(Op::If(null, Box::new(then), Box::new(otherwise)), ty))
    }

    /// A decimal with `digits` more digits behind the point: a product with one, written with that many zeros.
    pub(crate) fn rescale_up(&mut self, s: &mut StageBuilder, value: Value, digits: i8) -> Result<Value> {
        let ty = s.ty(value);
        if digits <= 0 || !matches!(ty.sql, SqlType::Decimal { .. }) {
            return Ok(value);
        }
        let one = Type::new(SqlType::Decimal { precision: digits as u8 + 1, scale: digits }, false);
        let one_lit = self.p.literal(one, Datum::Int(10i128.pow(digits as u32)));
        let one = s.op(Op::Literal(one_lit), one);
        Ok(s.binary(BinaryOp::MulChecked, value, one, scaled_up(ty, digits)))
    }
}

/// The type of a decimal with so many more digits behind the point.
fn scaled_up(ty: Type, digits: i8) -> Type {
    match ty.sql {
        SqlType::Decimal { scale, .. } => Type::new(SqlType::Decimal { precision: 38, scale: scale + digits }, ty.nullable),
        _ => ty,
    }
}
