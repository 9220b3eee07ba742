//! Group tables whose entries are spread: rows in no order over a range of keys that they fill, and then keys beyond it. Compiled and interpreted stages, engines that take
//! turns, and tables that are merged give what a map gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Source, SqlType, parser, verifier};
use stagefuse_runtime::{Engine, Flow, Run, RunConfig, Sizes, Unlimited, builtins};

/// A key that may be null, one that may not, a number, a text.
type Row = (Option<i64>, i32, Option<i64>, String);

/// Rows of keys from -10,000 on, 20,000 in all, none of which is 777; of the last batches some keys lie beyond.
fn batches() -> Vec<Vec<Row>> {
    let mut state = 7u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut row = |beyond: bool| {
        let key = match next(20_000) as i64 - 10_000 {
            777 => 778,
            key if beyond && key % 5 == 0 => key * 3 + if key < 0 { -40_000 } else { 40_000 },
            key => key,
        };
        let text = if next(2) == 0 { format!("t{}", next(99)) } else { format!("a text that is not short: {}", next(99)) };
        ((next(40) > 0).then_some(key), key as i32, (next(9) > 0).then(|| next(1000) as i64 - 500), text)
    };
    let batch = |number| (0..2_000).map(|_| row(number > 30)).collect();
    (0..40).map(batch).collect()
}

fn record(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| &row.3))),
    ];
    let field = |name: &str, ty, nullable| Field::new(name, ty, nullable);
    let schema = Schema::new(vec![
        field("a", DataType::Int64, true),
        field("b", DataType::Int32, false),
        field("n", DataType::Int64, true),
        field("t", DataType::Utf8View, false),
    ]);
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit")
}

/// Groups by a key of this type, which `body` yields.
fn program(ty: &str, key: &str, body: &str) -> Arc<Program> {
    let text = format!(
        r#"program {{
  lit0: int32 = 2000
  input0 "t" (int64?, int32, int64?, utf8)
  groups0 keys({ty}) accs(count_rows int64, sum int64?, min int64?, max utf8)
  output ({ty}, int64, int64?, int64?, utf8)

  s0 "scan" {{
    source input0 (v0: int64?, v1: int32, v2: int64?, v3: utf8)
{body}    group groups0 keys({key}) args(_, v2, v2, v3)
  }}

  s1 "groups" {{
    source groups0 (v0: {ty}, v1: int64, v2: int64?, v3: int64?, v4: utf8)
    emit (v0, v1, v2, v3, v4)
  }}
}}
"#
    );
    let program = parser::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    verifier::verify(&program).unwrap_or_else(|errors| panic!("{errors:?}"));
    Arc::new(program)
}

/// How many rows, the sum and the least of their numbers, the greatest text.
type Group<'a> = (i64, Option<i64>, Option<i64>, &'a str);

fn expected<'a>(rows: impl Iterator<Item = &'a Row>, key: impl Fn(&Row) -> Option<i64>) -> Vec<String> {
    let mut groups: BTreeMap<Option<i64>, Group<'_>> = BTreeMap::new();
    for row in rows {
        let (count, sum, least, text) = groups.entry(key(row)).or_default();
        *count += 1;
        if let Some(number) = row.2 {
            *sum = Some(sum.unwrap_or(0) + number);
            *least = Some(least.unwrap_or(number).min(number));
        }
        *text = (*text).max(&row.3);
    }
    let show = |number: Option<i64>| number.map_or(String::new(), |number| number.to_string());
    let line = |(key, (count, sum, least, text))| format!("{}|{count}|{}|{}|{text}", show(key), show(sum), show(least));
    let mut lines: Vec<String> = groups.into_iter().map(line).collect();
    lines.sort();
    lines
}

/// How a program is run.
#[derive(Clone, Debug)]
struct Way {
    native: bool,
    split: bool,
    workers: usize,
    partitions: usize,
    sizes: Sizes,
}

/// The rows that come out, and how many groups had been counted before any was read.
fn run(program: &Arc<Program>, way: &Way, batches: &[RecordBatch]) -> (Vec<String>, u64) {
    let options = Options { verify: true, always_split: way.split, cached_bytes: 0, ..Options::default() };
    let engine = |stage| {
        if !way.native {
            return Engine::Interpreted;
        }
        let code = compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let data_type = |sql| match sql {
        SqlType::Utf8 => DataType::Utf8View,
        SqlType::Int32 => DataType::Int32,
        _ => DataType::Int64,
    };
    let config = RunConfig {
        program: Arc::clone(program),
        engines: program.stages.keys().map(engine).collect(),
        host_types: vec![],
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(program.output.iter().map(|ty| Field::new("c", data_type(ty.sql), ty.nullable)).collect::<Vec<_>>())),
        partitions: way.partitions,
        memory: Arc::new(Unlimited),
    };
    let run = Run::with_sizes(config, way.sizes.clone()).expect("a run");
    let (mut lines, mut counted) = (vec![], 0);
    for (stage, decl) in &program.stages {
        let mut workers: Vec<_> = (0..way.workers).map(|_| run.worker()).collect();
        if let Source::Input { .. } = decl.source {
            run.expect(stage, 80_000 / way.workers as u64);
            for (number, batch) in batches.iter().enumerate() {
                run.run_batch(stage, &mut workers[number % way.workers], batch).expect("runs");
            }
            drop(workers);
            assert_eq!(run.finish_parts(stage).expect("finishes"), 0);
            counted = run.metrics(stage).rows_out;
            continue;
        }
        for partition in 0..way.partitions {
            let mut cursor = run.table_cursor(stage, partition).expect("a table");
            while run.run_table(stage, &mut workers[0], &mut cursor).expect("runs") == Flow::More {}
        }
        for batch in workers[0].take_output() {
            for row in 0..batch.num_rows() {
                let cell = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, row).expect("printable");
                lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
            }
        }
        // Each worker's groups, however they are kept.
        let groups: u64 = program.stages.keys().take(1).map(|stage| run.metrics(stage).rows_out).sum();
        assert!(groups >= lines.len() as u64 && (way.workers > 1 || groups == lines.len() as u64), "{groups} groups, {way:?}");
    }
    lines.sort();
    (lines, counted)
}

fn ways() -> Vec<Way> {
    let mut ways = vec![];
    for (native, split) in [(false, false), (true, false), (true, true)] {
        for (workers, partitions) in [(1, 1), (1, 3), (2, 1), (2, 3)] {
            ways.push(Way { native, split, workers, partitions, sizes: Sizes::default() });
        }
        // Engines that take turns, tables that grow one row at a time.
        ways.push(Way { native, split, workers: 2, partitions: 2, sizes: Sizes::least(300) });
    }
    ways
}

#[test]
fn spread_tables_hold_what_a_map_holds() {
    let rows = batches();
    let records: Vec<RecordBatch> = rows.iter().map(|rows| record(rows)).collect();
    type Key = fn(&Row) -> Option<i64>;
    type Keep = fn(&Row) -> bool;
    // Every row, and rows that are selected ahead of the row loop; keys that are columns, and one that is computed, whose entries nobody can touch ahead.
    let shapes: [(&str, &str, &str, Key, Keep); 4] = [
        ("int64?", "v0", "", |row| row.0, |_| true),
        ("int32", "v1", "", |row| Some(row.1.into()), |_| true),
        ("int64?", "v0", "    v4: int32 = literal lit0\n    v5: boolean = lt v1, v4\n    filter v5\n", |row| row.0, |row| row.1 < 2000),
        ("int64?", "v4", "    v4: int64? = neg v0\n", |row| row.0.map(|key| -key), |_| true),
    ];
    for (ty, key, body, key_of, keep) in shapes {
        let program = program(ty, key, body);
        let wanted = expected(rows.iter().flatten().filter(|row| keep(row)), key_of);
        for way in ways() {
            let (got, counted) = run(&program, &way, &records);
            assert!(got == wanted, "{} rows instead of {}, {way:?}\n{program}", got.len(), wanted.len());
            // What lies within the range was not counted as it came: it was spread. A table that is no longer, since it is the only one, was.
            let spread = way.workers * way.partitions > 1;
            assert_eq!(counted < wanted.len() as u64 / 2, spread, "{counted} of {} groups counted, {way:?}\n{program}", wanted.len());
        }
    }
}

#[test]
fn entries_are_touched_ahead_where_a_column_leads_to_them() {
    let touched = |program: &Program| {
        let options = Options { verify: true, dump: true, ..Options::default() };
        let stage = program.stages.keys().next().expect("a stage");
        let code = compile(program, stage, &builtins(), &options).expect("compiles");
        code.clif().expect("dumped").contains("prefetch")
    };
    assert!(touched(&program("int32", "v1", "")));
    // A computed key.
    assert!(!touched(&program("int64?", "v4", "    v4: int64? = neg v0\n")));
    let later = "    v4: int64? = div v0, v0\n    v5: boolean? = lt v4, v0\n    filter v5\n";
    // Rows that a later filter may drop, too: how many it drops nobody knows.
    assert!(touched(&program("int32", "v1", later)));
}
