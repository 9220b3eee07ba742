//! The vectorised interpreter: runs a stage over chunks of a morsel, one operation at a time over whole vectors.
//!
//! It is the engine of stages that cannot be compiled, and what compiled code is measured against. It works on the same states with
//! the same bytes as compiled code.
//!
//! A [`level::Level`] is a dense set of rows. A filter or a probe puts a new level on top of the last, with a mapping into it; a value
//! belongs to the level where it was computed, and is gathered through the mappings where a higher level uses it. So kernels are dense loops.

mod hash;
mod level;
mod load;
mod opaque;
mod plan;
mod row;
mod scalar;
mod sink;
mod vector;

pub(crate) use plan::StagePlan;

use stagefuse_ir::abi::{Morsel, Status};
use stagefuse_ir::{EntityRef, JoinRows, Sink, Source, StmtKind};

use crate::error::Error;
use crate::run::shared::Shared;
use crate::worker::Worker;
use level::Frame;

/// Most rows of a level.
pub(crate) const CHUNK: usize = 2048;

/// Whether more rows may still reach the sink.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum More {
    Yes,
    /// A limit is full.
    No,
}

/// Runs a morsel: what a stage's function does.
pub(crate) fn run_morsel(run: &Shared, plan: &StagePlan, worker: &mut Worker, morsel: &Morsel) -> Status {
    match run_chunks(run, plan, worker, morsel) {
        Ok(More::Yes) => Status::Ok,
        Ok(More::No) => Status::Done,
        Err(error) => {
            worker.fail(error);
            Status::Error
        }
    }
}

fn run_chunks(run: &Shared, plan: &StagePlan, worker: &mut Worker, morsel: &Morsel) -> Result<More, Error> {
    let rows = morsel.rows as usize;
    let mut more = More::Yes;
    for first in (0..rows).step_by(CHUNK) {
        let mark = worker.mark(plan);
        let mut frame = Frame::new(run, plan, worker, morsel);
        frame.push_source(first, CHUNK.min(rows - first));
        if let Source::Join(_, which @ (JoinRows::Matched | JoinRows::Unmatched)) = plan.decl.source {
            let matched = frame.matched_source()?;
            frame.push_filter(&matched, which == JoinRows::Matched)?;
        }
        more = run_from(&mut frame, 0)?;
        if frame.worker.has_stored(plan, mark) {
            frame.held.keep(&run.memory)?;
        }
        if !frame.kept.is_empty() {
            // Buffered rows may refer to text of the host's arrays, which go with the chunk.
            match &plan.decl.sink {
                Sink::Emit { .. } | Sink::Hand { .. } => frame.worker.flush()?,
                Sink::Group { groups, .. } => frame.worker.flush_operands(groups.index())?,
                Sink::Build { .. } | Sink::Mark { .. } | Sink::Sort { .. } => {}
            }
        }
        if more == More::No {
            break;
        }
    }
    Ok(more)
}

/// Runs the operations from number `start` on, and the sink, over the rows of the top level.
pub(crate) fn run_from(frame: &mut Frame<'_>, start: usize) -> Result<More, Error> {
    let plan = frame.plan;
    let base = frame.depth();
    let mut more = More::Yes;
    for (number, stmt) in plan.decl.body.iter().enumerate().skip(start) {
        if frame.rows() == 0 {
            frame.pop_to(base);
            return Ok(more);
        }
        match &stmt.kind {
            StmtKind::Let(value, op) => {
                let vector = scalar::eval(frame, *value, op)?;
                frame.define(*value, vector);
            }
            StmtKind::Filter(condition) => {
                let condition = frame.get(*condition)?;
                frame.push_filter(&condition, true)?;
            }
            StmtKind::Expand(expand) => {
                let depth = frame.depth();
                let rows = frame.rows() as u32;
                for lit in &expand.literals {
                    // Each time a level of its own: what depends on the value belongs there.
                    frame.push_map((0..rows).collect());
                    let vector = scalar::literal(frame, *lit, plan.ty(expand.value).repr);
                    frame.define(expand.value, vector);
                    if run_from(frame, number + 1)? == More::No {
                        more = More::No;
                    }
                    frame.pop_to(depth);
                }
                frame.pop_to(base);
                return Ok(more);
            }
            StmtKind::Limit(limit) => {
                if row::limit::take(frame, *limit)? == More::No {
                    more = More::No;
                }
            }
            StmtKind::Probe(probe) => {
                let after = row::probe::run(frame, probe, Some(number + 1))?;
                if let Some(after) = after {
                    // The rows after the probe have been run to the end.
                    frame.pop_to(base);
                    return Ok(if after == More::No { after } else { more });
                }
            }
        }
    }
    if frame.rows() > 0 {
        sink::run(frame)?;
    }
    frame.pop_to(base);
    Ok(more)
}
