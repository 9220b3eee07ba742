//! The rows that tests run over.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};

/// One row of the input that [`INPUT`] declares.
#[derive(Clone, Debug)]
pub struct Fact {
    pub a: Option<i64>,
    pub b: i64,
    pub f: Option<f64>,
    /// Unscaled, scale 2.
    pub d: Option<i128>,
    pub t: Option<String>,
    pub day: i32,
    pub flag: Option<bool>,
    pub u: u32,
}

/// The declaration of an input of [`Fact`]s, and a source that reads it.
pub const INPUT: &str = r#"input0 "facts" (int64?, int64, float64?, decimal(10,2):i64?, utf8?, date32, boolean?, uint32)"#;
pub const SOURCE: &str =
    "source input0 (v0: int64?, v1: int64, v2: float64?, v3: decimal(10,2):i64?, v4: utf8?, v5: date32, v6: boolean?, v7: uint32)";

/// Rows that a fixed sequence of numbers makes.
pub fn facts(count: usize) -> Vec<Fact> {
    let mut state = 0x1234_5678_9ABC_DEFFu64;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count)
        .map(|row| Fact {
            a: (next(7) != 0).then(|| next(50) as i64 - 25),
            b: row as i64,
            f: (next(5) != 0).then(|| next(1000) as f64 / 8.0 - 50.0),
            d: (next(6) != 0).then(|| i128::from(next(200_000)) - 100_000),
            t: (next(4) != 0).then(|| match next(4) {
                0 => format!("k{}", next(9)),
                1 => format!("a rather long text, number {}", next(5)),
                2 => "größe".into(),
                _ => "twelve bytes".into(),
            }),
            day: next(20_000) as i32 - 5_000,
            flag: (next(3) != 0).then(|| next(2) == 1),
            u: u32::MAX - next(3) as u32 * 2_000_000_000,
        })
        .collect()
}

/// Batches of uneven size; all but the first are slices, so that bitmaps begin within a byte.
pub fn batches(facts: &[Fact]) -> Vec<RecordBatch> {
    let mut columns: Vec<(&str, ArrayRef)> = vec![];
    columns.push(("a", Arc::new(facts.iter().map(|fact| fact.a).collect::<Int64Array>())));
    columns.push(("b", Arc::new(facts.iter().map(|fact| Some(fact.b)).collect::<Int64Array>())));
    columns.push(("f", Arc::new(facts.iter().map(|fact| fact.f).collect::<Float64Array>())));
    let d: Decimal128Array = facts.iter().map(|fact| fact.d).collect();
    columns.push(("d", Arc::new(d.with_precision_and_scale(10, 2).expect("valid"))));
    columns.push(("t", Arc::new(facts.iter().map(|fact| fact.t.as_deref()).collect::<StringArray>())));
    columns.push(("day", Arc::new(facts.iter().map(|fact| Some(fact.day)).collect::<Date32Array>())));
    columns.push(("flag", Arc::new(facts.iter().map(|fact| fact.flag).collect::<BooleanArray>())));
    columns.push(("u", Arc::new(facts.iter().map(|fact| Some(fact.u)).collect::<UInt32Array>())));
    let whole = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut out = vec![];
    let mut from = 0;
    for size in [3_001, 1, 2_500, usize::MAX] {
        let size = size.min(facts.len() - from);
        out.push(whole.slice(from, size));
        from += size;
    }
    out
}

/// Batches of integer columns.
pub fn ints(columns: &[Vec<Option<i64>>]) -> Vec<RecordBatch> {
    let arrays = columns.iter().map(|column| Arc::new(column.iter().copied().collect::<Int64Array>()) as ArrayRef);
    vec![RecordBatch::try_from_iter(arrays.enumerate().map(|(at, array)| (format!("c{at}"), array))).expect("columns of one length")]
}
