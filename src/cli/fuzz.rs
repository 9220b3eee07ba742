//! `stagefuse fuzz`: the search for wrong results.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stagefuse::fuzz::{Case, Engines, Search, Verdict, examine, explain, quiet_panics};

use super::arguments::FuzzArguments;
use super::failure::Failure;
use super::output;

/// Searches, or runs one case again. `Ok(false)`: there is a difference.
pub fn main(arguments: &FuzzArguments) -> Result<bool, Failure> {
    quiet_panics();
    let runtime = super::runtime(Some(usize::from(arguments.threads) + 1))?;
    let minimise = Duration::from_secs(arguments.minimise);
    if let Some(seed) = arguments.replay {
        return runtime.block_on(replay(seed, minimise));
    }
    let search = Search {
        seed: arguments.seed,
        cases: arguments.cases.unwrap_or(u64::MAX),
        time: if arguments.cases.is_some() && arguments.seconds == 60 { Duration::MAX / 4 } else { Duration::from_secs(arguments.seconds) },
        threads: usize::from(arguments.threads),
        minimise,
        before: if arguments.trace { |seed| watch(seed, true) } else { |seed| watch(seed, false) },
        after: |seed| {
            watched().remove(&seed);
        },
        ..Search::default()
    };
    std::thread::spawn(end_what_hangs);
    let summary = runtime.block_on(search.run(|text| drop(output::line(text))));
    output::line(&summary.to_string())?;
    Ok(summary.different == 0)
}

/// How often the clock is looked at that tells what hangs.
const TICK: Duration = Duration::from_secs(5);

/// More ticks than this, and no limit of time has ended a case: an engine does not come back.
const HANGS: u64 = 36;

/// Ticks so far. Counted, not taken from a clock: a process that is stopped for a while does not hang.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// At which tick cases began that are running.
static WATCHED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());

fn watched() -> MutexGuard<'static, BTreeMap<u64, u64>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(seed: u64, trace: bool) {
    if trace {
        output::complain(&format!("case {seed}"));
    }
    watched().insert(seed, TICKS.load(Ordering::Relaxed));
}

/// Ends the process, with the seed of a case that does not end.
fn end_what_hangs() {
    loop {
        std::thread::sleep(TICK);
        let now = TICKS.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((seed, _)) = watched().iter().find(|(_, start)| now - **start > HANGS) {
            output::complain(&format!("error: case {seed} does not end"));
            std::process::exit(1);
        }
    }
}

async fn replay(seed: u64, minimise: Duration) -> Result<bool, Failure> {
    let (engines, case) = (Engines::default(), Case::of_seed(seed));
    let outcome = examine(&engines, &case).await;
    output::line(&case.script())?;
    for stage in &outcome.stages {
        let reason = stage.fallback.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        output::line(&format!("-- {}: {}{reason}, {} rows in, {} out", stage.name, stage.engine, stage.rows_in, stage.rows_out))?;
    }
    match outcome.verdict {
        Verdict::Different(found) => {
            output::line(&explain(&engines, seed, case, *found, minimise).await)?;
            Ok(false)
        }
        Verdict::Same(rows) => output::line(&format!("-- the same in all engines: {rows} rows")).map(|()| true),
        Verdict::Fails(error) => output::line(&format!("-- DataFusion fails: {error}")).map(|()| true),
        Verdict::TooMuch => output::line("-- too many rows, or too long").map(|()| true),
        Verdict::Unstable(why) => output::line(&format!("-- no one answer: {why}")).map(|()| true),
    }
}
