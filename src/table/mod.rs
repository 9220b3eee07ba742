//! Tables that are held in memory in compact columns: `CACHE TABLE t`, `CREATE TABLE t AS ..`, and [`CachedTable`] for programs.

mod by_column;
mod created;
mod exec;
mod names;
mod statistics;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, Statistics};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use stagefuse_ir::SqlType;
use stagefuse_runtime::CompactTable;

use crate::lower::ir_type;
pub(crate) use by_column::by_column;
pub(crate) use created::{CreatedTable, execute};
pub(crate) use exec::CachedExec;
pub(crate) use names::{NoteTables, TableNames};

/// A table in memory that holds its columns in the fewest bytes.
///
/// Compiled stages read it as it lies; any other operator of DataFusion's sees ordinary Arrow arrays of the schema's types. DataFusion's optimizer sees
/// its statistics: rows, nulls, least and greatest values, distinct values.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use stagefuse::{CachedTable, Session};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef)])?;
/// let table = CachedTable::try_new(batch.schema(), vec![vec![batch]])?;
/// assert!(table.bytes() < 4_000);
/// let session = Session::new();
/// session.context().register_table("t", Arc::new(table))?;
/// let answer = session.sql("SELECT sum(x) FROM t WHERE x % 3 = 0").await?.collect().await?;
/// # assert_eq!(answer[0].num_rows(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CachedTable {
    table: Arc<CompactTable>,
    statistics: Arc<Statistics>,
}

impl CachedTable {
    /// A table of these batches, by partition. Give it as many partitions as queries have workers.
    ///
    /// # Errors
    /// Where a batch has other columns than the schema.
    pub fn try_new(schema: SchemaRef, partitions: Vec<Vec<RecordBatch>>) -> Result<CachedTable> {
        let types = types_of(&schema);
        Ok(CachedTable::of(CompactTable::new(schema, &types, &partitions)?))
    }

    fn of(table: CompactTable) -> CachedTable {
        let statistics = Arc::new(statistics::of(&table));
        CachedTable { table: Arc::new(table), statistics }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.table.rows()
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

/// Batches in partitions of about the same number of rows, in their order.
pub(crate) fn evenly(batches: Vec<RecordBatch>, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut parts = vec![vec![]; partitions];
    let mut seen = 0;
    for batch in batches {
        parts[(seen * partitions / rows.max(1)).min(partitions - 1)].push(batch.clone());
        seen += batch.num_rows();
    }
    parts
}

/// The columns' types in the IR, where it has them.
fn types_of(schema: &SchemaRef) -> Vec<Option<SqlType>> {
    schema.fields().iter().map(|field| ir_type(field.data_type(), true).map(|ty| ty.sql)).collect()
}

impl fmt::Debug for CachedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedTable").field("rows", &self.rows()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for CachedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.table.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.table.schema().fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        Ok(Arc::new(CachedExec::try_new(Arc::clone(&self.table), Arc::clone(&self.statistics), columns)?))
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics.as_ref().clone())
    }
}
