//! What a host brings to a run.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use stagefuse_ir::abi::StageFn;
use stagefuse_ir::{Datum, Program};

use crate::error::HostError;

/// How a stage runs.
#[derive(Clone)]
pub enum Engine {
    /// By its compiled function.
    Native {
        /// The function.
        function: StageFn,
        /// Keeps the function's code alive.
        owner: Arc<dyn Any + Send + Sync>,
    },
    /// By the vectorised interpreter.
    Interpreted,
}

/// An expression that the IR has no operation for.
pub trait OpaqueExpr: Send + Sync + Debug {
    /// Evaluates it over `rows` rows; `args` are its operands in order, each that long.
    ///
    /// # Errors
    /// Whatever the host's evaluation raises.
    fn evaluate(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, HostError>;
}

/// Where memory comes from.
pub trait MemoryBudget: Send + Sync + Debug {
    /// Tells how many bytes the run holds from now on, in all.
    ///
    /// # Errors
    /// Where that is more than the host can give; the run then stops with [`crate::Error::Memory`].
    fn resize(&self, bytes: usize) -> Result<(), HostError>;
}

/// A budget without end.
#[derive(Debug)]
pub struct Unlimited;

impl MemoryBudget for Unlimited {
    fn resize(&self, _bytes: usize) -> Result<(), HostError> {
        Ok(())
    }
}

/// What a run is made of.
pub struct RunConfig {
    /// A verified program.
    pub program: Arc<Program>,
    /// The engine of each stage.
    pub engines: Vec<Engine>,
    /// What the program's host types are.
    pub host_types: Vec<DataType>,
    /// The program's opaque expressions.
    pub opaques: Vec<Arc<dyn OpaqueExpr>>,
    /// Values of the program's parameters; integers, decimals and dates as [`Datum::Int`].
    pub params: Vec<Datum>,
    /// Schema of emitted batches; text may be `Utf8View`, `Utf8` or `LargeUtf8`.
    pub schema: SchemaRef,
    /// Partitions that group tables are merged into, and that table sources are read in.
    pub partitions: usize,
    /// Where memory comes from.
    pub memory: Arc<dyn MemoryBudget>,
}
