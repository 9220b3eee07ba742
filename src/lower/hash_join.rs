//! Hash joins: the left side builds, the right side probes.

use datafusion::common::NullEquality;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;

use super::join::Join;
use super::order::right_should_build;
use super::{Lowering, Pipe, Result, declined};

impl Lowering {
    pub(crate) fn hash_join(&mut self, join: &HashJoinExec) -> Result<Pipe> {
        if join.null_aware || join.fetch().is_some() {
            return declined("a null-aware join, or one with a limit");
        }
        let pairs: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let parts = Join {
            note: format!("HashJoinExec: {} on {}", join.join_type, pairs.join(", ")),
            left: &join.left,
            right: &join.right,
            on: join.on.clone(),
            filter: join.filter.clone(),
            join_type: join.join_type,
            null_equal: join.null_equality == NullEquality::NullEqualsNull,
            projection: join.projection.as_ref().map(|projection| projection.to_vec()),
        };
        let swaps = self.reorders && right_should_build(&join.left, &join.right);
        self.join(&if swaps { parts.swapped() } else { parts })
    }
}
