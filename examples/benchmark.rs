//! How fast is my query, compiled, interpreted and by plain DataFusion? In a program; `stagefuse bench --queries FILE` does it for files.

use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use stagefuse::{Mode, Session};

const RUNS: usize = 5;
const MODES: [Mode; 3] = [Mode::Compiled, Mode::Interpreted, Mode::Off];

#[tokio::main]
async fn main() -> Result<(), stagefuse::Error> {
    let session = Session::builder().target_partitions(2).build();
    let table = "CREATE TABLE t AS SELECT value AS x, value % 100 AS k FROM generate_series(1, 500000)";
    session.sql(table).await?.collect().await?;
    let sql = "SELECT sum(CASE WHEN k < 50 THEN x * 2 ELSE x + k END) AS total FROM t WHERE k <> 7";

    // One run to warm up, in each mode: it compiles, and its answer is held against the others'.
    let mut answers = vec![];
    for mode in MODES {
        answers.push(total(&run(&session, mode, sql).await?.1));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

    // Then in turn: what disturbs the machine for a while disturbs all of them.
    let mut times = [const { vec![] }; MODES.len()];
    for _ in 0..RUNS {
        for (mode, times) in MODES.into_iter().zip(&mut times) {
            times.push(run(&session, mode, sql).await?.0);
        }
    }
    for (mode, mut times) in MODES.into_iter().zip(times) {
        times.sort();
        println!("{mode:<12} median {:>10.3?}, {:>10.3?} to {:.3?}", times[RUNS / 2], times[0], times[RUNS - 1]);
        assert_eq!(times.len(), RUNS);
    }
    Ok(())
}

/// From SQL text to the last batch, in a mode.
async fn run(session: &Session, mode: Mode, sql: &str) -> Result<(Duration, Vec<RecordBatch>), stagefuse::Error> {
    session.sql(&format!("SET stagefuse.mode = '{mode}'")).await?;
    let start = Instant::now();
    let query = session.sql(sql).await?;
    let batches = query.collect().await?;
    let time = start.elapsed();
    // That it ran as it was meant to is part of the measurement.
    let stages = query.metrics()?;
    match mode {
        Mode::Off => assert!(stages.is_empty()),
        _ => assert!(
            !stages.is_empty() && stages.iter().all(|stage| (stage.engine == stagefuse::EngineKind::Native) == (mode == Mode::Compiled))
        ),
    }
    Ok((time, batches))
}

fn total(batches: &[RecordBatch]) -> i64 {
    batches.iter().filter(|batch| batch.num_rows() > 0).map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0)).sum()
}
