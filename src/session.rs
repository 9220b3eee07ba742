//! `Session`: SQL in, record batches out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{CsvReadOptions, DataFrame, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext};

use crate::config::{Mode, StagefuseConfig};
use crate::error::Error;
use crate::exec::{Progress, RowsProcessed, StageMetrics};
use crate::explain::{self, Codegen, Dump, Effort, Form};
use crate::profile;
use crate::report::{Report, Times};
use crate::rule::StagefuseBuilder;
use crate::sql::{self, Statement};
use crate::table::CachedTable;

/// A session: tables, settings, queries. Settings are changed by `SET`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stagefuse::Error> {
/// let session = stagefuse::Session::new();
/// let query = session.sql("SELECT sum(x) AS total FROM (VALUES (1), (2), (39)) AS t(x)").await?;
/// assert_eq!(query.collect().await?[0].num_rows(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    /// By name: what stood there before a table was cached.
    cached: Arc<Mutex<HashMap<String, Arc<dyn TableProvider>>>>,
}

/// Builds a [`Session`].
#[derive(Clone, Debug, Default)]
pub struct SessionBuilder {
    target_partitions: Option<usize>,
    mode: Option<Mode>,
}

impl SessionBuilder {
    /// How many partitions plans have and how many workers a stage gets. Without: one for each core.
    pub fn target_partitions(mut self, partitions: usize) -> Self {
        self.target_partitions = Some(partitions.max(1));
        self
    }

    /// How stages run.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The session.
    pub fn build(self) -> Session {
        let mut config = SessionConfig::new().with_information_schema(true);
        if let Some(partitions) = self.target_partitions {
            config = config.with_target_partitions(partitions);
        }
        let mut settings = StagefuseConfig::default();
        settings.mode = self.mode.unwrap_or(settings.mode);
        config = config.with_option_extension(settings);
        let state = SessionStateBuilder::new_with_default_features().with_config(config).with_stagefuse().build();
        Session { context: SessionContext::new_with_state(state), cached: Arc::default() }
    }
}

impl Default for Session {
    fn default() -> Self {
        Session::new()
    }
}

impl Session {
    /// A session with default settings.
    pub fn new() -> Session {
        SessionBuilder::default().build()
    }

    /// Builds a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// DataFusion's context, for everything that it can do.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Makes a Parquet file or folder a table.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn register_parquet(&self, table: &str, path: &str) -> Result<(), Error> {
        Ok(self.context.register_parquet(table, path, ParquetReadOptions::default()).await?)
    }

    /// Makes a CSV file or folder a table; the first line holds the names.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn register_csv(&self, table: &str, path: &str) -> Result<(), Error> {
        Ok(self.context.register_csv(table, path, CsvReadOptions::default()).await?)
    }

    /// Makes a file or folder of JSON, one object a line, a table.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn register_json(&self, table: &str, path: &str) -> Result<(), Error> {
        Ok(self.context.register_json(table, path, JsonReadOptions::default()).await?)
    }

    /// Makes record batches a table of one partition.
    ///
    /// # Errors
    /// Where there is no batch, or their schemas differ.
    pub fn register_batches(&self, table: &str, batches: Vec<RecordBatch>) -> Result<(), Error> {
        let schema = batches.first().ok_or_else(|| Error::usage("a table of batches takes at least one batch"))?.schema();
        let memory = MemTable::try_new(schema, vec![batches])?;
        self.context.register_table(table, Arc::new(memory))?;
        Ok(())
    }

    /// Reads a table and holds it in memory in compact columns from now on, under the same name: what `CACHE TABLE t` does. See [`CachedTable`].
    ///
    /// # Errors
    /// Where there is no such table, or it cannot be read.
    pub async fn cache_table(&self, table: &str) -> Result<CachedTable, Error> {
        let frame = self.context.table(table).await?;
        let schema = Arc::clone(frame.schema().inner());
        let before = self.context.table_provider(table).await?;
        let batches = frame.collect().await?;
        let partitions = self.context.state().config().target_partitions().max(1);
        let cached = CachedTable::try_new(schema, evenly(batches, partitions))?;
        self.context.deregister_table(table)?;
        self.context.register_table(table, Arc::new(cached.clone()))?;
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).entry(name_of(table)).or_insert(before);
        Ok(cached)
    }

    /// Puts back what stood under a table's name before it was cached: what `UNCACHE TABLE t` does.
    ///
    /// # Errors
    /// Where the table is not cached.
    pub fn uncache_table(&self, table: &str) -> Result<(), Error> {
        let before = self.cached.lock().unwrap_or_else(PoisonError::into_inner).remove(&name_of(table));
        let before = before.ok_or_else(|| Error::usage(format!("table {table} is not cached")))?;
        self.context.deregister_table(table)?;
        self.context.register_table(table, before)?;
        Ok(())
    }

    /// Plans a statement. Where the text holds several, all but the last are run; the last is the query.
    ///
    /// # Errors
    /// Where the text is wrong, or an earlier statement fails.
    pub async fn sql(&self, text: &str) -> Result<Query, Error> {
        let mut statements = sql::parse(text)?;
        let last = statements.pop().ok_or_else(|| Error::usage("no statement"))?;
        for statement in statements {
            self.plan(statement).await?.collect().await?;
        }
        self.plan(last).await
    }

    async fn plan(&self, statement: Statement) -> Result<Query, Error> {
        let (text, codegen) = match statement {
            Statement::Plain(text) => (text, None),
            Statement::ExplainCodegen(codegen, text) => (text, Some(codegen)),
            // These act at once, as SET does, and yield nothing.
            Statement::Cache(table) => {
                self.cache_table(&table).await?;
                return self.nothing();
            }
            Statement::Uncache(table) => {
                self.uncache_table(&table)?;
                return self.nothing();
            }
        };
        let start = Instant::now();
        let frame = self.context.sql(&text).await?;
        Ok(Query { text, frame, codegen, parsing: start.elapsed(), plan: Mutex::new(None) })
    }

    /// A query without columns or rows.
    fn nothing(&self) -> Result<Query, Error> {
        let frame = self.context.read_empty()?.limit(0, Some(0))?;
        Ok(Query { text: String::new(), frame, codegen: None, parsing: Duration::ZERO, plan: Mutex::new(None) })
    }
}

/// The name that two spellings of a table have in common.
fn name_of(table: &str) -> String {
    TableReference::parse_str(table).to_string()
}

/// Batches in partitions of about the same number of rows.
fn evenly(batches: Vec<RecordBatch>, partitions: usize) -> Vec<Vec<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut parts = vec![vec![]; partitions];
    let mut seen = 0;
    for batch in batches {
        parts[(seen * partitions / rows.max(1)).min(partitions - 1)].push(batch.clone());
        seen += batch.num_rows();
    }
    parts
}

/// A planned statement.
pub struct Query {
    text: String,
    frame: DataFrame,
    /// Time from text to logical plan.
    parsing: Duration,
    /// `EXPLAIN CODEGEN` of the query, and what to show.
    codegen: Option<Codegen>,
    /// The physical plan that ran last.
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl Query {
    /// Runs the query. It can be run again.
    ///
    /// # Errors
    /// What planning and running raise.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>, Error> {
        if let Some(codegen) = self.codegen {
            return Ok(vec![table(&self.codegen(codegen).await?)?]);
        }
        let plan = self.physical().await?;
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&plan));
        let mut batches = collect(Arc::clone(&plan), Arc::new(self.frame.task_ctx())).await?;
        if plan.is::<AnalyzeExec>() {
            self.add_stages(&plan, &mut batches)?;
        }
        Ok(batches)
    }

    /// `EXPLAIN CODEGEN` of the query.
    async fn codegen(&self, Codegen { effort, form }: Codegen) -> Result<Vec<(String, String)>, Error> {
        match form {
            Form::Html => Ok(vec![("html".to_string(), self.reported(effort).await?.html())]),
            Form::Json => Ok(vec![("json".to_string(), format!("{:#}", self.reported(effort).await?.json()))]),
            Form::Text | Form::Verbose | Form::Dump(_) => {
                let plan = self.physical().await?;
                match effort {
                    Effort::Plan => Ok(explain::sections(&plan, form, false)),
                    Effort::Analyze => {
                        self.run(Arc::clone(&plan)).await?;
                        Ok(explain::sections(&plan, form, true))
                    }
                    Effort::Profile => {
                        self.run(Arc::clone(&plan)).await?;
                        let mut sections = explain::sections(&plan, form, true);
                        sections.push(("profile".to_string(), explain::hot(self.profile().await?.json())));
                        Ok(sections)
                    }
                }
            }
        }
    }

    /// What the stages did, below what DataFusion says of a plan that it analysed.
    fn add_stages(&self, plan: &Arc<dyn ExecutionPlan>, batches: &mut Vec<RecordBatch>) -> Result<(), Error> {
        let Some(stages) = explain::stage_table(plan) else { return Ok(()) };
        let first = batches.first().filter(|batch| batch.num_columns() == 2 && batch.num_rows() > 0);
        let text = first.and_then(|batch| batch.column(1).as_string_opt::<i32>()).map(|texts| texts.value(0));
        // Whoever asked for JSON reads it with a parser.
        if let (Some(batch), Some(text)) = (first, text)
            && !text.trim_start().starts_with(['[', '{'])
        {
            let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["Stages"])), Arc::new(StringArray::from(vec![stages]))];
            batches.push(RecordBatch::try_new(batch.schema(), columns).map_err(DataFusionError::from)?);
        }
        Ok(())
    }

    /// A fresh physical plan.
    ///
    /// # Errors
    /// What planning raises.
    pub async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>, Error> {
        Ok(self.frame.clone().create_physical_plan().await?)
    }

    /// The plan in short and the stages, as text that fits a screen: engines, reasons of fallbacks, what each stage does. What `EXPLAIN CODEGEN` shows.
    ///
    /// # Errors
    /// What planning raises.
    pub async fn explain(&self) -> Result<String, Error> {
        Ok(explain::overview(&self.physical().await?, false))
    }

    /// Runs the query, its rows thrown away, and explains it with the rows and times of its stages. What `EXPLAIN CODEGEN ANALYZE` shows.
    ///
    /// # Errors
    /// What planning and running raise.
    pub async fn explain_analyze(&self) -> Result<String, Error> {
        let plan = self.physical().await?;
        self.run(Arc::clone(&plan)).await?;
        Ok(explain::overview(&plan, true))
    }

    /// The stages in some form.
    ///
    /// # Errors
    /// What planning raises.
    pub async fn dump(&self, dump: Dump) -> Result<String, Error> {
        Ok(text(&explain::sections(&self.physical().await?, Form::Dump(dump), false)))
    }

    /// Runs the query, its rows thrown away, and reports what became of it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stagefuse::Error> {
    /// # let session = stagefuse::Session::new();
    /// let query = session.sql("SELECT x + 1 AS y FROM (VALUES (1), (2)) AS t(x) WHERE x > 1").await?;
    /// let report = query.report().await?;
    /// assert_eq!(report.json()["schema"], "stagefuse-report");
    /// assert!(report.html().starts_with("<!doctype html>"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What planning and running raise.
    pub async fn report(&self) -> Result<Report, Error> {
        self.reported(Effort::Analyze).await
    }

    /// Runs the query again and again for about two seconds, its rows thrown away, and reports where the time goes, down to instructions.
    /// Every other run is without samples, so that the report says what measuring costs.
    ///
    /// # Errors
    /// What planning and running raise; where the machine has no profiles (they need Linux on x86-64 or aarch64), or another query is being profiled.
    pub async fn profile(&self) -> Result<Report, Error> {
        self.reported(Effort::Profile).await
    }

    /// Reports what would become of the query, without running it.
    ///
    /// # Errors
    /// What planning raises.
    pub async fn report_plan(&self) -> Result<Report, Error> {
        self.reported(Effort::Plan).await
    }

    async fn reported(&self, effort: Effort) -> Result<Report, Error> {
        let start = Instant::now();
        let mut physical = self.physical().await?;
        let mut times = Times { plan: self.parsing + start.elapsed(), run: None };
        let mut profile = None;
        match effort {
            Effort::Plan => {}
            Effort::Analyze => {
                // Compiled ahead, so that compiling does not count as running.
                explain::compiled_nodes(&physical).into_iter().for_each(|node| drop(node.stages()));
                let start = Instant::now();
                self.run(Arc::clone(&physical)).await?;
                times.run = Some(start.elapsed());
            }
            Effort::Profile => {
                let (measured, last) = profile::measure(|| self.physical(), |plan| self.run(plan)).await?;
                times.run = Some(last.took);
                physical = last.plan;
                profile = Some(measured);
            }
        }
        let config = StagefuseConfig::of(self.frame.task_ctx().session_config().options());
        Ok(Report::new(&self.text, &physical, &config, times, profile.as_ref()))
    }

    /// Runs a plan, its rows thrown away.
    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<(), Error> {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&plan));
        collect(plan, Arc::new(self.frame.task_ctx())).await?;
        Ok(())
    }

    /// What every stage is, and did when the query ran last, in plan order. Empty before the first run.
    ///
    /// # Errors
    /// None today.
    pub fn metrics(&self) -> Result<Vec<StageMetrics>, Error> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(plan.iter().flat_map(explain::compiled_nodes).flat_map(|node| node.stages()).collect())
    }

    /// How far the query has come, if it runs.
    pub fn progress(&self) -> Progress {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.as_ref().map(Progress::of).unwrap_or_default()
    }

    /// How many rows each engine processed when the query ran last.
    pub fn rows_processed(&self) -> RowsProcessed {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.as_ref().map(RowsProcessed::of).unwrap_or_default()
    }
}

fn table(sections: &[(String, String)]) -> Result<RecordBatch, Error> {
    let column = |name| Field::new(name, DataType::Utf8, false);
    let schema = Schema::new(vec![column("plan_type"), column("plan")]);
    let titles = StringArray::from_iter_values(sections.iter().map(|(title, _)| title));
    let texts = StringArray::from_iter_values(sections.iter().map(|(_, text)| text));
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(titles), Arc::new(texts)]).map_err(DataFusionError::from)?)
}

fn text(sections: &[(String, String)]) -> String {
    sections.iter().map(|(title, text)| format!("-- {title}\n{text}\n")).collect::<Vec<_>>().join("\n")
}
