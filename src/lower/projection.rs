//! Projections.

use datafusion::physical_plan::projection::ProjectionExec;

use super::{Lowering, Pipe, Result};

impl Lowering {
    pub(crate) fn projection(&mut self, projection: &ProjectionExec) -> Result<Pipe> {
        let mut pipe = self.node(projection.input())?;
        let schema = projection.input().schema();
        let mut columns = vec![];
        for column in projection.expr() {
            pipe.s.note(format!("ProjectionExec: {}", column.expr));
            // A column that the IR has no type for may pass as long as nobody reads it.
            let index = column.expr.downcast_ref::<datafusion::physical_expr::expressions::Column>().map(|column| column.index());
            columns.push(match index {
                Some(index) => pipe.columns[index],
                None => Some(self.expr(&mut pipe.s, &pipe.columns, &schema, &column.expr)?),
            });
        }
        pipe.columns = columns;
        Ok(pipe)
    }
}
