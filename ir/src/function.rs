//! Functions that both engines call: what is not worth an operation of its own, since a call costs little beside what it does.
//!
//! Operands and the result go through memory in 16 bytes each, as the literal table holds values: whole numbers, and what dates and times count, with
//! their sign in the first word, as whole numbers without sign; decimals in both words; floats of either width as the bits of an `f64`; text as a
//! [`crate::abi::StrRef`].

use crate::types::{Repr, SqlType, Type};

/// What [`Function::TimePart`] and [`Function::TimeTrunc`] can look for, by number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimePart {
    /// Year.
    Year,
    /// Quarter, 1 to 4.
    Quarter,
    /// Month, 1 to 12.
    Month,
    /// Week by ISO 8601.
    Week,
    /// Day of the month.
    Day,
    /// Day of the week, 0 is Sunday.
    DayFromSunday,
    /// Day of the week, 1 is Monday.
    IsoDay,
    /// Day of the year, from 1.
    DayOfYear,
    /// The year that [`TimePart::Week`] belongs to.
    IsoYear,
    /// Hour.
    Hour,
    /// Minute.
    Minute,
    /// Second.
    Second,
    /// Milliseconds since the last full minute.
    Milliseconds,
    /// Microseconds since the last full minute.
    Microseconds,
    /// Nanoseconds since the last full minute.
    Nanoseconds,
}

impl TimePart {
    /// Every part, by number.
    pub const ALL: &'static [TimePart] = &[
        TimePart::Year,
        TimePart::Quarter,
        TimePart::Month,
        TimePart::Week,
        TimePart::Day,
        TimePart::DayFromSunday,
        TimePart::IsoDay,
        TimePart::DayOfYear,
        TimePart::IsoYear,
        TimePart::Hour,
        TimePart::Minute,
        TimePart::Second,
        TimePart::Milliseconds,
        TimePart::Microseconds,
        TimePart::Nanoseconds,
    ];
}

/// What a function takes or yields.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Boolean,
    /// An integer, a date, a time or the like, in at most 64 bits; without sign only in less.
    Whole,
    /// An integer of 64 bits without sign.
    Unsigned,
    /// A decimal.
    Exact,
    /// A float of 64 bits.
    Float,
    /// A float of 32 bits.
    Single,
    /// Text.
    Text,
}

impl Kind {
    /// Whether values of a type are of this kind.
    pub const fn holds(self, ty: Type) -> bool {
        match self {
            Kind::Boolean => matches!(ty.sql, SqlType::Boolean),
            Kind::Unsigned => matches!(ty.sql, SqlType::UInt64),
            Kind::Exact => matches!(ty.sql, SqlType::Decimal { .. }),
            Kind::Float => matches!(ty.sql, SqlType::Float64),
            Kind::Single => matches!(ty.sql, SqlType::Float32),
            Kind::Text => matches!(ty.sql, SqlType::Utf8),
            Kind::Whole => {
                let counts = ty.sql.is_temporal() || ty.sql.is_integer();
                counts && !matches!(ty.sql, SqlType::UInt64) && !matches!(ty.repr, Repr::I128)
            }
        }
    }
}

/// What a function does beside yielding a value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Also {
    /// Nothing.
    Nothing,
    /// It may yield null though no operand is null.
    Nulls,
    /// It may fail.
    Fails,
}

/// Declares the functions: `Name = "name" (operands) -> result, also;`. `..` behind the operands: any number more of the last.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $text:literal ($($arg:ident),* $(; $more:ident)?) -> $result:ident, $also:ident;)*) => {
        /// A function. Null where any operand is null.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Function { $($(#[$doc])* $name,)* }

        impl Function {
            /// Every function, in order of its number.
            pub const ALL: &'static [Function] = &[$(Function::$name,)*];

            /// Name in the text form.
            pub const fn name(self) -> &'static str {
                match self { $(Function::$name => $text,)* }
            }

            /// Kinds of its operands.
            pub const fn operands(self) -> &'static [Kind] {
                match self { $(Function::$name => &[$(Kind::$arg,)*],)* }
            }

            /// Kind of further operands, of which there may be any number.
            pub const fn more(self) -> Option<Kind> {
                match self { $(Function::$name => functions!(@more $($more)?),)* }
            }

            /// Kind of its result.
            pub const fn result(self) -> Kind {
                match self { $(Function::$name => Kind::$result,)* }
            }

            const fn also(self) -> Also {
                match self { $(Function::$name => Also::$also,)* }
            }
        }
    };
    (@more) => { None };
    (@more $more:ident) => { Some(Kind::$more) };
}

functions! {
    /// Text in capital letters.
    Upper = "upper" (Text) -> Text, Nothing;
    /// Text in small letters.
    Lower = "lower" (Text) -> Text, Nothing;
    /// Texts behind each other. Fails beyond 2^31 bytes, as all that make text do.
    Concat = "concat" (Text; Text) -> Text, Fails;
    /// Text without the second operand's characters at both ends.
    Trim = "trim" (Text, Text) -> Text, Nothing;
    /// Text without the second operand's characters at its start.
    TrimStart = "trim_start" (Text, Text) -> Text, Nothing;
    /// Text without the second operand's characters at its end.
    TrimEnd = "trim_end" (Text, Text) -> Text, Nothing;
    /// So many characters from the start; all but so many where the number is negative.
    Left = "left" (Text, Whole) -> Text, Nothing;
    /// So many characters from the end; all but so many where the number is negative.
    Right = "right" (Text, Whole) -> Text, Nothing;
    /// Text with every occurrence of the second operand, unless that is empty, replaced by the third.
    Replace = "replace" (Text, Text, Text) -> Text, Fails;
    /// Number of the character where the second operand is first found; 0 where it is not.
    Position = "position" (Text, Text) -> Whole, Nothing;
    /// Whether the text begins with the second operand.
    StartsWith = "starts_with" (Text, Text) -> Boolean, Nothing;
    /// Whether the text ends with the second operand.
    EndsWith = "ends_with" (Text, Text) -> Boolean, Nothing;
    /// Whether the second operand is found in the text.
    Contains = "contains" (Text, Text) -> Boolean, Nothing;
    /// The part of this number of the text cut at every occurrence of the second operand; negative numbers count from the end. Fails with number 0.
    SplitPart = "split_part" (Text, Text, Whole) -> Text, Fails;
    /// Characters from last to first.
    Reverse = "reverse" (Text) -> Text, Nothing;
    /// The text so many times.
    Repeat = "repeat" (Text, Whole) -> Text, Fails;
    /// So many characters of text, filled up at the start with the third operand.
    PadStart = "pad_start" (Text, Whole, Text) -> Text, Fails;
    /// So many characters of text, filled up at the end with the third operand.
    PadEnd = "pad_end" (Text, Whole, Text) -> Text, Fails;
    /// Bytes of a text.
    ByteLength = "byte_length" (Text) -> Whole, Nothing;
    /// Number of the first character; 0 of an empty text.
    CharCode = "char_code" (Text) -> Whole, Nothing;

    /// Each word with a capital letter at its start and small ones behind.
    InitCap = "init_cap" (Text) -> Text, Nothing;
    /// Text with characters of the second operand replaced by those at the same place in the third, or left out where there are none.
    Translate = "translate" (Text, Text, Text) -> Text, Fails;
    /// The character of this number. Fails where there is none.
    Chr = "chr" (Whole) -> Text, Fails;
    /// A whole number in hexadecimal digits, a negative one as 64 bits.
    Hex = "hex" (Whole) -> Text, Nothing;
    /// Characters to insert, leave out or exchange to make the second operand of the first.
    Levenshtein = "levenshtein" (Text, Text) -> Whole, Nothing;
    /// Number of the part of the second operand, cut at commas, that is the first; 0 where none is.
    FindInSet = "find_in_set" (Text, Text) -> Whole, Nothing;
    /// All before so many occurrences of the second operand; all behind them, counted from the end, where the number is negative.
    SubstrIndex = "substr_index" (Text, Text, Whole) -> Text, Nothing;
    /// Text with so many characters (last operand) from a position on replaced by the second operand. Fails with a position before the start.
    Overlay = "overlay" (Text, Text, Whole, Whole) -> Text, Fails;
    /// SQL's LIKE with a pattern that may differ from row to row.
    LikeText = "like_text" (Text, Text) -> Boolean, Nothing;
    /// As [`Function::LikeText`], without regard to small and capital letters.
    IlikeText = "ilike_text" (Text, Text) -> Boolean, Nothing;
    /// Whether a regular expression is found in the text. Fails where it is none.
    RegexFound = "regex_found" (Text, Text) -> Boolean, Fails;
    /// Text with what a regular expression finds replaced by the third operand, at most so many times (0: always). Fails where it is none.
    RegexReplace = "regex_replace" (Text, Text, Text, Whole) -> Text, Fails;

    /// A whole number in decimal digits.
    WholeText = "whole_text" (Whole) -> Text, Nothing;
    /// `true` or `false`.
    BooleanText = "boolean_text" (Boolean) -> Text, Nothing;
    /// A day since 1970-01-01 as year, month and day. Fails beyond the calendar that Arrow knows.
    DateText = "date_text" (Whole) -> Text, Fails;
    /// An integer without sign in decimal digits.
    UnsignedText = "unsigned_text" (Unsigned) -> Text, Nothing;
    /// A decimal in digits. The second operand is its scale.
    DecimalText = "decimal_text" (Exact, Whole) -> Text, Nothing;
    /// The shortest digits that tell a float from all others, with an exponent where it is great or small.
    FloatText = "float_text" (Float) -> Text, Nothing;
    /// As [`Function::FloatText`], of a float of 32 bits.
    SingleText = "single_text" (Single) -> Text, Nothing;
    /// A point in time as date and time. Operands as the first two of [`Function::TimePart`], the second not 0. Fails beyond the calendar that Arrow knows.
    TimestampText = "timestamp_text" (Whole, Whole) -> Text, Fails;
    /// A time of day; operands as of [`Function::TimestampText`]. Fails beyond the day.
    TimeText = "time_text" (Whole, Whole) -> Text, Fails;

    /// Text as an integer of so many bits: less than 0 for one with a sign. These parse as Arrow's casts do.
    ParseWhole = "parse_whole" (Text, Whole) -> Whole, Fails;
    /// Text as an integer of 64 bits without sign.
    ParseUnsigned = "parse_unsigned" (Text) -> Unsigned, Fails;
    /// Text as a float.
    ParseFloat = "parse_float" (Text) -> Float, Fails;
    /// Text as a float of 32 bits.
    ParseSingle = "parse_single" (Text) -> Single, Fails;
    /// Text as a boolean.
    ParseBoolean = "parse_boolean" (Text) -> Boolean, Fails;
    /// Text as a decimal of a precision and a scale, rounded half away from zero.
    ParseDecimal = "parse_decimal" (Text, Whole, Whole) -> Exact, Fails;
    /// Text as a day since 1970-01-01.
    ParseDate = "parse_date" (Text) -> Whole, Fails;
    /// Text as a time of day, in units of which so many make a second.
    ParseTime = "parse_time" (Text, Whole) -> Whole, Fails;
    /// Text as a point in time, in units of which so many make a second; in UTC where it does not say.
    ParseTimestamp = "parse_timestamp" (Text, Whole) -> Whole, Fails;
    /// As [`Function::ParseWhole`]; null where that fails.
    TryParseWhole = "try_parse_whole" (Text, Whole) -> Whole, Nulls;
    /// As [`Function::ParseUnsigned`]; null where that fails.
    TryParseUnsigned = "try_parse_unsigned" (Text) -> Unsigned, Nulls;
    /// As [`Function::ParseFloat`]; null where that fails.
    TryParseFloat = "try_parse_float" (Text) -> Float, Nulls;
    /// As [`Function::ParseSingle`]; null where that fails.
    TryParseSingle = "try_parse_single" (Text) -> Single, Nulls;
    /// As [`Function::ParseBoolean`]; null where that fails.
    TryParseBoolean = "try_parse_boolean" (Text) -> Boolean, Nulls;
    /// As [`Function::ParseDecimal`]; null where that fails.
    TryParseDecimal = "try_parse_decimal" (Text, Whole, Whole) -> Exact, Nulls;
    /// As [`Function::ParseDate`]; null where that fails.
    TryParseDate = "try_parse_date" (Text) -> Whole, Nulls;
    /// As [`Function::ParseTime`]; null where that fails.
    TryParseTime = "try_parse_time" (Text, Whole) -> Whole, Nulls;
    /// As [`Function::ParseTimestamp`]; null where that fails.
    TryParseTimestamp = "try_parse_timestamp" (Text, Whole) -> Whole, Nulls;

    /// Whether the float is no number.
    IsNan = "is_nan" (Float) -> Boolean, Nothing;
    /// Whether the float is zero, of whatever sign.
    IsZero = "is_zero" (Float) -> Boolean, Nothing;
    /// Square root. Fails with a negative number.
    Sqrt = "sqrt" (Float) -> Float, Fails;
    /// Greatest whole number that is not greater.
    Floor = "floor" (Float) -> Float, Nothing;
    /// Least whole number that is not less.
    Ceil = "ceil" (Float) -> Float, Nothing;
    /// Towards zero; negative zero becomes zero.
    Trunc = "trunc" (Float) -> Float, Nothing;
    /// Rounded half away from zero to so many digits behind the point.
    Round = "round" (Float, Whole) -> Float, Nothing;
    /// Towards zero, with so many digits behind the point.
    TruncDigits = "trunc_digits" (Float, Whole) -> Float, Nothing;
    /// A decimal's number with so many digits from the end made zero.
    TruncDecimal = "trunc_decimal" (Exact, Whole) -> Exact, Nothing;
    /// A decimal's number rounded half away from zero: so many digits from the end are taken off, then so many zeros put there. Fails beyond 128 bits.
    RoundDecimal = "round_decimal" (Exact, Whole, Whole) -> Exact, Fails;
    /// Greatest common divisor. Fails beyond 64 bits.
    Gcd = "gcd" (Whole, Whole) -> Whole, Fails;
    /// Least common multiple. Fails beyond 64 bits.
    Lcm = "lcm" (Whole, Whole) -> Whole, Fails;
    /// Product of the numbers from 1. Fails with negative numbers and beyond 64 bits.
    Factorial = "factorial" (Whole) -> Whole, Fails;
    /// Logarithm of the first operand to the base of the second.
    Log = "log" (Float, Float) -> Float, Nothing;
    /// Power of e.
    Exp = "exp" (Float) -> Float, Nothing;
    /// Natural logarithm.
    Ln = "ln" (Float) -> Float, Nothing;
    /// Logarithm to base 2.
    Log2 = "log2" (Float) -> Float, Nothing;
    /// Logarithm to base 10.
    Log10 = "log10" (Float) -> Float, Nothing;
    /// The first operand to the power of the second. Fails with zero to a negative power.
    Power = "power" (Float, Float) -> Float, Fails;
    /// -1, 0 or 1.
    Signum = "signum" (Float) -> Float, Nothing;
    /// Sine.
    Sin = "sin" (Float) -> Float, Nothing;
    /// Cosine.
    Cos = "cos" (Float) -> Float, Nothing;
    /// Tangent.
    Tan = "tan" (Float) -> Float, Nothing;
    /// Arc sine.
    Asin = "asin" (Float) -> Float, Nothing;
    /// Arc cosine.
    Acos = "acos" (Float) -> Float, Nothing;
    /// Arc tangent.
    Atan = "atan" (Float) -> Float, Nothing;
    /// Hyperbolic sine.
    Sinh = "sinh" (Float) -> Float, Nothing;
    /// Hyperbolic cosine.
    Cosh = "cosh" (Float) -> Float, Nothing;
    /// Hyperbolic tangent.
    Tanh = "tanh" (Float) -> Float, Nothing;
    /// Inverse hyperbolic sine.
    Asinh = "asinh" (Float) -> Float, Nothing;
    /// Inverse hyperbolic cosine.
    Acosh = "acosh" (Float) -> Float, Nothing;
    /// Inverse hyperbolic tangent.
    Atanh = "atanh" (Float) -> Float, Nothing;
    /// Degrees as radians.
    Radians = "radians" (Float) -> Float, Nothing;
    /// Radians as degrees.
    Degrees = "degrees" (Float) -> Float, Nothing;
    /// Cotangent.
    Cot = "cot" (Float) -> Float, Nothing;
    /// Cube root.
    Cbrt = "cbrt" (Float) -> Float, Nothing;
    /// The angle of a point: operands y and x.
    Atan2 = "atan2" (Float, Float) -> Float, Nothing;

    /// A part of a point in time. Operands: the time since 1970-01-01, how many of its unit make a second (0: it counts days), and which part
    /// ([`TimePart`]). Null beyond the calendar that Arrow knows.
    TimePart = "time_part" (Whole, Whole, Whole) -> Whole, Nulls;
    /// The start of the calendar unit ([`TimePart`]: year, quarter, month or week) that a point in time lies in; operands as [`Function::TimePart`]. Fails where
    /// nanoseconds since 1970-01-01 would not fit 64 bits.
    TimeTrunc = "time_trunc" (Whole, Whole, Whole) -> Whole, Fails;
    /// The start of the bin that a point in time lies in. Operands: the time, how many of its unit make a second, the width of bins, whether that is in months (1) or
    /// nanoseconds, and where a bin starts, in nanoseconds since 1970-01-01. Null where nanoseconds do not fit 64 bits.
    TimeBin = "time_bin" (Whole, Whole, Whole, Whole, Whole) -> Whole, Nulls;
    /// The day since 1970-01-01 of a year, a month and a day of the month. Fails where there is none.
    MakeDate = "make_date" (Whole, Whole, Whole) -> Whole, Fails;
    /// The point in time moved by an interval. Operands: the time, how many of its unit make a second (0: it counts days), months, days,
    /// nanoseconds, and whether to move back (1). Fails beyond the calendar that Arrow knows.
    TimeAdd = "time_add" (Whole, Whole, Whole, Whole, Whole, Whole) -> Whole, Fails;
    /// The day since 1970-01-01 of a point in time; operands as the first two of [`Function::TimePart`]. Fails beyond the calendar that Arrow knows.
    Day = "day_of" (Whole, Whole) -> Whole, Fails;
}

impl Function {
    /// Whether it may yield null though no operand is null.
    pub const fn can_be_null(self) -> bool {
        matches!(self.also(), Also::Nulls)
    }

    /// Whether it may raise an error.
    pub const fn can_fail(self) -> bool {
        matches!(self.also(), Also::Fails)
    }

    /// The function that fails where this one is null.
    pub const fn strict(self) -> Option<Function> {
        Some(match self {
            Function::TryParseWhole => Function::ParseWhole,
            Function::TryParseUnsigned => Function::ParseUnsigned,
            Function::TryParseFloat => Function::ParseFloat,
            Function::TryParseSingle => Function::ParseSingle,
            Function::TryParseBoolean => Function::ParseBoolean,
            Function::TryParseDecimal => Function::ParseDecimal,
            Function::TryParseDate => Function::ParseDate,
            Function::TryParseTime => Function::ParseTime,
            Function::TryParseTimestamp => Function::ParseTimestamp,
            _ => return None,
        })
    }

    /// The function that is null where this one fails, if there is one.
    pub fn lenient(self) -> Option<Function> {
        Self::ALL.iter().copied().find(|function| function.strict() == Some(self))
    }

    /// The function of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|function| function.name() == name)
    }

    /// The function of this number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}
