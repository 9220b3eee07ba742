//! Changes of type.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, ErrorCode};
use stagefuse_ir::{Repr, SqlType, Type, Value};

use crate::error::{Result, unsupported};
use crate::stage::Gen;
use crate::value::{Val, clif_type};

/// A cast, as far as its checks have come.
struct Check {
    value: Value,
    /// Validity of the result.
    valid: Option<ClifValue>,
    or_null: bool,
}

impl Gen<'_> {
    /// A change of type that cannot fail.
    pub(super) fn convert(&mut self, value: Value, a: Value) -> Result<Val> {
        let (from, to) = (self.ty(a), self.ty(value));
        let val = self.get_text(a)?;
        if from.repr == to.repr && from.sql.is_float() == to.sql.is_float() && from.sql.scale().unwrap_or(0) == to.sql.scale().unwrap_or(0)
        {
            return Ok(val);
        }
        let result = match (from.sql, to.sql) {
            (f, SqlType::Float64 | SqlType::Float32) => self.float_of(val.a, from, f, to)?,
            (_, SqlType::Decimal { scale, .. }) if from.sql.is_integer() && scale >= 0 => {
                let x = self.widen(val.a, from, Repr::I128);
                let power = self.iconst(types::I128, 10i128.pow(scale as u32));
                let scaled = self.b.ins().imul(x, power);
                if to.repr == Repr::I128 { scaled } else { self.b.ins().ireduce(clif_type(to.repr), scaled) }
            }
            _ if from.repr.is_int() && to.repr.is_int() || from.repr == Repr::Bool => self.widen(val.a, from, to.repr),
            _ => return unsupported(format!("a conversion of {from} to {to}")),
        };
        Ok(Val::new(result).with_valid(val.valid))
    }

    /// An integer in another width; what is cut off is known to be the sign.
    fn widen(&mut self, x: ClifValue, from: Type, to: Repr) -> ClifValue {
        let (have, want) = (clif_type(from.repr), clif_type(to));
        if have.bits() > want.bits() {
            self.b.ins().ireduce(want, x)
        } else if have == want {
            x
        } else if from.sql.is_unsigned() || from.repr == Repr::Bool {
            self.b.ins().uextend(want, x)
        } else {
            self.b.ins().sextend(want, x)
        }
    }

    fn float_of(&mut self, x: ClifValue, from: Type, sql: SqlType, to: Type) -> Result<ClifValue> {
        let target = clif_type(to.repr);
        Ok(match sql {
            SqlType::Float32 => self.b.ins().fpromote(target, x),
            SqlType::Float64 => self.b.ins().fdemote(target, x),
            SqlType::Decimal { scale, .. } => {
                let wide = self.wide(x);
                let (lo, hi) = self.b.ins().isplit(wide);
                let scale = self.iconst(types::I32, i128::from(scale));
                let double = self.call(Builtin::i128_to_f64, &[lo, hi, scale])?;
                if to.repr == Repr::F32 { self.b.ins().fdemote(target, double) } else { double }
            }
            _ => {
                let wide = self.widen(x, from, Repr::I64);
                if from.sql.is_unsigned() { self.b.ins().fcvt_from_uint(target, wide) } else { self.b.ins().fcvt_from_sint(target, wide) }
            }
        })
    }

    /// A change of type that may fail; `or_null`: what does not fit becomes null.
    pub(super) fn cast(&mut self, value: Value, a: Value, or_null: bool) -> Result<Val> {
        let (from, to) = (self.ty(a), self.ty(value));
        let val = self.get_text(a)?;
        let mut check = Check { value, valid: val.valid, or_null };
        let result = match (from.sql, to.sql) {
            (f, t) if f.is_integer() && t.is_integer() => {
                let wide = self.widen(val.a, from, Repr::I128);
                self.checked_range(&mut check, wide, to)
            }
            (f, SqlType::Decimal { precision, scale }) if f.is_integer() || f.scale().is_some() => {
                let wide = self.widen(val.a, from, Repr::I128);
                let shift = i32::from(scale) - i32::from(f.scale().unwrap_or(0));
                let (lo, hi) = self.b.ins().isplit(wide);
                let out = self.stack(16);
                let (shift, precision) = (self.iconst(types::I32, i128::from(shift)), self.iconst(types::I32, i128::from(precision)));
                let failed = self.call(Builtin::decimal_rescale, &[out, lo, hi, shift, precision])?;
                self.decimal_result(&mut check, to, out, failed)
            }
            (f, SqlType::Decimal { precision, scale }) if f.is_float() => {
                let double = if from.repr == Repr::F32 { self.b.ins().fpromote(types::F64, val.a) } else { val.a };
                let out = self.stack(16);
                let (precision, scale) = (self.iconst(types::I32, i128::from(precision)), self.iconst(types::I32, i128::from(scale)));
                let failed = self.call(Builtin::f64_to_decimal, &[out, double, precision, scale])?;
                self.decimal_result(&mut check, to, out, failed)
            }
            (f, t) if f.is_float() && t.is_integer() && !t.is_unsigned() => {
                let double = if from.repr == Repr::F32 { self.b.ins().fpromote(types::F64, val.a) } else { val.a };
                let whole = self.b.ins().trunc(double);
                let limit = 2f64.powi(to.repr.bytes() as i32 * 8 - 1);
                let (least, end) = (self.b.ins().f64const(-limit), self.b.ins().f64const(limit));
                // NaN fails both comparisons.
                let above = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, whole, least);
                let below = self.b.ins().fcmp(FloatCC::LessThan, whole, end);
                let inside = self.b.ins().band(above, below);
                let outside = self.invert(inside);
                self.misfit(&mut check, outside);
                let integer = self.b.ins().fcvt_to_sint_sat(types::I64, whole);
                if to.repr == Repr::I64 { integer } else { self.b.ins().ireduce(clif_type(to.repr), integer) }
            }
            (SqlType::Decimal { scale, .. }, t) if t.is_integer() => {
                // Towards zero: the quotient of a division by a power of ten, which is neither 0 nor -1.
                let wide = self.wide(val.a);
                let Some(power) = 10i128.checked_pow(u32::from(scale.unsigned_abs())).filter(|_| scale >= 0) else {
                    return unsupported(format!("a cast of {from} to {to}"));
                };
                let whole = if power == 1 { wide } else { self.divided(wide, power)? };
                self.checked_range(&mut check, whole, to)
            }
            (f, t) if f.is_float() && t.is_integer() => {
                let double = if from.repr == Repr::F32 { self.b.ins().fpromote(types::F64, val.a) } else { val.a };
                let whole = self.b.ins().trunc(double);
                let (least, end) = (self.b.ins().f64const(0.0), self.b.ins().f64const(2f64.powi(to.repr.bytes() as i32 * 8)));
                let above = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, whole, least);
                let below = self.b.ins().fcmp(FloatCC::LessThan, whole, end);
                let inside = self.b.ins().band(above, below);
                let outside = self.invert(inside);
                self.misfit(&mut check, outside);
                let integer = self.b.ins().fcvt_to_uint_sat(types::I64, whole);
                if to.repr == Repr::I64 { integer } else { self.b.ins().ireduce(clif_type(to.repr), integer) }
            }
            // What cannot fail needs no check.
            (f, t) if t.is_float() || f == SqlType::Boolean || f == t || f.default_repr() == Repr::I32 && t.default_repr() == Repr::I32 => {
                return self.convert(value, a);
            }
            _ => return unsupported(format!("a cast of {from} to {to}")),
        };
        Ok(Val::new(result).with_valid(check.valid))
    }

    /// What becomes of a value that does not fit.
    fn misfit(&mut self, check: &mut Check, outside: ClifValue) {
        if check.or_null {
            let fits = self.invert(outside);
            check.valid = self.both(check.valid, Some(fits));
        } else {
            self.fail_if(outside, check.valid, ErrorCode::Cast, check.value);
        }
    }

    /// An integer of 128 bits as a narrower one that it must fit in.
    fn checked_range(&mut self, check: &mut Check, wide: ClifValue, to: Type) -> ClifValue {
        let bits = to.repr.bytes() * 8;
        let (least, greatest) =
            if to.sql.is_unsigned() { (0, (1i128 << bits) - 1) } else { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) };
        let (least, greatest) = (self.iconst(types::I128, least), self.iconst(types::I128, greatest));
        let below = self.b.ins().icmp(IntCC::SignedLessThan, wide, least);
        let above = self.b.ins().icmp(IntCC::SignedGreaterThan, wide, greatest);
        let outside = self.b.ins().bor(below, above);
        self.misfit(check, outside);
        self.b.ins().ireduce(clif_type(to.repr), wide)
    }

    /// A quotient by a constant, truncated.
    fn divided(&mut self, wide: ClifValue, by: i128) -> Result<ClifValue> {
        let by = self.iconst(types::I128, by);
        let ((lo, hi), (by_lo, by_hi)) = (self.b.ins().isplit(wide), self.b.ins().isplit(by));
        let out = self.stack(16);
        self.call(Builtin::i128_div, &[out, lo, hi, by_lo, by_hi])?;
        Ok(self.load(types::I128, out, 0))
    }

    fn decimal_result(&mut self, check: &mut Check, to: Type, out: ClifValue, failed: ClifValue) -> ClifValue {
        let failed = self.b.ins().ireduce(types::I8, failed);
        self.misfit(check, failed);
        self.load(clif_type(to.repr), out, 0)
    }
}
