//! What [`stagefuse_ir::Function`]s do: one place for both engines.

mod convert;
mod math;
mod patterns;
mod text;
mod time;

pub use patterns::is_regex;

use std::borrow::Cow;
use std::io::Write;

use arrow::datatypes::Date32Type;
use bumpalo::Bump;
use stagefuse_ir::Function;
use stagefuse_ir::abi::{ErrorCode, STR_INLINE, StrRef};

use crate::builtins::strings;

/// A value as the literal table holds it.
pub(crate) type Words = [u64; 2];

/// Memory for text that lives until the rows that refer to it have been flushed.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    arena: Bump,
    /// Where a text is put together.
    buffer: Vec<u8>,
    patterns: patterns::Patterns,
}

impl Scratch {
    /// Gives all texts up.
    pub(crate) fn reset(&mut self) {
        self.arena.reset();
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.allocated_bytes() + self.buffer.capacity()
    }

    /// Puts a text together; fails where it is longer than a text can be.
    fn build(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<Option<Words>, ErrorCode> {
        self.buffer.clear();
        write(&mut self.buffer);
        self.keep()
    }

    /// Puts a text together from its parts.
    fn write(&mut self, text: std::fmt::Arguments<'_>) -> Result<Option<Words>, ErrorCode> {
        self.build(|out| {
            // Writing to memory cannot fail.
            let _ = out.write_fmt(text);
        })
    }

    fn keep(&mut self) -> Result<Option<Words>, ErrorCode> {
        if self.buffer.len() > i32::MAX as usize {
            return Err(ErrorCode::Function);
        }
        let text = if self.buffer.len() <= STR_INLINE as usize { &self.buffer } else { &*self.arena.alloc_slice_copy(&self.buffer) };
        Ok(Some(words(strings::make(text))))
    }
}

/// A decimal's number.
fn wide(words: Words) -> i128 {
    ((u128::from(words[1]) << 64) | u128::from(words[0])) as i128
}

fn words(text: StrRef) -> Words {
    [text.lo, text.hi]
}

/// Calls a function. `None`: the result is null.
///
/// # Safety
/// The operands are as many and of the kinds that the function takes; text among them is alive.
pub(crate) unsafe fn call(function: Function, args: &[Words], scratch: &mut Scratch) -> Result<Option<Words>, ErrorCode> {
    let texts = args.iter().map(|arg| StrRef { lo: arg[0], hi: arg[1] });
    // The references stand here while the call lasts: short text lies within them.
    let refs: [StrRef; 4] = std::array::from_fn(|at| texts.clone().nth(at).unwrap_or(StrRef { lo: 0, hi: 0 }));
    let is_text = |at: usize| *function.operands().get(at).unwrap_or(&function.result()) == stagefuse_ir::Kind::Text;
    // SAFETY: an operand of the kind `Text` is a text that is alive, and text is UTF-8.
    let text = |at: usize| unsafe { if is_text(at) { std::str::from_utf8_unchecked(strings::bytes(&refs[at])) } else { "" } };
    let whole = |at: usize| args[at][0] as i64;
    let float = |at: usize| f64::from_bits(args[at][0]);
    let part = |part: &str| Ok(Some(words(strings::make(part.as_bytes()))));
    let number = |number: i64| Ok(Some([number as u64, (number >> 63) as u64]));
    let real = |number: f64| Ok(Some([number.to_bits(), 0]));
    let truth = |truth: bool| Ok(Some([u64::from(truth), 0]));
    let exact = |number: i128| Ok(Some([number as u64, (number >> 64) as u64]));
    let parsed = ErrorCode::Cast;
    if let Some(strict) = function.strict() {
        // SAFETY: both take the same operands.
        return Ok(unsafe { call(strict, args, scratch) }.unwrap_or(None));
    }
    use Function::*;
    match function {
        Upper => scratch.build(|out| text::upper(text(0), out)),
        Lower => scratch.build(|out| text::lower(text(0), out)),
        Concat => {
            scratch.buffer.clear();
            for arg in texts {
                // SAFETY: as above: all operands are texts.
                scratch.buffer.extend_from_slice(unsafe { strings::bytes(&arg) });
            }
            scratch.keep()
        }
        Trim => part(text::trim_end(text::trim_start(text(0), text(1)), text(1))),
        TrimStart => part(text::trim_start(text(0), text(1))),
        TrimEnd => part(text::trim_end(text(0), text(1))),
        Left => part(text::left(text(0), whole(1))),
        Right => part(text::right(text(0), whole(1))),
        Replace => scratch.build(|out| text::replace(text(0), text(1), text(2), out)),
        Position => number(text::position(text(0), text(1))),
        StartsWith => truth(text(0).starts_with(text(1))),
        EndsWith => truth(text(0).ends_with(text(1))),
        Contains => truth(text::find(text(0), text(1)).is_some()),
        SplitPart => part(text::split_part(text(0), text(1), whole(2))?),
        Reverse => scratch.build(|out| text::reverse(text(0), out)),
        Repeat => {
            let length = (text(0).len() as i64).saturating_mul(whole(1).max(0));
            if length > i64::from(i32::MAX) {
                return Err(ErrorCode::Function);
            }
            scratch.build(|out| (0..whole(1)).take(length as usize).for_each(|_| out.extend_from_slice(text(0).as_bytes())))
        }
        PadStart | PadEnd if whole(1) > i64::from(i32::MAX) => Err(ErrorCode::Function),
        PadStart | PadEnd => scratch.build(|out| text::pad(text(0), whole(1), text(2), function == PadStart, out)),
        ByteLength => number(text(0).len() as i64),
        CharCode => number(text(0).chars().next().map_or(0, |c| i64::from(u32::from(c)))),
        WholeText => scratch.write(format_args!("{}", whole(0))),
        BooleanText => part(if args[0][0] != 0 { "true" } else { "false" }),
        DateText => {
            let date = i32::try_from(whole(0)).ok().and_then(Date32Type::to_naive_date_opt);
            date.ok_or(ErrorCode::Cast).and_then(|date| scratch.write(format_args!("{date:?}")))
        }
        InitCap => scratch.build(|out| text::init_cap(text(0), out)),
        Translate => scratch.build(|out| text::translate(text(0), text(1), text(2), out)),
        Chr => {
            let character = u32::try_from(whole(0)).ok().and_then(char::from_u32).ok_or(ErrorCode::Function)?;
            part(character.encode_utf8(&mut [0; 4]))
        }
        Hex => scratch.write(format_args!("{:x}", args[0][0])),
        Levenshtein => number(text::levenshtein(text(0), text(1))),
        FindInSet => number(text(1).split(',').position(|member| member == text(0)).map_or(0, |at| at as i64 + 1)),
        SubstrIndex => part(text::substr_index(text(0), text(1), whole(2))),
        Overlay if whole(2) < 1 => Err(ErrorCode::Function),
        Overlay => scratch.build(|out| text::overlay(text(0), text(1), whole(2), whole(3), out)),
        LikeText => truth(scratch.patterns.like(text(0), text(1))),
        IlikeText => truth(scratch.patterns.ilike(text(0), text(1))),
        RegexFound => scratch.patterns.found(text(0), text(1)).ok_or(ErrorCode::Function).and_then(truth),
        RegexReplace => match scratch.patterns.replaced(text(0), text(1), text(2), whole(3)).ok_or(ErrorCode::Function)? {
            Cow::Borrowed(within) => part(within),
            Cow::Owned(made) => scratch.build(|out| out.extend_from_slice(made.as_bytes())),
        },
        UnsignedText => scratch.write(format_args!("{}", args[0][0])),
        DecimalText => scratch.write(format_args!("{}", convert::decimal_text(wide(args[0]), whole(1)))),
        FloatText => scratch.build(|out| out.extend_from_slice(ryu::Buffer::new().format(float(0)).as_bytes())),
        SingleText => scratch.build(|out| out.extend_from_slice(ryu::Buffer::new().format(float(0) as f32).as_bytes())),
        TimestampText => convert::timestamp_text(whole(0), whole(1)).ok_or(parsed).and_then(|text| scratch.write(format_args!("{text}"))),
        TimeText => convert::time_text(whole(0), whole(1)).ok_or(parsed).and_then(|text| scratch.write(format_args!("{text}"))),
        ParseWhole => convert::whole(text(0), whole(1)).ok_or(parsed).and_then(number),
        ParseUnsigned => convert::unsigned(text(0)).ok_or(parsed).map(|number| Some([number, 0])),
        ParseFloat => convert::float(text(0)).ok_or(parsed).and_then(real),
        ParseSingle => convert::single(text(0)).ok_or(parsed).and_then(real),
        ParseBoolean => convert::boolean(text(0)).ok_or(parsed).and_then(truth),
        ParseDecimal => convert::decimal(text(0), whole(1), whole(2)).ok_or(parsed).and_then(exact),
        ParseDate => convert::date(text(0)).ok_or(parsed).and_then(number),
        ParseTime => convert::time(text(0), whole(1)).ok_or(parsed).and_then(number),
        ParseTimestamp => convert::timestamp(text(0), whole(1)).ok_or(parsed).and_then(number),
        TryParseWhole | TryParseUnsigned | TryParseFloat | TryParseSingle | TryParseBoolean | TryParseDecimal | TryParseDate
        | TryParseTime | TryParseTimestamp => Err(ErrorCode::Function),
        IsNan => truth(float(0).is_nan()),
        IsZero => truth(float(0) == 0.0),
        Sqrt if float(0) < 0.0 => Err(ErrorCode::Function),
        Sqrt => real(float(0).sqrt()),
        Floor => real(float(0).floor()),
        Ceil => real(float(0).ceil()),
        Trunc => real(math::trunc(float(0))),
        Round => real(math::round(float(0), whole(1))),
        TruncDigits => real(math::trunc_digits(float(0), whole(1))),
        TruncDecimal => exact(math::trunc_decimal(wide(args[0]), whole(1))),
        RoundDecimal => math::round_decimal(wide(args[0]), whole(1), whole(2)).ok_or(ErrorCode::Function).and_then(exact),
        Gcd => math::gcd(whole(0), whole(1)).ok_or(ErrorCode::Function).and_then(number),
        Lcm => math::lcm(whole(0), whole(1)).ok_or(ErrorCode::Function).and_then(number),
        Factorial => math::factorial(whole(0)).ok_or(ErrorCode::Function).and_then(number),
        Log => real(float(0).log(float(1))),
        Exp => real(float(0).exp()),
        Ln => real(float(0).ln()),
        Log2 => real(float(0).log2()),
        Log10 => real(float(0).log10()),
        Power => math::power(float(0), float(1)).and_then(real),
        Signum => real(math::signum(float(0))),
        Sin => real(float(0).sin()),
        Cos => real(float(0).cos()),
        Tan => real(float(0).tan()),
        Asin => real(float(0).asin()),
        Acos => real(float(0).acos()),
        Atan => real(float(0).atan()),
        Sinh => real(float(0).sinh()),
        Cosh => real(float(0).cosh()),
        Tanh => real(float(0).tanh()),
        Asinh => real(float(0).asinh()),
        Acosh => real(float(0).acosh()),
        Atanh => real(float(0).atanh()),
        Radians => real(float(0).to_radians()),
        Degrees => real(float(0).to_degrees()),
        Cot => real(1.0 / float(0).tan()),
        Cbrt => real(float(0).cbrt()),
        Atan2 => real(float(0).atan2(float(1))),
        TimePart => Ok(time::part(whole(0), whole(1), whole(2)).map(|value| [value as u64, (value >> 63) as u64])),
        TimeTrunc => time::trunc(whole(0), whole(1), whole(2)).ok_or(ErrorCode::Function).and_then(number),
        TimeBin => {
            let bin = time::bin(whole(0), whole(1), whole(2), whole(3) != 0, whole(4));
            Ok(bin.map(|time| [time as u64, (time >> 63) as u64]))
        }
        MakeDate => time::make_date(whole(0), whole(1), whole(2)).ok_or(ErrorCode::Function).and_then(number),
        TimeAdd => {
            let interval = time::Interval { months: whole(2) as i32, days: whole(3) as i32, nanos: whole(4), back: whole(5) != 0 };
            time::add(whole(0), whole(1), interval).ok_or(ErrorCode::Function).and_then(number)
        }
        Day => time::day(whole(0), whole(1)).ok_or(ErrorCode::Cast).and_then(number),
    }
}
