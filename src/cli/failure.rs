//! Why a command failed, in one line.

use std::fmt;
use std::path::Path;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// What is printed after `error: `. Its text is one line, without a backtrace, whatever it was made of.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(text: impl fmt::Display) -> Failure {
        let text = text.to_string();
        let text = text.split("\n\nbacktrace:").next().unwrap_or_default();
        Failure(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// A failure with a file or folder.
    pub fn at(path: &Path, cause: impl fmt::Display) -> Failure {
        Failure::new(format!("{}: {cause}", path.display()))
    }

    /// The same failure, with what was being done in front.
    pub fn within(self, what: impl fmt::Display) -> Failure {
        Failure::new(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Failure {
        Failure::new(error.strip_backtrace())
    }
}

impl From<stagefuse::Error> for Failure {
    fn from(error: stagefuse::Error) -> Failure {
        Failure::new(error)
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Failure {
        Failure::new(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(Failure::new("a\n  b\r\nc").within("t").to_string(), "t: a b c");
    }
}
