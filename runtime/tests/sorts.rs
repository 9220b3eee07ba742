//! Sorts, interpreted: what they hold in memory, and that every partition has its share. That rows come in the right order is
//! tested with native code beside, in the compiler's tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_ir::{Stage, parser::parse, verifier::verify};
use stagefuse_runtime::{Engine, Error, Flow, MemoryBudget, Run, RunConfig};

/// A budget with an end, which remembers the most that was asked for.
#[derive(Debug, Default)]
struct Budget {
    limit: usize,
    most: AtomicUsize,
}

impl MemoryBudget for Budget {
    fn resize(&self, bytes: usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.most.fetch_max(bytes, Ordering::Relaxed);
        if bytes > self.limit { Err("too much".into()) } else { Ok(()) }
    }
}

/// The stages: the one that writes the sort, and the one that reads it.
fn stages() -> (Stage, Stage) {
    (Stage::from_u32(0), Stage::from_u32(1))
}

fn run(fetch: &str, partitions: usize, budget: &Arc<Budget>) -> Arc<Run> {
    let text = format!(
        "program {{
            input0 \"t\" (int64, int64)
            sort0 keys(int64) payload(int64) {fetch}
            output (int64, int64)
            s0 \"scan\" {{ source input0 (v0: int64, v1: int64) sort sort0 keys(v0) payload(v1) }}
            s1 \"rows\" {{ source sort0 (v0: int64, v1: int64) emit (v0, v1) }}
        }}"
    );
    let program = Arc::new(parse(&text).unwrap());
    assert_eq!(verify(&program), Ok(()));
    let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, false));
    Run::new(RunConfig {
        program,
        engines: vec![Engine::Interpreted; 2],
        host_types: vec![],
        aggregates: vec![],
        opaques: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(fields.to_vec())),
        partitions,
        memory: Arc::clone(budget) as Arc<dyn MemoryBudget>,
    })
    .unwrap()
}

/// Batches of falling keys: none can be dropped as it comes.
fn fill(run: &Run, batches: i64) -> Result<(), Error> {
    const SIZE: i64 = 10_000;
    let next = Mutex::new(0);
    let work = || -> Result<(), Error> {
        loop {
            let number = {
                let mut next = next.lock().unwrap();
                *next += 1;
                *next - 1
            };
            if number >= batches {
                return Ok(());
            }
            let rows = number * SIZE..(number + 1) * SIZE;
            let keys: Int64Array = rows.clone().map(|row| -row).collect();
            let batch = RecordBatch::try_from_iter([("a", Arc::new(keys) as _), ("b", Arc::new(Int64Array::from_iter_values(rows)) as _)])?;
            let mut worker = run.worker();
            worker.set_place(0, number as usize);
            run.run_batch(stages().0, &mut worker, &batch)?;
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })?;
    while let parts @ 1.. = run.finish_parts(stages().0)? {
        (0..parts).try_for_each(|part| run.finish_part(stages().0, part))?;
    }
    Ok(())
}

/// The keys of a partition.
fn keys(run: &Run, partition: usize) -> Vec<i64> {
    let mut worker = run.worker();
    let mut cursor = run.table_cursor(stages().1, partition).unwrap();
    while run.run_table(stages().1, &mut worker, &mut cursor).unwrap() == Flow::More {}
    let batches = worker.take_output();
    let columns = batches.iter().map(|batch| (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>()));
    columns
        .flat_map(|(a, b)| a.values().iter().zip(b.values()).map(|(a, b)| (*a == -*b).then_some(*a).unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_first_rows_take_no_more_memory_for_more_rows() {
    let budget = Arc::new(Budget { limit: 2 << 20, ..Budget::default() });
    let first = run("skip 5 fetch 100", 3, &budget);
    fill(&first, 60).unwrap();
    assert_eq!(keys(&first, 0), (-599_999..-499_999).skip(5).take(100).collect::<Vec<_>>());
    assert!((1..3).all(|partition| keys(&first, partition).is_empty()), "so few rows are not spread");
    let metrics = first.metrics(stages().0);
    assert_eq!((metrics.rows_in, metrics.rows_out), (600_000, 100));
    drop(first);

    let all = run("skip 0 fetch all", 3, &budget);
    assert!(matches!(fill(&all, 60), Err(Error::Memory(_))), "all rows do not fit");
    assert!(budget.most.load(Ordering::Relaxed) > budget.limit);
}

#[test]
fn all_rows_are_spread_over_the_partitions_in_order() {
    let budget = Arc::new(Budget { limit: usize::MAX, ..Budget::default() });
    // Rows of a worker are more than are sorted at once.
    let all = run("skip 10 fetch all", 3, &budget);
    fill(&all, 60).unwrap();
    let shares: Vec<Vec<i64>> = (0..3).map(|partition| keys(&all, partition)).collect();
    assert!(shares.iter().all(|share| share.len() > 150_000), "{:?}", shares.iter().map(Vec::len).collect::<Vec<_>>());
    assert!(shares.concat() == (-599_999..=0).skip(10).collect::<Vec<_>>());
    assert!(budget.most.load(Ordering::Relaxed) > 600_000 * 16, "rows count");
}

#[test]
fn a_sort_that_is_read_too_early_is_empty_and_one_of_nothing_too() {
    let budget = Arc::new(Budget { limit: usize::MAX, ..Budget::default() });
    let empty = run("skip 0 fetch 3", 2, &budget);
    assert!(empty.finish_part(stages().0, 0).is_err(), "not collected");
    fill(&empty, 0).unwrap();
    assert!((0..2).all(|partition| keys(&empty, partition).is_empty()));
    assert!(empty.table_cursor(stages().1, 2).is_err(), "no such partition");
}

/// Lists, which only the host knows: the arrays of batches that have no row among the first are let go. All of them take 30 MB.
#[test]
fn arrays_without_a_wanted_row_are_not_kept() {
    let budget = Arc::new(Budget { limit: 8 << 20, ..Budget::default() });
    let text = "program {
        input0 \"t\" (int64, host0?)
        host0 \"lists\"
        sort0 keys(int64) payload(host0?) skip 0 fetch 3
        output (int64, host0?)
        s0 \"scan\" { source input0 (v0: int64, v1: host0?) sort sort0 keys(v0) payload(v1) }
        s1 \"rows\" { source sort0 (v0: int64, v1: host0?) emit (v0, v1) }
    }";
    let program = Arc::new(parse(text).unwrap());
    assert_eq!(verify(&program), Ok(()));
    let lists = |rows: std::ops::Range<i64>| {
        let list = |row: i64| (row % 3 != 1).then(|| vec![Some(row); 10]);
        ListArray::from_iter_primitive::<Int64Type, _, _>(rows.map(list))
    };
    let host = lists(0..1).data_type().clone();
    let run = Run::new(RunConfig {
        program,
        engines: vec![Engine::Interpreted; 2],
        host_types: vec![host.clone()],
        aggregates: vec![],
        opaques: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("b", host, true)])),
        partitions: 1,
        memory: Arc::clone(&budget) as Arc<dyn MemoryBudget>,
    })
    .unwrap();
    for number in 0..60 {
        let rows = number * 10_000..(number + 1) * 10_000;
        let lists = lists(rows.clone());
        let batch =
            RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from_iter_values(rows)) as _), ("b", Arc::new(lists) as _)]).unwrap();
        run.run_batch(stages().0, &mut run.worker(), &batch).unwrap();
    }
    while let parts @ 1.. = run.finish_parts(stages().0).unwrap() {
        (0..parts).for_each(|part| run.finish_part(stages().0, part).unwrap());
    }
    let mut worker = run.worker();
    let mut cursor = run.table_cursor(stages().1, 0).unwrap();
    while run.run_table(stages().1, &mut worker, &mut cursor).unwrap() == Flow::More {}
    let output = worker.take_output();
    assert_eq!(output[0].column(0).as_primitive::<Int64Type>().values(), &[0, 1, 2]);
    assert_eq!(output[0].column(1).as_list::<i32>(), &lists(0..3));
}
