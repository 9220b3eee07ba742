//! Operations on text.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use stagefuse_ir::Value;
use stagefuse_ir::abi::{Builtin, ErrorCode};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

impl Gen<'_> {
    pub(super) fn like(&mut self, value: Value, a: Value) -> Result<Val> {
        let text = self.get_text(a)?;
        let matcher = self.matcher(value);
        let found = self.call(Builtin::str_like, &[matcher, text.a, text.b.expect("text")])?;
        Ok(Val::new(self.b.ins().ireduce(types::I8, found)).with_valid(text.valid))
    }

    pub(super) fn substr(&mut self, value: Value, a: Value, start: Value, count: Option<Value>) -> Result<Val> {
        let (text, start) = (self.get_text(a)?, self.get(start)?);
        let mut valid = self.both(text.valid, start.valid);
        let count = match count {
            Some(count) => {
                let count = self.get(count)?;
                valid = self.both(valid, count.valid);
                let negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, count.a, 0);
                self.fail_if(negative, valid, ErrorCode::NegativeSubstringLength, value);
                count.a
            }
            None => self.iconst(types::I64, i128::from(i64::MAX)),
        };
        let out = self.stack(16);
        self.call(Builtin::str_substr, &[out, text.a, text.b.expect("text"), start.a, count])?;
        let mut lo = self.load(types::I64, out, 0);
        let mut hi = self.load(types::I64, out, 8);
        if let Some(valid) = valid {
            let zero = self.iconst(types::I64, 0);
            lo = self.b.ins().select(valid, lo, zero);
            hi = self.b.ins().select(valid, hi, zero);
        }
        // A long part lies within the text that it is taken from.
        Ok(Val { a: lo, b: Some(hi), valid, raw: None, pinned: text.pinned })
    }

    pub(super) fn char_length(&mut self, a: Value) -> Result<Val> {
        let text = self.get_text(a)?;
        let length = self.call(Builtin::str_char_length, &[text.a, text.b.expect("text")])?;
        Ok(Val::new(length).with_valid(text.valid))
    }
}
