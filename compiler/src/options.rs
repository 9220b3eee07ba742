//! Settings of a compilation.

use stagefuse_ir::abi::HASH_ALL;

/// How hard Cranelift tries.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum OptLevel {
    /// Fastest compilation.
    None,
    /// Fastest code.
    Speed,
}

/// Settings of a compilation.
#[derive(Clone, Debug)]
pub struct Options {
    /// How hard Cranelift tries.
    pub opt_level: OptLevel,
    /// Whether Cranelift's verifier checks the generated function.
    pub verify: bool,
    /// Most bytes of machine code that a function may take; more is [`crate::CompileError::CodeTooLarge`].
    pub max_code_bytes: usize,
    /// Whether a stage that is too large becomes one function for each operator, before it is given up.
    pub split_by_operator: bool,
    /// Splits every stage, however small: so that tests meet what is rare.
    pub always_split: bool,
    /// The bits of hashes that count; as in the runs that the code is for, so that tests meet keys that collide.
    pub hash_mask: u64,
    /// Bytes of a table that a core's cache holds: entries of larger ones are asked for ahead of the rows that need them.
    pub cached_bytes: usize,
    /// Whether the texts of the Cranelift IR and of the machine code are kept.
    pub dump: bool,
    /// What the names of functions begin with, for debuggers and profilers. It makes no other code.
    pub label: String,
    /// Whether those texts name operator and operation of each group of instructions.
    pub comments: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            opt_level: OptLevel::Speed,
            verify: cfg!(debug_assertions),
            max_code_bytes: 65_536,
            split_by_operator: true,
            always_split: false,
            hash_mask: HASH_ALL,
            cached_bytes: 1 << 19,
            dump: false,
            label: "stagefuse".to_string(),
            comments: true,
        }
    }
}
