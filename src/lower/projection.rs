//! Projections.

use std::sync::Arc;

use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::{Lowering, Pipe, Result};

/// The plan below projections.
pub(crate) fn below_projections(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => below_projections(projection.input()),
        None => plan,
    }
}

impl Lowering {
    pub(crate) fn projection(&mut self, projection: &ProjectionExec) -> Result<Pipe> {
        let mut pipe = self.node(projection.input())?;
        let schema = projection.input().schema();
        for branch in &mut pipe.branches {
            let mut columns = vec![];
            for column in projection.expr() {
                branch.s.note(format!("ProjectionExec: {}", column.expr));
                // A column that the IR has no type for may pass as long as nobody reads it.
                let index = column.expr.downcast_ref::<Column>().map(Column::index);
                columns.push(match index {
                    Some(index) => branch.columns[index],
                    None => Some(self.expr(&mut branch.s, &branch.columns, &schema, &column.expr)?),
                });
            }
            branch.columns = columns;
        }
        Ok(pipe)
    }
}
