//! DataFusion's functions that both engines call.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::functions::{core, datetime, math, string, unicode};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::{BinaryOp, Datum, Function, Op, SqlType, Type, UnaryOp, Value};

use super::Scope;
use crate::lower::{Lowering, Result};

/// A function of DataFusion's, which makes the one instance of it that there is.
type Known = fn() -> Arc<ScalarUDF>;

/// Functions that take what ours take, in order.
const ALIKE: &[(Known, Function)] = &[
    (string::upper, Function::Upper),
    (string::lower, Function::Lower),
    (string::replace, Function::Replace),
    (string::starts_with, Function::StartsWith),
    (string::ends_with, Function::EndsWith),
    (string::contains, Function::Contains),
    (string::split_part, Function::SplitPart),
    (string::repeat, Function::Repeat),
    (string::octet_length, Function::ByteLength),
    (string::ascii, Function::CharCode),
    (unicode::left, Function::Left),
    (unicode::right, Function::Right),
    (unicode::reverse, Function::Reverse),
    (unicode::strpos, Function::Position),
    (unicode::initcap, Function::InitCap),
    (unicode::translate, Function::Translate),
    (unicode::find_in_set, Function::FindInSet),
    (unicode::substr_index, Function::SubstrIndex),
    (string::chr, Function::Chr),
    (string::to_hex, Function::Hex),
    (string::levenshtein, Function::Levenshtein),
    (math::gcd, Function::Gcd),
    (math::lcm, Function::Lcm),
    (math::factorial, Function::Factorial),
    (datetime::make_date, Function::MakeDate),
    (math::sqrt, Function::Sqrt),
    (math::floor, Function::Floor),
    (math::ceil, Function::Ceil),
    (math::exp, Function::Exp),
    (math::ln, Function::Ln),
    (math::log2, Function::Log2),
    (math::log10, Function::Log10),
    (math::power, Function::Power),
    (math::signum, Function::Signum),
    (math::sin, Function::Sin),
    (math::cos, Function::Cos),
    (math::tan, Function::Tan),
    (math::asin, Function::Asin),
    (math::acos, Function::Acos),
    (math::atan, Function::Atan),
    (math::sinh, Function::Sinh),
    (math::cosh, Function::Cosh),
    (math::tanh, Function::Tanh),
    (math::asinh, Function::Asinh),
    (math::acosh, Function::Acosh),
    (math::atanh, Function::Atanh),
    (math::radians, Function::Radians),
    (math::degrees, Function::Degrees),
    (math::cot, Function::Cot),
    (math::cbrt, Function::Cbrt),
    (math::atan2, Function::Atan2),
    (math::isnan, Function::IsNan),
    (math::iszero, Function::IsZero),
];

/// Functions of floats whose result, computed in 64 bits, is that of 32 bits.
const EXACT: &[Function] =
    &[Function::Floor, Function::Ceil, Function::Trunc, Function::Sqrt, Function::Signum, Function::IsNan, Function::IsZero];

/// Functions whose last operand may be left out.
const PADDED: &[(Known, Function, usize, Rest)] = &[
    (string::btrim, Function::Trim, 2, Rest::Space),
    (string::ltrim, Function::TrimStart, 2, Rest::Space),
    (string::rtrim, Function::TrimEnd, 2, Rest::Space),
    (unicode::lpad, Function::PadStart, 3, Rest::Space),
    (unicode::rpad, Function::PadEnd, 3, Rest::Space),
    (math::round, Function::Round, 2, Rest::Zero),
];

/// What stands for an operand that was left out.
#[derive(Copy, Clone)]
enum Rest {
    Space,
    Zero,
}

/// Whether DataFusion refuses a call whatever the rows, for one of its operands.
fn refused(call: &ScalarFunctionExpr) -> bool {
    let number = |at: usize| match call.args().get(at)?.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(number) => *number,
        _ => None,
    };
    let is = |known: Known| call.fun() == known().as_ref();
    is(string::split_part) && number(2) == Some(0)
        || (is(unicode::lpad) || is(unicode::rpad)) && number(1).is_some_and(|length| length > i64::from(i32::MAX))
}

impl Lowering {
    /// A call of a function, if it takes what it is given.
    pub(super) fn function(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        call: &ScalarFunctionExpr,
    ) -> Result<Option<Value>> {
        // DataFusion has rules of its own for what is the same for all rows, and mostly computes it while it plans.
        if collect_columns(expr).is_empty() || refused(call) {
            return Ok(None);
        }
        let is = |known: Known| call.fun() == known().as_ref();
        if is(core::nullif) {
            return self.nullif(scope, call);
        }
        if is(string::concat) {
            return self.concat(scope, expr, call);
        }
        if is(math::abs) {
            return self.abs(scope, call);
        }
        if is(string::bit_length) {
            return self.bit_length(scope, expr, call);
        }
        if is(math::round)
            && let Some(rounded) = self.round_exact(scope, expr, call)?
        {
            return Ok(Some(rounded));
        }
        if is(math::trunc) {
            return self.trunc(scope, expr, call);
        }
        if is(math::log) {
            return self.log(scope, expr, call);
        }
        if is(core::greatest) || is(core::least) {
            return self.extreme(scope, call, is(core::greatest));
        }
        if is(math::nanvl) {
            return self.nanvl(scope, expr, call);
        }
        if is(string::concat_ws) {
            return self.concat_ws(scope, expr, call);
        }
        if is(core::overlay) {
            return self.overlay(scope, expr, call);
        }
        if let Some(found) = self.regex_function(scope, call)? {
            return Ok(Some(found));
        }
        if let Some((_, function)) = ALIKE.iter().find(|(known, _)| is(*known)) {
            let args = self.arguments(scope, call)?;
            return self.call(scope, expr, *function, args);
        }
        if let Some((_, function, count, rest)) = PADDED.iter().find(|(known, ..)| is(*known)) {
            let mut args = self.arguments(scope, call)?;
            if args.len() + 1 == *count {
                args.push(match rest {
                    Rest::Space => self.constant(scope, Type::new(SqlType::Utf8, false), Datum::Str(" ".into())),
                    Rest::Zero => self.constant(scope, Type::new(SqlType::Int32, false), Datum::Int(0)),
                });
            }
            return self.call(scope, expr, *function, args);
        }
        self.time_function(scope, expr, call)
    }

    pub(super) fn arguments(&mut self, scope: &mut Scope<'_>, call: &ScalarFunctionExpr) -> Result<Vec<Value>> {
        call.args().iter().map(|arg| self.scoped(scope, arg)).collect()
    }

    /// A float in 64 bits.
    pub(super) fn widened(&mut self, scope: &mut Scope<'_>, value: Value) -> Value {
        let ty = scope.s.ty(value);
        if ty.sql != SqlType::Float32 {
            return value;
        }
        scope.s.unary(UnaryOp::Convert, value, Type::new(SqlType::Float64, ty.nullable))
    }

    /// A literal.
    pub(super) fn constant(&mut self, scope: &mut Scope<'_>, ty: Type, value: Datum) -> Value {
        let lit = self.p.literal(ty, value);
        scope.s.op(Op::Literal(lit), ty)
    }

    /// A whole number that a function takes.
    pub(super) fn number(&mut self, scope: &mut Scope<'_>, number: i64) -> Value {
        self.constant(scope, Type::new(SqlType::Int64, false), Datum::Int(number.into()))
    }

    /// A call with these operands, if they and the expression's result are of the function's kinds.
    pub(super) fn call(
        &mut self,
        scope: &mut Scope<'_>,
        expr: &Arc<dyn PhysicalExpr>,
        function: Function,
        mut args: Vec<Value>,
    ) -> Result<Option<Value>> {
        let Some(mut result) = self.result_type(scope, expr) else { return Ok(None) };
        if EXACT.contains(&function) && args.iter().all(|arg| scope.s.ty(*arg).sql == SqlType::Float32) {
            args = args.into_iter().map(|arg| self.widened(scope, arg)).collect();
            if result.sql == SqlType::Float32 {
                result = Type::new(SqlType::Float64, result.nullable);
                return Ok(self.call_of(scope, result, function, args).map(|value| {
                    let nullable = scope.s.ty(value).nullable;
                    scope.s.unary(UnaryOp::Convert, value, Type::new(SqlType::Float32, nullable))
                }));
            }
        }
        Ok(self.call_of(scope, result, function, args))
    }

    /// A call with these operands, if they and the result are of the function's kinds.
    fn call_of(&mut self, scope: &mut Scope<'_>, result: Type, function: Function, args: Vec<Value>) -> Option<Value> {
        let kinds = function.operands();
        let takes = args.len() >= kinds.len() && (args.len() == kinds.len() || function.more().is_some());
        let holds = args.iter().enumerate().all(|(at, arg)| {
            let kind = kinds.get(at).copied().or(function.more());
            kind.is_some_and(|kind| kind.holds(scope.s.ty(*arg)))
        });
        if !takes || !holds || !function.result().holds(result) {
            return None;
        }
        let nullable = function.can_be_null() || args.iter().any(|arg| scope.s.ty(*arg).nullable);
        Some(scope.s.op(Op::Call(function, args), result.with_nullable(nullable)))
    }

    /// The first operand, null where the second equals it.
    fn nullif(&mut self, scope: &mut Scope<'_>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let [a, b] = call.args() else { return Ok(None) };
        if !self.one_zone(scope, a, b) {
            return Ok(None);
        }
        let (a, b) = (self.scoped(scope, a)?, self.scoped(scope, b)?);
        let (ta, tb) = (scope.s.ty(a), scope.s.ty(b));
        if ta.sql != tb.sql || ta.sql.is_host() {
            return Ok(None);
        }
        // Unlike `=`, this takes 0.0 and -0.0 for different.
        let equal = scope.s.binary(BinaryOp::Eq, a, b, Type::boolean(ta.nullable || tb.nullable));
        let ty = ta.with_nullable(true);
        scope.s.begin_region();
        let null = self.constant(scope, Type::new(ta.sql, true), Datum::Null);
        let then = scope.s.end_region(null);
        scope.s.begin_region();
        let otherwise = scope.s.end_region(a);
        Ok(Some(scope.s.op(Op::If(equal, Box::new(then), Box::new(otherwise)), ty)))
    }

    /// To `concat`, unlike to `||`, a null is no text.
    fn concat(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let mut args = self.arguments(scope, call)?;
        for arg in &mut args {
            let ty = scope.s.ty(*arg);
            if ty.nullable && ty.sql == SqlType::Utf8 {
                let is_null = scope.s.unary(UnaryOp::IsNull, *arg, Type::boolean(false));
                let ty = ty.with_nullable(false);
                scope.s.begin_region();
                let nothing = self.constant(scope, ty, Datum::Str(String::new()));
                let then = scope.s.end_region(nothing);
                scope.s.begin_region();
                let there = scope.s.unary(UnaryOp::AssumeValid, *arg, ty);
                let otherwise = scope.s.end_region(there);
                *arg = scope.s.op(Op::If(is_null, Box::new(then), Box::new(otherwise)), ty);
            }
        }
        self.call(scope, expr, Function::Concat, args)
    }

    /// Texts with a separator between those that are not null.
    fn concat_ws(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let args = self.arguments(scope, call)?;
        let [separator, texts @ ..] = args.as_slice() else { return Ok(None) };
        if args.iter().any(|arg| scope.s.ty(*arg).sql != SqlType::Utf8) || texts.is_empty() {
            return Ok(None);
        }
        let nullable = scope.s.ty(*separator).nullable;
        let ty = Type::new(SqlType::Utf8, nullable);
        // The separator stands before each text, and before the first it is cut off again.
        let mut parts = vec![];
        for text in texts {
            if !scope.s.ty(*text).nullable {
                parts.push(scope.s.op(Op::Call(Function::Concat, vec![*separator, *text]), ty));
                continue;
            }
            let is_null = scope.s.unary(UnaryOp::IsNull, *text, Type::boolean(false));
            scope.s.begin_region();
            let nothing = self.constant(scope, Type::new(SqlType::Utf8, false), Datum::Str(String::new()));
            let then = scope.s.end_region(nothing);
            scope.s.begin_region();
            let there = scope.s.unary(UnaryOp::AssumeValid, *text, Type::new(SqlType::Utf8, false));
            let part = scope.s.op(Op::Call(Function::Concat, vec![*separator, there]), ty);
            let otherwise = scope.s.end_region(part);
            parts.push(scope.s.op(Op::If(is_null, Box::new(then), Box::new(otherwise)), ty));
        }
        let Some(all) = self.call(scope, expr, Function::Concat, parts)? else { return Ok(None) };
        let (int32, int64) = (Type::new(SqlType::Int32, nullable), Type::new(SqlType::Int64, nullable));
        let length = scope.s.unary(UnaryOp::CharLength, *separator, int32);
        let length = scope.s.unary(UnaryOp::Convert, length, int64);
        let one = self.number(scope, 1);
        let start = scope.s.binary(BinaryOp::Add, length, one, int64);
        Ok(Some(scope.s.op(Op::Substr(all, start, None), ty)))
    }

    /// A part of a text replaced: as many characters as replace it, where it does not say.
    fn overlay(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let mut args = self.arguments(scope, call)?;
        if let [_, with, _] = args.as_slice() {
            let ty = scope.s.ty(*with);
            if ty.sql != SqlType::Utf8 {
                return Ok(None);
            }
            let length = scope.s.unary(UnaryOp::CharLength, *with, Type::new(SqlType::Int32, ty.nullable));
            args.push(length);
        }
        self.call(scope, expr, Function::Overlay, args)
    }

    fn abs(&mut self, scope: &mut Scope<'_>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let [arg] = call.args() else { return Ok(None) };
        let arg = self.scoped(scope, arg)?;
        let ty = scope.s.ty(arg);
        let number = ty.sql.is_integer() || ty.sql.is_float() || ty.sql.scale().is_some();
        Ok(number.then(|| scope.s.unary(UnaryOp::Abs, arg, ty)))
    }

    fn bit_length(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>, call: &ScalarFunctionExpr) -> Result<Option<Value>> {
        let args = self.arguments(scope, call)?;
        let Some(bytes) = self.call(scope, expr, Function::ByteLength, args)? else { return Ok(None) };
        let ty = scope.s.ty(bytes);
        let eight = self.constant(scope, ty.with_nullable(false), Datum::Int(8));
        Ok(Some(scope.s.binary(BinaryOp::Mul, bytes, eight, ty)))
    }
}
