//! Sinks: what becomes of the rows that are left.

mod build;
mod emit;
mod group;
mod sort;
mod store;

use stagefuse_ir::Sink;

use super::level::Frame;
use super::row::probe;
use crate::error::Error;

/// Hands the rows of the top level to the stage's sink.
pub(crate) fn run(frame: &mut Frame<'_>) -> Result<(), Error> {
    match &frame.plan.decl.sink {
        Sink::Build { join, keys, payload } => build::run(frame, *join, keys, payload),
        Sink::Mark { probe } => probe::run(frame, probe, None).map(|_| ()),
        Sink::Group { groups, keys, args, operands } => group::run(frame, *groups, keys, args, operands),
        Sink::Sort { sort, keys, payload } => sort::run(frame, *sort, keys, payload),
        Sink::Hand { columns, .. } | Sink::Emit { columns } => emit::run(frame, columns),
    }
}
