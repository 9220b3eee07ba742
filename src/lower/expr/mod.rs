//! Expressions.

mod arith;
mod cast;
mod choice;
mod conditional;
mod digits;
mod function;
mod literal;
mod opaque;
mod pattern;
mod time;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::functions::unicode::character_length::CharacterLengthFunc;
use datafusion::functions::unicode::substr::SubstrFunc;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{BinaryOp, Datum, Op, ParamDecl, SqlType, Type, UnaryOp, Value};

pub(crate) use literal::datum;

use super::{Lowering, Result, declined, types};

/// Deeper nesting than this is left to DataFusion, which has a stack for it.
const MAX_DEPTH: usize = 200;

/// What an expression is lowered against.
pub(crate) struct Scope<'a> {
    pub(crate) s: &'a mut StageBuilder,
    pub(crate) columns: &'a [Option<Value>],
    pub(crate) schema: &'a SchemaRef,
    depth: usize,
}

impl Lowering {
    /// Lowers an expression over the columns of a plan node; one that the IR has no words for becomes opaque.
    pub(crate) fn expr(
        &mut self,
        s: &mut StageBuilder,
        columns: &[Option<Value>],
        schema: &SchemaRef,
        expr: &Arc<dyn PhysicalExpr>,
    ) -> Result<Value> {
        self.scoped(&mut Scope { s, columns, schema, depth: 0 }, expr)
    }

    fn scoped(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>) -> Result<Value> {
        if scope.depth >= MAX_DEPTH {
            return self.opaque(scope, expr);
        }
        scope.depth += 1;
        let (mark, opaques) = (scope.s.mark(), self.opaques.len());
        let value = self.known(scope, expr);
        scope.depth -= 1;
        match value? {
            // What only some rows reach cannot be lifted out of a stage: then DataFusion evaluates all of it, which knows which rows those are.
            Some(value) if self.opaques.len() == opaques || !scope.s.has_nested_opaque(mark) => Ok(value),
            _ => {
                scope.s.take_back(mark);
                self.take_back_opaques(opaques);
                self.opaque(scope, expr)
            }
        }
    }

    fn take_back_opaques(&mut self, count: usize) {
        if self.opaques.len() > count {
            self.opaques.truncate(count);
            let known = std::mem::take(&mut self.p.program_mut().opaques);
            self.p.program_mut().opaques = known.into_iter().take(count).map(|(_, decl)| decl).collect();
        }
    }

    /// The value of an expression that the IR has words for.
    fn known(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Value>> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return match scope.columns.get(column.index()).copied().flatten() {
                Some(value) => Ok(Some(value)),
                None => declined(format!("column {} is of a type that the IR does not have", column.name())),
            };
        }
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            return Ok(self.literal(scope, literal.value()));
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return self.binary(scope, expr, binary);
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            let arg = self.scoped(scope, not.arg())?;
            return Ok(Some(scope.s.unary(UnaryOp::Not, arg, scope.s.ty(arg))));
        }
        if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
            let arg = self.scoped(scope, is_null.arg())?;
            return Ok(Some(scope.s.unary(UnaryOp::IsNull, arg, Type::boolean(false))));
        }
        if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
            let arg = self.scoped(scope, is_not_null.arg())?;
            return Ok(Some(scope.s.unary(UnaryOp::IsNotNull, arg, Type::boolean(false))));
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            return self.negative(scope, negative);
        }
        if expr.is::<ScalarSubqueryExpr>() {
            return Ok(self.subquery(scope, expr));
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            return self.cast(scope, cast);
        }
        if let Some(cast) = expr.downcast_ref::<TryCastExpr>() {
            return self.try_cast(scope, cast);
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            return self.case(scope, expr, case);
        }
        if let Some(like) = expr.downcast_ref::<LikeExpr>() {
            return self.like(scope, like);
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            return self.in_list(scope, list);
        }
        if let Some(function) = ScalarFunctionExpr::try_downcast_func::<SubstrFunc>(expr.as_ref()) {
            return self.substr(scope, function);
        }
        if let Some(function) = ScalarFunctionExpr::try_downcast_func::<CharacterLengthFunc>(expr.as_ref()) {
            return self.character_length(scope, expr, function);
        }
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            return self.function(scope, expr, call);
        }
        Ok(None)
    }

    fn binary(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, binary: &BinaryExpr) -> Result<Option<Value>> {
        let comparison = match binary.op() {
            Operator::And | Operator::Or => return self.and_or(scope, binary).map(Some),
            Operator::Eq => Some(BinaryOp::Eq),
            Operator::NotEq => Some(BinaryOp::Ne),
            Operator::Lt => Some(BinaryOp::Lt),
            Operator::LtEq => Some(BinaryOp::Le),
            Operator::Gt => Some(BinaryOp::Gt),
            Operator::GtEq => Some(BinaryOp::Ge),
            Operator::IsDistinctFrom => Some(BinaryOp::Distinct),
            Operator::IsNotDistinctFrom => Some(BinaryOp::NotDistinct),
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                return self.regex_match(scope, binary);
            }
            _ => None,
        };
        let Some(op) = comparison else { return self.arithmetic(scope, expr, binary) };
        let (a, b) = (self.scoped(scope, binary.left())?, self.scoped(scope, binary.right())?);
        let (ta, tb) = (scope.s.ty(a), scope.s.ty(b));
        let (a, b) = match (ta.sql.scale(), tb.sql.scale()) {
            (Some(sa), Some(sb)) => (self.rescale_up(scope.s, a, (sb - sa).max(0))?, self.rescale_up(scope.s, b, (sa - sb).max(0))?),
            // Arrow 59 holds -0.0 and 0.0 equal; the IR's order does not. A sum with 0.0 turns one into the other.
            _ if ta.sql == tb.sql && ta.sql.is_float() => (self.unsigned_zero(scope.s, a), self.unsigned_zero(scope.s, b)),
            _ if ta.sql == tb.sql && !ta.sql.is_host() && self.one_zone(scope, binary.left(), binary.right()) => (a, b),
            _ => return Ok(None),
        };
        let own = matches!(op, BinaryOp::Distinct | BinaryOp::NotDistinct);
        let nullable = !own && (ta.nullable || tb.nullable);
        Ok(Some(scope.s.binary(op, a, b, Type::boolean(nullable))))
    }

    /// Whether two expressions have no time zones, or the same.
    fn one_zone(&self, scope: &Scope<'_>, a: &Arc<dyn PhysicalExpr>, b: &Arc<dyn PhysicalExpr>) -> bool {
        let (a, b) = (a.data_type(scope.schema), b.data_type(scope.schema));
        a.is_ok_and(|a| b.is_ok_and(|b| types::same_zone(&a, &b)))
    }

    /// A float with 0.0 in the place of -0.0; other values as they are.
    pub(crate) fn unsigned_zero(&mut self, s: &mut StageBuilder, value: Value) -> Value {
        let ty = s.ty(value);
        if !ty.sql.is_float() {
            return value;
        }
        let zero_type = ty.with_nullable(false);
        let zero = self.p.literal(zero_type, Datum::Float(0f64.to_bits()));
        let zero = s.op(Op::Literal(zero), zero_type);
        s.binary(BinaryOp::Add, value, zero, ty)
    }

    /// AND and OR. A right side that can fail is evaluated only where the left side leaves the result open.
    fn and_or(&mut self, scope: &mut Scope<'_>, binary: &BinaryExpr) -> Result<Value> {
        let is_and = *binary.op() == Operator::And;
        let a = self.scoped(scope, binary.left())?;
        scope.s.begin_region();
        let b = self.scoped(scope, binary.right())?;
        let region = scope.s.end_region(b);
        let ty = Type::boolean(scope.s.ty(a).nullable || scope.s.ty(b).nullable);
        let op = if is_and { BinaryOp::And } else { BinaryOp::Or };
        if !region.body.iter().any(|(_, op)| op.can_fail()) {
            scope.s.adopt(region);
            return Ok(scope.s.binary(op, a, b, ty));
        }
        // The left side decides where it is false (and) or true (or).
        let decides = if is_and { scope.s.unary(UnaryOp::Not, a, scope.s.ty(a)) } else { a };
        scope.s.begin_region();
        let decided = self.p.literal(Type::boolean(false), Datum::Bool(!is_and));
        let decided = scope.s.op(Op::Literal(decided), Type::boolean(false));
        let then = scope.s.end_region(decided);
        scope.s.begin_region();
        scope.s.adopt(region);
        let both = scope.s.binary(op, a, b, ty);
        let otherwise = scope.s.end_region(both);
        Ok(scope.s.op(Op::If(decides, Box::new(then), Box::new(otherwise)), ty))
    }

    /// Both conditions.
    pub(crate) fn both(&mut self, s: &mut StageBuilder, a: Value, b: Value) -> Value {
        let ty = Type::boolean(s.ty(a).nullable || s.ty(b).nullable);
        s.binary(BinaryOp::And, a, b, ty)
    }

    /// Of floats, as of others, the bits are compared: -0.0 is not 0.0 here.
    fn in_list(&mut self, scope: &mut Scope<'_>, list: &InListExpr) -> Result<Option<Value>> {
        let value = self.scoped(scope, list.expr())?;
        let ty = scope.s.ty(value);
        let (mut lits, mut has_null) = (vec![], false);
        for item in list.list() {
            let Some(literal) = item.downcast_ref::<Literal>() else { return Ok(None) };
            match literal::datum(literal.value()) {
                Some((_, Datum::Null)) => has_null = true,
                Some((sql, datum)) if sql == ty.sql => lits.push(self.p.literal(Type::new(sql, false), datum)),
                _ => return Ok(None),
            }
        }
        if ty.sql.is_host() {
            return Ok(None);
        }
        let mut found = scope.s.op(Op::In(value, lits), Type::boolean(ty.nullable));
        if has_null {
            // What is not among the others may be equal to the null.
            let maybe = Type::boolean(true);
            let null = self.p.literal(maybe, Datum::Null);
            let null = scope.s.op(Op::Literal(null), maybe);
            found = scope.s.binary(BinaryOp::Or, found, null, maybe);
        }
        let ty = scope.s.ty(found);
        Ok(Some(if list.negated() { scope.s.unary(UnaryOp::Not, found, ty) } else { found }))
    }

    /// Integers wrap, as in DataFusion. A decimal's opposite has as many digits.
    fn negative(&mut self, scope: &mut Scope<'_>, negative: &NegativeExpr) -> Result<Option<Value>> {
        let arg = self.scoped(scope, negative.arg())?;
        let ty = scope.s.ty(arg);
        let op = match ty.sql {
            SqlType::Decimal { .. } => UnaryOp::NegChecked,
            sql if sql.is_float() || (sql.is_integer() && !sql.is_unsigned()) => UnaryOp::Neg,
            _ => return Ok(None),
        };
        Ok(Some(scope.s.unary(op, arg, ty)))
    }

    /// The value of a scalar subquery, which DataFusion computes before the stages that use it start.
    fn subquery(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>) -> Option<Value> {
        let ty = self.result_type(scope, expr)?.with_nullable(true);
        let param = self.p.param(ParamDecl { name: "a scalar subquery".to_string(), ty });
        self.params.push(Arc::clone(expr));
        Some(scope.s.op(Op::Param(param), ty))
    }

    fn character_length(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        function: &ScalarFunctionExpr,
    ) -> Result<Option<Value>> {
        let [text] = function.args() else { return Ok(None) };
        let result = self.result_type(scope, expr);
        let text = self.scoped(scope, text)?;
        let ty = scope.s.ty(text);
        let fits = ty.sql == SqlType::Utf8 && result.is_some_and(|result| result.sql == SqlType::Int32);
        Ok(fits.then(|| scope.s.unary(UnaryOp::CharLength, text, Type::new(SqlType::Int32, ty.nullable))))
    }

    fn substr(&mut self, scope: &mut Scope<'_>, function: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let mut args = vec![];
        for arg in function.args() {
            args.push(self.scoped(scope, arg)?);
        }
        let is = |value: Option<&Value>, sql: SqlType| value.is_none_or(|value| scope.s.ty(*value).sql == sql);
        let fits = is(args.first(), SqlType::Utf8) && is(args.get(1), SqlType::Int64) && is(args.get(2), SqlType::Int64);
        if !fits || !(2..=3).contains(&args.len()) {
            return Ok(None);
        }
        let nullable = args.iter().any(|arg| scope.s.ty(*arg).nullable);
        let op = Op::Substr(args[0], args[1], args.get(2).copied());
        Ok(Some(scope.s.op(op, Type::new(SqlType::Utf8, nullable))))
    }

    /// The type of an expression's result, be it one that only the host knows.
    fn any_result_type(&mut self, scope: &Scope<'_>, expr: &Arc<dyn PhysicalExpr>) -> Option<Type> {
        let nullable = expr.nullable(scope.schema).unwrap_or(true);
        Some(self.any_type(&expr.data_type(scope.schema).ok()?, nullable))
    }

    /// The IR's type of an expression's result.
    fn result_type(&self, scope: &Scope<'_>, expr: &Arc<dyn PhysicalExpr>) -> Option<Type> {
        let nullable = expr.nullable(scope.schema).unwrap_or(true);
        types::ir_type(&expr.data_type(scope.schema).ok()?, nullable)
    }
}
