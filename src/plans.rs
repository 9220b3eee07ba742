//! The plan cache: physical plans of statements over cached tables and tables of files, for when the same text comes again.
//!
//! DataFusion plans a query of TPC-H in 1 to 6 ms, which is as long as many of them run. A plan is used again only where it would come
//! out the same: the text, the settings, functions and rules of the session, and every table that a name in it stands for are those that it was made with (a view may have been made again, of the same query);
//! the tables are [`CachedTable`]s, whose rows never change, [`CreatedTable`]s that nobody has written to, or [`ListingTable`]s, whose files are those that DataFusion would list now, unchanged; and nothing in it depends on
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
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Volatility};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::TryStreamExt;
use futures::future::join_all;

use crate::config::StagefuseConfig;
use crate::exec::CompiledExec;
use crate::table::{self, CachedTable, CreatedTable};

/// How often a plan with scans of files is run before it is made afresh: by then its metrics take about a megabyte.
const FILE_RUNS: usize = 100;

/// A statement that has been planned, at least logically.
pub(crate) struct Planned {
    frame: DataFrame,
    /// What the names in the text stood for; none where plans are not to be used again.
    tables: Option<Vec<(TableReference, Meaning)>>,
    /// The files of tables of files, views' among them.
    files: Vec<(Arc<dyn TableProvider>, Vec<ObjectMeta>)>,
    /// The tables that somebody may write to.
    created: Vec<Arc<dyn TableProvider>>,
    idle: Mutex<Idle>,
    context: OnceLock<Arc<TaskContext>>,
}

/// What a name stands for.
enum Meaning {
    Table(Arc<dyn TableProvider>),
    /// A view's query. One that is dropped, and made again as it was, means the same.
    View(LogicalPlan),
}

impl Meaning {
    fn of(table: Arc<dyn TableProvider>) -> Meaning {
        match table.get_logical_plan() {
            Some(view) => Meaning::View(view.into_owned()),
            None => Meaning::Table(table),
        }
    }

    /// Whether `now` is the same table, or a view of the same query over the same tables.
    fn is_same(&self, now: &Arc<dyn TableProvider>) -> Result<bool> {
        match self {
            Meaning::Table(table) => Ok(Arc::ptr_eq(table, now) && is_unwritten(now)),
            Meaning::View(view) => match now.get_logical_plan() {
                // Plans compare scans by the names of their tables.
                Some(now) if *now == *view => {
                    let (then, now) = (scanned(view)?, scanned(&now)?);
                    Ok(then.len() == now.len()
                        && then.iter().zip(&now).all(|((_, then), (_, now))| Arc::ptr_eq(then, now) && is_unwritten(now)))
                }
                _ => Ok(false),
            },
        }
    }

    /// Whether the rows that it stands for, under `name`, are still to be had under the names of their tables.
    async fn has_rows(&self, name: &TableReference, context: &SessionContext) -> Result<bool> {
        match self {
            Meaning::Table(table) => is_named(context, name, table).await,
            Meaning::View(view) => {
                for (name, table) in scanned(view)? {
                    if !is_named(context, &name, &table).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

async fn is_named(context: &SessionContext, name: &TableReference, table: &Arc<dyn TableProvider>) -> Result<bool> {
    Ok(Arc::ptr_eq(&context.table_provider(name.clone()).await?, table) && is_unwritten(table))
}

/// Whether a table has the rows that it was made with, as far as anybody knows.
fn is_unwritten(table: &Arc<dyn TableProvider>) -> bool {
    table.downcast_ref::<CreatedTable>().is_none_or(|created| created.compact_now().is_some())
}

/// The tables that a plan scans, by name.
fn scanned(plan: &LogicalPlan) -> Result<Vec<(TableReference, Arc<dyn TableProvider>)>> {
    let mut tables = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.push((scan.table_name.clone(), source_as_provider(&scan.source)?));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
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
        Arc::new(Planned { frame, tables: None, files: vec![], created: vec![], idle: Mutex::default(), context: OnceLock::new() })
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
            Some(plan) if self.created.iter().all(is_unwritten) => Ok(plan),
            _ => self.afresh().await,
        }
    }

    /// A physical plan that nobody else runs, with the metrics of nothing but what will be run.
    pub(crate) async fn unread(&self) -> Result<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() { self.physical().await } else { self.afresh().await }
    }

    async fn afresh(&self) -> Result<Arc<dyn ExecutionPlan>> {
        // What DDL leaves behind: no rule need look at it.
        if let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema }) = self.frame.logical_plan() {
            return Ok(Arc::new(EmptyExec::new(Arc::clone(schema.inner()))));
        }
        self.frame.clone().create_physical_plan().await
    }

    /// Takes a plan back that has run to its end. What its operators have in memory goes.
    pub(crate) fn give_back(&self, plan: Arc<dyn ExecutionPlan>) {
        // Whoever else holds it may run it.
        if self.tables.is_none()
            || !self.created.iter().all(is_unwritten)
            || Arc::strong_count(&plan) > 1
            || !stages_read_files(&plan, false)
        {
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
        for (name, then) in tables {
            match context.table_provider(name.clone()).await {
                Ok(now) if then.is_same(&now).is_ok_and(|same| same) => {}
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

    /// Whether the tables whose rows its plans hold are all still there. A view that is gone may come again.
    async fn has_rows(&self, context: &SessionContext) -> bool {
        for (name, then) in self.tables.iter().flatten() {
            if !then.has_rows(name, context).await.is_ok_and(|has| has) {
                return false;
            }
        }
        true
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
                tables.push((name, Meaning::of(table)));
            }
        }
        let plan = state.statement_to_plan(statement).await?;
        let mut scans = Scans::default();
        let mut lasts = !tables.is_empty() && tables.len() == count && lasts(&plan, &mut scans)?;
        let mut files = vec![];
        for table in std::mem::take(&mut scans.files) {
            match files_of(&table, &state).await {
                Ok(listed) if lasts => files.push((table, listed)),
                _ => lasts = false,
            }
        }
        if !lasts {
            let changes_tables = matches!(plan, LogicalPlan::Ddl(_) | LogicalPlan::Dml(_));
            let frame = table::execute(context, plan).await?;
            if changes_tables {
                self.sweep(context).await;
            }
            return Ok(Planned::once(frame));
        }
        let frame = context.execute_logical_plan(plan).await?;
        let planned = Arc::new(Planned {
            frame,
            tables: Some(tables),
            files,
            created: scans.created,
            idle: Mutex::default(),
            context: OnceLock::new(),
        });
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
            if !planned.has_rows(context).await {
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

/// Tables that a statement scans and that may change.
#[derive(Default)]
struct Scans {
    files: Vec<Arc<dyn TableProvider>>,
    created: Vec<Arc<dyn TableProvider>>,
}

/// Whether planning a statement again gives the same plan, as long as its names stand for the same tables: it reads nothing but cached tables, and tables that it adds to
/// `scans`, and has no function of the time or of chance, no variable and no parameter.
fn lasts(plan: &LogicalPlan, scans: &mut Scans) -> Result<bool> {
    let mut lasts = true;
    plan.apply_with_subqueries(|node| {
        lasts &= match node {
            LogicalPlan::TableScan(scan) => {
                let table = source_as_provider(&scan.source)?;
                match table.get_logical_plan() {
                    Some(view) => self::lasts(&view, scans)?,
                    None if table.is::<ListingTable>() => {
                        scans.files.push(table);
                        true
                    }
                    None if table.is::<CreatedTable>() => {
                        scans.created.push(Arc::clone(&table));
                        is_unwritten(&table)
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
mod tests;
