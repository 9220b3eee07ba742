//! Selection by an interval of one narrow column, several rows at a time: 128-bit vectors, which every processor has that Cranelift makes code for.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type as ClifType, Value as ClifValue, types};
use stagefuse_ir::abi::WorkerHead;
use stagefuse_ir::{BinaryOp, Datum, Op, Stored, Value};

use crate::error::Result;
use crate::stage::Gen;

/// Numbers of a column, as they are stored, that pass a filter: those from `least` to `greatest`.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) struct Interval {
    /// Number of the source column.
    pub(crate) column: usize,
    /// Bytes of a stored number: 1, 2 or 4.
    bytes: u32,
    least: u64,
    greatest: u64,
    /// Share of the column's range that it covers: about that of the rows that it keeps.
    pub(crate) kept: f64,
}

impl Interval {
    /// About how many instructions a row costs.
    pub(crate) fn instructions(self) -> f64 {
        match self.bytes {
            1 => 2.5,
            2 => 3.25,
            _ => 3.75,
        }
    }

    /// Rows that one step of the loop takes.
    fn step(self) -> i64 {
        if self.bytes == 1 { 16 } else { 8 }
    }

    fn lanes(self) -> ClifType {
        match self.bytes {
            1 => types::I8X16,
            2 => types::I16X8,
            _ => types::I32X4,
        }
    }
}

impl Gen<'_> {
    /// The interval that filters leave of a column, where that is all that they say.
    pub(crate) fn interval(&self, filters: &[Value], leading: usize) -> Option<Interval> {
        let mut column = None;
        let (mut least, mut greatest) = (0i128, i128::from(u64::MAX));
        let mut range = 1.0;
        for filter in filters {
            let Op::Binary(op, a, b) = self.leading_op(*filter, leading)? else { return None };
            let number = |value: &Value| match self.leading_op(*value, leading) {
                Some(Op::Literal(lit)) => match self.program.literals[*lit].value {
                    Datum::Int(number) => Some(number),
                    _ => None,
                },
                _ => None,
            };
            let (param, number, op) = match (number(a), number(b)) {
                (None, Some(number)) => (*a, number, *op),
                (Some(number), None) => (*b, number, mirrored(*op)),
                _ => return None,
            };
            let index = self.decl.params.iter().position(|other| *other == param)?;
            let Stored::Offset { base, span } = self.stored(index) else { return None };
            if self.ty(param).nullable || column.is_some_and(|(known, _)| known != index) {
                return None;
            }
            column = Some((index, Stored::Offset { base, span }.bytes(self.ty(param).sql)));
            range = span as f64 + 1.0;
            greatest = greatest.min(span.into());
            let number = number - i128::from(base);
            match op {
                BinaryOp::Eq => (least, greatest) = (least.max(number), greatest.min(number)),
                BinaryOp::Lt => greatest = greatest.min(number - 1),
                BinaryOp::Le => greatest = greatest.min(number),
                BinaryOp::Gt => least = least.max(number + 1),
                BinaryOp::Ge => least = least.max(number),
                _ => return None,
            }
        }
        let (column, bytes) = column.filter(|(_, bytes)| *bytes <= 4)?;
        // An interval without numbers is left to the loop that looks at one row at a time.
        (least <= greatest).then(|| {
            let kept = (greatest - least + 1) as f64 / range;
            Interval { column, bytes, least: least as u64, greatest: greatest as u64, kept }
        })
    }

    /// Selects the rows from `start` to before `end` whose number is in the interval, as far as they fill whole steps. Yields the row where it
    /// stopped, and how many rows it kept.
    pub(crate) fn select_interval(
        &mut self,
        interval: Interval,
        (start, end): (ClifValue, ClifValue),
        selection: ClifValue,
    ) -> Result<(ClifValue, ClifValue)> {
        let values = self.column_values(interval.column);
        let table = self.head(offset_of!(WorkerHead, compress));
        let lanes = interval.lanes();
        let bounds = [interval.least, interval.greatest].map(|bound| {
            let bound = self.iconst(lanes.lane_type(), bound.into());
            self.b.ins().splat(lanes, bound)
        });
        let rows = self.b.ins().isub(end, start);
        let whole = self.b.ins().band_imm_s(rows, -interval.step());
        let stop = self.b.ins().iadd(start, whole);
        let zero = self.iconst(types::I64, 0);
        let (head, body, done) = (self.block(), self.block(), self.block());
        let i = self.b.append_block_param(head, types::I64);
        let count = self.b.append_block_param(head, types::I64);
        self.jump(head, &[start, zero]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, i, stop);
        self.b.ins().brif(more, body, &[], done, &[]);
        self.b.switch_to_block(body);
        let offset = self.b.ins().imul_imm_s(i, i64::from(interval.bytes));
        let at = self.b.ins().iadd(values, offset);
        let mut kept = count;
        match interval.bytes {
            1 => {
                let both = self.inside(lanes, at, 0, bounds);
                let low = self.b.ins().band_imm_s(both, 0xFF);
                kept = self.keep_eight(table, selection, i, low, kept);
                let high = self.b.ins().ushr_imm_s(both, 8);
                let eighth = self.b.ins().iadd_imm_s(i, 8);
                kept = self.keep_eight(table, selection, eighth, high, kept);
            }
            2 => {
                let mask = self.inside(lanes, at, 0, bounds);
                kept = self.keep_eight(table, selection, i, mask, kept);
            }
            _ => {
                let (low, high) = (self.inside(lanes, at, 0, bounds), self.inside(lanes, at, 16, bounds));
                let high = self.b.ins().ishl_imm_s(high, 4);
                let mask = self.b.ins().bor(low, high);
                kept = self.keep_eight(table, selection, i, mask, kept);
            }
        }
        let following = self.b.ins().iadd_imm_s(i, interval.step());
        self.jump(head, &[following, kept]);
        self.b.switch_to_block(done);
        Ok((stop, count))
    }

    /// A bit for each number of a vector: whether it is in the interval.
    fn inside(&mut self, lanes: ClifType, at: ClifValue, offset: i32, [least, greatest]: [ClifValue; 2]) -> ClifValue {
        let numbers = self.b.ins().load(lanes, MemFlagsData::new().with_notrap(), at, offset);
        let raised = self.b.ins().umax(numbers, least);
        let clamped = self.b.ins().umin(raised, greatest);
        let inside = self.b.ins().icmp(IntCC::Equal, clamped, numbers);
        let mask = self.b.ins().vhigh_bits(types::I32, inside);
        self.b.ins().uextend(types::I64, mask)
    }

    /// Appends those of eight rows whose bit is set to the selection. Writes all eight places: more are there than rows.
    fn keep_eight(&mut self, table: ClifValue, selection: ClifValue, first: ClifValue, mask: ClifValue, count: ClifValue) -> ClifValue {
        let offset = self.b.ins().ishl_imm_s(mask, 5);
        let places = self.b.ins().iadd(table, offset);
        let first = self.b.ins().ireduce(types::I32, first);
        let first = self.b.ins().splat(types::I32X4, first);
        let at = self.b.ins().ishl_imm_s(count, 2);
        let at = self.b.ins().iadd(selection, at);
        for half in [0, 16] {
            let places = self.b.ins().load(types::I32X4, MemFlagsData::new().with_notrap().with_readonly(), places, half);
            let rows = self.b.ins().iadd(places, first);
            self.b.ins().store(MemFlagsData::new().with_notrap(), rows, at, half);
        }
        let kept = self.b.ins().popcnt(mask);
        self.b.ins().iadd(count, kept)
    }
}

/// The comparison with its sides changed over.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::Le => BinaryOp::Ge,
        BinaryOp::Gt => BinaryOp::Lt,
        BinaryOp::Ge => BinaryOp::Le,
        other => other,
    }
}
