//! Row operations.

pub(crate) mod limit;
pub(crate) mod probe;
