//! Group and join tables.

pub(crate) mod block;
pub(crate) mod groups;
pub(crate) mod join;
pub(crate) mod merge;
pub(crate) mod number;
pub(crate) mod rows;
