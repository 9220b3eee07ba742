//! The tables of the text suite. Deterministic; made to be nasty: nulls with garbage under them, empty and long and multi-byte text,
//! extreme numbers, duplicates, skew, empty batches, sliced arrays, batches of odd sizes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;

/// A small generator of numbers: splitmix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const WORDS: [&str; 12] = [
    "",
    "a",
    "green",
    "almond",
    "twelve bytes",
    "thirteen byte",
    "special packages",
    "the quick green fox jumps over the lazy dog",
    "ünïcödé",
    "日本語のテキストです、とても長い",
    "a_b%c\\d",
    "GREEN",
];

fn word(random: &mut Random) -> String {
    let base = WORDS[random.below(WORDS.len() as u64) as usize];
    if random.one_in(3) { format!("{base}{}", random.below(5)) } else { base.to_string() }
}

/// `facts`: 20,000 rows in two partitions and batches of odd sizes, among them an empty one and slices of larger arrays.
pub fn facts() -> MemTable {
    let rows = 20_000usize;
    let mut r = Random(42);
    let id: Int64Array = (0..rows as i64).collect();
    let k: Int32Array = (0..rows).map(|_| r.below(50) as i32).collect();
    let nk: Int32Array = (0..rows).map(|_| if r.one_in(7) { None } else { Some(r.below(300) as i32 - 20) }).collect();
    let big: Int64Array = (0..rows)
        .map(|_| match r.below(20) {
            0 => Some(i64::MAX),
            1 => Some(i64::MIN),
            2 => None,
            _ => Some(r.below(2_000_000) as i64 - 1_000_000),
        })
        .collect();
    let u: UInt64Array = (0..rows).map(|_| if r.one_in(10) { u64::MAX } else { r.below(1000) }).collect();
    let f: Float64Array = (0..rows)
        .map(|_| match r.below(24) {
            0 => Some(f64::NAN),
            1 => Some(-0.0),
            2 => Some(0.0),
            3 => Some(f64::INFINITY),
            4 => None,
            _ => Some(r.below(1000) as f64 / 8.0 - 60.0),
        })
        .collect();
    let d: Decimal128Array = (0..rows).map(|_| Some(r.below(10_000_000) as i128 - 100_000)).collect();
    let d = d.with_precision_and_scale(15, 2).expect("fits");
    let nd: Decimal128Array = (0..rows).map(|_| (!r.one_in(5)).then(|| r.below(100) as i128)).collect();
    let nd = nd.with_precision_and_scale(15, 2).expect("fits");
    let day: Date32Array = (0..rows).map(|_| Some(r.below(30_000) as i32 - 3_000)).collect();
    let s: StringViewArray = (0..rows).map(|_| Some(word(&mut r))).collect();
    let ns: StringArray = (0..rows).map(|_| if r.one_in(6) { None } else { Some(word(&mut r)) }).collect();
    let b: BooleanArray = (0..rows).map(|_| [Some(true), Some(false), None][r.below(3) as usize]).collect();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("k", DataType::Int32, false),
        Field::new("nk", DataType::Int32, true),
        Field::new("big", DataType::Int64, true),
        Field::new("u", DataType::UInt64, false),
        Field::new("f", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(15, 2), false),
        Field::new("nd", DataType::Decimal128(15, 2), true),
        Field::new("day", DataType::Date32, false),
        Field::new("s", DataType::Utf8View, false),
        Field::new("ns", DataType::Utf8, true),
        Field::new("b", DataType::Boolean, true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(id),
        Arc::new(k),
        Arc::new(nk),
        Arc::new(big),
        Arc::new(u),
        Arc::new(f),
        Arc::new(d),
        Arc::new(nd),
        Arc::new(day),
        Arc::new(s),
        Arc::new(ns),
        Arc::new(b),
    ];
    let all = RecordBatch::try_new(schema.clone(), columns).expect("columns fit the schema");
    // Slices keep odd offsets into the shared buffers, bitmaps included.
    let (first, second) = (all.slice(0, 9_001), all.slice(9_001, rows - 9_001));
    let cut = |batch: &RecordBatch, sizes: &[usize]| {
        let mut out = vec![];
        let mut at = 0;
        for size in sizes.iter().cycle() {
            if at >= batch.num_rows() {
                return out;
            }
            let size = (*size).min(batch.num_rows() - at);
            out.push(batch.slice(at, size));
            at += size;
        }
        out
    };
    let partitions = vec![cut(&first, &[1, 7, 0, 1_000, 2_047, 2_049]), cut(&second, &[10_999])];
    MemTable::try_new(schema, partitions).expect("batches fit the schema")
}

/// `dim`: 200 rows; `k` repeats four times, `nk` has nulls, `name` is unique.
pub fn dim() -> MemTable {
    let rows = 200usize;
    let mut r = Random(7);
    let k: Int32Array = (0..rows as i32).map(|i| i % 50).collect();
    let nk: Int32Array = (0..rows).map(|_| if r.one_in(7) { None } else { Some(r.below(300) as i32 - 20) }).collect();
    let name: StringViewArray = (0..rows).map(|i| Some(format!("{} number {i}", word(&mut r)))).collect();
    let s: StringViewArray = (0..rows).map(|_| Some(word(&mut r))).collect();
    let weight: Decimal128Array = (0..rows).map(|i| (i % 4 != 0).then_some(i as i128 * 25)).collect();
    let weight = weight.with_precision_and_scale(12, 2).expect("fits");
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int32, false),
        Field::new("nk", DataType::Int32, true),
        Field::new("name", DataType::Utf8View, false),
        Field::new("s", DataType::Utf8View, false),
        Field::new("weight", DataType::Decimal128(12, 2), true),
    ]));
    let columns: Vec<ArrayRef> = vec![Arc::new(k), Arc::new(nk), Arc::new(name), Arc::new(s), Arc::new(weight)];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("columns fit the schema");
    MemTable::try_new(schema, vec![vec![batch.slice(0, 77), batch.slice(77, 123)]]).expect("batches fit the schema")
}

/// `nothing`: the columns of `dim`, no row.
pub fn nothing() -> MemTable {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int32, false),
        Field::new("x", DataType::Int64, true),
        Field::new("s", DataType::Utf8View, true),
    ]));
    MemTable::try_new(schema, vec![vec![]]).expect("no batch misfits")
}
