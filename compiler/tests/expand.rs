//! Expansions: what follows runs once for each literal, in both engines, as one function or split; group tables with groups that are always there, and
//! with enough of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Source, parser, verifier};
use stagefuse_runtime::{Engine, Flow, HostAccumulator, HostAggregate, HostError, Run, RunConfig, Unlimited, builtins};

fn program(text: &str) -> Arc<Program> {
    let program = parser::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    verifier::verify(&program).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(parser::parse(&program.to_string()).unwrap(), program, "printed and parsed");
    Arc::new(program)
}

/// What the columns of all rows are, sorted, and how many batches were read.
fn run(
    program: &Arc<Program>,
    engine: (bool, bool),
    partitions: usize,
    aggregates: Vec<Arc<dyn HostAggregate>>,
    batches: &[RecordBatch],
) -> (Vec<String>, usize) {
    let (native, always_split) = engine;
    let options = Options { verify: true, always_split, ..Options::default() };
    let engine = |stage| {
        if !native {
            return Engine::Interpreted;
        }
        let code = compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let ty = |sql: stagefuse_ir::SqlType| if sql == stagefuse_ir::SqlType::UInt8 { DataType::UInt8 } else { DataType::Int64 };
    let fields: Vec<Field> = program.output.iter().map(|out| Field::new("c", ty(out.sql), out.nullable)).collect();
    let run = Run::new(RunConfig {
        program: Arc::clone(program),
        engines: program.stages.keys().map(engine).collect(),
        host_types: vec![],
        opaques: vec![],
        aggregates,
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(fields)),
        partitions,
        memory: Arc::new(Unlimited),
    })
    .unwrap();
    let (mut out, mut read) = (vec![], 0);
    for (stage, decl) in &program.stages {
        let mut workers = [run.worker(), run.worker()];
        match decl.source {
            Source::Input { .. } => {
                for (number, batch) in batches.iter().enumerate() {
                    read += 1;
                    let worker = &mut workers[number % 2];
                    let flow = run.run_batch(stage, worker, batch).unwrap();
                    out.extend(worker.take_output());
                    if flow == Flow::Done {
                        break;
                    }
                }
            }
            _ => {
                for partition in 0..partitions {
                    let mut cursor = run.table_cursor(stage, partition).unwrap();
                    while run.run_table(stage, &mut workers[0], &mut cursor).unwrap() == Flow::More {}
                    out.extend(workers[0].take_output());
                }
            }
        }
        drop(workers);
        run.finish_parts(stage).unwrap();
    }
    let mut lines = vec![];
    for batch in &out {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| {
                if column.is_null(row) { "null".into() } else { arrow::util::display::array_value_to_string(column, row).unwrap() }
            };
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    (lines, read)
}

const ENGINES: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];

fn batch(rows: &[(Option<i64>, i64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
    ];
    let fields = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Int64, false)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn rows(count: i64) -> Vec<(Option<i64>, i64)> {
    (0..count).map(|row| ((row % 5 != 2).then_some(row % 7), row * 13 % 101)).collect()
}

#[test]
fn every_row_comes_once_for_each_literal() {
    let program = program(
        r#"program {
  input0 "t" (int64?, int64)
  lit0: int64 = 50
  lit1: uint8 = 3
  lit2: uint8 = 200
  lit3: uint8 = 0
  lit4: int64 = -1
  lit5: int64 = 4000000000
  output (int64?, int64, uint8, int64)

  s0 "scan" {
    source input0 partitioned (v0: int64?, v1: int64)
    v2: int64 = literal lit0
    v3: boolean = lt v1, v2
    filter v3
    expand v4: uint8 [lit1, lit2, lit3]
    v5: int64 = convert v4
    v6: int64 = mul v5, v1
    v7: boolean = ne v6, v2
    filter v7
    expand v8: int64 [lit4, lit5]
    v9: int64 = add v6, v8
    emit (v0, v9, v4, v8)
  }
}
"#,
    );
    // Not a multiple of a chunk, nor of the buffers.
    let rows = rows(9_001);
    let mut wanted = vec![];
    for (a, b) in rows.iter().filter(|(_, b)| *b < 50) {
        for set in [3, 200, 0] {
            for more in [-1, 4_000_000_000] {
                if set * b != 50 {
                    let a = a.map_or("null".to_string(), |a| a.to_string());
                    wanted.push(format!("{a}|{}|{set}|{more}", set * b + more));
                }
            }
        }
    }
    wanted.sort();
    for engine in ENGINES {
        assert_eq!(run(&program, engine, 1, vec![], &[batch(&rows)]).0, wanted, "{engine:?}");
    }
}

/// The number of rows that count, as a function of the host's.
#[derive(Debug)]
struct Counts;

#[derive(Default)]
struct State(Vec<i64>);

impl HostAggregate for Counts {
    fn start(&self) -> Result<Box<dyn HostAccumulator>, HostError> {
        Ok(Box::<State>::default())
    }
}

impl HostAccumulator for State {
    fn update(
        &mut self,
        _: &[ArrayRef],
        filter: Option<&arrow::array::BooleanArray>,
        groups: &[usize],
        total: usize,
    ) -> Result<(), HostError> {
        self.0.resize(total, 0);
        for (row, group) in groups.iter().enumerate() {
            self.0[*group] += i64::from(filter.is_none_or(|filter| filter.value(row)));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, HostError> {
        Ok(vec![self.evaluate()?])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<(), HostError> {
        self.0.resize(total, 0);
        groups.iter().zip(states[0].as_primitive::<Int64Type>().values()).for_each(|(group, count)| self.0[*group] += count);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ArrayRef, HostError> {
        Ok(Arc::new(Int64Array::from(std::mem::take(&mut self.0))))
    }

    fn size(&self) -> usize {
        self.0.capacity() * 8
    }
}

/// Groups by (a), and by nothing twice: the last two have a group even of no row.
const SETS: &str = r#"program {
  input0 "t" (int64?, int64)
  lit0: uint8 = 0
  lit1: uint8 = 1
  lit2: uint8 = 255
  lit3: int64? = null
  aggregate0 "counts"
  groups0 keys(int64?, uint8) accs(count_rows int64, sum int64?) operands(int64) calls(aggregate0(0) -> int64) always((lit3, lit1), (lit3, lit2))
  output (int64?, uint8, int64, int64?, int64)

  s0 "scan" {
    source input0 (v0: int64?, v1: int64)
    expand v2: uint8 [lit0, lit1, lit2]
    v3: uint8 = literal lit0
    v4: boolean = eq v2, v3
    v5: int64? = if v4 {
      yield v0
    } else {
      v6: int64? = literal lit3
      yield v6
    }
    group groups0 keys(v5, v2) args(_, v1) operands(v1)
  }

  s1 "groups" {
    source groups0 (v0: int64?, v1: uint8, v2: int64, v3: int64?, v4: int64)
    emit (v0, v1, v2, v3, v4)
  }
}
"#;

#[test]
fn grouping_sets_have_their_groups_even_of_no_row() {
    let program = program(SETS);
    for count in [0, 1, 20_000] {
        let rows = rows(count);
        let mut groups = std::collections::BTreeMap::<_, (i64, i64)>::new();
        for (a, b) in &rows {
            for key in [(*a, 0), (None, 1), (None, 255)] {
                let group = groups.entry(key).or_default();
                *group = (group.0 + 1, group.1 + b);
            }
        }
        let mut wanted: Vec<String> = groups
            .iter()
            .map(|((a, id), (count, sum))| format!("{}|{id}|{count}|{sum}|{count}", a.map_or("null".to_string(), |a| a.to_string())))
            .collect();
        if count == 0 {
            wanted = vec!["null|1|0|null|0".into(), "null|255|0|null|0".into()];
        }
        wanted.sort();
        let (first, second) = rows.split_at(rows.len() / 3);
        for partitions in [1, 4] {
            for engine in ENGINES {
                let batches = [batch(first), batch(second)];
                let got = run(&program, engine, partitions, vec![Arc::new(Counts)], &batches).0;
                assert_eq!(got, wanted, "{count} rows, {partitions} partitions, {engine:?}");
                if count == 0 {
                    // Not even a batch.
                    assert_eq!(run(&program, engine, partitions, vec![Arc::new(Counts)], &[]).0, wanted);
                }
            }
        }
    }
}

#[test]
fn a_stage_stops_when_there_are_enough_groups() {
    let program = program(
        r#"program {
  input0 "t" (int64?, int64)
  groups0 keys(int64) accs() enough 30
  output (int64)

  s0 "scan" {
    source input0 (v0: int64?, v1: int64)
    group groups0 keys(v1) args()
  }

  s1 "groups" {
    source groups0 (v0: int64)
    emit (v0)
  }
}
"#,
    );
    let batches: Vec<RecordBatch> = (0..20).map(|number| batch(&rows(101)[number * 4..number * 4 + 4])).collect();
    for engine in ENGINES {
        let (got, read) = run(&program, engine, 2, vec![], &batches);
        // Each of two workers takes half of the batches: 8 of them have 32 groups.
        assert_eq!((got.len(), read), (60, 15), "{engine:?}");
    }
}
