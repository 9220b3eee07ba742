//! `nested`: columns of types that only DataFusion looks into, sliced, with nulls and garbage under them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Decimal256Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, MapBuilder, NullArray, RecordBatch,
    StringArray, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, Schema, i256};
use datafusion::datasource::MemTable;

const ROWS: i32 = 9_000;

/// 8,990 rows in two partitions: `id`, a key `k`, a list `l`, a struct `st` of `a` and `b`, a map `m`, an interval `iv`, a decimal `wide` of 256 bits, nothing `n`.
pub fn nested() -> MemTable {
    let rows = || 0..ROWS;
    let list = |row: i32| (row % 7 != 3).then(|| (0..row % 4).map(|item| (item != 1).then_some(row + item)).collect::<Vec<_>>());
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows().map(list));
    let a: ArrayRef = Arc::new(rows().map(|row| (row % 5 != 0).then_some(row % 100)).collect::<Int32Array>());
    let text = |row: i32| (row % 6 != 0).then(|| ["short", "", "a text that is longer than twelve bytes", "ünï"][row as usize % 4]);
    let b: ArrayRef = Arc::new(rows().map(text).collect::<StringArray>());
    let fields = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)];
    // The fields of a null struct hold something all the same.
    let nulls = NullBuffer::from_iter(rows().map(|row| row % 9 != 4));
    let structs = StructArray::new(fields.into(), vec![a, b], Some(nulls));
    let mut maps = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int32Builder::new());
    for row in rows() {
        for key in 0..row % 3 {
            maps.keys().append_value(format!("k{key}"));
            maps.values().append_value(row + key);
        }
        maps.append(row % 8 != 1).expect("keys and values have one length");
    }
    let maps = maps.finish();
    let intervals: IntervalMonthDayNanoArray =
        rows().map(|row| (row % 4 != 0).then(|| IntervalMonthDayNano::new(row % 13, row % 31, i64::from(row)))).collect();
    let wide: Decimal256Array = rows().map(|row| (row % 3 != 0).then(|| i256::from_i128(i128::from(row) << 90))).collect();
    let wide = wide.with_precision_and_scale(60, 3).expect("fits");
    let columns: Vec<(&str, bool, ArrayRef)> = vec![
        ("id", false, Arc::new(rows().map(i64::from).collect::<Int64Array>())),
        ("k", false, Arc::new(rows().map(|row| row % 40).collect::<Int32Array>())),
        ("l", true, Arc::new(lists)),
        ("st", true, Arc::new(structs)),
        ("m", true, Arc::new(maps)),
        ("iv", true, Arc::new(intervals)),
        ("wide", true, Arc::new(wide)),
        ("n", true, Arc::new(NullArray::new(ROWS as usize))),
    ];
    let fields = columns.iter().map(|(name, nullable, column)| Field::new(*name, column.data_type().clone(), *nullable));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let all = RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(.., column)| column).collect()).expect("fits");
    let slices = |cuts: &[(usize, usize)]| cuts.iter().map(|(first, rows)| all.slice(*first, *rows)).collect::<Vec<_>>();
    MemTable::try_new(schema, vec![slices(&[(10, 3_001), (3_011, 0), (3_011, 1)]), slices(&[(3_012, 5_988)])]).expect("fits")
}
