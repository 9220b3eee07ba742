//! What can go wrong while a stage runs.

use stagefuse_ir::Value;
use stagefuse_ir::abi::ErrorCode;

/// An error of the host.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// Why a stage stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation of the query failed on some row.
    #[error("{}", describe(*.code))]
    Arithmetic {
        /// What failed.
        code: ErrorCode,
        /// The value of the stage that the operation defines.
        value: Value,
    },
    /// The host gave no more memory.
    #[error("not enough memory: {0}")]
    Memory(HostError),
    /// An expression of the host failed.
    #[error("{0}")]
    Opaque(HostError),
    /// Arrow refused something.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// A bug.
    #[error("internal error of Stagefuse: {0}")]
    Internal(String),
}

/// The words that DataFusion's kernels use for the same failure.
fn describe(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Overflow => "Arithmetic overflow",
        ErrorCode::DivideByZero => "Divide by zero error",
        ErrorCode::Cast => "Cast error: the value does not fit the target type",
        ErrorCode::Function => "a function is not defined for its operands",
        ErrorCode::NegativeSubstringLength => "negative substring length not allowed",
    }
}
