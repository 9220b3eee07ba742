//! What came of a case.

use super::case::Case;
use super::engines::{Answer, Engine, Engines};
use crate::exec::StageMetrics;
use crate::fallback::FallbackReason;

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// What it amounts to.
    pub verdict: Verdict,
    /// The compiled run's stages.
    pub stages: Vec<StageMetrics>,
}

/// What a case amounts to.
#[derive(Debug)]
pub enum Verdict {
    /// All engines have the same rows; how many.
    Same(usize),
    /// DataFusion fails, with this error; the engines may do as they like, but panic.
    Fails(String),
    /// It took too much time, or too many rows.
    TooMuch,
    /// DataFusion has no one answer, or is known to be wrong; and why.
    Unstable(String),
    /// An engine has another answer.
    Different(Box<Difference>),
}

/// An answer that is not DataFusion's.
#[derive(Debug)]
pub struct Difference {
    /// Whose.
    pub engine: Engine,
    /// What differs.
    pub why: String,
    /// DataFusion's answer.
    pub wanted: Answer,
    /// The engine's.
    pub got: Answer,
}

impl Difference {
    /// What kind of difference it is: a smaller case must have the same.
    pub fn class(&self) -> (Engine, u8) {
        let class = match self.got {
            Answer::Rows(_) => 0,
            Answer::Error(_) => 1,
            Answer::Panic(_) => 2,
            Answer::TooMuch => 3,
        };
        (self.engine, class)
    }
}

/// Runs a case in all engines.
pub async fn examine(engines: &Engines, case: &Case) -> Outcome {
    let (wanted, _) = engines.run(case, Engine::Plain).await;
    let mut all_stages = vec![];
    if let Answer::TooMuch = wanted {
        return Outcome { verdict: Verdict::TooMuch, stages: vec![] };
    }
    for engine in [Engine::Compiled, Engine::Interpreted] {
        let (got, stages) = engines.run(case, engine).await;
        if engine == Engine::Compiled {
            all_stages = stages;
            // Answered all the same, by the interpreter; but nothing that a query brings may do that to the compiler.
            let failed = all_stages.iter().find(|stage| matches!(stage.fallback, Some(FallbackReason::Backend { .. })));
            if let Some(reason) = failed.and_then(|stage| stage.fallback.as_ref()) {
                let difference = Difference { engine, why: reason.to_string(), wanted, got };
                return Outcome { verdict: Verdict::Different(Box::new(difference)), stages: all_stages };
            }
        }
        if let Answer::TooMuch = got {
            // On a busy machine that says nothing; an engine that never comes back is noticed by whoever watches the clock.
            return Outcome { verdict: Verdict::TooMuch, stages: all_stages };
        }
        if let Some(why) = difference(case, &wanted, &got) {
            let verdict = match why_not(engines, case, &wanted, &got).await {
                None => Verdict::Different(Box::new(Difference { engine, why, wanted, got })),
                Some(reason) => Verdict::Unstable(format!("{reason}: {why}")),
            };
            return Outcome { verdict, stages: all_stages };
        }
    }
    let verdict = match wanted {
        Answer::Rows(rows) => Verdict::Same(rows.rows.len()),
        Answer::Error(error) | Answer::Panic(error) => Verdict::Fails(error),
        Answer::TooMuch => Verdict::TooMuch,
    };
    Outcome { verdict, stages: all_stages }
}

/// What is wrong with an engine's answer. An error of DataFusion's may come from a row that lazy evaluation never looks at.
pub(super) fn difference(case: &Case, wanted: &Answer, got: &Answer) -> Option<String> {
    match (wanted, got) {
        (Answer::Rows(_) | Answer::Error(_), Answer::Panic(panic)) => Some(format!("panic: {panic}")),
        (Answer::Rows(wanted), Answer::Rows(got)) => wanted.difference(got, case.query.is_ordered()),
        (Answer::Rows(_), Answer::Error(error)) => Some(format!("error: {error}")),
        _ => None,
    }
}

/// Why DataFusion's answer does not count, if it does not.
async fn why_not(engines: &Engines, case: &Case, wanted: &Answer, got: &Answer) -> Option<&'static str> {
    if let Some(doubt) = engines.doubt(case, [wanted, got]).await {
        return Some(doubt);
    }
    if matches!(got, Answer::Error(_)) && engines.fails_over_cached(case).await {
        return Some("DataFusion fails as well where it knows statistics of the tables");
    }
    (!is_stable(engines, case, wanted).await).then_some("DataFusion's answer changes with the partitions")
}

/// Whether DataFusion gives the same answer whatever the partitions and batches are.
async fn is_stable(engines: &Engines, case: &Case, wanted: &Answer) -> bool {
    for (partitions, batch_size) in [("1", "8192"), ("4", "2"), ("3", "64")] {
        let mut other = case.clone();
        other.settings.push(("datafusion.execution.target_partitions", partitions.to_owned()));
        other.settings.push(("datafusion.execution.batch_size", batch_size.to_owned()));
        let (answer, _) = engines.run(&other, Engine::Plain).await;
        let same = match (wanted, &answer) {
            (Answer::Rows(wanted), Answer::Rows(rows)) => wanted.difference(rows, case.query.is_ordered()).is_none(),
            (Answer::Rows(_), _) | (_, Answer::Rows(_)) => false,
            _ => true,
        };
        if !same {
            return false;
        }
    }
    true
}
