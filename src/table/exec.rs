//! The scan of a cached table.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use stagefuse_runtime::CompactTable;

use super::statistics;

/// Reads columns of a cached table: for DataFusion's operators as Arrow arrays. Stages read the table itself.
pub(crate) struct CachedExec {
    table: Arc<CompactTable>,
    statistics: Arc<Statistics>,
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl CachedExec {
    pub(super) fn try_new(table: Arc<CompactTable>, statistics: Arc<Statistics>, columns: Vec<usize>) -> Result<Self> {
        let schema: SchemaRef = Arc::new(table.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(table.partitions().len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(CachedExec { table, statistics, columns, properties: Arc::new(properties) })
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<CompactTable> {
        &self.table
    }

    /// The table's columns that are read, in order.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }
}

impl fmt::Debug for CachedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedExec").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl DisplayAs for CachedExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        match t {
            DisplayFormatType::TreeRender => writeln!(f, "rows={}", self.table.rows()),
            _ => write!(f, "CachedExec: rows={}, projection=[{}]", self.table.rows(), names.join(", ")),
        }
    }
}

impl ExecutionPlan for CachedExec {
    fn name(&self) -> &str {
        "CachedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>, _: ReplaceChildrenOptions) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let block = self.table.partitions().get(partition);
        let rows = block.map(|block| block.rows()).ok_or_else(|| DataFusionError::Internal(format!("no partition {partition}")))?;
        let step = context.session_config().batch_size().max(1);
        let (table, columns) = (Arc::clone(&self.table), self.columns.clone());
        let batches = (0..rows).step_by(step).flat_map(move |first| decode(&table, partition, &columns, first, step.min(rows - first)));
        let stream = RecordBatchStreamAdapter::new(self.schema(), futures::stream::iter(batches));
        Ok(Box::pin(cooperative(stream)))
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match args.partition() {
            None => Ok(Arc::new(statistics::project(&self.statistics, self.table.schema(), &self.columns))),
            Some(_) => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}

/// Rows as one batch; as several where their values are too many for the keys of a dictionary.
pub(super) fn decode(table: &CompactTable, partition: usize, columns: &[usize], first: usize, rows: usize) -> Vec<Result<RecordBatch>> {
    match table.decode(partition, columns, first, rows) {
        Err(ArrowError::DictionaryKeyOverflowError) if rows > 1 => {
            let half = rows / 2;
            let mut batches = decode(table, partition, columns, first, half);
            batches.extend(decode(table, partition, columns, first + half, rows - half));
            batches
        }
        batch => vec![batch.map_err(Into::into)],
    }
}
