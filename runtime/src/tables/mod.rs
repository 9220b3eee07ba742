//! Group and join tables, sorts.

mod apart;
pub(crate) mod block;
pub(crate) mod calls;
mod combine;
pub(crate) mod groups;
pub(crate) mod join;
pub(crate) mod loose;
pub(crate) mod merge;
pub(crate) mod number;
pub(crate) mod order;
mod ordered;
pub(crate) mod rows;
pub(crate) mod sort;
pub(crate) mod spread;
mod zeros;
