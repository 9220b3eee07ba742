//! Programs, as text or as choices of the generator that the tests have: the parser never panics, and what the verifier accepts gives the same rows native
//! and interpreted.
#![no_main]

#[path = "../../ir/tests/random/generate.rs"]
#[allow(dead_code)]
mod generate;
#[path = "../../compiler/tests/random/run.rs"]
mod run;

use generate::{Choices, Generator};
use libfuzzer_sys::fuzz_target;
use stagefuse_ir::{SqlType, parser::parse, verifier::verify};

const TYPES: &[SqlType] = &[
    SqlType::Boolean,
    SqlType::Int8,
    SqlType::Int32,
    SqlType::Int64,
    SqlType::UInt16,
    SqlType::UInt64,
    SqlType::Float32,
    SqlType::Float64,
    SqlType::Decimal { precision: 15, scale: 2 },
    SqlType::Decimal { precision: 38, scale: 0 },
    SqlType::Date32,
    SqlType::Utf8,
];

fuzz_target!(|bytes: &[u8]| {
    let numbers: Vec<u64> = bytes.iter().map(|byte| u64::from(*byte).wrapping_mul(0x0101_0101_0101_0101)).chain([1]).collect();
    let program = match bytes {
        [0..=63, rest @ ..] => {
            let choices = Choices::new(rest.iter().map(|byte| u64::from(*byte)).collect());
            Generator::new(choices, TYPES).stages()
        }
        _ => match std::str::from_utf8(bytes).ok().and_then(|text| parse(text).ok()) {
            Some(program) => program,
            None => return,
        },
    };
    if verify(&program).is_ok() && run::is_plain(&program) {
        run::check(program, &numbers);
    }
});
