//! One line of `bench --json`: what was measured of a query in one mode, with one number of threads. Written here, and read again by `bench compare`.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};
use stagefuse::RowsProcessed;

use super::machine;
use super::measure::Measurement;
use super::sides::Side;
use crate::cli::arguments::Mode;

/// What the queries of one run of a suite have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub suite: String,
    /// Unknown for tables that were there before.
    pub scale: Option<f64>,
    /// Rows of the table of `micro`.
    pub table_rows: Option<u64>,
    pub storage: String,
    /// Of one record; not known before it is made, and in files that were written before there was this field.
    pub threads: Option<u64>,
}

impl Subject {
    /// Its size, where that is known: `scale 10`.
    pub fn size(&self) -> Option<String> {
        match (self.scale, self.table_rows) {
            (Some(scale), _) => Some(format!("scale {scale}")),
            (_, Some(rows)) => Some(format!("{rows} rows")),
            _ => None,
        }
    }

    /// The number that a cost over sizes is drawn against.
    pub fn amount(&self) -> Option<f64> {
        self.scale.or(self.table_rows.map(|rows| rows as f64))
    }
}

/// A measurement of a query in one mode, apart from its rows.
#[derive(Clone, Debug)]
pub struct Record {
    pub subject: Subject,
    pub query: String,
    pub mode: Mode,
    pub rows: u64,
    pub digest: String,
    pub first_ms: f64,
    pub spread: Spread,
    /// Times of all measured runs, sorted. Empty in files that were written before there was this field.
    pub runs_ms: Vec<f64>,
    pub cpu_ms: f64,
    pub plan_ms: f64,
    pub compile_ms: f64,
    /// From text to running code, by the clock: several threads compile. 0 in files that were written before there was this field.
    pub ready_ms: f64,
    pub code_bytes: u64,
    pub stages: u64,
    pub native_stages: u64,
    pub fallbacks: Vec<String>,
    /// Rows by engine.
    pub processed: RowsProcessed,
    /// The processor and the kind of build, where the file tells.
    pub cpu: Option<String>,
    pub build: Option<String>,
}

/// How a query's times are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub lower: f64,
    pub median: f64,
    pub upper: f64,
    pub max: f64,
}

impl Spread {
    /// Of sorted times. The quartiles are times that were measured, the outer ones where there is a choice; the median of an even
    /// number is the slower one of the two in the middle.
    pub fn of(sorted: &[f64]) -> Option<Spread> {
        let last = sorted.len().checked_sub(1)?;
        Some(Spread {
            min: sorted[0],
            lower: sorted[last / 4],
            median: sorted[sorted.len() / 2],
            upper: sorted[last - last / 4],
            max: sorted[last],
        })
    }
}

impl Record {
    pub fn new(subject: &Subject, query: &str, side: Side, of: &Measurement) -> Record {
        let runs_ms: Vec<f64> = of.times().map(rounded).collect();
        let only = rounded(of.median());
        let spread = Spread::of(&runs_ms).unwrap_or(Spread { min: only, lower: only, median: only, upper: only, max: only });
        Record {
            subject: Subject { threads: Some(u64::from(side.threads)), ..subject.clone() },
            query: query.to_owned(),
            mode: side.mode,
            rows: of.digest.rows as u64,
            digest: format!("{:016x}", of.digest.hash),
            first_ms: rounded(of.first),
            spread,
            runs_ms,
            cpu_ms: rounded(of.cpu()),
            plan_ms: rounded(of.plan()),
            compile_ms: rounded(of.compile()),
            ready_ms: rounded(of.ready()),
            code_bytes: of.compilation.code_bytes as u64,
            stages: of.compilation.stages as u64,
            native_stages: of.compilation.native_stages as u64,
            fallbacks: of.compilation.fallbacks.clone(),
            processed: of.compilation.rows,
            cpu: Some(machine::processor()),
            build: Some(machine::build().to_owned()),
        }
    }

    /// The line.
    pub fn json(&self) -> Value {
        json!({
            "suite": self.subject.suite, "scale": self.subject.scale, "table_rows": self.subject.table_rows,
            "storage": self.subject.storage, "threads": self.subject.threads, "q": self.query, "mode": self.mode.to_string(),
            "rows": self.rows, "digest": self.digest, "first_ms": self.first_ms, "min_ms": self.spread.min,
            "median_ms": self.spread.median, "max_ms": self.spread.max, "runs_ms": self.runs_ms, "cpu_ms": self.cpu_ms,
            "plan_ms": self.plan_ms, "compile_ms": self.compile_ms, "ready_ms": self.ready_ms,
            "code_bytes": self.code_bytes, "stages": self.stages,
            "native_stages": self.native_stages, "fallbacks": self.fallbacks, "native_rows": self.processed.native,
            "interpreted_rows": self.processed.interpreted, "datafusion_rows": self.processed.datafusion,
            "stagefuse": env!("CARGO_PKG_VERSION"), "build": self.build, "cpu": self.cpu,
        })
    }

    /// Reads a line again. The error says what is missing.
    pub fn parse(line: &str) -> Result<Record, String> {
        let line: Value = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
        let text = |field: &str| line[field].as_str().map(str::to_owned).ok_or_else(|| format!("there is no text `{field}`"));
        let number = |field: &str| match line[field].as_f64() {
            Some(number) if number >= 0.0 => Ok(number),
            _ => Err(format!("there is no number `{field}`")),
        };
        let count = |field: &str| line[field].as_u64().unwrap_or(0);
        let mode = text("mode")?;
        let list = |field: &str| line[field].as_array().cloned().unwrap_or_default();
        let mut runs_ms: Vec<f64> = list("runs_ms").iter().filter_map(Value::as_f64).filter(|time| *time >= 0.0).collect();
        runs_ms.sort_by(f64::total_cmp);
        let (min, median) = (number("min_ms")?, number("median_ms")?);
        // Files without the runs tell their quickest and their median run: these stand for the quartiles.
        let known = Spread { min, lower: min, median, upper: median, max: median };
        Ok(Record {
            subject: Subject {
                suite: text("suite")?,
                scale: line["scale"].as_f64(),
                table_rows: line["table_rows"].as_u64(),
                storage: line["storage"].as_str().unwrap_or("memory").to_owned(),
                threads: line["threads"].as_u64(),
            },
            query: text("q")?,
            mode: Mode::from_str(&mode, true).map_err(|_| format!("`{mode}` is no mode"))?,
            rows: count("rows"),
            digest: text("digest")?,
            first_ms: number("first_ms").unwrap_or(0.0),
            spread: Spread::of(&runs_ms).unwrap_or(known),
            runs_ms,
            cpu_ms: number("cpu_ms").unwrap_or(0.0),
            plan_ms: number("plan_ms").unwrap_or(0.0),
            compile_ms: number("compile_ms").unwrap_or(0.0),
            ready_ms: number("ready_ms").unwrap_or(0.0),
            code_bytes: count("code_bytes"),
            stages: count("stages"),
            native_stages: count("native_stages"),
            fallbacks: list("fallbacks").iter().filter_map(|reason| Some(reason.as_str()?.to_owned())).collect(),
            processed: RowsProcessed {
                native: count("native_rows"),
                interpreted: count("interpreted_rows"),
                datafusion: count("datafusion_rows"),
            },
            cpu: line["cpu"].as_str().map(str::to_owned),
            build: line["build"].as_str().map(str::to_owned),
        })
    }
}

/// Milliseconds, to a microsecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The geometric mean; `None` of nothing.
pub fn geomean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        sum += value.max(1e-6).ln();
        count += 1;
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_runs_around_the_median() {
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0, 50.0]).expect("there are runs");
        assert_eq!(spread, Spread { min: 1.0, lower: 2.0, median: 3.0, upper: 4.0, max: 50.0 });
        for count in 1..20 {
            let runs: Vec<f64> = (0..count).map(f64::from).collect();
            let of = Spread::of(&runs).expect("there are runs");
            assert!(of.min <= of.lower && of.lower <= of.median && of.median <= of.upper && of.upper <= of.max, "{of:?}");
        }
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_line_that_is_none_says_why() {
        for (line, part) in [("x", "no JSON"), ("{}", "`mode`"), ("[]", "`mode`"), (r#"{"mode":"off"}"#, "`min_ms`")] {
            let error = Record::parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
        let old = r#"{"suite":"s","q":"q1","mode":"off","min_ms":1,"median_ms":2,"digest":"0"}"#;
        let old = Record::parse(old).expect("a line of an older file");
        assert_eq!((old.spread.lower, old.spread.upper, old.runs_ms.len()), (1.0, 2.0, 0));
        let again = Record::parse(&old.json().to_string()).expect("what was written can be read");
        assert_eq!((again.spread, again.subject), (old.spread, old.subject));
    }
}
