//! Native code and the interpreter find the same matches: pipelines of two probes of every kind, over keys of several types with nulls.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::abi::{HASH_ALL, HASH_COLLIDING};
use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
use stagefuse_ir::{
    BinaryOp, EntityRef, JoinDecl, JoinRows, Probe, ProbeKind, Program, Sink, Source, SqlType, Stage, StageDecl, Type, UnaryOp, Value,
};
use stagefuse_runtime::{Engine, Flow, Run, RunConfig, Sizes, Unlimited, builtins};

const INT64: Type = Type::new(SqlType::Int64, true);
const TEXT: Type = Type::new(SqlType::Utf8, true);
/// Columns of every input: a number, a text that is sometimes long, a row number.
const COLUMNS: [Type; 3] = [INT64, TEXT, INT64];

fn table(rows: i64, numbers: i64, texts: i64) -> RecordBatch {
    let number: Int64Array = (0..rows).map(|i| (i % 7 != 3).then_some(i * 5 % numbers)).collect();
    let name = |i: i64| if i % 2 == 0 { format!("k{}", i % texts) } else { format!("a key of more than twelve bytes {}", i % texts) };
    let text: StringViewArray = (0..rows).map(|i| (i % 11 != 4).then(|| name(i))).collect();
    let row: Int64Array = (0..rows).map(Some).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(number), Arc::new(text), Arc::new(row)];
    let fields: Vec<Field> = columns.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

/// Runs a program on either engine, with hashes of which the bits of a mask count; the rows of each emitting stage as sorted text.
fn run(program: &Arc<Program>, native: bool, hash_mask: u64, inputs: &[RecordBatch]) -> Vec<String> {
    let engine = |stage: Stage| {
        if !native {
            return Engine::Interpreted;
        }
        // Every other stage is split into its operators.
        let options = Options {
            verify: true,
            always_split: stage.index() % 2 == 1,
            hash_mask,
            cached_bytes: if hash_mask == HASH_ALL { 1 << 19 } else { 0 },
            ..Options::default()
        };
        let code = compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let data_type = |ty: &Type| match ty.sql {
        SqlType::Utf8 => DataType::Utf8View,
        SqlType::Boolean => DataType::Boolean,
        _ => DataType::Int64,
    };
    let fields: Vec<Field> =
        program.output.iter().enumerate().map(|(i, ty)| Field::new(format!("o{i}"), data_type(ty), ty.nullable)).collect();
    let config = RunConfig {
        host_types: vec![],
        program: Arc::clone(program),
        engines: program.stages.keys().map(engine).collect(),
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(fields)),
        partitions: 1,
        memory: Arc::new(Unlimited),
    };
    let run = Run::with_sizes(config, Sizes { hash_mask, ..Sizes::default() }).expect("a run");
    let mut rows = vec![];
    for (stage, decl) in &program.stages {
        let mut worker = run.worker();
        match decl.source {
            Source::Input { input, .. } => {
                run.run_batch(stage, &mut worker, &inputs[input.index()]).expect("runs");
            }
            _ => {
                let mut cursor = run.table_cursor(stage, 0).expect("a table");
                while run.run_table(stage, &mut worker, &mut cursor).expect("runs") == Flow::More {}
            }
        }
        for batch in worker.take_output() {
            for row in 0..batch.num_rows() {
                let cell = |c: &ArrayRef| arrow::util::display::array_value_to_string(c, row).expect("printable");
                rows.push(format!("{stage} {}", batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")));
            }
        }
        drop(worker);
        while let parts @ 1.. = run.finish_parts(stage).expect("finishes") {
            for part in 0..parts {
                run.finish_part(stage, part).expect("finishes");
            }
        }
    }
    rows.sort();
    rows
}

#[derive(Copy, Clone, Debug)]
struct Shape {
    kinds: [ProbeKind; 2],
    /// Which of the columns are keys.
    keys: &'static [usize],
    null_equal: bool,
    residual: bool,
    tracked: bool,
}

/// A build stage that keeps the row number beside the keys.
fn build(p: &mut ProgramBuilder, shape: Shape, input: stagefuse_ir::Input) -> stagefuse_ir::Join {
    let keys: Vec<Type> = shape.keys.iter().map(|key| COLUMNS[*key]).collect();
    let join = p.join(JoinDecl { keys, payload: vec![TEXT, INT64], null_equal: shape.null_equal, tracked: shape.tracked });
    let s = StageBuilder::new("build", Source::Input { input, partitioned: false }, &COLUMNS);
    let v = s.params().to_vec();
    p.stage(s.sink(Sink::Build { join, keys: shape.keys.iter().map(|key| v[*key]).collect(), payload: vec![v[1], v[2]] }));
    join
}

fn probe(s: &mut StageBuilder, shape: Shape, kind: ProbeKind, join: stagefuse_ir::Join, v: &[Value], out: &mut Vec<Value>) {
    let (text, row) = (s.value(TEXT), s.value(INT64));
    let residual = shape.residual.then(|| {
        s.begin_region();
        let less = s.binary(BinaryOp::Lt, row, v[2], Type::boolean(true));
        s.end_region(less)
    });
    let mark = (kind == ProbeKind::Mark).then(|| s.value(Type::boolean(false)));
    let columns = shape.keys.iter().map(|_| None).chain([Some(text), Some(row)]).collect();
    let keys = shape.keys.iter().map(|key| v[*key]).collect();
    s.probe(Probe { join, kind, keys, columns, mark, residual, marks_build: shape.tracked });
    match kind {
        ProbeKind::Inner | ProbeKind::Outer => out.extend([text, row]),
        ProbeKind::Mark => out.extend(mark),
        ProbeKind::Semi | ProbeKind::Anti => {}
    }
}

fn program(shape: Shape) -> Program {
    let mut p = ProgramBuilder::new();
    let inputs = [0, 1, 2].map(|i| p.input(format!("t{i}"), COLUMNS.to_vec()));
    let joins = [build(&mut p, shape, inputs[0]), build(&mut p, shape, inputs[1])];
    let mut s = StageBuilder::new("probe", Source::Input { input: inputs[2], partitioned: true }, &COLUMNS);
    let v = s.params().to_vec();
    let mut out = v.clone();
    for (kind, join) in shape.kinds.into_iter().zip(joins) {
        probe(&mut s, shape, kind, join, &v, &mut out);
    }
    let types: Vec<Type> = out.iter().map(|value| s.ty(*value)).collect();
    let stage: StageDecl = s.sink(Sink::Emit { columns: out });
    if !shape.tracked {
        p.stage(stage);
        return p.finish(types);
    }
    // Tracked: what the probes let through goes nowhere; the tables tell.
    let groups = p.groups(stagefuse_ir::GroupsDecl::new(vec![], vec![]));
    p.stage(StageDecl { sink: Sink::Group { groups, keys: vec![], args: vec![], operands: vec![] }, ..stage });
    let matched = Type::boolean(false);
    for join in joins {
        let types: Vec<Type> = shape.keys.iter().map(|key| COLUMNS[*key]).chain([TEXT, INT64, matched]).collect();
        let s = StageBuilder::new("all", Source::Join(join, JoinRows::All), &types);
        let columns = s.params()[shape.keys.len()..].to_vec();
        p.stage(s.sink(Sink::Emit { columns }));
        for (rows, is_matched) in [(JoinRows::Matched, true), (JoinRows::Unmatched, false)] {
            let mut s = StageBuilder::new("some", Source::Join(join, rows), &types[..types.len() - 1]);
            let mut columns = s.params()[shape.keys.len()..].to_vec();
            let op = if is_matched { UnaryOp::IsNotNull } else { UnaryOp::IsNull };
            columns.push(s.unary(op, columns[1], matched));
            p.stage(s.sink(Sink::Emit { columns }));
        }
    }
    p.finish(vec![TEXT, INT64, matched])
}

fn check(shape: Shape) -> usize {
    let program = Arc::new(program(shape));
    // Without keys every pair matches: small tables.
    let small = if shape.keys.is_empty() { 10 } else { 1 };
    let inputs = [table(120 / small, 40, 30), table(90 / small, 25, 20), table(200 / small, 60, 50)];
    let compiled = run(&program, true, HASH_ALL, &inputs);
    for (native, hash_mask) in [(false, HASH_ALL), (true, HASH_COLLIDING), (false, HASH_COLLIDING)] {
        assert_eq!(compiled, run(&program, native, hash_mask, &inputs), "native: {native}, hashes: {hash_mask:x}\n{shape:?}\n{program}");
    }
    compiled.len()
}

const KEYS: [&[usize]; 4] = [&[0], &[1], &[0, 1], &[]];

#[test]
fn pipelines_of_two_probes() {
    let (mut rows, mut turn) = (0, 0);
    for first in ProbeKind::ALL {
        for second in ProbeKind::ALL {
            for keys in KEYS {
                // In turns that drift against the sets of keys, so that all combinations come without all pairs of kinds for each.
                let (null_equal, residual) = (turn % 2 == 1, turn / 2 % 2 == 1);
                turn += if turn % 4 == 3 { 2 } else { 1 };
                rows += check(Shape { kinds: [*first, *second], keys, null_equal, residual, tracked: false });
            }
        }
    }
    assert!(rows > 1_000, "the tests join something: {rows} rows");
}

#[test]
fn tables_that_know_what_was_matched() {
    let mut rows = 0;
    for (index, first) in ProbeKind::ALL.iter().enumerate() {
        for (turn, keys) in KEYS.into_iter().enumerate() {
            let second = ProbeKind::ALL[(index + turn) % ProbeKind::ALL.len()];
            let residual = keys.len() == 1;
            rows += check(Shape { kinds: [*first, second], keys, null_equal: false, residual, tracked: true });
        }
    }
    assert!(rows > 1_000, "the tests join something: {rows} rows");
}

#[test]
fn entries_are_asked_for_ahead_where_columns_lead_to_them() {
    let asks = |ty: &str, computed: &str, key: &str| {
        let text = format!(
            "program {{
            input0 \"t\" (int64, utf8)
            join0 keys({ty}) payload()
            output (int64)
            s0 \"build\" {{
            source input0 (v0: int64, v1: utf8)
            {computed}
            build join0 keys({key}) payload()
            }}
            s1 \"probe\" {{
            source input0 (v0: int64, v1: utf8)
            {computed}
            probe join0 inner keys({key}) -> (_)
            emit (v0)
            }}
            }}"
        );
        let program = stagefuse_ir::parser::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let options = Options { verify: true, dump: true, ..Options::default() };
        let code = compile(&program, Stage::from_u32(1), &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        code.clif().expect("dumped").contains("prefetch_join")
    };
    assert!(asks("int64", "", "v0"));
    // A computed key, and one of text, whose hash would read the text.
    assert!(!asks("int64", "v2: int64 = neg v0", "v2"));
    assert!(!asks("utf8", "", "v1"));
}
