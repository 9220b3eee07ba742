//! How far a query has come.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use stagefuse_ir::{EntityRef, Source};

use super::metrics::EngineKind;
use super::node::CompiledExec;

/// How far a query that runs has come: rows of its scans.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stagefuse::Error> {
/// # let session = stagefuse::Session::new();
/// let query = session.sql("SELECT max(column1) AS m FROM (VALUES (1), (2), (3))").await?;
/// // While it runs another task asks; here it is over, and all rows have been read.
/// query.collect().await?;
/// assert_eq!((query.progress().rows_read, query.progress().share()), (3, Some(1.0)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that have been read.
    pub rows_read: u64,
    /// Rows that there are to read, as far as statistics tell; none where they do not.
    pub rows_expected: Option<u64>,
    /// The stage that runs: the last one that rows have come to.
    pub stage: Option<String>,
}

impl Progress {
    /// The part that has been done, from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        let expected = self.rows_expected.filter(|expected| *expected > 0)?;
        Some((self.rows_read as f64 / expected as f64).min(1.0))
    }

    /// How far a plan has come.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Progress {
        let mut progress = Progress { rows_expected: Some(0), ..Progress::default() };
        progress.add(plan);
        progress
    }

    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        let children = plan.children();
        if let Some(node) = plan.downcast_ref::<CompiledExec>() {
            return self.add_node(node, &children);
        }
        // Outermost last: what runs behind the others has the last word on the stage.
        children.iter().for_each(|child| self.add(child));
        if children.is_empty() {
            self.rows_read += plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default() as u64;
            self.expect(rows_of(plan));
        }
    }

    /// Scans that stages read are counted by those: tables in memory do not count rows, and files may have been read by runs before.
    fn add_node(&mut self, node: &CompiledExec, children: &[&Arc<dyn ExecutionPlan>]) {
        let program = node.program();
        let stages = node.stages();
        let mut counted = vec![false; children.len()];
        for (decl, stage) in program.stages.values().zip(&stages) {
            if let Source::Input { input, .. } = decl.source
                && !program.inputs[input].handed
                && stage.engine != EngineKind::DataFusion
                && let Some(child) = children.get(input.index()).filter(|child| child.children().is_empty())
            {
                counted[input.index()] = true;
                self.rows_read += stage.rows_in;
                self.expect(rows_of(child));
            }
        }
        children.iter().zip(counted).filter(|(_, counted)| !counted).for_each(|(child, _)| self.add(child));
        if let Some(stage) = stages.iter().rfind(|stage| stage.rows_in > 0) {
            self.stage = Some(stage.name.clone());
        }
    }

    fn expect(&mut self, rows: Option<u64>) {
        self.rows_expected = self.rows_expected.zip(rows).map(|(all, rows)| all + rows);
    }
}

fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    statistics.num_rows.get_value().map(|rows| *rows as u64)
}
