//! Rows of a sort.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, RowsHead, SortWord, WorkerHead};
use stagefuse_ir::layout::RowLayout;
use stagefuse_ir::{EntityRef, Repr, Sort, SortKey, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::Val;

impl Gen<'_> {
    /// Appends the row to the worker's rows, unless it surely is not among the first.
    pub(crate) fn sort(&mut self, sort: Sort, keys: &[Value], payload: &[Value]) -> Result<()> {
        let decl = &self.program.sorts[sort];
        let layout = RowLayout::sort(decl);
        let rows = self.head_element(offset_of!(WorkerHead, sorts), sort.index());
        if decl.fetch.is_some() {
            let first = self.get(keys[0])?;
            let word = self.sort_word(&first, decl.keys[0]);
            let threshold = self.load(types::I64, rows, offset_of!(RowsHead, threshold));
            let wanted = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, word, threshold);
            let next = self.next;
            self.go_on_if(wanted, next);
        }
        let values: Vec<Value> = keys.iter().chain(payload).copied().collect();
        let vals = self.keys(&values)?;
        let used = self.load(types::I64, rows, offset_of!(RowsHead, used));
        let capacity = self.load(types::I64, rows, offset_of!(RowsHead, capacity));
        let (full, room) = (self.block(), self.block());
        let at = self.b.append_block_param(room, types::I64);
        self.b.set_cold_block(full);
        let is_full = self.b.ins().icmp(IntCC::Equal, used, capacity);
        self.b.ins().brif(is_full, full, &[], room, &[used.into()]);
        self.b.switch_to_block(full);
        let number = self.iconst(types::I32, sort.index() as i128);
        let status = self.call(Builtin::sort_grow, &[self.worker, number])?;
        let ok = self.b.ins().icmp_imm_s(IntCC::Equal, status, 0);
        self.fail_unless(ok);
        // Rows may have been dropped.
        let used = self.load(types::I64, rows, offset_of!(RowsHead, used));
        self.jump(room, &[used]);
        self.b.switch_to_block(room);
        let base = self.load(types::I64, rows, offset_of!(RowsHead, base));
        let entry = self.b.ins().iadd(base, at);
        for ((val, ty), field) in vals.iter().zip(&layout.fields) {
            self.write_field(val, ty, entry, field)?;
        }
        let after = self.b.ins().iadd_imm_s(at, i64::from(layout.stride));
        self.store(after, rows, offset_of!(RowsHead, used));
        Ok(())
    }

    /// The word of a first key: see [`stagefuse_ir::abi::sort_word`].
    fn sort_word(&mut self, val: &Val, key: SortKey) -> ClifValue {
        let kind = SortWord::of(key.ty.sql);
        let bits = match key.ty.repr {
            Repr::Bool | Repr::I8 | Repr::I16 | Repr::I32 if kind == SortWord::Unsigned => self.b.ins().uextend(types::I64, val.a),
            Repr::Bool | Repr::I8 | Repr::I16 | Repr::I32 => self.b.ins().sextend(types::I64, val.a),
            Repr::I64 => val.a,
            Repr::I128 => self.b.ins().isplit(val.a).1,
            Repr::F32 => {
                let bits = self.b.ins().bitcast(types::I32, MemFlagsData::new(), val.a);
                self.b.ins().sextend(types::I64, bits)
            }
            Repr::F64 => self.b.ins().bitcast(types::I64, MemFlagsData::new(), val.a),
            Repr::Str => {
                let first = self.b.ins().ushr_imm_s(val.a, 32);
                // The four low bytes become the four high ones.
                self.b.ins().bswap(first)
            }
        };
        let word = match kind {
            SortWord::Unsigned => bits,
            SortWord::Signed => self.b.ins().bxor_imm_s(bits, i64::MIN),
            SortWord::Float => {
                let sign = self.b.ins().sshr_imm_s(bits, 63);
                let turned = self.b.ins().ushr_imm_s(sign, 1);
                let bits = self.b.ins().bxor(bits, turned);
                self.b.ins().bxor_imm_s(bits, i64::MIN)
            }
        };
        let word = if key.descending { self.b.ins().bnot(word) } else { word };
        match val.valid {
            Some(valid) => {
                let null = self.iconst(types::I64, if key.nulls_first { 0 } else { u64::MAX.into() });
                self.b.ins().select(valid, word, null)
            }
            None => word,
        }
    }
}
