//! Where DataFusion itself is known to be wrong: what a plan of its own shows.
//!
//! Nothing is kept from the search for it. A case is looked at only once an engine has another answer than DataFusion, and is then counted as one that
//! DataFusion has no right answer for.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::equivalence::AcrossPartitions;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

/// What is wrong about a plan of DataFusion's, if anything that is known is.
pub(super) fn doubt(plan: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    let mut found = None;
    let walked = plan.apply(|node| {
        found = doubt_of_node(node);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.ok().and(found)
}

fn doubt_of_node(node: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        if takes_a_null_for_constant(aggregate) {
            return Some("DataFusion takes the key of a grouping set for constant that others leave null");
        }
        if takes_an_outer_join_for_sorted(aggregate) {
            return Some("DataFusion takes the key of a group for constant that an outer join leaves null");
        }
        if keeps_every_nan(aggregate) {
            return Some("DataFusion makes a group of every NaN where a limit takes the first groups");
        }
    }
    if lets_partitions_share_a_threshold(node) {
        return Some("DataFusion lets partitions with different constants share the threshold of a top-k");
    }
    if node.is::<SortExec>() && takes_an_outer_join_for_constant(node) {
        return Some(LOST_KEY);
    }
    compares_two_types(node).then_some("DataFusion joins keys of two types")
}

/// Why rows are in a wrong order where [`takes_an_outer_join_for_constant`].
pub(super) const LOST_KEY: &str = "DataFusion leaves a key out of a sort, since it takes for constant what an outer join leaves null";

/// Why the wrong rows come first where [`loses_zeros`].
pub(super) const LOST_ZEROS: &str =
    "DataFusion loses rows of -0.0 to those of 0.0 in a top-k: its sort tells them apart, its filter does not";

/// Whether some of the first rows by a float are kept: DataFusion 55.2 sorts -0.0 ahead of 0.0, but what rows a top-k looks at is told by a comparison that takes them for
/// equal (`ORDER BY f LIMIT 3`, where three rows of 0.0 come ahead of one of -0.0).
pub(super) fn loses_zeros(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let first = |sort: &SortExec| {
        let schema = sort.input().schema();
        let is_float = |key: &Arc<dyn PhysicalExpr>| key.data_type(&schema).is_ok_and(|ty| ty.is_floating());
        sort.fetch().is_some() && sort.expr().iter().any(|key| is_float(&key.expr))
    };
    plan.exists(|node| Ok(node.downcast_ref::<SortExec>().is_some_and(first))).unwrap_or(false)
}

/// Whether a constant of the side of an outer join that may be missing (`(SELECT 1 AS c) FULL JOIN t ON .. ORDER BY c`) is taken for constant above the join:
/// DataFusion 55.2 leaves it out of sorts, and a sort by nothing else away.
pub(super) fn takes_an_outer_join_for_constant(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(has_a_constant_that_is_not(node))).unwrap_or(false)
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

/// A constant of the side of an outer join that may be missing (`t LEFT JOIN (SELECT .., 1 AS c FROM ..) GROUP BY c`) is taken for constant above the join, too,
/// where rows without a match have null. An aggregate then takes its rows for sorted, and gives groups out when the key changes: DataFusion 55.2 has groups twice.
fn takes_an_outer_join_for_sorted(aggregate: &AggregateExec) -> bool {
    let input = aggregate.input();
    let known = input.properties().equivalence_properties();
    let constant = |key: &Arc<dyn PhysicalExpr>| {
        key.nullable(&input.schema()).unwrap_or(true) && known.is_expr_constant(key).as_ref().and_then(not_null).is_some()
    };
    *aggregate.input_order_mode() != InputOrderMode::Linear
        && aggregate.group_expr().expr().iter().any(|(key, _)| constant(key))
        && takes_an_outer_join_for_constant(input)
}

/// The value that a constant has in all partitions, unless it is null.
fn not_null(constant: &AcrossPartitions) -> Option<&ScalarValue> {
    match constant {
        AcrossPartitions::Uniform(Some(value)) if !value.is_null() => Some(value),
        _ => None,
    }
}

/// Whether a node is an outer join of which is said that a column is constant of the side that may be missing.
fn has_a_constant_that_is_not(node: &Arc<dyn ExecutionPlan>) -> bool {
    let Some((kind, left)) = outer_join(node) else { return false };
    let projected = node.downcast_ref::<HashJoinExec>().and_then(|join| join.projection.as_deref());
    let projected = projected.or_else(|| node.downcast_ref::<NestedLoopJoinExec>().and_then(|join| join.projection().as_deref()));
    let known = node.properties().equivalence_properties();
    known.constants().iter().any(|constant| {
        let Some(column) = constant.expr.downcast_ref::<Column>() else { return false };
        let number = projected.map_or(Some(column.index()), |projected| projected.get(column.index()).copied());
        let missing = match kind {
            JoinType::Full => true,
            JoinType::Left => number.is_some_and(|number| number >= left),
            JoinType::Right => number.is_some_and(|number| number < left),
            _ => false,
        };
        missing && not_null(&constant.across_partitions).is_some()
    })
}

/// The type of a join, and how many columns its left side has.
fn outer_join(node: &Arc<dyn ExecutionPlan>) -> Option<(JoinType, usize)> {
    let (kind, left) = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        (join.join_type, join.left())
    } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        (*join.join_type(), join.left())
    } else {
        let join = node.downcast_ref::<SortMergeJoinExec>()?;
        (join.join_type(), join.left())
    };
    Some((kind, left.schema().fields().len()))
}

/// The first groups of all (`SELECT DISTINCT f .. ORDER BY f LIMIT 3`) are found in a table of DataFusion 55.2's that compares floats as `==` does, so that
/// each NaN is a group.
fn keeps_every_nan(aggregate: &AggregateExec) -> bool {
    let schema = aggregate.input().schema();
    aggregate.limit_options().is_some()
        && !aggregate.is_unordered_unfiltered_group_by_distinct()
        && aggregate.group_expr().expr().iter().any(|(key, _)| key.data_type(&schema).is_ok_and(|ty| ty.is_floating()))
}

/// A key that is constant in each partition, but not the same in all (`SELECT 1 AS c, .. UNION ALL SELECT 2, .. ORDER BY c, d LIMIT 3`), is left out of the sorts of
/// the partitions. These share a threshold all the same, so that DataFusion 55.2 loses rows of one partition for those of another: it depends on who comes first.
fn lets_partitions_share_a_threshold(node: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else { return false };
    let Some(sort) = merge.input().downcast_ref::<SortExec>() else { return false };
    let known = sort.input().properties().equivalence_properties();
    let left_out = |key: &Arc<dyn PhysicalExpr>| !sort.expr().iter().any(|sorted| sorted.expr.eq(key));
    sort.fetch().is_some()
        && sort.preserve_partitioning()
        && merge.expr().iter().any(|key| left_out(&key.expr) && known.is_expr_constant(&key.expr) == Some(AcrossPartitions::Heterogeneous))
}

/// The type of a column of a correlated subquery is that of before types were made the same: `(SELECT .. WHERE r.c = i)`, where `c` is CASE WHEN b THEN 1::int ELSE
/// 2::bigint END. DataFusion 55.2 then joins an integer of 64 bits with one of 32. Whether that fails or finds nothing depends on which side is the smaller one.
fn compares_two_types(node: &Arc<dyn ExecutionPlan>) -> bool {
    let (on, sides) = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        (join.on(), [join.left(), join.right()])
    } else if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
        (join.on(), [join.left(), join.right()])
    } else {
        return false;
    };
    let schemas = sides.map(|side| side.schema());
    on.iter().any(|(left, right)| match (left.data_type(&schemas[0]), right.data_type(&schemas[1])) {
        (Ok(left), Ok(right)) => left != right,
        _ => false,
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

    async fn doubt_with(settings: &str, sql: &str) -> Option<&'static str> {
        let context = SessionContext::new();
        for statement in ["CREATE TABLE t AS VALUES (1), (2)", "CREATE TABLE wide AS SELECT 1::int AS a, 2::bigint AS b", settings] {
            context.sql(statement).await.unwrap().collect().await.unwrap();
        }
        doubt(&context.sql(sql).await.unwrap().create_physical_plan().await.unwrap())
    }

    #[tokio::test]
    async fn constants_of_outer_joins() {
        let join = |kind: &str, key: &str| {
            format!("SELECT {key} FROM t AS l {kind} JOIN (SELECT column1 AS i, 5 AS c FROM t) AS r ON l.column1 = r.i GROUP BY {key}")
        };
        let set = "SET datafusion.optimizer.repartition_aggregations = false";
        for kind in ["LEFT", "FULL"] {
            assert!(doubt_with(set, &join(kind, "c")).await.is_some(), "{kind}");
            assert_eq!(doubt_with(set, &join(kind, "i")).await, None, "{kind}");
        }
        for kind in ["INNER", "RIGHT"] {
            assert_eq!(doubt_with(set, &join(kind, "c")).await, None, "{kind}");
        }
    }

    #[tokio::test]
    async fn keys_of_two_types() {
        let query = |case: &str| {
            format!("SELECT * FROM (SELECT {case} AS c FROM wide) AS r WHERE c >= (SELECT count(*) FROM wide AS w WHERE r.c = w.a)")
        };
        let set = "SET datafusion.execution.target_partitions = 1";
        assert!(doubt_with(set, &query("CASE WHEN b > 0 THEN a ELSE b END")).await.is_some());
        assert_eq!(doubt_with(set, &query("CASE WHEN b > 0 THEN b ELSE b END")).await, None);
    }

    #[tokio::test]
    async fn first_groups_of_floats() {
        let query = |key: &str, order: &str| format!("SELECT DISTINCT {key} AS k FROM t {order} LIMIT 3");
        let set = "SET datafusion.execution.target_partitions = 1";
        assert!(doubt_with(set, &query("CAST(column1 AS DOUBLE)", "ORDER BY k DESC")).await.is_some());
        assert_eq!(doubt_with(set, &query("CAST(column1 AS DOUBLE)", "")).await, None);
        assert_eq!(doubt_with(set, &query("column1", "ORDER BY k DESC")).await, None);
    }

    #[tokio::test]
    async fn top_ks_of_zeros() {
        let plan = async |key: &str, limit: &str| {
            let context = SessionContext::new();
            context.sql("CREATE TABLE t AS VALUES (0.0), (0.0), (-0.0)").await.unwrap().collect().await.unwrap();
            context.sql(&format!("SELECT {key} AS k FROM t ORDER BY k {limit}")).await.unwrap().create_physical_plan().await.unwrap()
        };
        assert!(loses_zeros(&plan("column1", "LIMIT 1").await));
        assert!(!loses_zeros(&plan("column1", "").await) && !loses_zeros(&plan("column1::int", "LIMIT 1").await));
    }

    #[tokio::test]
    async fn constants_of_partitions() {
        let query = |other: &str, limit: &str| {
            format!("SELECT 1 AS c, column1 AS d FROM t UNION ALL SELECT {other} AS c, column1 AS d FROM t ORDER BY c, d {limit}")
        };
        let set = "SET datafusion.execution.target_partitions = 2";
        assert!(doubt_with(set, &query("2", "LIMIT 2")).await.is_some());
        assert_eq!(doubt_with(set, &query("2", "")).await, None);
        assert_eq!(doubt_with(set, &query("1", "LIMIT 2")).await, None);
        assert_eq!(doubt_with(set, &query("column1", "LIMIT 2")).await, None);
    }

    #[tokio::test]
    async fn sorts_by_constants_of_outer_joins() {
        let join = |kind: &str, key: &str| {
            format!("SELECT r.c, l.column1 AS i FROM (SELECT 1 AS c) AS r {kind} JOIN t AS l ON l.column1 = 7 ORDER BY {key}")
        };
        assert_eq!(doubt_with("SET datafusion.execution.target_partitions = 1", &join("FULL", "i, c")).await, Some(LOST_KEY));
        assert_eq!(doubt_with("SET datafusion.execution.target_partitions = 1", &join("INNER", "i, c")).await, None);
        // No sort is left of this one.
        let context = SessionContext::new();
        context.sql("CREATE TABLE t AS VALUES (1), (2)").await.unwrap().collect().await.unwrap();
        let plan = context.sql(&join("FULL", "c")).await.unwrap().create_physical_plan().await.unwrap();
        assert!(takes_an_outer_join_for_constant(&plan) && doubt(&plan).is_none());
    }
}
