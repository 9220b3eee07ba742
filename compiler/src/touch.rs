//! Touching the entries of spread group tables ahead of the row loop.
//!
//! A row loop waits for memory where its groups are many: the processor looks only so many instructions ahead, which are those of few rows. So a loop over a run of rows first
//! computes where their entries are, and asks for all of them, which waits for nothing; the row loop then finds them in the cache, or on their way.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, GroupsHead, Status, WorkerHead};
use stagefuse_ir::layout::{RowLayout, may_spread};
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{EntityRef, Groups, Sink, Source, StmtKind, Value};

use crate::error::Result;
use crate::select::Rows;
use crate::stage::Gen;

/// Rows that are touched at a time: what they touch stays in the first-level cache.
const TOUCHED_ROWS: i128 = 256;
/// Where in the room for the selection addresses are: behind the row numbers of any run.
const ADDRESSES: i64 = 1 << 14;
/// Bytes of entries that a second-level cache holds: no row waits long for those.
const CACHED_BYTES: i64 = 1 << 19;

impl Gen<'_> {
    /// The table that the stage groups by a source column alone, where each row that is selected reaches it.
    pub(crate) fn touches(&self) -> Option<(Groups, Value)> {
        let Sink::Group { groups, keys, .. } = &self.decl.sink else { return None };
        let ([key], Source::Input { .. }) = (&keys[..], self.decl.source) else { return None };
        let all = self.decl.body[self.leading_filters()..].iter().all(|stmt| matches!(stmt.kind, StmtKind::Let(..)));
        let touches = all && self.parts.is_empty() && self.decl.params.contains(key) && may_spread(&self.program.groups[*groups]);
        touches.then_some((*groups, *key))
    }

    /// The loop over every row of the morsel, run by run.
    pub(crate) fn touched_rows(&mut self, rows: ClifValue, touched: (Groups, Value)) -> Result<()> {
        let zero = self.iconst(types::I64, 0);
        let (run, run_body, head, body, next, done) = (self.block(), self.block(), self.block(), self.block(), self.block(), self.block());
        let start = self.b.append_block_param(run, types::I64);
        let i = self.b.append_block_param(head, types::I64);
        self.jump(run, &[zero]);
        self.b.switch_to_block(run);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, start, rows);
        self.b.ins().brif(more, run_body, &[], done, &[]);
        self.b.switch_to_block(run_body);
        let size = self.iconst(types::I64, TOUCHED_ROWS);
        let end = self.b.ins().iadd(start, size);
        let end = self.b.ins().umin(end, rows);
        self.at(Place::Sink);
        self.touch(touched, Rows::Range(start, end), zero)?;
        self.at(Place::Source);
        self.jump(head, &[start]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, i, end);
        self.b.ins().brif(more, body, &[], run, &[end.into()]);
        self.b.switch_to_block(body);
        self.row = i;
        self.next = next;
        self.statements(0)?;
        self.b.switch_to_block(next);
        let following = self.b.ins().iadd_imm_s(i, 1);
        self.jump(head, &[following]);
        self.b.switch_to_block(done);
        self.leave(Status::Ok);
        Ok(())
    }

    /// Asks for the entries that rows lead to, where the table is spread and does not fit the cache.
    pub(crate) fn touch(&mut self, (groups, key): (Groups, Value), rows: Rows, selection: ClifValue) -> Result<()> {
        let layout = RowLayout::groups(&self.program.groups[groups]);
        let stride = i64::from(layout.stride);
        let head = self.head_element(offset_of!(WorkerHead, groups), groups.index());
        let elements = self.load(types::I64, head, offset_of!(GroupsHead, direct));
        let range = self.load(types::I64, head, offset_of!(GroupsHead, range));
        let (spread, begin, body, noted, done) = (self.block(), self.block(), self.block(), self.block(), self.block());
        let i = self.b.append_block_param(body, types::I64);
        let to = self.b.append_block_param(body, types::I64);
        self.b.ins().brif(elements, done, &[], spread, &[]);
        self.b.switch_to_block(spread);
        let large = self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThan, range, CACHED_BYTES / stride);
        self.b.ins().brif(large, begin, &[], done, &[]);

        self.b.switch_to_block(begin);
        let zero = self.iconst(types::I64, 0);
        let first = self.load(types::I64, head, offset_of!(GroupsHead, first));
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        let room = self.head(offset_of!(WorkerHead, selection));
        let addresses = self.b.ins().iadd_imm_s(room, ADDRESSES);
        let (from, end) = match rows {
            Rows::Range(from, end) | Rows::Rest { from, end, .. } => (from, end),
            Rows::Selected(count) => (zero, count),
        };
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, from, end);
        self.b.ins().brif(more, body, &[from.into(), addresses.into()], done, &[]);

        self.b.switch_to_block(body);
        self.row = match rows {
            Rows::Selected(_) => self.selected_row(selection, i),
            Rows::Range(..) | Rows::Rest { .. } => i,
        };
        self.enter_scope();
        let key = self.get(key)?;
        self.leave_scope();
        let number = self.numeric_key(&key);
        let at = self.b.ins().isub(number, first);
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, at, range);
        // What has no place, and null, which is any number here, touches some other entry.
        let at = self.b.ins().select(inside, at, zero);
        let offset = self.b.ins().imul_imm_s(at, stride);
        let there = self.b.ins().iadd(entries, offset);
        let there = self.b.ins().iadd_imm_s(there, stride);
        self.store(there, to, 0);
        let to = self.b.ins().iadd_imm_s(to, 8);
        let following = self.b.ins().iadd_imm_s(i, 1);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, following, end);
        self.b.ins().brif(more, body, &[following.into(), to.into()], noted, &[]);

        self.b.switch_to_block(noted);
        let count = self.b.ins().isub(end, from);
        // Both ends: they may lie in two lines of the cache.
        let behind = self.iconst(types::I64, i128::from(stride) - 8);
        self.call(Builtin::prefetch, &[addresses, count, behind])?;
        self.jump(done, &[]);
        self.b.switch_to_block(done);
        Ok(())
    }
}
