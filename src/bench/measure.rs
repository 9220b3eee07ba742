//! Measures one query on every side: in each mode, with each number of threads.

use std::time::Duration;

use stagefuse::Session;
use tokio::runtime::Handle;

use super::cpu;
use super::digest::{self, Digest};
use super::sides::{Side, Sides};
use crate::cli::engine::{self, Compilation};
use crate::cli::failure::Failure;
use crate::cli::statements::without_limit;

/// A query: its name, and a text that may hold several statements.
pub struct Query {
    pub name: String,
    pub text: String,
}

/// What was measured of a query.
pub struct Measured {
    pub query: String,
    pub sides: Vec<(Side, Result<Measurement, Failure>)>,
    /// The answers differ because the query's LIMIT may cut where it likes: without it, they are the same.
    pub cut: bool,
}

/// What was measured of a query on one side.
pub struct Measurement {
    pub digest: Digest,
    pub first: Duration,
    runs: Vec<Run>,
    pub compilation: Compilation,
    /// A later run had another answer than the first.
    pub unstable: bool,
}

#[derive(Clone, Copy)]
struct Run {
    time: Duration,
    cpu: Duration,
    plan: Duration,
    compile: Duration,
    ready: Duration,
}

impl Measurement {
    pub fn median(&self) -> Duration {
        self.median_run().map_or(self.first, |run| run.time)
    }

    /// Times of all runs, the quickest first.
    pub fn times(&self) -> impl Iterator<Item = Duration> {
        self.runs.iter().map(|run| run.time)
    }

    /// CPU time of the median run.
    pub fn cpu(&self) -> Duration {
        self.median_run().map_or(Duration::ZERO, |run| run.cpu)
    }

    /// Planning time of the median run.
    pub fn plan(&self) -> Duration {
        self.median_run().map_or(Duration::ZERO, |run| run.plan)
    }

    /// Compile time of the median run.
    pub fn compile(&self) -> Duration {
        self.median_run().map_or(self.compilation.compile_time, |run| run.compile)
    }

    /// Time from text to running code of the median run.
    pub fn ready(&self) -> Duration {
        self.median_run().map_or(Duration::ZERO, |run| run.ready)
    }

    /// Runs are sorted by time; of an even number, the slower one of the two in the middle.
    fn median_run(&self) -> Option<Run> {
        self.runs.get(self.runs.len() / 2).copied()
    }
}

/// Warms every side up, then runs them in turn: what disturbs the machine for a while disturbs all of them.
pub async fn query(sides: &Sides, query: &Query, runs: u32) -> Measured {
    let mut measured = Measured { query: query.name.clone(), sides: vec![], cut: false };
    for side in sides.all() {
        let result = match sides.of(side) {
            Ok(of) => first(of, query).await,
            Err(failure) => Err(failure),
        };
        measured.sides.push((side, result));
    }
    for _ in 0..runs {
        for (side, result) in &mut measured.sides {
            if let Ok(measurement) = result
                && let Ok(of) = sides.of(*side)
                && let Err(failure) = again(of, query, measurement).await
            {
                *result = Err(failure);
            }
        }
    }
    for (_, result) in &mut measured.sides {
        if let Ok(measurement) = result {
            measurement.runs.sort_by_key(|run| run.time);
        }
    }
    if differ(&measured) {
        measured.cut = agree_without_limit(sides, query, &measured).await;
    }
    measured
}

/// Whether answers differ, though not in their number of rows.
fn differ(measured: &Measured) -> bool {
    let answers: Vec<&Measurement> = measured.sides.iter().filter_map(|(_, result)| result.as_ref().ok()).collect();
    let Some(one) = answers.first() else { return false };
    answers.iter().all(|answer| answer.digest.rows == one.digest.rows)
        && answers.iter().any(|answer| answer.unstable || answer.digest != one.digest)
}

/// Runs the query once more on every side, without the LIMIT of its last statement. `false` where it has none.
async fn agree_without_limit(sides: &Sides, query: &Query, measured: &Measured) -> bool {
    let Ok(mut statements) = query.statements() else { return false };
    let Some(last) = statements.last_mut() else { return false };
    let Some(unlimited) = without_limit(last) else { return false };
    *last = unlimited;
    let mut answers = vec![];
    for (side, _) in &measured.sides {
        let answer = async {
            let (session, workers) = sides.of(*side)?;
            Ok::<_, Failure>(digest::of(&engine::run_timed(workers, session, &statements).await?.batches)?)
        };
        answers.push(answer.await.ok());
    }
    answers.first().is_some_and(|one| one.is_some() && answers.iter().all(|answer| answer == one))
}

async fn first((session, workers): (&Session, &Handle), query: &Query) -> Result<Measurement, Failure> {
    let timed = engine::run_timed(workers, session, &query.statements()?).await;
    if timed.is_err() {
        tidy(session, query).await;
    }
    let timed = timed?;
    Ok(Measurement {
        digest: digest::of(&timed.batches)?,
        first: timed.time,
        runs: vec![],
        compilation: timed.compilation,
        unstable: false,
    })
}

async fn again((session, workers): (&Session, &Handle), query: &Query, measurement: &mut Measurement) -> Result<(), Failure> {
    let statements = query.statements()?;
    let before = cpu::time();
    let timed = engine::run_timed(workers, session, &statements).await?;
    let cpu = cpu::time().saturating_sub(before);
    measurement.compilation.of_stages = timed.compilation.of_stages;
    measurement.runs.push(Run {
        time: timed.time,
        cpu,
        plan: timed.plan_time,
        compile: timed.compilation.compile_time,
        ready: timed.ready_time,
    });
    measurement.unstable |= digest::of(&timed.batches)? != measurement.digest;
    Ok(())
}

/// After a failure: what the statements behind the failed one would have dropped.
async fn tidy(session: &Session, query: &Query) {
    for statement in query.statements().unwrap_or_default() {
        if statement.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("drop")) {
            // It may not be there: the failure may have come before it was made.
            let _ = engine::run(session, &statement).await;
        }
    }
}
