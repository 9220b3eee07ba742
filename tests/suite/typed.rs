//! `typed`: a column of each type that is not among those of `facts`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, Date32Array, Date64Array, Decimal32Array, Decimal64Array, DictionaryArray,
    DurationMicrosecondArray, DurationMillisecondArray, DurationNanosecondArray, DurationSecondArray, FixedSizeBinaryArray, Float32Array,
    Int8Array, Int16Array, Int32Array, Int64Array, IntervalYearMonthArray, LargeBinaryArray, RecordBatch, RunArray, StringArray,
    StringViewArray, Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array,
};
use arrow::datatypes::{Field, Int8Type, Int32Type, Schema};
use datafusion::datasource::MemTable;

use super::data::Random;

const ROWS: usize = 3_000;

/// Numbers of a small range, some at its ends, with nulls.
fn numbers(r: &mut Random, least: i64, greatest: i64, step: i64) -> Vec<Option<i64>> {
    let mut one = |_| match r.below(16) {
        0 => None,
        1 => Some(least),
        2 => Some(greatest),
        3 => Some(-1).filter(|_| least < 0),
        4 => Some(0),
        _ => Some((r.below(40) as i64 - if least < 0 { 20 } else { 0 }).saturating_mul(step).clamp(least, greatest)),
    };
    (0..ROWS).map(&mut one).collect()
}

/// Bytes that are no text, some longer than twelve.
fn bytes(r: &mut Random) -> Vec<Option<Vec<u8>>> {
    const VALUES: [&[u8]; 9] = [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"abc",
        b"abc\x00",
        b"twelve bytes",
        b"thirteen byt\xf0",
        b"thirteen byt\x10",
        b"a long value that is not \xc3\x28 text \xa0\xa1",
    ];
    (0..ROWS).map(|_| (!r.one_in(7)).then(|| VALUES[r.below(9) as usize].to_vec())).collect()
}

pub fn typed() -> MemTable {
    let mut r = Random(99);
    let narrow = |values: Vec<Option<i64>>| values.into_iter().map(|value| value.map(|value| value as i32)).collect::<Vec<_>>();
    const DAY: i64 = 86_400;
    let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64)))];
    let mut add = |name: &'static str, array: ArrayRef| columns.push((name, array));
    add("i8", Arc::new(Int8Array::from_iter(numbers(&mut r, -128, 127, 7).into_iter().map(|v| v.map(|v| v as i8)))));
    add("i16", Arc::new(Int16Array::from_iter(numbers(&mut r, -32_768, 32_767, 700).into_iter().map(|v| v.map(|v| v as i16)))));
    add("u8", Arc::new(UInt8Array::from_iter(numbers(&mut r, 0, 255, 7).into_iter().map(|v| v.map(|v| v as u8)))));
    add("u16", Arc::new(UInt16Array::from_iter(numbers(&mut r, 0, 65_535, 700).into_iter().map(|v| v.map(|v| v as u16)))));
    add("u32", Arc::new(UInt32Array::from_iter(numbers(&mut r, 0, 4_294_967_295, 70_000).into_iter().map(|v| v.map(|v| v as u32)))));
    let mut float = |_| match r.below(12) {
        0 => None,
        1 => Some(f32::NAN),
        2 => Some(-0.0),
        3 => Some(0.0),
        4 => Some(f32::NEG_INFINITY),
        5 => Some(f32::MAX),
        _ => Some(r.below(2_000) as f32 / 16.0 - 60.0),
    };
    add("f32", Arc::new((0..ROWS).map(&mut float).collect::<Float32Array>()));
    let dec32 = Decimal32Array::from(narrow(numbers(&mut r, -9_999_999, 9_999_999, 125)));
    add("dec32", Arc::new(dec32.with_precision_and_scale(7, 2).expect("fits")));
    let dec64 = Decimal64Array::from(numbers(&mut r, -999_999_999_999_999, 999_999_999_999_999, 1_250));
    add("dec64", Arc::new(dec64.with_precision_and_scale(15, 3).expect("fits")));
    add("d32", Arc::new(Date32Array::from(narrow(numbers(&mut r, -200_000, 200_000, 59)))));
    add("d64", Arc::new(Date64Array::from(numbers(&mut r, -90_000 * DAY * 1_000, 90_000 * DAY * 1_000, 7 * DAY * 1_000))));
    add("t32s", Arc::new(Time32SecondArray::from(narrow(numbers(&mut r, 0, DAY - 1, 1_000)))));
    add("t32ms", Arc::new(Time32MillisecondArray::from(narrow(numbers(&mut r, 0, DAY * 1_000 - 1, 1_000_500)))));
    add("t64us", Arc::new(Time64MicrosecondArray::from(numbers(&mut r, 0, DAY * 1_000_000 - 1, 1_000_500_000))));
    add("t64ns", Arc::new(Time64NanosecondArray::from(numbers(&mut r, 0, DAY * 1_000_000_000 - 1, 1_000_500_000_007))));
    let years = 300 * 365 * DAY;
    add("ts_s", Arc::new(TimestampSecondArray::from(numbers(&mut r, -years, years, 86_399 * 17))));
    add("ts_ms", Arc::new(TimestampMillisecondArray::from(numbers(&mut r, -years * 1_000, years * 1_000, 86_399_999 * 17))));
    add("ts_us", Arc::new(TimestampMicrosecondArray::from(numbers(&mut r, -years * 1_000_000, years * 1_000_000, 86_399_999_999 * 17))));
    add("ts_ns", Arc::new(TimestampNanosecondArray::from(numbers(&mut r, i64::MIN, i64::MAX, 86_399_999_999_999 * 17))));
    let plain = numbers(&mut r, -years * 1_000_000, years * 1_000_000, 3_600_000_001 * 7);
    add("ts_east", Arc::new(TimestampMicrosecondArray::from(plain.clone()).with_timezone("+02:00")));
    add("ts_west", Arc::new(TimestampMicrosecondArray::from(plain).with_timezone("-08:00")));
    add("dur_s", Arc::new(DurationSecondArray::from(numbers(&mut r, -years, years, 90))));
    add("dur_ms", Arc::new(DurationMillisecondArray::from(numbers(&mut r, -years, years, 90_001))));
    add("dur_us", Arc::new(DurationMicrosecondArray::from(numbers(&mut r, -years, years, 90_001))));
    add("dur_ns", Arc::new(DurationNanosecondArray::from(numbers(&mut r, i64::MIN, i64::MAX, 90_001))));
    add("iym", Arc::new(IntervalYearMonthArray::from(narrow(numbers(&mut r, -4_000, 4_000, 5)))));
    add("bin", Arc::new(BinaryArray::from_iter(bytes(&mut r))));
    add("lbin", Arc::new(LargeBinaryArray::from_iter(bytes(&mut r))));
    add("vbin", Arc::new(BinaryViewArray::from_iter(bytes(&mut r))));
    let fixed = (0..ROWS).map(|_| (!r.one_in(6)).then(|| [r.below(3) as u8, 0xff, 0, r.below(3) as u8, 0x80]));
    add("fbin", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 5).expect("five bytes each")));
    let (mut s, mut n) = (Random(5), Random(6));
    let word = |number: u64| format!("word number {number} of a dictionary");
    // The batches' dictionaries have 60 words each, 80 together.
    let dictionary = |first: u64, rows: usize, s: &mut Random| -> ArrayRef {
        let keys: Int8Array = (0..rows).map(|_| (!s.one_in(9)).then(|| s.below(60) as i8)).collect();
        let words: StringArray = (0..60).map(|number| (number != 7).then(|| word(first + number))).collect();
        Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::new(words)))
    };
    let half = ROWS / 2;
    let dicts = [dictionary(0, half, &mut s), dictionary(20, ROWS - half, &mut s)];
    let keys: Int8Array = (0..ROWS).map(|_| Some(n.below(6) as i8)).collect();
    let times = TimestampMicrosecondArray::from(vec![Some(0), Some(-1), None, Some(1_700_000_000_000_000), Some(5), Some(0)]);
    add("dict_ts", Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::new(times.with_timezone("+02:00")))));
    let keys: Int32Array = (0..ROWS).map(|_| (!n.one_in(5)).then(|| n.below(4) as i32)).collect();
    let views = StringViewArray::from(vec!["", "short", "a text that a view does not hold", "ünïcödé"]);
    add("dict_view", Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(views))));
    let keys: Int32Array = (0..ROWS).map(|_| (!n.one_in(5)).then(|| n.below(4) as i32)).collect();
    add("dict_i64", Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(Int64Array::from(vec![7, -7, i64::MAX, i64::MIN])))));
    let ends = Int32Array::from_iter_values((1..=ROWS as i32 / 3).map(|run| run * 3));
    let runs = StringArray::from_iter((0..ROWS / 3).map(|_| (!n.one_in(4)).then(|| word(n.below(30)))));
    add("ree", Arc::new(RunArray::<Int32Type>::try_new(&ends, &runs).expect("one end for each run")));

    let batch = |first: usize, rows: usize, dict: &ArrayRef| {
        let columns: Vec<(&str, ArrayRef)> = columns.iter().map(|(name, array)| (*name, array.slice(first, rows))).collect();
        let columns: Vec<(&str, ArrayRef)> = columns.into_iter().chain([("dict", Arc::clone(dict))]).collect();
        let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), *name != "id"));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).expect("columns fit the schema")
    };
    let (first, second) = (batch(0, half, &dicts[0]), batch(half, ROWS - half, &dicts[1]));
    let schema = first.schema();
    // Odd offsets into the buffers, and both dictionaries in one partition.
    let partitions =
        vec![vec![first.slice(0, 1_001), second.slice(0, 77)], vec![first.slice(1_001, half - 1_001), second.slice(77, ROWS - half - 77)]];
    MemTable::try_new(schema, partitions).expect("batches fit the schema")
}
