//! What `bench` prints.

use std::fmt::Write;
use std::time::Duration;

use stagefuse::RowsProcessed;

use super::measure::{Measured, Measurement};
use super::record::{self, Record, Subject};
use crate::cli::arguments::{BenchArguments, Mode};
use crate::cli::failure::Failure;
use crate::cli::output;

/// All that was measured so far.
pub struct Report {
    subject: Subject,
    modes: Vec<Mode>,
    measured: Vec<Measured>,
    shows_stages: bool,
    wrong: Vec<String>,
}

impl Report {
    pub fn new(subject: Subject, arguments: &BenchArguments) -> Report {
        Report { subject, modes: arguments.modes.clone(), measured: vec![], shows_stages: arguments.stages, wrong: vec![] }
    }

    /// What is wrong with answers so far.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Takes a query's measurements; says at once if something is wrong with them. The result are its records.
    pub fn add(&mut self, measured: Measured) -> Vec<Record> {
        for wrong in check(&measured) {
            output::complain(&format!("  {wrong}"));
            self.wrong.push(wrong);
        }
        if measured.cut {
            output::complain(&format!("  {}: LIMIT leaves a choice of rows; without it all answers are the same", measured.query));
        }
        let record = |(mode, result): &(Mode, Result<Measurement, Failure>)| {
            Some(Record::new(&self.subject, &measured.query, *mode, result.as_ref().ok()?))
        };
        let records = measured.modes.iter().filter_map(record).collect();
        self.measured.push(measured);
        records
    }

    /// The table: median times, speed-ups of the compiled mode, compile time, native of all stages; then fallbacks and what is wrong.
    pub fn text(&self) -> String {
        let others: Vec<Mode> = self.modes.iter().copied().filter(|mode| *mode != Mode::Compiled).collect();
        let compares = self.modes.contains(&Mode::Compiled);
        let mut text = String::new();
        let mut row = |cells: Vec<String>| {
            let line: String =
                cells.iter().enumerate().map(|(at, cell)| if at == 0 { format!("{cell:<8}") } else { format!("{cell:>16}") }).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        };
        let mut header = vec!["query".to_owned()];
        header.extend(self.modes.iter().map(|mode| format!("{mode} ms")));
        if compares {
            header.extend(others.iter().map(|mode| format!("vs {mode}")));
            header.extend(["compile ms".to_owned(), "native".to_owned()]);
        }
        row(header);
        let mut times = vec![vec![]; self.modes.len()];
        let mut ratios = vec![vec![]; others.len()];
        let mut compiles = vec![];
        let (mut native, mut stages) = (0, 0);
        let mut processed = RowsProcessed::default();
        for measured in &self.measured {
            let mut cells = vec![measured.query.clone()];
            for (at, (_, result)) in measured.modes.iter().enumerate() {
                cells.push(match result {
                    Ok(of) => {
                        times[at].push(milliseconds(of.median()));
                        format!("{:.2}", milliseconds(of.median()))
                    }
                    Err(_) => "failed".to_owned(),
                });
            }
            if compares {
                let compiled = find(measured, Mode::Compiled);
                for (at, mode) in others.iter().enumerate() {
                    cells.push(match (compiled, find(measured, *mode)) {
                        (Some(compiled), Some(other)) => {
                            let ratio = milliseconds(other.median()) / milliseconds(compiled.median()).max(1e-6);
                            ratios[at].push(ratio);
                            format!("{ratio:.2}x")
                        }
                        _ => "-".to_owned(),
                    });
                }
                match compiled {
                    Some(of) => {
                        if of.compilation.native_stages > 0 {
                            compiles.push(milliseconds(of.compile()));
                        }
                        processed += of.compilation.rows;
                        native += of.compilation.native_stages;
                        stages += of.compilation.stages;
                        cells.push(format!("{:.2}", milliseconds(of.compile())));
                        cells.push(format!("{}/{}", of.compilation.native_stages, of.compilation.stages));
                    }
                    None => cells.extend(["-".to_owned(), "-".to_owned()]),
                }
            }
            row(cells);
        }
        let mut geomeans = vec!["geomean".to_owned()];
        geomeans.extend(times.iter().map(|times| geomean(times, "")));
        if compares {
            geomeans.extend(ratios.iter().map(|ratios| geomean(ratios, "x")));
            geomeans.extend([geomean(&compiles, ""), format!("{native}/{stages}")]);
        }
        row(geomeans);
        if compares {
            let RowsProcessed { native, interpreted, datafusion } = processed;
            let share = 100.0 * processed.native_share();
            let _ =
                writeln!(text, "rows read by native stages {native} ({share:.1} %), interpreted {interpreted}, DataFusion {datafusion}");
        }
        for measured in &self.measured {
            for reason in find(measured, Mode::Compiled).iter().flat_map(|of| &of.compilation.fallbacks) {
                let _ = writeln!(text, "fallback {}: {reason}", measured.query);
            }
        }
        if self.shows_stages {
            self.stages(&mut text);
        }
        for wrong in &self.wrong {
            let _ = writeln!(text, "{wrong}");
        }
        text
    }
}

impl Report {
    /// What every stage did; times are summed over workers.
    fn stages(&self, text: &mut String) {
        for measured in &self.measured {
            for (mode, result) in &measured.modes {
                let stages = result.iter().flat_map(|of| &of.compilation.of_stages);
                for (number, stage) in stages.enumerate() {
                    let (name, rows_in, rows_out) = (&stage.name, stage.rows_in, stage.rows_out);
                    let time = stage.nanos as f64 / 1e6;
                    let each = stage.nanos as f64 / rows_in.max(1) as f64;
                    let query = &measured.query;
                    let _ = writeln!(
                        text,
                        "{query} {mode} s{number} {name}: {}, {rows_in} -> {rows_out} rows, {time:.2} ms, {each:.1} ns/row",
                        stage.engine
                    );
                }
            }
        }
    }
}

/// What is wrong with a query's answers: failures, and results that differ from those of the plain engine (or of the first mode).
fn check(measured: &Measured) -> Vec<String> {
    let query = &measured.query;
    let mut wrong = vec![];
    let reference = measured.modes.iter().rev().filter_map(|(mode, result)| Some((*mode, result.as_ref().ok()?)));
    let reference = reference.max_by_key(|(mode, _)| *mode == Mode::Off);
    for (mode, result) in &measured.modes {
        match (result, reference) {
            (Err(failure), _) => wrong.push(format!("FAILED {query} {mode}: {}", line_of(failure))),
            (Ok(_), _) if measured.cut => {}
            (Ok(of), _) if of.unstable => wrong.push(format!("WRONG {query} {mode}: two runs have different answers")),
            (Ok(of), Some((other, reference))) if of.digest != reference.digest => wrong.push(format!(
                "WRONG {query} {mode}: {} rows, digest {:016x}; {other}: {} rows, digest {:016x}",
                of.digest.rows, of.digest.hash, reference.digest.rows, reference.digest.hash
            )),
            _ => {}
        }
    }
    wrong
}

fn line_of(failure: &Failure) -> String {
    failure.to_string()
}

fn find(measured: &Measured, wanted: Mode) -> Option<&Measurement> {
    measured.modes.iter().find(|(mode, _)| *mode == wanted).and_then(|(_, result)| result.as_ref().ok())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn geomean(values: &[f64], unit: &str) -> String {
    record::geomean(values.iter().copied()).map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}{unit}"))
}
