//! The plan cache: physical plans of statements over cached tables and tables of files, for when the same text comes again.
//!
//! DataFusion plans a query of TPC-H in 1 to 6 ms, which is as long as many of them run. A plan is used again only where it would come
//! out the same: the text, the settings, functions and rules of the session, and every table that a name in it stands for are those that it was made with;
//! the tables are [`CachedTable`]s, whose rows never change, or [`ListingTable`]s, whose files are those that DataFusion would list now, unchanged; and nothing in it depends on
//! the time (`now()` is a literal by the time a plan is made).
//! One execution at a time has a plan, since operators of DataFusion keep their state in it; another execution of the same text plans afresh.
//!
//! Scans of files never forget their metrics. So a plan with such scans is kept only where stages read all of them, which count rows themselves, and for some runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;
use futures::future::join_all;

use crate::config::StagefuseConfig;
use crate::exec::CompiledExec;
use crate::table::CachedTable;

/// How often a plan with scans of files is run before it is made afresh: by then its metrics take about a megabyte.
const FILE_RUNS: usize = 100;

/// A statement that has been planned, at least logically.
pub(crate) struct Planned {
    frame: DataFrame,
    /// What the names in the text stood for; none where plans are not to be used again.
    tables: Option<Vec<(TableReference, Arc<dyn TableProvider>)>>,
    /// The files of tables of files, views' among them.
    files: Vec<(Arc<dyn TableProvider>, Vec<ObjectMeta>)>,
    idle: Mutex<Idle>,
    context: OnceLock<Arc<TaskContext>>,
}

/// A physical plan that nobody runs.
#[derive(Default)]
struct Idle {
    plan: Option<Arc<dyn ExecutionPlan>>,
    /// How often it has run.
    runs: usize,
}

impl Planned {
    /// A statement of which every physical plan is made afresh.
    pub(crate) fn once(frame: DataFrame) -> Arc<Planned> {
        Arc::new(Planned { frame, tables: None, files: vec![], idle: Mutex::default(), context: OnceLock::new() })
    }

    /// The logical plan, in its session.
    pub(crate) fn frame(&self) -> &DataFrame {
        &self.frame
    }

    /// What its executions are told of the session.
    pub(crate) fn context(&self) -> Arc<TaskContext> {
        Arc::clone(self.context.get_or_init(|| Arc::new(self.frame.task_ctx())))
    }

    /// A physical plan that nobody else runs. It may have run before.
    pub(crate) async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let idle = self.idle().plan.take();
        match idle {
            Some(plan) => Ok(plan),
            None => self.afresh().await,
        }
    }

    /// A physical plan that nobody else runs, with the metrics of nothing but what will be run.
    pub(crate) async fn unread(&self) -> Result<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() { self.physical().await } else { self.afresh().await }
    }

    async fn afresh(&self) -> Result<Arc<dyn ExecutionPlan>> {
        self.frame.clone().create_physical_plan().await
    }

    /// Takes a plan back that has run to its end. What its operators have in memory goes.
    pub(crate) fn give_back(&self, plan: Arc<dyn ExecutionPlan>) {
        // Whoever else holds it may run it.
        if self.tables.is_none() || Arc::strong_count(&plan) > 1 || !stages_read_files(&plan, false) {
            return;
        }
        let Ok(plan) = reset_plan_states(plan) else { return };
        let mut idle = self.idle();
        let is_worn = !self.files.is_empty() && idle.runs + 1 >= FILE_RUNS;
        *idle = if is_worn { Idle::default() } else { Idle { plan: Some(plan), runs: idle.runs + 1 } };
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the names in the text stand for the same tables as before, and these have the same files.
    async fn is_current(&self, context: &SessionContext) -> bool {
        let Some(tables) = &self.tables else { return false };
        for (name, table) in tables {
            match context.table_provider(name.clone()).await {
                Ok(now) if Arc::ptr_eq(&now, table) => {}
                _ => return false,
            }
        }
        if self.files.is_empty() {
            return true;
        }
        let state = context.state();
        let same = |(table, then): &(Arc<dyn TableProvider>, Vec<ObjectMeta>)| {
            let (table, then, state) = (Arc::clone(table), then.clone(), &state);
            async move { files_of(&table, state).await.is_ok_and(|now| now == then) }
        };
        join_all(self.files.iter().map(same)).await.into_iter().all(|same| same)
    }
}

/// The files of a table of files, as DataFusion lists them for a query, in the order of their names.
async fn files_of(table: &Arc<dyn TableProvider>, state: &dyn Session) -> Result<Vec<ObjectMeta>> {
    let mut files = vec![];
    let Some(table) = table.downcast_ref::<ListingTable>() else { return Ok(files) };
    for path in table.table_paths() {
        let store = state.runtime_env().object_store(path)?;
        let listed = path.list_all_files(state, store.as_ref(), &table.options().file_extension).await?;
        files.extend(listed.try_collect::<Vec<_>>().await?);
    }
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

/// Whether stages, and no operators of DataFusion's, read all scans of files of a plan.
fn stages_read_files(plan: &Arc<dyn ExecutionPlan>, below_stages: bool) -> bool {
    let is_file = |scan: &DataSourceExec| scan.data_source().is::<FileScanConfig>();
    let is_read = below_stages || !plan.downcast_ref::<DataSourceExec>().is_some_and(is_file);
    is_read && plan.children().into_iter().all(|child| stages_read_files(child, plan.is::<CompiledExec>()))
}

/// Statements of a session.
#[derive(Default)]
pub(crate) struct Plans(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// As it was when the statements were planned.
    session: Option<SessionState>,
    statements: HashMap<String, (u64, Arc<Planned>)>,
    /// Counts look-ups.
    clock: u64,
}

impl Plans {
    /// The statement of a text, if its plans would come out as they did before.
    pub(crate) async fn get(&self, context: &SessionContext, text: &str) -> Option<Arc<Planned>> {
        let planned = {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.statements.is_empty() {
                return None;
            }
            inner.look_around(&context.state_ref().read());
            inner.clock += 1;
            let clock = inner.clock;
            let (used, planned) = inner.statements.get_mut(text)?;
            *used = clock;
            Arc::clone(planned)
        };
        if planned.is_current(context).await {
            return Some(planned);
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).statements.remove(text);
        None
    }

    /// Plans a statement, and keeps it under its text where its plans can be used again.
    pub(crate) async fn plan(&self, context: &SessionContext, text: &str, statement: &str) -> Result<Arc<Planned>> {
        let state = context.state();
        let most = StagefuseConfig::of(state.config_options()).plan_cache.get();
        let statement = state.sql_to_statement(statement, &state.config_options().sql_parser.dialect)?;
        // Looked up ahead of planning: where one is changed for another meanwhile, the plan is taken for old, never for new.
        let mut tables = vec![];
        let names = if most > 0 { state.resolve_table_references(&statement)? } else { vec![] };
        let count = names.len();
        for name in names {
            // A name that stands for nothing is for the planner to complain of.
            if let Ok(table) = context.table_provider(name.clone()).await {
                tables.push((name, table));
            }
        }
        let plan = state.statement_to_plan(statement).await?;
        let mut tables_of_files = vec![];
        let mut lasts = !tables.is_empty() && tables.len() == count && lasts(&plan, &mut tables_of_files)?;
        let mut files = vec![];
        for table in tables_of_files {
            match files_of(&table, &state).await {
                Ok(listed) if lasts => files.push((table, listed)),
                _ => lasts = false,
            }
        }
        if !lasts {
            let changes_tables = matches!(plan, LogicalPlan::Ddl(_));
            let frame = context.execute_logical_plan(plan).await?;
            if changes_tables {
                self.sweep(context).await;
            }
            return Ok(Planned::once(frame));
        }
        let frame = context.execute_logical_plan(plan).await?;
        let planned = Arc::new(Planned { frame, tables: Some(tables), files, idle: Mutex::default(), context: OnceLock::new() });
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.look_around(&state);
        inner.clock += 1;
        let entry = (inner.clock, Arc::clone(&planned));
        inner.statements.insert(text.to_string(), entry);
        while inner.statements.len() > most {
            let Some(oldest) = inner.statements.iter().min_by_key(|(_, (used, _))| used).map(|(text, _)| text.clone()) else { break };
            inner.statements.remove(&oldest);
        }
        Ok(planned)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).statements.clear();
    }

    /// Forgets statements over tables that are no longer there: their plans would keep the rows in memory.
    async fn sweep(&self, context: &SessionContext) {
        let all: Vec<(String, Arc<Planned>)> = {
            let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.statements.iter().map(|(text, (_, planned))| (text.clone(), Arc::clone(planned))).collect()
        };
        for (text, planned) in all {
            if !planned.is_current(context).await {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).statements.remove(&text);
            }
        }
    }
}

impl Inner {
    /// Forgets everything where the session has changed.
    fn look_around(&mut self, state: &SessionState) {
        let same = self.session.as_ref().is_some_and(|then| is_same(then, state));
        if !same {
            self.statements.clear();
        }
        // Settings that were written, though they say the same, have a new address: the next look is quick again.
        if !same || self.session.as_ref().is_none_or(|then| !Arc::ptr_eq(then.config_options(), state.config_options())) {
            self.session = Some(state.clone());
        }
    }
}

/// Whether a session plans as it did before. Whatever is compared by address is held by `then`, so that nothing new can have it.
fn is_same(then: &SessionState, now: &SessionState) -> bool {
    fn lists<T: ?Sized>(then: &[Arc<T>], now: &[Arc<T>]) -> bool {
        then.len() == now.len() && then.iter().zip(now).all(|(then, now)| Arc::ptr_eq(then, now))
    }
    fn maps<T: ?Sized>(then: &HashMap<String, Arc<T>>, now: &HashMap<String, Arc<T>>, same: fn(&T, &T) -> bool) -> bool {
        let is_same = |then: &Arc<T>, now: &Arc<T>| Arc::ptr_eq(then, now) || same(then, now);
        then.len() == now.len() && then.iter().all(|(name, then)| now.get(name).is_some_and(|now| is_same(then, now)))
    }
    let (then_options, now_options) = (then.config_options(), now.config_options());
    (Arc::ptr_eq(then_options, now_options) || settings(then_options) == settings(now_options))
        && Arc::ptr_eq(then.runtime_env(), now.runtime_env())
        && Arc::ptr_eq(then.catalog_list(), now.catalog_list())
        && Arc::ptr_eq(then.query_planner(), now.query_planner())
        && lists(then.expr_planners(), now.expr_planners())
        && lists(&then.analyzer().rules, &now.analyzer().rules)
        && lists(then.optimizers(), now.optimizers())
        && lists(then.physical_optimizers(), now.physical_optimizers())
        // SET makes those anew that look at settings.
        && maps(then.scalar_functions(), now.scalar_functions(), |then, now| then == now)
        && maps(then.higher_order_functions(), now.higher_order_functions(), |_, _| false)
        && maps(then.aggregate_functions(), now.aggregate_functions(), |_, _| false)
        && maps(then.window_functions(), now.window_functions(), |_, _| false)
        && maps(then.table_functions(), now.table_functions(), |_, _| false)
}

fn settings(options: &ConfigOptions) -> Vec<(String, Option<String>)> {
    options.entries().into_iter().map(|entry| (entry.key, entry.value)).collect()
}

/// Whether planning a statement again gives the same plan, as long as its names stand for the same tables: it reads nothing but cached tables and tables of files,
/// which it adds to `files`, and has no function of the time or of chance, no variable and no parameter.
fn lasts(plan: &LogicalPlan, files: &mut Vec<Arc<dyn TableProvider>>) -> Result<bool> {
    let mut lasts = true;
    plan.apply_with_subqueries(|node| {
        lasts &= match node {
            LogicalPlan::TableScan(scan) => {
                let table = source_as_provider(&scan.source)?;
                match table.get_logical_plan() {
                    Some(view) => self::lasts(&view, files)?,
                    None if table.is::<ListingTable>() => {
                        files.push(table);
                        true
                    }
                    None => table.is::<CachedTable>(),
                }
            }
            LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Extension(_) => false,
            _ => true,
        };
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                lasts &= match expr {
                    Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
                    Expr::AggregateFunction(call) => call.func.signature().volatility == Volatility::Immutable,
                    Expr::HigherOrderFunction(_) | Expr::ScalarVariable(..) | Expr::Placeholder(_) => false,
                    _ => true,
                };
                Ok(if lasts { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })
    })?;
    Ok(lasts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Session;
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use datafusion::logical_expr::{ColumnarValue, create_udf};

    const QUERY: &str = "SELECT sum(x) AS s FROM t WHERE x > 1;";

    async fn table(session: &Session, values: Vec<i64>) {
        let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(values)) as _)]).unwrap();
        let _ = session.context().deregister_table("t").unwrap();
        session.register_batches("t", vec![batch]).unwrap();
        session.cache_table("t").await.unwrap();
    }

    async fn session() -> Session {
        let session = Session::builder().target_partitions(2).build();
        table(&session, vec![1, 2, 3]).await;
        session
    }

    async fn run(session: &Session, text: &str) -> i64 {
        let batches = session.sql(text).await.unwrap().collect().await.unwrap();
        batches[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    /// Whether the plan of a text would be used again.
    async fn is_known(session: &Session, text: &str) -> bool {
        match session.plans.get(session.context(), text).await {
            Some(planned) => planned.idle().plan.is_some(),
            None => false,
        }
    }

    #[tokio::test]
    async fn the_same_text_finds_its_plan() {
        let session = session().await;
        assert!(!is_known(&session, QUERY).await);
        for _ in 0..3 {
            assert_eq!(run(&session, QUERY).await, 5);
            assert!(is_known(&session, QUERY).await);
        }
        // A plan that runs is nobody else's.
        let (one, other) = (session.sql(QUERY).await.unwrap(), session.sql(QUERY).await.unwrap());
        let (one, other) = tokio::join!(one.collect(), other.collect());
        assert_eq!(one.unwrap(), other.unwrap());
        // One query, run twice.
        let query = session.sql(QUERY).await.unwrap();
        let first = query.collect().await.unwrap();
        assert_eq!(first, query.collect().await.unwrap());
        assert_eq!(query.metrics().unwrap().iter().map(|stage| stage.rows_in).max(), Some(3));
    }

    #[tokio::test]
    async fn what_a_plan_depends_on_makes_it_new() {
        let session = session().await;
        assert_eq!(run(&session, QUERY).await, 5);
        session.sql("SET stagefuse.mode = 'interpreted'").await.unwrap().collect().await.unwrap();
        assert!(!is_known(&session, QUERY).await);
        assert_eq!(run(&session, QUERY).await, 5);
        // The same setting is no change.
        session.sql("SET stagefuse.mode = 'interpreted'").await.unwrap().collect().await.unwrap();
        assert!(is_known(&session, QUERY).await);
        table(&session, vec![7, 8]).await;
        assert_eq!(run(&session, QUERY).await, 15);
        // A table that goes takes its plans along, and with them its rows.
        session.sql("DROP TABLE t").await.unwrap().collect().await.unwrap();
        assert_eq!(session.plans.0.lock().unwrap().statements.len(), 0);
        assert!(session.sql(QUERY).await.is_err());
        table(&session, vec![2]).await;
        assert_eq!(run(&session, QUERY).await, 2);
        session.uncache_table("t").unwrap();
        assert_eq!(session.plans.0.lock().unwrap().statements.len(), 0);
        assert_eq!(run(&session, QUERY).await, 2);
        assert!(!is_known(&session, QUERY).await, "the rows of a table that is not cached may change");
    }

    #[tokio::test]
    async fn functions_count() {
        let session = session().await;
        let constant = |value: i64, volatility| {
            let make = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.into())));
            create_udf("f", vec![], arrow::datatypes::DataType::Int64, volatility, make)
        };
        let text = "SELECT max(x) + f() AS s FROM t";
        for value in [10, 20] {
            session.context().register_udf(constant(value, Volatility::Immutable));
            assert_eq!(run(&session, text).await, 3 + value);
            assert_eq!(run(&session, text).await, 3 + value);
            assert!(is_known(&session, text).await);
        }
        session.context().register_udf(constant(1, Volatility::Stable));
        assert_eq!(run(&session, text).await, 4);
        assert!(!is_known(&session, text).await);
        let timed =
            "SELECT count(*) AS s FROM t WHERE now() > TIMESTAMP '2020-01-01 00:00:00' AND x IN (SELECT x FROM t WHERE x > random() - 1)";
        assert_eq!(run(&session, timed).await, 3);
        assert!(!is_known(&session, timed).await);
    }

    #[tokio::test]
    async fn the_least_used_goes_first() {
        let session = session().await;
        session.sql("SET stagefuse.plan_cache = 2").await.unwrap().collect().await.unwrap();
        let text = |number: i64| format!("SELECT sum(x) + {number} AS s FROM t");
        for number in [0, 1, 0, 2] {
            assert_eq!(run(&session, &text(number)).await, 6 + number);
        }
        for (number, known) in [(0, true), (1, false), (2, true)] {
            assert_eq!(is_known(&session, &text(number)).await, known, "{number}");
        }
        session.sql("SET stagefuse.plan_cache = 0").await.unwrap().collect().await.unwrap();
        assert_eq!(run(&session, QUERY).await, 5);
        assert!(!is_known(&session, QUERY).await);
    }

    /// A session that compiles, with a folder of Parquet files as table `f`.
    async fn files(name: &str) -> (Session, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("stagefuse-plans-{name}-{}", std::process::id()));
        let session = Session::builder().mode(crate::Mode::Compiled).target_partitions(2).build();
        write(&session, &folder, "a", 3).await;
        let table = format!("CREATE EXTERNAL TABLE f STORED AS PARQUET LOCATION '{}/'", folder.display());
        session.sql(&table).await.unwrap().collect().await.unwrap();
        (session, folder)
    }

    async fn write(session: &Session, folder: &std::path::Path, file: &str, rows: i64) {
        let copy = format!(
            "COPY (SELECT value AS x FROM generate_series(1, {rows})) TO '{}'",
            folder.join(file).with_extension("parquet").display()
        );
        session.sql(&copy).await.unwrap().collect().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn plans_over_files_last_as_long_as_the_files() {
        let (session, folder) = files("last").await;
        let text = "SELECT sum(x) AS s FROM f WHERE x > 1";
        for _ in 0..3 {
            assert_eq!(run(&session, text).await, 5);
            assert!(is_known(&session, text).await);
        }
        // A view finds them, too.
        session.sql("CREATE VIEW w AS SELECT x + 1 AS x FROM f").await.unwrap().collect().await.unwrap();
        let viewed = "SELECT sum(x) AS s FROM w";
        assert_eq!(run(&session, viewed).await, 9);
        assert!(is_known(&session, viewed).await);
        session.sql("INSERT INTO f VALUES (10)").await.unwrap().collect().await.unwrap();
        for _ in 0..2 {
            assert_eq!((run(&session, text).await, run(&session, viewed).await), (15, 20));
        }
        // Another file under the same name.
        let path = folder.join("a.parquet");
        session.register_parquet("one", &path.display().to_string()).await.unwrap();
        let one = "SELECT sum(x) AS s FROM one";
        assert_eq!(run(&session, one).await, 6);
        assert!(is_known(&session, one).await);
        write(&session, &folder, "a", 4).await;
        assert!(!is_known(&session, one).await);
        assert_eq!(run(&session, one).await, 10);
        std::fs::remove_file(&path).unwrap();
        assert!(!is_known(&session, one).await);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn metrics_of_files_are_those_of_a_run() {
        let (session, folder) = files("metrics").await;
        let text = "SELECT sum(x) AS s FROM f WHERE x > 1";
        for _ in 0..FILE_RUNS + 2 {
            let query = session.sql(text).await.unwrap();
            query.collect().await.unwrap();
            assert_eq!((query.progress().rows_read, query.progress().share()), (3, Some(1.0)));
            assert_eq!(query.rows_processed().datafusion, 0);
        }
        assert!(is_known(&session, text).await);
        let analyzed = session.sql(text).await.unwrap().explain_analyze().await.unwrap();
        assert!(analyzed.contains("3 rows") && !analyzed.contains("6 rows"), "{analyzed}");
        // DataFusion's own operators count what their scans have yielded: such a plan is made afresh.
        session.sql("SET stagefuse.mode = 'off'").await.unwrap().collect().await.unwrap();
        assert_eq!(run(&session, text).await, 5);
        assert!(!is_known(&session, text).await);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
