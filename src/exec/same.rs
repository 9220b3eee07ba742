//! Scans of the same rows of the same files, which are read once.
//!
//! Where two stages read the same files, and one of them no columns that the other does not, the batches that the first one reads are kept for the second, as long as they are
//! small enough and there is memory. Of the columns, the first one reads those of either; of the rows, too: predicates of such scans only tell which row groups and pages need
//! not be read, as stages filter rows themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::expressions::{Column, DynamicFilterTracking};
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stagefuse_ir::{EntityRef, Input, InputDecl, Program, Source, Stage};

use crate::lower::parquet_scan;

/// Most bytes of a scan that are kept.
const MOST: usize = 256 << 20;

/// Which inputs of a program read the same rows.
#[derive(Default)]
pub(super) struct SameScans {
    /// By input that reads what an earlier one has read: that one, and which of the columns that are kept.
    seconds: HashMap<usize, (usize, Vec<usize>)>,
    /// By earlier input.
    firsts: HashMap<usize, First>,
}

/// What the first of several inputs reads for all.
struct First {
    scan: Arc<dyn ExecutionPlan>,
    /// The input that reads as many columns as the scan has.
    widest: Input,
    /// Which of the scan's columns are the input's own.
    own: Vec<usize>,
    /// Which of them are kept.
    wanted: Vec<usize>,
    kept: Kept,
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
            if program.emits(*stage) || shared.seconds.contains_key(&first.index()) {
                continue;
            }
            let Some(mut scan) = Scan::of(&leaves[first.index()]) else { continue };
            let mut widest = *first;
            // By input that reads the scan: which of its columns.
            let mut readers: Vec<(usize, Vec<usize>)> = vec![(first.index(), (0..scan.columns.len()).collect())];
            for (_, second) in &inputs[place + 1..] {
                let other = if shared.seconds.contains_key(&second.index()) { None } else { Scan::of(&leaves[second.index()]) };
                let Some(other) = other else { continue };
                let (a, b) = (&program.inputs[widest], &program.inputs[*second]);
                if let Some(columns) = other.within(b, &scan, a) {
                    let Some(both) = scan.for_both(&other) else { continue };
                    scan = both;
                    readers.push((second.index(), columns));
                } else if let Some(columns) = scan.within(a, &other, b).filter(|_| other.bytes().is_some_and(|bytes| bytes <= MOST)) {
                    let Some(both) = other.for_both(&scan) else { continue };
                    readers.iter_mut().flat_map(|(_, of)| of).for_each(|column| *column = columns[*column]);
                    readers.push((second.index(), (0..both.columns.len()).collect()));
                    (scan, widest) = (both, *second);
                }
            }
            let own = readers.remove(0).1;
            if readers.is_empty() {
                continue;
            }
            let mut wanted: Vec<usize> = readers.iter().flat_map(|(_, columns)| columns).copied().collect();
            wanted.sort_unstable();
            wanted.dedup();
            let partitions = scan.plan.output_partitioning().partition_count();
            let kept = Kept::new(partitions, readers.len(), MemoryConsumer::new("CompiledExec scans").register(context.memory_pool()));
            shared.firsts.insert(first.index(), First { scan: scan.plan, widest, own, wanted: wanted.clone(), kept });
            for (second, columns) in readers {
                let kept = columns.iter().filter_map(|column| wanted.binary_search(column).ok()).collect();
                shared.seconds.insert(second, (first.index(), kept));
            }
        }
        shared
    }

    /// The scan that an input reads in place of its leaf, where others want the same rows; and the input that reads all of its columns.
    pub(super) fn scan(&self, input: usize) -> Option<(&Arc<dyn ExecutionPlan>, Input)> {
        self.firsts.get(&input).map(|first| (&first.scan, first.widest))
    }

    /// Keeps a batch of a partition of an input, where others want it. Gives what the input itself reads of it.
    pub(super) fn keep(&self, input: usize, partition: usize, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(first) = self.firsts.get(&input) else { return Ok(batch) };
        first.kept.keep(partition, &select(&batch, &first.wanted)?);
        select(&batch, &first.own)
    }

    /// A partition of an input has been read to its end.
    pub(super) fn end(&self, input: usize) {
        self.firsts.get(&input).iter().for_each(|first| first.kept.end());
    }

    /// Whether an input may read what an earlier one has read.
    pub(super) fn is_second(&self, input: usize) -> bool {
        self.seconds.contains_key(&input)
    }

    /// The batches of a partition of an input, where an earlier one has read all of them.
    pub(super) fn rows(&self, input: usize, partition: usize) -> Option<Vec<Result<RecordBatch>>> {
        let (first, columns) = self.seconds.get(&input)?;
        let batches = self.firsts.get(first)?.kept.rows(partition)?;
        Some(batches.iter().map(|batch| select(batch, columns)).collect())
    }

    /// Forgets what is kept.
    pub(super) fn clear(&self) {
        self.firsts.values().for_each(|first| first.kept.give_up());
    }
}

/// Some of a batch's columns.
fn select(batch: &RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
    if columns.len() == batch.num_columns() && columns.iter().enumerate().all(|(place, column)| place == *column) {
        return Ok(batch.clone());
    }
    Ok(batch.project(columns)?)
}

/// A scan of Parquet files whose rows nobody but its stage tests.
struct Scan {
    plan: Arc<dyn ExecutionPlan>,
    /// What its columns are, of the files' columns.
    columns: Vec<Arc<dyn PhysicalExpr>>,
}

impl Scan {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Scan> {
        let (config, source) = parquet_scan(plan.as_ref())?;
        let tests_rows = source.table_parquet_options().global.pushdown_filters;
        let is_plain = config.limit.is_none()
            && config.expr_adapter_factory.is_none()
            && source.table_schema().virtual_columns().is_empty()
            && !tests_rows;
        let columns: Vec<Arc<dyn PhysicalExpr>> = match source.projection() {
            Some(projection) => projection.iter().map(|column| Arc::clone(&column.expr)).collect(),
            None => {
                let all = source.table_schema().table_schema().fields().iter().enumerate();
                all.map(|(index, field)| Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>).collect()
            }
        };
        (is_plain && columns.len() == plan.schema().fields().len()).then(|| Scan { plan: Arc::clone(plan), columns })
    }

    /// Which of another scan's columns this one's are, where all of them are there, as these inputs take them.
    fn within(&self, input: &InputDecl, other: &Scan, of_other: &InputDecl) -> Option<Vec<usize>> {
        if (input.given(), of_other.given()) != (self.columns.len(), other.columns.len()) {
            return None;
        }
        let (schema, others) = (self.plan.schema(), other.plan.schema());
        let place = |column: usize| {
            (0..other.columns.len()).find(|place| {
                *self.columns[column] == *other.columns[*place]
                    && schema.field(column) == others.field(*place)
                    && input.stored[column] == of_other.stored[*place]
            })
        };
        (0..self.columns.len()).map(place).collect()
    }

    /// About how many bytes its rows take; `None` where nobody knows.
    fn bytes(&self) -> Option<usize> {
        let statistics = StatisticsContext::new().compute(self.plan.as_ref(), &StatisticsArgs::new()).ok()?;
        let rows = *statistics.num_rows.get_value()?;
        let of_type = |ty: &DataType| ty.primitive_width().unwrap_or(32);
        let row: usize = self.plan.schema().fields().iter().map(|field| of_type(field.data_type())).sum();
        Some(rows.saturating_mul(row))
    }

    /// This scan without what it need not read for itself alone. `None`: the other one does not read the same files in the same way.
    fn for_both(&self, other: &Scan) -> Option<Scan> {
        let ((a, a_source), (b, b_source)) = (parquet_scan(self.plan.as_ref())?, parquet_scan(other.plan.as_ref())?);
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
        let same = a.object_store_url == b.object_store_url
            && a.batch_size == b.batch_size
            && a.output_ordering == b.output_ordering
            && a.preserve_order == b.preserve_order
            && a_source.table_schema().table_schema() == b_source.table_schema().table_schema();
        let (of_a, of_b) = (files(a)?, files(b)?);
        if !same || of_a != of_b {
            return None;
        }
        let (wanted, other) = (a_source.filter(), b_source.filter());
        let parts = |filter: &Option<Arc<dyn PhysicalExpr>>| -> Vec<Arc<dyn PhysicalExpr>> {
            filter.iter().flat_map(|filter| split_conjunction(filter).into_iter().cloned()).collect()
        };
        let others = parts(&other);
        let both = parts(&wanted)
            .into_iter()
            .filter(|part| !DynamicFilterTracking::classify(part).contains_dynamic_filter() && others.contains(part));
        let source = a_source.with_predicate(conjunction(both));
        let config = FileScanConfigBuilder::from(a.clone()).with_source(Arc::new(source)).build();
        Some(Scan { plan: Arc::new(DataSourceExec::new(Arc::new(config))), columns: self.columns.clone() })
    }
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
            // Read once; once, though the first one alone would need the beginning only; once, whichever of them reads more columns (of two nodes, each reads for
            // itself); other columns; rows that the reader tests.
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
                "SELECT sum(a.d) AS s, sum(a.id) AS i FROM t a JOIN (SELECT k, max(d) AS m FROM t GROUP BY k) b ON a.k = b.k AND a.d = b.m",
                vec![0, 20_000],
                false,
            ),
            (
                "SELECT b.n, b.m, count(*) AS c FROM t a JOIN (SELECT k, max(d) AS m, sum(id) AS n FROM t GROUP BY k) b ON a.k = b.k GROUP BY b.n, b.m ORDER BY b.n",
                vec![0, 20_000],
                false,
            ),
            (
                "SELECT a.k, b.m, c.n FROM (SELECT DISTINCT k FROM t WHERE id > 17) a JOIN (SELECT k, max(d) AS m FROM t WHERE id < 9000 GROUP BY k) b ON a.k = b.k JOIN (SELECT k, sum(d + id) AS n FROM t GROUP BY k) c ON a.k = c.k ORDER BY a.k",
                vec![0, 20_000, 20_000],
                false,
            ),
            (
                "SELECT count(*) AS n FROM (SELECT id, max(k) AS k FROM t GROUP BY id) a JOIN (SELECT id, min(d) AS m FROM t GROUP BY id) b ON a.id = b.id AND a.k < b.m",
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
