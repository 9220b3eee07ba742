//! Row counters.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, types};
use stagefuse_ir::abi::{LimitHead, Status, WorkerHead};
use stagefuse_ir::{EntityRef, Limit};

use crate::error::Result;
use crate::stage::Gen;

impl Gen<'_> {
    /// Counts the row; drops it before the window, ends the stage behind it.
    pub(crate) fn limit(&mut self, limit: Limit) -> Result<()> {
        let decl = self.program.limits[limit];
        let head = self.head_element(offset_of!(WorkerHead, limits), limit.index());
        let at = self.b.ins().iadd_imm_s(head, offset_of!(LimitHead, seen) as i64);
        let one = self.iconst(types::I64, 1);
        let seen = self.b.ins().atomic_rmw(types::I64, MemFlagsData::trusted(), AtomicRmwOp::Add, at, one);
        let end = self.iconst(types::I64, i128::from(decl.skip.saturating_add(decl.fetch)));
        let (within, full, keep) = (self.block(), self.block(), self.block());
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, seen, end);
        self.b.ins().brif(more, within, &[], full, &[]);
        self.b.switch_to_block(full);
        self.leave(Status::Done);
        self.b.switch_to_block(within);
        let skip = self.iconst(types::I64, i128::from(decl.skip));
        let behind = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, seen, skip);
        self.b.ins().brif(behind, keep, &[], self.next, &[]);
        self.b.switch_to_block(keep);
        Ok(())
    }
}
