//! The literal table that generated code reads.

use std::sync::Arc;

use stagefuse_ir::abi::StrRef;
use stagefuse_ir::{Datum, EntityRef, Input, Param, Program, SqlType, Type};

use crate::builtins::strings;
use crate::compact::Dictionary;
use crate::error::Error;

/// 16 bytes for each literal of a program; then twice 16 for each parameter, its value, and whether it is valid; then 16 for each dictionary of its inputs: the address of the
/// entries, and the number of the last. Owns the long texts.
#[derive(Debug)]
pub(crate) struct Literals {
    pub(crate) words: Vec<[u64; 2]>,
    literals: usize,
    _texts: Vec<Box<[u8]>>,
    dictionaries: Vec<Arc<Dictionary>>,
}

impl Literals {
    /// `params` are the values of the program's parameters, `dictionaries` those of its inputs, in the order of [`Program::dictionaries`].
    ///
    /// # Errors
    /// Where they are not of its types, or dictionaries are missing.
    pub(crate) fn new(program: &Program, params: &[Datum], dictionaries: Vec<Arc<Dictionary>>) -> Result<Self, Error> {
        if params.len() != program.params.len() {
            return Err(Error::Internal(format!("{} values for {} parameters", params.len(), program.params.len())));
        }
        let mut texts = vec![];
        let mut words: Vec<_> = program.literals.values().map(|literal| encode(&literal.value, &mut texts)).collect();
        for (value, (param, decl)) in params.iter().zip(program.params.iter()) {
            if !fits(value, decl.ty) {
                return Err(Error::Internal(format!("{param} is {}, not {value}", decl.ty)));
            }
            words.extend([encode(value, &mut texts), [u64::from(*value != Datum::Null), 0]]);
        }
        let wanted = program.dictionaries().count();
        if dictionaries.len() != wanted {
            return Err(Error::Internal(format!("{} dictionaries for {wanted} columns", dictionaries.len())));
        }
        words.extend(dictionaries.iter().map(|dictionary| {
            let entries = dictionary.entries();
            [entries.as_ptr() as u64, entries.len() as u64 - 1]
        }));
        Ok(Literals { words, literals: program.literals.len(), _texts: texts, dictionaries })
    }

    /// The texts of a column's dictionary.
    pub(crate) fn entries(&self, program: &Program, input: Input, column: u32) -> Option<&[StrRef]> {
        Some(self.dictionaries.get(program.dictionary(input, column)?)?.entries())
    }

    /// A parameter's two elements.
    pub(crate) fn param(&self, param: Param) -> [[u64; 2]; 2] {
        let at = self.literals + 2 * param.index();
        [self.words[at], self.words[at + 1]]
    }
}

/// Whether a value can stand for a parameter.
fn fits(value: &Datum, ty: Type) -> bool {
    match (value, ty.sql) {
        (Datum::Null, _) => ty.nullable,
        (Datum::Bool(_), SqlType::Boolean) | (Datum::Str(_), SqlType::Utf8) => true,
        (Datum::Bytes(_), SqlType::Binary) => true,
        (Datum::Float(_), sql) => sql.is_float(),
        (Datum::Int(_), sql) => !sql.is_float() && !matches!(sql, SqlType::Boolean | SqlType::Utf8 | SqlType::Binary),
        _ => false,
    }
}

fn encode(value: &Datum, texts: &mut Vec<Box<[u8]>>) -> [u64; 2] {
    match value {
        Datum::Null => [0, 0],
        Datum::Bool(b) => [u64::from(*b), 0],
        Datum::Int(i) => [*i as u64, (*i >> 64) as u64],
        Datum::Float(bits) => [*bits, 0],
        Datum::Str(text) => keep(text.as_bytes(), texts),
        Datum::Bytes(bytes) => keep(bytes, texts),
    }
}

fn keep(text: &[u8], texts: &mut Vec<Box<[u8]>>) -> [u64; 2] {
    // Boxed text does not move when the table of texts grows.
    let text: Box<[u8]> = text.into();
    let StrRef { lo, hi } = strings::make(&text);
    texts.push(text);
    [lo, hi]
}
