//! Compiles stages of the IR to native code.
//!
//! [`compile`] makes one function of one stage: a row loop in which the values of a row stay in registers from source to sink. The
//! function calls nothing but the builtins whose addresses it is given (`stagefuse_ir::abi`). Its code lives as long as the
//! [`CompiledStage`] or a clone of it does.

mod error;
mod listing;
mod module;
mod options;
mod row;
mod scalar;
mod select;
mod sink;
mod source;
mod split;
mod stage;
mod value;
mod vectors;

pub use error::CompileError;
pub use listing::{Line, Listing, describe};
pub use module::{CompiledStage, compile};
pub use options::{OptLevel, Options};
