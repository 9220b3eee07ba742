//! Unions that keep duplicates: the rows of several plans, one branch or more each.

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::{Lowering, Pipe, Result, declined, types};

impl Lowering {
    pub(crate) fn union(&mut self, union: &UnionExec) -> Result<Pipe> {
        let mut branches = vec![];
        for input in union.inputs() {
            branches.extend(self.below(input)?.exchanged(true).branches);
        }
        let pipe = Pipe { branches };
        // A column may be of another layout in each input; what counts is the type that the IR holds it in.
        for (column, field) in union.schema().fields().iter().enumerate() {
            let wanted = types::ir_type(field.data_type(), true).map(|ty| ty.sql);
            let fits = |branch: &super::Branch| branch.columns[column].is_none_or(|value| Some(branch.s.ty(value).sql) == wanted);
            if !pipe.branches.iter().all(fits) {
                return declined(format!("a union of different types in column {}", field.name()));
            }
        }
        Ok(pipe)
    }
}
