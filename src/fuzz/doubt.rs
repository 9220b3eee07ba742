//! Where DataFusion itself is known to be wrong: what a plan of its own shows.
//!
//! Nothing is kept from the search for it. A case is looked at only once an engine has another answer than DataFusion, and is then counted as one that
//! DataFusion has no right answer for.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// What is wrong about a plan of DataFusion's, if anything that is known is.
pub(super) fn doubt(plan: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    let mut found = None;
    let walked = plan.apply(|node| {
        if node.downcast_ref::<AggregateExec>().is_some_and(takes_a_null_for_constant) {
            found = Some("DataFusion takes the key of a grouping set for constant that others leave null");
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.ok().and(found)
}

/// Keys that are the same in all rows below (`WHERE a = 1 GROUP BY ROLLUP (a, b)`) are taken for constant above the grouping sets, too, where some rows have
/// null in their place. DataFusion 55.2 then leaves them out of sorts, so that its rows are in a wrong order, and others are within a limit.
fn takes_a_null_for_constant(aggregate: &AggregateExec) -> bool {
    let by = aggregate.group_expr();
    by.has_grouping_set()
        && by.expr().iter().enumerate().any(|(number, (_, name))| {
            let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, number));
            let left_out = by.groups().iter().any(|set| set[number]);
            left_out && aggregate.properties().equivalence_properties().is_expr_constant(&key).is_some()
        })
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn doubt_of(sql: &str) -> Option<&'static str> {
        let context = SessionContext::new();
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        doubt(&plan)
    }

    #[tokio::test]
    async fn constant_keys_of_grouping_sets() {
        let from = "FROM (VALUES (1, 2), (1, 3)) AS t(a, b)";
        assert!(doubt_of(&format!("SELECT a, b, count(*) {from} WHERE a = 1 GROUP BY ROLLUP (a, b) ORDER BY 1, 2")).await.is_some());
        assert_eq!(doubt_of(&format!("SELECT a, b, count(*) {from} WHERE a > 0 GROUP BY ROLLUP (a, b) ORDER BY 1, 2")).await, None);
        assert_eq!(doubt_of(&format!("SELECT a, b, count(*) {from} WHERE a = 1 GROUP BY a, b ORDER BY 1, 2")).await, None);
    }
}
