//! LIKE and regular expressions.

use std::sync::Arc;

use datafusion::functions::regex;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, LikeExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::{Datum, Function, Op, SqlType, Type, UnaryOp, Value};
use stagefuse_runtime::is_regex;

use super::Scope;
use crate::lower::{Lowering, Result};

/// The text of a literal.
pub(super) fn text_of(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    expr.downcast_ref::<Literal>()?.value().try_as_str().flatten().map(str::to_string)
}

impl Lowering {
    pub(super) fn like(&mut self, scope: &mut Scope<'_>, like: &LikeExpr) -> Result<Option<Value>> {
        let text = self.scoped(scope, like.expr())?;
        if scope.s.ty(text).sql != SqlType::Utf8 {
            return Ok(None);
        }
        let ty = Type::boolean(scope.s.ty(text).nullable);
        let found = match text_of(like.pattern()) {
            Some(pattern) => {
                let pattern = self.p.literal(Type::new(SqlType::Utf8, false), Datum::Str(pattern));
                scope.s.op(if like.case_insensitive() { Op::Ilike(text, pattern) } else { Op::Like(text, pattern) }, ty)
            }
            None => {
                let pattern = self.scoped(scope, like.pattern())?;
                if scope.s.ty(pattern).sql != SqlType::Utf8 {
                    return Ok(None);
                }
                let ty = Type::boolean(ty.nullable || scope.s.ty(pattern).nullable);
                let function = if like.case_insensitive() { Function::IlikeText } else { Function::LikeText };
                scope.s.op(Op::Call(function, vec![text, pattern]), ty)
            }
        };
        let ty = scope.s.ty(found);
        Ok(Some(if like.negated() { scope.s.unary(UnaryOp::Not, found, ty) } else { found }))
    }

    /// The operators that look for a regular expression, `None` for others.
    pub(super) fn regex_match(&mut self, scope: &mut Scope<'_>, binary: &BinaryExpr) -> Result<Option<Value>> {
        let (any_case, negated) = match binary.op() {
            Operator::RegexMatch => (false, false),
            Operator::RegexIMatch => (true, false),
            Operator::RegexNotMatch => (false, true),
            Operator::RegexNotIMatch => (true, true),
            _ => return Ok(None),
        };
        let Some(pattern) = text_of(binary.right()) else { return Ok(None) };
        let pattern = if any_case { format!("(?i){pattern}") } else { pattern };
        let Some(found) = self.regex_found(scope, binary.left(), pattern)? else { return Ok(None) };
        let ty = scope.s.ty(found);
        Ok(Some(if negated { scope.s.unary(UnaryOp::Not, found, ty) } else { found }))
    }

    /// Functions of regular expressions that are the same for all rows, as their flags are.
    pub(super) fn regex_function(&mut self, scope: &mut Scope<'_>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let Some(pattern) = call.args().get(1).and_then(text_of) else { return Ok(None) };
        if call.fun() == regex::regexp_like().as_ref() {
            let pattern = match call.args().get(2).map(text_of) {
                None => pattern,
                Some(Some(flags)) if !flags.contains('g') => format!("(?{flags}){pattern}"),
                Some(_) => return Ok(None),
            };
            return self.regex_found(scope, &call.args()[0], pattern);
        }
        if call.fun() == regex::regexp_replace().as_ref() {
            let Some(with) = call.args().get(2).and_then(text_of) else { return Ok(None) };
            let (pattern, limit) = match call.args().get(3).map(text_of) {
                None => (pattern, 1),
                Some(Some(flags)) if flags == "g" => (pattern, 0),
                Some(Some(flags)) => (format!("(?{}){pattern}", flags.replace('g', "")), i64::from(!flags.contains('g'))),
                Some(None) => return Ok(None),
            };
            let text = self.scoped(scope, &call.args()[0])?;
            let ty = scope.s.ty(text);
            if ty.sql != SqlType::Utf8 || !is_regex(&pattern) {
                return Ok(None);
            }
            let args = vec![text, self.text(scope, pattern), self.text(scope, with), self.number(scope, limit)];
            return Ok(Some(scope.s.op(Op::Call(Function::RegexReplace, args), ty)));
        }
        Ok(None)
    }

    fn regex_found(&mut self, scope: &mut Scope<'_>, text: &Arc<dyn PhysicalExpr>, pattern: String) -> Result<Option<Value>> {
        // What is none is an error even where there is nothing to look at.
        if !is_regex(&pattern) {
            return Ok(None);
        }
        let text = self.scoped(scope, text)?;
        let ty = scope.s.ty(text);
        let pattern = self.text(scope, pattern);
        let found = Op::Call(Function::RegexFound, vec![text, pattern]);
        Ok((ty.sql == SqlType::Utf8).then(|| scope.s.op(found, Type::boolean(ty.nullable))))
    }

    fn text(&mut self, scope: &mut Scope<'_>, text: String) -> Value {
        self.constant(scope, Type::new(SqlType::Utf8, false), Datum::Str(text))
    }
}
