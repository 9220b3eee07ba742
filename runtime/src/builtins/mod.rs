//! The functions that generated code may call: [`stagefuse_ir::for_each_builtin`] and nothing else.
//!
//! None of them unwinds: what could panic is caught here and becomes an error in the worker.

mod decimal;
pub(crate) mod prefetch;
mod rows;
pub(crate) mod strings;

pub(crate) use decimal::{f64_to_decimal_value, rescale};

use stagefuse_ir::abi::BuiltinTable;

use decimal::*;
use prefetch::*;
use rows::*;
use strings::*;

/// The Rust type of a register type.
macro_rules! rust_type {
    (I32) => { i32 };
    (I64) => { u64 };
    (F64) => { f64 };
    (Ptr) => { *mut u8 };
}

/// Makes the table of addresses in the order of the declaration, and checks each signature against it.
macro_rules! table {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ident),*) -> $ret:ident;)*) => {
        /// Addresses of all builtins, for the compiler.
        pub fn builtins() -> BuiltinTable {
            // The casts to typed pointers make a function whose signature differs from its declaration fail to build.
            BuiltinTable { addresses: vec![$({
                let function: unsafe extern "C" fn($(rust_type!($ty)),*) -> rust_type!($ret) = $name;
                function as *const u8
            },)*] }
        }
    };
}

stagefuse_ir::for_each_builtin!(table);

/// A 128-bit integer from its halves.
fn wide(lo: u64, hi: u64) -> i128 {
    ((u128::from(hi) << 64) | u128::from(lo)) as i128
}

/// Stores 16 bytes for generated code.
///
/// # Safety
/// `out` has room for 16 bytes.
unsafe fn put(out: *mut u8, value: i128) {
    // SAFETY: the caller's promise; generated code aligns to 8 only.
    unsafe { out.cast::<i128>().write_unaligned(value) }
}
