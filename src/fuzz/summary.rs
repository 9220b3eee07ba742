//! What a search came to, in numbers.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::engines::native;
use super::outcome::{Outcome, Verdict};
use crate::exec::{EngineKind, StageMetrics};
use crate::fallback::FallbackReason;

/// Counts of what came of cases.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases that ran.
    pub cases: usize,
    /// All engines had the same rows.
    pub same: usize,
    /// .. and there was a row.
    pub with_rows: usize,
    /// DataFusion had an error.
    pub failed: usize,
    /// Too many rows, or too long.
    pub too_much: usize,
    /// DataFusion's answer changed with the partitions.
    pub unstable: usize,
    /// An engine had another answer.
    pub different: usize,
    /// Cases that at least one stage ran of.
    pub with_stages: usize,
    /// Stages of the compiled runs.
    pub stages: usize,
    /// .. that ran native.
    pub native: usize,
    /// Why others did not.
    pub fallbacks: BTreeMap<String, usize>,
    /// DataFusion's errors, by their first words.
    pub errors: BTreeMap<String, usize>,
    /// By the first words of an error, why a stage did not run native, or why there is no one answer: a case.
    pub examples: BTreeMap<String, u64>,
}

impl Summary {
    /// Counts a case.
    pub fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.cases += 1;
        match &outcome.verdict {
            Verdict::Same(rows) => {
                self.same += 1;
                self.with_rows += usize::from(*rows > 0);
            }
            Verdict::Fails(error) => {
                self.failed += 1;
                let start: String = error.replace('\n', " ").chars().take(100).collect();
                self.examples.insert(start.clone(), seed);
                *self.errors.entry(start).or_default() += 1;
            }
            Verdict::TooMuch => self.too_much += 1,
            Verdict::Unstable(why) => {
                self.unstable += 1;
                self.examples.insert(format!("no one answer: {}", why.chars().take(100).collect::<String>()), seed);
            }
            Verdict::Different(_) => self.different += 1,
        }
        self.with_stages += usize::from(!outcome.stages.is_empty());
        self.stages += outcome.stages.len();
        self.native += native(&outcome.stages);
        for stage in &outcome.stages {
            for reason in reasons(stage) {
                self.examples.insert(reason.clone(), seed);
                *self.fallbacks.entry(reason).or_default() += 1;
            }
        }
    }

    /// The most frequent of some texts.
    fn most(of: &BTreeMap<String, usize>) -> Vec<(&String, usize)> {
        let mut all: Vec<_> = of.iter().map(|(text, count)| (text, *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.truncate(10);
        all
    }
}

/// Short texts for why a stage is not native.
fn reasons(stage: &StageMetrics) -> Vec<String> {
    match (&stage.fallback, stage.engine) {
        (Some(FallbackReason::OpaqueExpression { names }), _) => names
            .iter()
            .map(|name| {
                let head: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                format!(
                    "opaque: {}",
                    if name[head.len()..].starts_with('(') { format!("{head}()") } else { name.chars().take(40).collect() }
                )
            })
            .collect(),
        (Some(FallbackReason::Unsupported { what }), _) => vec![format!("unsupported: {what}")],
        (Some(FallbackReason::MaxFields { .. }), _) => vec!["stagefuse.max_fields".to_owned()],
        (Some(FallbackReason::CodeTooLarge { .. }), _) => vec!["stagefuse.max_code_bytes".to_owned()],
        (Some(reason), EngineKind::DataFusion) => vec![format!("DataFusion took over: {reason:?}")],
        (Some(reason), _) => vec![format!("{reason:?}").chars().take(90).collect()],
        (None, _) => vec![],
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        writeln!(
            f,
            "{} cases: {} same ({} with rows), {} that DataFusion fails, {} too large, {} without one answer, {} different",
            self.cases, self.same, self.with_rows, self.failed, self.too_much, self.unstable, self.different
        )?;
        writeln!(
            f,
            "{} cases with stages ({:.0} %); {} of {} stages native ({:.1} %)",
            self.with_stages,
            share(self.with_stages, self.cases - self.failed),
            self.native,
            self.stages,
            share(self.native, self.stages)
        )?;
        for (title, of) in [("why stages were not native", &self.fallbacks), ("DataFusion's errors", &self.errors)] {
            if of.is_empty() {
                continue;
            }
            writeln!(f, "{title}:")?;
            for (text, count) in Summary::most(of) {
                match self.examples.get(text) {
                    Some(seed) => writeln!(f, "{count:8} {text} (such as {seed})")?,
                    None => writeln!(f, "{count:8} {text}")?,
                }
            }
        }
        for (text, seed) in self.examples.iter().filter(|(text, _)| text.starts_with("no one answer")).take(10) {
            writeln!(f, "{text} (such as {seed})")?;
        }
        Ok(())
    }
}
