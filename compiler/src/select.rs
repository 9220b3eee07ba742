//! Selection ahead of the row loop: which rows of a run of 1,024 are worth looking at, found without branches.
//!
//! Mispredicted branches and columns that need not be read, not instructions, are what a selective scan costs. So the filters at the start of
//! a stage, and the bitmaps of the join tables that it probes, run over the scanned columns first, one pass for each set of columns.
//! A pass reads its columns for the rows that the passes before it kept, so that their order matters: see [`order`]. The row loop then goes over what is left.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{JoinHead, JoinSlot, Status, WorkerHead};
use stagefuse_ir::layout::RowLayout;
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{EntityRef, Join, Op, ProbeKind, Source, Stmt, StmtKind, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::vectors::Interval;

/// Rows that are selected at a time: their numbers stay in the first-level cache.
const SELECTION_ROWS: i128 = 1024;

/// What rows are selected by.
pub(crate) struct Selection {
    /// Number of statements at the start of the body that only filter on columns.
    leading: usize,
    passes: Vec<Pass>,
}

enum Pass {
    /// Booleans that must all be true.
    Filters(Vec<Value>),
    /// A key that must be in the bitmap of a join table, if that has one.
    Bitmap(Join, Value),
}

/// The rows that a pass looks at.
#[derive(Copy, Clone)]
pub(crate) enum Rows {
    /// Those from one number to before another; there is one at least.
    Range(ClifValue, ClifValue),
    /// The first so many of the selection.
    Selected(ClifValue),
    /// Those from one number to before another, where some have been selected before; there need not be one.
    Rest { from: ClifValue, end: ClifValue, count: ClifValue },
}

/// Share of the rows that a filter keeps of which nothing is known.
const KEPT_UNKNOWN: f64 = 0.3;
/// Instructions that a row costs in a loop that looks at one row at a time.
const INSTRUCTIONS: f64 = 11.0;
/// What a byte from memory costs, in instructions.
const BYTE: f64 = 0.75;

/// What is expected of a pass of filters.
#[derive(Copy, Clone, Debug)]
struct Expected {
    /// Bytes of its columns for a row.
    width: u32,
    /// Instructions that a row costs where vectors select, if they can; they do in the first pass only.
    vectors: Option<f64>,
    /// Share of the rows that it keeps.
    kept: f64,
}

/// The order of passes that is expected to cost least: each as the first one, then the others, those first that rule out most for what they cost. Equal ones stay in order.
fn order(passes: &[Expected]) -> Vec<usize> {
    let bytes = |pass: &Expected| f64::from(pass.width) * BYTE;
    let rank = |at: &usize| (INSTRUCTIONS + bytes(&passes[*at])) / (1.0 - passes[*at].kept).max(1e-6);
    let orders = (0..passes.len()).map(|first| {
        let mut others: Vec<usize> = (0..passes.len()).filter(|at| *at != first).collect();
        others.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        let mut cost = passes[first].vectors.unwrap_or(INSTRUCTIONS) + bytes(&passes[first]);
        let mut left = passes[first].kept;
        for at in &others {
            cost += left * (INSTRUCTIONS + bytes(&passes[*at]));
            left *= passes[*at].kept;
        }
        (cost, std::iter::once(first).chain(others).collect())
    });
    orders.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(vec![], |(_, order)| order)
}

impl Gen<'_> {
    /// How to select rows; `None` where nothing can.
    pub(crate) fn selection(&self) -> Option<Selection> {
        if !matches!(self.decl.source, Source::Input { .. }) {
            return None;
        }
        let leading = self.leading_filters();
        let mut passes: Vec<(Vec<Value>, Vec<Value>)> = vec![];
        for stmt in &self.decl.body[..leading] {
            let StmtKind::Filter(value) = &stmt.kind else { continue };
            let columns = self.columns_of(*value, leading);
            match passes.iter_mut().find(|(known, _)| *known == columns) {
                Some((_, filters)) => filters.push(*value),
                None => passes.push((columns, vec![*value])),
            }
        }
        let expected: Vec<Expected> = passes
            .iter()
            .map(|(columns, filters)| {
                let interval = self.interval(filters, leading);
                let width = columns.iter().map(|column| self.stored_bytes(*column)).sum();
                Expected { width, vectors: interval.map(Interval::instructions), kept: interval.map_or(KEPT_UNKNOWN, |of| of.kept) }
            })
            .collect();
        let mut passes: Vec<Pass> = order(&expected).into_iter().map(|at| Pass::Filters(std::mem::take(&mut passes[at].1))).collect();
        passes.extend(self.bitmaps());
        (!passes.is_empty()).then_some(Selection { leading, passes })
    }

    /// The probes that a row must survive and whose key is a source column, up to what has an effect on a row that a later one drops.
    fn bitmaps(&self) -> Vec<Pass> {
        let mut passes = vec![];
        let counts = |stmt: &Stmt| matches!(stmt.kind, StmtKind::Limit(_));
        let limited = self.decl.body.iter().any(counts);
        for probe in self.decl.probes().take_while(|_| !limited) {
            let numeric = RowLayout::join(&self.program.joins[probe.join]).numeric;
            match probe.keys[..] {
                [key] if numeric && matches!(probe.kind, ProbeKind::Inner | ProbeKind::Semi) && self.decl.params.contains(&key) => {
                    passes.push(Pass::Bitmap(probe.join, key));
                }
                _ => {}
            }
            if probe.marks_build {
                break;
            }
        }
        passes
    }

    /// The source columns that a value of the leading statements is computed from, in order.
    fn columns_of(&self, value: Value, leading: usize) -> Vec<Value> {
        let mut columns = vec![];
        let mut pending = vec![value];
        while let Some(value) = pending.pop() {
            if self.decl.params.contains(&value) {
                columns.push(value);
            } else if let Some(op) = self.leading_op(value, leading) {
                op.for_each_operand(&mut |operand| pending.push(operand));
            }
        }
        columns.sort();
        columns.dedup();
        columns
    }

    /// Bytes that a source column takes for each row.
    fn stored_bytes(&self, column: Value) -> u32 {
        let index = self.decl.params.iter().position(|param| *param == column);
        index.map_or(0, |index| self.stored(index).bytes(self.ty(column).sql))
    }

    pub(crate) fn leading_op(&self, value: Value, leading: usize) -> Option<&Op> {
        self.decl.body[..leading].iter().find_map(|stmt| match &stmt.kind {
            StmtKind::Let(defined, op) if *defined == value => Some(op),
            _ => None,
        })
    }

    /// The loop over runs of rows: the passes, then the row loop over what they kept.
    pub(crate) fn selected_rows(&mut self, rows: ClifValue, how: &Selection) -> Result<()> {
        let selection = self.head(offset_of!(WorkerHead, selection));
        let zero = self.iconst(types::I64, 0);
        let (run, run_body, done) = (self.block(), self.block(), self.block());
        let start = self.b.append_block_param(run, types::I64);
        self.jump(run, &[zero]);
        self.b.switch_to_block(run);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, start, rows);
        self.b.ins().brif(more, run_body, &[], done, &[]);
        self.b.switch_to_block(run_body);
        let size = self.iconst(types::I64, SELECTION_ROWS);
        let end = self.b.ins().iadd(start, size);
        let end = self.b.ins().umin(end, rows);
        let mut selected = Rows::Range(start, end);
        for pass in &how.passes {
            selected = Rows::Selected(self.pass(pass, how.leading, selected, selection)?);
        }
        let Rows::Selected(count) = selected else { return Ok(()) };

        // The row loop.
        self.at(Place::Source);
        if let Some(touches) = self.touches() {
            self.touch(&touches, selected, selection)?;
        }
        let (head, body, next) = (self.block(), self.block(), self.block());
        let k = self.b.append_block_param(head, types::I64);
        self.jump(head, &[zero]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, k, count);
        self.b.ins().brif(more, body, &[], run, &[end.into()]);
        self.b.switch_to_block(body);
        self.row = self.selected_row(selection, k);
        self.next = next;
        // What only the filters needed is dead code here; Cranelift drops it.
        let decl = self.decl;
        for stmt in &decl.body[..how.leading] {
            if let StmtKind::Let(value, op) = &stmt.kind {
                let val = self.op(*value, op)?;
                self.define(*value, val);
            }
        }
        self.statements(how.leading)?;
        self.b.switch_to_block(next);
        let following = self.b.ins().iadd_imm_s(k, 1);
        self.jump(head, &[following]);
        self.b.switch_to_block(done);
        self.leave(Status::Ok);
        Ok(())
    }

    /// The number of row `k` of the selection.
    pub(crate) fn selected_row(&mut self, selection: ClifValue, k: ClifValue) -> ClifValue {
        let at = self.b.ins().ishl_imm_s(k, 2);
        let at = self.b.ins().iadd(selection, at);
        let number = self.load(types::I32, at, 0);
        self.b.ins().uextend(types::I64, number)
    }

    /// One pass: writes the rows that it keeps to the front of the selection, and yields how many they are.
    fn pass(&mut self, pass: &Pass, leading: usize, rows: Rows, selection: ClifValue) -> Result<ClifValue> {
        let after = self.block();
        let count = self.b.append_block_param(after, types::I64);
        match pass {
            Pass::Filters(values) => {
                self.at(self.place_of_filter(values));
                let kept = self.filter_pass(values, leading, rows, selection)?;
                self.jump(after, &[kept]);
            }
            Pass::Bitmap(join, key) => {
                self.at(self.place_of_probe(*join));
                let slots = self.head(offset_of!(WorkerHead, joins));
                let table = self.load_fixed(types::I64, slots, join.index() * size_of::<JoinSlot>() + offset_of!(JoinSlot, table));
                let bits = self.load_fixed(types::I64, table, offset_of!(JoinHead, bits));
                let (there, missing) = (self.block(), self.block());
                self.b.ins().brif(bits, there, &[], missing, &[]);
                self.b.switch_to_block(missing);
                let all = match rows {
                    Rows::Selected(count) => count,
                    // Every row is selected.
                    Rows::Range(..) | Rows::Rest { .. } => self.each_row(rows, selection, |this| Ok(this.iconst(types::I8, 1)))?,
                };
                self.jump(after, &[all]);
                self.b.switch_to_block(there);
                let kept = self.each_row(rows, selection, |this| this.is_in_bitmap(table, bits, *key))?;
                self.jump(after, &[kept]);
            }
        }
        self.b.switch_to_block(after);
        Ok(count)
    }

    /// The first filter of a pass.
    fn place_of_filter(&self, values: &[Value]) -> Place {
        let filters = |stmt: &Stmt| matches!(&stmt.kind, StmtKind::Filter(value) if values.contains(value));
        self.decl.body.iter().position(filters).map_or(Place::Source, Place::Stmt)
    }

    /// The first probe of a table; a marking sink is one, too.
    pub(crate) fn place_of_probe(&self, join: Join) -> Place {
        let probes = |stmt: &Stmt| matches!(&stmt.kind, StmtKind::Probe(probe) if probe.join == join);
        self.decl.body.iter().position(probes).map_or(Place::Sink, Place::Stmt)
    }

    fn filter_pass(&mut self, values: &[Value], leading: usize, rows: Rows, selection: ClifValue) -> Result<ClifValue> {
        let rows = match (rows, self.interval(values, leading)) {
            (Rows::Range(start, end), Some(interval)) => {
                let (from, count) = self.select_interval(interval, (start, end), selection)?;
                Rows::Rest { from, end, count }
            }
            (rows, _) => rows,
        };
        self.each_row(rows, selection, |this| {
            let mut keep = None;
            for value in values {
                this.leading_value(*value, leading)?;
                let condition = this.condition(*value)?;
                keep = this.both(keep, Some(condition));
            }
            Ok(this.validity(keep))
        })
    }

    /// Computes a value of the leading statements, and what it is computed from, unless that has been done in this pass.
    fn leading_value(&mut self, value: Value, leading: usize) -> Result<()> {
        let decl = self.decl;
        let mut needed = vec![];
        let mut pending = vec![value];
        while let Some(value) = pending.pop() {
            if let Some(op) = self.leading_op(value, leading) {
                op.for_each_operand(&mut |operand| pending.push(operand));
                needed.push(value);
            }
        }
        for stmt in &decl.body[..leading] {
            if let StmtKind::Let(defined, op) = &stmt.kind
                && needed.contains(defined)
                && !self.is_computed(*defined)
            {
                let val = self.op(*defined, op)?;
                self.define(*defined, val);
            }
        }
        Ok(())
    }

    /// Whether a key is in the bitmap of a join table; a byte. A null is not.
    fn is_in_bitmap(&mut self, table: ClifValue, bits: ClifValue, key: Value) -> Result<ClifValue> {
        let key = self.get(key)?;
        let number = self.numeric_key(&key);
        let first = self.load_fixed(types::I64, table, offset_of!(JoinHead, bits_first));
        let range = self.load_fixed(types::I64, table, offset_of!(JoinHead, bits_range));
        let at = self.b.ins().isub(number, first);
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, at, range);
        let zero = self.iconst(types::I64, 0);
        let at = self.b.ins().select(inside, at, zero);
        let byte_at = self.b.ins().ushr_imm_s(at, 3);
        let byte_at = self.b.ins().iadd(bits, byte_at);
        let byte = self.load_row(types::I8, byte_at, 0);
        let shift = self.b.ins().band_imm_s(at, 7);
        let shift = self.b.ins().ireduce(types::I8, shift);
        let bit = self.b.ins().ushr(byte, shift);
        let bit = self.b.ins().band(bit, inside);
        Ok(match key.valid {
            Some(valid) => self.b.ins().band(bit, valid),
            None => bit,
        })
    }

    /// A loop without branches over rows: those for which `keep` yields 1 go to the front of the selection. Yields how many.
    fn each_row(&mut self, rows: Rows, selection: ClifValue, keep: impl FnOnce(&mut Self) -> Result<ClifValue>) -> Result<ClifValue> {
        let zero = self.iconst(types::I64, 0);
        let (body, done) = (self.block(), self.block());
        let i = self.b.append_block_param(body, types::I64);
        let count = self.b.append_block_param(body, types::I64);
        let kept = self.b.append_block_param(done, types::I64);
        let end = match rows {
            Rows::Range(start, end) => {
                self.jump(body, &[start, zero]);
                end
            }
            Rows::Selected(end) => {
                self.b.ins().brif(end, body, &[zero.into(), zero.into()], done, &[zero.into()]);
                end
            }
            Rows::Rest { from, end, count } => {
                let more = self.b.ins().icmp(IntCC::UnsignedLessThan, from, end);
                self.b.ins().brif(more, body, &[from.into(), count.into()], done, &[count.into()]);
                end
            }
        };
        self.b.switch_to_block(body);
        self.row = match rows {
            Rows::Range(..) | Rows::Rest { .. } => i,
            Rows::Selected(_) => self.selected_row(selection, i),
        };
        let row = self.row;
        self.enter_scope();
        let keep = keep(self)?;
        self.leave_scope();
        // Never ahead of what is read: the rows so far are no fewer than those kept.
        let at = self.b.ins().ishl_imm_s(count, 2);
        let at = self.b.ins().iadd(selection, at);
        let number = self.b.ins().ireduce(types::I32, row);
        self.store(number, at, 0);
        let keep = self.b.ins().uextend(types::I64, keep);
        let count = self.b.ins().iadd(count, keep);
        let following = self.b.ins().iadd_imm_s(i, 1);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, following, end);
        self.b.ins().brif(more, body, &[following.into(), count.into()], done, &[count.into()]);
        self.b.switch_to_block(done);
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rules_out_most_for_its_cost_comes_first() {
        let vectors = |width: u32, kept: f64| Expected { width, vectors: Some(2.0 + f64::from(width) / 2.0), kept };
        let rows = |width: u32| Expected { width, vectors: None, kept: KEPT_UNKNOWN };
        // Narrow columns, where they rule out as much.
        assert_eq!(order(&[vectors(4, 0.3), vectors(1, 0.3), vectors(2, 0.3)]), [1, 2, 0]);
        // A wide one, where it keeps next to nothing.
        assert_eq!(order(&[vectors(2, 0.5), vectors(4, 0.02)]), [1, 0]);
        // Not what costs much, though it keeps less.
        assert_eq!(order(&[rows(16), vectors(1, 0.4)]), [1, 0]);
        // Equal ones as they came, and one that keeps everything last.
        assert_eq!(order(&[vectors(1, 1.0), rows(8), rows(8), rows(8)]), [0, 1, 2, 3].map(|at| [1, 2, 3, 0][at]));
        assert_eq!(order(&[]), [0; 0]);
    }
}
