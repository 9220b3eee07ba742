//! Why a stage does not run native.

use std::fmt::{self, Display};

/// Why a stage runs interpreted although it could have been compiled, or why DataFusion's operators took its place. Its `Display` says what to change.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stagefuse::Error> {
/// use stagefuse::{FallbackReason, Mode, Session};
///
/// let session = Session::builder().mode(Mode::Compiled).build();
/// let query = session.sql("SET stagefuse.max_fields = 2; SELECT x, y, z FROM (VALUES (1, 2, 3)) AS t(x, y, z) WHERE x < y").await?;
/// query.collect().await?;
/// let reason = query.metrics()?[0].fallback.clone().expect("three fields are too many");
/// assert!(matches!(reason, FallbackReason::MaxFields { limit: 2, .. }));
/// assert!(reason.to_string().contains("raise the setting or select fewer columns"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallbackReason {
    /// The stage has more fields in its input or output than `stagefuse.max_fields`.
    MaxFields {
        /// Fields of the stage.
        fields: usize,
        /// The setting.
        limit: usize,
    },
    /// The stage's machine code is larger than `stagefuse.max_code_bytes`.
    CodeTooLarge {
        /// Size of the code.
        bytes: usize,
        /// The setting.
        limit: usize,
    },
    /// The stage holds expressions that only DataFusion can evaluate.
    OpaqueExpression {
        /// The expressions.
        names: Vec<String>,
    },
    /// The compiler does not speak something that the stage holds.
    Unsupported {
        /// What.
        what: String,
    },
    /// The code generator failed.
    Backend {
        /// Its message.
        message: String,
    },
    /// Mode `auto`: the input is so small that compiling would take longer than running.
    TinyInput {
        /// Rows of the input.
        rows: usize,
        /// Fewer than this are interpreted.
        limit: usize,
    },
    /// Mode `auto`: the stage had read all its rows before it was compiled; see `stagefuse.compile_ahead`.
    EndedAhead {
        /// Rows.
        rows: u64,
    },
    /// Mode `interpreted`.
    Requested,
    /// The stages took more memory than the session allows; DataFusion's operators, which can spill to disk, took over.
    OutOfMemory,
    /// An expression failed; DataFusion's operators took over, which may not evaluate it for the same rows.
    Failed {
        /// The error.
        message: String,
    },
    /// A value did not fit its type; DataFusion's operators took over, which have wider types for some sums.
    Overflow,
}

impl FallbackReason {
    /// Whether the stage could have been compiled and it was chosen not to.
    pub fn is_choice(&self) -> bool {
        matches!(self, FallbackReason::TinyInput { .. } | FallbackReason::EndedAhead { .. } | FallbackReason::Requested)
    }

    /// Why the stage is not native.
    pub fn cause(&self) -> String {
        match self {
            FallbackReason::MaxFields { fields, limit } => {
                format!("the stage has {fields} fields, more than stagefuse.max_fields = {limit}")
            }
            FallbackReason::CodeTooLarge { bytes, limit } => {
                format!("the stage takes {bytes} bytes of code, more than stagefuse.max_code_bytes = {limit}")
            }
            FallbackReason::OpaqueExpression { names } => {
                let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
                format!("only DataFusion can evaluate {}", names.join(", "))
            }
            FallbackReason::Unsupported { what } => format!("the compiler does not support {what}"),
            FallbackReason::Backend { message } => format!("the code generator failed: {message}"),
            FallbackReason::TinyInput { rows, limit } => format!("the input has {rows} rows, fewer than {limit}"),
            FallbackReason::EndedAhead { rows } => format!("the stage was still being compiled when its {rows} rows had been read"),
            FallbackReason::OutOfMemory => {
                "the stages ran out of memory, and DataFusion's operators, which can spill, took over".to_string()
            }
            FallbackReason::Failed { message } => format!(
                "an expression failed ({message}), and DataFusion's operators took over, which may not evaluate it for the same rows"
            ),
            FallbackReason::Overflow => "a value did not fit its type, and DataFusion's operators took over".to_string(),
            FallbackReason::Requested => "stagefuse.mode = 'interpreted' asks for it".to_string(),
        }
    }

    /// What to change to have the stage run native.
    pub fn remedy(&self) -> &'static str {
        match self {
            FallbackReason::MaxFields { .. } => "raise the setting or select fewer columns",
            FallbackReason::CodeTooLarge { .. } => "raise the setting or split the expression",
            FallbackReason::OpaqueExpression { .. } => "write the expression with functions that Stagefuse compiles",
            FallbackReason::Unsupported { .. } => "rewrite that part of the query to have the stage compiled",
            FallbackReason::Backend { .. } => "please report this; stagefuse.mode = 'interpreted' avoids it",
            FallbackReason::TinyInput { .. } => "stagefuse.mode = 'compiled' compiles it all the same",
            FallbackReason::EndedAhead { .. } => {
                "run the query again, now that there is code, or wait for it with stagefuse.compile_ahead = false"
            }
            FallbackReason::OutOfMemory => "raise datafusion.runtime.memory_limit",
            FallbackReason::Failed { .. } => "exclude those rows ahead of it",
            FallbackReason::Overflow => "cast to a wider type before adding up",
            FallbackReason::Requested => "set it to 'compiled' or 'auto'",
        }
    }

    /// One of each.
    #[cfg(test)]
    pub(crate) fn examples() -> Vec<FallbackReason> {
        let text = || "something <i>odd</i> & \"quoted\"".to_string();
        let all = vec![
            FallbackReason::MaxFields { fields: 300, limit: 200 },
            FallbackReason::CodeTooLarge { bytes: 70_000, limit: 65_536 },
            FallbackReason::OpaqueExpression { names: vec![text(), "f(x)".to_string()] },
            FallbackReason::Unsupported { what: text() },
            FallbackReason::Backend { message: text() },
            FallbackReason::TinyInput { rows: 3, limit: 4096 },
            FallbackReason::Requested,
            FallbackReason::EndedAhead { rows: 77 },
            FallbackReason::OutOfMemory,
            FallbackReason::Failed { message: text() },
            FallbackReason::Overflow,
        ];
        // Whoever adds a reason is sent here by the compiler, and adds an example.
        let number = |reason: &FallbackReason| match reason {
            FallbackReason::MaxFields { .. } => 0,
            FallbackReason::CodeTooLarge { .. } => 1,
            FallbackReason::OpaqueExpression { .. } => 2,
            FallbackReason::Unsupported { .. } => 3,
            FallbackReason::Backend { .. } => 4,
            FallbackReason::TinyInput { .. } => 5,
            FallbackReason::Requested => 6,
            FallbackReason::EndedAhead { .. } => 7,
            FallbackReason::OutOfMemory => 8,
            FallbackReason::Failed { .. } => 9,
            FallbackReason::Overflow => 10,
        };
        assert!(all.iter().map(number).eq(0..11), "an example for each reason, in order");
        all
    }
}

impl Display for FallbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause(), self.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::FallbackReason;

    /// The name of a reason: a new one must be added here, and then to the guide.
    fn name(reason: &FallbackReason) -> &'static str {
        match reason {
            FallbackReason::MaxFields { .. } => "MaxFields",
            FallbackReason::CodeTooLarge { .. } => "CodeTooLarge",
            FallbackReason::OpaqueExpression { .. } => "OpaqueExpression",
            FallbackReason::Unsupported { .. } => "Unsupported",
            FallbackReason::Backend { .. } => "Backend",
            FallbackReason::TinyInput { .. } => "TinyInput",
            FallbackReason::EndedAhead { .. } => "EndedAhead",
            FallbackReason::Requested => "Requested",
            FallbackReason::OutOfMemory => "OutOfMemory",
            FallbackReason::Failed { .. } => "Failed",
            FallbackReason::Overflow => "Overflow",
        }
    }

    #[test]
    fn the_guide_has_a_remedy_for_every_reason() {
        let guide = include_str!("../docs/guide.md");
        for reason in FallbackReason::examples() {
            let row = guide.lines().find(|line| line.starts_with(&format!("| `{}` | ", name(&reason))));
            let cells = row.unwrap_or_else(|| panic!("docs/guide.md says nothing of {reason:?}")).split(" | ");
            assert_eq!(cells.count(), 3, "{reason:?}: when, and what to do");
        }
    }
}
