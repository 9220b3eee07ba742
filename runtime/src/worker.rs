//! Workers: what one task needs to run morsels, alone.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bumpalo::Bump;
use stagefuse_ir::abi::{COMPRESS, GroupsHead, JoinSlot, LimitHead, MAX_MORSEL_ROWS, OutHead, RowsHead, STR_INLINE, StrRef, WorkerHead};
use stagefuse_ir::layout::may_spread;
use stagefuse_ir::{EntityRef, Groups, Input, Sink, Stage};

use crate::builtins::strings;
use crate::emit::Output;
use crate::error::Error;
use crate::functions::Scratch;
use crate::interpreter::StagePlan;
use crate::run::Run;
use crate::run::shared::Shared;
use crate::tables::calls::Calls;
use crate::tables::groups::GroupTable;
use crate::tables::loose::may_loosen;
use crate::tables::rows::BuildRows;
use crate::tables::sort::SortRows;

/// A worker of a run. Generated code sees its head.
#[repr(C)]
pub struct Worker {
    pub(crate) head: WorkerHead,
    joins: Vec<JoinSlot>,
    groups: Vec<*mut GroupsHead>,
    operands: Vec<*mut OutHead>,
    limits: Vec<*const LimitHead>,
    sorts: Vec<*mut RowsHead>,
    /// In words, for the alignment of whatever lies there.
    selection: Box<[u64]>,
    output: Output,
    /// By input: buffers of the rows that stages hand over.
    handed: Vec<Option<Output>>,
    /// The input whose buffers the running stage fills; none where it fills the output's.
    hands: Option<Input>,
    /// Boxed: generated code holds addresses of their heads.
    rows: Vec<Option<Box<BuildRows>>>,
    tables: Vec<Option<Box<GroupTable>>>,
    sorted: Vec<Option<Box<SortRows>>>,
    /// Where the rows that come next stand in the source.
    place: u64,
    /// The task that it works for, if it is any's own.
    pub(crate) task: Option<usize>,
    arena: Bump,
    arena_counted: usize,
    /// Text that functions make.
    pub(crate) scratch: Scratch,
    scratch_counted: usize,
    error: Option<Error>,
    shared: Arc<Shared>,
}

// SAFETY: every address in a worker is that of something it owns, or that its run shares and keeps; one thread uses it at a time.
unsafe impl Send for Worker {}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Box<Self> {
        let program = &shared.program;
        let output = Output::new(&program.output, shared.schema.clone());
        let none = JoinSlot { rows: std::ptr::null_mut(), table: std::ptr::null() };
        let mut worker = Box::new(Worker {
            head: WorkerHead {
                joins: std::ptr::null(),
                groups: std::ptr::null(),
                limits: std::ptr::null(),
                literals: shared.literals.words.as_ptr(),
                matchers: std::ptr::null(),
                out: std::ptr::null_mut(),
                operands: std::ptr::null(),
                selection: std::ptr::null_mut(),
                compress: COMPRESS.as_ptr(),
                sorts: std::ptr::null(),
            },
            joins: vec![none; program.joins.len()],
            groups: vec![std::ptr::null_mut(); program.groups.len()],
            operands: vec![std::ptr::null_mut(); program.groups.len()],
            limits: shared.limits.iter().map(|limit| limit.get().cast_const()).collect(),
            sorts: vec![std::ptr::null_mut(); program.sorts.len()],
            selection: vec![0; MAX_MORSEL_ROWS / 2].into(),
            output,
            handed: program.inputs.keys().map(|_| None).collect(),
            hands: None,
            rows: program.joins.keys().map(|_| None).collect(),
            tables: program.groups.keys().map(|_| None).collect(),
            sorted: program.sorts.keys().map(|_| None).collect(),
            place: 0,
            task: None,
            arena: Bump::new(),
            arena_counted: 0,
            scratch: Scratch::default(),
            scratch_counted: 0,
            error: None,
            shared,
        });
        worker.head.joins = worker.joins.as_ptr();
        worker.head.groups = worker.groups.as_ptr();
        worker.head.limits = worker.limits.as_ptr();
        worker.head.sorts = worker.sorts.as_ptr();
        worker.head.selection = worker.selection.as_mut_ptr().cast();
        worker.head.operands = worker.operands.as_ptr();
        worker.head.out = &raw mut *worker.output.buffers.head;
        worker
    }

    /// The batches that emitting stages have made since the last call.
    pub fn take_output(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.output.batches)
    }

    /// Says where the rows of the next call stand in the stage's source: in which of its partitions, and as which of their pieces. A sort leaves rows
    /// with equal keys in this order, whoever has run them.
    pub fn set_place(&mut self, partition: usize, piece: usize) {
        // Room for 2^16 rows of a piece; where there are more, some equal rows come in another order.
        self.place = ((partition as u64) << 40).wrapping_add((piece as u64) << 16);
    }

    /// Makes ready for a stage: the tables that it writes exist, those that it probes are in place.
    pub(crate) fn enter(&mut self, stage: Stage) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let plan = &shared.stages[stage.index()];
        self.head.matchers = plan.matchers.as_ptr();
        self.hands = match &shared.program.stages[stage].sink {
            sink @ Sink::Hand { input, .. } => {
                let types = shared.program.out_columns(sink);
                let out = || Output::new(types, shared.handed_schema(types));
                self.handed[input.index()].get_or_insert_with(out);
                Some(*input)
            }
            _ => None,
        };
        self.head.out = &raw mut *self.out().buffers.head;
        for join in &plan.probes {
            let table = shared.joins[join.index()].get().filter(|table| table.is_cleared());
            let table = table.ok_or_else(|| Error::Internal(format!("{join} is read before it is built")))?;
            self.joins[join.index()].table = &raw const table.head;
        }
        if let Some(join) = plan.builds {
            let rows = self.rows[join.index()].get_or_insert_with(|| Box::new(BuildRows::new(shared.join_layouts[join.index()].stride)));
            self.joins[join.index()].rows = &raw mut rows.head;
        }
        if let Some(sort) = plan.sorts {
            let place = self.place.wrapping_add((stage.index() as u64) << 56);
            self.sorts[sort.index()] = shared.sorts[sort.index()].begin(&mut self.sorted[sort.index()], place);
        }
        if let Some(groups) = plan.groups {
            if self.tables[groups.index()].is_none() {
                let table = GroupTable::new(&shared.group_layouts[groups.index()], &shared.memory)?;
                let mut table = Box::new(table.with_front(plan.front, &shared.memory)?);
                table.place = self.place.wrapping_add((stage.index() as u64) << 56);
                let decl = &shared.program.groups[groups];
                table.spread.allowed = may_spread(decl);
                // Of one partition nothing is merged; a front holds distances of entries.
                table.loose.allowed = shared.partitions > 1 && plan.front == 0 && may_loosen(decl);
                if !decl.calls.is_empty() {
                    let calls = table.calls.insert(Box::new(Calls::new(decl, &shared.aggregates)?));
                    self.operands[groups.index()] = &raw mut *calls.buffers.head;
                }
                self.tables[groups.index()] = Some(table);
            }
            let table = self.tables[groups.index()].as_mut().expect("just made");
            self.groups[groups.index()] = &raw mut table.head;
        }
        Ok(())
    }

    /// Hands over what it built for a join.
    pub(crate) fn take_rows(&mut self, join: usize) -> Option<Box<BuildRows>> {
        self.joins[join].rows = std::ptr::null_mut();
        self.rows[join].take()
    }

    /// Hands over its table of groups.
    pub(crate) fn take_groups(&mut self, groups: usize) -> Option<Box<GroupTable>> {
        self.groups[groups] = std::ptr::null_mut();
        self.operands[groups] = std::ptr::null_mut();
        self.tables[groups].take()
    }

    /// Whether a stage may have stored references to arrays since [`Self::mark`]. Of a top-k most batches end with no row stored.
    pub(crate) fn has_stored(&self, plan: &StagePlan, mark: (usize, usize)) -> bool {
        plan.keeps_arrays && (!matches!(plan.decl.sink, Sink::Sort { .. }) || self.mark(plan) != mark)
    }

    /// How far the stage's sort has come.
    pub(crate) fn mark(&self, plan: &StagePlan) -> (usize, usize) {
        match &plan.decl.sink {
            Sink::Sort { sort, .. } => self.sorted[sort.index()].as_deref().map_or((0, 0), SortRows::mark),
            _ => (0, 0),
        }
    }

    /// Hands over what it collected for a sort.
    pub(crate) fn take_sorted(&mut self, sort: usize) -> Option<Box<SortRows>> {
        self.sorts[sort] = std::ptr::null_mut();
        self.sorted[sort].take()
    }

    /// Tells a table how far its source has come with the rows that follow, and how far it will. Its entries may move.
    pub(crate) fn note_rows(&mut self, groups: Groups, rows: u64, expected: u64) -> Result<(), Error> {
        let Some(table) = &mut self.tables[groups.index()] else { return Ok(()) };
        table.seen.expected = expected;
        table.consider_spreading(&self.shared.memory)?;
        table.consider_loosening(self.shared.merging(groups))?;
        table.seen.rows += rows;
        Ok(())
    }

    /// Adds a group; see the builtin `groups_insert`.
    pub(crate) fn insert_group(&mut self, groups: usize, hash: u64, key: Option<i64>) -> Result<*mut u8, Error> {
        let table = self.tables[groups].as_mut().ok_or_else(|| Error::Internal(format!("groups{groups} is not written here")))?;
        table.insert(hash, key, &self.shared.memory)
    }

    /// Makes room for a row; see the builtin `join_grow`.
    pub(crate) fn grow_rows(&mut self, join: usize) -> Result<(), Error> {
        let rows = self.rows[join].as_mut().ok_or_else(|| Error::Internal(format!("join{join} is not built here")))?;
        rows.grow(&self.shared.memory)
    }

    /// Makes room for a row; see the builtin `sort_grow`.
    pub(crate) fn grow_sorted(&mut self, sort: usize) -> Result<(), Error> {
        let rows = self.sorted[sort].as_mut().ok_or_else(|| Error::Internal(format!("sort{sort} is not written here")))?;
        self.shared.sorts[sort].grow(rows, &self.shared.memory)
    }

    /// Copies a long text into the arena; returns the new second word.
    pub(crate) fn intern(&mut self, lo: u64, hi: u64) -> u64 {
        if lo as u32 <= STR_INLINE {
            return hi;
        }
        let text = StrRef { lo, hi };
        // SAFETY: the caller's words are a text that is alive.
        self.arena.alloc_slice_copy(unsafe { strings::bytes(&text) }).as_ptr() as u64
    }

    /// Counts what the arena has taken since the last call. Once per morsel.
    pub(crate) fn count_arena(&mut self) -> Result<(), Error> {
        let held = self.arena.allocated_bytes();
        let scratch = self.scratch.bytes();
        // Scratch memory is used again and again: what it once took stays counted.
        let more = held - self.arena_counted + scratch.saturating_sub(self.scratch_counted);
        self.arena_counted = held;
        self.scratch_counted = self.scratch_counted.max(scratch);
        if more > 0 { self.shared.memory.grow(more) } else { Ok(()) }
    }

    /// The buffers of the running stage.
    fn out(&mut self) -> &mut Output {
        match self.hands {
            Some(input) => self.handed[input.index()].as_mut().expect("made when the stage was entered"),
            None => &mut self.output,
        }
    }

    /// Turns buffered rows into a batch.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        self.out().flush(&shared.arrays)
    }

    /// Rows that the running stage has flushed since the last call.
    pub(crate) fn take_flushed(&mut self) -> u64 {
        self.out().take_rows()
    }

    /// The batches that are to be handed over to an input's stage.
    pub(crate) fn take_handed(&mut self, input: Input) -> Vec<RecordBatch> {
        self.handed[input.index()].as_mut().map(|out| std::mem::take(&mut out.batches)).unwrap_or_default()
    }

    /// Whether a table has as many groups as anybody wants.
    pub(crate) fn has_enough(&self, groups: Option<Groups>) -> bool {
        let Some(groups) = groups else { return false };
        let (enough, table) = (self.shared.program.groups[groups].enough, &self.tables[groups.index()]);
        enough.is_some_and(|enough| table.as_ref().is_some_and(|table| table.rows() as u64 >= enough))
    }

    /// Forgets buffered rows: their stage failed, and what they refer to may be gone.
    pub(crate) fn discard(&mut self) {
        self.output.discard();
        for out in self.handed.iter_mut().flatten() {
            out.discard();
            out.batches.clear();
        }
        for calls in self.tables.iter_mut().flatten().filter_map(|table| table.calls.as_mut()) {
            calls.buffers.take_rows();
        }
    }

    /// Hands buffered operands to the host's functions; see the builtin `operands_flush`.
    pub(crate) fn flush_operands(&mut self, groups: usize) -> Result<(), Error> {
        let Some(table) = self.tables[groups].as_mut() else { return Ok(()) };
        let Some(calls) = &mut table.calls else { return Ok(()) };
        let decl = &self.shared.program.groups[Groups::new(groups)];
        calls.flush(decl, self.shared.group_layouts[groups].stride, &self.shared.memory, &self.shared.arrays)
    }

    /// Leaves an error; the first one stays.
    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// The error that waits.
    pub(crate) fn take_error(&mut self) -> Error {
        self.error.take().unwrap_or_else(|| Error::Internal("a stage failed without saying why".into()))
    }
}

/// A worker checked out of its run's pool; goes back when dropped. Never held across an await.
pub struct WorkerGuard<'a> {
    pub(crate) run: &'a Run,
    pub(crate) worker: Option<Box<Worker>>,
}

impl Deref for WorkerGuard<'_> {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.worker.as_deref().expect("there until dropped")
    }
}

impl DerefMut for WorkerGuard<'_> {
    fn deref_mut(&mut self) -> &mut Worker {
        self.worker.as_deref_mut().expect("there until dropped")
    }
}

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.run.put_back(worker);
        }
    }
}
