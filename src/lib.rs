//! Stagefuse is a whole-stage query compiler for Apache DataFusion.
//!
//! A physical plan goes in; each stage between two exchanges comes out as one native function, compiled at run time. A stage that
//! cannot be compiled runs on a vectorised interpreter of the same IR, and what the IR cannot say stays DataFusion's. So every query that
//! DataFusion answers is answered; how much of it runs native is shown by `EXPLAIN`, metrics and `EXPLAIN CODEGEN`.
//!
//! # Should I use this?
//!
//! If your queries scan, filter, join and aggregate many rows, yes. If they read a few thousand rows, compiling costs about what it saves:
//! mode `auto` then interprets. If they spend their time in sorts, windows or in decoding files, Stagefuse leaves those to DataFusion.
//!
//! # Add it to a DataFusion program
//!
//! ```
//! use datafusion::prelude::SessionContext;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> datafusion::common::Result<()> {
//! let ctx = stagefuse::with_stagefuse(SessionContext::new());
//! let frame = ctx.sql("SELECT x, count(*) FROM (VALUES (1), (2), (1)) AS t(x) GROUP BY x").await?;
//! assert_eq!(frame.count().await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! With a builder of your own, it is [`StagefuseBuilder::with_stagefuse`].
//!
//! # Or use a session
//!
//! ```
//! use stagefuse::Session;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), stagefuse::Error> {
//! let session = Session::builder().target_partitions(2).build();
//! session.sql("CREATE TABLE t AS VALUES (1, 'a'), (2, 'b'), (3, 'a')").await?.collect().await?;
//! let query = session.sql("SELECT column2, sum(column1) FROM t GROUP BY column2").await?;
//! let batches = query.collect().await?;
//! for stage in query.metrics()? {
//!     println!("{}: {} ({} rows)", stage.name, stage.engine, stage.rows_in);
//! }
//! # assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! `SET stagefuse.mode = 'interpreted'` and the like; all are fields of [`StagefuseConfig`].

mod config;
mod error;
mod exec;
mod explain;
mod fallback;
#[doc(hidden)]
pub mod fuzz;
mod lower;
mod plans;
mod profile;
mod query;
mod report;
mod rule;
mod session;
mod sql;
mod table;
#[cfg(test)]
mod tests;

/// The Rust code of the pages is compiled and run as documentation tests; `tests/docs.rs` runs all else.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
}

pub use config::{Count, Mode, Number, OptLevel, Perf, StagefuseConfig, Switch, TINY_INPUT_ROWS};
pub use error::Error;
pub use exec::{CompiledExec, EngineKind, Progress, RowsProcessed, StageMetrics};
pub use explain::Dump;
pub use fallback::FallbackReason;
pub use query::Query;
pub use report::{Report, SCHEMA_VERSION};
pub use rule::{StagefuseBuilder, StagefuseRule, with_stagefuse};
pub use session::{Session, SessionBuilder};
pub use table::CachedTable;
