//! The intermediate representation of Stagefuse: what a compiled query *is*.
//!
//! A [`Program`] is a graph of stages; a stage has a source, row operations over typed SSA values, and a sink; stages hand states
//! (join tables, group tables) to one another. The [`abi`] module is what generated code and the runtime agree on.
//!
//! This crate knows neither DataFusion nor SQL: any front end can build programs with the [`builder`], and has them checked by the
//! [`verifier`]. A program has a text form: [`printer`] and [`parser`] are a pair, `print -> parse -> print` is the identity.
//!
//! # Example
//!
//! `SELECT x FROM t WHERE x < 10`, as a front end builds it:
//!
//! ```
//! use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
//! use stagefuse_ir::{BinaryOp, Datum, Op, Sink, Source, SqlType, Type, parser, verifier};
//!
//! let int64 = Type::new(SqlType::Int64, false);
//! let mut program = ProgramBuilder::new();
//! let input = program.input("t", vec![int64]);
//! let ten = program.literal(int64, Datum::Int(10));
//!
//! let mut stage = StageBuilder::new("scan t", Source::Input { input, partitioned: false }, &[int64]);
//! let x = stage.params()[0];
//! let ten = stage.op(Op::Literal(ten), int64);
//! let below = stage.binary(BinaryOp::Lt, x, ten, Type::boolean(false));
//! stage.filter(below);
//! program.stage(stage.sink(Sink::Emit { columns: vec![x] }));
//! let program = program.finish(vec![int64]);
//!
//! assert_eq!(verifier::verify(&program), Ok(()));
//! let text = program.to_string();
//! assert!(text.contains("v2: boolean = lt v0, v1"), "{text}");
//! assert_eq!(parser::parse(&text).expect("its own text").to_string(), text);
//! ```

pub mod abi;
pub mod builder;
pub mod entities;
pub mod function;
pub mod layout;
pub mod op;
pub mod parser;
pub mod passes;
pub mod printer;
pub mod program;
pub mod states;
pub mod types;
pub mod verifier;

pub use cranelift_entity::{EntityRef, PrimaryMap};
pub use entities::{Aggregate, Groups, HostType, Input, Join, Limit, Lit, Opaque, Param, Sort, Stage, Value};
pub use function::{Function, Kind, TimePart};
pub use op::{BinaryOp, Nulls, Op, Region, UnaryOp};
pub use program::{
    AggregateDecl, Computed, Datum, Expand, InputDecl, JoinRows, Literal, OpaqueDecl, ParamDecl, Probe, ProbeKind, Program, Sink, Source,
    StageDecl, Stmt, StmtKind,
};
pub use states::{AccDecl, AccOp, CallDecl, GroupsDecl, JoinDecl, LimitDecl, SortDecl, SortKey};
pub use types::{Repr, SqlType, Storage, Stored, TimeUnit, Type};
