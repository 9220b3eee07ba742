//! Runs a case by plain DataFusion, compiled and interpreted.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt, StreamExt};

use super::case::Case;
use super::compare::{Cell, Rows};
use super::doubt::{LOST_KEY, LOST_ZEROS, doubt, loses_zeros, takes_an_outer_join_for_constant};
use crate::config::StagefuseConfig;
use crate::exec::{EngineKind, StageMetrics};
use crate::explain::compiled_nodes;
use crate::rule::StagefuseBuilder;
use crate::table::CachedTable;

/// A query that takes longer is not looked at.
const MOST_TIME: Duration = Duration::from_secs(6);

/// An answer of more rows is not looked at.
const MOST_ROWS: usize = 200_000;

/// What runs a case.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// DataFusion alone.
    Plain,
    /// Stages run native.
    Compiled,
    /// Stages run interpreted.
    Interpreted,
}

impl Engine {
    /// The value of `stagefuse.mode`.
    pub fn mode(self) -> &'static str {
        match self {
            Engine::Plain => "off",
            Engine::Compiled => "compiled",
            Engine::Interpreted => "interpreted",
        }
    }
}

/// What an engine made of a case.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Rows.
    Rows(Rows),
    /// An error.
    Error(String),
    /// A panic.
    Panic(String),
    /// Nothing within the limits of time and rows.
    TooMuch,
}

impl Answer {
    /// Whether a value of its rows has this text.
    fn has(&self, text: &str) -> bool {
        let Answer::Rows(rows) = self else { return false };
        rows.rows.iter().flatten().any(|cell| matches!(cell, Cell::Exact(cell) if cell == text))
    }
}

/// Where the last panic came from.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Panics are answers from now on: not printed, but kept for the report.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

fn last_panic() -> String {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Sessions are made from this one, which has all functions.
pub struct Engines {
    state: SessionState,
}

impl Default for Engines {
    fn default() -> Self {
        Engines { state: SessionStateBuilder::new_with_default_features().with_stagefuse().build() }
    }
}

impl Engines {
    /// Runs a case, and tells what its stages ran on.
    pub async fn run(&self, case: &Case, engine: Engine) -> (Answer, Vec<StageMetrics>) {
        let mut stages = vec![];
        let run = AssertUnwindSafe(self.rows(case, engine, &mut stages)).catch_unwind();
        let answer = match tokio::time::timeout(MOST_TIME, run).await {
            Ok(Ok(Ok(Some(rows)))) => Answer::Rows(rows),
            Ok(Ok(Ok(None))) | Err(_) => Answer::TooMuch,
            Ok(Ok(Err(error))) => {
                let text = error.strip_backtrace();
                let panics = ["panicked", "JoinError::Panic", "task panicked"];
                if panics.iter().any(|sign| text.contains(sign)) {
                    Answer::Panic(format!("{text}; {}", last_panic()))
                } else {
                    Answer::Error(text)
                }
            }
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                Answer::Panic(format!("{}; {}", text.unwrap_or_default(), last_panic()))
            }
        };
        (answer, stages)
    }

    /// What is known to be wrong about DataFusion's plan for a case of which these are its answer and that of an engine, if anything is.
    pub async fn doubt(&self, case: &Case, answers: [&Answer; 2]) -> Option<&'static str> {
        let context = self.context(case, Engine::Plain, false).ok()?;
        let plan = context.sql(&case.query.to_string()).await.ok()?.create_physical_plan().await.ok()?;
        let lost = || (case.query.is_ordered() && takes_an_outer_join_for_constant(&plan)).then_some(LOST_KEY);
        let zeros = || (answers.iter().any(|answer| answer.has("-0.0")) && loses_zeros(&plan)).then_some(LOST_ZEROS);
        doubt(&plan).or_else(lost).or_else(zeros)
    }

    /// Whether DataFusion's operators fail over the tables that the other engines read: these have statistics, by which the optimizer may choose
    /// another side of a join, and so evaluate what it would not have come to.
    pub async fn fails_over_cached(&self, case: &Case) -> bool {
        let answer = async {
            let context = self.context(case, Engine::Plain, true)?;
            collect(context.sql(&case.query.to_string()).await?.create_physical_plan().await?, &context).await
        };
        matches!(tokio::time::timeout(MOST_TIME, AssertUnwindSafe(answer).catch_unwind()).await, Ok(Ok(Err(_))))
    }

    async fn rows(&self, case: &Case, engine: Engine, stages: &mut Vec<StageMetrics>) -> Result<Option<Rows>> {
        let context = self.context(case, engine, engine != Engine::Plain)?;
        let frame = context.sql(&case.query.to_string()).await?;
        let plan = frame.create_physical_plan().await?;
        let rows = collect(Arc::clone(&plan), &context).await;
        stages.extend(compiled_nodes(&plan).into_iter().flat_map(|node| node.stages()));
        let Some(batches) = rows? else { return Ok(None) };
        let schema = plan.schema();
        let types = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        Ok(Some(Rows::of(types, &batches, &case.query.loose_items())?))
    }

    fn context(&self, case: &Case, engine: Engine, cached: bool) -> Result<SessionContext> {
        let mut config = SessionConfig::new().with_option_extension(StagefuseConfig::default());
        for (name, value) in &case.settings {
            config.options_mut().set(name, value)?;
        }
        config.options_mut().set("stagefuse.mode", engine.mode())?;
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        let context = SessionContext::new_with_state(state);
        for table in &case.tables {
            let (schema, batches) = (table.schema(), table.batches()?);
            if table.layout.cached && cached {
                context.register_table(&table.name, Arc::new(CachedTable::try_new(schema, batches)?))?;
            } else {
                context.register_table(&table.name, Arc::new(MemTable::try_new(schema, batches)?))?;
            }
        }
        Ok(context)
    }
}

/// All rows, unless there are too many.
async fn collect(plan: Arc<dyn ExecutionPlan>, context: &SessionContext) -> Result<Option<Vec<RecordBatch>>> {
    let mut stream = execute_stream(plan, context.task_ctx())?;
    let (mut batches, mut rows) = (vec![], 0);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        batch.check()?;
        rows += batch.num_rows();
        if rows > MOST_ROWS {
            return Ok(None);
        }
        batches.push(batch);
    }
    Ok(Some(batches))
}

/// Whether arrays are what Arrow says that arrays are.
trait Check {
    fn check(&self) -> Result<()>;
}

impl Check for RecordBatch {
    fn check(&self) -> Result<()> {
        for column in self.columns() {
            column.to_data().validate_full().map_err(DataFusionError::from)?;
        }
        Ok(())
    }
}

/// Stages that ran native.
pub fn native(stages: &[StageMetrics]) -> usize {
    stages.iter().filter(|stage| stage.engine == EngineKind::Native).count()
}
