//! What can go wrong in a [`crate::Session`].

use datafusion::common::DataFusionError;

/// An error of a session. Its `Display` is meant for the user; ask what kind it is with the predicates.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let session = stagefuse::Session::new();
/// let error = session.sql("SET stagefuse.mode = 'fast'").await.err().expect("there is no such mode");
/// assert!(error.is_usage() && !error.is_resources());
/// assert!(error.to_string().contains("'auto', 'compiled', 'interpreted', 'off'"), "{error}");
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Kind>);

#[derive(Debug, thiserror::Error)]
enum Kind {
    /// DataFusion's, or one of ours that came through it.
    #[error("{0}")]
    DataFusion(#[source] DataFusionError),
    /// A request that the session does not understand.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error(Box::new(Kind::Usage(message.into())))
    }

    /// Whether the statement itself is wrong: syntax, unknown names, a bad value of a setting.
    pub fn is_usage(&self) -> bool {
        match &*self.0 {
            Kind::Usage(_) => true,
            Kind::DataFusion(error) => matches!(
                error.find_root(),
                DataFusionError::SQL(..)
                    | DataFusionError::SchemaError(..)
                    | DataFusionError::Plan(_)
                    | DataFusionError::Configuration(_)
                    | DataFusionError::NotImplemented(_)
            ),
        }
    }

    /// Whether there was not enough memory, disk or the like.
    pub fn is_resources(&self) -> bool {
        matches!(&*self.0, Kind::DataFusion(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Error(Box::new(Kind::DataFusion(error)))
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match *error.0 {
            Kind::DataFusion(error) => error,
            Kind::Usage(message) => DataFusionError::Plan(message),
        }
    }
}
