//! Runs of whole programs, interpreted: what goes in, what comes out, and what a run does about errors, limits and memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_ir::abi::ErrorCode;
use stagefuse_ir::{EntityRef, Source, Stage, parser, verifier};
use stagefuse_runtime::{Engine, Error, Flow, MemoryBudget, OpaqueExpr, Run, RunConfig, Unlimited};

/// A run of a program in text form, with what it emits.
struct Test {
    run: Arc<Run>,
    program: Arc<stagefuse_ir::Program>,
    partitions: usize,
}

impl Test {
    fn new(text: &str, output: &[DataType], partitions: usize) -> Self {
        Self::with(text, output, partitions, Arc::new(Unlimited), vec![])
    }

    fn with(text: &str, output: &[DataType], partitions: usize, memory: Arc<dyn MemoryBudget>, opaques: Vec<Arc<dyn OpaqueExpr>>) -> Self {
        let program = parser::parse(text).unwrap_or_else(|error| panic!("{error}"));
        verifier::verify(&program).unwrap_or_else(|errors| panic!("{errors:?}"));
        let program = Arc::new(program);
        let fields = output.iter().zip(&program.output).map(|(ty, declared)| Field::new("c", ty.clone(), declared.nullable));
        let run = Run::new(RunConfig {
            host_types: vec![],
            engines: vec![Engine::Interpreted; program.stages.len()],
            program: Arc::clone(&program),
            opaques,
            aggregates: vec![],
            params: vec![],
            dictionaries: vec![],
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            partitions,
            memory,
        });
        Test { run: run.unwrap(), program, partitions }
    }

    /// Runs all stages. Each batch, and each partition of a table, has a thread and a worker of its own.
    fn all(&self, inputs: &HashMap<&str, Vec<RecordBatch>>) -> Result<Vec<RecordBatch>, Error> {
        let output = Mutex::new(vec![]);
        for (stage, decl) in &self.program.stages {
            let tasks: Vec<Box<dyn Fn() -> Result<(), Error> + Send + Sync + '_>> = match decl.source {
                Source::Input { input, .. } => {
                    let batches = &inputs[&*self.program.inputs[input].name];
                    let task = |batch| {
                        let output = &output;
                        Box::new(move || {
                            let mut worker = self.run.worker();
                            self.run.run_batch(stage, &mut worker, batch)?;
                            output.lock().unwrap().extend(worker.take_output());
                            Ok(())
                        }) as Box<dyn Fn() -> Result<(), Error> + Send + Sync>
                    };
                    batches.iter().map(task).collect()
                }
                Source::Groups(_) | Source::Join(..) | Source::Sort(_) => {
                    let task = |partition| {
                        let output = &output;
                        Box::new(move || {
                            let mut worker = self.run.worker();
                            let mut cursor = self.run.table_cursor(stage, partition)?;
                            while self.run.run_table(stage, &mut worker, &mut cursor)? == Flow::More {}
                            output.lock().unwrap().extend(worker.take_output());
                            Ok(())
                        }) as Box<dyn Fn() -> Result<(), Error> + Send + Sync>
                    };
                    (0..self.partitions).map(task).collect()
                }
            };
            std::thread::scope(|scope| {
                let threads: Vec<_> = tasks.iter().map(|task| scope.spawn(task)).collect();
                threads.into_iter().try_for_each(|thread| thread.join().unwrap())
            })?;
            while let parts @ 1.. = self.run.finish_parts(stage)? {
                std::thread::scope(|scope| {
                    (0..parts).for_each(|part| {
                        scope.spawn(move || self.run.finish_part(stage, part).unwrap());
                    });
                });
            }
        }
        Ok(output.into_inner().unwrap())
    }
}

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<_> = columns.iter().map(|column| Field::new("c", column.data_type().clone(), column.null_count() > 0)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn numbers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

/// A column of all batches.
fn ints(batches: &[RecordBatch], column: usize) -> Vec<Option<i64>> {
    batches.iter().flat_map(|batch| batch.column(column).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).collect()
}

fn texts(batches: &[RecordBatch], column: usize) -> Vec<Option<String>> {
    let texts = |batch: &RecordBatch| -> Vec<Option<String>> {
        let column = arrow::compute::cast(batch.column(column), &DataType::Utf8).unwrap();
        column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    };
    batches.iter().flat_map(texts).collect()
}

fn word(number: i64) -> Option<String> {
    match number % 4 {
        0 => None,
        1 => Some(format!("w{}", number % 100)),
        _ => Some(format!("a rather long word, number {}", number % 1000)),
    }
}

const GROUPS: &str = r#"program {
  input0 "t" (utf8?, int64)
  groups0 keys(utf8?) accs(count_rows int64, sum int64?, min int64, max utf8?)
  output (utf8?, int64, int64?, int64, utf8?)
  s0 "scan" {
    source input0 (v0: utf8?, v1: int64)
    group groups0 keys(v0) args(_, v1, v1, v0)
  }
  s1 "groups" {
    source groups0 (v0: utf8?, v1: int64, v2: int64?, v3: int64, v4: utf8?)
    emit (v0, v1, v2, v3, v4)
  }
}"#;

#[test]
fn groups_of_several_workers_come_out_once() {
    for (partitions, ty) in [(1, DataType::Utf8View), (3, DataType::Utf8), (8, DataType::LargeUtf8)] {
        let test = Test::new(GROUPS, &[ty.clone(), DataType::Int64, DataType::Int64, DataType::Int64, ty], partitions);
        let mut expected: HashMap<Option<String>, (i64, i64, i64)> = HashMap::new();
        let mut batches = vec![];
        for from in [0, 40_000, 50_000] {
            let rows = from..from + if from == 0 { 40_000 } else { 700 };
            for row in rows.clone() {
                let held = expected.entry(word(row)).or_insert((0, 0, i64::MAX));
                *held = (held.0 + 1, held.1 + row, held.2.min(row));
            }
            let words: Vec<_> = rows.clone().map(word).collect();
            let words: ArrayRef = if from == 0 { Arc::new(StringViewArray::from_iter(words)) } else { Arc::new(StringArray::from(words)) };
            batches.push(batch(vec![words, numbers(rows)]));
        }
        let output = test.all(&HashMap::from([("t", batches)])).unwrap();
        let (keys, counts, sums) = (texts(&output, 0), ints(&output, 1), ints(&output, 2));
        let (least, greatest) = (ints(&output, 3), texts(&output, 4));
        assert_eq!(keys.len(), expected.len());
        for (at, key) in keys.iter().enumerate() {
            let held = expected.remove(key).unwrap_or_else(|| panic!("{key:?} came twice"));
            assert_eq!((counts[at], sums[at], least[at]), (Some(held.0), Some(held.1), Some(held.2)), "{key:?}");
            assert_eq!(&greatest[at], key);
        }
        let metrics = test.run.metrics(Stage::new(0));
        assert_eq!(metrics.rows_in, 41_400);
        assert_eq!(test.run.metrics(Stage::new(1)).rows_out, keys.len() as u64);
        // Whoever keeps a batch keeps all that it needs.
        drop(test);
        assert_eq!(texts(&output, 0), keys);
    }
}

#[test]
fn without_rows_there_is_one_group_without_keys_and_none_with() {
    let text = r#"program {
      input0 "t" (int64)
      groups0 keys() accs(count_rows int64, sum int64?)
      output (int64, int64?)
      s0 "scan" {
        source input0 (v0: int64)
        group groups0 keys() args(_, v0)
      }
      s1 "groups" {
        source groups0 (v0: int64, v1: int64?)
        emit (v0, v1)
      }
    }"#;
    for batches in [vec![], vec![batch(vec![numbers([])])]] {
        let test = Test::new(text, &[DataType::Int64, DataType::Int64], 4);
        let output = test.all(&HashMap::from([("t", batches)])).unwrap();
        assert_eq!((ints(&output, 0), ints(&output, 1)), (vec![Some(0)], vec![None]));
    }
    let test = Test::new(text, &[DataType::Int64, DataType::Int64], 4);
    let batches = (0..3).map(|from| batch(vec![numbers(from..from + 10)])).collect();
    let output = test.all(&HashMap::from([("t", batches)])).unwrap();
    assert_eq!((ints(&output, 0), ints(&output, 1)), (vec![Some(30)], vec![Some(45 + 55 + 65)]));
    let text = DataType::Utf8View;
    let test = Test::new(GROUPS, &[text.clone(), DataType::Int64, DataType::Int64, DataType::Int64, text], 2);
    assert!(test.all(&HashMap::from([("t", vec![])])).unwrap().is_empty());
}

const JOIN: &str = r#"program {
  input0 "build" (int64?, utf8?)
  input1 "probe" (int64?)
  join0 keys(int64?) payload(utf8?) tracked
  output (int64?, utf8?)
  s0 "build" {
    source input0 (v0: int64?, v1: utf8?)
    build join0 keys(v0) payload(v1)
  }
  s1 "probe" {
    source input1 (v0: int64?)
    probe join0 inner keys(v0) -> (_, v1: utf8?) marks_build
    emit (v0, v1)
  }
  s2 "rest" {
    source join0 unmatched (v0: int64?, v1: utf8?)
    emit (v0, v1)
  }
}"#;

#[test]
fn joins_find_every_pair_and_keep_the_rows_that_none_matched() {
    let test = Test::new(JOIN, &[DataType::Int64, DataType::Utf8View], 3);
    let key = |row: i64| (row % 9 != 0).then_some(row % 5_000);
    let build = |rows: std::ops::Range<i64>| {
        let keys: Int64Array = rows.clone().map(key).collect();
        let words = StringArray::from(rows.map(word).collect::<Vec<_>>());
        batch(vec![Arc::new(keys), Arc::new(words)])
    };
    let probe = |rows: std::ops::Range<i64>| {
        let keys: Int64Array = rows.map(|row| (row % 11 != 0).then_some(row * 2)).collect();
        batch(vec![Arc::new(keys)])
    };
    let inputs =
        HashMap::from([("build", vec![build(0..17_000), build(17_000..30_000)]), ("probe", vec![probe(0..1_000), probe(1_000..3_000)])]);
    let output = test.all(&inputs).unwrap();
    let mut expected = vec![];
    let probed = |key: i64| key % 2 == 0 && key / 2 < 3_000 && key / 2 % 11 != 0;
    for row in 0..30_000 {
        // A row comes out once either way: matched, or left over. Null keys match nothing.
        expected.push((key(row), word(row)));
    }
    let matched = (0..30_000).filter(|row| key(*row).is_some_and(probed)).count() as u64;
    let mut got: Vec<_> = ints(&output, 0).into_iter().zip(texts(&output, 1)).collect();
    got.sort();
    expected.sort();
    assert!(got == expected, "{} rows instead of {}", got.len(), expected.len());
    assert_eq!(test.run.metrics(Stage::new(0)).rows_out, 30_000);
    assert_eq!(test.run.metrics(Stage::new(1)).rows_out, matched);
    assert_eq!(test.run.metrics(Stage::new(2)).rows_out, 30_000 - matched);
}

#[test]
fn an_empty_build_side_matches_nothing() {
    let test = Test::new(JOIN, &[DataType::Int64, DataType::Utf8], 2);
    let output = test.all(&HashMap::from([("build", vec![]), ("probe", vec![batch(vec![numbers(0..100)])])])).unwrap();
    assert!(output.is_empty());
}

#[test]
fn a_limit_counts_over_all_workers_and_says_when_it_is_full() {
    let text = r#"program {
      input0 "t" (int64)
      limit0 skip 10 fetch 25
      output (int64)
      s0 "scan" {
        source input0 (v0: int64)
        limit limit0
        emit (v0)
      }
    }"#;
    let test = Test::new(text, &[DataType::Int64], 1);
    let stage = Stage::new(0);
    let mut worker = test.run.worker();
    assert_eq!(test.run.run_batch(stage, &mut worker, &batch(vec![numbers(0..20)])).unwrap(), Flow::More);
    assert_eq!(test.run.run_batch(stage, &mut test.run.worker(), &batch(vec![numbers(20..34)])).unwrap(), Flow::More);
    assert_eq!(test.run.run_batch(stage, &mut worker, &batch(vec![numbers(34..60_000)])).unwrap(), Flow::Done);
    drop(worker);
    let mut rows = vec![];
    for mut worker in [test.run.worker(), test.run.worker()] {
        rows.extend(ints(&worker.take_output(), 0).into_iter().flatten());
    }
    rows.sort_unstable();
    assert_eq!(rows, (10..35).collect::<Vec<_>>());
    // Several batches waited in one worker: each row counts once.
    assert_eq!(test.run.metrics(stage).rows_out, 25);
}

#[test]
fn an_error_says_what_failed_and_leaves_nothing_behind() {
    let text = r#"program {
      input0 "t" (int64, int64)
      output (int64)
      s0 "scan" {
        source input0 (v0: int64, v1: int64)
        v2: int64 = div v0, v1
        emit (v2)
      }
    }"#;
    let test = Test::new(text, &[DataType::Int64], 1);
    let stage = Stage::new(0);
    let mut worker = test.run.worker();
    let divisors = |zero: i64| numbers((0..20_000).map(|row| if row == zero { 0 } else { 1 }));
    // The second morsel fails; the first one's rows have been buffered.
    let failing = batch(vec![numbers(0..20_000), divisors(19_000)]);
    let error = test.run.run_batch(stage, &mut worker, &failing).unwrap_err();
    assert!(matches!(error, Error::Arithmetic { code: ErrorCode::DivideByZero, value } if value.index() == 2), "{error:?}");
    worker.take_output();
    let good = batch(vec![numbers(0..20_000), divisors(-1)]);
    assert_eq!(test.run.run_batch(stage, &mut worker, &good).unwrap(), Flow::More);
    assert_eq!(ints(&worker.take_output(), 0), (0..20_000).map(Some).collect::<Vec<_>>());
}

/// A budget of so many bytes, which keeps the last number told.
#[derive(Debug)]
struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl MemoryBudget for Budget {
    fn resize(&self, bytes: usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if bytes > self.limit {
            return Err(format!("{bytes} bytes wanted, {} there", self.limit).into());
        }
        self.held.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn memory_is_asked_for_and_given_back() {
    let rows = || {
        batch(vec![
            Arc::new(StringArray::from((0..60_000).map(|n| Some(format!("a key of some length {n}"))).collect::<Vec<_>>())),
            numbers(0..60_000),
        ])
    };
    for limit in [2 << 20, 1 << 30] {
        let budget = Arc::new(Budget { limit, held: AtomicUsize::new(0) });
        let text = DataType::Utf8View;
        let output = [text.clone(), DataType::Int64, DataType::Int64, DataType::Int64, text];
        let test = Test::with(GROUPS, &output, 1, Arc::clone(&budget) as Arc<dyn MemoryBudget>, vec![]);
        let result = test.all(&HashMap::from([("t", vec![rows()])]));
        let held = budget.held.load(Ordering::Relaxed);
        match limit {
            1_073_741_824 => {
                assert_eq!(result.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 60_000);
                assert!(held > 4 << 20, "only {held} bytes counted");
            }
            _ => assert!(matches!(result, Err(Error::Memory(_))), "{result:?}"),
        }
        drop(test);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn workers_tables_go_once_every_partition_is_merged() {
    let budget = Arc::new(Budget { limit: usize::MAX, held: AtomicUsize::new(0) });
    let text = DataType::Utf8View;
    let output = [text.clone(), DataType::Int64, DataType::Int64, DataType::Int64, text];
    let test = Test::with(GROUPS, &output, 2, Arc::clone(&budget) as Arc<dyn MemoryBudget>, vec![]);
    let (scan, groups) = (Stage::new(0), Stage::new(1));
    let mut workers = [test.run.worker(), test.run.worker()];
    for (worker, from) in workers.iter_mut().zip([0, 100_000]) {
        let keys = StringArray::from_iter((from..from + 100_000).map(|n| Some(format!("{n}"))));
        test.run.run_batch(scan, worker, &batch(vec![Arc::new(keys), numbers(from..from + 100_000)])).unwrap();
    }
    drop(workers);
    test.run.finish_parts(scan).unwrap();
    let cursor = test.run.table_cursor(groups, 0).unwrap();
    let before = budget.held.load(Ordering::Relaxed);
    let other = test.run.table_cursor(groups, 1).unwrap();
    let after = budget.held.load(Ordering::Relaxed);
    assert!(after < before, "{after} bytes held, before the last merge {before}");
    let mut rows = 0;
    for mut cursor in [cursor, other, test.run.table_cursor(groups, 1).unwrap()] {
        let mut worker = test.run.worker();
        while test.run.run_table(groups, &mut worker, &mut cursor).unwrap() == Flow::More {}
        rows += worker.take_output().iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    // The second partition, about half of the groups, was read twice.
    assert!((290_000..310_000).contains(&rows), "{rows} rows");
}

/// Doubles its operand; fails on 13.
#[derive(Debug)]
struct Double;

impl OpaqueExpr for Double {
    fn evaluate(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, Box<dyn std::error::Error + Send + Sync>> {
        let arg = args[0].as_primitive::<Int64Type>();
        assert_eq!(arg.len(), rows);
        if arg.iter().flatten().any(|value| value == 13) {
            return Err("unlucky".into());
        }
        Ok(Arc::new(arg.unary::<_, Int64Type>(|value| value * 2)))
    }
}

#[test]
fn opaque_expressions_see_the_rows_that_reach_them() {
    let text = r#"program {
      input0 "t" (int64)
      lit0: int64 = 13
      opaque0 "double" (int64) -> int64
      output (int64)
      s0 "scan" {
        source input0 (v0: int64)
        v1: int64 = literal lit0
        v2: boolean = ne v0, v1
        filter v2
        v3: int64 = opaque0(v0)
        emit (v3)
      }
    }"#;
    let test = Test::with(text, &[DataType::Int64], 1, Arc::new(Unlimited), vec![Arc::new(Double)]);
    let output = test.all(&HashMap::from([("t", vec![batch(vec![numbers(0..20_000)])])])).unwrap();
    assert_eq!(ints(&output, 0), (0..20_000).filter(|n| *n != 13).map(|n| Some(n * 2)).collect::<Vec<_>>());
    let unfiltered = text.replace("ne v0", "ge v0");
    let test = Test::with(&unfiltered, &[DataType::Int64], 1, Arc::new(Unlimited), vec![Arc::new(Double)]);
    let error = test.all(&HashMap::from([("t", vec![batch(vec![numbers(0..20_000)])])])).unwrap_err();
    assert!(matches!(&error, Error::Opaque(error) if error.to_string() == "unlucky"), "{error:?}");
}

#[test]
fn misuse_is_an_error() {
    let types = [DataType::Int64, DataType::Utf8View];
    let test = Test::new(JOIN, &types, 2);
    let (build, probe, rest) = (Stage::new(0), Stage::new(1), Stage::new(2));
    let mut worker = test.run.worker();
    let rows = batch(vec![numbers(0..3)]);
    assert!(matches!(test.run.run_batch(probe, &mut worker, &rows), Err(Error::Internal(_))), "probed before it is built");
    assert!(matches!(test.run.run_batch(build, &mut worker, &rows), Err(Error::Internal(_))), "a column is missing");
    assert!(matches!(test.run.run_batch(rest, &mut worker, &rows), Err(Error::Internal(_))), "reads no batches");
    assert!(test.run.table_cursor(rest, 0).is_err(), "read before it is built");
    assert!(test.run.table_cursor(rest, 2).is_err(), "no such partition");
    assert!(test.run.finish_part(build, 0).is_err(), "not collected");
    let program = Arc::clone(&test.program);
    let config = RunConfig {
        host_types: vec![],
        engines: vec![Engine::Interpreted; 3],
        program,
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(types.map(|ty| Field::new("c", ty, true)).to_vec())),
        partitions: 0,
        memory: Arc::new(Unlimited),
    };
    assert!(Run::new(config).is_err(), "no partitions");
}
