//! `CompiledExec`: the plan node.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType, replace_children_if_necessary,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::future::BoxFuture;
use futures::future::WeakShared;
use stagefuse_ir::abi::MAX_MORSEL_ROWS;
use stagefuse_ir::{EntityRef, ProbeKind, Program, Source, StageDecl};

use stagefuse_runtime::Sizes;

use super::metrics::{EngineKind, Recorder, StageMetrics, metrics_set};
use super::output::output;
use super::run::{Breakers, Core, Outcome, Plan};
use super::stage::{Prepared, prepare};
use crate::config::StagefuseConfig;
use crate::explain::beside;
#[cfg(test)]
use crate::fallback::FallbackReason;
use crate::lower::{Lowered, lower};
use crate::profile::NodeCode;
use crate::table::TableNames;

/// A subtree of a plan that runs as a program of stages.
///
/// It keeps the subtree that it replaced: for its statistics, for being rebuilt over other children, and for whoever wants to run it plainly.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> datafusion::common::Result<()> {
/// use stagefuse::CompiledExec;
///
/// let context = stagefuse::with_stagefuse(datafusion::prelude::SessionContext::new());
/// let frame = context.sql("SELECT sum(value) AS s FROM generate_series(1, 10)").await?;
/// let plan = frame.create_physical_plan().await?;
/// let node = plan.downcast_ref::<CompiledExec>().expect("all of the plan is lowered");
/// assert_eq!(node.program().stages.len(), node.stages().len());
/// assert_eq!(node.original().schema(), plan.schema());
/// # Ok(())
/// # }
/// ```
pub struct CompiledExec {
    original: Arc<dyn ExecutionPlan>,
    lowered: Arc<Lowered>,
    /// What stands for the leaves of the lowered subtree, by input.
    children: Vec<Arc<dyn ExecutionPlan>>,
    config: StagefuseConfig,
    properties: Arc<PlanProperties>,
    lowering: Duration,
    prepared: Arc<OnceLock<Vec<Prepared>>>,
    compiling: OnceLock<Duration>,
    recorder: Arc<Recorder>,
    slot: Mutex<Slot>,
}

/// The execution that output partitions share.
#[derive(Default)]
struct Slot {
    /// Kept until every partition has been asked for: one that is drained and dropped must not start the run afresh for the next.
    core: Option<Arc<Core>>,
    /// Weak, so that dropping all streams ends the tasks.
    breakers: Option<WeakShared<BoxFuture<'static, Outcome>>>,
    /// Partitions that have been executed.
    taken: Vec<bool>,
    /// For metrics.
    live: Weak<Core>,
}

impl Slot {
    /// Joins the execution under way, unless the partition was executed already or the execution was abandoned.
    fn join(&mut self, partition: usize) -> Option<(Arc<Core>, Breakers)> {
        let core = self.core.clone()?;
        if self.taken.get(partition) != Some(&false) {
            return None;
        }
        let breakers = self.breakers.as_ref().and_then(WeakShared::upgrade).or_else(|| core.completed())?;
        Some((core, breakers))
    }
}

impl CompiledExec {
    /// Lowers a subtree. `None` where it holds something that cannot be lowered, or promises what the stages would not keep.
    pub(crate) fn try_new(original: &Arc<dyn ExecutionPlan>, config: &StagefuseConfig, names: &Arc<TableNames>) -> Option<CompiledExec> {
        let start = Instant::now();
        if original.boundedness().is_unbounded() {
            return None;
        }
        let lowered = match lower(original, config, names) {
            Ok(lowered) => lowered,
            Err(declined) => {
                tracing::trace!(node = original.name(), ?declined, "not lowered");
                return None;
            }
        };
        if original.output_ordering().is_some() && !keeps_order(&lowered.program) {
            return None;
        }
        let lowering = start.elapsed();
        let children = lowered.children.clone();
        Some(Self::assemble(Arc::clone(original), Arc::new(lowered), children, config.clone(), lowering, Arc::default()))
    }

    fn assemble(
        original: Arc<dyn ExecutionPlan>,
        lowered: Arc<Lowered>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        config: StagefuseConfig,
        lowering: Duration,
        prepared: Arc<OnceLock<Vec<Prepared>>>,
    ) -> CompiledExec {
        let partitions = original.output_partitioning().partition_count();
        let mut equivalences = original.equivalence_properties().clone();
        if !keeps_order(&lowered.program) {
            // What is constant in each partition of the subtree is not once rows have moved.
            equivalences.clear_orderings();
            equivalences.clear_per_partition_constants();
        }
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(partitions),
            if lowered.program.stages.keys().all(|stage| lowered.program.emits(stage)) {
                EmissionType::Incremental
            } else {
                EmissionType::Final
            },
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        CompiledExec {
            original,
            lowered,
            children,
            config,
            properties: Arc::new(properties),
            lowering,
            prepared,
            compiling: OnceLock::new(),
            recorder: Arc::default(),
            slot: Mutex::default(),
        }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.lowered.program
    }

    /// The subtree that was replaced.
    pub fn original(&self) -> &Arc<dyn ExecutionPlan> {
        &self.original
    }

    /// The number of the input that an operator of the replaced subtree is, and what stands for it; none for one that the stages took the place of.
    pub(crate) fn leaf(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<(usize, Arc<dyn ExecutionPlan>)> {
        let leaf = self.lowered.children.iter().position(|leaf| Arc::ptr_eq(leaf, plan))?;
        Some((leaf, Arc::clone(self.children.get(leaf)?)))
    }

    /// Time that lowering took.
    pub(crate) fn lowering_time(&self) -> Duration {
        self.lowering
    }

    /// The settings that were in force when the query was planned.
    pub fn config(&self) -> &StagefuseConfig {
        &self.config
    }

    /// What each stage is, and did so far.
    pub fn stages(&self) -> Vec<StageMetrics> {
        let recorder = self.recorder.snapshot();
        if let Some(core) = self.slot.lock().unwrap_or_else(PoisonError::into_inner).live.upgrade() {
            recorder.add(self.lowered.program.stages.keys().map(|stage| core.run.metrics(stage)));
        }
        recorder.stages(&self.lowered.program, self.prepared())
    }

    /// Tells every stage's reason from now on, as if the stages had given up.
    #[cfg(test)]
    pub(crate) fn pretend(&self, reason: FallbackReason) {
        self.recorder.retreat(reason);
    }

    /// Where the stages' machine code lies.
    pub(crate) fn code(&self) -> NodeCode {
        let of_stage = |prepared: &Prepared| prepared.compiled().map(|stage| stage.ranges().to_vec()).unwrap_or_default();
        NodeCode { program: Arc::as_ptr(self.program()) as usize, stages: self.prepared().iter().map(of_stage).collect() }
    }

    fn prepared(&self) -> &[Prepared] {
        self.prepared.get_or_init(|| prepare(&self.lowered, &self.config, 1, false))
    }

    /// The stages, being compiled by at most so many threads where that has not been done yet.
    fn prepare(&self, threads: usize) -> &[Prepared] {
        self.prepared.get_or_init(|| prepare(&self.lowered, &self.config, threads, true))
    }

    /// How long the node's first execution took to choose the engines of stages and to compile, by the clock.
    pub(crate) fn compiling_time(&self) -> Option<Duration> {
        self.compiling.get().copied()
    }

    /// The node over other children that yield the same rows: what the rule makes of its leaves.
    pub(crate) fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> CompiledExec {
        let (original, lowered, prepared) = (Arc::clone(&self.original), Arc::clone(&self.lowered), Arc::clone(&self.prepared));
        Self::assemble(original, lowered, children, self.config.clone(), self.lowering, prepared)
    }

    /// The replaced subtree with these leaves.
    fn rebuild(&self, children: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        replace_leaves(&self.original, &self.lowered.children, children)
    }

    /// In strict mode: an error that names the first stage that was not compiled.
    fn check_strict(&self) -> Result<()> {
        if !self.config.strict() {
            return Ok(());
        }
        for (decl, prepared) in self.lowered.program.stages.values().zip(self.prepared()) {
            if let Some(reason) = prepared.fallback().filter(|reason| !reason.is_choice()) {
                let name = &decl.name;
                return Err(DataFusionError::Plan(format!("stage `{name}` was not compiled, and stagefuse.fallback = false: {reason}")));
            }
        }
        Ok(())
    }

    fn start(&self, partition: usize, context: Arc<TaskContext>) -> Result<(Arc<Core>, Breakers)> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = self.properties.partitioning.partition_count();
        let (core, breakers) = match slot.join(partition) {
            Some(joined) => joined,
            None => {
                let engines = self.prepared().iter().map(Prepared::engine).collect();
                let plan = Plan {
                    original: Arc::clone(&self.original),
                    lowered: Arc::clone(&self.lowered),
                    children: self.children.clone(),
                    strict: self.config.strict(),
                    sizes: sizes(&self.config),
                };
                let core = Core::new(plan, engines, outputs, context, Arc::clone(&self.recorder))?;
                let breakers = core.breakers();
                *slot = Slot {
                    core: Some(Arc::clone(&core)),
                    breakers: breakers.downgrade(),
                    taken: vec![false; outputs],
                    live: Arc::downgrade(&core),
                };
                (core, breakers)
            }
        };
        slot.taken[partition] = true;
        if slot.taken.iter().all(|taken| *taken) {
            slot.core = None;
        }
        Ok((core, breakers))
    }
}

/// How much of what the runtime does at a time.
fn sizes(config: &StagefuseConfig) -> Sizes {
    let sizes = match config.test_paths.get() {
        0 => Sizes::default(),
        rows => Sizes::least(rows.min(MAX_MORSEL_ROWS)),
    };
    Sizes { hash_mask: config.hash_mask(), counted: config.test_metrics.get(), ..sizes }
}

/// Whether rows leave each partition in the order in which they came in, or in that of a sort.
fn keeps_order(program: &Program) -> bool {
    let mut emitting = program.stages.iter().filter(|(stage, _)| program.emits(*stage));
    // The interpreter yields the pairs of a join in an order of its own.
    let pairs = |decl: &StageDecl| decl.probes().any(|probe| matches!(probe.kind, ProbeKind::Inner | ProbeKind::Outer));
    let ordered = |source: &Source| matches!(source, Source::Input { partitioned: true, .. } | Source::Sort(_));
    let keeps = |decl: &StageDecl| ordered(&decl.source) && !pairs(decl);
    emitting.next().is_some_and(|(_, decl)| keeps(decl)) && emitting.all(|(stage, decl)| program.is_handed(stage) && !pairs(decl))
}

/// Replaces leaves of a subtree. A new leaf that lost the hash distribution of the old one gets it back.
pub(super) fn replace_leaves(
    plan: &Arc<dyn ExecutionPlan>,
    old: &[Arc<dyn ExecutionPlan>],
    new: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(leaf) = old.iter().position(|leaf| Arc::ptr_eq(leaf, plan)) {
        return redistribute(plan, Arc::clone(&new[leaf]));
    }
    let children = plan.children().into_iter().map(|child| replace_leaves(child, old, new)).collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(Arc::clone(plan), children)
}

/// Hash-partitions `new` as `old` was, where it no longer is.
pub(crate) fn redistribute(old: &Arc<dyn ExecutionPlan>, new: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    match old.output_partitioning() {
        partitioning @ Partitioning::Hash(_, partitions) if *partitions > 1 => match new.output_partitioning() {
            Partitioning::Hash(..) => Ok(new),
            _ => Ok(Arc::new(RepartitionExec::try_new(new, partitioning.clone())?)),
        },
        _ => Ok(new),
    }
}

impl fmt::Debug for CompiledExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledExec").field("original", &self.original).field("children", &self.children).finish_non_exhaustive()
    }
}

impl DisplayAs for CompiledExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the stages did is looked at, too: they may have given up.
        let stages = self.stages();
        let native = stages.iter().filter(|stage| stage.engine == EngineKind::Native).count();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "CompiledExec: stages={}, native={native}", stages.len())?;
                for (number, stage) in stages.iter().enumerate() {
                    write!(f, ", s{number}=[{}: {}{}", stage.name, stage.engine, beside(stage.opaque_expressions))?;
                    match &stage.fallback {
                        Some(reason) => write!(f, " because {reason}]")?,
                        None => f.write_str("]")?,
                    }
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "stages={}", stages.len())?;
                writeln!(f, "native={native}")?;
                for (number, stage) in stages.iter().enumerate() {
                    if let Some(reason) = &stage.fallback {
                        // The renderer splits at the first `=`, and lines are its own.
                        writeln!(f, "s{number} {}={}", stage.engine, reason.to_string().replace('=', "is"))?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl ExecutionPlan for CompiledExec {
    fn name(&self) -> &str {
        "CompiledExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        let program = &self.lowered.program;
        let keeps = keeps_order(program);
        let emits_input = |index: usize| {
            let mut sources = program.stages.iter().filter(|(stage, _)| program.emits(*stage)).map(|(_, decl)| decl.source);
            sources.any(|source| matches!(source, Source::Input { input, .. } if input.index() == index))
        };
        (0..self.children.len()).map(|index| keeps && emits_input(index)).collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children.len()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.children.iter().collect()
    }

    /// Reports the expressions of the replaced operators, too: a join above looks here for scans that use its dynamic filter.
    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        let mut pending = vec![&self.original];
        while let Some(node) = pending.pop() {
            if self.lowered.children.iter().any(|leaf| Arc::ptr_eq(leaf, node)) {
                continue;
            }
            if node.apply_expressions(f)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
            pending.extend(node.children());
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.children.len() {
            return Err(DataFusionError::Internal(format!("CompiledExec has {} children, not {}", self.children.len(), children.len())));
        }
        let alike = |i: usize| {
            let (old, new) = (&self.children[i], &children[i]);
            let streams = matches!(self.lowered.memory.get(i), None | Some(None));
            let partitions = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
            Arc::ptr_eq(old, new) || (streams && old.schema() == new.schema() && partitions(old) == partitions(new))
        };
        if (0..children.len()).all(alike) {
            return Ok(Arc::new(self.over(children)));
        }
        let original = self.rebuild(&children)?;
        match CompiledExec::try_new(&original, &self.config, &self.lowered.names) {
            Some(node) if node.schema() == self.schema() => Ok(Arc::new(node)),
            _ => Ok(original),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.over(self.children.clone())))
    }

    fn repartitioned(&self, _target_partitions: usize, _config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(None)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let outputs = self.properties.partitioning.partition_count();
        if partition >= outputs {
            return Err(DataFusionError::Internal(format!("CompiledExec has {outputs} partitions, no partition {partition}")));
        }
        self.compiling.get_or_init(|| {
            let start = Instant::now();
            self.prepare(context.session_config().target_partitions());
            start.elapsed()
        });
        self.check_strict()?;
        let (core, breakers) = self.start(partition, context)?;
        let stream = RecordBatchStreamAdapter::new(self.schema(), Box::pin(output(core, breakers, partition)));
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(metrics_set(&self.lowered.program, &self.stages(), self.lowering))
    }

    fn child_stats_requests(&self, _partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::Skip; self.children.len()]
    }

    /// The statistics of the replaced subtree. Partitions no longer hold the rows that they held, so only those of the whole are kept.
    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match args.partition() {
            None => StatisticsContext::new().compute(self.original.as_ref(), args),
            Some(_) => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}
