//! Functions: a few instructions, or calls whose operands and result go through the stack.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, types};
use stagefuse_ir::abi::Builtin;
use stagefuse_ir::{Function, Repr, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::{Val, clif_type};

impl Gen<'_> {
    /// What a few instructions do needs no call.
    fn inline(&mut self, function: Function, vals: &[Val]) -> Option<Val> {
        let a = vals.first()?.a;
        Some(Val::new(match function {
            Function::IsNan => self.b.ins().fcmp(FloatCC::Unordered, a, a),
            Function::IsZero => {
                let zero = self.b.ins().f64const(0.0);
                self.b.ins().fcmp(FloatCC::Equal, a, zero)
            }
            Function::Floor => self.b.ins().floor(a),
            Function::Ceil => self.b.ins().ceil(a),
            Function::Trunc => {
                let zero = self.b.ins().f64const(0.0);
                let is_zero = self.b.ins().fcmp(FloatCC::Equal, a, zero);
                let whole = self.b.ins().trunc(a);
                self.b.ins().select(is_zero, zero, whole)
            }
            _ => return None,
        }))
    }

    pub(super) fn function(&mut self, value: Value, function: Function, args: &[Value]) -> Result<Val> {
        let ty = self.ty(value);
        let mut vals = vec![];
        let mut valid = None;
        for arg in args {
            let val = self.get_text(*arg)?;
            valid = self.both(valid, val.valid);
            vals.push(val);
        }
        if let Some(val) = self.inline(function, &vals) {
            return Ok(val.with_valid(valid));
        }
        let done = self.block();
        let a = self.b.append_block_param(done, clif_type(ty.repr));
        let b = (ty.repr == Repr::Str).then(|| self.b.append_block_param(done, types::I64));
        let is_valid = ty.nullable.then(|| self.b.append_block_param(done, types::I8));
        // The function is not called for rows where it has no meaning: it might fail.
        let null = valid.map(|valid| {
            let (call, null) = (self.block(), self.block());
            self.b.ins().brif(valid, call, &[], null, &[]);
            self.b.switch_to_block(call);
            null
        });
        let frame = self.stack(16 * args.len() as u32);
        let out = self.stack(16);
        for (at, (arg, val)) in args.iter().zip(&vals).enumerate() {
            let arg = self.ty(*arg);
            let word = match arg.repr {
                Repr::Bool => self.b.ins().uextend(types::I64, val.a),
                Repr::I8 | Repr::I16 | Repr::I32 if arg.sql.is_unsigned() => self.b.ins().uextend(types::I64, val.a),
                Repr::I8 | Repr::I16 | Repr::I32 => self.b.ins().sextend(types::I64, val.a),
                Repr::F32 => self.b.ins().fpromote(types::F64, val.a),
                // A narrowed decimal: both words count.
                Repr::I64 if arg.sql.scale().is_some() => self.b.ins().sextend(types::I128, val.a),
                Repr::I64 | Repr::F64 | Repr::Str | Repr::I128 => val.a,
            };
            self.store(word, frame, at * 16);
            if let Some(b) = val.b {
                self.store(b, frame, at * 16 + 8);
            }
        }
        let number = |this: &mut Self, number: i128| this.iconst(types::I32, number);
        let (code, count) = (number(self, function as u8 as i128), number(self, args.len() as i128));
        let of = number(self, i128::from(value.as_u32()));
        let status = self.call(Builtin::function_call, &[self.worker, code, of, frame, count, out])?;
        let ok = self.b.ins().icmp_imm_s(IntCC::NotEqual, status, 2);
        self.fail_unless(ok);
        let word = match ty.repr {
            Repr::F64 => self.load(types::F64, out, 0),
            Repr::F32 => {
                let wide = self.load(types::F64, out, 0);
                self.b.ins().fdemote(types::F32, wide)
            }
            other => self.load(clif_type(other), out, 0),
        };
        let mut results = vec![word];
        if b.is_some() {
            results.push(self.load(types::I64, out, 8));
        }
        if is_valid.is_some() {
            let found = self.b.ins().icmp_imm_s(IntCC::Equal, status, 0);
            results.push(found);
        }
        if function.can_be_null() && b.is_some() {
            // A null text is an empty one.
            let (zero, found) = (self.iconst(types::I64, 0), results[2]);
            results[0] = self.b.ins().select(found, results[0], zero);
            results[1] = self.b.ins().select(found, results[1], zero);
        }
        self.jump(done, &results);
        if let Some(null) = null {
            self.b.switch_to_block(null);
            let mut nothing = vec![self.zero(ty.repr)];
            if b.is_some() {
                nothing.push(self.iconst(types::I64, 0));
            }
            if is_valid.is_some() {
                nothing.push(self.iconst(types::I8, 0));
            }
            self.jump(done, &nothing);
        }
        self.b.switch_to_block(done);
        Ok(Val { a, b, valid: is_valid, raw: None, pinned: false })
    }
}
