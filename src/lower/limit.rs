//! Limits: a row counter that all workers share.

use std::sync::Arc;

use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stagefuse_ir::LimitDecl;

use super::exchange::below_exchange;
use super::{Lowering, Pipe, Result, declined};

impl Lowering {
    pub(crate) fn global_limit(&mut self, limit: &GlobalLimitExec) -> Result<Pipe> {
        if limit.required_ordering().is_some() {
            return declined("a limit of ordered rows");
        }
        let wanted = limit.fetch().map(|fetch| fetch.saturating_add(limit.skip()));
        self.first_rows(limit.input(), limit.skip(), limit.fetch(), wanted, "GlobalLimitExec")
    }

    /// An exchange into one partition that ends after some rows.
    pub(crate) fn coalesce(&mut self, coalesce: &CoalescePartitionsExec) -> Result<Pipe> {
        let fetch = coalesce.fetch();
        let pipe = self.first_rows(coalesce.input(), 0, fetch, fetch, "CoalescePartitionsExec: fetch")?;
        Ok(pipe.exchanged(true))
    }

    fn first_rows(
        &mut self,
        input: &Arc<dyn ExecutionPlan>,
        skip: usize,
        fetch: Option<usize>,
        wanted: Option<usize>,
        note: &str,
    ) -> Result<Pipe> {
        let mut below = below_exchange(input);
        // A limit for each partition that lets through what this one wants adds nothing to it.
        if let Some(local) = below.downcast_ref::<LocalLimitExec>()
            && wanted.is_some_and(|wanted| local.fetch() >= wanted)
        {
            below = below_exchange(local.input());
        }
        if below.output_ordering().is_some() {
            return declined("a limit of ordered rows");
        }
        let pipe = self.node(below)?.exchanged(!Arc::ptr_eq(below, input));
        self.limited(pipe, skip, fetch, note)
    }

    /// Skips and counts the rows of a pipe.
    pub(crate) fn limited(&mut self, mut pipe: Pipe, skip: usize, fetch: Option<usize>, note: &str) -> Result<Pipe> {
        let decl = LimitDecl { skip: skip as u64, fetch: fetch.map_or(u64::MAX, |fetch| fetch as u64) };
        let limit = self.p.limit(decl);
        pipe.note(note);
        for branch in &mut pipe.branches {
            branch.s.limit(limit);
        }
        Ok(pipe)
    }
}
