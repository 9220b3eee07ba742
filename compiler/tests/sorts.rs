//! Native code and the interpreter put random rows in the order of Arrow's sort, rows with equal keys in the order in which they came.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Source, Stage, parser::parse, passes, verifier::verify};
use stagefuse_runtime::{Engine, Flow, Run, RunConfig, Unlimited, builtins};

/// A small generator of numbers: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

const TYPES: [&str; 18] = [
    "boolean",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "decimal(15,2)",
    "decimal(38,4)",
    "date32",
    "utf8",
    "utf8",
    "binary",
    "timestamp_ms",
];

/// A column of a type, with nulls if wanted. A column of few different values has many ties.
fn column(random: &mut Random, ty: &str, rows: usize, nulls: bool) -> ArrayRef {
    let few = [3, 40, u64::MAX][random.below(3) as usize];
    let mut number = |extremes: bool| {
        if nulls && random.below(6) == 0 {
            return None;
        }
        Some(match random.below(if extremes { 12 } else { 1 << 40 }) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => -1,
            _ => random.below(few) as i64 / if few == u64::MAX { 1 << random.below(60) } else { 1 } - 1,
        })
    };
    const FLOATS: [f64; 8] = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MIN_POSITIVE, -1e300];
    let float = |n: i64| if n.rem_euclid(5) == 0 { FLOATS[n.rem_euclid(8) as usize] } else { n as f64 / 7.0 };
    macro_rules! ints {
        ($array:ty, $native:ty) => {
            Arc::new((0..rows).map(|_| number(true).map(|n| n as $native)).collect::<$array>())
        };
    }
    match ty {
        "boolean" => Arc::new((0..rows).map(|_| number(false).map(|n| n % 2 == 0)).collect::<BooleanArray>()),
        "int8" => ints!(Int8Array, i8),
        "int16" => ints!(Int16Array, i16),
        "int32" => ints!(Int32Array, i32),
        "int64" => ints!(Int64Array, i64),
        "uint8" => ints!(UInt8Array, u8),
        "uint16" => ints!(UInt16Array, u16),
        "uint32" => ints!(UInt32Array, u32),
        "uint64" => ints!(UInt64Array, u64),
        "date32" => ints!(Date32Array, i32),
        "float32" => Arc::new((0..rows).map(|_| number(true).map(|n| float(n) as f32)).collect::<Float32Array>()),
        "float64" => Arc::new((0..rows).map(|_| number(true).map(float)).collect::<Float64Array>()),
        "timestamp_ms" => ints!(TimestampMillisecondArray, i64),
        "binary" => {
            let bytes = |n: i64| n.to_le_bytes()[..n.rem_euclid(9) as usize].repeat(1 + n.rem_euclid(2) as usize);
            Arc::new((0..rows).map(|_| number(true).map(bytes)).collect::<BinaryViewArray>())
        }
        "decimal(15,2)" => {
            let values: Decimal128Array = (0..rows).map(|_| number(true).map(|n| i128::from(n % 1_000_000_000_000_000))).collect();
            Arc::new(values.with_precision_and_scale(15, 2).expect("fits"))
        }
        "decimal(38,4)" => {
            let wide = |n: i64| if n % 3 == 0 { i128::from(n) << 40 } else { i128::from(n) };
            let values: Decimal128Array = (0..rows).map(|_| number(true).map(wide)).collect();
            Arc::new(values.with_precision_and_scale(38, 4).expect("fits"))
        }
        _ => {
            const BEGINNINGS: [&str; 5] = ["", "a", "the same beginning ", "zeros\0\0", "日本"];
            let text = |n: i64| format!("{}{n}", BEGINNINGS[n.rem_euclid(5) as usize]);
            Arc::new((0..rows).map(|_| number(true).map(text)).collect::<StringViewArray>())
        }
    }
}

/// Runs the stages over batches that two workers take in turn, the last batch first. Yields the row numbers in the order in which they leave.
fn run(program: &Arc<Program>, native: bool, batches: &[RecordBatch], partitions: usize) -> Vec<i64> {
    let engine = |stage: Stage| {
        if !native {
            return Engine::Interpreted;
        }
        // Every other program is split into its operators.
        let options = Options { verify: true, always_split: partitions.is_multiple_of(2), ..Options::default() };
        let code = compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let run = Run::new(RunConfig {
        program: Arc::clone(program),
        engines: program.stages.keys().map(engine).collect(),
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        host_types: vec![],
        schema: Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false), Field::new("text", DataType::Utf8View, true)])),
        partitions,
        memory: Arc::new(Unlimited),
    })
    .expect("a run");
    let mut out = vec![];
    for (stage, decl) in &program.stages {
        let mut workers = [run.worker(), run.worker()];
        if let Source::Input { .. } = decl.source {
            for (number, batch) in batches.iter().enumerate().rev() {
                let worker = &mut workers[number % 2];
                worker.set_place(number / 4, number % 4);
                run.run_batch(stage, worker, batch).expect("runs");
            }
        } else {
            for partition in 0..partitions {
                let mut cursor = run.table_cursor(stage, partition).expect("a sort");
                while run.run_table(stage, &mut workers[0], &mut cursor).expect("runs") == Flow::More {}
                out.extend(workers[0].take_output());
            }
        }
        drop(workers);
        while let parts @ 1.. = run.finish_parts(stage).expect("finishes") {
            (0..parts).for_each(|part| run.finish_part(stage, part).expect("finishes"));
        }
    }
    for batch in &out {
        // What was stored beside the row number is that row's.
        let (rows, texts) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string_view());
        assert!(rows.values().iter().zip(texts).all(|(row, text)| text == text_of(*row).as_deref()));
    }
    out.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn text_of(row: i64) -> Option<String> {
    (row % 5 != 2).then(|| if row % 2 == 0 { format!("{row}") } else { format!("a text that is not short, {row}") })
}

#[test]
fn as_arrow_sorts() {
    let mut random = Random(4711);
    let mut shortened = 0;
    for trial in 0..150 {
        // Most are small; some have more rows than a worker's buffer, or than are merged at once.
        let rows = match trial % 15 {
            0 => 50_000,
            1..4 => 20_000,
            4 => 0,
            _ => random.below(700) as usize,
        };
        let mut keys: Vec<(ArrayRef, String, SortOptions)> = vec![];
        for _ in 0..=random.below(3) {
            let (ty, nulls) = (TYPES[random.below(TYPES.len() as u64) as usize], random.below(2) == 0);
            let options = SortOptions { descending: random.below(2) == 0, nulls_first: random.below(2) == 0 };
            keys.push((column(&mut random, ty, rows, nulls), format!("{ty}{}", if nulls { "?" } else { "" }), options));
        }
        let skip = [0, 0, 3, random.below(rows as u64 + 10)][random.below(4) as usize];
        let fetch = [None, Some(0), Some(1), Some(10), Some(random.below(rows as u64 + 10)), Some(random.below(300))];
        let fetch = fetch[random.below(6) as usize];
        shortened += usize::from(fetch.is_some_and(|fetch| rows as u64 > 2 * (skip + fetch).max(4096) && fetch > 0));

        let types: Vec<&str> = keys.iter().map(|(_, ty, _)| ty.as_str()).collect();
        let decls = keys.iter().map(|(_, ty, options)| {
            let (descending, nulls_first) = (options.descending, options.nulls_first);
            format!("{ty}{}{}", if descending { " desc" } else { "" }, if nulls_first { " nulls_first" } else { "" })
        });
        let (types_text, decls) = (types.join(", "), decls.collect::<Vec<_>>().join(", "));
        let params: String = types.iter().enumerate().map(|(i, ty)| format!(", v{}: {ty}", i + 2)).collect();
        let key_params: String = types.iter().enumerate().map(|(i, ty)| format!("v{}: {ty}, ", i + 2)).collect();
        let values: Vec<String> = (0..types.len()).map(|i| format!("v{}", i + 2)).collect();
        let text = format!(
            "program {{
                input0 \"t\" (int64, utf8?, {types_text})
                sort0 keys({decls}) payload(int64, utf8?) skip {skip} fetch {}
                output (int64, utf8?)
                s0 \"scan\" {{ source input0 (v0: int64, v1: utf8?{params}) sort sort0 keys({}) payload(v0, v1) }}
                s1 \"rows\" {{ source sort0 ({key_params}v0: int64, v1: utf8?) emit (v0, v1) }}
            }}",
            fetch.map_or("all".to_string(), |fetch| fetch.to_string()),
            values.join(", ")
        );
        let mut program = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        passes::narrow(&mut program);
        assert_eq!(verify(&program), Ok(()), "{program}");
        let program = Arc::new(program);

        let numbers: ArrayRef = Arc::new((0..rows as i64).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new((0..rows as i64).map(text_of).collect::<StringViewArray>());
        let by: Vec<SortColumn> = keys
            .iter()
            .map(|(values, _, options)| SortColumn { values: Arc::clone(values), options: Some(*options) })
            .chain([SortColumn { values: Arc::clone(&numbers), options: None }])
            .collect();
        let order = lexsort_to_indices(&by, None).expect("sorts");
        let last = fetch.map_or(rows, |fetch| (skip + fetch).min(rows as u64) as usize);
        let expected: Vec<i64> = order.values()[(skip as usize).min(last)..last].iter().map(|row| i64::from(*row)).collect();

        let columns: Vec<ArrayRef> = [numbers, texts].into_iter().chain(keys.iter().map(|(values, ..)| Arc::clone(values))).collect();
        let fields: Vec<Field> = columns.iter().map(|c| Field::new("c", c.data_type().clone(), true)).collect();
        let whole = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length");
        let size = [rows.max(1), 1 + rows / 3, 1 + rows / 11][random.below(3) as usize].min(60_000);
        let batches: Vec<RecordBatch> = (0..rows).step_by(size).map(|first| whole.slice(first, size.min(rows - first))).collect();
        let partitions = 1 + random.below(4) as usize;
        for native in [true, false] {
            let got = run(&program, native, &batches, partitions);
            assert_eq!(got.len(), expected.len(), "trial {trial}, native: {native}\n{program}");
            if let Some(at) = (0..got.len()).find(|at| got[*at] != expected[*at]) {
                panic!("trial {trial}, native: {native}: row {at} is {}, not {}\n{program}", got[at], expected[at]);
            }
        }
    }
    assert!(shortened > 3, "only {shortened} trials drop rows on the way");
}
