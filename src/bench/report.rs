//! What `bench` prints.

use std::fmt::Write;
use std::time::Duration;

use stagefuse::RowsProcessed;

use super::measure::{Measured, Measurement};
use super::record::{self, Record, Subject};
use super::sides::{Side, Sides};
use crate::cli::arguments::Mode;
use crate::cli::failure::Failure;
use crate::cli::output;

/// All that was measured so far.
pub struct Report {
    subject: Subject,
    /// What is measured, each with its name.
    sides: Vec<(Side, String)>,
    /// The side that the others are compared with.
    compared: Option<Side>,
    measured: Vec<Measured>,
    shows_stages: bool,
    wrong: Vec<String>,
}

impl Report {
    pub fn new(subject: Subject, sides: &Sides, shows_stages: bool) -> Report {
        let named = sides.all().map(|side| (side, sides.name(side))).collect();
        Report { subject, sides: named, compared: sides.subject(), measured: vec![], shows_stages, wrong: vec![] }
    }

    fn name(&self, side: Side) -> &str {
        self.sides.iter().find(|(other, _)| *other == side).map_or("", |(_, name)| name)
    }

    /// What is wrong with answers so far.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Takes a query's measurements; says at once if something is wrong with them. The result are its records.
    pub fn add(&mut self, measured: Measured) -> Vec<Record> {
        for wrong in self.check(&measured) {
            output::complain(&format!("  {wrong}"));
            self.wrong.push(wrong);
        }
        if measured.cut {
            output::complain(&format!("  {}: LIMIT leaves a choice of rows; without it all answers are the same", measured.query));
        }
        let record = |(side, result): &(Side, Result<Measurement, Failure>)| {
            Some(Record::new(&self.subject, &measured.query, *side, result.as_ref().ok()?))
        };
        let records = measured.sides.iter().filter_map(record).collect();
        self.measured.push(measured);
        records
    }

    /// The table: median times, speed-ups of the compiled mode (with most threads), its compile time, native of all stages; then fallbacks and what is wrong.
    pub fn text(&self) -> String {
        let others: Vec<&(Side, String)> = self.sides.iter().filter(|(side, _)| Some(*side) != self.compared).collect();
        let compares = self.compared.is_some();
        let mut text = String::new();
        let mut row = |cells: Vec<String>| {
            let line: String =
                cells.iter().enumerate().map(|(at, cell)| if at == 0 { format!("{cell:<8}") } else { format!("{cell:>16}") }).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        };
        let mut header = vec!["query".to_owned()];
        header.extend(self.sides.iter().map(|(_, name)| format!("{name} ms")));
        if compares {
            header.extend(others.iter().map(|(_, name)| format!("vs {name}")));
            header.extend(["compile ms".to_owned(), "native".to_owned()]);
        }
        row(header);
        let mut times = vec![vec![]; self.sides.len()];
        let mut ratios = vec![vec![]; others.len()];
        let mut compiles = vec![];
        let (mut native, mut stages) = (0, 0);
        let mut processed = RowsProcessed::default();
        for measured in &self.measured {
            let mut cells = vec![measured.query.clone()];
            for (at, (_, result)) in measured.sides.iter().enumerate() {
                cells.push(match result {
                    Ok(of) => {
                        times[at].push(milliseconds(of.median()));
                        format!("{:.2}", milliseconds(of.median()))
                    }
                    Err(_) => "failed".to_owned(),
                });
            }
            if compares {
                let compiled = find(measured, self.compared);
                for (at, (side, _)) in others.iter().enumerate() {
                    cells.push(match (compiled, find(measured, Some(*side))) {
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
            for reason in find(measured, self.compared).iter().flat_map(|of| &of.compilation.fallbacks) {
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
    /// What is wrong with a query's answers: failures, and results that differ from those of the plain engine (or of the first side).
    fn check(&self, measured: &Measured) -> Vec<String> {
        let query = &measured.query;
        let mut wrong = vec![];
        let reference = measured.sides.iter().rev().filter_map(|(side, result)| Some((*side, result.as_ref().ok()?)));
        let reference = reference.max_by_key(|(side, _)| side.mode == Mode::Off);
        for (side, result) in &measured.sides {
            let name = self.name(*side);
            match (result, reference) {
                (Err(failure), _) => wrong.push(format!("FAILED {query} {name}: {}", line_of(failure))),
                (Ok(_), _) if measured.cut => {}
                (Ok(of), _) if of.unstable => wrong.push(format!("WRONG {query} {name}: two runs have different answers")),
                (Ok(of), Some((other, reference))) if of.digest != reference.digest => wrong.push(format!(
                    "WRONG {query} {name}: {} rows, digest {:016x}; {}: {} rows, digest {:016x}",
                    of.digest.rows,
                    of.digest.hash,
                    self.name(other),
                    reference.digest.rows,
                    reference.digest.hash
                )),
                _ => {}
            }
        }
        wrong
    }

    /// What every stage did; times are summed over workers.
    fn stages(&self, text: &mut String) {
        for measured in &self.measured {
            for (side, result) in &measured.sides {
                let side = self.name(*side);
                let stages = result.iter().flat_map(|of| &of.compilation.of_stages);
                for (number, stage) in stages.enumerate() {
                    let (name, rows_in, rows_out) = (&stage.name, stage.rows_in, stage.rows_out);
                    let time = stage.nanos as f64 / 1e6;
                    let each = stage.nanos as f64 / rows_in.max(1) as f64;
                    let query = &measured.query;
                    let _ = writeln!(
                        text,
                        "{query} {side} s{number} {name}: {}, {rows_in} -> {rows_out} rows, {time:.2} ms, {each:.1} ns/row",
                        stage.engine
                    );
                }
            }
        }
    }
}

fn line_of(failure: &Failure) -> String {
    failure.to_string()
}

fn find(measured: &Measured, wanted: Option<Side>) -> Option<&Measurement> {
    measured.sides.iter().find(|(side, _)| Some(*side) == wanted).and_then(|(_, result)| result.as_ref().ok())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn geomean(values: &[f64], unit: &str) -> String {
    record::geomean(values.iter().copied()).map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}{unit}"))
}
