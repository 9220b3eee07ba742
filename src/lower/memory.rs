//! Rows in memory that stages read without a stream between.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use stagefuse_ir::{Repr, Stored};
use stagefuse_runtime::CompactTable;

use super::types;
use crate::table::CachedExec;

/// Rows in memory.
#[derive(Debug)]
pub enum Memory {
    /// Batches by partition, projected.
    Batches(Vec<Vec<RecordBatch>>),
    /// A compact table, and which of its columns are read.
    Compact(Arc<CompactTable>, Vec<usize>),
}

impl Memory {
    /// The rows of a scan of memory, of whose columns `projection` are read.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>, projection: &[usize]) -> Option<Memory> {
        if let Some(scan) = plan.downcast_ref::<CachedExec>() {
            let columns = projection.iter().map(|column| scan.columns().get(*column).copied()).collect::<Option<Vec<_>>>()?;
            return Some(Memory::Compact(Arc::clone(scan.table()), columns));
        }
        let scan = plan.downcast_ref::<DataSourceExec>()?;
        let source = scan.data_source().downcast_ref::<MemorySourceConfig>()?;
        if plan.fetch().is_some() {
            return None;
        }
        let columns: Vec<usize> = match source.projection() {
            Some(scanned) => projection.iter().map(|column| scanned.get(*column).copied()).collect::<Option<_>>()?,
            None => projection.to_vec(),
        };
        let batches = source.partitions().iter().map(|batches| batches.iter().map(|batch| batch.project(&columns).ok()).collect());
        Some(Memory::Batches(batches.collect::<Option<_>>()?))
    }

    /// How a column lies.
    pub(super) fn stored(&self, column: usize) -> Stored {
        match self {
            Memory::Batches(_) => Stored::Arrow,
            Memory::Compact(table, columns) => table.columns()[columns[column]].stored,
        }
    }

    /// Whether a column has no nulls, whatever its type allows.
    pub(super) fn has_no_nulls(&self, column: usize) -> bool {
        match self {
            Memory::Batches(batches) => batches.iter().flatten().all(|batch| batch.column(column).logical_null_count() == 0),
            Memory::Compact(table, columns) => table.columns()[columns[column]].nulls == 0,
        }
    }

    /// Whether stages read all text where it lies: what is cast for each morsel goes with it.
    pub(super) fn is_pinned(&self) -> bool {
        let is_cast = |data_type: &DataType| {
            let is_view = matches!(data_type, DataType::Utf8View | DataType::BinaryView);
            !is_view && types::ir_type(data_type, true).is_some_and(|ty| ty.repr == Repr::Str)
        };
        match self {
            Memory::Batches(batches) => {
                !batches.iter().flatten().any(|batch| batch.schema_ref().fields().iter().any(|field| is_cast(field.data_type())))
            }
            Memory::Compact(..) => true,
        }
    }

    /// Rows of all partitions.
    pub fn rows(&self) -> usize {
        match self {
            Memory::Batches(batches) => batches.iter().flatten().map(RecordBatch::num_rows).sum(),
            Memory::Compact(table, _) => table.rows(),
        }
    }
}
