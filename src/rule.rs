//! The optimizer rule that puts [`CompiledExec`] into plans, and ways to add it to a session.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_expr::expressions::UnKnownColumn;
use datafusion::physical_expr::{Distribution, OrderingRequirements, Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::InterleaveExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::config::{Mode, StagefuseConfig};
use crate::exec::{CompiledExec, redistribute};
use crate::table::{NoteTables, TableNames};

/// Replaces every subtree of a physical plan that can be lowered by a [`CompiledExec`]. It must run last. [`StagefuseBuilder`] adds it, with its settings, and with
/// a rule that tells it what tables in memory are called, for the names of stages.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> datafusion::common::Result<()> {
/// use datafusion::prelude::SessionContext;
/// use datafusion::physical_optimizer::PhysicalOptimizerRule;
/// use stagefuse::StagefuseRule;
///
/// let context = SessionContext::new();
/// let plan = context.sql("SELECT sum(value) AS s FROM generate_series(1, 10)").await?.create_physical_plan().await?;
/// let plan = StagefuseRule::new().optimize(plan, context.state().config_options())?;
/// assert_eq!(plan.name(), "CompiledExec");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct StagefuseRule {
    names: Arc<TableNames>,
}

impl StagefuseRule {
    /// The rule.
    pub fn new() -> Self {
        StagefuseRule::default()
    }
}

impl PhysicalOptimizerRule for StagefuseRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let config = StagefuseConfig::of(config);
        if config.mode == Mode::Off {
            return Ok(plan);
        }
        Rewriting { config: &config, names: &self.names }.plan(&plan, false)
    }

    fn name(&self) -> &str {
        "stagefuse"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What rewriting goes by.
struct Rewriting<'a> {
    config: &'a StagefuseConfig,
    names: &'a Arc<TableNames>,
}

impl Rewriting<'_> {
    /// Rewrites a subtree. With `keep_hash` something above relies on its hash distribution: it is restored where a node would lose it.
    fn plan(&self, plan: &Arc<dyn ExecutionPlan>, keep_hash: bool) -> Result<Arc<dyn ExecutionPlan>> {
        if plan.is::<CompiledExec>() {
            return Ok(Arc::clone(plan));
        }
        if let Some(node) = CompiledExec::try_new(plan, self.config, self.names) {
            // The stages exchange rows among themselves, so that they need no distribution of their leaves.
            let children = node.children().into_iter().map(|child| self.plan(child, false)).collect::<Result<Vec<_>>>()?;
            let same = children.iter().zip(node.children()).all(|(new, old)| Arc::ptr_eq(new, old));
            let node: Arc<dyn ExecutionPlan> = Arc::new(if same { node } else { node.over(children) });
            // A key that has been projected away cannot be hashed again, and then the subtree's own operators stay.
            if !keep_hash {
                return Ok(node);
            } else if has_known_keys(plan.output_partitioning()) {
                return redistribute(plan, node);
            }
        }
        self.below(plan, keep_hash)
    }

    /// Rewrites what is below a node that stays.
    fn below(&self, plan: &Arc<dyn ExecutionPlan>, keep_hash: bool) -> Result<Arc<dyn ExecutionPlan>> {
        let distributions = plan.input_distribution_requirements().into_per_child();
        let orderings = plan.required_input_ordering();
        // An interleave asks for no distribution but is made only where its inputs have the same: without, it cannot be built.
        let interleaves = plan.is::<InterleaveExec>();
        // A repartition makes its own distribution; whatever else is hash-distributed has that from below. One partition has none.
        let passes_on = keep_hash && !plan.is::<RepartitionExec>() && plan.output_partitioning().partition_count() > 1;
        let mut children = vec![];
        for (i, child) in plan.children().into_iter().enumerate() {
            let by_key = interleaves
                || !matches!(distributions.get(i), None | Some(Distribution::UnspecifiedDistribution | Distribution::SinglePartition));
            let keeps = |new: &Arc<dyn ExecutionPlan>| -> Result<bool> {
                let partitioning = child.output_partitioning();
                let keeps_hash = !by_key || partitioning.partition_count() <= 1 || partitioning == new.output_partitioning();
                Ok(keeps_hash && is_ordered(new, orderings.get(i).and_then(Option::as_ref))?)
            };
            let mut new = self.plan(child, by_key || passes_on)?;
            if !keeps(&new)? {
                new = self.below(child, by_key || passes_on)?;
            }
            children.push(if keeps(&new)? { new } else { Arc::clone(child) });
        }
        replace_children_if_necessary(Arc::clone(plan), children)
    }
}

/// Whether rows could be distributed in that way again.
fn has_known_keys(partitioning: &Partitioning) -> bool {
    match partitioning {
        Partitioning::Hash(keys, _) => keys.iter().all(|key| !has_unknown_column(key)),
        _ => true,
    }
}

fn has_unknown_column(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.is::<UnKnownColumn>() || expr.children().into_iter().any(has_unknown_column)
}

/// Whether rows come in the order that is required. Asking for the output's ordering would not do: what is constant in each partition is
/// ordered by anything.
fn is_ordered(plan: &Arc<dyn ExecutionPlan>, required: Option<&OrderingRequirements>) -> Result<bool> {
    match required {
        Some(required) => plan.equivalence_properties().ordering_satisfy_requirement(required.clone().into_single()),
        None => Ok(true),
    }
}

/// Adds Stagefuse to a DataFusion session under construction.
///
/// ```
/// use datafusion::execution::SessionStateBuilder;
/// use datafusion::prelude::SessionContext;
/// use stagefuse::StagefuseBuilder;
///
/// let state = SessionStateBuilder::new_with_default_features().with_stagefuse().build();
/// let context = SessionContext::new_with_state(state);
/// assert!(context.state().physical_optimizers().iter().any(|rule| rule.name() == "stagefuse"));
/// ```
pub trait StagefuseBuilder: Sized {
    /// Adds the rule and its settings. Settings that the session's configuration already holds stay. Doing it twice is doing it once.
    fn with_stagefuse(self) -> Self;
}

impl StagefuseBuilder for SessionStateBuilder {
    fn with_stagefuse(mut self) -> Self {
        let config = self.config().get_or_insert_with(SessionConfig::new);
        let extensions = &mut config.options_mut().extensions;
        if extensions.get::<StagefuseConfig>().is_none() {
            extensions.insert(StagefuseConfig::default());
        }
        let known = self.physical_optimizers().as_ref().is_some_and(|all| all.rules.iter().any(|rule| rule.name() == "stagefuse"))
            || self.physical_optimizer_rules().as_ref().is_some_and(|all| all.iter().any(|rule| rule.name() == "stagefuse"));
        if known {
            return self;
        }
        let names = Arc::<TableNames>::default();
        self.with_analyzer_rule(Arc::new(NoteTables(Arc::clone(&names)))).with_physical_optimizer_rule(Arc::new(StagefuseRule { names }))
    }
}

/// Adds Stagefuse to an existing context; tables, functions and settings stay.
///
/// ```
/// use datafusion::prelude::SessionContext;
/// let ctx = stagefuse::with_stagefuse(SessionContext::new());
/// ```
pub fn with_stagefuse(context: SessionContext) -> SessionContext {
    SessionContext::new_with_state(context.into_state_builder().with_stagefuse().build())
}
