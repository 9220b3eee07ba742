//! Hash joins: the left side builds, the right side probes.

use datafusion::common::NullEquality;
use datafusion::physical_plan::joins::HashJoinExec;

use super::join::Join;
use super::limit::own_limit;
use super::order::right_should_build;
use super::{Lowering, Pipe, Result};

impl Lowering {
    pub(crate) fn hash_join(&mut self, join: &HashJoinExec, wanted: Option<usize>) -> Result<Pipe> {
        let fetch = own_limit(join, wanted)?;
        let pairs: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let parts = Join {
            note: format!("HashJoinExec: {} on {}", join.join_type, pairs.join(", ")),
            left: &join.left,
            right: &join.right,
            on: join.on.clone(),
            filter: join.filter.clone(),
            join_type: join.join_type,
            null_equal: join.null_equality == NullEquality::NullEqualsNull,
            null_aware: join.null_aware,
            sorted: false,
            projection: join.projection.as_ref().map(|projection| projection.to_vec()),
        };
        let swaps = self.reorders && !join.null_aware && right_should_build(&join.left, &join.right);
        let pipe = self.join(&if swaps { parts.swapped() } else { parts })?;
        match fetch {
            Some(fetch) => self.limited(pipe, 0, Some(fetch), "HashJoinExec: fetch"),
            None => Ok(pipe),
        }
    }
}
