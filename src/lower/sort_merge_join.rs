//! Sort-merge joins: hash joins, which need no order. Where rows must come in the order of the keys, the join stays DataFusion's.

use datafusion::common::NullEquality;
use datafusion::physical_plan::joins::SortMergeJoinExec;

use super::join::Join;
use super::order::right_should_build;
use super::{Lowering, Pipe, Result};

impl Lowering {
    pub(crate) fn sort_merge_join(&mut self, join: &SortMergeJoinExec) -> Result<Pipe> {
        let pairs: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let parts = Join {
            note: format!("SortMergeJoinExec: {} on {}", join.join_type, pairs.join(", ")),
            left: &join.left,
            right: &join.right,
            on: join.on.clone(),
            filter: join.filter.clone(),
            join_type: join.join_type,
            null_equal: join.null_equality == NullEquality::NullEqualsNull,
            null_aware: false,
            sorted: true,
            projection: None,
        };
        let swaps = self.reorders && right_should_build(&join.left, &join.right);
        self.join(&if swaps { parts.swapped() } else { parts })
    }
}
