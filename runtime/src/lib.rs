//! What the stages of a compiled query run on: column views, arenas, group and join tables, output buffers, the functions that generated
//! code calls, and the vectorised interpreter.
//!
//! A [`Run`] is one execution of a program. The host hands it batches, stage by stage; where a stage has a native function the run
//! calls it, else it interprets. Both work on the same states with the layouts of [`stagefuse_ir::abi`].
//!
//! The crate does not know DataFusion: what it needs of a host comes in through [`OpaqueExpr`], [`HostAggregate`] and [`MemoryBudget`].

mod adapt;
mod arrays;
mod buffers;
mod builtins;
mod columns;
mod compact;
mod config;
mod emit;
mod error;
mod functions;
mod interpreter;
mod literals;
mod matchers;
mod memory;
mod run;
mod tables;
mod worker;

pub use adapt::adapt;
pub use builtins::builtins;
pub use columns::arrow_type;
pub use compact::{Block, ColumnInfo, CompactTable};
pub use config::{Engine, HostAccumulator, HostAggregate, MemoryBudget, OpaqueExpr, RunConfig, Sizes, Unlimited};
pub use error::{Error, HostError};
pub use run::{Flow, Run, StageMetrics, TableCursor};
pub use worker::{Worker, WorkerGuard};
