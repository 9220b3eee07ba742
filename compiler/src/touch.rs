//! Asking for the entries of tables ahead of the row loop.
//!
//! A row loop waits for memory where its groups, or the rows that it joins with, are many: the processor looks only so many instructions ahead, which are those of few rows.
//! So a loop over a run of rows first computes where their entries are, and asks for all of them, which waits for nothing; the row loop then finds them in the cache, or on
//! their way. It does so for spread group tables and for join tables, by keys that are columns of the source, or that an inner join has made equal to one.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, GroupsHead, JoinHead, JoinSlot, Status, WorkerHead};
use stagefuse_ir::layout::{RowLayout, may_spread};
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{EntityRef, Groups, Join, ProbeKind, Repr, Sink, Source, StmtKind, Value};

use crate::error::Result;
use crate::select::Rows;
use crate::stage::Gen;

/// Rows that are touched at a time: what they touch stays in the first-level cache.
const TOUCHED_ROWS: i128 = 256;
/// Where in the room for the selection words are: behind the row numbers of any run.
const WORDS: i64 = 1 << 14;
/// Most join tables that are touched: each takes code.
const MOST_JOINS: usize = 3;
/// Keys that lie so close to one another, for each row of a run, are in order, or nearly: the processor itself fetches what comes next.
const NEAR: i64 = 8;

/// What rows lead to.
pub(crate) struct Touches {
    /// Join tables, by these columns.
    joins: Vec<(Join, Vec<Value>)>,
    /// The table that the stage groups by one column.
    groups: Option<(Groups, Value)>,
}

impl Gen<'_> {
    /// What can be touched by columns of the source alone.
    pub(crate) fn touches(&self) -> Option<Touches> {
        if !matches!(self.decl.source, Source::Input { .. }) || !self.parts.is_empty() {
            return None;
        }
        // Values that are columns of the source, and the columns that they are.
        let mut known: Vec<(Value, Value)> = self.decl.params.iter().map(|param| (*param, *param)).collect();
        let column_of = |known: &[(Value, Value)], value: Value| known.iter().find(|(known, _)| *known == value).map(|(_, column)| *column);
        let mut joins = vec![];
        for probe in self.decl.probes() {
            let keys: Option<Vec<Value>> = probe.keys.iter().map(|key| column_of(&known, *key)).collect();
            let Some(keys) = keys else { continue };
            if probe.kind == ProbeKind::Inner {
                known.extend(probe.columns.iter().zip(&keys).filter_map(|(value, key)| Some(((*value)?, *key))));
            }
            let is_text = |key: &Value| self.ty(*key).repr == Repr::Str;
            if joins.len() < MOST_JOINS && !keys.is_empty() && !keys.iter().any(is_text) {
                joins.push((probe.join, keys));
            }
        }
        let groups = match &self.decl.sink {
            Sink::Group { groups, keys, .. } if may_spread(&self.program.groups[*groups]) => {
                // Rows that are counted, or become several, may not reach the table, or under other keys.
                let plain = |kind: &StmtKind| matches!(kind, StmtKind::Let(..) | StmtKind::Filter(_) | StmtKind::Probe(_));
                let all = self.decl.body.iter().all(|stmt| plain(&stmt.kind));
                keys.first().and_then(|key| column_of(&known, *key)).filter(|_| all).map(|column| (*groups, column))
            }
            _ => None,
        };
        (!joins.is_empty() || groups.is_some()).then_some(Touches { joins, groups })
    }

    /// The loop over every row of the morsel, run by run.
    pub(crate) fn touched_rows(&mut self, rows: ClifValue, touches: &Touches) -> Result<()> {
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
        self.touch(touches, Rows::Range(start, end), zero)?;
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

    /// Asks for what rows lead to.
    pub(crate) fn touch(&mut self, touches: &Touches, rows: Rows, selection: ClifValue) -> Result<()> {
        for (join, keys) in &touches.joins {
            self.at(self.place_of_probe(*join));
            self.touch_join(*join, keys, rows, selection)?;
        }
        if let Some(touched) = touches.groups {
            self.at(Place::Sink);
            self.touch_groups(touched, rows, selection)?;
        }
        self.at(Place::Source);
        Ok(())
    }

    /// Asks for the slots of rows, and for the entries that they hold, where the table does not fit the cache.
    fn touch_join(&mut self, join: Join, keys: &[Value], rows: Rows, selection: ClifValue) -> Result<()> {
        let layout = RowLayout::join(&self.program.joins[join]);
        let slots = self.head(offset_of!(WorkerHead, joins));
        let table = self.load_fixed(types::I64, slots, join.index() * size_of::<JoinSlot>() + offset_of!(JoinSlot, table));
        let bytes = self.load_fixed(types::I64, table, offset_of!(JoinHead, bytes));
        let (begin, done) = (self.block(), self.block());
        let large = self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThan, bytes, self.cached_bytes as i64);
        self.b.ins().brif(large, begin, &[], done, &[]);
        self.b.switch_to_block(begin);
        let (from, end) = self.bounds(rows, done);
        let numeric = match keys {
            [key] if layout.numeric => Some(*key),
            _ => None,
        };
        if let Some(key) = numeric {
            let last = self.b.ins().iadd_imm_s(end, -1);
            let (first, last) = (self.number_at(rows, from, key, selection)?, self.number_at(rows, last, key, selection)?);
            let count = self.b.ins().isub(end, from);
            let near = self.b.ins().imul_imm_s(count, NEAR);
            let distance = self.b.ins().isub(last, first);
            let distance = self.b.ins().iadd(distance, near);
            let reach = self.b.ins().ishl_imm_s(near, 1);
            let is_near = self.b.ins().icmp(IntCC::UnsignedLessThan, distance, reach);
            let far = self.block();
            self.b.ins().brif(is_near, done, &[], far, &[]);
            self.b.switch_to_block(far);
        }
        let (words, count) = self.list(rows, (from, end), selection, |this| match numeric {
            Some(key) => {
                let key = this.get(key)?;
                Ok(this.numeric_key(&key))
            }
            None => {
                let keys = this.keys(keys)?;
                this.hash(&keys)
            }
        })?;
        let stride = self.iconst(types::I64, i128::from(layout.stride));
        let is_numeric = self.iconst(types::I32, i128::from(numeric.is_some()));
        self.call(Builtin::prefetch_join, &[table, words, count, stride, is_numeric])?;
        self.jump(done, &[]);
        self.b.switch_to_block(done);
        Ok(())
    }

    /// The number that a key of a row is.
    fn number_at(&mut self, rows: Rows, i: ClifValue, key: Value, selection: ClifValue) -> Result<ClifValue> {
        self.row = self.row_of(rows, i, selection);
        self.enter_scope();
        let key = self.get(key)?;
        self.leave_scope();
        Ok(self.numeric_key(&key))
    }

    /// Asks for the entries that rows lead to, where the table is spread and does not fit the cache.
    fn touch_groups(&mut self, (groups, key): (Groups, Value), rows: Rows, selection: ClifValue) -> Result<()> {
        let layout = RowLayout::groups(&self.program.groups[groups]);
        let stride = i64::from(layout.stride);
        let head = self.head_element(offset_of!(WorkerHead, groups), groups.index());
        let elements = self.load(types::I64, head, offset_of!(GroupsHead, direct));
        let range = self.load(types::I64, head, offset_of!(GroupsHead, range));
        let (spread, begin, done) = (self.block(), self.block(), self.block());
        self.b.ins().brif(elements, done, &[], spread, &[]);
        self.b.switch_to_block(spread);
        let large = self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThan, range, self.cached_bytes as i64 / stride);
        self.b.ins().brif(large, begin, &[], done, &[]);
        self.b.switch_to_block(begin);
        let first = self.load(types::I64, head, offset_of!(GroupsHead, first));
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        let zero = self.iconst(types::I64, 0);
        let bounds = self.bounds(rows, done);
        let (words, count) = self.list(rows, bounds, selection, |this| {
            let key = this.get(key)?;
            let number = this.numeric_key(&key);
            let at = this.b.ins().isub(number, first);
            let inside = this.b.ins().icmp(IntCC::UnsignedLessThan, at, range);
            // What has no place, and null, which is any number here, touches some other entry.
            let at = this.b.ins().select(inside, at, zero);
            let offset = this.b.ins().imul_imm_s(at, stride);
            let there = this.b.ins().iadd(entries, offset);
            Ok(this.b.ins().iadd_imm_s(there, stride))
        })?;
        // Both ends: they may lie in two lines of the cache.
        let behind = self.iconst(types::I64, i128::from(stride) - 8);
        self.call(Builtin::prefetch, &[words, count, behind])?;
        self.jump(done, &[]);
        self.b.switch_to_block(done);
        Ok(())
    }

    /// The first of some rows, and what is behind the last; where there are none, branches.
    fn bounds(&mut self, rows: Rows, none: Block) -> (ClifValue, ClifValue) {
        let (from, end) = match rows {
            Rows::Range(from, end) | Rows::Rest { from, end, .. } => (from, end),
            Rows::Selected(count) => (self.iconst(types::I64, 0), count),
        };
        let some = self.block();
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, from, end);
        self.b.ins().brif(more, some, &[], none, &[]);
        self.b.switch_to_block(some);
        (from, end)
    }

    fn row_of(&mut self, rows: Rows, i: ClifValue, selection: ClifValue) -> ClifValue {
        match rows {
            Rows::Selected(_) => self.selected_row(selection, i),
            Rows::Range(..) | Rows::Rest { .. } => i,
        }
    }

    /// Writes a word for each of some rows, of which there is one at least. Yields where the words lie, and how many they are.
    fn list(
        &mut self,
        rows: Rows,
        (from, end): (ClifValue, ClifValue),
        selection: ClifValue,
        word: impl FnOnce(&mut Self) -> Result<ClifValue>,
    ) -> Result<(ClifValue, ClifValue)> {
        let (body, listed) = (self.block(), self.block());
        let i = self.b.append_block_param(body, types::I64);
        let to = self.b.append_block_param(body, types::I64);
        let room = self.head(offset_of!(WorkerHead, selection));
        let words = self.b.ins().iadd_imm_s(room, WORDS);
        self.jump(body, &[from, words]);
        self.b.switch_to_block(body);
        self.row = self.row_of(rows, i, selection);
        self.enter_scope();
        let word = word(self)?;
        self.leave_scope();
        self.store(word, to, 0);
        let to = self.b.ins().iadd_imm_s(to, 8);
        let following = self.b.ins().iadd_imm_s(i, 1);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, following, end);
        self.b.ins().brif(more, body, &[following.into(), to.into()], listed, &[]);
        self.b.switch_to_block(listed);
        let count = self.b.ins().isub(end, from);
        Ok((words, count))
    }
}
