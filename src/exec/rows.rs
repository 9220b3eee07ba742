//! Which engine processed how many rows of a query.

use std::sync::Arc;

use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::metrics::EngineKind;
use super::node::CompiledExec;

/// Rows that operators and stages have read, by engine. A row counts once for each stage, or operator of DataFusion's, that reads it; scans do not count, nor
/// operators that only hand rows on (exchanges, unions, projections of columns).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stagefuse::Error> {
/// # let session = stagefuse::Session::builder().mode(stagefuse::Mode::Compiled).build();
/// let query = session.sql("SELECT count(*) AS n FROM generate_series(1, 5000) WHERE value % 2 = 0").await?;
/// query.collect().await?;
/// let rows = query.rows_processed();
/// assert!(rows.native >= 5000 && rows.interpreted + rows.datafusion == 0, "{rows:?}");
/// assert_eq!(rows.native_share(), 1.0);
/// # Ok(())
/// # }
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsProcessed {
    /// Rows read by native stages.
    pub native: u64,
    /// Rows read by interpreted stages.
    pub interpreted: u64,
    /// Rows read by DataFusion's operators.
    pub datafusion: u64,
}

impl RowsProcessed {
    /// What the operators of a plan that has been run have read so far.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> RowsProcessed {
        let mut rows = RowsProcessed::default();
        rows.add(plan);
        rows
    }

    /// The share of native stages, from 0 to 1; 1 where there are no rows.
    pub fn native_share(&self) -> f64 {
        let all = self.native + self.interpreted + self.datafusion;
        if all == 0 { 1.0 } else { self.native as f64 / all as f64 }
    }

    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        if let Some(node) = plan.downcast_ref::<CompiledExec>() {
            for stage in node.stages() {
                match stage.engine {
                    EngineKind::Native => {
                        self.native += stage.rows_in.saturating_sub(stage.rows_ahead);
                        self.interpreted += stage.rows_ahead;
                    }
                    EngineKind::Interpreted => self.interpreted += stage.rows_in,
                    EngineKind::DataFusion => self.datafusion += stage.rows_in,
                }
            }
        } else if !hands_on(plan) {
            let rows = plan.children().into_iter().filter_map(output_rows).sum::<usize>();
            tracing::trace!(rows, operator = %displayable(plan.as_ref()).one_line(), "read by DataFusion");
            self.datafusion += rows as u64;
        }
        plan.children().into_iter().for_each(|child| self.add(child));
    }
}

impl std::ops::AddAssign for RowsProcessed {
    fn add_assign(&mut self, other: Self) {
        self.native += other.native;
        self.interpreted += other.interpreted;
        self.datafusion += other.datafusion;
    }
}

fn hands_on(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let columns = |projection: &ProjectionExec| projection.expr().iter().all(|column| column.expr.is::<Column>());
    plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<UnionExec>()
        || plan.is::<InterleaveExec>()
        || plan.downcast_ref::<ProjectionExec>().is_some_and(columns)
}

/// Rows that a plan has yielded; what has no count of its own yields those of its children.
fn output_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    match plan.metrics().and_then(|metrics| metrics.output_rows()) {
        Some(rows) => Some(rows),
        None => plan.children().into_iter().map(output_rows).sum(),
    }
}
