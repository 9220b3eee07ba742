//! Tables that a session makes of a query: `CREATE TABLE t AS SELECT ..`.
//!
//! DataFusion makes a [`MemTable`] of the rows. A session takes the rows out of it and holds them in compact columns, as those of `CACHE TABLE`, until a statement writes to the table: then the
//! `MemTable` gets them back, and the table is one of DataFusion's from then on. Whoever only reads, which is most, has the small and fast form; nobody loses `INSERT`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraints, Result, Statistics};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use tokio::sync::{RwLock, RwLockReadGuard};

use super::{CachedTable, exec};

/// Rows of the smallest table that is made compact. Those of a batch or less take little memory and no time, and may be meant for an `INSERT` each.
const LEAST_ROWS: usize = 8192;

/// Runs a statement as [`SessionContext::execute_logical_plan`] does; a table that it makes of a query has compact columns.
///
/// # Errors
/// Where the statement fails.
pub(crate) async fn execute(context: &SessionContext, plan: LogicalPlan) -> Result<DataFrame> {
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(made)) = &plan else { return context.execute_logical_plan(plan).await };
    let name = made.name.clone();
    let before = context.table_provider(name.clone()).await.ok();
    let frame = context.execute_logical_plan(plan).await?;
    let table = context.table_provider(name.clone()).await?;
    // `IF NOT EXISTS`, and it did.
    if before.is_some_and(|before| Arc::ptr_eq(&before, &table)) {
        return Ok(frame);
    }
    if let Some(created) = CreatedTable::of(table, context.state().config().target_partitions()).await {
        context.deregister_table(name.clone())?;
        context.register_table(name, Arc::new(created))?;
    }
    Ok(frame)
}

/// A table that was made of a query.
#[derive(Debug)]
pub(crate) struct CreatedTable {
    /// Its rows, until somebody writes to it.
    compact: RwLock<Option<CachedTable>>,
    /// Knows everything else of the table; has the rows once somebody has written to it.
    memory: Arc<dyn TableProvider>,
}

impl CreatedTable {
    /// Takes the rows out of a table that DataFusion has just made. `None`: they are few, or there is no compact form of them.
    async fn of(table: Arc<dyn TableProvider>, partitions: usize) -> Option<CreatedTable> {
        let memory = table.downcast_ref::<MemTable>()?;
        let mut batches: Vec<RecordBatch> = vec![];
        for partition in &memory.batches {
            batches.extend(partition.read().await.iter().cloned());
        }
        if batches.iter().map(RecordBatch::num_rows).sum::<usize>() < LEAST_ROWS {
            return None;
        }
        let compact = CachedTable::try_new(table.schema(), super::evenly(batches, partitions.max(1))).ok()?;
        for partition in &memory.batches {
            partition.write().await.clear();
        }
        Some(CreatedTable { compact: RwLock::new(Some(compact)), memory: table })
    }

    /// Its rows, where nobody has written to it. Whoever writes from now on does not change them.
    pub(crate) async fn compact(&self) -> Option<CachedTable> {
        self.compact.read().await.clone()
    }

    /// The same, for those who cannot wait; `None`, too, where somebody begins to write.
    pub(crate) fn compact_now(&self) -> Option<CachedTable> {
        self.compact.try_read().ok().as_deref().cloned().flatten()
    }

    /// DataFusion's table of the rows, where they are in one.
    pub(super) fn memory(&self) -> Option<&MemTable> {
        self.memory.downcast_ref()
    }

    /// DataFusion's table, which has the rows from now on.
    async fn to_write(&self) -> Result<RwLockReadGuard<'_, Option<CachedTable>>> {
        let mut compact = self.compact.write().await;
        if let (Some(cached), Some(memory)) = (compact.as_ref(), self.memory()) {
            let all: Vec<usize> = (0..cached.schema().fields().len()).collect();
            let rows = |(number, rows): (usize, usize)| -> Result<Vec<RecordBatch>> {
                let firsts = (0..rows).step_by(LEAST_ROWS);
                firsts.flat_map(|first| exec::decode(&cached.table, number, &all, first, LEAST_ROWS.min(rows - first))).collect()
            };
            let blocks = cached.table.partitions().iter().map(|block| block.rows()).enumerate();
            // All of them or none.
            let partitions = blocks.map(rows).collect::<Result<Vec<_>>>()?;
            for (batches, partition) in partitions.into_iter().zip(memory.batches.iter().cycle()) {
                partition.write().await.extend(batches);
            }
        }
        *compact = None;
        Ok(compact.downgrade())
    }
}

#[async_trait]
impl TableProvider for CreatedTable {
    fn schema(&self) -> SchemaRef {
        self.memory.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.memory.constraints()
    }

    fn table_type(&self) -> TableType {
        self.memory.table_type()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.memory.get_column_default(column)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Held meanwhile: rows that move while they are listed would be there twice, or not at all.
        let compact = self.compact.read().await;
        match &*compact {
            Some(cached) => cached.scan(state, projection, filters, limit).await,
            None => self.memory.scan(state, projection, filters, limit).await,
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        match self.compact_now() {
            Some(cached) => cached.statistics(),
            None => self.memory.statistics(),
        }
    }

    async fn insert_into(&self, state: &dyn Session, input: Arc<dyn ExecutionPlan>, op: InsertOp) -> Result<Arc<dyn ExecutionPlan>> {
        let _written = self.to_write().await?;
        self.memory.insert_into(state, input, op).await
    }

    async fn delete_from(&self, state: &dyn Session, filters: Vec<Expr>) -> Result<Arc<dyn ExecutionPlan>> {
        let _written = self.to_write().await?;
        self.memory.delete_from(state, filters).await
    }

    async fn update(&self, state: &dyn Session, assignments: Vec<(String, Expr)>, filters: Vec<Expr>) -> Result<Arc<dyn ExecutionPlan>> {
        let _written = self.to_write().await?;
        self.memory.update(state, assignments, filters).await
    }

    async fn truncate(&self, state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let _written = self.to_write().await?;
        self.memory.truncate(state).await
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::Session;

    const MAKE: &str = "CREATE TABLE t AS SELECT value AS x, value % 7 AS k, nullif('word ' || (value % 5), 'word 3') AS w, make_array(value) AS l FROM generate_series(1, 20000)";
    const SUM: &str = "SELECT sum(x) AS s FROM t";

    async fn run(session: &Session, text: &str) -> i64 {
        let batches = session.sql(text).await.unwrap().collect().await.unwrap();
        batches[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    async fn act(session: &Session, text: &str) {
        session.sql(text).await.unwrap().collect().await.unwrap();
    }

    async fn is_compact(session: &Session) -> bool {
        let table = session.context().table_provider("t").await.unwrap();
        table.downcast_ref::<CreatedTable>().is_some_and(|created| created.compact_now().is_some())
    }

    /// All rows, in the order of `x`.
    async fn rows(session: &Session) -> RecordBatch {
        let batches = session.sql("SELECT * FROM t ORDER BY x").await.unwrap().collect().await.unwrap();
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_table_is_compact_until_somebody_writes_to_it() {
        for partitions in [1, 2, 3] {
            let session = Session::builder().target_partitions(partitions).build();
            act(&session, MAKE).await;
            let plain = SessionContext::new();
            plain.sql(MAKE).await.unwrap();
            let expected = plain.sql("SELECT * FROM t ORDER BY x").await.unwrap().collect().await.unwrap();
            let expected = arrow::compute::concat_batches(&expected[0].schema(), &expected).unwrap();
            assert!(is_compact(&session).await);
            assert_eq!(rows(&session).await, expected, "{partitions} partitions");
            // What was asked before is asked again: it must not be answered from what was there before.
            let query = session.sql(SUM).await.unwrap();
            assert_eq!(run(&session, SUM).await, 200_010_000);
            query.collect().await.unwrap();
            act(&session, "INSERT INTO t SELECT x + 100000, k, w, l FROM t").await;
            assert!(!is_compact(&session).await);
            assert_eq!(run(&session, SUM).await, 2 * 200_010_000 + 2_000_000_000);
            let batches = query.collect().await.unwrap();
            assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 2 * 200_010_000 + 2_000_000_000);
            act(&session, "DELETE FROM t WHERE x > 100000").await;
            assert_eq!(rows(&session).await, expected, "{partitions} partitions");
            act(&session, "UPDATE t SET x = x + 1 WHERE x <= 10").await;
            assert_eq!(run(&session, SUM).await, 200_010_010);
        }
    }

    #[tokio::test]
    async fn only_what_was_made_is_compact() {
        let session = Session::builder().target_partitions(2).build();
        act(&session, "CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 8191)").await;
        assert!(session.context().table_provider("t").await.unwrap().is::<MemTable>());
        // Nothing is made where there is a table; another is made in its place.
        act(&session, "INSERT INTO t SELECT x + 8191 FROM t; CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS x").await;
        assert!(session.context().table_provider("t").await.unwrap().is::<MemTable>());
        assert_eq!(run(&session, SUM).await, 16_382 * 16_383 / 2);
        act(&session, "CREATE OR REPLACE TABLE t AS SELECT value AS x FROM generate_series(1, 8192)").await;
        assert!(is_compact(&session).await);
        assert!(session.sql("CREATE TABLE t AS SELECT 1 AS x").await.is_err());
        // A table that is compact is not read again to be cached, and comes back.
        let cached = session.cache_table("t").await.unwrap();
        assert!(cached.bytes() < 3 * 8192, "two bytes a row");
        session.uncache_table("t").unwrap();
        act(&session, "INSERT INTO t VALUES (0)").await;
        assert_eq!((run(&session, "SELECT count(*) AS n FROM t").await, run(&session, SUM).await), (8193, 8192 * 8193 / 2));
        // A table made of a statement that has columns with defaults keeps them.
        act(&session, "CREATE TABLE d (x BIGINT, y BIGINT DEFAULT 7) AS SELECT value AS x, value AS y FROM generate_series(1, 9000)").await;
        act(&session, "INSERT INTO d (x) VALUES (9001)").await;
        assert_eq!(run(&session, "SELECT sum(y) AS s FROM d").await, 9000 * 9001 / 2 + 7);
    }
}
