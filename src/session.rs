//! `Session`: SQL in, record batches out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext};

use crate::config::{Mode, StagefuseConfig};
use crate::error::Error;
use crate::plans::{Planned, Plans};
use crate::query::Query;
use crate::rule::StagefuseBuilder;
use crate::sql::{self, Statement};
use crate::table::{self, CachedTable, CreatedTable, by_column, evenly};

/// A session: tables, settings, queries. Settings are changed by `SET`.
///
/// A table that `CREATE TABLE t AS SELECT ..` makes, of at least 8,192 rows, is held in compact columns as those of `CACHE TABLE`, until an `INSERT`, `UPDATE` or `DELETE` writes
/// to it: from then on it is DataFusion's table of Arrow batches.
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
    pub(crate) plans: Arc<Plans>,
}

/// Builds a [`Session`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stagefuse::Error> {
/// use stagefuse::{Mode, Session};
///
/// let session = Session::builder().target_partitions(4).mode(Mode::Interpreted).build();
/// let query = session.sql("SHOW stagefuse.mode").await?;
/// assert_eq!(query.collect().await?[0].num_rows(), 1);
/// # Ok(())
/// # }
/// ```
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
        Session { context: SessionContext::new_with_state(state), cached: Arc::default(), plans: Arc::default() }
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stagefuse::Error> {
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    ///
    /// let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// let session = stagefuse::Session::new();
    /// session.register_batches("t", vec![RecordBatch::try_from_iter([("x", column)]).expect("equal lengths")])?;
    /// assert_eq!(session.sql("SELECT x FROM t WHERE x > 1").await?.collect().await?[0].num_rows(), 2);
    /// # Ok(())
    /// # }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stagefuse::Error> {
    /// let session = stagefuse::Session::new();
    /// session.sql("CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 1000)").await?.collect().await?;
    /// let cached = session.cache_table("t").await?;
    /// assert_eq!(cached.rows(), 1000);
    /// assert!(cached.bytes() < 8 * 1000, "numbers up to 1,000 take two bytes each");
    /// session.uncache_table("t")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there is no such table, or it cannot be read.
    pub async fn cache_table(&self, table: &str) -> Result<CachedTable, Error> {
        let frame = self.context.table(table).await?;
        let before = self.context.table_provider(table).await?;
        let partitions = self.context.state().config().target_partitions().max(1);
        let compact = match before.downcast_ref::<CreatedTable>() {
            Some(created) => created.compact().await,
            None => by_column(&self.context, &frame, &before, partitions).await?,
        };
        let cached = match compact {
            Some(cached) => cached,
            None => {
                let schema = Arc::clone(frame.schema().inner());
                // Partition by partition: rows keep the order of their source, which mostly is that of some column.
                let batches = frame.collect_partitioned().await?.concat();
                CachedTable::try_new(schema, evenly(batches, partitions))?
            }
        };
        self.context.deregister_table(table)?;
        self.context.register_table(table, Arc::new(cached.clone()))?;
        // Plans over the table that was there would keep its rows in memory.
        self.plans.clear();
        let mut originals = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is::<CachedTable>() {
            // Cached again: what it came from stays.
            originals.entry(name_of(table)).or_insert(before);
        } else {
            originals.insert(name_of(table), before);
        }
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
        self.plans.clear();
        Ok(())
    }

    /// Plans a statement. Where the text holds several, all but the last are run; the last is the query.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stagefuse::Error> {
    /// let session = stagefuse::Session::new();
    /// let query = session.sql("CREATE TABLE t AS VALUES (1), (2); SET stagefuse.mode = 'compiled'; SELECT sum(column1) AS s FROM t").await?;
    /// assert_eq!(query.collect().await?[0].num_rows(), 1);
    /// let error = session.sql("SELECT no_such_column FROM t").await.err().expect("an error");
    /// assert!(error.is_usage());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the text is wrong, or an earlier statement fails.
    pub async fn sql(&self, text: &str) -> Result<Query, Error> {
        let start = Instant::now();
        if let Some(planned) = self.plans.get(&self.context, text).await {
            return Ok(Query::new(text.to_string(), planned, None, start.elapsed()));
        }
        let mut statements = sql::parse(text)?;
        let last = statements.pop().ok_or_else(|| Error::usage("no statement"))?;
        if let (Statement::Plain(statement), true) = (&last, statements.is_empty()) {
            let planned = self.plans.plan(&self.context, text, statement).await?;
            return Ok(Query::new(statement.clone(), planned, None, start.elapsed()));
        }
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
        let plan = self.context.state().create_logical_plan(&text).await?;
        let frame = table::execute(&self.context, plan).await?;
        Ok(Query::new(text, Planned::once(frame), codegen, start.elapsed()))
    }

    /// A query without columns or rows.
    fn nothing(&self) -> Result<Query, Error> {
        let frame = self.context.read_empty()?.limit(0, Some(0))?;
        Ok(Query::new(String::new(), Planned::once(frame), None, Duration::ZERO))
    }
}

/// The name that two spellings of a table have in common.
fn name_of(table: &str) -> String {
    TableReference::parse_str(table).to_string()
}
