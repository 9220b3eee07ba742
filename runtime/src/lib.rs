//! What the stages of a compiled query run on: column views, arenas, group and join tables, output buffers, the functions that generated
//! code calls, and the vectorised interpreter.
//!
//! A [`Run`] is one execution of a program. The host hands it batches, stage by stage; where a stage has a native function the run
//! calls it, else it interprets. Both work on the same states with the layouts of [`stagefuse_ir::abi`].
//!
//! The crate does not know DataFusion: what it needs of a host comes in through [`OpaqueExpr`], [`HostAggregate`] and [`MemoryBudget`].
//!
//! # Example
//!
//! `SELECT k, count(*) FROM t GROUP BY k`, interpreted, with one worker:
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow::array::{AsArray, Int64Array, RecordBatch};
//! use arrow::datatypes::{DataType, Field, Int64Type, Schema};
//! use stagefuse_ir::{Source, parser};
//! use stagefuse_runtime::{Engine, Flow, Run, RunConfig, Unlimited};
//!
//! let program = parser::parse(
//!     "program {
//!        input0 \"t\" (int64)
//!        groups0 keys(int64) accs(count_rows int64)
//!        output (int64, int64)
//!        s0 \"scan t\" { source input0 (v0: int64) group groups0 keys(v0) args(_) }
//!        s1 \"groups\" { source groups0 (v0: int64, v1: int64) emit (v0, v1) }
//!      }",
//! );
//! let program = Arc::new(program.expect("a program"));
//! let run = Run::new(RunConfig {
//!     program: Arc::clone(&program),
//!     engines: vec![Engine::Interpreted; 2],
//!     host_types: vec![],
//!     opaques: vec![],
//!     aggregates: vec![],
//!     params: vec![],
//!     dictionaries: vec![],
//!     schema: Arc::new(Schema::new(["k", "n"].map(|name| Field::new(name, DataType::Int64, false)).to_vec())),
//!     partitions: 1,
//!     memory: Arc::new(Unlimited),
//! })
//! .expect("the parts fit");
//!
//! let keys = Int64Array::from(vec![7, 8, 7, 7]);
//! let batch = RecordBatch::try_from_iter([("k", Arc::new(keys) as _)]).expect("equal lengths");
//! let mut batches = vec![];
//! for (stage, decl) in program.stages.iter() {
//!     let mut worker = run.worker();
//!     match decl.source {
//!         Source::Input { .. } => drop(run.run_batch(stage, &mut worker, &batch).expect("runs")),
//!         _ => {
//!             let mut cursor = run.table_cursor(stage, 0).expect("the table is there");
//!             while run.run_table(stage, &mut worker, &mut cursor).expect("runs") == Flow::More {}
//!         }
//!     }
//!     batches.extend(worker.take_output());
//!     // A worker that is dropped is back with the run: what it has built can be collected.
//!     drop(worker);
//!     while let parts @ 1.. = run.finish_parts(stage).expect("finishes") {
//!         (0..parts).for_each(|part| run.finish_part(stage, part).expect("finishes"));
//!     }
//! }
//! let counts: i64 = batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).sum();
//! assert_eq!((batches.iter().map(RecordBatch::num_rows).sum::<usize>(), counts), (2, 4));
//! ```

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
pub use compact::{Block, ColumnInfo, CompactBuilder, CompactTable, Dictionary};
pub use config::{Engine, HostAccumulator, HostAggregate, MemoryBudget, OpaqueExpr, RunConfig, Sizes, Unlimited};
pub use error::{Error, HostError};
pub use functions::is_regex;
pub use run::{Flow, Run, StageMetrics, TableCursor};
pub use worker::{Worker, WorkerGuard};
