//! Filters.

use cranelift_codegen::ir::{InstBuilder, Value as ClifValue};
use stagefuse_ir::Value;

use crate::error::Result;
use crate::stage::Gen;

impl Gen<'_> {
    /// Drops the row unless the boolean is true.
    pub(crate) fn filter(&mut self, value: Value) -> Result<()> {
        let condition = self.condition(value)?;
        let keep = self.block();
        self.b.ins().brif(condition, keep, &[], self.next, &[]);
        self.b.switch_to_block(keep);
        Ok(())
    }

    /// 1 where a boolean is true, 0 where it is false or null.
    pub(crate) fn condition(&mut self, value: Value) -> Result<ClifValue> {
        let val = self.get(value)?;
        Ok(match val.valid {
            Some(valid) => self.b.ins().band(val.a, valid),
            None => val.a,
        })
    }
}
