//! Passes over programs, between lowering and the engines. Each takes a program that obeys the laws of the [`crate::verifier`] and leaves
//! one that does.
//!
//! ```
//! use stagefuse_ir::{parser, passes, verifier};
//!
//! // Nobody reads the second column, nor the sum.
//! let mut program = parser::parse(
//!     "program {
//!        input0 \"t\" (int64, int64)
//!        output (int64)
//!        s0 \"scan t\" { source input0 (v0: int64, v1: int64) v2: int64 = add v0, v1 emit (v0) }
//!      }",
//! )
//! .expect("a program");
//! passes::eliminate_dead(&mut program);
//! assert_eq!(verifier::verify(&program), Ok(()));
//! assert!(!program.to_string().contains("add"), "{program}");
//! ```

pub mod codes;
pub mod dce;
pub mod keys;
pub mod lift;
pub mod narrow;
mod range;
mod ranges;

pub use codes::carry_codes;
pub use dce::eliminate_dead;
pub use keys::read_keys;
pub use lift::lift_opaque;
pub use narrow::narrow;

#[cfg(test)]
mod tests;
