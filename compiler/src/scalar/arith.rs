//! Arithmetic, in the narrowest width that the types ask for.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, ErrorCode};
use stagefuse_ir::{BinaryOp, Repr, UnaryOp, Value};

use crate::error::{Result, unsupported};
use crate::stage::Gen;
use crate::value::{Val, clif_type};

impl Gen<'_> {
    /// An integer as 128 bits.
    pub(crate) fn wide(&mut self, x: ClifValue) -> ClifValue {
        if self.b.func.dfg.value_type(x) == types::I128 { x } else { self.b.ins().sextend(types::I128, x) }
    }

    /// An integer in the width of a representation that it fits in.
    fn fit(&mut self, x: ClifValue, repr: Repr) -> ClifValue {
        let (have, want) = (self.b.func.dfg.value_type(x), clif_type(repr));
        match have.bits().cmp(&want.bits()) {
            std::cmp::Ordering::Less => self.b.ins().sextend(want, x),
            std::cmp::Ordering::Equal => x,
            std::cmp::Ordering::Greater => self.b.ins().ireduce(want, x),
        }
    }

    pub(super) fn unary_arith(&mut self, value: Value, op: UnaryOp, a: Value) -> Result<Val> {
        let ty = self.ty(value);
        let val = self.get(a)?;
        if ty.sql.is_float() {
            let result = if op == UnaryOp::Abs { self.b.ins().fabs(val.a) } else { self.b.ins().fneg(val.a) };
            return Ok(Val::new(result).with_valid(val.valid));
        }
        let x = self.fit(val.a, ty.repr);
        if op != UnaryOp::Neg && !ty.sql.is_unsigned() {
            let smallest = self.iconst(clif_type(ty.repr), i128::MIN >> (128 - ty.repr.bytes() * 8));
            let overflows = self.b.ins().icmp(IntCC::Equal, x, smallest);
            self.fail_if(overflows, val.valid, ErrorCode::Overflow, value);
        }
        let zero = self.zero(ty.repr);
        if op == UnaryOp::NegChecked && ty.sql.is_unsigned() {
            let overflows = self.b.ins().icmp(IntCC::NotEqual, x, zero);
            self.fail_if(overflows, val.valid, ErrorCode::Overflow, value);
        }
        let negated = self.b.ins().isub(zero, x);
        let result = if op == UnaryOp::Abs && !ty.sql.is_unsigned() {
            let negative = self.b.ins().icmp(IntCC::SignedLessThan, x, zero);
            self.b.ins().select(negative, negated, x)
        } else if op == UnaryOp::Abs {
            x
        } else {
            negated
        };
        Ok(Val::new(result).with_valid(val.valid))
    }

    pub(super) fn arith(&mut self, value: Value, op: BinaryOp, a: Value, b: Value) -> Result<Val> {
        let ty = self.ty(value);
        let (ra, rb) = (self.ty(a).repr, self.ty(b).repr);
        let (va, vb) = (self.get(a)?, self.get(b)?);
        let valid = self.both(va.valid, vb.valid);
        let result = if ty.sql.is_float() {
            self.float_arith(op, va.a, vb.a)?
        } else if op == BinaryOp::Mul && ra == Repr::I64 && rb == Repr::I64 && ty.repr == Repr::I128 {
            self.widening_product(va.a, vb.a)
        } else {
            match op {
                BinaryOp::Div | BinaryOp::Rem => self.quotient(value, op, va.a, vb.a, valid)?,
                BinaryOp::AddChecked | BinaryOp::SubChecked | BinaryOp::MulChecked => self.checked(value, op, va.a, vb.a, valid)?,
                _ => {
                    let (x, y) = (self.fit(va.a, ty.repr), self.fit(vb.a, ty.repr));
                    match op {
                        BinaryOp::Add => self.b.ins().iadd(x, y),
                        BinaryOp::Sub => self.b.ins().isub(x, y),
                        BinaryOp::Mul => self.b.ins().imul(x, y),
                        BinaryOp::BitAnd => self.b.ins().band(x, y),
                        BinaryOp::BitOr => self.b.ins().bor(x, y),
                        BinaryOp::BitXor => self.b.ins().bxor(x, y),
                        BinaryOp::ShiftLeft => self.b.ins().ishl(x, y),
                        BinaryOp::ShiftRight if ty.sql.is_unsigned() => self.b.ins().ushr(x, y),
                        BinaryOp::ShiftRight => self.b.ins().sshr(x, y),
                        other => return unsupported(format!("{} of {ty}", other.name())),
                    }
                }
            }
        };
        Ok(Val::new(result).with_valid(valid))
    }

    fn float_arith(&mut self, op: BinaryOp, a: ClifValue, b: ClifValue) -> Result<ClifValue> {
        Ok(match op {
            BinaryOp::Add | BinaryOp::AddChecked => self.b.ins().fadd(a, b),
            BinaryOp::Sub | BinaryOp::SubChecked => self.b.ins().fsub(a, b),
            BinaryOp::Mul | BinaryOp::MulChecked => self.b.ins().fmul(a, b),
            BinaryOp::Div => self.b.ins().fdiv(a, b),
            BinaryOp::Rem if self.b.func.dfg.value_type(a) == types::F64 => self.call(Builtin::f64_rem, &[a, b])?,
            other => return unsupported(format!("{} of floats", other.name())),
        })
    }

    fn widening_product(&mut self, a: ClifValue, b: ClifValue) -> ClifValue {
        let lo = self.b.ins().imul(a, b);
        let hi = self.b.ins().smulhi(a, b);
        self.b.ins().iconcat(lo, hi)
    }

    fn checked(&mut self, value: Value, op: BinaryOp, a: ClifValue, b: ClifValue, valid: Option<ClifValue>) -> Result<ClifValue> {
        let ty = self.ty(value);
        if op == BinaryOp::MulChecked && ty.repr == Repr::I128 {
            return self.checked_product(value, a, b, valid);
        }
        let (x, y) = (self.fit(a, ty.repr), self.fit(b, ty.repr));
        let (result, overflows) = match (op, ty.sql.is_unsigned()) {
            (BinaryOp::AddChecked, false) => self.b.ins().sadd_overflow(x, y),
            (BinaryOp::AddChecked, true) => self.b.ins().uadd_overflow(x, y),
            (BinaryOp::SubChecked, false) => self.b.ins().ssub_overflow(x, y),
            (BinaryOp::SubChecked, true) => self.b.ins().usub_overflow(x, y),
            (_, false) => self.b.ins().smul_overflow(x, y),
            (_, true) => self.b.ins().umul_overflow(x, y),
        };
        self.fail_if(overflows, valid, ErrorCode::Overflow, value);
        Ok(result)
    }

    /// A product of 128 bits: two multiplications where both factors fit 64 bits, else a builtin.
    fn checked_product(&mut self, value: Value, a: ClifValue, b: ClifValue, valid: Option<ClifValue>) -> Result<ClifValue> {
        let (narrow_a, narrow_b) = (self.b.func.dfg.value_type(a) == types::I64, self.b.func.dfg.value_type(b) == types::I64);
        if narrow_a && narrow_b {
            return Ok(self.widening_product(a, b));
        }
        let (a, b) = (self.wide(a), self.wide(b));
        let ((a_lo, a_hi), (b_lo, b_hi)) = (self.b.ins().isplit(a), self.b.ins().isplit(b));
        let mut wide = self.iconst(types::I64, 0);
        for (lo, hi, narrow) in [(a_lo, a_hi, narrow_a), (b_lo, b_hi, narrow_b)] {
            if !narrow {
                let sign = self.b.ins().sshr_imm_s(lo, 63);
                let differs = self.b.ins().bxor(sign, hi);
                wide = self.b.ins().bor(wide, differs);
            }
        }
        let (slow, quick, done) = (self.block(), self.block(), self.block());
        let result = self.b.append_block_param(done, types::I128);
        let overflows = self.b.append_block_param(done, types::I8);
        self.b.set_cold_block(slow);
        self.b.ins().brif(wide, slow, &[], quick, &[]);
        self.b.switch_to_block(quick);
        let product = self.widening_product(a_lo, b_lo);
        let no = self.iconst(types::I8, 0);
        self.jump(done, &[product, no]);
        self.b.switch_to_block(slow);
        let out = self.stack(16);
        let failed = self.call(Builtin::i128_mul, &[out, a_lo, a_hi, b_lo, b_hi])?;
        let product = self.load(types::I128, out, 0);
        let failed = self.b.ins().ireduce(types::I8, failed);
        self.jump(done, &[product, failed]);
        self.b.switch_to_block(done);
        self.fail_if(overflows, valid, ErrorCode::Overflow, value);
        Ok(result)
    }

    /// Quotient or remainder of 128 bits: the processor's division where both operands fit 64 bits, else a builtin. The divisor is not 0;
    /// of a remainder it is not -1 either.
    fn wide_quotient(&mut self, op: BinaryOp, x: ClifValue, y: ClifValue) -> Result<ClifValue> {
        let ((x_lo, x_hi), (y_lo, y_hi)) = (self.b.ins().isplit(x), self.b.ins().isplit(y));
        let is_div = op == BinaryOp::Div;
        // -2^63 counts as wide: divided by -1 it does not fit 64 bits.
        let smallest = self.iconst(types::I64, i128::from(i64::MIN));
        let mut is_wide = self.b.ins().icmp(IntCC::Equal, x_lo, smallest);
        for (lo, hi) in [(x_lo, x_hi), (y_lo, y_hi)] {
            let sign = self.b.ins().sshr_imm_s(lo, 63);
            let differs = self.b.ins().icmp(IntCC::NotEqual, sign, hi);
            is_wide = self.b.ins().bor(is_wide, differs);
        }
        let (slow, quick, done) = (self.block(), self.block(), self.block());
        let result = self.b.append_block_param(done, types::I128);
        self.b.set_cold_block(slow);
        self.b.ins().brif(is_wide, slow, &[], quick, &[]);
        self.b.switch_to_block(quick);
        let short = if is_div { self.b.ins().sdiv(x_lo, y_lo) } else { self.b.ins().srem(x_lo, y_lo) };
        let short = self.wide(short);
        self.jump(done, &[short]);
        self.b.switch_to_block(slow);
        let out = self.stack(16);
        let builtin = if is_div { Builtin::i128_div } else { Builtin::i128_rem };
        self.call(builtin, &[out, x_lo, x_hi, y_lo, y_hi])?;
        let long = self.load(types::I128, out, 0);
        self.jump(done, &[long]);
        self.b.switch_to_block(done);
        Ok(result)
    }

    fn quotient(&mut self, value: Value, op: BinaryOp, a: ClifValue, b: ClifValue, valid: Option<ClifValue>) -> Result<ClifValue> {
        let ty = self.ty(value);
        // Operands decide the width: a narrow result of wide operands is cut to size behind the division.
        let types_of = [self.b.func.dfg.value_type(a), self.b.func.dfg.value_type(b)];
        let least = if ty.sql.scale().is_some() { ty.repr.bytes() * 8 } else { 0 };
        let width = types_of[0].bits().max(types_of[1].bits()).max(least);
        let repr = match width {
            8 => Repr::I8,
            16 => Repr::I16,
            32 => Repr::I32,
            64 => Repr::I64,
            _ => Repr::I128,
        };
        let (x, y) = (self.fit(a, repr), self.fit(b, repr));
        let zero = self.zero(repr);
        let one = self.iconst(clif_type(repr), 1);
        let by_zero = self.b.ins().icmp(IntCC::Equal, y, zero);
        self.fail_if(by_zero, valid, ErrorCode::DivideByZero, value);
        // Where an operand is null the divisor may still be 0, which the instruction would trap on.
        let mut y = self.b.ins().select(by_zero, one, y);
        let signed = !ty.sql.is_unsigned();
        if signed {
            let minus_one = self.iconst(clif_type(repr), -1);
            let smallest = self.iconst(clif_type(repr), i128::MIN >> (128 - repr.bytes() * 8));
            let by_minus_one = self.b.ins().icmp(IntCC::Equal, y, minus_one);
            if op == BinaryOp::Div {
                let is_smallest = self.b.ins().icmp(IntCC::Equal, x, smallest);
                let overflows = self.b.ins().band(is_smallest, by_minus_one);
                self.fail_if(overflows, valid, ErrorCode::Overflow, value);
                y = self.b.ins().select(overflows, one, y);
            } else {
                // x % -1 is 0, as is x % 1, which does not trap.
                y = self.b.ins().select(by_minus_one, one, y);
            }
        }
        if repr == Repr::I128 {
            return self.wide_quotient(op, x, y).map(|result| self.fit(result, ty.repr));
        }
        let result = match (repr, op, signed) {
            (_, BinaryOp::Div, true) => self.b.ins().sdiv(x, y),
            (_, BinaryOp::Div, false) => self.b.ins().udiv(x, y),
            (_, _, true) => self.b.ins().srem(x, y),
            (_, _, false) => self.b.ins().urem(x, y),
        };
        Ok(self.fit(result, ty.repr))
    }
}
