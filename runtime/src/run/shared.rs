//! What all workers of a run share.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::datatypes::{Field, Schema, SchemaRef};
use stagefuse_ir::abi::{LimitHead, MAX_MORSEL_ROWS};
use stagefuse_ir::layout::{RowLayout, coded_keys};
use stagefuse_ir::{EntityRef, Groups, Input, Join, Program, Sink, Sort, Source, Stage, Type};

use crate::arrays::Arrays;
use crate::config::{Engine, HostAggregate, OpaqueExpr, RunConfig, Sizes};
use crate::error::Error;
use crate::interpreter::StagePlan;
use crate::literals::Literals;
use crate::matchers::{Matcher, prepare};
use crate::memory::Memory;
use crate::tables::groups::GroupTable;
use crate::tables::join::SharedJoin;
use crate::tables::merge::{Merging, Tables};
use crate::tables::sort::SharedSort;

/// One stage of a run.
pub(crate) struct StageState {
    pub(crate) engine: Engine,
    /// What the interpreter prepared.
    pub(crate) plan: StagePlan,
    /// By value; null where the operation takes none.
    pub(crate) matchers: Vec<*const u8>,
    _matchers: Vec<Option<Box<Matcher>>>,
    /// The join tables that it probes or reads.
    pub(crate) probes: Vec<Join>,
    /// The join table that it builds.
    pub(crate) builds: Option<Join>,
    /// The group table that it writes.
    pub(crate) groups: Option<Groups>,
    /// The sort that it writes.
    pub(crate) sorts: Option<Sort>,
    /// Places of the group table's front.
    pub(crate) front: usize,
    /// The stage that it hands its rows to.
    pub(crate) hands_to: Option<(Input, Stage)>,
    /// Whether no later stage writes the same state.
    pub(crate) last_writer: bool,
    /// Morsels so far, where engines take turns.
    pub(crate) morsels: AtomicU64,
    /// Rows that each worker will have run through it in the end; zero where that is not known.
    pub(crate) expected: AtomicU64,
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_ahead: AtomicU64,
    pub(crate) rows_out: AtomicU64,
    pub(crate) nanos: AtomicU64,
}

/// A group table: the workers' tables once they are done, and the partitions merged so far.
pub(crate) struct SharedGroups {
    /// Until all partitions are merged.
    workers: Mutex<Option<Tables>>,
    merged: Vec<Mutex<Option<Arc<GroupTable>>>>,
    /// Groups that were not counted before the workers' tables were merged.
    found: OnceLock<Arc<AtomicU64>>,
    /// Partitions that are not merged.
    left: AtomicUsize,
}

impl SharedGroups {
    fn new(partitions: usize) -> Self {
        let merged = (0..partitions).map(|_| Mutex::new(None)).collect();
        SharedGroups { workers: Mutex::new(None), merged, found: OnceLock::new(), left: AtomicUsize::new(partitions) }
    }

    /// Takes the workers' tables: from now on partitions can be read.
    pub(crate) fn complete(&self, of: Merging<'_>, tables: Vec<GroupTable>) -> Result<(), Error> {
        let tables = Tables::new(of, tables, self.merged.len())?;
        self.found.get_or_init(|| Arc::clone(&tables.found));
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(tables);
        Ok(())
    }

    /// How many groups merging has found so far that could not be counted before.
    pub(crate) fn found(&self) -> u64 {
        self.found.get().map_or(0, |found| found.load(Ordering::Relaxed))
    }

    /// A partition, merged on first use. After the last one the workers' tables go.
    pub(crate) fn partition(&self, of: Merging<'_>, at: usize) -> Result<Arc<GroupTable>, Error> {
        let mut merged = self.merged[at].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = &*merged {
            return Ok(Arc::clone(table));
        }
        let tables = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tables = tables.ok_or_else(|| Error::Internal("a group table is read before it is complete".into()))?;
        let table = tables.merge(of, at)?;
        *merged = Some(Arc::clone(&table));
        drop(tables);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let tables = self.workers.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A table that became the merged one as it is stays.
            of.memory.shrink(tables.map_or(0, Tables::into_held));
        }
        Ok(table)
    }
}

/// States and constants of a run.
pub(crate) struct Shared {
    pub(crate) program: Arc<Program>,
    pub(crate) schema: SchemaRef,
    pub(crate) opaques: Vec<Arc<dyn OpaqueExpr>>,
    pub(crate) arrays: Arc<Arrays>,
    pub(crate) aggregates: Vec<Arc<dyn HostAggregate>>,
    pub(crate) partitions: usize,
    pub(crate) literals: Literals,
    pub(crate) stages: Vec<StageState>,
    pub(crate) joins: Vec<SharedJoin>,
    pub(crate) join_layouts: Vec<RowLayout>,
    pub(crate) groups: Vec<SharedGroups>,
    pub(crate) group_layouts: Vec<RowLayout>,
    pub(crate) sorts: Vec<SharedSort>,
    /// Cells: generated code counts in them, atomically.
    pub(crate) limits: Vec<UnsafeCell<LimitHead>>,
    pub(crate) memory: Memory,
}

// SAFETY: addresses in it are those of matchers that it owns, which only are read; native code's owner is `Send + Sync`.
unsafe impl Send for Shared {}
// SAFETY: what changes after the start is atomic, locked, or set once.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(config: RunConfig, sizes: Sizes) -> Result<Self, Error> {
        let RunConfig { program, engines, host_types, opaques, aggregates, params, dictionaries, schema, partitions, memory } = config;
        let host = opaques.len() == program.opaques.len() && aggregates.len() == program.aggregates.len();
        if engines.len() != program.stages.len() || !host || schema.fields().len() != program.output.len() {
            return Err(Error::Internal("engines, expressions and functions of the host, or schema do not fit the program".into()));
        }
        if host_types.len() != program.host_types.len() {
            return Err(Error::Internal("host types do not fit the program".into()));
        }
        if partitions == 0 {
            return Err(Error::Internal("a run has one partition at least".into()));
        }
        let Sizes { morsel_rows, first_slots, first_rows, part_rows, clear_bytes, .. } = sizes;
        if !(1..=MAX_MORSEL_ROWS).contains(&morsel_rows)
            || !first_slots.is_power_of_two()
            || first_slots < 2
            || first_rows == 0
            || !(1..=1 << 16).contains(&part_rows)
            || clear_bytes == 0
        {
            return Err(Error::Internal(format!("{sizes:?} are not sizes that a run can have")));
        }
        let literals = Literals::new(&program, &params, dictionaries)?;
        let stages = engines.into_iter().zip(program.stages.keys());
        let stages = stages.map(|(engine, stage)| StageState::new(&program, stage, engine, &literals)).collect();
        Ok(Shared {
            stages,
            joins: program.joins.keys().map(|_| OnceLock::new()).collect(),
            join_layouts: program.joins.values().map(RowLayout::join).collect(),
            groups: program.groups.keys().map(|_| SharedGroups::new(partitions)).collect(),
            group_layouts: program.groups.values().map(RowLayout::groups).collect(),
            sorts: program.sorts.values().map(SharedSort::new).collect(),
            limits: program.limits.keys().map(|_| UnsafeCell::new(LimitHead { seen: 0 })).collect(),
            memory: Memory::with_sizes(memory, sizes),
            schema,
            opaques,
            arrays: Arc::new(Arrays::new(host_types)),
            aggregates,
            partitions,
            literals,
            program,
        })
    }
}

impl Shared {
    /// A schema of columns of these types, as stages read them.
    pub(crate) fn handed_schema(&self, types: &[Type]) -> SchemaRef {
        let fields = types.iter().map(|ty| Field::new("", self.arrays.arrow_type(ty.sql), ty.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// What merging a group table takes.
    pub(crate) fn merging(&self, groups: Groups) -> Merging<'_> {
        let layout = &self.group_layouts[groups.index()];
        let literals = &self.program.literals;
        Merging {
            decl: &self.program.groups[groups],
            literals,
            layout,
            hosts: &self.aggregates,
            memory: &self.memory,
            arrays: &self.arrays,
        }
    }
}

impl StageState {
    fn new(program: &Program, stage: Stage, engine: Engine, literals: &Literals) -> Self {
        let decl = &program.stages[stage];
        let matchers = prepare(program, decl, &literals.words);
        let mut probes: Vec<Join> = decl.probes().map(|probe| probe.join).collect();
        if let Source::Join(join, _) = decl.source {
            probes.push(join);
        }
        let state = |sink: &Sink| match sink {
            Sink::Build { join, .. } => (Some(*join), None, None),
            Sink::Group { groups, .. } => (None, Some(*groups), None),
            Sink::Sort { sort, .. } => (None, None, Some(*sort)),
            Sink::Mark { .. } | Sink::Hand { .. } | Sink::Emit { .. } => (None, None, None),
        };
        let written = state(&decl.sink);
        let last_writer = program.stages.iter().all(|(other, decl)| other <= stage || state(&decl.sink) != written);
        StageState {
            engine,
            plan: StagePlan::new(program, stage),
            matchers: matchers.iter().map(|m| m.as_deref().map_or(std::ptr::null(), |m| (&raw const *m).cast())).collect(),
            _matchers: matchers,
            probes,
            builds: written.0,
            groups: written.1,
            sorts: written.2,
            front: coded_keys(program, stage).map_or(0, |coded| coded.places),
            hands_to: match decl.sink {
                Sink::Hand { input, .. } => program.reader(input).map(|reader| (input, reader)),
                _ => None,
            },
            last_writer,
            morsels: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            rows_in: AtomicU64::new(0),
            rows_ahead: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        }
    }
}
