//! The session that a command works with, and what a statement became in it.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use stagefuse::{EngineKind, RowsProcessed, Session, StageMetrics};
use tokio::runtime::Handle;

use super::arguments::{Mode, SessionArguments};
use super::failure::Failure;
use super::tables;

/// A fresh session; with `threads`, plans have that many partitions.
pub fn open(threads: Option<usize>) -> Session {
    match threads {
        Some(threads) => Session::builder().target_partitions(threads).build(),
        None => Session::new(),
    }
}

/// A fresh session with the tables and the mode that the arguments name.
pub async fn begin(arguments: &SessionArguments) -> Result<Session, Failure> {
    let session = open(None);
    tables::register(session.context(), arguments.data.as_deref(), &arguments.tables).await?;
    set_mode(&session, arguments.mode).await?;
    Ok(session)
}

/// Runs every later query in this mode.
pub async fn set_mode(session: &Session, mode: Mode) -> Result<(), Failure> {
    session.sql(&format!("SET stagefuse.mode = '{mode}'")).await?.collect().await?;
    Ok(())
}

/// The rows of a statement.
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// Runs one statement, which may be one of Stagefuse's own.
pub async fn run(session: &Session, statement: &str) -> Result<Answer, Failure> {
    let query = session.sql(statement).await?;
    let batches = query.collect().await?;
    let schema = match batches.first() {
        Some(batch) => batch.schema(),
        None => query.schema(),
    };
    Ok(Answer { schema, batches })
}

/// What happened to the compiled parts of a plan.
#[derive(Clone, Debug, Default)]
pub struct Compilation {
    pub compile_time: Duration,
    pub code_bytes: usize,
    pub stages: usize,
    pub native_stages: usize,
    pub fallbacks: Vec<String>,
    /// Rows by engine.
    pub rows: RowsProcessed,
    /// Every stage with what it did.
    pub of_stages: Vec<StageMetrics>,
}

/// One run of a text of statements, from SQL to the last batch.
pub struct Timed {
    pub batches: Vec<RecordBatch>,
    /// SQL to physical plan, of all statements.
    pub plan_time: Duration,
    /// SQL to code that runs, of all statements, by the clock: several threads compile.
    pub ready_time: Duration,
    pub time: Duration,
    pub compilation: Compilation,
}

/// Runs statements and keeps the rows of the one that has columns; every statement counts in the times.
///
/// In a task of the runtime's workers, those of `on`: a thread that only waits for them would move them about between the processors.
pub async fn run_timed(on: &Handle, session: &Session, statements: &[String]) -> Result<Timed, Failure> {
    let (session, statements) = (session.clone(), statements.to_vec());
    let timed = on.spawn(async move { run_here(&session, &statements).await }).await;
    timed.map_err(|error| Failure::new(error.to_string()))?
}

async fn run_here(session: &Session, statements: &[String]) -> Result<Timed, Failure> {
    let start = Instant::now();
    let mut timed = Timed {
        batches: vec![],
        plan_time: Duration::ZERO,
        ready_time: Duration::ZERO,
        time: Duration::ZERO,
        compilation: Compilation::default(),
    };
    let mut queries = vec![];
    for statement in statements {
        let query = session.sql(statement).await?;
        let batches = query.collect().await?;
        timed.plan_time += query.planning_time();
        if !query.schema().fields().is_empty() {
            timed.batches = batches;
        }
        queries.push(query);
    }
    timed.time = start.elapsed();
    timed.ready_time = timed.plan_time;
    for query in &queries {
        timed.ready_time += query.compiling_time();
        add_compilation(&query.metrics()?, &mut timed.compilation);
        timed.compilation.rows += query.rows_processed();
    }
    Ok(timed)
}

fn add_compilation(stages: &[StageMetrics], total: &mut Compilation) {
    for stage in stages {
        total.compile_time += stage.compile_time;
        total.code_bytes += stage.code_bytes;
        total.stages += 1;
        total.native_stages += usize::from(stage.engine == EngineKind::Native);
        total.fallbacks.extend(stage.fallback.as_ref().map(|reason| reason.to_string()));
        total.of_stages.push(stage.clone());
    }
}
