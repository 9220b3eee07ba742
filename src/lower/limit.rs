//! Limits: a row counter that all workers share.

use std::sync::Arc;

use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stagefuse_ir::{LimitDecl, Source};

use super::exchange::below_exchange;
use super::{Lowering, Pipe, Result, declined};

impl Lowering {
    pub(crate) fn global_limit(&mut self, limit: &GlobalLimitExec) -> Result<Pipe> {
        let ordered = limit.required_ordering().is_some();
        self.first_rows(limit.input(), limit.skip(), limit.fetch(), ordered, "GlobalLimitExec")
    }

    /// A limit for each partition. One that lets through what a limit further up takes adds nothing to it.
    pub(crate) fn local_limit(&mut self, limit: &LocalLimitExec, wanted: Option<usize>) -> Result<Pipe> {
        let ordered = limit.required_ordering().is_some() || limit.input().output_ordering().is_some();
        if wanted.is_some_and(|wanted| wanted <= limit.fetch()) && !ordered {
            self.wanted = wanted;
            return self.below(limit.input());
        }
        if limit.properties().output_partitioning().partition_count() > 1 {
            return declined("a limit for each partition");
        }
        self.first_rows(limit.input(), 0, Some(limit.fetch()), ordered, "LocalLimitExec")
    }

    /// An exchange into one partition that ends after some rows.
    pub(crate) fn coalesce(&mut self, coalesce: &CoalescePartitionsExec) -> Result<Pipe> {
        let fetch = coalesce.fetch();
        let pipe = self.first_rows(coalesce.input(), 0, fetch, false, "CoalescePartitionsExec: fetch")?;
        Ok(pipe.exchanged(true))
    }

    fn first_rows(&mut self, input: &Arc<dyn ExecutionPlan>, skip: usize, fetch: Option<usize>, ordered: bool, note: &str) -> Result<Pipe> {
        let below = below_exchange(input);
        self.wanted = fetch.map(|fetch| fetch.saturating_add(skip));
        let pipe = self.node(below)?.exchanged(!Arc::ptr_eq(below, input));
        let sorted = matches!(pipe.branches.as_slice(), [branch] if matches!(branch.s.source(), Source::Sort(_)));
        if (ordered || below.output_ordering().is_some()) && !sorted {
            return declined("a limit of ordered rows");
        }
        self.limited(pipe, skip, fetch, note)
    }

    /// Skips and counts the rows of a pipe.
    pub(crate) fn limited(&mut self, mut pipe: Pipe, skip: usize, fetch: Option<usize>, note: &str) -> Result<Pipe> {
        if self.first_of_sorted(&pipe, skip, fetch)? {
            return Ok(pipe);
        }
        let decl = LimitDecl { skip: skip as u64, fetch: fetch.map_or(u64::MAX, |fetch| fetch as u64) };
        let limit = self.p.limit(decl);
        pipe.note(note);
        for branch in &mut pipe.branches {
            branch.s.limit(limit);
        }
        Ok(pipe)
    }
}

/// The limit of an operator that counts the rows of each of its partitions: none where it has none, or where a limit further up takes no more of all partitions
/// together.
pub(crate) fn own_limit(plan: &dyn ExecutionPlan, wanted: Option<usize>) -> Result<Option<usize>> {
    let Some(fetch) = plan.fetch() else { return Ok(None) };
    if plan.output_ordering().is_some() {
        return declined("a limit of ordered rows");
    }
    if wanted.is_some_and(|wanted| wanted <= fetch) {
        return Ok(None);
    }
    if plan.properties().output_partitioning().partition_count() > 1 {
        return declined("a limit for each partition");
    }
    Ok(Some(fetch))
}
