//! The node that stands in a plan for a subtree that Stagefuse runs.

mod ahead;
mod cache;
mod claims;
mod compile;
mod crew;
mod errors;
mod exchanges;
mod files;
mod local;
mod metrics;
mod node;
mod output;
mod perf;
mod pieces;
mod progress;
mod rows;
mod run;
mod same;
mod stage;
mod tails;
mod top_k;
mod wake;

pub(crate) use exchanges::{Exchange, exchanges};
pub use metrics::{EngineKind, StageMetrics};
pub use node::CompiledExec;
pub(crate) use node::redistribute;
pub use progress::Progress;
pub use rows::RowsProcessed;
pub(crate) use stage::compile_for_dump;
