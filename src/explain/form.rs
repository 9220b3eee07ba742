//! Forms of `EXPLAIN CODEGEN`: what is shown, and whether the query runs for it.

use super::Dump;

/// Every form, for error messages and help.
pub(crate) const FORMS: &str =
    "EXPLAIN CODEGEN [ANALYZE | PROFILE] [FORMAT TEXT | FORMAT JSON | HTML | VERBOSE] <query> or EXPLAIN CODEGEN IR | CLIF | ASM <query>";

/// Whether the query runs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Effort {
    /// It is only planned and compiled.
    #[default]
    Plan,
    /// It runs once, its rows thrown away.
    Analyze,
    /// It runs again and again, and samples tell where the time goes.
    Profile,
}

/// What is shown.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text that fits a screen.
    #[default]
    Text,
    /// That, and the whole plan and IR.
    Verbose,
    /// Every stage in one form.
    Dump(Dump),
    /// The report's page.
    Html,
    /// The report's data.
    Json,
}

/// An `EXPLAIN CODEGEN`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codegen {
    pub(crate) effort: Effort,
    pub(crate) form: Form,
}
