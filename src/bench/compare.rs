//! `bench compare A B`: what became slower or faster between two files of `bench --json`, beyond noise.
//!
//! A query is slower in B where its median is at least `--threshold` percent above A's and its lower quartile is above A's upper one, so that
//! the middle halves of the runs do not overlap; faster likewise. The geometric means are held to the same rule, with the geometric means of
//! the queries' quartiles.

use std::fmt::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::record::{Record, Spread, geomean};
use crate::cli::arguments::{CompareArguments, Mode};
use crate::cli::failure::Failure;
use crate::cli::output;

/// Compares two files. `Ok(false)`: something became slower, and that was to be a failure.
pub fn main(arguments: &CompareArguments) -> Result<bool, Failure> {
    let (mut a, mut b) = (read(&arguments.a)?, read(&arguments.b)?);
    let warnings = warnings(&a, &b);
    if !has_several_threads(&a) && !has_several_threads(&b) {
        // Then what ran with one number of threads may be compared with what ran with another: a note says so.
        a.iter_mut().chain(&mut b).for_each(|record| record.subject.threads = None);
    }
    let comparison = Comparison { warnings, ..Comparison::of(&a, &b, arguments.threshold) };
    if comparison.pairs.is_empty() {
        return Err(Failure::new(format!(
            "{} and {} have no query in common: suite, size, storage, query and mode must be the same, and the threads where a file has several numbers of them",
            arguments.a.display(),
            arguments.b.display()
        )));
    }
    if arguments.json {
        output::line(&format!("{:#}", comparison.json()))?;
    } else {
        output::print(&comparison.text())?;
    }
    Ok(!(arguments.fail_on_regression && comparison.has(Verdict::Slower)))
}

fn read(path: &Path) -> Result<Vec<Record>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::at(path, error))?;
    let mut records: Vec<Record> = vec![];
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |error| Failure::at(path, format!("line {} is not one of `bench --json`: {error}", at + 1));
        let record = Record::parse(line).map_err(wrong)?;
        if records.iter().any(|known| same(known, &record)) {
            return Err(wrong(format!("{} {} was measured before; compare one run with another", record.query, record.mode)));
        }
        records.push(record);
    }
    if records.is_empty() {
        return Err(Failure::at(path, "there is no measurement in it"));
    }
    Ok(records)
}

/// Whether two measurements are of the same thing.
fn same(a: &Record, b: &Record) -> bool {
    a.query == b.query && a.mode == b.mode && a.subject == b.subject
}

fn has_several_threads(records: &[Record]) -> bool {
    records.windows(2).any(|pair| pair[0].subject.threads != pair[1].subject.threads)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Slower,
    Faster,
    /// Within noise.
    Same,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Slower => "slower",
            Verdict::Faster => "faster",
            Verdict::Same => "same",
        })
    }
}

struct Pair<'a> {
    a: &'a Record,
    b: &'a Record,
    ratio: f64,
    verdict: Verdict,
    /// The answers have other fingerprints.
    differs: bool,
}

/// The geometric means of what two files have in common, in one mode and of one size.
struct Mean {
    name: String,
    mode: Mode,
    queries: usize,
    a: Spread,
    b: Spread,
    ratio: f64,
    verdict: Verdict,
}

struct Comparison<'a> {
    threshold: f64,
    pairs: Vec<Pair<'a>>,
    means: Vec<Mean>,
    only_a: Vec<&'a Record>,
    only_b: Vec<&'a Record>,
    /// Why the two may not be comparable.
    warnings: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn of(a: &'a [Record], b: &'a [Record], threshold: f64) -> Comparison<'a> {
        let mut pairs = vec![];
        for one in a {
            if let Some(two) = b.iter().find(|two| same(one, two)) {
                let verdict = verdict(one.spread, two.spread, threshold);
                let differs = one.digest != two.digest || one.rows != two.rows;
                pairs.push(Pair { a: one, b: two, ratio: ratio(one.spread, two.spread), verdict, differs });
            }
        }
        let means = means(&pairs, threshold);
        let without = |of: &'a [Record], other: &[Record]| -> Vec<&'a Record> {
            of.iter().filter(|one| !other.iter().any(|two| same(one, two))).collect()
        };
        Comparison { threshold, means, only_a: without(a, b), only_b: without(b, a), warnings: vec![], pairs }
    }

    fn has(&self, verdict: Verdict) -> bool {
        self.pairs.iter().any(|pair| pair.verdict == verdict) || self.means.iter().any(|mean| mean.verdict == verdict)
    }

    fn rule(&self) -> String {
        format!(
            "slower, faster: the medians differ by at least {} %, and the middle halves of the runs (lower to upper quartile) do not overlap; same: all else",
            self.threshold
        )
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        for warning in &self.warnings {
            let _ = writeln!(text, "note: {warning}");
        }
        for mean in &self.means {
            let _ = writeln!(text, "\n{} {}", mean.name, mean.mode);
            let _ = writeln!(text, "{:<16}{:>22}{:>22}{:>9}", "query", "A ms (quartiles)", "B ms (quartiles)", "B/A");
            for pair in self.pairs.iter().filter(|pair| pair.a.mode == mean.mode && name_of(pair.a) == mean.name) {
                let note = if pair.differs { "  ANSWERS DIFFER" } else { "" };
                row(&mut text, &pair.a.query, [pair.a.spread, pair.b.spread], pair.ratio, pair.verdict, note);
            }
            row(&mut text, "geomean", [mean.a, mean.b], mean.ratio, mean.verdict, "");
        }
        let _ = writeln!(text);
        for verdict in [Verdict::Slower, Verdict::Faster] {
            let found: Vec<String> = self.pairs.iter().filter(|pair| pair.verdict == verdict).map(name_of_pair).collect();
            let _ = match found.len() {
                0 => writeln!(text, "{verdict}: none"),
                count => writeln!(text, "{verdict}: {count} of {}: {}", self.pairs.len(), found.join(", ")),
            };
        }
        for (file, only) in [("A", &self.only_a), ("B", &self.only_b)] {
            if !only.is_empty() {
                let names: Vec<String> =
                    only.iter().map(|record| format!("{} {}{}", record.query, record.mode, with_threads(record))).collect();
                let _ = writeln!(text, "only in {file}: {}", names.join(", "));
            }
        }
        let _ = writeln!(text, "rule: {}", self.rule());
        text
    }

    fn json(&self) -> Value {
        let spread = |of: Spread| json!({ "lower_ms": of.lower, "median_ms": of.median, "upper_ms": of.upper });
        let pairs: Vec<Value> = self
            .pairs
            .iter()
            .map(|pair| {
                json!({
                    "suite": pair.a.subject.suite, "scale": pair.a.subject.scale, "table_rows": pair.a.subject.table_rows,
                    "storage": pair.a.subject.storage, "threads": pair.a.subject.threads, "q": pair.a.query, "mode": pair.a.mode.to_string(), "a": spread(pair.a.spread),
                    "b": spread(pair.b.spread), "ratio": pair.ratio, "verdict": pair.verdict.to_string(), "answers_differ": pair.differs,
                })
            })
            .collect();
        let means: Vec<Value> = self
            .means
            .iter()
            .map(|mean| {
                json!({
                    "of": mean.name, "mode": mean.mode.to_string(), "queries": mean.queries, "a": spread(mean.a), "b": spread(mean.b),
                    "ratio": mean.ratio, "verdict": mean.verdict.to_string(),
                })
            })
            .collect();
        let only = |records: &[&Record]| -> Vec<Value> {
            records
                .iter()
                .map(|record| json!({ "q": record.query, "mode": record.mode.to_string(), "threads": record.subject.threads }))
                .collect()
        };
        json!({
            "schema": "stagefuse-bench-comparison", "version": 1, "rule": self.rule(), "threshold_percent": self.threshold,
            "queries": pairs, "geomeans": means, "only_a": only(&self.only_a), "only_b": only(&self.only_b), "notes": self.warnings,
        })
    }
}

fn row(text: &mut String, name: &str, spreads: [Spread; 2], ratio: f64, verdict: Verdict, note: &str) {
    let cell = |of: Spread| format!("{:.2} ({:.2}..{:.2})", of.median, of.lower, of.upper);
    let [a, b] = spreads.map(cell);
    let verdict = if verdict == Verdict::Same { String::new() } else { format!("  {verdict}") };
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{name:<16}{a:>22}{b:>22}{ratio:>8.2}x{verdict}{note}");
}

fn ratio(a: Spread, b: Spread) -> f64 {
    b.median / a.median.max(1e-6)
}

fn verdict(a: Spread, b: Spread, threshold: f64) -> Verdict {
    let least = 1.0 + threshold / 100.0;
    let ratio = ratio(a, b);
    if ratio >= least && b.lower > a.upper {
        Verdict::Slower
    } else if ratio <= 1.0 / least && b.upper < a.lower {
        Verdict::Faster
    } else {
        Verdict::Same
    }
}

/// The number of threads, where a file has several.
fn with_threads(record: &Record) -> String {
    record.subject.threads.map(|threads| format!(" with {threads} threads")).unwrap_or_default()
}

/// Suite, size and storage, and threads where a file has several numbers of them.
fn name_of(record: &Record) -> String {
    let subject = &record.subject;
    let size = subject.size().map(|size| format!(", {size}")).unwrap_or_default();
    let threads = subject.threads.map(|threads| format!(", {threads} threads")).unwrap_or_default();
    format!("{}{size}, {}{threads}", subject.suite, subject.storage)
}

fn name_of_pair(pair: &Pair<'_>) -> String {
    let size = pair.a.subject.size().map(|size| format!(" at {size}")).unwrap_or_default();
    format!("{} {}{size}{} {:.2}x", pair.a.query, pair.a.mode, with_threads(pair.a), pair.ratio)
}

fn means(pairs: &[Pair<'_>], threshold: f64) -> Vec<Mean> {
    let mut groups: Vec<(String, Mode)> = vec![];
    for pair in pairs {
        let group = (name_of(pair.a), pair.a.mode);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mean = |(name, mode): (String, Mode)| {
        let of_group: Vec<&Pair<'_>> = pairs.iter().filter(|pair| pair.a.mode == mode && name_of(pair.a) == name).collect();
        let spread = |side: &dyn Fn(&Pair<'_>) -> Spread| {
            let of = |value: &dyn Fn(Spread) -> f64| geomean(of_group.iter().map(|pair| value(side(pair))));
            Some(Spread {
                min: of(&|spread| spread.min)?,
                lower: of(&|spread| spread.lower)?,
                median: of(&|spread| spread.median)?,
                upper: of(&|spread| spread.upper)?,
                max: of(&|spread| spread.max)?,
            })
        };
        let (a, b) = (spread(&|pair| pair.a.spread)?, spread(&|pair| pair.b.spread)?);
        Some(Mean { name, mode, queries: of_group.len(), a, b, ratio: ratio(a, b), verdict: verdict(a, b, threshold) })
    };
    groups.into_iter().filter_map(mean).collect()
}

fn warnings(a: &[Record], b: &[Record]) -> Vec<String> {
    let mut warnings = vec![];
    let mut differ = |what: &str, of: &dyn Fn(&Record) -> Option<String>| {
        if let (Some(one), Some(two)) = (a.iter().find_map(of), b.iter().find_map(of))
            && one != two
        {
            warnings.push(format!("{what} differs: {one} in A, {two} in B"));
        }
    };
    differ("the processor", &|record| record.cpu.clone());
    differ("the number of threads", &|record| record.subject.threads.map(|threads| threads.to_string()));
    differ("the build", &|record| record.build.clone());
    for (name, of) in [("A", a), ("B", b)] {
        if of.iter().any(|record| record.runs_ms.is_empty()) {
            warnings.push(format!("{name} does not hold the times of all runs: its quickest and its median run stand for the quartiles"));
        } else if of.iter().any(|record| record.runs_ms.len() < 5) {
            warnings.push(format!("{name} has fewer than 5 runs of a query: the quartiles say little"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(query: &str, runs: [f64; 5]) -> Record {
        let line = json!({
            "suite": "s", "scale": 1.0, "storage": "memory", "q": query, "mode": "compiled", "digest": "0", "rows": 1,
            "min_ms": runs[0], "median_ms": runs[2], "runs_ms": runs,
        });
        Record::parse(&line.to_string()).expect("a line")
    }

    #[test]
    fn what_overlaps_is_noise_and_what_is_small_is_the_same() {
        let a = [record("far", [9.0, 9.5, 10.0, 10.5, 11.0]), record("wide", [5.0, 8.0, 10.0, 15.0, 19.0]), record("near", [10.0; 5])];
        let b = [record("far", [12.0, 12.5, 13.0, 13.5, 14.0]), record("wide", [8.0, 12.0, 14.0, 18.0, 22.0]), record("near", [10.2; 5])];
        let of = |a: &[Record], b: &[Record]| -> Vec<Verdict> { Comparison::of(a, b, 5.0).pairs.iter().map(|pair| pair.verdict).collect() };
        assert_eq!(of(&a, &b), [Verdict::Slower, Verdict::Same, Verdict::Same]);
        assert_eq!(of(&b, &a), [Verdict::Faster, Verdict::Same, Verdict::Same]);
        let comparison = Comparison::of(&a[..1], &b[..1], 5.0);
        assert_eq!(comparison.means[0].verdict, Verdict::Slower);
        assert!((comparison.means[0].ratio - 1.3).abs() < 1e-9);
        assert!(comparison.text().contains("slower: 1 of 1: far compiled at scale 1 1.30x"), "{}", comparison.text());
    }

    #[test]
    fn the_smallest_step_that_counts_can_be_chosen() {
        let (a, b) = ([record("q", [10.0; 5])], [record("q", [10.2; 5])]);
        assert!(!Comparison::of(&a, &b, 5.0).has(Verdict::Slower));
        assert!(Comparison::of(&a, &b, 1.0).has(Verdict::Slower));
    }
}
