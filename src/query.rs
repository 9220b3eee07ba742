//! `Query`: a statement that can be run, explained and reported.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::{ExecutionPlan, collect};

use crate::config::StagefuseConfig;
use crate::error::Error;
use crate::exec::{Progress, RowsProcessed, StageMetrics};
use crate::explain::{self, Codegen, Dump, Effort, Form};
use crate::plans::Planned;
use crate::profile;
use crate::report::{Report, Times};

/// A planned statement. It runs when its rows are asked for, and tells then what its stages did.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stagefuse::Error> {
/// # let session = stagefuse::Session::new();
/// let query = session.sql("SELECT value % 2 AS odd, count(*) AS n FROM generate_series(1, 9) GROUP BY value % 2").await?;
/// assert_eq!(query.schema().fields().len(), 2);
/// assert!(query.explain().await?.contains("scan"));
/// let rows: usize = query.collect().await?.iter().map(|batch| batch.num_rows()).sum();
/// assert_eq!((rows, query.metrics()?.len()), (2, 2));
/// # Ok(())
/// # }
/// ```
pub struct Query {
    text: String,
    planned: Arc<Planned>,
    /// Time from text to logical plan.
    parsing: Duration,
    /// `EXPLAIN CODEGEN` of the query, and what to show.
    codegen: Option<Codegen>,
    last: Mutex<Option<Execution>>,
}

/// A run of a query.
struct Execution {
    plan: Arc<dyn ExecutionPlan>,
    /// Time from logical to physical plan.
    planning: Duration,
    /// Whether it has come to its end.
    complete: bool,
}

impl Query {
    pub(crate) fn new(text: String, planned: Arc<Planned>, codegen: Option<Codegen>, parsing: Duration) -> Query {
        Query { text, planned, parsing, codegen, last: Mutex::default() }
    }

    /// Runs the query. It can be run again.
    ///
    /// # Errors
    /// What planning and running raise.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>, Error> {
        if let Some(codegen) = self.codegen {
            return Ok(vec![table(&self.codegen(codegen).await?)?]);
        }
        self.let_go();
        let start = Instant::now();
        let plan = self.planned.physical().await?;
        let mut batches = self.execute(&plan, start.elapsed()).await?;
        if plan.is::<AnalyzeExec>() {
            self.add_stages(&plan, &mut batches)?;
        }
        Ok(batches)
    }

    /// Runs a plan, which took `planning` to make.
    async fn execute(&self, plan: &Arc<dyn ExecutionPlan>, planning: Duration) -> Result<Vec<RecordBatch>, Error> {
        *self.last() = Some(Execution { plan: Arc::clone(plan), planning, complete: false });
        let batches = collect(Arc::clone(plan), self.planned.context()).await?;
        self.last().iter_mut().for_each(|last| last.complete = true);
        Ok(batches)
    }

    fn last(&self) -> MutexGuard<'_, Option<Execution>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the plan of the last run be run by another query of the same text.
    fn let_go(&self) {
        let last = self.last().take();
        if let Some(Execution { plan, complete: true, .. }) = last {
            self.planned.give_back(plan);
        }
    }

    /// `EXPLAIN CODEGEN` of the query.
    async fn codegen(&self, Codegen { effort, form }: Codegen) -> Result<Vec<(String, String)>, Error> {
        match form {
            Form::Html => Ok(vec![("html".to_string(), self.reported(effort).await?.html())]),
            Form::Json => Ok(vec![("json".to_string(), format!("{:#}", self.reported(effort).await?.json()))]),
            Form::Text | Form::Verbose | Form::Dump(_) => {
                let plan = self.compiled().await?;
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

    /// A physical plan that nobody else runs.
    ///
    /// # Errors
    /// What planning raises.
    pub async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>, Error> {
        Ok(self.planned.unread().await?)
    }

    /// A physical plan whose stages have been compiled: who looks at them wants to see the code run, and compiling is not running.
    async fn compiled(&self) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let plan = self.physical().await?;
        explain::compile(&plan);
        Ok(plan)
    }

    /// The columns of the answer. `EXPLAIN CODEGEN` has others than the query that it explains.
    pub fn schema(&self) -> SchemaRef {
        match self.last().as_ref() {
            Some(last) => last.plan.schema(),
            None => Arc::clone(self.planned.frame().schema().inner()),
        }
    }

    /// Time from the text to the physical plan of the last run; to the logical plan before the first one.
    pub fn planning_time(&self) -> Duration {
        self.parsing + self.last().as_ref().map_or(Duration::ZERO, |last| last.planning)
    }

    /// Time from the physical plan of the last run to code that runs, by the clock: choosing engines and compiling, by several threads. It is shorter than
    /// the sum of the stages' [`StageMetrics::compile_time`], and nearly nothing where the code was found again.
    pub fn compiling_time(&self) -> Duration {
        let last = self.last();
        last.iter().flat_map(|last| explain::compiled_nodes(&last.plan)).filter_map(|node| node.compiling_time()).sum()
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
        let plan = self.compiled().await?;
        self.run(Arc::clone(&plan)).await?;
        Ok(explain::overview(&plan, true))
    }

    /// The stages in some form.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stagefuse::Error> {
    /// use stagefuse::{Dump, Mode, Session};
    ///
    /// let session = Session::builder().mode(Mode::Compiled).build();
    /// let query = session.sql("SELECT x + 1 AS y FROM (VALUES (1), (2)) AS t(x) WHERE x > 1").await?;
    /// assert!(query.dump(Dump::Ir).await?.contains("filter"));
    /// assert!(query.dump(Dump::Asm).await?.contains("ret"));
    /// # Ok(())
    /// # }
    /// ```
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
                explain::compile(&physical);
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
        let config = StagefuseConfig::of(self.planned.context().session_config().options());
        Ok(Report::new(&self.text, &physical, &config, times, profile.as_ref()))
    }

    /// Runs a plan, its rows thrown away.
    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<(), Error> {
        self.execute(&plan, Duration::ZERO).await.map(drop)
    }

    /// What every stage is, and did when the query ran last, in plan order. Empty before the first run.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stagefuse::Error> {
    /// use stagefuse::{EngineKind, Mode, Session};
    ///
    /// let session = Session::builder().mode(Mode::Compiled).build();
    /// let query = session.sql("SELECT sum(value) AS s FROM generate_series(1, 100) WHERE value > 40").await?;
    /// assert!(query.metrics()?.is_empty());
    /// query.collect().await?;
    /// let scan = &query.metrics()?[0];
    /// assert_eq!((scan.engine, scan.rows_in), (EngineKind::Native, 100));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// None today.
    pub fn metrics(&self) -> Result<Vec<StageMetrics>, Error> {
        Ok(self.last().iter().flat_map(|last| explain::compiled_nodes(&last.plan)).flat_map(|node| node.stages()).collect())
    }

    /// How far the query has come, if it runs.
    pub fn progress(&self) -> Progress {
        self.last().as_ref().map(|last| Progress::of(&last.plan)).unwrap_or_default()
    }

    /// How many rows each engine processed when the query ran last.
    pub fn rows_processed(&self) -> RowsProcessed {
        self.last().as_ref().map(|last| RowsProcessed::of(&last.plan)).unwrap_or_default()
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.let_go();
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
