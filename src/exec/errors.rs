//! Errors of runs in DataFusion's form, and which of them are reasons to have DataFusion's operators take over.

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use stagefuse_ir::abi::ErrorCode;
use stagefuse_runtime::Error;

use crate::fallback::FallbackReason;

/// The reason that a leaf's error is, where an expression failed in it: errors of files and streams have other forms.
pub(super) fn of_expression(error: &DataFusionError) -> Option<FallbackReason> {
    let DataFusionError::ArrowError(arrow, _) = error.find_root() else { return None };
    match **arrow {
        ArrowError::ArithmeticOverflow(_) => Some(FallbackReason::Overflow),
        // Arrow says `InvalidArgumentError` of digits that a decimal does not hold.
        ArrowError::ComputeError(_) | ArrowError::DivideByZero | ArrowError::CastError(_) | ArrowError::InvalidArgumentError(_) => {
            Some(FallbackReason::Failed { message: arrow.to_string() })
        }
        _ => None,
    }
}

/// The reason that a stage's error is, where DataFusion's operators may do better.
pub(super) fn of_stage(error: &DataFusionError) -> Option<FallbackReason> {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Some(FallbackReason::OutOfMemory),
        DataFusionError::ArrowError(arrow, _) if matches!(**arrow, ArrowError::ArithmeticOverflow(_)) => Some(FallbackReason::Overflow),
        DataFusionError::ArrowError(arrow, _) => Some(FallbackReason::Failed { message: arrow.to_string() }),
        DataFusionError::Execution(message) => Some(FallbackReason::Failed { message: message.clone() }),
        _ => None,
    }
}

/// An error that nobody else holds, as it came; or shared.
pub(super) fn alone(error: Arc<DataFusionError>) -> DataFusionError {
    Arc::try_unwrap(error).unwrap_or_else(DataFusionError::Shared)
}

/// DataFusion's form of an error of a run.
pub(crate) fn host_error(error: Error) -> DataFusionError {
    let inner = |error: Box<dyn std::error::Error + Send + Sync>, otherwise: fn(String) -> DataFusionError| match error.downcast() {
        Ok(error) => *error,
        Err(other) => otherwise(other.to_string()),
    };
    match error {
        Error::Arithmetic { code, .. } => match code {
            ErrorCode::Overflow => ArrowError::ArithmeticOverflow("Overflow happened on: a value does not fit its type".to_string()).into(),
            ErrorCode::DivideByZero => ArrowError::DivideByZero.into(),
            ErrorCode::Cast => ArrowError::CastError("Can't cast a value: it does not fit the target type".to_string()).into(),
            ErrorCode::Function => DataFusionError::Execution("a function is not defined for its operands".to_string()),
            ErrorCode::NegativeSubstringLength => DataFusionError::Execution("negative substring length not allowed".to_string()),
        },
        Error::Memory(error) => inner(error, DataFusionError::ResourcesExhausted),
        Error::Opaque(error) => inner(error, DataFusionError::Execution),
        Error::Arrow(error) => error.into(),
        other => DataFusionError::Internal(other.to_string()),
    }
}
