//! Unions that keep duplicates: the rows of several plans, one branch or more each.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::{Lowering, Pipe, Result, declined};

impl Lowering {
    /// `UnionExec`, or `InterleaveExec`: its inputs are hash-distributed alike, of which a stage has no need.
    pub(crate) fn union(&mut self, union: &dyn ExecutionPlan, inputs: &[Arc<dyn ExecutionPlan>], wanted: Option<usize>) -> Result<Pipe> {
        let mut branches = vec![];
        for input in inputs {
            self.wanted = wanted;
            branches.extend(self.below(input)?.exchanged(true).branches);
        }
        let pipe = Pipe { branches };
        // A column may be of another layout in each input; what counts is the type that the IR holds it in.
        for (column, field) in union.schema().fields().iter().enumerate() {
            let wanted = self.any_type(field.data_type(), true).sql;
            let fits = |branch: &super::Branch| branch.columns[column].is_none_or(|value| branch.s.ty(value).sql == wanted);
            if !pipe.branches.iter().all(fits) {
                return declined(format!("a union of different types in column {}", field.name()));
            }
        }
        Ok(pipe)
    }
}
