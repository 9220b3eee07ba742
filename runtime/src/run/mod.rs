//! One execution of a program.

pub(crate) mod shared;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{Array, ArrayRef, RecordBatch};
use stagefuse_ir::abi::{MAX_MORSEL_ROWS, Morsel, Status};
use stagefuse_ir::{EntityRef, Input, InputDecl, Sink, Sort, Source, Stage};

use crate::columns::Columns;
use crate::compact::CompactTable;
use crate::config::{Engine, RunConfig, Sizes};
use crate::error::Error;
use crate::interpreter;
use crate::tables::groups::GroupTable;
use crate::tables::join::JoinTable;
use crate::worker::{Worker, WorkerGuard};
use shared::Shared;

/// Bytes of a sort's rows that are copied at a time.
const SORT_BUFFER: usize = 1 << 20;

/// Whether a stage goes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There is more to do.
    More,
    /// The stage needs no more rows, or the cursor is at its end.
    Done,
}

/// What a stage did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct StageMetrics {
    /// Rows that its source yielded.
    pub rows_in: u64,
    /// Rows of these that the interpreter took while the stage was being compiled; see [`Engine::Awaited`].
    pub rows_ahead: u64,
    /// Rows that it emitted, built or, for group tables, that its state holds in the end.
    pub rows_out: u64,
    /// Time in its function, summed over all workers, in nanoseconds.
    pub nanos: u64,
}

/// One execution of a program: its states, and a pool of workers.
///
/// The host runs the stages in order. For each it hands over batches ([`Run::run_batch`]) or walks the partitions of a table
/// ([`Run::table_cursor`], [`Run::run_table`]), from as many tasks as it likes, then finishes it ([`Run::finish_parts`], [`Run::finish_part`]).
pub struct Run {
    // The workers go first: generated code's states hold addresses into what is shared.
    #[expect(clippy::vec_box, reason = "a worker must not move: its head holds addresses within it")]
    pool: Mutex<Vec<Box<Worker>>>,
    shared: Arc<Shared>,
}

/// A place in a partition of a table.
pub struct TableCursor {
    rows: CursorRows,
    stride: usize,
}

enum CursorRows {
    Groups {
        table: Arc<GroupTable>,
        next: usize,
    },
    Join {
        parts: Vec<(*mut u8, usize)>,
        next: usize,
    },
    /// Rows lie all over; they are copied to a buffer.
    Sort {
        sort: Sort,
        partition: usize,
        next: usize,
        buffer: Vec<u64>,
    },
}

// SAFETY: the addresses are those of rows of the run's join table, which outlives its cursors' use: `run_table` takes the run.
unsafe impl Send for TableCursor {}

impl Run {
    /// A fresh run.
    ///
    /// # Errors
    /// Where engines, opaque expressions or schema do not fit the program.
    pub fn new(config: RunConfig) -> Result<Arc<Self>, Error> {
        Run::with_sizes(config, Sizes::default())
    }

    /// A fresh run with other sizes than are good for speed.
    ///
    /// # Errors
    /// As [`Run::new`], and for sizes that are out of bounds.
    pub fn with_sizes(config: RunConfig, sizes: Sizes) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Run { pool: Mutex::new(vec![]), shared: Arc::new(Shared::new(config, sizes)?) }))
    }

    /// Checks a worker out.
    pub fn worker(&self) -> WorkerGuard<'_> {
        let pooled = self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let worker = pooled.unwrap_or_else(|| Worker::new(Arc::clone(&self.shared)));
        WorkerGuard { run: self, worker: Some(worker) }
    }

    /// Checks out the worker that a task always gets: what it builds comes from that task's rows alone.
    pub fn worker_of(&self, task: usize) -> WorkerGuard<'_> {
        let mut pool = self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let own = pool.iter().rposition(|worker| worker.task.is_none_or(|owner| owner == task));
        let pooled = own.map(|at| pool.swap_remove(at));
        drop(pool);
        let mut worker = pooled.unwrap_or_else(|| Worker::new(Arc::clone(&self.shared)));
        worker.task = Some(task);
        WorkerGuard { run: self, worker: Some(worker) }
    }

    pub(crate) fn put_back(&self, worker: Box<Worker>) {
        self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(worker);
    }

    /// Says how many rows each worker will have run through a stage in the end, about: from that, tables foresee how large they become.
    pub fn expect(&self, stage: Stage, rows: u64) {
        self.shared.stages[stage.index()].expected.store(rows, Ordering::Relaxed);
    }

    /// Runs a stage over a batch that has exactly the input's columns. Offset text and dictionaries are cast to what stages read.
    ///
    /// # Errors
    /// What the stage's operations raise.
    pub fn run_batch(&self, stage: Stage, worker: &mut Worker, batch: &RecordBatch) -> Result<Flow, Error> {
        let decl = &self.shared.program.inputs[self.input(stage)?];
        let mut columns = Columns::new(batch, decl, &self.shared.arrays)?;
        self.compute(decl, &mut columns, 0, batch.num_rows(), |column| Ok(Arc::clone(batch.column(column))))?;
        self.run_columns(stage, worker, columns, 0, batch.num_rows())
    }

    /// Runs a stage over rows of a partition of a compact table, of whose columns `columns` are the input's: `rows` rows from row `first` on.
    ///
    /// # Errors
    /// What the stage's operations raise.
    pub fn run_block(
        &self,
        stage: Stage,
        worker: &mut Worker,
        (table, partition): (&CompactTable, usize),
        columns: &[usize],
        first: usize,
        rows: usize,
    ) -> Result<Flow, Error> {
        let decl = &self.shared.program.inputs[self.input(stage)?];
        let block = table.partitions().get(partition).filter(|block| first + rows <= block.rows());
        let block = block.ok_or_else(|| Error::Internal(format!("no rows {first} to {} in partition {partition}", first + rows)))?;
        let mut of_block = Columns::of_block(block, columns, decl, &self.shared.arrays)?;
        let decode = |column: usize| Ok(Arc::clone(table.decode(partition, &[columns[column]], first, rows)?.column(0)));
        self.compute(decl, &mut of_block, first, rows, decode)?;
        self.run_columns(stage, worker, of_block, first, rows)
    }

    fn input(&self, stage: Stage) -> Result<Input, Error> {
        match self.shared.program.stages[stage].source {
            Source::Input { input, .. } => Ok(input),
            Source::Groups(_) | Source::Join(..) | Source::Sort(_) => Err(Error::Internal(format!("{stage} reads no batches"))),
        }
    }

    /// Adds the columns that the host computes; `given` yields the others, from row `first` on.
    fn compute(
        &self,
        decl: &InputDecl,
        columns: &mut Columns,
        first: usize,
        rows: usize,
        given: impl Fn(usize) -> Result<ArrayRef, Error>,
    ) -> Result<(), Error> {
        let mut results: Vec<ArrayRef> = vec![];
        for (computed, ty) in decl.computed.iter().zip(&decl.columns[decl.given()..]) {
            let args = computed.args.iter().map(|arg| match (*arg as usize).checked_sub(decl.given()) {
                Some(result) => Ok(Arc::clone(&results[result])),
                None => given(*arg as usize),
            });
            let args = args.collect::<Result<Vec<_>, Error>>()?;
            let result = self.shared.opaques[computed.opaque.index()].evaluate(&args, rows).map_err(Error::Opaque)?;
            if result.len() != rows || (!ty.nullable && result.logical_null_count() > 0) {
                let nulls = result.logical_null_count();
                return Err(Error::Internal(format!("{ty} for {rows} rows came as {} values, {nulls} of them null", result.len())));
            }
            columns.add(&result, *ty, first)?;
            results.push(result);
        }
        Ok(())
    }

    fn run_columns(&self, stage: Stage, worker: &mut Worker, mut columns: Columns, first: usize, rows: usize) -> Result<Flow, Error> {
        let mut flow = Flow::More;
        let mark = worker.mark(&self.shared.stages[stage.index()].plan);
        let most = self.shared.memory.sizes.morsel_rows;
        for at in (first..first + rows).step_by(most) {
            let rows = most.min(first + rows - at);
            let morsel = Morsel { rows: rows as u64, columns: columns.at(at).as_ptr(), entries: std::ptr::null_mut() };
            worker.enter(stage)?;
            // SAFETY: the views are of `rows` rows, which `columns` keeps alive.
            flow = unsafe { self.run_morsel(stage, worker, &morsel)? };
            // What has been handed over waits for as long as it must, so that it does not pile up.
            if flow == Flow::Done || self.hand_over(stage, worker)? == Flow::Done {
                flow = Flow::Done;
                break;
            }
        }
        if worker.has_stored(&self.shared.stages[stage.index()].plan, mark) {
            columns.held.keep(&self.shared.memory)?;
        }
        // Buffered rows may refer to the columns, so that they must be flushed before those go.
        if self.flush(stage, worker)? == Flow::Done { Ok(Flow::Done) } else { Ok(flow) }
    }

    /// A cursor over one partition of the table that a stage reads. Merges the partition of a group table where that has not been done.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn table_cursor(&self, stage: Stage, partition: usize) -> Result<TableCursor, Error> {
        let shared = &*self.shared;
        if partition >= shared.partitions {
            return Err(Error::Internal(format!("partition {partition} of {}", shared.partitions)));
        }
        match shared.program.stages[stage].source {
            Source::Input { .. } => Err(Error::Internal(format!("{stage} reads no table"))),
            Source::Groups(groups) => {
                let layout = &shared.group_layouts[groups.index()];
                let table = shared.groups[groups.index()].partition(shared.merging(groups), partition)?;
                Ok(TableCursor { rows: CursorRows::Groups { table, next: 0 }, stride: layout.stride as usize })
            }
            Source::Join(join, _) => {
                let table = shared.joins[join.index()].get();
                let table = table.ok_or_else(|| Error::Internal(format!("{join} is read before it is built")))?;
                let stride = shared.join_layouts[join.index()].stride as usize;
                let most = shared.memory.sizes.morsel_rows;
                let mut parts = vec![];
                for part in (partition..table.parts()).step_by(shared.partitions) {
                    let (base, rows) = table.part(part);
                    for first in (0..rows).step_by(most) {
                        parts.push((base.wrapping_add(first * stride), most.min(rows - first)));
                    }
                }
                Ok(TableCursor { rows: CursorRows::Join { parts, next: 0 }, stride })
            }
            Source::Sort(sort) => {
                let stride = shared.sorts[sort.index()].stride();
                Ok(TableCursor { rows: CursorRows::Sort { sort, partition, next: 0, buffer: vec![] }, stride })
            }
        }
    }

    /// Runs a stage over the next rows of a cursor.
    ///
    /// # Errors
    /// What the stage's operations raise.
    pub fn run_table(&self, stage: Stage, worker: &mut Worker, cursor: &mut TableCursor) -> Result<Flow, Error> {
        let (entries, rows) = match &mut cursor.rows {
            CursorRows::Groups { table, next } => {
                let rows = (table.rows() - *next).min(self.shared.memory.sizes.morsel_rows);
                if rows == 0 {
                    return Ok(Flow::Done);
                }
                *next += rows;
                (table.entry(*next - rows), rows)
            }
            CursorRows::Join { parts, next } => match parts.get(*next) {
                None => return Ok(Flow::Done),
                Some(part) => {
                    *next += 1;
                    *part
                }
            },
            CursorRows::Sort { sort, partition, next, buffer } => {
                let sort = &self.shared.sorts[sort.index()];
                let most = (SORT_BUFFER / sort.stride()).clamp(1024, MAX_MORSEL_ROWS).min(self.shared.memory.sizes.morsel_rows);
                let rows = (sort.partition_rows(*partition) - *next).min(most);
                if rows == 0 {
                    return Ok(Flow::Done);
                }
                sort.copy(*partition, *next..*next + rows, buffer);
                *next += rows;
                (buffer.as_mut_ptr().cast(), rows)
            }
        };
        debug_assert!(cursor.stride.is_multiple_of(8), "rows begin at multiples of 8");
        worker.enter(stage)?;
        let morsel = Morsel { rows: rows as u64, columns: std::ptr::null(), entries };
        // SAFETY: the rows lie next to each other in a table that the cursor or the run keeps.
        let flow = unsafe { self.run_morsel(stage, worker, &morsel)? };
        if self.flush(stage, worker)? == Flow::Done { Ok(Flow::Done) } else { Ok(flow) }
    }

    /// # Safety
    /// The morsel is one of the stage's source, alive until the call returns.
    unsafe fn run_morsel(&self, stage: Stage, worker: &mut Worker, morsel: &Morsel) -> Result<Flow, Error> {
        let state = &self.shared.stages[stage.index()];
        if let Some(groups) = state.groups {
            worker.note_rows(groups, morsel.rows, state.expected.load(Ordering::Relaxed))?;
        }
        let start = self.shared.memory.sizes.counted.then(Instant::now);
        let turns = self.shared.memory.sizes.alternate && state.morsels.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let (engine, ahead) = state.engine.now();
        let status = match engine {
            Engine::Native { .. } if turns => interpreter::run_morsel(&self.shared, &state.plan, worker, morsel) as i32,
            // SAFETY: the engine's function was compiled for this stage of this program; the worker has entered the stage.
            Engine::Native { function, .. } => unsafe { function(&raw mut worker.head, morsel) },
            Engine::Interpreted | Engine::Awaited(_) => interpreter::run_morsel(&self.shared, &state.plan, worker, morsel) as i32,
        };
        if ahead {
            state.rows_ahead.fetch_add(morsel.rows, Ordering::Relaxed);
        }
        if let Some(start) = start {
            state.rows_in.fetch_add(morsel.rows, Ordering::Relaxed);
            state.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        let counted = worker.count_arena();
        let flow = match status {
            s if s == Status::Ok as i32 => Ok(Flow::More),
            s if s == Status::Done as i32 => Ok(Flow::Done),
            _ => Err(worker.take_error()),
        };
        let flow = flow.and_then(|flow| counted.map(|()| if worker.has_enough(state.groups) { Flow::Done } else { flow }));
        if flow.is_err() {
            // The worker goes back to the pool, and the rows' text may refer to a batch that goes.
            worker.discard();
        }
        flow
    }

    /// Makes batches of the rows that a stage has buffered, and runs the stage that it hands them to; or hands buffered operands to the host.
    fn flush(&self, stage: Stage, worker: &mut Worker) -> Result<Flow, Error> {
        let decl = &self.shared.program.stages[stage];
        let mut flow = Flow::More;
        if let Some(groups) = self.shared.stages[stage.index()].groups {
            worker.flush_operands(groups.index())?;
        }
        if matches!(decl.sink, Sink::Emit { .. } | Sink::Hand { .. }) {
            worker.enter(stage)?;
            worker.flush()?;
            self.shared.stages[stage.index()].rows_out.fetch_add(worker.take_flushed(), Ordering::Relaxed);
            flow = self.hand_over(stage, worker)?;
        }
        // A stage that rows are handed to runs amid the one that hands them, whose rows may still wait in its buffers.
        let amid = matches!(decl.source, Source::Input { input, .. } if self.shared.program.inputs[input].handed);
        if !amid {
            worker.scratch.reset();
        }
        Ok(flow)
    }

    /// Runs the stage that another one hands its rows to over those that are there.
    fn hand_over(&self, stage: Stage, worker: &mut Worker) -> Result<Flow, Error> {
        let Some((input, reader)) = self.shared.stages[stage.index()].hands_to else { return Ok(Flow::More) };
        for batch in worker.take_handed(input) {
            if self.run_batch(reader, worker, &batch)? == Flow::Done {
                return Ok(Flow::Done);
            }
        }
        Ok(Flow::More)
    }

    /// After the last morsel of a stage, with every worker back: collects what it built, and tells how many parts are left to do. When
    /// they are done, it is asked again, until there are none.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn finish_parts(&self, stage: Stage) -> Result<usize, Error> {
        let state = &self.shared.stages[stage.index()];
        if !state.last_writer {
            return Ok(0);
        }
        let mut pool = self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &self.shared.program.stages[stage].sink {
            Sink::Build { join, .. } => {
                if let Some(table) = self.shared.joins[join.index()].get() {
                    return table.round();
                }
                let rows = pool.iter_mut().filter_map(|worker| worker.take_rows(join.index())).map(|rows| *rows).collect();
                let layout = &self.shared.join_layouts[join.index()];
                let table = Box::new(JoinTable::new(&self.shared.program.joins[*join], layout, rows, &self.shared.memory)?);
                let total: usize = (0..table.parts()).map(|part| table.part(part).1).sum();
                state.rows_out.store(total as u64, Ordering::Relaxed);
                // Nobody else has set it: the pool is locked.
                self.shared.joins[join.index()].get_or_init(|| table).round()
            }
            Sink::Group { groups, .. } => {
                let tables = pool.iter_mut().filter_map(|worker| worker.take_groups(groups.index())).map(|table| *table);
                let tables: Vec<GroupTable> = tables.collect();
                let counted = tables.iter().map(GroupTable::known);
                state.rows_out.store(counted.sum::<usize>() as u64, Ordering::Relaxed);
                self.shared.groups[groups.index()].complete(self.shared.merging(*groups), tables)?;
                Ok(0)
            }
            Sink::Sort { sort, .. } => {
                let rows = || pool.iter_mut().filter_map(|worker| worker.take_sorted(sort.index())).map(|rows| *rows).collect();
                let sort = &self.shared.sorts[sort.index()];
                let parts = sort.round(rows, self.shared.partitions, &self.shared.memory)?;
                state.rows_out.store(sort.rows() as u64, Ordering::Relaxed);
                Ok(parts)
            }
            Sink::Mark { .. } | Sink::Hand { .. } | Sink::Emit { .. } => Ok(0),
        }
    }

    /// Does one part of finishing a stage. Parts may run at the same time; when all are done and [`Run::finish_parts`] has no more, the stage's state can be read.
    ///
    /// # Errors
    /// Where the stage was not collected by [`Run::finish_parts`].
    pub fn finish_part(&self, stage: Stage, part: usize) -> Result<(), Error> {
        if let Some(join) = self.shared.stages[stage.index()].builds {
            let table = self.shared.joins[join.index()].get();
            let table = table.ok_or_else(|| Error::Internal(format!("{join} has not been collected")))?;
            table.finish(part);
        }
        if let Some(sort) = self.shared.stages[stage.index()].sorts {
            self.shared.sorts[sort.index()].part(part)?;
        }
        Ok(())
    }

    /// What is known of the first rows of a sort by now: a row whose first key has a greater [`stagefuse_ir::abi::sort_word`] is not among them.
    pub fn threshold(&self, sort: Sort) -> Option<u64> {
        self.shared.sorts[sort.index()].threshold()
    }

    /// What a stage has done so far.
    pub fn metrics(&self, stage: Stage) -> StageMetrics {
        let state = &self.shared.stages[stage.index()];
        let written = state.groups.filter(|_| state.last_writer);
        let found = written.map_or(0, |groups| self.shared.groups[groups.index()].found());
        StageMetrics {
            rows_in: state.rows_in.load(Ordering::Relaxed),
            rows_ahead: state.rows_ahead.load(Ordering::Relaxed),
            rows_out: state.rows_out.load(Ordering::Relaxed) + found,
            nanos: state.nanos.load(Ordering::Relaxed),
        }
    }
}
