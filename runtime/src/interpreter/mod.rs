//! The vectorised interpreter.

use stagefuse_ir::abi::{Morsel, Status};
use stagefuse_ir::{Program, Stage};

use crate::run::shared::Shared;
use crate::worker::Worker;

/// What is prepared once for a stage of a run.
pub(crate) struct StagePlan;

impl StagePlan {
    pub(crate) fn new(_program: &Program, _stage: Stage) -> Self {
        StagePlan
    }
}

/// Runs a morsel.
pub(crate) fn run_morsel(_run: &Shared, _plan: &StagePlan, worker: &mut Worker, _morsel: &Morsel) -> Status {
    worker.fail(crate::error::Error::Internal("the interpreter is not written yet".into()));
    Status::Error
}
