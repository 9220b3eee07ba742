//! Stages that hand their rows over, computed columns and values of host types: native code and the interpreter agree, in any mixture.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Source, Stage, parser, verifier};
use stagefuse_runtime::{Engine, Flow, OpaqueExpr, Run, RunConfig, Unlimited, builtins};

/// A scan whose lists and numbers go through a join table; behind the probe the host doubles numbers and counts items; the second stage is
/// handed what is left, and hands what it leaves to a third.
const PROGRAM: &str = r#"program {
  host0 "List(Int64)"
  input0 "t" (int64, host0?, utf8?) computed(utf8? = opaque1(2))
  input1 "u" (int64)
  input2 "u" (int64, host0?, utf8?) computed(int64 = opaque0(0), int64? = opaque2(1)) handed
  input3 "u" (int64, int64?, host0?, utf8?) computed(int64 = opaque0(0)) handed
  lit0: int64 = 3
  lit1: int64 = 100
  opaque0 "double" (int64) -> int64
  opaque1 "exclaim" (utf8?) -> utf8?
  opaque2 "items" (host0?) -> int64?
  join0 keys(int64) payload(host0?, utf8?)
  limit0 skip 0 fetch LIMIT
  output (int64, int64?, host0?, utf8?, int64)

  s0 "build" {
    source input0 (v0: int64, v1: host0?, v2: utf8?, v3: utf8?)
    build join0 keys(v0) payload(v1, v3)
  }

  s1 "u" {
    source input1 (v0: int64)
    probe join0 inner keys(v0) -> (_, v1: host0?, v2: utf8?)
    hand input2 (v0, v1, v2)
  }

  s2 "u" {
    source input2 (v0: int64, v1: host0?, v2: utf8?, v3: int64, v4: int64?)
    v5: int64 = literal lit1
    v6: boolean = gt v3, v5
    filter v6
    hand input3 (v3, v4, v1, v2)
  }

  s3 "u" {
    source input3 (v0: int64, v1: int64?, v2: host0?, v3: utf8?, v4: int64)
    limit limit0
    emit (v0, v1, v2, v3, v4)
  }
}
"#;

/// What the host does, by number of the opaque expression.
#[derive(Debug)]
struct Host(usize);

impl OpaqueExpr for Host {
    fn evaluate(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, Box<dyn std::error::Error + Send + Sync>> {
        assert_eq!(args[0].len(), rows);
        Ok(match self.0 {
            0 => Arc::new(args[0].as_primitive::<Int64Type>().unary::<_, Int64Type>(|n| n * 2)),
            1 => Arc::new(args[0].as_string_view().iter().map(|text| text.map(|text| format!("{text}!"))).collect::<StringViewArray>()),
            _ => Arc::new(args[0].as_list::<i32>().iter().map(|list| list.map(|list| list.len() as i64)).collect::<Int64Array>()),
        })
    }
}

fn build_side() -> RecordBatch {
    let rows = 20_000i64;
    let lists = (0..rows).map(|row| (row % 5 != 0).then(|| (0..row % 4).map(Some).collect::<Vec<_>>()));
    let texts = (0..rows).map(|row| (row % 3 != 0).then(|| format!("{}{row}", if row % 2 == 0 { "" } else { "a longer text " })));
    let columns: [(&str, ArrayRef); 3] = [
        ("k", Arc::new((0..rows).collect::<Int64Array>())),
        ("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ("t", Arc::new(texts.collect::<StringViewArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, name != "k"))).expect("fits")
}

fn run(limit: &str, native: impl Fn(usize) -> bool) -> RecordBatch {
    let program: Arc<Program> = Arc::new(parser::parse(&PROGRAM.replace("LIMIT", limit)).expect("parses"));
    assert_eq!(verifier::verify(&program), Ok(()));
    let options = Options { verify: true, ..Options::default() };
    let engine = |stage: Stage| {
        let code = compile(&program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{stage}: {error}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let engines = program.stages.keys().enumerate();
    let engines = engines.map(|(number, stage)| if native(number) { engine(stage) } else { Engine::Interpreted }).collect();
    let list = DataType::new_list(DataType::Int64, true);
    let types = [DataType::Int64, DataType::Int64, list.clone(), DataType::Utf8View, DataType::Int64];
    let fields: Vec<Field> = types.iter().enumerate().map(|(i, ty)| Field::new(format!("c{i}"), ty.clone(), (1..4).contains(&i))).collect();
    let schema = Arc::new(Schema::new(fields));
    let run = Run::new(RunConfig {
        host_types: vec![list],
        program: Arc::clone(&program),
        engines,
        opaques: (0..3).map(|number| Arc::new(Host(number)) as Arc<dyn OpaqueExpr>).collect(),
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::clone(&schema),
        partitions: 1,
        memory: Arc::new(Unlimited),
    })
    .expect("the parts fit");
    let build = build_side();
    let probe: ArrayRef = Arc::new((0..30_000i64).map(|row| row * 7 % 25_000).collect::<Int64Array>());
    let probe = RecordBatch::try_from_iter([("k", probe)]).expect("fits");
    let mut out = vec![];
    for (stage, decl) in program.stages.iter().filter(|(stage, _)| !program.is_handed(*stage)) {
        let batch = if decl.name == "build" { &build } else { &probe };
        assert!(matches!(decl.source, Source::Input { .. }));
        // Batches go before their rows are read again, and a stage that needs no more rows says so.
        for first in (0..batch.num_rows()).step_by(9_000) {
            let mut worker = run.worker();
            let flow = run.run_batch(stage, &mut worker, &batch.slice(first, 9_000.min(batch.num_rows() - first))).expect("runs");
            out.extend(worker.take_output());
            if flow == Flow::Done {
                break;
            }
        }
        for part in 0..run.finish_parts(stage).expect("finishes") {
            run.finish_part(stage, part).expect("finishes");
        }
    }
    let metrics: Vec<_> = program.stages.keys().map(|stage| run.metrics(stage)).collect();
    assert_eq!((metrics[1].rows_out, metrics[2].rows_out), (metrics[2].rows_in, metrics[3].rows_in));
    concat_batches(&schema, &out).expect("one schema")
}

#[test]
fn rows_are_handed_over_whatever_the_engines() {
    let want = run("all", |_| false);
    let rows = (0..30_000).map(|row| row * 7 % 25_000).filter(|key| (51..20_000).contains(key));
    assert_eq!(want.column(0).as_primitive::<Int64Type>().values(), &rows.clone().map(|key| key * 2).collect::<Vec<_>>()[..]);
    assert_eq!(want.column(4).as_primitive::<Int64Type>().values(), &rows.clone().map(|key| key * 4).collect::<Vec<_>>()[..]);
    let build = build_side();
    for (row, key) in rows.enumerate().step_by(97) {
        assert_eq!(want.column(2).slice(row, 1).to_data(), build.column(1).slice(key as usize, 1).to_data());
        let text = build
            .column(2)
            .as_string_view()
            .is_valid(key as usize)
            .then(|| format!("{}!", build.column(2).as_string_view().value(key as usize)));
        assert_eq!(want.column(3).is_valid(row).then(|| want.column(3).as_string_view().value(row).to_string()), text);
    }
    for engines in 1..16 {
        assert_eq!(run("all", |stage| engines & (1 << stage) != 0), want, "engines {engines:b}");
    }
}

#[test]
fn a_limit_behind_ends_the_stages_before_it() {
    for engines in [0, 15] {
        assert_eq!(run("20", |stage| engines & (1 << stage) != 0).num_rows(), 20);
    }
}
