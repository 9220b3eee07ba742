//! Leaves: plans that stay DataFusion's, and tables in memory.

use std::sync::Arc;

use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use stagefuse_ir::Source;
use stagefuse_ir::builder::StageBuilder;

use super::{Branch, Lowering, Pipe, Result, declined, types};

impl Lowering {
    /// A stage that reads what a DataFusion plan yields.
    pub(crate) fn scan(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Pipe> {
        let schema = plan.schema();
        let fields = schema.fields().iter().enumerate();
        let known: Vec<_> = fields.filter_map(|(i, f)| Some((i, types::ir_type(f.data_type(), f.is_nullable())?))).collect();
        if known.is_empty() && !schema.fields().is_empty() {
            return declined("no column of a type that the IR has");
        }
        let types: Vec<_> = known.iter().map(|(_, ty)| *ty).collect();
        let projection: Vec<usize> = known.iter().map(|(index, _)| *index).collect();
        let input = self.p.input(plan.name(), types.clone());
        let s = StageBuilder::new(format!("scan {input}"), Source::Input { input, partitioned: true }, &types);
        let mut columns = vec![None; schema.fields().len()];
        for (index, value) in projection.iter().zip(s.params()) {
            columns[*index] = Some(*value);
        }
        let memory = match memory(plan) {
            Some(partitions) => {
                let project = |batch: &arrow::array::RecordBatch| batch.project(&projection);
                let partitions: std::result::Result<Vec<Vec<_>>, _> =
                    partitions.iter().map(|batches| batches.iter().map(project).collect()).collect();
                partitions.ok()
            }
            None => None,
        };
        self.children.push(Arc::clone(plan));
        self.projections.push(projection);
        self.memory.push(memory);
        Ok(Branch { s, columns, exchanged: false }.into())
    }
}

/// The batches of a scan of memory, projected as the plan says.
fn memory(plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<Vec<arrow::array::RecordBatch>>> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let source = scan.data_source().downcast_ref::<MemorySourceConfig>()?;
    if plan.fetch().is_some() {
        return None;
    }
    let project = |batch: &arrow::array::RecordBatch| match source.projection() {
        Some(projection) => batch.project(projection).ok(),
        None => Some(batch.clone()),
    };
    source.partitions().iter().map(|batches| batches.iter().map(project).collect()).collect()
}
