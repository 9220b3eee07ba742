//! Work in progress.
use crate::Program;
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct VerifierError;
/// Not yet.
#[allow(clippy::result_unit_err)]
pub fn verify(_: &Program) -> Result<(), Vec<VerifierError>> {
    Ok(())
}
