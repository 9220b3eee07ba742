//! Passes over programs, between lowering and the engines. Each takes a program that obeys the laws of the [`crate::verifier`] and leaves
//! one that does.

pub mod dce;
pub mod lift;
pub mod narrow;
mod range;
mod ranges;

pub use dce::eliminate_dead;
pub use lift::lift_opaque;
pub use narrow::narrow;

#[cfg(test)]
mod tests;
