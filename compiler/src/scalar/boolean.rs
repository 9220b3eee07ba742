//! Three-valued logic.

use cranelift_codegen::ir::{InstBuilder, types};
use stagefuse_ir::{BinaryOp, UnaryOp, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

impl Gen<'_> {
    pub(super) fn unary_boolean(&mut self, op: UnaryOp, a: Value) -> Result<Val> {
        let val = self.get(a)?;
        Ok(match op {
            UnaryOp::Not => Val::new(self.invert(val.a)).with_valid(val.valid),
            UnaryOp::IsTrue => Val::new(self.condition(a)?),
            UnaryOp::IsNotNull => Val::new(self.validity(val.valid)),
            _ => match val.valid {
                Some(valid) => Val::new(self.invert(valid)),
                None => Val::new(self.iconst(types::I8, 0)),
            },
        })
    }

    pub(super) fn and_or(&mut self, op: BinaryOp, a: Value, b: Value) -> Result<Val> {
        let (a, b) = (self.get(a)?, self.get(b)?);
        let is_and = op == BinaryOp::And;
        if a.valid.is_none() && b.valid.is_none() {
            return Ok(Val::new(if is_and { self.b.ins().band(a.a, b.a) } else { self.b.ins().bor(a.a, b.a) }));
        }
        // A side decides alone where it is valid and false (and), or valid and true (or); else both must be valid.
        let (va, vb) = (self.validity(a.valid), self.validity(b.valid));
        let deciding = |this: &mut Self, value, valid| {
            let value = if is_and { this.invert(value) } else { value };
            this.b.ins().band(value, valid)
        };
        let (da, db) = (deciding(self, a.a, va), deciding(self, b.a, vb));
        let decided = self.b.ins().bor(da, db);
        let both = self.b.ins().band(va, vb);
        let valid = self.b.ins().bor(decided, both);
        let value = if is_and { self.invert(decided) } else { decided };
        Ok(Val::new(value).with_valid(Some(valid)))
    }
}
