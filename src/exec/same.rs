//! Scans of the same rows of the same files, which are read once.
//!
//! Where two stages read the same columns of the same files, the batches that the first one reads are kept for the second, as long as they are small enough and there is memory.
//! Predicates of such scans only tell which row groups and pages need not be read, as stages filter rows themselves: the first one reads what either wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::expressions::DynamicFilterTracking;
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stagefuse_ir::{EntityRef, Input, Program, Source, Stage};

use crate::lower::parquet_scan;

/// Most bytes of a scan that are kept.
const MOST: usize = 256 << 20;

/// Which inputs of a program read the same rows.
#[derive(Default)]
pub(super) struct SameScans {
    /// By input that reads what an earlier one has read: that one.
    firsts: HashMap<usize, usize>,
    /// By earlier input: its scan, and what is kept of it.
    kept: HashMap<usize, (Arc<dyn ExecutionPlan>, Kept)>,
}

impl SameScans {
    pub(super) fn of(program: &Program, leaves: &[Arc<dyn ExecutionPlan>], context: &TaskContext) -> SameScans {
        let mut shared = SameScans::default();
        let inputs: Vec<(Stage, Input)> = program
            .stages
            .iter()
            .filter_map(|(stage, decl)| match decl.source {
                Source::Input { input, .. } if !program.inputs[input].handed => Some((stage, input)),
                _ => None,
            })
            .collect();
        for (place, (stage, first)) in inputs.iter().enumerate() {
            // What is emitted is not at its end before others begin.
            if program.emits(*stage) || shared.firsts.contains_key(&first.index()) {
                continue;
            }
            let mut scan = None;
            let mut readers = 0;
            for (_, second) in &inputs[place + 1..] {
                let alike = {
                    let (a, b) = (&program.inputs[*first], &program.inputs[*second]);
                    a.given() == b.given() && a.stored[..a.given()] == b.stored[..b.given()] && !shared.firsts.contains_key(&second.index())
                };
                let base = scan.as_ref().unwrap_or(&leaves[first.index()]);
                if let Some(both) = alike.then(|| for_both(base, &leaves[second.index()])).flatten() {
                    scan = Some(both);
                    readers += 1;
                    shared.firsts.insert(second.index(), first.index());
                }
            }
            if let Some(scan) = scan {
                let partitions = scan.output_partitioning().partition_count();
                let kept = Kept::new(partitions, readers, MemoryConsumer::new("CompiledExec scans").register(context.memory_pool()));
                shared.kept.insert(first.index(), (scan, kept));
            }
        }
        shared
    }

    /// The scan that an input reads in place of its leaf, where others want the same rows.
    pub(super) fn scan(&self, input: usize) -> Option<&Arc<dyn ExecutionPlan>> {
        self.kept.get(&input).map(|(scan, _)| scan)
    }

    /// What is to be kept of an input.
    pub(super) fn keep(&self, input: usize) -> Option<&Kept> {
        self.kept.get(&input).map(|(_, kept)| kept)
    }

    /// Whether an input may read what an earlier one has read.
    pub(super) fn is_second(&self, input: usize) -> bool {
        self.firsts.contains_key(&input)
    }

    /// The batches of a partition of an input, where an earlier one has read all of them.
    pub(super) fn rows(&self, input: usize, partition: usize) -> Option<Vec<RecordBatch>> {
        self.keep(*self.firsts.get(&input)?)?.rows(partition)
    }

    /// Forgets what is kept.
    pub(super) fn clear(&self) {
        self.kept.values().for_each(|(_, kept)| kept.give_up());
    }
}

/// The first of two scans without what it need not read for itself alone. `None`: they do not read the same columns of the same files, or a reader tests rows.
fn for_both(first: &Arc<dyn ExecutionPlan>, second: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let ((a, a_source), (b, b_source)) = (parquet_scan(first.as_ref())?, parquet_scan(second.as_ref())?);
    let files = |config: &FileScanConfig| {
        let groups = config.file_groups.iter().map(|group| {
            let of_file = |file: &PartitionedFile| {
                let is_plain = file.extensions.is_empty() && file.arrow_schema.is_none();
                is_plain.then(|| (file.object_meta.clone(), file.range.clone(), file.partition_values.clone()))
            };
            group.files().iter().map(of_file).collect::<Option<Vec<_>>>()
        });
        groups.collect::<Option<Vec<_>>>()
    };
    let tests_rows = |source: &ParquetSource| source.table_parquet_options().global.pushdown_filters;
    let same = first.schema() == second.schema()
        && a.object_store_url == b.object_store_url
        && a.limit.is_none()
        && b.limit.is_none()
        && a.batch_size == b.batch_size
        && a.expr_adapter_factory.is_none()
        && b.expr_adapter_factory.is_none()
        && a.output_ordering == b.output_ordering
        && a.preserve_order == b.preserve_order
        && a_source.table_schema().table_schema() == b_source.table_schema().table_schema()
        && a_source.table_schema().virtual_columns().is_empty()
        && a_source.projection() == b_source.projection()
        && !tests_rows(a_source)
        && !tests_rows(b_source);
    let (of_a, of_b) = (files(a)?, files(b)?);
    if !same || of_a != of_b {
        return None;
    }
    let (wanted, other) = (a_source.filter(), b_source.filter());
    let parts = |filter: &Option<Arc<dyn PhysicalExpr>>| -> Vec<Arc<dyn PhysicalExpr>> {
        filter.iter().flat_map(|filter| split_conjunction(filter).into_iter().cloned()).collect()
    };
    let others = parts(&other);
    let both =
        parts(&wanted).into_iter().filter(|part| !DynamicFilterTracking::classify(part).contains_dynamic_filter() && others.contains(part));
    let source = a_source.with_predicate(conjunction(both));
    let config = FileScanConfigBuilder::from(a.clone()).with_source(Arc::new(source)).build();
    Some(Arc::new(DataSourceExec::new(Arc::new(config))))
}

/// Batches of a scan.
pub(super) struct Kept(Mutex<State>);

struct State {
    partitions: Vec<Vec<RecordBatch>>,
    /// Partitions that have been read to their ends.
    ended: usize,
    /// By partition: how many are to read it again.
    readers: Vec<usize>,
    bytes: usize,
    memory: MemoryReservation,
    given_up: bool,
}

impl Kept {
    fn new(partitions: usize, readers: usize, memory: MemoryReservation) -> Self {
        let readers = vec![readers; partitions];
        Kept(Mutex::new(State { partitions: vec![vec![]; partitions], ended: 0, readers, bytes: 0, memory, given_up: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch, if there is room.
    pub(super) fn keep(&self, partition: usize, batch: &RecordBatch) {
        let mut state = self.state();
        if state.given_up {
            return;
        }
        let bytes = batch.get_array_memory_size();
        if state.bytes + bytes > MOST || state.memory.try_grow(bytes).is_err() {
            drop(state);
            return self.give_up();
        }
        state.bytes += bytes;
        state.partitions[partition].push(batch.clone());
    }

    /// A partition has been read to its end.
    pub(super) fn end(&self) {
        self.state().ended += 1;
    }

    fn give_up(&self) {
        let mut state = self.state();
        state.given_up = true;
        state.partitions.iter_mut().for_each(Vec::clear);
        state.memory.free();
    }

    fn rows(&self, partition: usize) -> Option<Vec<RecordBatch>> {
        let mut state = self.state();
        // Partitions take files from each other: of some there would be too little, of others too much.
        if state.given_up || state.ended < state.partitions.len() {
            return None;
        }
        let readers = state.readers.get_mut(partition)?;
        *readers = readers.checked_sub(1)?;
        let is_last = *readers == 0;
        let batches = &mut state.partitions[partition];
        Some(if is_last { std::mem::take(batches) } else { batches.clone() })
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;
    use crate::Session;

    /// Rows that each scan of a plan has read, after it ran, and the answer.
    async fn run(session: &Session, sql: &str) -> (Vec<usize>, String) {
        let plan = session.context().sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let batches = datafusion::physical_plan::collect(Arc::clone(&plan), session.context().task_ctx()).await.unwrap();
        let mut rows = vec![];
        let mut pending = vec![&plan];
        while let Some(plan) = pending.pop() {
            if plan.is::<DataSourceExec>() {
                rows.push(plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0));
            }
            pending.extend(plan.children());
        }
        rows.sort_unstable();
        (rows, pretty_format_batches(&batches).unwrap().to_string())
    }

    async fn session(path: &std::path::Path) -> Session {
        let session = Session::builder().mode(crate::Mode::Compiled).target_partitions(2).build();
        let rows = "SELECT value AS id, value % 10 AS k, arrow_cast(value * 3, 'Decimal128(12, 2)') AS d FROM generate_series(1, 20000)";
        let copy = format!("COPY ({rows}) TO '{}' OPTIONS ('format.max_row_group_size' '3000')", path.display());
        session.sql(&copy).await.unwrap().collect().await.unwrap();
        session.register_parquet("t", &path.display().to_string()).await.unwrap();
        session
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_same_rows_are_read_once() {
        let path = std::env::temp_dir().join(format!("stagefuse-same-{}.parquet", std::process::id()));
        let session = session(&path).await;
        let wanted = [
            // Read once; once, though the first one alone would need the beginning only; other columns; rows that the reader tests.
            (
                "SELECT sum(a.d) AS s FROM t a JOIN (SELECT k, max(d) AS m FROM t GROUP BY k) b ON a.k = b.k AND a.d = b.m",
                vec![0, 20_000],
                false,
            ),
            (
                "SELECT sum(a.d) AS a, sum(b.d) AS b, count(*) AS n FROM (SELECT id, d FROM t WHERE id < 2000) a JOIN (SELECT id, d FROM t WHERE id > 1900) b ON a.id = b.id",
                vec![0, 20_000],
                false,
            ),
            (
                "SELECT count(*) AS n FROM t a JOIN (SELECT id, min(d) AS m FROM t GROUP BY id) b ON a.id = b.id",
                vec![20_000, 20_000],
                false,
            ),
            (
                "SELECT sum(a.d) AS s FROM (SELECT id, d FROM t WHERE id < 2000) a JOIN (SELECT id, d FROM t WHERE id > 1900) b ON a.id = b.id",
                vec![1_999, 18_100],
                true,
            ),
        ];
        for (sql, read, tests_rows) in wanted {
            let set = format!("SET datafusion.execution.parquet.pushdown_filters = {tests_rows}");
            session.sql(&set).await.unwrap().collect().await.unwrap();
            session.register_parquet("t", &path.display().to_string()).await.ok();
            let (rows, answer) = run(&session, sql).await;
            assert_eq!(rows, read, "{sql}");
            session.sql("SET stagefuse.mode = 'off'").await.unwrap().collect().await.unwrap();
            assert_eq!(answer, run(&session, sql).await.1, "{sql}");
            session.sql("SET stagefuse.mode = 'compiled'").await.unwrap().collect().await.unwrap();
        }
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn what_is_kept_is_all_or_nothing() {
        let batch = RecordBatch::try_from_iter([("v", Arc::new(arrow::array::Int64Array::from(vec![1, 2])) as _)]).unwrap();
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let memory = || MemoryConsumer::new("test").register(&pool);
        let kept = Kept::new(2, 2, memory());
        kept.keep(0, &batch);
        kept.end();
        assert!(kept.rows(0).is_none());
        kept.keep(1, &batch);
        kept.keep(1, &batch);
        kept.end();
        assert_eq!([kept.rows(0), kept.rows(0), kept.rows(0)].map(|rows| rows.map(|rows| rows.len())), [Some(1), Some(1), None]);
        assert_eq!(kept.rows(1).map(|rows| rows.len()), Some(2));
        let full = Kept::new(1, 1, memory());
        full.keep(0, &batch);
        full.give_up();
        full.keep(0, &batch);
        full.end();
        assert!(full.rows(0).is_none());
        // No memory, nothing kept.
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1));
        let full = Kept::new(1, 1, MemoryConsumer::new("test").register(&pool));
        full.keep(0, &batch);
        full.end();
        assert!(full.rows(0).is_none());
    }
}
