//! Values: nasty ones of every type, and their text in SQL.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::ScalarValue;

use super::random::Random;

/// Texts: empty, at the limit of what is held inline (12 bytes), long with an equal start, of several bytes a character, and patterns' own signs.
/// Three differ only in bytes that hashes leave out.
pub const WORDS: [&str; 21] = [
    "",
    "a",
    "A",
    "b",
    " pad ",
    "green",
    "twelve bytes",
    "twelve bytez",
    "thirteen byte",
    "thirteen bytf",
    "the quick green fox jumps over the lazy dog",
    "the quick green fox jumps over the lazy cat",
    "ünïcödé",
    "long texts that are all alike but for a letter or two here",
    "long texts thAt are all alike but for a letter or two here",
    "long texts thBt are all alike but for a letter or two here",
    "日本語のテキスト、長い",
    "a_b%c\\d",
    "it''s",
    "12",
    "-7.5",
];

/// A value of a type. Of a `tame` column: sums of such values are exact in any order.
pub fn value(data_type: &DataType, tame: bool, random: &mut Random) -> ScalarValue {
    let extreme = !tame && random.chance(20);
    let small = random.between(-4, 9);
    let integer = |random: &mut Random, least: i128, most: i128| -> i128 {
        if !tame && random.chance(8) {
            let alike = i128::from(*random.pick(&ALIKE));
            return if alike <= most { alike } else { 1 };
        }
        if extreme {
            return *random.pick(&[least, most, least + 1, most - 1, most / 2, 127, 128, 255, 256, 65_535, 1 << 31]);
        }
        let number = if random.chance(20) { random.between(-1000, 1000) } else { small };
        if number < 0 && least == 0 { i128::from(-number) } else { i128::from(number) }
    };
    macro_rules! integer {
        ($random:ident, $variant:ident, $type:ty) => {
            ScalarValue::$variant(Some(integer($random, i128::from(<$type>::MIN), i128::from(<$type>::MAX)) as $type))
        };
    }
    match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(random.chance(50))),
        DataType::Int8 => integer!(random, Int8, i8),
        DataType::Int16 => integer!(random, Int16, i16),
        DataType::Int32 => integer!(random, Int32, i32),
        DataType::Int64 => integer!(random, Int64, i64),
        DataType::UInt8 => integer!(random, UInt8, u8),
        DataType::UInt16 => integer!(random, UInt16, u16),
        DataType::UInt32 => integer!(random, UInt32, u32),
        DataType::UInt64 => integer!(random, UInt64, u64),
        DataType::Float32 => ScalarValue::Float32(Some(float(tame, extreme, small, random) as f32)),
        DataType::Float64 => ScalarValue::Float64(Some(float(tame, extreme, small, random))),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) | DataType::Decimal128(precision, scale) => {
            let most = 10i128.pow((*precision).into()) - 1;
            let value = if extreme {
                *random.pick(&[most, -most, most / 2, 1 - most])
            } else {
                i128::from(if random.chance(50) { small * 10i64.pow((*scale).clamp(0, 4) as u32) } else { random.between(-9999, 9999) })
                    .clamp(-most, most)
            };
            match data_type {
                DataType::Decimal32(..) => ScalarValue::Decimal32(Some(value as i32), *precision, *scale),
                DataType::Decimal64(..) => ScalarValue::Decimal64(Some(value as i64), *precision, *scale),
                _ => ScalarValue::Decimal128(Some(value), *precision, *scale),
            }
        }
        DataType::Date32 => ScalarValue::Date32(Some(if extreme {
            *random.pick(&[-719_162, 2_932_896, 0, -1, 11_016, -25_509])
        } else if random.chance(40) {
            random.between(-3_000, 30_000) as i32
        } else {
            small as i32
        })),
        DataType::Timestamp(unit, zone) => {
            let seconds = if random.chance(50) { random.between(-2, 5) * 86_400 } else { random.between(-100_000_000, 2_000_000_000) };
            let part = random.between(0, 999);
            let zone = zone.clone();
            match unit {
                TimeUnit::Second => ScalarValue::TimestampSecond(Some(seconds), zone),
                TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(seconds * 1_000 + part), zone),
                TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(seconds * 1_000_000 + part), zone),
                TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(seconds * 1_000_000_000 + part), zone),
            }
        }
        DataType::Utf8 => ScalarValue::Utf8(Some(text(random))),
        DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text(random))),
        DataType::Utf8View => ScalarValue::Utf8View(Some(text(random))),
        DataType::Binary => ScalarValue::Binary(Some(text(random).into_bytes())),
        DataType::LargeBinary => ScalarValue::LargeBinary(Some(text(random).into_bytes())),
        DataType::BinaryView => ScalarValue::BinaryView(Some(text(random).into_bytes())),
        DataType::Dictionary(key, values) => ScalarValue::Dictionary(key.clone(), Box::new(value(values, tame, random))),
        DataType::Date64 => ScalarValue::Date64(Some(small * 86_400_000)),
        DataType::Time32(_) | DataType::Time64(_) => {
            let seconds = if random.chance(50) { small.unsigned_abs() as i64 } else { random.between(0, 86_399) };
            let part = random.between(0, 999);
            match data_type {
                DataType::Time32(TimeUnit::Second) => ScalarValue::Time32Second(Some(seconds as i32)),
                DataType::Time32(_) => ScalarValue::Time32Millisecond(Some((seconds * 1_000 + part) as i32)),
                DataType::Time64(TimeUnit::Microsecond) => ScalarValue::Time64Microsecond(Some(seconds * 1_000_000 + part)),
                _ => ScalarValue::Time64Nanosecond(Some(seconds * 1_000_000_000 + part)),
            }
        }
        DataType::Duration(_) => ScalarValue::DurationMicrosecond(Some(if extreme { i64::MAX } else { small * 1_000_001 })),
        DataType::Interval(_) => ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNanoType::make_value(
            small as i32,
            random.between(-40, 40) as i32,
            small,
        ))),
        DataType::List(field) => list(field, random),
        DataType::Struct(fields) => {
            let x = Int64Array::from(vec![(!random.chance(20)).then_some(small)]);
            let y = StringArray::from(vec![(!random.chance(20)).then(|| text(random))]);
            ScalarValue::Struct(Arc::new(StructArray::new(fields.clone(), vec![Arc::new(x), Arc::new(y)], None)))
        }
        other => ScalarValue::try_from(other).unwrap_or(ScalarValue::Null),
    }
}

/// Pairs of integers whose hashes agree in the bits that tables of up to 128 slots look at before they compare keys.
const ALIKE: [i64; 8] = [55_460, 66_295, 55_668, 66_439, 65_476, 73_751, 50_052, 75_223];

fn list(field: &Arc<Field>, random: &mut Random) -> ScalarValue {
    let length = random.below(4);
    let values = (0..length).map(|_| {
        let value = value(field.data_type(), true, random);
        if random.chance(20) { ScalarValue::try_from(field.data_type()).unwrap_or(value) } else { value }
    });
    let values: Vec<ScalarValue> = values.collect();
    let array = ScalarValue::iter_to_array(values).unwrap_or_else(|_| arrow::array::new_empty_array(field.data_type()));
    ScalarValue::List(Arc::new(ListArray::new(Arc::clone(field), OffsetBuffer::from_lengths([array.len()]), array, None)))
}

fn float(tame: bool, extreme: bool, small: i64, random: &mut Random) -> f64 {
    if tame {
        return small as f64 + random.below(8) as f64 / 8.0;
    }
    if extreme {
        return *random.pick(&[
            // Only one: of two that meet in a sum, the bits of either may come out, and NULLIF tells them apart.
            f64::NAN,
            -0.0,
            0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
        ]);
    }
    if random.chance(50) { small as f64 } else { random.between(-100_000, 100_000) as f64 / 7.0 }
}

fn text(random: &mut Random) -> String {
    let word = random.pick(&WORDS);
    match random.below(8) {
        0 => format!("{word}{}", random.below(4)),
        1 => word.repeat(random.below(4)),
        _ => (*word).to_owned(),
    }
}

/// A value as an expression of SQL of its very type.
pub fn sql(value: &ScalarValue) -> String {
    let data_type = value.data_type();
    if value.is_null() {
        return format!("arrow_cast(NULL, '{data_type}')");
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let cast = |text: String| format!("arrow_cast({text}, '{data_type}')");
    match value {
        ScalarValue::Boolean(Some(b)) => b.to_string(),
        ScalarValue::Int64(Some(i64::MIN)) => format!("CAST('{}' AS BIGINT)", i64::MIN),
        ScalarValue::Int64(Some(i)) => i.to_string(),
        ScalarValue::UInt64(Some(i)) => cast(format!("'{i}'")),
        ScalarValue::Float32(Some(f)) => cast(quoted(&format!("{f:?}"))),
        ScalarValue::Float64(Some(f)) => cast(quoted(&format!("{f:?}"))),
        ScalarValue::Decimal128(Some(i), precision, scale) => {
            // A cast from text would round where the scale is negative.
            match u32::try_from(*scale) {
                Ok(_) => cast(quoted(&decimal(*i, *scale))),
                Err(_) => format!("arrow_cast({}, 'Decimal128({precision}, {scale})')", decimal(*i, *scale)),
            }
        }
        ScalarValue::Utf8(Some(s)) | ScalarValue::LargeUtf8(Some(s)) | ScalarValue::Utf8View(Some(s)) => cast(quoted(s)),
        ScalarValue::Dictionary(_, inner) => cast(sql(inner)),
        ScalarValue::Binary(Some(bytes)) | ScalarValue::LargeBinary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => {
            cast(format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
        }
        ScalarValue::List(list) => {
            let items = list.value(0);
            let items = (0..items.len()).map(|i| ScalarValue::try_from_array(&items, i).map(|item| sql(&item)).unwrap_or_default());
            cast(format!("make_array({})", items.collect::<Vec<_>>().join(", ")))
        }
        ScalarValue::Struct(fields) => {
            let part = |name: &str| {
                let column = fields.column_by_name(name);
                column.and_then(|column| ScalarValue::try_from_array(column, 0).ok()).map(|value| sql(&value)).unwrap_or_default()
            };
            format!("named_struct('x', {}, 'y', {})", part("x"), part("y"))
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            format!("INTERVAL '{} months {} days {} nanoseconds'", interval.months, interval.days, interval.nanoseconds)
        }
        other => {
            let text = other.to_array().ok().and_then(|array| arrow::compute::cast(&array, &DataType::Utf8).ok());
            cast(quoted(text.as_ref().map(|array| array.as_string::<i32>().value(0)).unwrap_or_default()))
        }
    }
}

fn decimal(unscaled: i128, scale: i8) -> String {
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{part}")
        }
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

#[cfg(test)]
mod tests {
    use stagefuse_ir::abi::{HASH_SEED, hash_word};

    use super::ALIKE;

    #[test]
    fn pairs_have_hashes_alike() {
        let bits = |number: i64| {
            let hash = hash_word(HASH_SEED, number as u64, 0);
            (hash >> 48, hash & 127)
        };
        for pair in ALIKE.chunks(2) {
            assert_eq!(bits(pair[0]), bits(pair[1]), "{pair:?}");
        }
    }
}
