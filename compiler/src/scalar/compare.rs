//! Comparisons.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value as ClifValue, types};
use stagefuse_ir::abi::Builtin;
use stagefuse_ir::{BinaryOp, Lit, Op, Repr, StmtKind, Type, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

impl Gen<'_> {
    pub(super) fn comparison(&mut self, op: BinaryOp, a: Value, b: Value) -> Result<Val> {
        let (ta, tb) = (self.ty(a), self.ty(b));
        // A short literal's first word settles the length, so that the other side's view need not be followed.
        if ta.repr == Repr::Str
            && let Some((text, lit)) = self.short_text_equality(op, a, b)
        {
            let val = self.get(text)?;
            let (lo, hi) = self.short_literal(lit).expect("checked");
            let same = self.equals_short(val, lo, hi);
            let result = if op == BinaryOp::Ne { self.invert(same) } else { same };
            return Ok(Val::new(result).with_valid(val.valid));
        }
        let (va, vb) = (self.get_text(a)?, self.get_text(b)?);
        match op {
            BinaryOp::NotDistinct | BinaryOp::Distinct => {
                let equal = self.compare(BinaryOp::Eq, va, ta, vb, tb)?;
                let (valid_a, valid_b) = (self.validity(va.valid), self.validity(vb.valid));
                let both = self.b.ins().band(valid_a, valid_b);
                let equal = self.b.ins().band(equal, both);
                let either = self.b.ins().bor(valid_a, valid_b);
                let neither = self.invert(either);
                let same = self.b.ins().bor(equal, neither);
                Ok(Val::new(if op == BinaryOp::Distinct { self.invert(same) } else { same }))
            }
            _ => {
                let result = self.compare(op, va, ta, vb, tb)?;
                let valid = self.both(va.valid, vb.valid);
                Ok(Val::new(result).with_valid(valid))
            }
        }
    }

    /// Compares two values of one SQL type; a byte.
    pub(crate) fn compare(&mut self, op: BinaryOp, a: Val, ta: Type, b: Val, tb: Type) -> Result<ClifValue> {
        let unsigned = ta.sql.is_unsigned() || ta.repr == Repr::Bool;
        let cc = match (op, unsigned) {
            (BinaryOp::Ne, _) => IntCC::NotEqual,
            (BinaryOp::Lt, false) => IntCC::SignedLessThan,
            (BinaryOp::Le, false) => IntCC::SignedLessThanOrEqual,
            (BinaryOp::Gt, false) => IntCC::SignedGreaterThan,
            (BinaryOp::Ge, false) => IntCC::SignedGreaterThanOrEqual,
            (BinaryOp::Lt, true) => IntCC::UnsignedLessThan,
            (BinaryOp::Le, true) => IntCC::UnsignedLessThanOrEqual,
            (BinaryOp::Gt, true) => IntCC::UnsignedGreaterThan,
            (BinaryOp::Ge, true) => IntCC::UnsignedGreaterThanOrEqual,
            _ => IntCC::Equal,
        };
        Ok(match ta.repr {
            Repr::Str if matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                let (a_hi, b_hi) = (a.b.expect("text"), b.b.expect("text"));
                let (tail, done) = (self.block(), self.block());
                let result = self.b.append_block_param(done, types::I8);
                let same = self.b.ins().icmp(IntCC::Equal, a.a, b.a);
                let no = self.iconst(types::I8, 0);
                self.b.ins().brif(same, tail, &[], done, &[no.into()]);
                self.b.switch_to_block(tail);
                let same = self.same_tail(a.a, a_hi, b_hi)?;
                self.jump(done, &[same]);
                self.b.switch_to_block(done);
                if op == BinaryOp::Ne { self.invert(result) } else { result }
            }
            Repr::Str => {
                // Most texts differ in their first four bytes, which lie in the first word; missing bytes are zero, as little as can be.
                let (a_prefix, b_prefix) = (self.prefix(a.a), self.prefix(b.a));
                let (alike, done) = (self.block(), self.block());
                let result = self.b.append_block_param(done, types::I8);
                let same = self.b.ins().icmp(IntCC::Equal, a_prefix, b_prefix);
                let quick = self.b.ins().icmp(cc.unsigned(), a_prefix, b_prefix);
                self.b.ins().brif(same, alike, &[], done, &[quick.into()]);
                self.b.set_cold_block(alike);
                self.b.switch_to_block(alike);
                let order = self.call(Builtin::str_compare, &[a.a, a.b.expect("text"), b.a, b.b.expect("text")])?;
                let slow = self.b.ins().icmp_imm_s(cc, order, 0);
                self.jump(done, &[slow]);
                self.b.switch_to_block(done);
                result
            }
            Repr::F32 | Repr::F64 => {
                let (a, b) = (self.total_order(a.a, ta.repr), self.total_order(b.a, tb.repr));
                self.b.ins().icmp(cc, a, b)
            }
            _ => {
                let (a, b) = if ta.repr == tb.repr { (a.a, b.a) } else { (self.wide(a.a), self.wide(b.a)) };
                self.b.ins().icmp(cc, a, b)
            }
        })
    }

    /// The first four bytes of a text as a number of the same order.
    fn prefix(&mut self, lo: ClifValue) -> ClifValue {
        let bytes = self.b.ins().ushr_imm_s(lo, 32);
        let bytes = self.b.ins().ireduce(types::I32, bytes);
        self.b.ins().bswap(bytes)
    }

    /// A float as a signed integer of the same order (IEEE 754 totalOrder).
    fn total_order(&mut self, x: ClifValue, repr: Repr) -> ClifValue {
        let (ty, top) = if repr == Repr::F32 { (types::I32, 31) } else { (types::I64, 63) };
        let bits = self.b.ins().bitcast(ty, MemFlagsData::new(), x);
        let sign = self.b.ins().sshr_imm_s(bits, top);
        let flip = self.b.ins().ushr_imm_s(sign, 1);
        self.b.ins().bxor(bits, flip)
    }

    /// The text operand and the literal, where a comparison is an equality with a literal of at most 12 bytes.
    pub(crate) fn short_text_equality(&self, op: BinaryOp, a: Value, b: Value) -> Option<(Value, Lit)> {
        if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            return None;
        }
        let short = |value: Value| {
            let mut defined = self.decl.body.iter().filter_map(|stmt| match &stmt.kind {
                StmtKind::Let(defined, Op::Literal(lit)) if *defined == value => Some(*lit),
                _ => None,
            });
            defined.next().filter(|lit| self.short_literal(*lit).is_some())
        };
        short(b).map(|lit| (a, lit)).or_else(|| short(a).map(|lit| (b, lit)))
    }

    /// Whether a text, its view followed or not, equals a short one.
    fn equals_short(&mut self, val: Val, lo: u64, hi: u64) -> ClifValue {
        let (lo, hi) = (self.iconst(types::I64, i128::from(lo)), self.iconst(types::I64, i128::from(hi)));
        let first = self.b.ins().bxor(val.a, lo);
        let second = self.b.ins().bxor(val.b.expect("text has two words"), hi);
        let differs = self.b.ins().bor(first, second);
        self.b.ins().icmp_imm_s(IntCC::Equal, differs, 0)
    }

    pub(super) fn in_list(&mut self, value: Value, a: Value, lits: &[Lit]) -> Result<Val> {
        let ty = self.ty(a);
        let is_text = ty.repr == Repr::Str;
        if lits.len() <= 8 && (!is_text || lits.iter().all(|lit| self.short_literal(*lit).is_some())) {
            let val = self.get(a)?;
            let mut found = self.iconst(types::I8, 0);
            for lit in lits {
                let same = match self.short_literal(*lit) {
                    Some((lo, hi)) => self.equals_short(val, lo, hi),
                    None => {
                        let literal = self.literal(*lit, self.program.literals[*lit].ty.repr)?;
                        self.compare(BinaryOp::Eq, val, ty, literal, self.program.literals[*lit].ty)?
                    }
                };
                found = self.b.ins().bor(found, same);
            }
            return Ok(Val::new(found).with_valid(val.valid));
        }
        let val = self.get_text(a)?;
        let (lo, hi) = match (ty.repr, val.b) {
            (Repr::Str, Some(b)) => (val.a, b),
            (Repr::F32 | Repr::F64, _) => {
                let wide = if ty.repr == Repr::F32 { self.b.ins().fpromote(types::F64, val.a) } else { val.a };
                (self.b.ins().bitcast(types::I64, MemFlagsData::new(), wide), self.iconst(types::I64, 0))
            }
            (Repr::Bool, _) => (self.b.ins().uextend(types::I64, val.a), self.iconst(types::I64, 0)),
            _ if ty.sql.is_unsigned() => {
                let lo = if ty.repr == Repr::I64 { val.a } else { self.b.ins().uextend(types::I64, val.a) };
                (lo, self.iconst(types::I64, 0))
            }
            _ => {
                let wide = self.wide(val.a);
                self.b.ins().isplit(wide)
            }
        };
        let matcher = self.matcher(value);
        let found = self.call(Builtin::in_set, &[matcher, lo, hi])?;
        let found = self.b.ins().ireduce(types::I8, found);
        Ok(Val::new(found).with_valid(val.valid))
    }
}
