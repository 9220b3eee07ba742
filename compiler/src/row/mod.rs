//! Row operations.

mod expand;
mod filter;
mod keys;
mod limit;
mod probe;
