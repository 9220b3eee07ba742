//! Compiled stages over real batches, against expectations computed here by other means. Cranelift's verifier is on.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int32Type, Int64Type, Schema};
use stagefuse_compiler::{CompiledStage, Options, compile};
use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
use stagefuse_ir::{
    AccDecl, AccOp, BinaryOp, Datum, EntityRef, GroupsDecl, JoinDecl, JoinRows, LimitDecl, Op, Probe, ProbeKind, Program, Repr, Sink,
    Source, SqlType, Type, UnaryOp,
};
use stagefuse_runtime::{Engine, Flow, Run, RunConfig, Unlimited, builtins};

const INT64: Type = Type::new(SqlType::Int64, false);
const NULLABLE: Type = Type::new(SqlType::Int64, true);
const TEXT: Type = Type::new(SqlType::Utf8, false);

fn compiled(program: &Program, always_split: bool) -> Vec<CompiledStage> {
    let options = Options { verify: true, dump: true, always_split, ..Options::default() };
    program
        .stages
        .keys()
        .map(|stage| compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{stage}: {error}")))
        .collect()
}

/// Runs all stages over one batch for each input, with two workers where there is more than one batch.
///
/// Twice: each stage as one function, and split into its operators.
fn run(program: Program, batches: &[&[RecordBatch]], schema: &Schema) -> Result<Vec<RecordBatch>, stagefuse_runtime::Error> {
    let whole = run_once(program.clone(), batches, schema, false);
    let split = run_once(program.clone(), batches, schema, true);
    match (&whole, &split) {
        // Which rows a limit lets through depends on nothing but their order, which is the same.
        (Ok(whole), Ok(split)) => assert_eq!(rows(split), rows(whole), "split: {program}"),
        (Err(whole), Err(split)) => assert_eq!(split.to_string(), whole.to_string(), "split: {program}"),
        _ => panic!("only one of them failed: {program}"),
    }
    whole
}

fn run_once(
    program: Program,
    batches: &[&[RecordBatch]],
    schema: &Schema,
    split: bool,
) -> Result<Vec<RecordBatch>, stagefuse_runtime::Error> {
    let engines =
        compiled(&program, split).into_iter().map(|stage| Engine::Native { function: stage.function(), owner: Arc::new(stage) }).collect();
    let program = Arc::new(program);
    let run = Run::new(RunConfig {
        host_types: vec![],
        program: Arc::clone(&program),
        engines,
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(schema.clone()),
        partitions: 3,
        memory: Arc::new(Unlimited),
    })?;
    let mut out = vec![];
    for (stage, decl) in &program.stages {
        let mut workers = [run.worker(), run.worker()];
        match decl.source {
            Source::Input { input, .. } => {
                for (index, batch) in batches[input.index()].iter().enumerate() {
                    let worker = &mut workers[index % 2];
                    let flow = run.run_batch(stage, worker, batch)?;
                    out.extend(worker.take_output());
                    if flow == Flow::Done {
                        break;
                    }
                }
            }
            _ => {
                for partition in 0..3 {
                    let mut cursor = run.table_cursor(stage, partition)?;
                    while run.run_table(stage, &mut workers[0], &mut cursor)? == Flow::More {}
                    out.extend(workers[0].take_output());
                }
            }
        }
        drop(workers);
        while let parts @ 1.. = run.finish_parts(stage)? {
            (0..parts).try_for_each(|part| run.finish_part(stage, part))?;
        }
    }
    Ok(out)
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().enumerate().map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

fn schema(fields: &[(DataType, bool)]) -> Schema {
    Schema::new(fields.iter().enumerate().map(|(i, (ty, null))| Field::new(format!("o{i}"), ty.clone(), *null)).collect::<Vec<_>>())
}

/// All rows as text, sorted.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = batches
        .iter()
        .flat_map(|batch| {
            (0..batch.num_rows()).map(|row| {
                let cell = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, row).expect("printable");
                batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")
            })
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn filters_keep_true_and_drop_false_and_null() {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![INT64, NULLABLE]);
    let limit = p.literal(INT64, Datum::Int(10));
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[INT64, NULLABLE]);
    let (a, n) = (s.params()[0], s.params()[1]);
    let ten = s.op(Op::Literal(limit), INT64);
    let keep = s.binary(BinaryOp::Gt, n, ten, Type::boolean(true));
    s.filter(keep);
    let sum = s.binary(BinaryOp::Add, a, n, NULLABLE);
    p.stage(s.sink(Sink::Emit { columns: vec![a, sum] }));
    let n: Int64Array = (0..5000).map(|i| (i % 3 != 0).then_some(i % 40)).collect();
    let data = batch(vec![ints(0..5000), Arc::new(n)]);
    let sliced = data.slice(13, 4500);
    let out =
        run(p.finish(vec![INT64, NULLABLE]), &[&[sliced]], &schema(&[(DataType::Int64, false), (DataType::Int64, true)])).expect("runs");
    let mut expected: Vec<String> = (13..4513).filter(|i| i % 3 != 0 && i % 40 > 10).map(|i: i64| format!("{i}|{}", i + i % 40)).collect();
    expected.sort();
    assert_eq!(rows(&out), expected);
}

#[test]
fn groups_of_text_with_decimal_sums() {
    let money = Type::new(SqlType::Decimal { precision: 15, scale: 2 }, false).with_repr(Repr::I64);
    let product = Type::new(SqlType::Decimal { precision: 31, scale: 4 }, false);
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![TEXT, money]);
    let accs = vec![
        AccDecl { op: AccOp::CountRows, ty: INT64 },
        AccDecl { op: AccOp::Sum, ty: product },
        AccDecl { op: AccOp::Max, ty: TEXT },
        AccDecl { op: AccOp::Min, ty: money },
    ];
    let groups = p.groups(GroupsDecl::new(vec![TEXT], accs));
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: false }, &[TEXT, money]);
    let (key, m) = (s.params()[0], s.params()[1]);
    let square = s.binary(BinaryOp::Mul, m, m, product);
    p.stage(s.sink(Sink::Group { groups, keys: vec![key], args: vec![None, Some(square), Some(key), Some(m)], operands: vec![] }));
    let types = [TEXT, INT64, product, TEXT, money];
    let s = StageBuilder::new("groups", Source::Groups(groups), &types);
    let columns = s.params().to_vec();
    p.stage(s.sink(Sink::Emit { columns }));

    let text = |i: i64| if i % 2 == 0 { format!("key {}", i % 700) } else { format!("a key that is longer than twelve {}", i % 700) };
    let make = |from: i64, to: i64| {
        let keys: StringViewArray = (from..to).map(|i| Some(text(i))).collect();
        let money: Decimal128Array = (from..to).map(|i| Some(i128::from(i) * 1_000_003 - 7_000_000_000)).collect();
        batch(vec![Arc::new(keys), Arc::new(money.with_precision_and_scale(15, 2).expect("fits"))])
    };
    let output = vec![TEXT, INT64, product, TEXT, money.with_repr(Repr::I128)];
    let out_schema = schema(&[
        (DataType::Utf8View, false),
        (DataType::Int64, false),
        (DataType::Decimal128(31, 4), false),
        (DataType::Utf8, false),
        (DataType::Decimal128(15, 2), false),
    ]);
    let out = run(p.finish(output), &[&[make(0, 20_000), make(20_000, 33_333)]], &out_schema).expect("runs");

    let mut expected: BTreeMap<String, (i64, i128, i128)> = BTreeMap::new();
    for i in 0..33_333 {
        let m = i128::from(i) * 1_000_003 - 7_000_000_000;
        let group = expected.entry(text(i)).or_insert((0, 0, i128::MAX));
        *group = (group.0 + 1, group.1 + m * m, group.2.min(m));
    }
    let mut got = BTreeMap::new();
    for batch in &out {
        for row in 0..batch.num_rows() {
            let key = batch.column(0).as_string_view().value(row).to_string();
            assert_eq!(batch.column(3).as_string::<i32>().value(row), key);
            let decimal = |column: usize| batch.column(column).as_primitive::<Decimal128Type>().value(row);
            let count = batch.column(1).as_primitive::<Int64Type>().value(row);
            assert!(got.insert(key, (count, decimal(2), decimal(4))).is_none(), "a group comes once");
        }
    }
    assert_eq!(got, expected);
}

/// `probe` (k, x) against `build` (k, y), where the build side holds each key three times and some null keys.
fn join(kind: ProbeKind, tracked: Option<JoinRows>, residual: bool) -> Vec<String> {
    let mut p = ProgramBuilder::new();
    let build = p.input("build", vec![NULLABLE, INT64]);
    let probe = p.input("probe", vec![NULLABLE, INT64]);
    let join = p.join(JoinDecl { keys: vec![NULLABLE], payload: vec![INT64], null_equal: false, tracked: tracked.is_some() });
    let s = StageBuilder::new("build", Source::Input { input: build, partitioned: false }, &[NULLABLE, INT64]);
    let (k, y) = (s.params()[0], s.params()[1]);
    p.stage(s.sink(Sink::Build { join, keys: vec![k], payload: vec![y] }));

    let mut s = StageBuilder::new("probe", Source::Input { input: probe, partitioned: false }, &[NULLABLE, INT64]);
    let (k, x) = (s.params()[0], s.params()[1]);
    let y_type = INT64.with_nullable(kind == ProbeKind::Outer);
    let y = s.value(y_type);
    let residual = residual.then(|| {
        s.begin_region();
        let less = s.binary(BinaryOp::Lt, y, x, Type::boolean(y_type.nullable));
        s.end_region(less)
    });
    let mark = (kind == ProbeKind::Mark).then(|| s.value(Type::boolean(false)));
    let probe = Probe { join, kind, keys: vec![k], columns: vec![None, Some(y)], mark, residual, marks_build: tracked.is_some() };
    let (output, fields) = match (tracked, kind) {
        (Some(_), _) => (vec![NULLABLE, INT64], vec![(DataType::Int64, true), (DataType::Int64, false)]),
        (None, ProbeKind::Inner | ProbeKind::Outer) => {
            (vec![INT64, y_type], vec![(DataType::Int64, false), (DataType::Int64, y_type.nullable)])
        }
        (None, ProbeKind::Mark) => (vec![INT64, Type::boolean(false)], vec![(DataType::Int64, false), (DataType::Boolean, false)]),
        (None, _) => (vec![INT64], vec![(DataType::Int64, false)]),
    };
    if let Some(which) = tracked {
        p.stage(s.sink(Sink::Mark { probe }));
        let s = StageBuilder::new("rows", Source::Join(join, which), &[NULLABLE, INT64]);
        let columns = s.params().to_vec();
        p.stage(s.sink(Sink::Emit { columns }));
    } else {
        s.probe(probe);
        let columns = match kind {
            ProbeKind::Inner | ProbeKind::Outer => vec![x, y],
            ProbeKind::Mark => vec![x, mark.expect("made above")],
            _ => vec![x],
        };
        p.stage(s.sink(Sink::Emit { columns }));
    }
    let (build_rows, probe_rows) = join_data();
    let table = |rows: &[(Option<i64>, i64)]| {
        let keys: Int64Array = rows.iter().map(|(k, _)| *k).collect();
        batch(vec![Arc::new(keys), ints(rows.iter().map(|(_, v)| *v))])
    };
    rows(&run(p.finish(output), &[&[table(&build_rows)], &[table(&probe_rows)]], &schema(&fields)).expect("runs"))
}

type Rows = Vec<(Option<i64>, i64)>;

fn join_data() -> (Rows, Rows) {
    let build = (0..300).map(|i| ((i % 11 != 0).then_some(i % 100), i * 10)).collect();
    let probe = (0..2000).map(|i| ((i % 13 != 0).then_some(i % 250), i)).collect();
    (build, probe)
}

/// A probe row, and the payloads that it finds.
type Matches = ((Option<i64>, i64), Vec<i64>);

fn matches(residual: bool) -> Vec<Matches> {
    let (build, probe) = join_data();
    let pairs = |k: Option<i64>, x: i64| {
        build.iter().filter(|(bk, y)| k.is_some() && *bk == k && (!residual || *y < x)).map(|(_, y)| *y).collect::<Vec<_>>()
    };
    probe.iter().map(|(k, x)| ((*k, *x), pairs(*k, *x))).collect()
}

#[test]
fn joins_of_every_kind() {
    for residual in [false, true] {
        for kind in ProbeKind::ALL {
            let mut expected = vec![];
            for ((_, x), found) in matches(residual) {
                match kind {
                    ProbeKind::Inner => expected.extend(found.iter().map(|y| format!("{x}|{y}"))),
                    ProbeKind::Outer if found.is_empty() => expected.push(format!("{x}|")),
                    ProbeKind::Outer => expected.extend(found.iter().map(|y| format!("{x}|{y}"))),
                    ProbeKind::Semi if !found.is_empty() => expected.push(x.to_string()),
                    ProbeKind::Anti if found.is_empty() => expected.push(x.to_string()),
                    ProbeKind::Mark => expected.push(format!("{x}|{}", !found.is_empty())),
                    ProbeKind::Semi | ProbeKind::Anti => {}
                }
            }
            expected.sort();
            assert_eq!(join(*kind, None, residual), expected, "{kind:?} residual: {residual}");
        }
    }
}

#[test]
fn tracked_build_sides_know_what_matched() {
    for residual in [false, true] {
        let (build, _) = join_data();
        let matched: Vec<(Option<i64>, i64)> =
            matches(residual).iter().flat_map(|((k, _), found)| found.iter().map(|y| (*k, *y))).collect();
        for which in [JoinRows::Matched, JoinRows::Unmatched] {
            let wanted = which == JoinRows::Matched;
            let rows = build.iter().filter(|row| matched.contains(row) == wanted);
            let mut expected: Vec<String> = rows.map(|(k, y)| format!("{}|{y}", k.map(|k| k.to_string()).unwrap_or_default())).collect();
            expected.sort();
            assert_eq!(join(ProbeKind::Semi, Some(which), residual), expected, "{which:?} residual: {residual}");
        }
    }
}

#[test]
fn a_branch_not_taken_raises_nothing() {
    let divide = |guarded: bool| {
        let mut p = ProgramBuilder::new();
        let input = p.input("t", vec![INT64]);
        let (zero, hundred) = (p.literal(INT64, Datum::Int(0)), p.literal(INT64, Datum::Int(100)));
        let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[INT64]);
        let a = s.params()[0];
        let zero = s.op(Op::Literal(zero), INT64);
        let hundred = s.op(Op::Literal(hundred), INT64);
        let result = if guarded {
            let is_zero = s.binary(BinaryOp::Eq, a, zero, Type::boolean(false));
            s.begin_region();
            let then = s.end_region(a);
            s.begin_region();
            let quotient = s.binary(BinaryOp::Div, hundred, a, INT64);
            let otherwise = s.end_region(quotient);
            s.op(Op::If(is_zero, Box::new(then), Box::new(otherwise)), INT64)
        } else {
            s.binary(BinaryOp::Div, hundred, a, INT64)
        };
        p.stage(s.sink(Sink::Emit { columns: vec![result] }));
        run(p.finish(vec![INT64]), &[&[batch(vec![ints(0..5)])]], &schema(&[(DataType::Int64, false)]))
    };
    assert_eq!(rows(&divide(true).expect("no row divides by zero")), ["0", "100", "25", "33", "50"]);
    assert_eq!(divide(false).expect_err("row 0 divides by zero").to_string(), "Divide by zero error");
}

#[test]
fn checked_decimal_products() {
    let wide = Type::new(SqlType::Decimal { precision: 38, scale: 0 }, false);
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![wide, wide]);
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[wide, wide]);
    let (a, b) = (s.params()[0], s.params()[1]);
    let product = s.binary(BinaryOp::MulChecked, a, b, wide);
    p.stage(s.sink(Sink::Emit { columns: vec![product] }));
    let program = p.finish(vec![wide]);
    let out_schema = schema(&[(DataType::Decimal128(38, 0), false)]);
    let table = |rows: &[(i128, i128)]| {
        let column =
            |values: Vec<i128>| -> ArrayRef { Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 0).expect("fits")) };
        batch(vec![column(rows.iter().map(|r| r.0).collect()), column(rows.iter().map(|r| r.1).collect())])
    };
    let cases = [(3, -4), (i128::from(i64::MAX), i128::from(i64::MIN)), (1 << 100, 1 << 20), (-(1 << 90), 1 << 30), (0, i128::MIN)];
    let out = run(program.clone(), &[&[table(&cases)]], &out_schema).expect("fits");
    let got: Vec<i128> = out[0].column(0).as_primitive::<Decimal128Type>().values().to_vec();
    assert_eq!(got, cases.map(|(a, b)| a * b));
    let error = run(program, &[&[table(&[(1 << 100, 1 << 30)])]], &out_schema).expect_err("overflows");
    assert_eq!(error.to_string(), "Arithmetic overflow");
}

#[test]
fn parts_of_dates() {
    let date = Type::new(SqlType::Date32, false);
    let int = Type::new(SqlType::Int32, false);
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![date]);
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[date]);
    let d = s.params()[0];
    let columns = [UnaryOp::Year, UnaryOp::Month, UnaryOp::Day].map(|op| s.unary(op, d, int)).to_vec();
    p.stage(s.sink(Sink::Emit { columns }));
    let days: Vec<i32> = (-800_000..800_000).step_by(97).collect();
    let data: ArrayRef = Arc::new(Date32Array::from(days));
    let fields = schema(&[(DataType::Int32, false), (DataType::Int32, false), (DataType::Int32, false)]);
    let out = run(p.finish(vec![int; 3]), &[&[batch(vec![data.clone()])]], &fields).expect("runs");
    for (column, part) in
        [arrow::compute::DatePart::Year, arrow::compute::DatePart::Month, arrow::compute::DatePart::Day].iter().enumerate()
    {
        let expected = arrow::compute::date_part(&data, *part).expect("a date has parts");
        let got: Vec<i32> = out.iter().flat_map(|batch| batch.column(column).as_primitive::<Int32Type>().values().to_vec()).collect();
        assert_eq!(got, expected.as_primitive::<Int32Type>().values().to_vec(), "{part:?}");
    }
}

#[test]
fn a_limit_lets_through_what_it_should() {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![INT64]);
    let limit = p.limit(LimitDecl { skip: 5, fetch: 7 });
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[INT64]);
    let a = s.params()[0];
    s.limit(limit);
    p.stage(s.sink(Sink::Emit { columns: vec![a] }));
    let out = run(p.finish(vec![INT64]), &[&[batch(vec![ints(0..100)])]], &schema(&[(DataType::Int64, false)])).expect("runs");
    assert_eq!(rows(&out), ["10", "11", "5", "6", "7", "8", "9"]);
}

#[test]
fn like_and_substr() {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![TEXT]);
    let pattern = p.literal(TEXT, Datum::Str("%green%fox%".into()));
    let (two, four) = (p.literal(INT64, Datum::Int(2)), p.literal(INT64, Datum::Int(4)));
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[TEXT]);
    let a = s.params()[0];
    let like = s.op(Op::Like(a, pattern), Type::boolean(false));
    s.filter(like);
    let two = s.op(Op::Literal(two), INT64);
    let four = s.op(Op::Literal(four), INT64);
    let part = s.op(Op::Substr(a, two, Some(four)), TEXT);
    p.stage(s.sink(Sink::Emit { columns: vec![part] }));
    let texts: StringViewArray =
        ["a green fox", "the quick green fox jumps", "green", "日本green語fox", ""].into_iter().map(Some).collect();
    let out = run(p.finish(vec![TEXT]), &[&[batch(vec![Arc::new(texts)])]], &schema(&[(DataType::Utf8View, false)])).expect("runs");
    assert_eq!(rows(&out), [" gre", "he q", "本gre"]);
}

/// Bytes of resident memory, where the system tells.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

#[test]
fn dropped_code_is_freed() {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![INT64]);
    let s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[INT64]);
    let columns = s.params().to_vec();
    let stage = p.stage(s.sink(Sink::Emit { columns }));
    let program = p.finish(vec![INT64]);
    let cycle = |times: usize| {
        for _ in 0..times {
            compile(&program, stage, &builtins(), &Options { verify: false, ..Options::default() }).expect("compiles");
        }
    };
    cycle(100);
    let before = resident();
    cycle(1000);
    if let (Some(before), Some(after)) = (before, resident()) {
        // A leak of one page a cycle would be 4 MB.
        assert!(after < before + 3_000_000, "resident memory grew from {before} to {after} bytes");
    }
}

#[test]
fn a_stage_goes_on_native_once_it_is_compiled() {
    let text = "program {\ninput0 \"t\" (int64)\noutput (int64)\ns0 \"scan\" {\nsource input0 (v0: int64)\nv1: int64 = add v0, v0\nemit (v1)\n}\n}";
    let program = Arc::new(stagefuse_ir::parser::parse(text).unwrap());
    let code = compiled(&program, false).remove(0);
    let schema = Schema::new(vec![Field::new("x", DataType::Int64, false)]);
    let awaited = Arc::new(OnceLock::new());
    let run = Run::new(RunConfig {
        host_types: vec![],
        program: Arc::clone(&program),
        engines: vec![Engine::Awaited(Arc::clone(&awaited))],
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(schema.clone()),
        partitions: 1,
        memory: Arc::new(Unlimited),
    })
    .unwrap();
    let stage = program.stages.keys().next().unwrap();
    let mut worker = run.worker();
    let mut doubled = vec![];
    for (values, ahead) in [(vec![1, 2, 3], 3), (vec![4, 5], 3), (vec![6], 3)] {
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(Int64Array::from(values))]).unwrap();
        run.run_batch(stage, &mut worker, &batch).unwrap();
        for batch in worker.take_output() {
            doubled.extend(batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        }
        assert_eq!(run.metrics(stage).rows_ahead, ahead);
        let _ = awaited.set(Engine::Native { function: code.function(), owner: Arc::new(code.clone()) });
    }
    assert_eq!(doubled, [2, 4, 6, 8, 10, 12]);
    assert_eq!(run.metrics(stage).rows_in, 6);
}
