//! Text from and to other types, with Arrow's own parsers and formats.

use std::fmt::Write;
use std::sync::LazyLock;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::compute::{cast_single_string_to_boolean_default, parse_string_to_decimal_native};
use arrow::datatypes::{
    ArrowTimestampType, Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::temporal_conversions::{as_datetime, time32ms_to_time, time32s_to_time, time64ns_to_time, time64us_to_time};

/// Greenwich, whose time a text without an offset is in.
static UTC: LazyLock<Tz> = LazyLock::new(|| "+00:00".parse().expect("a fixed offset is a time zone"));

/// An integer of so many bits, at most 64; less than 0 where it has a sign.
pub(super) fn whole(text: &str, bits: i64) -> Option<i64> {
    match bits {
        -8 => Int8Type::parse(text).map(i64::from),
        -16 => Int16Type::parse(text).map(i64::from),
        -32 => Int32Type::parse(text).map(i64::from),
        -64 => Int64Type::parse(text),
        8 => UInt8Type::parse(text).map(i64::from),
        16 => UInt16Type::parse(text).map(i64::from),
        32 => UInt32Type::parse(text).map(i64::from),
        _ => None,
    }
}

pub(super) fn unsigned(text: &str) -> Option<u64> {
    UInt64Type::parse(text)
}

pub(super) fn float(text: &str) -> Option<f64> {
    Float64Type::parse(text)
}

/// A float of 32 bits, widened: parsed as one of 64 bits it would be rounded twice.
pub(super) fn single(text: &str) -> Option<f64> {
    Float32Type::parse(text).map(f64::from)
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    cast_single_string_to_boolean_default(text)
}

pub(super) fn decimal(text: &str, precision: i64, scale: i64) -> Option<i128> {
    let precision = u8::try_from(precision).ok().filter(|precision| (1..=38).contains(precision))?;
    let scale = usize::try_from(scale).ok().filter(|scale| *scale <= 38)?;
    let value = parse_string_to_decimal_native::<Decimal128Type>(text, scale).ok()?;
    Decimal128Type::is_valid_decimal_precision(value, precision).then_some(value)
}

pub(super) fn date(text: &str) -> Option<i64> {
    Date32Type::parse(text).map(i64::from)
}

pub(super) fn time(text: &str, per_second: i64) -> Option<i64> {
    match per_second {
        1 => Time32SecondType::parse(text).map(i64::from),
        1_000 => Time32MillisecondType::parse(text).map(i64::from),
        1_000_000 => Time64MicrosecondType::parse(text),
        1_000_000_000 => Time64NanosecondType::parse(text),
        _ => None,
    }
}

pub(super) fn timestamp(text: &str, per_second: i64) -> Option<i64> {
    let time = string_to_datetime(&*UTC, text).ok()?.naive_utc();
    match per_second {
        1 => TimestampSecondType::from_naive_datetime(time, None),
        1_000 => TimestampMillisecondType::from_naive_datetime(time, None),
        1_000_000 => TimestampMicrosecondType::from_naive_datetime(time, None),
        1_000_000_000 => TimestampNanosecondType::from_naive_datetime(time, None),
        _ => None,
    }
}

/// A decimal's digits, with so many of them behind the point.
pub(super) fn decimal_text(value: i128, scale: i64) -> String {
    // The precision only matters where the scale is out of range.
    Decimal128Type::format_decimal(value, 38, scale.clamp(-38, 38) as i8)
}

/// A point in time as date and time of the day, with as many digits of the second as it needs; `None` beyond the calendar.
pub(super) fn timestamp_text(time: i64, per_second: i64) -> Option<String> {
    let time = match per_second {
        1 => as_datetime::<TimestampSecondType>(time),
        1_000 => as_datetime::<TimestampMillisecondType>(time),
        1_000_000 => as_datetime::<TimestampMicrosecondType>(time),
        1_000_000_000 => as_datetime::<TimestampNanosecondType>(time),
        _ => None,
    };
    shown(time?)
}

/// A time of day; `None` beyond the day.
pub(super) fn time_text(time: i64, per_second: i64) -> Option<String> {
    let time = match per_second {
        1 => time32s_to_time(i32::try_from(time).ok()?),
        1_000 => time32ms_to_time(i32::try_from(time).ok()?),
        1_000_000 => time64us_to_time(time),
        1_000_000_000 => time64ns_to_time(time),
        _ => None,
    };
    shown(time?)
}

fn shown(value: impl std::fmt::Debug) -> Option<String> {
    let mut text = String::new();
    write!(text, "{value:?}").ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray, make_array};
    use arrow::compute::{CastOptions, cast_with_options};
    use arrow::datatypes::{DataType, TimeUnit};
    use stagefuse_ir::Function;
    use stagefuse_ir::abi::StrRef;

    use super::super::{Scratch, Words, call};
    use super::*;
    use crate::builtins::strings;

    /// What Arrow's cast makes of one value; `Err`: it fails.
    fn cast(array: &ArrayRef, to: &DataType, safe: bool) -> Result<ArrayRef, ()> {
        cast_with_options(array, to, &CastOptions { safe, ..CastOptions::default() }).map_err(|_| ())
    }

    fn texts() -> Vec<String> {
        let fixed = [
            "",
            " ",
            "0",
            "-0",
            "+7",
            " 12 ",
            "12 x",
            "1_000",
            "127",
            "128",
            "-128",
            "-129",
            "255",
            "256",
            "65535",
            "65536",
            "2147483648",
            "-2147483649",
            "4294967296",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "00012",
            "1e3",
            "1.5e-7",
            ".5",
            "5.",
            "-.5",
            "+.5",
            ".",
            "-",
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "infinity",
            "1e400",
            "1e-400",
            "0.1",
            "16777217",
            "16777217.0000001",
            "123456789.123456789",
            "99999.995",
            "99999.994",
            "0.005",
            "-0.005",
            "t",
            "TRUE",
            " true ",
            "yes",
            "of",
            "off",
            "y",
            "2",
            "tru",
            "truex",
            "2024-02-29",
            "2023-02-29",
            "2024-2-9",
            "2024-02-29T",
            "2024-02-29T12:34:56",
            "2024-02-29 12:34:56.123456789",
            "2024-02-29 12:34:56.1234567891",
            "2024-02-29T12:34:56Z",
            "2024-02-29T12:34:56+02:30",
            "2024-02-29 12:34",
            "1677-09-21T00:12:43",
            "2262-04-11T23:47:17",
            "9999-12-31",
            "0001-01-01",
            "+10000-01-01",
            "-0044-03-15",
            "2024-13-01",
            "12:34",
            "12:34:56",
            "23:59:60",
            "24:00:00",
            "12:34:56.789",
            "1:02 pm",
            "2024-02-29 25:00:00",
            "日本",
            "１２",
            "99999999999999999999999999999999999999",
            "999999999999999999999999999999999999999999",
            "0x10",
            "1,5",
            "\u{a0}1",
            "1\n",
            "--1",
            "1.2.3",
            "20240229",
            "1970-01-01T00:00:00-00:00",
            "2024-02-29 12:34:56 UTC",
        ];
        fixed.iter().map(|text| (*text).to_string()).collect()
    }

    fn of(text: &str) -> Words {
        let StrRef { lo, hi } = strings::make(text.as_bytes());
        [lo, hi]
    }

    /// Calls a function as an engine does.
    fn called(function: Function, args: &[Words]) -> Result<Option<Words>, ()> {
        // SAFETY: the tests give operands of the function's kinds, and keep texts alive.
        unsafe { call(function, args, &mut Scratch::default()) }.map_err(|_| ())
    }

    /// The bits of a value, as functions yield it.
    fn words(array: &ArrayRef) -> Option<Words> {
        if array.is_null(0) {
            return None;
        }
        let data = array.to_data();
        let bits = |ty| make_array(data.clone().into_builder().data_type(ty).build().expect("numbers of the same width"));
        let whole = |number: i64| [number as u64, (number >> 63) as u64];
        Some(match array.data_type() {
            DataType::Boolean => [u64::from(array.as_boolean().value(0)), 0],
            DataType::Float64 => [array.as_primitive::<Float64Type>().value(0).to_bits(), 0],
            DataType::Float32 => [f64::from(array.as_primitive::<Float32Type>().value(0)).to_bits(), 0],
            DataType::Decimal128(..) => {
                let value = array.as_primitive::<Decimal128Type>().value(0);
                [value as u64, (value >> 64) as u64]
            }
            DataType::UInt64 => [array.as_primitive::<UInt64Type>().value(0), 0],
            DataType::UInt8 => whole(array.as_primitive::<UInt8Type>().value(0).into()),
            DataType::UInt16 => whole(array.as_primitive::<UInt16Type>().value(0).into()),
            DataType::UInt32 => whole(array.as_primitive::<UInt32Type>().value(0).into()),
            DataType::Int8 => whole(array.as_primitive::<Int8Type>().value(0).into()),
            DataType::Int16 => whole(array.as_primitive::<Int16Type>().value(0).into()),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => {
                whole(bits(DataType::Int32).as_primitive::<Int32Type>().value(0).into())
            }
            _ => whole(bits(DataType::Int64).as_primitive::<Int64Type>().value(0)),
        })
    }

    #[test]
    fn text_is_parsed_as_arrow_does() {
        let number = |number: i64| [number as u64, (number >> 63) as u64];
        use Function::*;
        let units = [
            (TimeUnit::Second, 1),
            (TimeUnit::Millisecond, 1_000),
            (TimeUnit::Microsecond, 1_000_000),
            (TimeUnit::Nanosecond, 1_000_000_000),
        ];
        let mut cases: Vec<(DataType, Function, Vec<i64>)> = vec![
            (DataType::Int8, ParseWhole, vec![-8]),
            (DataType::Int16, ParseWhole, vec![-16]),
            (DataType::Int32, ParseWhole, vec![-32]),
            (DataType::Int64, ParseWhole, vec![-64]),
            (DataType::UInt8, ParseWhole, vec![8]),
            (DataType::UInt16, ParseWhole, vec![16]),
            (DataType::UInt32, ParseWhole, vec![32]),
            (DataType::UInt64, ParseUnsigned, vec![]),
            (DataType::Float64, ParseFloat, vec![]),
            (DataType::Float32, ParseSingle, vec![]),
            (DataType::Boolean, ParseBoolean, vec![]),
            (DataType::Date32, ParseDate, vec![]),
            (DataType::Decimal128(7, 2), ParseDecimal, vec![7, 2]),
            (DataType::Decimal128(38, 0), ParseDecimal, vec![38, 0]),
            (DataType::Decimal128(38, 38), ParseDecimal, vec![38, 38]),
            (DataType::Decimal128(5, 4), ParseDecimal, vec![5, 4]),
        ];
        for (unit, per_second) in units {
            cases.push((DataType::Timestamp(unit, None), ParseTimestamp, vec![per_second]));
            let time = if per_second <= 1_000 { DataType::Time32(unit) } else { DataType::Time64(unit) };
            cases.push((time, ParseTime, vec![per_second]));
        }
        for (to, function, numbers) in cases {
            let mut found = 0;
            for text in texts() {
                let array: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
                let args: Vec<Words> = [of(&text)].into_iter().chain(numbers.iter().map(|n| number(*n))).collect();
                let expected = cast(&array, &to, false).map(|array| words(&array));
                assert_eq!(called(function, &args), expected, "{text:?} as {to}");
                let lenient = function.lenient().expect("each has one");
                assert_eq!(called(lenient, &args), cast(&array, &to, true).map(|array| words(&array)), "{text:?} as {to}, or null");
                found += usize::from(expected.is_ok());
            }
            assert!(found > 2, "{found} texts are a {to}");
        }
    }

    #[test]
    fn values_are_shown_as_arrow_does() {
        use Function::*;
        let text = |array: ArrayRef| cast(&array, &DataType::Utf8, false).map(|array| array.as_string::<i32>().value(0).to_string());
        let made = |function: Function, args: &[Words]| {
            let mut scratch = Scratch::default();
            // SAFETY: as above; the text is read while the scratch memory lives.
            let made = unsafe { call(function, args, &mut scratch) }.map_err(|_| ())?.expect("no function to text yields null");
            let made = StrRef { lo: made[0], hi: made[1] };
            // SAFETY: as above.
            Ok(String::from_utf8(unsafe { strings::bytes(&made) }.to_vec()).expect("text"))
        };
        let number = |number: i64| [number as u64, (number >> 63) as u64];
        for float in
            [0.0, -0.0, 1.0, -1.5, 1e15, 1e16, 1e21, 1.5e300, 1e-5, 1e-7, 0.1, f64::MIN_POSITIVE, f64::MAX, f64::NAN, f64::INFINITY]
        {
            for float in [float, -float] {
                let expected = text(Arc::new(Float64Array::from(vec![float])));
                assert_eq!(made(FloatText, &[[float.to_bits(), 0]]), expected, "{float}");
                let single = float as f32;
                let expected = text(Arc::new(Float32Array::from(vec![single])));
                assert_eq!(made(SingleText, &[[f64::from(single).to_bits(), 0]]), expected, "{single}");
            }
        }
        for scale in [-2i8, 0, 2, 5, 38] {
            for value in [0i128, 1, -1, 99, -12_345, 10i128.pow(37), -10i128.pow(37), 10i128.pow(38) - 1] {
                let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
                let made = made(DecimalText, &[[value as u64, (value >> 64) as u64], number(scale.into())]);
                assert_eq!(made, text(Arc::new(array)), "{value} {scale}");
            }
        }
        for time in [0, 1, -1, 999, 86_399, 86_400, -86_400_001, 1_700_000_000_123_456_789, 86_399_999_999, i64::MAX, i64::MIN] {
            let array: ArrayRef = Arc::new(Int64Array::from(vec![time]));
            for (unit, per_second) in [
                (TimeUnit::Second, 1),
                (TimeUnit::Millisecond, 1_000),
                (TimeUnit::Microsecond, 1_000_000),
                (TimeUnit::Nanosecond, 1_000_000_000),
            ] {
                let shown = |ty: DataType| text(make_array(array.to_data().into_builder().data_type(ty).build().unwrap()));
                let args = [number(time), number(per_second)];
                assert_eq!(made(TimestampText, &args), shown(DataType::Timestamp(unit, None)), "{time} {unit:?}");
                if per_second > 1_000 {
                    assert_eq!(made(TimeText, &args), shown(DataType::Time64(unit)), "{time} {unit:?}");
                }
            }
        }
        assert_eq!(made(TimeText, &[number(45_296), number(1)]).as_deref(), Ok("12:34:56"));
        assert_eq!(made(TimeText, &[number(45_296_007), number(1_000)]).as_deref(), Ok("12:34:56.007"));
        assert_eq!(made(TimeText, &[number(86_400), number(1)]), Err(()));
        assert_eq!(made(UnsignedText, &[[u64::MAX, 0]]).as_deref(), Ok("18446744073709551615"));
    }
}
