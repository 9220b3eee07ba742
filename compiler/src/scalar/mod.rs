//! Scalar operations.

mod arith;
mod boolean;
mod call;
mod cast;
mod compare;
mod date;
mod text;

use cranelift_codegen::ir::{BlockArg, InstBuilder, types};
use stagefuse_ir::abi::STR_INLINE;
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{BinaryOp, Datum, EntityRef, Lit, Op, Param, Region, Repr, Type, UnaryOp, Value};

use crate::error::{Result, unsupported};
use crate::stage::Gen;
use crate::value::{Val, clif_type};

impl Gen<'_> {
    /// Generates one operation.
    pub(crate) fn op(&mut self, value: Value, op: &Op) -> Result<Val> {
        let around = self.at(Place::Value(value));
        let val = self.generate(value, op);
        self.at(around);
        val
    }

    fn generate(&mut self, value: Value, op: &Op) -> Result<Val> {
        match op {
            // The passes may hold a literal narrower than it is declared.
            Op::Literal(lit) => self.literal(*lit, self.ty(value).repr),
            Op::Param(param) => Ok(self.param(*param, self.ty(value))),
            Op::Unary(op, a) => self.unary(value, *op, *a),
            Op::Binary(op, a, b) => self.binary(value, *op, *a, *b),
            Op::If(condition, then, otherwise) => self.conditional(value, *condition, then, otherwise),
            Op::In(a, lits) => self.in_list(value, *a, lits),
            Op::Like(a, _) | Op::Ilike(a, _) => self.like(value, *a),
            Op::Call(function, args) => self.function(value, *function, args),
            Op::Substr(a, start, count) => self.substr(value, *a, *start, *count),
            Op::Entry(input, column, number) => self.entry(*input, *column, *number),
            Op::Opaque(opaque, _) => unsupported(format!("the expression {}", self.program.opaques[*opaque].name)),
        }
    }

    fn unary(&mut self, value: Value, op: UnaryOp, a: Value) -> Result<Val> {
        match op {
            UnaryOp::Not | UnaryOp::IsNull | UnaryOp::IsNotNull | UnaryOp::IsTrue => self.unary_boolean(op, a),
            UnaryOp::Neg | UnaryOp::NegChecked | UnaryOp::Abs => self.unary_arith(value, op, a),
            UnaryOp::Convert => self.convert(value, a),
            UnaryOp::Cast => self.cast(value, a, false),
            UnaryOp::TryCast => self.cast(value, a, true),
            UnaryOp::AssumeValid => Ok(self.get_text(a)?.with_valid(None)),
            UnaryOp::Year | UnaryOp::Month | UnaryOp::Day => self.date_part(op, a),
            UnaryOp::CharLength => self.char_length(a),
        }
    }

    fn binary(&mut self, value: Value, op: BinaryOp, a: Value, b: Value) -> Result<Val> {
        use BinaryOp::{
            Add, AddChecked, And, BitAnd, BitOr, BitXor, Distinct, Div, Eq, Ge, Gt, Le, Lt, Mul, MulChecked, Ne, NotDistinct, Or, Rem,
            ShiftLeft, ShiftRight, Sub, SubChecked,
        };
        match op {
            Add | Sub | Mul | AddChecked | SubChecked | MulChecked | Div | Rem | BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight => {
                self.arith(value, op, a, b)
            }
            Eq | Ne | Lt | Le | Gt | Ge | NotDistinct | Distinct => self.comparison(op, a, b),
            And | Or => self.and_or(op, a, b),
        }
    }

    /// A parameter, from the worker's table behind the literals.
    fn param(&mut self, param: Param, ty: Type) -> Val {
        let table = self.head(std::mem::offset_of!(stagefuse_ir::abi::WorkerHead, literals));
        let at = (self.program.literals.len() + 2 * param.index()) * 16;
        let a = match ty.repr {
            // Floats are held widened.
            Repr::F32 => {
                let wide = self.load_fixed(types::F64, table, at);
                self.b.ins().fdemote(types::F32, wide)
            }
            other => self.load_fixed(clif_type(other), table, at),
        };
        let b = (ty.repr == Repr::Str).then(|| self.load_fixed(types::I64, table, at + 8));
        let valid = ty.nullable.then(|| self.load_fixed(types::I8, table, at + 16));
        Val { a, b, valid, raw: None, pinned: true }
    }

    /// A literal, as immediates; long text from the worker's table.
    fn literal(&mut self, lit: Lit, repr: Repr) -> Result<Val> {
        let literal = &self.program.literals[lit];
        let val = match &literal.value {
            Datum::Null => {
                let zero = self.zero(repr);
                let b = (repr == Repr::Str).then(|| self.iconst(types::I64, 0));
                let invalid = self.iconst(types::I8, 0);
                Val { a: zero, b, valid: Some(invalid), raw: None, pinned: true }
            }
            Datum::Bool(b) => Val::new(self.iconst(types::I8, i128::from(*b))),
            Datum::Int(i) => Val::new(self.iconst(clif_type(repr), *i)),
            Datum::Float(bits) if repr == Repr::F32 => Val::new(self.b.ins().f32const(f64::from_bits(*bits) as f32)),
            Datum::Float(bits) => Val::new(self.b.ins().f64const(f64::from_bits(*bits))),
            Datum::Str(_) | Datum::Bytes(_) => {
                let (a, b) = match self.short_literal(lit) {
                    Some((lo, hi)) => (self.iconst(types::I64, i128::from(lo)), self.iconst(types::I64, i128::from(hi))),
                    None => {
                        let table = self.head(std::mem::offset_of!(stagefuse_ir::abi::WorkerHead, literals));
                        (self.load_fixed(types::I64, table, lit.index() * 16), self.load_fixed(types::I64, table, lit.index() * 16 + 8))
                    }
                };
                Val { a, b: Some(b), valid: None, raw: None, pinned: true }
            }
        };
        Ok(val)
    }

    /// The two words of a text literal that its reference holds whole.
    pub(crate) fn short_literal(&self, lit: Lit) -> Option<(u64, u64)> {
        let text = self.program.literals[lit].value.as_bytes()?;
        if text.len() > STR_INLINE as usize {
            return None;
        }
        let mut words = [0u8; 16];
        words[0] = text.len() as u8;
        words[4..4 + text.len()].copy_from_slice(text);
        let word = |at: usize| u64::from_le_bytes(words[at..at + 8].try_into().expect("eight bytes"));
        Some((word(0), word(8)))
    }

    fn conditional(&mut self, value: Value, condition: Value, then: &Region, otherwise: &Region) -> Result<Val> {
        let ty = self.ty(value);
        let condition = self.condition(condition)?;
        let (yes, no, done) = (self.block(), self.block(), self.block());
        let a = self.b.append_block_param(done, clif_type(ty.repr));
        let b = (ty.repr == Repr::Str).then(|| self.b.append_block_param(done, types::I64));
        let valid = ty.nullable.then(|| self.b.append_block_param(done, types::I8));
        self.b.ins().brif(condition, yes, &[], no, &[]);
        let mut pinned = true;
        for (block, region) in [(yes, then), (no, otherwise)] {
            self.b.switch_to_block(block);
            self.enter_scope();
            for (value, op) in &region.body {
                let val = self.op(*value, op)?;
                self.define(*value, val);
            }
            let val = self.get_text(region.result)?;
            pinned &= val.pinned;
            self.leave_scope();
            let mut args: Vec<BlockArg> = vec![val.a.into()];
            args.extend(val.b.map(BlockArg::from));
            if valid.is_some() {
                args.push(self.validity(val.valid).into());
            }
            self.b.ins().jump(done, &args);
        }
        self.b.switch_to_block(done);
        Ok(Val { a, b, valid, raw: None, pinned })
    }
}
