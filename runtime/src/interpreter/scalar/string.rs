//! Text, and membership in lists.

use std::rc::Rc;

use stagefuse_ir::abi::{ErrorCode, STR_INLINE, StrRef};
use stagefuse_ir::{EntityRef, Input, Lit, Repr, Value};

use super::cast::resize;
use crate::builtins::strings;
use crate::error::Error;
use crate::interpreter::level::Frame;
use crate::interpreter::row::probe::same_text;
use crate::interpreter::vector::{Buf, Data, Prim, Vector, map};
use crate::matchers::Matcher;

/// Longest list that is searched one by one.
const SHORT_LIST: usize = 16;

fn matcher<'m>(frame: &Frame<'_>, value: Value) -> Result<&'m Matcher, Error> {
    // SAFETY: the worker has entered the stage: the table has a place for each of its values.
    let matcher = unsafe { *frame.worker.head.matchers.add(value.index()) }.cast::<Matcher>();
    // SAFETY: what is not null is a matcher that the run keeps.
    unsafe { matcher.as_ref() }.ok_or_else(|| Error::Internal(format!("{value} has no matcher")))
}

pub(super) fn like(frame: &mut Frame<'_>, value: Value, arg: Value) -> Result<Rc<Vector>, Error> {
    let matcher = matcher(frame, value)?;
    let texts = frame.get(arg)?;
    map::<StrRef, u8>(&texts, |text| u8::from(matcher.matches(text.lo, text.hi))).map(Rc::new)
}

/// The texts of a column's dictionary that have these numbers.
pub(super) fn entry(frame: &mut Frame<'_>, input: Input, column: u32, number: Value) -> Result<Rc<Vector>, Error> {
    let numbers = frame.get(number)?;
    let entries = frame.run.literals.entries(&frame.run.program, input, column);
    let entries = entries.ok_or_else(|| Error::Internal(format!("{input} has no dictionary of column {column}")))?;
    let text = |number: usize| entries[number.min(entries.len() - 1)];
    let mut texts = match numbers.repr() {
        Repr::I8 => map::<i8, StrRef>(&numbers, |number| text(number as u8 as usize)),
        Repr::I16 => map::<i16, StrRef>(&numbers, |number| text(number as u16 as usize)),
        Repr::I32 => map::<i32, StrRef>(&numbers, |number| text(number as u32 as usize)),
        other => Err(Error::Internal(format!("numbers of a dictionary as {}", other.name()))),
    }?;
    // The text of a null is empty.
    if let (Some(valid), Data::Str(texts)) = (&texts.valid, &mut texts.data) {
        texts.iter_mut().zip(valid.iter()).filter(|(_, valid)| **valid == 0).for_each(|(text, _)| *text = StrRef::ZERO);
    }
    Ok(Rc::new(texts))
}

pub(super) fn is_in(frame: &mut Frame<'_>, value: Value, arg: Value, lits: &[Lit]) -> Result<Rc<Vector>, Error> {
    let vector = frame.get(arg)?;
    let unsigned = frame.plan.ty(arg).sql.is_unsigned();
    let words: Vec<[u64; 2]> = lits.iter().map(|lit| frame.run.literals.words[lit.index()]).collect();
    let matcher = matcher(frame, value)?;
    macro_rules! ints {
        ($held:ty, $meant:ty) => {{
            // A literal that the representation cannot hold is never met.
            let wide = |word: &[u64; 2]| ((u128::from(word[1]) << 64) | u128::from(word[0])) as i128;
            let list: Vec<$held> = words.iter().map(wide).filter(|w| (*w as $meant) as i128 == *w).map(|w| w as $held).collect();
            if list.len() <= SHORT_LIST {
                map::<$held, u8>(&vector, |value| list.iter().fold(0, |found, wanted| found | u8::from(value == *wanted)))
            } else {
                map::<$held, u8>(&vector, |value| {
                    let wide = (value as $meant) as i128;
                    u8::from(matcher.matches(wide as u64, (wide >> 64) as u64))
                })
            }
        }};
    }
    let result = match (vector.repr(), unsigned) {
        (Repr::Bool, _) => ints!(u8, u8),
        (Repr::I8, false) => ints!(i8, i8),
        (Repr::I8, true) => ints!(i8, u8),
        (Repr::I16, false) => ints!(i16, i16),
        (Repr::I16, true) => ints!(i16, u16),
        (Repr::I32, false) => ints!(i32, i32),
        (Repr::I32, true) => ints!(i32, u32),
        (Repr::I64, false) => ints!(i64, i64),
        (Repr::I64, true) => ints!(i64, u64),
        (Repr::I128, _) => ints!(i128, i128),
        (Repr::F32, _) => map::<f32, u8>(&vector, |value| u8::from(matcher.matches(f64::from(value).to_bits(), 0))),
        (Repr::F64, _) => map::<f64, u8>(&vector, |value| u8::from(matcher.matches(value.to_bits(), 0))),
        (Repr::Str, _) if words.len() <= SHORT_LIST => {
            let list: Vec<StrRef> = words.iter().map(|[lo, hi]| StrRef { lo: *lo, hi: *hi }).collect();
            map::<StrRef, u8>(&vector, |text| u8::from(list.iter().any(|wanted| same_text(text, *wanted))))
        }
        (Repr::Str, _) => map::<StrRef, u8>(&vector, |text| u8::from(matcher.matches(text.lo, text.hi))),
    };
    result.map(Rc::new)
}

pub(super) fn char_length(texts: &Vector) -> Result<Rc<Vector>, Error> {
    // SAFETY: vectors hold text that is alive.
    map::<StrRef, i32>(texts, |text| strings::char_length(unsafe { strings::bytes(&text) })).map(Rc::new)
}

pub(super) fn substr(frame: &mut Frame<'_>, value: Value, text: Value, start: Value, count: Option<Value>) -> Result<Rc<Vector>, Error> {
    let texts = frame.get(text)?;
    let start = resize(&frame.get(start)?, Repr::I64)?;
    let count = match count {
        Some(count) => resize(&frame.get(count)?, Repr::I64)?,
        None => Rc::new(Vector::constant(i64::MAX, true)),
    };
    let constant = texts.constant && start.constant && count.constant;
    let rows = if constant { 1 } else { frame.rows() };
    let all = [&texts, &start, &count];
    let valid = all.iter().any(|vector| vector.valid.is_some()).then(|| {
        let valid: Buf<u8> = (0..rows).map(|row| u8::from(all.iter().all(|vector| vector.is_valid(row)))).collect();
        Rc::new(valid)
    });
    let (values, starts, counts) = (texts.arg::<StrRef>()?, start.arg::<i64>()?, count.arg::<i64>()?);
    let mut out = Buf::<StrRef>::new();
    for row in 0..rows {
        if valid.as_ref().is_some_and(|valid| valid[row] == 0) {
            out.push(StrRef::ZERO);
            continue;
        }
        let (text, count) = (values.at(row), counts.at(row));
        if count < 0 {
            return Err(Error::Arithmetic { code: ErrorCode::NegativeSubstringLength, value });
        }
        // SAFETY: vectors hold text that is alive.
        let part = strings::substr(unsafe { strings::bytes(&text) }, starts.at(row), count);
        debug_assert!(text.lo as u32 > STR_INLINE || part.len() <= STR_INLINE as usize, "a part of inline text is inline");
        out.push(strings::make(part));
    }
    Ok(Rc::new(Vector { data: StrRef::wrap(out), valid, constant }))
}
