//! What tables in memory are called.
//!
//! A physical scan of memory holds rows, and knows nothing of the name that the query has for them. The logical plan does: a rule of the analyzer, which changes nothing, notes
//! down what stands under each name, and lowering finds the name again by the rows themselves. Names are for people; nothing depends on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::{Array, RecordBatch};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::{MemTable, TableProvider, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, UNNAMED_TABLE};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_plan::ExecutionPlan;
use stagefuse_runtime::CompactTable;

use super::{CachedExec, CachedTable, CreatedTable};

/// Names of the tables that queries of a session have read from memory.
#[derive(Debug, Default)]
pub(crate) struct TableNames(Mutex<HashMap<Address, (Held, Option<String>)>>);

/// Where rows lie: the compact table, or the columns of a batch.
type Address = Vec<usize>;

/// Keeps addresses from being used again, without keeping the rows.
#[derive(Debug)]
enum Held {
    Table(Weak<CompactTable>),
    Columns(Vec<Weak<dyn Array>>),
}

impl Held {
    fn is_alive(&self) -> bool {
        match self {
            Held::Table(table) => table.strong_count() > 0,
            Held::Columns(columns) => columns.iter().all(|column| column.strong_count() > 0),
        }
    }
}

impl TableNames {
    /// The name of the table that a leaf scans, where it is one in memory that has been seen in a logical plan.
    pub(crate) fn of(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = |address: Address| names.get(&address).and_then(|(_, name)| name.clone());
        if let Some(scan) = plan.downcast_ref::<CachedExec>() {
            return found(of_table(scan.table()));
        }
        let source = plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<MemorySourceConfig>()?;
        // DataFusion moves batches between partitions, and cuts none. The one that was noted down is among them.
        source.partitions().iter().flatten().find_map(|batch| found(of_batch(batch)))
    }

    /// Notes the tables of a plan.
    fn note(&self, plan: &LogicalPlan) -> Result<()> {
        let mut seen: HashMap<Address, (Held, Option<String>)> = HashMap::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Ok(table) = source_as_provider(&scan.source)
                && let Some((address, held)) = whereabouts(table.as_ref())
            {
                let name = Some(scan.table_name.table()).filter(|name| *name != UNNAMED_TABLE).map(str::to_string);
                // Where two names of one query stand for the same rows, no scan can tell which it reads.
                let other = seen.get(&address).is_some_and(|(_, known)| *known != name);
                seen.insert(address, (held, name.filter(|_| !other)));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !seen.is_empty() {
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.retain(|_, (held, _)| held.is_alive());
            names.extend(seen);
        }
        Ok(())
    }
}

/// Where the rows of a table in memory lie.
fn whereabouts(table: &dyn TableProvider) -> Option<(Address, Held)> {
    let created = table.downcast_ref::<CreatedTable>();
    if let Some(cached) = table.downcast_ref::<CachedTable>().cloned().or_else(|| created?.compact_now()) {
        return Some((of_table(&cached.table), Held::Table(Arc::downgrade(&cached.table))));
    }
    let memory = table.downcast_ref::<MemTable>().or_else(|| created?.memory())?;
    memory.batches.iter().find_map(|batches| {
        // Whoever writes to it now may have the name as well: then it is not known.
        let batches = batches.try_read().ok()?;
        let batch = batches.iter().find(|batch| batch.num_columns() > 0)?;
        Some((of_batch(batch), Held::Columns(batch.columns().iter().map(Arc::downgrade).collect())))
    })
}

fn of_table(table: &Arc<CompactTable>) -> Address {
    vec![Arc::as_ptr(table).addr()]
}

fn of_batch(batch: &RecordBatch) -> Address {
    batch.columns().iter().map(|column| Arc::as_ptr(column).cast::<()>().addr()).collect()
}

/// Notes the names of a session's tables as their queries are analyzed.
#[derive(Debug)]
pub(crate) struct NoteTables(pub(crate) Arc<TableNames>);

impl AnalyzerRule for NoteTables {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        self.0.note(&plan)?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "stagefuse_table_names"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompiledExec, Session, with_stagefuse};
    use datafusion::prelude::{SessionConfig, SessionContext};

    /// The names of the stages that read something.
    async fn scans(context: &SessionContext, sql: &str) -> Vec<String> {
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let mut names = vec![];
        for node in crate::explain::compiled_nodes(&plan) {
            names.extend(CompiledExec::stages(node).into_iter().map(|stage| stage.name).filter(|name| !name.starts_with("groups")));
        }
        names.sort();
        names
    }

    #[tokio::test]
    async fn stages_are_named_after_tables_in_memory() {
        let context = with_stagefuse(SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3)));
        let make = "CREATE TABLE t AS SELECT value AS x, value % 7 AS k FROM generate_series(1, 50000)";
        context.sql(make).await.unwrap();
        context.sql("CREATE TABLE part AS SELECT x FROM t").await.unwrap();
        context.sql("CREATE TABLE copy AS SELECT * FROM t").await.unwrap();
        context.sql("CREATE VIEW v AS SELECT x + 1 AS y FROM copy").await.unwrap();
        context.sql("CREATE TABLE empty (x BIGINT)").await.unwrap();
        let scans = async |sql| scans(&context, sql).await;
        assert_eq!(scans("SELECT sum(x) FROM t WHERE x > 3").await, ["scan t"]);
        assert_eq!(scans("SELECT sum(a.x) FROM t AS a JOIN part AS b ON a.x = b.x").await, ["scan part", "scan t"]);
        assert_eq!(scans("SELECT sum(k) FROM t WHERE x > (SELECT avg(x) FROM part)").await, ["scan part", "scan t"]);
        assert_eq!(scans("SELECT sum(y) FROM v").await, ["scan copy"]);
        assert_eq!(scans("SELECT count(*) FROM t WHERE k = 2 UNION ALL SELECT count(*) FROM t WHERE k = 3").await, ["scan t", "scan t"]);
        // The same rows under two names: it cannot be told which of them a scan reads.
        assert_eq!(scans("SELECT sum(t.x) FROM t JOIN copy ON t.x = copy.x").await, ["scan input0", "scan input1"]);
        assert_eq!(scans("SELECT sum(x) FROM t").await, ["scan t"]);
        assert_eq!(scans("SELECT sum(x) FROM empty WHERE x > 1").await, ["scan input0"]);
        // What is no table.
        assert_eq!(scans("SELECT sum(value) FROM generate_series(1, 9)").await, ["scan generate_series"]);
        assert_eq!(scans("SELECT sum(column1) FROM (VALUES (1), (2))").await, ["scan input0"]);
        assert_eq!(
            scans("SELECT sum(r) FROM (SELECT rank() OVER (ORDER BY x) AS r FROM t) WHERE r % 2 = 0").await,
            ["rows of BoundedWindowAggExec", "rows of sort0", "scan t"]
        );
        let batch = context.sql("SELECT x FROM t").await.unwrap().collect().await.unwrap().remove(0);
        let frame = context.read_batch(batch.slice(0, 5)).unwrap();
        let plan =
            frame.filter(datafusion::prelude::col("x").gt(datafusion::prelude::lit(1))).unwrap().create_physical_plan().await.unwrap();
        let node = plan.downcast_ref::<CompiledExec>().unwrap();
        assert_eq!(node.stages()[0].name, "scan input0");
    }

    #[tokio::test]
    async fn cached_tables_have_names_and_let_go_of_their_rows() {
        let session = Session::builder().target_partitions(2).build();
        let names = Arc::<TableNames>::default();
        session.sql("CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 5000)").await.unwrap().collect().await.unwrap();
        session.cache_table("t").await.unwrap();
        assert_eq!(scans(session.context(), "SELECT sum(x) FROM t").await, ["scan t"]);
        let note = async || names.note(session.context().table("t").await.unwrap().logical_plan()).unwrap();
        note().await;
        session.cache_table("t").await.unwrap();
        note().await;
        assert_eq!(names.0.lock().unwrap().len(), 1, "the table of before has gone");
    }
}
