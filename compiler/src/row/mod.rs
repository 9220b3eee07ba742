//! Row operations.

mod filter;
mod keys;
mod limit;
mod probe;
