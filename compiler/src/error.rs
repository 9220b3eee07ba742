//! Why a stage could not be compiled.

/// Why a stage could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The stage holds something that the compiler does not speak.
    #[error("not compiled: {0}")]
    Unsupported(String),
    /// The machine code is larger than wished.
    #[error("{bytes} bytes of code, more than the limit of {limit}")]
    CodeTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Cranelift failed.
    #[error("code generator: {0}")]
    Backend(String),
}

/// What generating code yields.
pub(crate) type Result<T> = std::result::Result<T, CompileError>;

/// An error that says what is not spoken.
pub(crate) fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(CompileError::Unsupported(what.into()))
}
