//! Exchanges that a program absorbs: below a join or an aggregation all rows come together anyway.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::repartition::RepartitionExec;

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
