//! The literal table that generated code reads.

use stagefuse_ir::abi::StrRef;
use stagefuse_ir::{Datum, Literal, Program};

use crate::builtins::strings;

/// 16 bytes for each literal of a program; owns the long texts.
#[derive(Debug)]
pub(crate) struct Literals {
    pub(crate) words: Vec<[u64; 2]>,
    _texts: Vec<Box<str>>,
}

impl Literals {
    pub(crate) fn new(program: &Program) -> Self {
        let mut texts = vec![];
        let words = program.literals.values().map(|literal| encode(literal, &mut texts)).collect();
        Literals { words, _texts: texts }
    }
}

fn encode(literal: &Literal, texts: &mut Vec<Box<str>>) -> [u64; 2] {
    match &literal.value {
        Datum::Null => [0, 0],
        Datum::Bool(b) => [u64::from(*b), 0],
        Datum::Int(i) => [*i as u64, (*i >> 64) as u64],
        Datum::Float(bits) => [*bits, 0],
        Datum::Str(text) => {
            // Boxed text does not move when the table of texts grows.
            let text: Box<str> = text.as_str().into();
            let StrRef { lo, hi } = strings::make(text.as_bytes());
            texts.push(text);
            [lo, hi]
        }
    }
}
