//! Rows of a join table.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, JoinSlot, RowsHead, WorkerHead};
use stagefuse_ir::layout::{JOIN_NEXT, RowLayout};
use stagefuse_ir::{EntityRef, Join, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

impl Gen<'_> {
    /// Appends the row to the worker's rows.
    pub(crate) fn build(&mut self, join: Join, keys: &[Value], payload: &[Value]) -> Result<()> {
        let decl = &self.program.joins[join];
        let layout = RowLayout::join(decl);
        let key_vals = self.keys(keys)?;
        if !decl.null_equal && !decl.tracked {
            for valid in key_vals.iter().filter_map(|(key, _)| key.valid).collect::<Vec<_>>() {
                let next = self.next;
                self.go_on_if(valid, next);
            }
        }
        let hash = match layout.hash {
            Some(offset) => Some((self.hash(&key_vals)?, offset)),
            None => None,
        };
        let payload = self.keys(payload)?;
        let slots = self.head(offset_of!(WorkerHead, joins));
        let rows = self.load_fixed(types::I64, slots, join.index() * size_of::<JoinSlot>() + offset_of!(JoinSlot, rows));
        let used = self.load(types::I64, rows, offset_of!(RowsHead, used));
        let capacity = self.load(types::I64, rows, offset_of!(RowsHead, capacity));
        let (full, room) = (self.block(), self.block());
        self.b.set_cold_block(full);
        let is_full = self.b.ins().icmp(IntCC::Equal, used, capacity);
        self.b.ins().brif(is_full, full, &[], room, &[]);
        self.b.switch_to_block(full);
        let number = self.iconst(types::I32, join.index() as i128);
        let status = self.call(Builtin::join_grow, &[self.worker, number])?;
        let ok = self.b.ins().icmp_imm_s(IntCC::Equal, status, 0);
        self.fail_unless(ok);
        self.jump(room, &[]);
        self.b.switch_to_block(room);
        let base = self.load(types::I64, rows, offset_of!(RowsHead, base));
        let entry = self.b.ins().iadd(base, used);
        let after = self.b.ins().iadd_imm_s(used, i64::from(layout.stride));
        self.store(after, rows, offset_of!(RowsHead, used));
        let zero = self.iconst(types::I64, 0);
        self.store(zero, entry, JOIN_NEXT as usize);
        if let Some((hash, offset)) = hash {
            self.store(hash, entry, offset as usize);
        }
        if layout.numeric {
            self.note_range(&key_vals[0].0, rows);
        }
        for ((val, ty), field) in key_vals.iter().chain(&payload).zip(&layout.fields) {
            self.write_field(val, ty, entry, field)?;
        }
        if let Some(offset) = layout.matched {
            let no = self.iconst(types::I8, 0);
            self.store(no, entry, offset as usize);
        }
        Ok(())
    }

    /// Notes the least and the greatest key.
    fn note_range(&mut self, key: &Val, rows: ClifValue) {
        let number = self.numeric_key(key);
        for (offset, is_least) in [(offset_of!(RowsHead, least), true), (offset_of!(RowsHead, greatest), false)] {
            let known = self.load(types::I64, rows, offset);
            let number = match key.valid {
                Some(valid) => self.b.ins().select(valid, number, known),
                None => number,
            };
            let new = if is_least { self.b.ins().smin(known, number) } else { self.b.ins().smax(known, number) };
            self.store(new, rows, offset);
        }
    }
}
