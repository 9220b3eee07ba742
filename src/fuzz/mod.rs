//! The search for wrong results: random tables and queries, answered compiled, interpreted and by plain DataFusion, which is right.
//!
//! For those who work on Stagefuse: `stagefuse fuzz` on the command line, `tests/fuzz.rs` in every run of the tests, and a target for
//! coverage-guided fuzzing in `fuzz/`. A case is determined by its seed. One that shows a difference is made smaller, and printed as SQL.

mod ast;
mod case;
mod compare;
mod doubt;
mod engines;
mod generate;
mod kind;
mod minimise;
mod outcome;
mod random;
mod reduce;
mod summary;
mod table;
mod value;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use case::Case;
pub use engines::{Answer, Engine, Engines, quiet_panics};
pub use outcome::{Difference, Outcome, Verdict, examine};
pub use random::{Random, seed_of_case};
pub use summary::Summary;

use minimise::Minimiser;

/// How long a search goes on, and from where.
#[derive(Clone, Debug)]
pub struct Search {
    /// What the seeds of cases are made of.
    pub seed: u64,
    /// Cases at most.
    pub cases: u64,
    /// Time at most.
    pub time: Duration,
    /// Cases that run at the same time.
    pub threads: usize,
    /// Time to make a difference smaller.
    pub minimise: Duration,
    /// Differences after which it ends.
    pub most: usize,
    /// Told of every case before it runs, for those that end the process or never end.
    pub before: fn(u64),
    /// Told of every case that has run.
    pub after: fn(u64),
}

impl Default for Search {
    fn default() -> Self {
        let (time, minimise) = (Duration::from_secs(60), Duration::from_secs(60));
        Search { seed: 0, cases: u64::MAX, time, threads: 1, minimise, most: 20, before: |_| {}, after: |_| {} }
    }
}

impl Search {
    /// Runs cases; each difference is reported as text as soon as it has been made smaller.
    pub async fn run(&self, report: impl Fn(&str) + Sync) -> Summary {
        let (next, end) = (AtomicU64::new(0), Instant::now() + self.time);
        let summary = Mutex::new(Summary::default());
        let search = async || {
            let engines = Engines::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let enough = summary.lock().is_ok_and(|summary| summary.different >= self.most);
                if number >= self.cases || Instant::now() >= end || enough {
                    return;
                }
                let seed = seed_of_case(self.seed, number);
                (self.before)(seed);
                let case = Case::of_seed(seed);
                let outcome = examine(&engines, &case).await;
                (self.after)(seed);
                if let Ok(mut summary) = summary.lock() {
                    summary.add(seed, &outcome);
                }
                if let Verdict::Different(found) = outcome.verdict {
                    report(&explain(&engines, seed, case, *found, self.minimise).await);
                }
            }
        };
        futures::future::join_all((0..self.threads.max(1)).map(|_| search())).await;
        summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Makes a case smaller, and says how to see the difference again.
pub async fn explain(engines: &Engines, seed: u64, case: Case, found: Difference, time: Duration) -> String {
    let (small, found) = Minimiser::run(engines, case, found, time).await;
    let mut text = format!("-- DIFFERENT, {}: {}\n", found.engine.mode(), found.why);
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "-- again: stagefuse fuzz --replay {seed}");
    text.push_str(&small.script());
    for table in &small.tables {
        let layout = &table.layout;
        let nullable: Vec<_> = table.columns.iter().filter(|column| !column.nullable).map(|column| column.name.as_str()).collect();
        let _ = writeln!(text, "-- {}: {layout:?}; not null: {}", table.name, nullable.join(", "));
    }
    for (who, answer) in [("datafusion", &found.wanted), (found.engine.mode(), &found.got)] {
        let shown = match answer {
            Answer::Rows(rows) => rows.show(12),
            Answer::Error(error) => format!("error: {error}"),
            Answer::Panic(panic) => format!("panic: {panic}"),
            Answer::TooMuch => "nothing in time".to_owned(),
        };
        let _ = writeln!(text, "-- {who}:");
        for line in shown.lines() {
            let _ = writeln!(text, "--   {line}");
        }
    }
    text
}
