//! Joins without keys: every row of the left side is looked at for every row of the right side.

use datafusion::common::JoinType;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};

use super::join::Join;
use super::{Lowering, Pipe, Result};

impl Lowering {
    pub(crate) fn nested_loop_join(&mut self, join: &NestedLoopJoinExec) -> Result<Pipe> {
        self.join(&Join {
            note: format!("NestedLoopJoinExec: {}", join.join_type()),
            left: join.left(),
            right: join.right(),
            on: vec![],
            filter: join.filter().cloned(),
            join_type: *join.join_type(),
            null_equal: false,
            null_aware: false,
            sorted: false,
            projection: join.projection().as_ref().map(|projection| projection.to_vec()),
        })
    }

    pub(crate) fn cross_join(&mut self, join: &CrossJoinExec) -> Result<Pipe> {
        self.join(&Join {
            note: "CrossJoinExec".to_string(),
            left: join.left(),
            right: join.right(),
            on: vec![],
            filter: None,
            join_type: JoinType::Inner,
            null_equal: false,
            null_aware: false,
            sorted: false,
            projection: None,
        })
    }
}
