//! Rows of the program's output, of another stage's input, and of buffers at all.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, OUT_ROWS, OutColumn, OutHead, WorkerHead};
use stagefuse_ir::{Repr, Type, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

impl Gen<'_> {
    /// Writes the row into the worker's output buffers.
    pub(crate) fn emit(&mut self, columns: &[Value]) -> Result<()> {
        let vals = self.keys(columns)?;
        let out = self.head(offset_of!(WorkerHead, out));
        let (program, decl) = (self.program, self.decl);
        let columns = vals.into_iter().zip(program.out_columns(&decl.sink)).map(|((val, _), output)| (val, *output));
        self.append(out, columns.collect(), Builtin::emit_flush, &[])
    }

    /// Appends a row of values to buffers whose columns are of these types; where they are full, `flush` empties them.
    pub(crate) fn append(&mut self, out: ClifValue, columns: Vec<(Val, Type)>, flush: Builtin, args: &[ClifValue]) -> Result<()> {
        let table = self.load_fixed(types::I64, out, offset_of!(OutHead, columns));
        let row = self.load(types::I64, out, offset_of!(OutHead, rows));
        for (column, (val, ty)) in columns.into_iter().enumerate() {
            let repr = ty.sql.default_repr();
            let values = self.load(types::I64, table, column * size_of::<OutColumn>() + offset_of!(OutColumn, values));
            let offset = self.b.ins().imul_imm_s(row, i64::from(repr.bytes()));
            let at = self.b.ins().iadd(values, offset);
            let a = if repr == Repr::I128 { self.wide(val.a) } else { val.a };
            self.store(a, at, 0);
            if let (Repr::Str, Some(b)) = (repr, val.b) {
                self.store(b, at, 8);
            }
            if ty.nullable {
                let valid = self.validity(val.valid);
                let bytes = self.load(types::I64, table, column * size_of::<OutColumn>() + offset_of!(OutColumn, valid));
                let at = self.b.ins().iadd(bytes, row);
                self.store(valid, at, 0);
            }
        }
        let rows = self.b.ins().iadd_imm_s(row, 1);
        self.store(rows, out, offset_of!(OutHead, rows));
        let (full, room) = (self.block(), self.block());
        self.b.set_cold_block(full);
        let is_full = self.b.ins().icmp_imm_s(IntCC::Equal, rows, OUT_ROWS as i64);
        self.b.ins().brif(is_full, full, &[], room, &[]);
        self.b.switch_to_block(full);
        let args: Vec<ClifValue> = std::iter::once(self.worker).chain(args.iter().copied()).collect();
        let status = self.call(flush, &args)?;
        let ok = self.b.ins().icmp_imm_s(IntCC::Equal, status, 0);
        self.fail_unless(ok);
        self.jump(room, &[]);
        self.b.switch_to_block(room);
        Ok(())
    }
}
