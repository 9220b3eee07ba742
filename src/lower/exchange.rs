//! Exchanges that a program absorbs: below a join or an aggregation all rows come together anyway.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::repartition::RepartitionExec;

use super::{Lowering, Pipe, Result};

impl Lowering {
    /// Lowers a plan, and with it the exchanges at its top.
    pub(crate) fn below(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Pipe> {
        let below = below_exchange(plan);
        Ok(self.node(below)?.exchanged(!Arc::ptr_eq(below, plan)))
    }
}

/// The plan below exchanges that only move rows between partitions. Valid where the node above takes the rows of all partitions together.
pub(crate) fn below_exchange(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    let mut plan = plan;
    loop {
        let moves_rows = plan.downcast_ref::<RepartitionExec>().is_some_and(|exchange| !exchange.preserve_order())
            || (plan.downcast_ref::<CoalescePartitionsExec>().is_some() && plan.fetch().is_none())
            || plan.downcast_ref::<CooperativeExec>().is_some();
        match plan.children().first() {
            Some(child) if moves_rows => plan = child,
            _ => return plan,
        }
    }
}
