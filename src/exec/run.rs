//! One execution of a node: pipeline breakers run first, driven by whichever output partition is polled; then partitions stream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{self, StreamExt};
use stagefuse_ir::{Datum, EntityRef, Input, InputDecl, Source, Stage};
use stagefuse_runtime::{Error, Flow, MemoryBudget, Run, RunConfig, Sizes, TableCursor, WorkerGuard};

use super::ahead::{Begun, Workers};
use super::claims::Claims;
use super::crew::{Crew, Part};
use super::errors::{alone, host_error, of_expression, of_stage};
use super::files;
use super::metrics::Recorder;
use super::node::replace_leaves;
use super::pieces::{Piece, cut};
use super::same::SameScans;
use super::top_k::Told;
use crate::fallback::FallbackReason;
use crate::lower::expr::datum;
use crate::lower::{Lowered, Memory, TopK, dictionaries};
use crate::profile::{self, Work};

/// What has left a node.
enum Left {
    /// No row; these output partitions have ended.
    Nothing { ended: Vec<usize> },
    /// Rows of the stages: DataFusion's operators cannot take over any more.
    Rows,
    /// DataFusion's operators have taken over: rows of the stages may not follow.
    StartedOver,
}

/// The outcome of the pipeline breakers; an error is shared by all output partitions.
pub(crate) type Outcome = Result<(), Arc<DataFusionError>>;
pub(crate) type Breakers = Shared<BoxFuture<'static, Outcome>>;

/// What is executed.
pub(crate) struct Plan {
    /// The subtree that was lowered.
    pub(crate) original: Arc<dyn ExecutionPlan>,
    pub(crate) lowered: Arc<Lowered>,
    /// What stands for its leaves, by input.
    pub(crate) children: Vec<Arc<dyn ExecutionPlan>>,
    /// Whether a failure of the stages must be shown, even where DataFusion's operators have an answer.
    pub(crate) strict: bool,
    /// How much of what the runtime does at a time.
    pub(crate) sizes: Sizes,
}

/// One execution, shared by its output partitions.
pub(crate) struct Core {
    pub(crate) lowered: Arc<Lowered>,
    plan: Plan,
    /// What the program's inputs come from, by input: leaves, or scans that stand for them.
    scans: Vec<Arc<dyn ExecutionPlan>>,
    /// What has been read ahead of those.
    begun: Begun,
    /// Which of them are read once for several inputs.
    same: SameScans,
    memory: Arc<Budget>,
    /// DataFusion's operators, once they have taken over.
    retreat: OnceLock<Result<Arc<dyn ExecutionPlan>, Arc<DataFusionError>>>,
    pub(crate) run: Arc<Run>,
    context: Arc<TaskContext>,
    /// Output partitions of the node.
    pub(crate) outputs: usize,
    workers: usize,
    /// Partitions of table sources.
    pub(crate) tables: usize,
    /// By input; empty for streams.
    pub(crate) pieces: Vec<Vec<Piece>>,
    /// By stage: the pieces, or partitions of a table, that nobody has claimed.
    claims: Vec<Claims>,
    /// By stage: whether it needs no more rows.
    stopped: Vec<AtomicBool>,
    /// Output partitions that have not done their part of the emitting stages.
    pub(crate) remaining: AtomicUsize,
    /// What has left the node so far.
    left: Mutex<Left>,
    /// Why stages have failed, where DataFusion's operators may take over.
    reason: OnceLock<FallbackReason>,
    outcome: OnceLock<Outcome>,
    /// By dynamic filter of a top-k.
    told: Vec<Told>,
    recorder: Arc<Recorder>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.recorder.add(self.lowered.program.stages.keys().map(|stage| self.run.metrics(stage)));
    }
}

impl Core {
    pub(crate) fn new(
        plan: Plan,
        engines: Vec<stagefuse_runtime::Engine>,
        outputs: usize,
        context: Arc<TaskContext>,
        recorder: Arc<Recorder>,
    ) -> Result<Arc<Core>> {
        let lowered = Arc::clone(&plan.lowered);
        let program = Arc::clone(&lowered.program);
        let workers = context.session_config().target_partitions().max(1);
        let tables = outputs.max(workers);
        let memory = Arc::new(Budget(Mutex::new(MemoryConsumer::new("CompiledExec").register(context.memory_pool()))));
        let stages = program.stages.len();
        let cut = |memory: &Memory| cut(memory, plan.sizes.morsel_rows, workers);
        let pieces: Vec<Vec<Piece>> = lowered.memory.iter().map(|memory| memory.as_ref().map(cut).unwrap_or_default()).collect();
        // What a stage is handed has no pieces.
        let pieces_of = |input: Input| pieces.get(input.index()).map_or(0, Vec::len);
        let claims = program.stages.iter().map(|(stage, decl)| match decl.source {
            Source::Input { input, .. } if program.emits(stage) => Claims::new(pieces_of(input), outputs),
            Source::Input { input, .. } => Claims::new(pieces_of(input), workers),
            Source::Groups(_) | Source::Join(..) | Source::Sort(_) => Claims::new(tables, workers),
        });
        let claims = claims.collect();
        lowered.top_ks.iter().try_for_each(TopK::reset)?;
        let told = lowered.top_ks.iter().map(|_| Told::nothing()).collect();
        let same = SameScans::of(&program, &plan.children, &context);
        let scan = |(number, (leaf, input)): (usize, (&Arc<dyn ExecutionPlan>, &InputDecl))| {
            let (leaf, input) = same.scan(number).map_or((leaf, input), |(scan, widest)| (scan, &program.inputs[widest]));
            files::scan(leaf, input, &context).unwrap_or_else(|| Arc::clone(leaf))
        };
        let scans = plan.children.iter().zip(program.inputs.values()).enumerate().map(scan).collect();
        let run = RunConfig {
            program,
            engines,
            host_types: lowered.host_types.clone(),
            opaques: lowered.opaques.clone(),
            aggregates: lowered.aggregates.clone(),
            params: params(&lowered)?,
            dictionaries: dictionaries(&lowered)?,
            schema: plan.original.schema(),
            partitions: tables,
            memory: Arc::clone(&memory) as Arc<dyn MemoryBudget>,
        };
        let run = Run::with_sizes(run, plan.sizes.clone()).map_err(host_error)?;
        Ok(Arc::new(Core {
            lowered,
            plan,
            scans,
            begun: Begun::default(),
            same,
            memory,
            retreat: OnceLock::new(),
            run,
            context,
            outputs,
            workers,
            tables,
            pieces,
            claims,
            stopped: (0..stages).map(|_| AtomicBool::new(false)).collect(),
            remaining: AtomicUsize::new(outputs),
            left: Mutex::new(Left::Nothing { ended: vec![] }),
            reason: OnceLock::new(),
            outcome: OnceLock::new(),
            told,
            recorder,
        }))
    }

    /// The pipeline breakers, to be awaited by every output partition.
    pub(crate) fn breakers(self: &Arc<Self>) -> Breakers {
        let core = Arc::clone(self);
        let future = async move {
            let outcome = core.run_breakers().await.map_err(Arc::new);
            core.outcome.get_or_init(|| outcome).clone()
        };
        future.boxed().shared()
    }

    /// The breakers again, if they have completed.
    pub(crate) fn completed(&self) -> Option<Breakers> {
        let outcome = self.outcome.get()?.clone();
        Some(futures::future::ready(outcome).boxed().shared())
    }

    /// Whether rows of the stages may leave the node: not once DataFusion's operators have taken over, and they cannot take over any more after that.
    pub(crate) fn may_leave(&self) -> bool {
        let mut left = self.left();
        if matches!(*left, Left::Nothing { .. }) {
            *left = Left::Rows;
        }
        matches!(*left, Left::Rows)
    }

    /// Whether an output partition may end with what has left it: not once DataFusion's operators have taken over.
    pub(crate) fn may_end(&self, partition: usize) -> bool {
        match &mut *self.left() {
            Left::Nothing { ended } => ended.push(partition),
            Left::Rows => {}
            Left::StartedOver => return false,
        }
        true
    }

    /// Starts the query over, where no row has left the node; none will from now on, other than DataFusion's. Gives the output partitions that have
    /// ended: their rows, if DataFusion has any, are the caller's to bring.
    fn start_over(&self) -> Option<Vec<usize>> {
        let mut left = self.left();
        let ended = match &mut *left {
            Left::Nothing { ended } => std::mem::take(ended),
            Left::StartedOver => vec![],
            Left::Rows => return None,
        };
        *left = Left::StartedOver;
        Some(ended)
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition of the same rows from DataFusion's own operators, for when stages have failed and no row has left the node: those spill to disk where
    /// stages run out of memory, sum in wider types, and may not evaluate an expression that failed (a join whose table is empty does not look at
    /// the other side's keys). Whoever is first gets the partitions as well that have ended without a row.
    ///
    /// # Errors
    /// `error` again, where DataFusion would fare no better; or what stopped its operators from starting.
    pub(crate) fn retreat(&self, error: Arc<DataFusionError>, partition: usize) -> Result<Vec<SendableRecordBatchStream>> {
        // What failed is a leaf, unless a stage left a reason. Its error stays, since nobody knows what the leaf would yield a second time; but an expression
        // that fails below is one that DataFusion may never come to, such as that of a join's other side where this one is empty.
        let Some(reason) = self.reason.get().cloned().or_else(|| of_expression(&error)) else { return Err(alone(error)) };
        if self.plan.strict {
            return Err(alone(error));
        }
        let Some(ended) = self.start_over() else { return Err(alone(error)) };
        let start_over = || {
            tracing::debug!(%reason, "DataFusion's operators take over");
            self.recorder.retreat(reason.clone());
            // The tables go with the execution, soon; whoever asks for memory now must not be told that they are in use.
            self.memory.resize(0).map_err(DataFusionError::External)?;
            self.same.clear();
            reset_plan_states(replace_leaves(&self.plan.original, &self.lowered.children, &self.plan.children)?)
        };
        let plan = self.retreat.get_or_init(|| start_over().map_err(Arc::new)).clone().map_err(DataFusionError::Shared)?;
        let mut streams = vec![plan.execute(partition, Arc::clone(&self.context))?];
        for partition in ended {
            let stream = plan.execute(partition, Arc::clone(&self.context))?;
            streams.push(if plan.output_ordering().is_some() { without_rows(stream, Arc::clone(&error)) } else { stream });
        }
        Ok(streams)
    }

    /// An error of a stage, in DataFusion's form; where DataFusion's operators may do better, the reason is noted.
    fn failure(&self, error: Error) -> DataFusionError {
        let error = host_error(error);
        if let Some(reason) = of_stage(&error) {
            // The first one stays.
            let _ = self.reason.set(reason);
        }
        error
    }

    async fn run_breakers(self: &Arc<Self>) -> Result<()> {
        let program = Arc::clone(&self.lowered.program);
        let mut crew = Crew::new(self.workers);
        for (stage, decl) in program.stages.iter().filter(|(stage, _)| !program.emits(*stage)) {
            let tasks: Vec<Part> = match decl.source {
                // Its rows have come with those of the stage before it.
                Source::Input { .. } if program.is_handed(stage) => vec![],
                Source::Input { input, .. } if self.is_memory(input) => {
                    let pieces = &self.pieces[input.index()];
                    let workers = self.workers.min(pieces.len());
                    let rows: usize = pieces.iter().map(|piece| piece.rows).sum();
                    self.run.expect(stage, rows.div_ceil(workers.max(1)) as u64);
                    (0..workers).map(|task| Arc::clone(self).drain_memory(stage, input, task).boxed()).collect()
                }
                Source::Input { input, .. } => {
                    let mut tasks = vec![];
                    let workers = Arc::new(Workers::new(self.input_partitions(input)));
                    for partition in 0..self.input_partitions(input) {
                        let stream = self.stream(input, partition)?;
                        let (core, workers) = (Arc::clone(self), Arc::clone(&workers));
                        let task = async move {
                            let drained = Arc::clone(&core).drain_stream(stage, input, partition, stream).await;
                            workers.leave();
                            drained?;
                            core.read_ahead(stage, partition, &workers).await;
                            Ok(())
                        };
                        tasks.push(task.boxed());
                    }
                    tasks
                }
                Source::Groups(_) | Source::Join(..) | Source::Sort(_) => {
                    let workers = self.workers.min(self.tables);
                    (0..workers).map(|task| Arc::clone(self).drain_tables(stage, task).boxed()).collect()
                }
            };
            crew.run(tasks).await?;
            self.finish(stage, &mut crew).await?;
        }
        Ok(())
    }

    /// Finishes a stage's state: round by round, the parts of each at the same time.
    async fn finish(self: &Arc<Self>, stage: Stage, crew: &mut Crew) -> Result<()> {
        loop {
            let parts = {
                let _doing = profile::doing(&self.lowered.program, stage, Work::Finish);
                self.run.finish_parts(stage).map_err(|error| self.failure(error))?
            };
            if parts == 0 {
                return Ok(());
            }
            let next = Arc::new(AtomicUsize::new(0));
            let tasks = (0..self.workers.min(parts)).map(|_| {
                let (core, next) = (Arc::clone(self), Arc::clone(&next));
                let work = async move {
                    loop {
                        let part = next.fetch_add(1, Ordering::Relaxed);
                        if part >= parts {
                            return Ok(());
                        }
                        {
                            let _doing = profile::doing(&core.lowered.program, stage, Work::Finish);
                            core.run.finish_part(stage, part).map_err(|error| core.failure(error))?;
                        }
                        tokio::task::yield_now().await;
                    }
                };
                work.boxed()
            });
            crew.run(tasks.collect()).await?;
        }
    }

    async fn drain_memory(self: Arc<Self>, stage: Stage, input: Input, task: usize) -> Result<()> {
        while let Some(piece) = self.claim(stage, task) {
            self.run_piece(stage, input, piece, task)?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn drain_stream(
        self: Arc<Self>,
        stage: Stage,
        input: Input,
        partition: usize,
        mut stream: SendableRecordBatchStream,
    ) -> Result<()> {
        let mut number = 0;
        while !self.is_stopped(stage) {
            let Some(batch) = stream.next().await else {
                self.same.end(input.index());
                break;
            };
            let batch = self.same.keep(input.index(), partition, batch?)?;
            self.run_batch(stage, &self.project(input, batch)?, (partition, number))?;
            number += 1;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Reads scans of later stages until the workers of this one are done. Not what a top-k below may still tell which rows it wants.
    async fn read_ahead(&self, stage: Stage, task: usize, workers: &Workers) {
        let program = &self.lowered.program;
        if self.workers == 1 || !self.lowered.top_ks.is_empty() {
            return;
        }
        for (later, decl) in program.stages.iter() {
            let Source::Input { input, .. } = decl.source else { continue };
            // What a stage hands over has no scan.
            let is_scan = self.scans.get(input.index()).is_some_and(|scan| scan.is::<DataSourceExec>());
            if later.index() <= stage.index() || !is_scan || self.is_memory(input) || self.same.is_second(input.index()) {
                continue;
            }
            let partitions = self.input_partitions(input);
            for partition in (0..partitions).map(|number| (task + number) % partitions) {
                if !workers.are_busy() {
                    return;
                }
                // What cannot be opened is the later stage's to complain of.
                if let Ok(Some(mut ahead)) = self.begun.take(input.index(), partition, || self.begin(input, partition)) {
                    ahead.read(workers).await;
                    self.begun.put(input.index(), partition, ahead);
                }
            }
        }
    }

    async fn drain_tables(self: Arc<Self>, stage: Stage, task: usize) -> Result<()> {
        while let Some(partition) = self.claim(stage, task) {
            let mut cursor = self.cursor(stage, partition)?;
            let mut number = 0;
            while !self.is_stopped(stage) && self.run_table(stage, &mut cursor, (partition, number))?.0 == Flow::More {
                number += 1;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Claims a piece of work of a stage for a task, that no other has.
    pub(crate) fn claim(&self, stage: Stage, task: usize) -> Option<usize> {
        if self.is_stopped(stage) { None } else { self.claims[stage.index()].claim(task) }
    }

    pub(crate) fn is_stopped(&self, stage: Stage) -> bool {
        self.stopped[stage.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn is_memory(&self, input: Input) -> bool {
        matches!(self.lowered.memory.get(input.index()), Some(Some(_)))
    }

    pub(crate) fn input_partitions(&self, input: Input) -> usize {
        self.scans[input.index()].output_partitioning().partition_count()
    }

    pub(crate) fn stream(&self, input: Input, partition: usize) -> Result<SendableRecordBatchStream> {
        if let Some(batches) = self.same.rows(input.index(), partition) {
            let schema = self.scans[input.index()].schema();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches))));
        }
        match self.begun.take(input.index(), partition, || self.begin(input, partition))? {
            Some(ahead) => Ok(ahead.into_stream()),
            None => Err(DataFusionError::Internal(format!("partition {partition} of {input} is read twice"))),
        }
    }

    fn begin(&self, input: Input, partition: usize) -> Result<SendableRecordBatchStream> {
        self.scans[input.index()].execute(partition, Arc::clone(&self.context))
    }

    /// Runs a piece of an in-memory input with the worker of a task, and yields what it emitted.
    pub(crate) fn run_piece(&self, stage: Stage, input: Input, number: usize, task: usize) -> Result<Vec<RecordBatch>> {
        let Piece { partition, batch, first, rows } = self.pieces[input.index()][number];
        match self.lowered.memory[input.index()].as_ref() {
            Some(Memory::Batches(batches)) => {
                let batch = &batches[partition][batch];
                let batch = if rows == batch.num_rows() { batch.clone() } else { batch.slice(first, rows) };
                self.run_batch_of(stage, self.run.worker_of(task), &batch, (0, number))
            }
            Some(Memory::Compact(table, columns)) => {
                let mut worker = self.run.worker_of(task);
                worker.set_place(0, number);
                let _doing = profile::doing(&self.lowered.program, stage, Work::Run);
                let flow = self.run.run_block(stage, &mut worker, (table, partition), columns, first, rows);
                self.note(stage, flow.map_err(|error| self.failure(error))?);
                Ok(worker.take_output())
            }
            None => Err(DataFusionError::Internal("pieces are cut from in-memory inputs only".to_string())),
        }
    }

    /// `Done` stops the stage for all.
    fn note(&self, stage: Stage, flow: Flow) {
        if flow == Flow::Done {
            self.stopped[stage.index()].store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn project(&self, input: Input, batch: RecordBatch) -> Result<RecordBatch> {
        let columns = &self.lowered.projections[input.index()];
        if columns.len() == batch.num_columns() && columns.iter().enumerate().all(|(i, column)| i == *column) {
            return Ok(batch);
        }
        Ok(batch.project(columns)?)
    }

    /// Runs a batch, and yields what it emitted. `place`: the partition of the source that it comes from, and as which of its batches.
    pub(crate) fn run_batch(&self, stage: Stage, batch: &RecordBatch, place: (usize, usize)) -> Result<Vec<RecordBatch>> {
        self.run_batch_of(stage, self.run.worker(), batch, place)
    }

    fn run_batch_of(
        &self,
        stage: Stage,
        mut worker: WorkerGuard<'_>,
        batch: &RecordBatch,
        place: (usize, usize),
    ) -> Result<Vec<RecordBatch>> {
        worker.set_place(place.0, place.1);
        let _doing = profile::doing(&self.lowered.program, stage, Work::Run);
        let flow = self.run.run_batch(stage, &mut worker, batch).map_err(|error| self.failure(error))?;
        self.note(stage, flow);
        for (told, top_k) in self.told.iter().zip(&self.lowered.top_ks) {
            told.tell(top_k, &self.lowered.program, &self.run)?;
        }
        Ok(worker.take_output())
    }

    pub(crate) fn cursor(&self, stage: Stage, partition: usize) -> Result<TableCursor> {
        // A partition of a group table is merged here.
        let _doing = profile::doing(&self.lowered.program, stage, Work::Run);
        self.run.table_cursor(stage, partition).map_err(|error| self.failure(error))
    }

    /// Runs the next rows of a table. `Done`: the cursor is at its end, or the stage needs no more rows.
    pub(crate) fn run_table(&self, stage: Stage, cursor: &mut TableCursor, place: (usize, usize)) -> Result<(Flow, Vec<RecordBatch>)> {
        let mut worker = self.run.worker();
        worker.set_place(place.0, place.1);
        let _doing = profile::doing(&self.lowered.program, stage, Work::Run);
        let flow = self.run.run_table(stage, &mut worker, cursor).map_err(|error| self.failure(error))?;
        Ok((flow, worker.take_output()))
    }
}

/// A partition of an ordered plan that has ended without a row: one row after all would be out of order among another partition's.
fn without_rows(stream: SendableRecordBatchStream, error: Arc<DataFusionError>) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let checked = stream.map(move |batch| match batch? {
        batch if batch.num_rows() > 0 => Err(DataFusionError::Shared(Arc::clone(&error))),
        batch => Ok(batch),
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, checked))
}

/// The values of the program's parameters, which are known by now.
fn params(lowered: &Lowered) -> Result<Vec<Datum>> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one_row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let value = |expr: &Arc<dyn PhysicalExpr>| {
        let value = match expr.evaluate(&one_row)? {
            ColumnarValue::Scalar(value) => value,
            ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
        };
        match datum(&value) {
            Some((_, datum)) => Ok(datum),
            None => Err(DataFusionError::Internal(format!("a parameter is {value}, of a type that stages do not have"))),
        }
    };
    lowered.params.iter().map(value).collect()
}

/// Memory of the session's pool.
#[derive(Debug)]
struct Budget(Mutex<MemoryReservation>);

impl MemoryBudget for Budget {
    fn resize(&self, bytes: usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).try_resize(bytes)?)
    }
}
