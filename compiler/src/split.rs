//! Stages whose code would be too large for one function: one function for each operator, called in turn for every row (Spark's
//! `splitConsumeFuncByOperator`).
//!
//! The first function holds the loop over rows and the first operator. Each hands the values that are still needed to the next in a frame on its stack.

use std::ops::Range;

use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use cranelift_module::FuncId;
use stagefuse_ir::abi::Status;
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{EntityRef, Repr, StageDecl, StmtKind, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::{Val, clif_type};

/// Most operations of one part.
const MOST_OPERATIONS: usize = 48;

/// Bytes of a value in a frame: two words, then its validity.
const SLOT: u32 = 24;

/// A part of a stage's body, which becomes a function.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its statements. The sink belongs to the last part.
    pub(crate) statements: Range<usize>,
    /// The values that the part before it hands over.
    pub(crate) live: Vec<Value>,
    /// What it is called with: worker, frame. The first part is the stage itself.
    pub(crate) function: Option<FuncId>,
}

/// The parts of a stage: what loops over rows first, then one for each row operation with what is computed behind it, then the sink.
pub(crate) fn parts(decl: &StageDecl) -> Vec<Part> {
    let mut starts = vec![0];
    let mut last = 0;
    for (index, stmt) in decl.body.iter().enumerate() {
        // A filter ends what it belongs to; the others begin something.
        let begins = matches!(stmt.kind, StmtKind::Probe(_) | StmtKind::Limit(_)) || index - last >= MOST_OPERATIONS;
        if begins && index > last {
            starts.push(index);
            last = index;
        }
    }
    if decl.body.len() > last {
        starts.push(decl.body.len());
    }
    let ends = starts.iter().skip(1).copied().chain([decl.body.len()]);
    let parts = starts.iter().copied().zip(ends);
    parts.map(|(start, end)| Part { statements: start..end, live: live_at(decl, start), function: None }).collect()
}

/// The values that are defined before a statement and used by it or behind it.
fn live_at(decl: &StageDecl, start: usize) -> Vec<Value> {
    let mut used = vec![false; decl.values.len()];
    let mut mark = |value: Value| used[value.index()] = true;
    decl.body[start..].iter().for_each(|stmt| stmt.kind.for_each_operand(&mut mark));
    decl.sink.for_each_operand(&mut mark);
    let mut before = vec![];
    decl.body[..start].iter().for_each(|stmt| stmt.kind.for_each_defined(&mut |value| before.push(value)));
    decl.params.iter().copied().chain(before).filter(|value| used[value.index()]).collect()
}

impl Gen<'_> {
    /// Hands the row over to the next part, then goes on with the next row.
    pub(crate) fn call_part(&mut self, part: &Part) -> Result<()> {
        let Some(function) = part.function else { return Ok(()) };
        let frame = self.stack((SLOT * part.live.len() as u32).max(8));
        for (index, value) in part.live.iter().enumerate() {
            let val = self.get_text(*value)?;
            let at = index * SLOT as usize;
            self.store(val.a, frame, at);
            if let Some(b) = val.b {
                self.store(b, frame, at + 8);
            }
            if self.ty(*value).nullable {
                let valid = self.validity(val.valid);
                self.store(valid, frame, at + 16);
            }
        }
        let status = self.call_function(function, &[self.worker, frame]);
        let going = self.b.ins().icmp_imm_s(cranelift_codegen::ir::condcodes::IntCC::Equal, status, i64::from(Status::Ok as i32));
        let next = self.next;
        self.leave_unless(going, status, next);
        Ok(())
    }

    /// Takes over the values that the part before handed over.
    fn take_over(&mut self, part: &Part, frame: ClifValue) {
        for (index, value) in part.live.iter().enumerate() {
            let (ty, at) = (self.ty(*value), index * SLOT as usize);
            let a = self.load(clif_type(ty.repr), frame, at);
            let b = (ty.repr == Repr::Str).then(|| self.load(types::I64, frame, at + 8));
            let valid = ty.nullable.then(|| self.load(types::I8, frame, at + 16));
            self.define(*value, Val { a, b, valid, raw: None, pinned: false });
        }
    }

    /// Generates the function of a part behind the first.
    pub(crate) fn run_part(mut self, number: usize) -> Result<Vec<Place>> {
        let entry = self.begin();
        let frame = self.b.block_params(entry)[1];
        let part = self.parts[number].clone();
        self.take_over(&part, frame);
        let next = self.block();
        self.next = next;
        self.statements(part.statements.start)?;
        self.b.switch_to_block(next);
        self.leave(Status::Ok);
        self.finish()
    }
}
