//! Values in registers.

use cranelift_codegen::ir::{Type as ClifType, Value as ClifValue, types};
use stagefuse_ir::Repr;

/// A value of the current row. Where it is null, its registers hold anything (text: zeros, which are an empty text).
#[derive(Copy, Clone, Debug)]
pub(crate) struct Val {
    /// The value; the first word of a text.
    pub(crate) a: ClifValue,
    /// The second word of a text.
    pub(crate) b: Option<ClifValue>,
    /// A byte, 1 or 0; absent where the value cannot be null.
    pub(crate) valid: Option<ClifValue>,
    /// The column whose view this is, as long as the second word of a long text is not an address yet.
    pub(crate) raw: Option<usize>,
    /// Whether the bytes of a long text stay where they are until the run ends. Tables may then refer to them.
    pub(crate) pinned: bool,
}

impl Val {
    /// A value in one register that is not null.
    pub(crate) fn new(a: ClifValue) -> Self {
        Val { a, b: None, valid: None, raw: None, pinned: false }
    }

    /// The same value with this validity.
    pub(crate) fn with_valid(self, valid: Option<ClifValue>) -> Self {
        Val { valid, ..self }
    }
}

/// The register type of a representation; of each word of a text.
pub(crate) fn clif_type(repr: Repr) -> ClifType {
    match repr {
        Repr::Bool | Repr::I8 => types::I8,
        Repr::I16 => types::I16,
        Repr::I32 => types::I32,
        Repr::I64 | Repr::Str => types::I64,
        Repr::I128 => types::I128,
        Repr::F32 => types::F32,
        Repr::F64 => types::F64,
    }
}
