//! Rows that become several.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use stagefuse_ir::abi::WorkerHead;
use stagefuse_ir::{EntityRef, Expand};

use crate::stage::Gen;
use crate::value::{Val, clif_type};

impl Gen<'_> {
    /// What follows is generated once, as the body of a loop over the literals.
    pub(crate) fn expand(&mut self, expand: &Expand) {
        let outside = self.next;
        let table = self.head(offset_of!(WorkerHead, literals));
        let (first, count) = (expand.literals.first().map_or(0, |lit| lit.index()), expand.literals.len());
        let (head, body, advance) = (self.block(), self.block(), self.block());
        let at = self.b.append_block_param(head, types::I64);
        let start = self.b.ins().iadd_imm_s(table, first as i64 * 16);
        let end = self.b.ins().iadd_imm_s(start, count as i64 * 16);
        self.jump(head, &[start]);
        self.b.switch_to_block(advance);
        let following = self.b.ins().iadd_imm_s(at, 16);
        self.jump(head, &[following]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, at, end);
        self.b.ins().brif(more, body, &[], outside, &[]);
        self.b.switch_to_block(body);
        self.next = advance;
        let ty = self.ty(expand.value);
        // The low bytes of 16.
        let value = self.load(clif_type(ty.repr), at, 0);
        self.define(expand.value, Val::new(value));
    }
}
