//! Compiles stages of the IR to native code.
//!
//! [`compile`] makes one function of one stage: a row loop in which the values of a row stay in registers from source to sink. The
//! function calls nothing but the builtins whose addresses it is given (`stagefuse_ir::abi`). Its code lives as long as the
//! [`CompiledStage`] or a clone of it does.
//!
//! # Example
//!
//! ```
//! use stagefuse_compiler::{CompileError, Options, compile};
//! use stagefuse_ir::{parser, verifier};
//!
//! let program = parser::parse(
//!     "program {
//!        input0 \"t\" (int64)
//!        lit0: int64 = 10
//!        output (int64)
//!        s0 \"scan t\" {
//!          source input0 (v0: int64)
//!          v1: int64 = literal lit0
//!          v2: boolean = lt v0, v1
//!          filter v2
//!          emit (v0)
//!        }
//!      }",
//! )
//! .expect("a program");
//! verifier::verify(&program).expect("it obeys the laws");
//! let stage = program.stages.keys().next().expect("it has a stage");
//!
//! // The runtime's builtins are all that generated code can call.
//! let builtins = stagefuse_runtime::builtins();
//! let compiled = compile(&program, stage, &builtins, &Options { dump: true, ..Options::default() }).expect("native code");
//! assert!(compiled.code_bytes() > 0);
//! assert!(compiled.asm().is_some_and(|asm| asm.contains("; filter v2")));
//!
//! // What is too large is an error that says by how much: the caller then interprets the stage.
//! let tiny = Options { max_code_bytes: 16, split_by_operator: false, ..Options::default() };
//! assert!(matches!(compile(&program, stage, &builtins, &tiny), Err(CompileError::CodeTooLarge { limit: 16, .. })));
//! ```

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
mod touch;
mod value;
mod vectors;

pub use error::CompileError;
pub use listing::{Line, Listing, describe};
pub use module::{CompiledStage, compile};
pub use options::{OptLevel, Options};
