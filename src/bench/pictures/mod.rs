//! The charts of `bench --report`. They are drawn by `plotters`, whose SVG backend needs nothing of the system.

mod rows;
mod scales;
pub mod theme;

use crate::bench::record::{Record, geomean};
use crate::cli::arguments::Mode;
use crate::cli::failure::Failure;
use rows::{Axis, Mark, Rows, Unit, short};
use theme::{Colour, DATAFUSION, DIM, INTERPRETED, LOSS, NATIVE, Shape, TEXT, name_of, of_mode};

pub use scales::over_sizes;

const WIDE: u32 = 920;
/// For phones: the same chart with less room for lengths, so that its letters need not shrink.
const NARROW: u32 = 372;

/// A chart, and the same as text.
pub struct Figure {
    /// What its file is called.
    pub name: String,
    pub title: String,
    /// What is to be seen, in words.
    pub about: String,
    pub wide: String,
    pub narrow: String,
    pub head: Vec<String>,
    pub lines: Vec<Vec<String>>,
}

/// A chart before it is drawn, in two widths.
struct Plan<'a> {
    name: String,
    title: String,
    about: String,
    rows: Rows<'a>,
    marks: Vec<Mark>,
    head: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Plan<'_> {
    fn draw(self) -> Result<Figure, Failure> {
        let finish = |width: u32, which: &str| {
            let svg = self.rows.draw(width, &self.marks)?;
            Ok::<_, Failure>(theme::finish(&svg, &format!("{}-{which}", self.name), &self.title, &self.about))
        };
        let (wide, narrow) = (finish(WIDE, "wide")?, finish(NARROW, "narrow")?);
        Ok(Figure { name: self.name, title: self.title, about: self.about, wide, narrow, head: self.head, lines: self.lines })
    }
}

/// The measurements of one size, by query.
pub struct Measurements<'a> {
    pub queries: Vec<&'a str>,
    pub modes: Vec<Mode>,
    records: &'a [&'a Record],
}

impl<'a> Measurements<'a> {
    /// In the order that they were made in.
    pub fn of(records: &'a [&'a Record]) -> Measurements<'a> {
        let (mut queries, mut modes): (Vec<&str>, Vec<Mode>) = (vec![], vec![]);
        for record in records {
            if !queries.contains(&record.query.as_str()) {
                queries.push(&record.query);
            }
            if !modes.contains(&record.mode) {
                modes.push(record.mode);
            }
        }
        Measurements { queries, modes, records }
    }

    pub fn find(&self, query: &str, mode: Mode) -> Option<&'a Record> {
        self.records.iter().copied().find(|record| record.query == query && record.mode == mode)
    }

    /// The mode that the others are held against.
    pub fn subject(&self) -> Option<Mode> {
        [Mode::Compiled, Mode::Auto].into_iter().find(|mode| self.modes.contains(mode))
    }

    /// How many times faster than `other` the mode is, by query.
    pub fn ratios(&self, mode: Mode, other: Mode) -> Vec<(&'a str, f64)> {
        let ratio = |query: &&'a str| {
            let (one, two) = (self.find(query, mode)?, self.find(query, other)?);
            Some((*query, two.spread.median / one.spread.median.max(1e-6)))
        };
        self.queries.iter().filter_map(ratio).collect()
    }
}

/// The charts of one size. `suffix` is part of their names where there are several sizes.
pub fn of_size(measurements: &Measurements<'_>, suffix: &str) -> Result<Vec<Figure>, Failure> {
    let mut figures = vec![times(measurements, suffix)?];
    if let Some(mode) = measurements.subject() {
        // Plain DataFusion first: that is what a reader has without Stagefuse.
        let mut others: Vec<Mode> = measurements.modes.iter().copied().filter(|other| *other != mode).collect();
        others.sort_by_key(|other| *other != Mode::Off);
        for other in others {
            figures.extend(speedups(measurements, mode, other, suffix)?);
        }
        figures.extend(compiling(measurements, mode, suffix)?);
        figures.extend(share(measurements, mode, suffix)?);
    }
    Ok(figures)
}

fn times(of: &Measurements<'_>, suffix: &str) -> Result<Figure, Failure> {
    let labels: Vec<String> = of.queries.iter().map(|query| (*query).to_owned()).collect();
    let (mut marks, mut lines) = (vec![], vec![]);
    for (row, query) in of.queries.iter().enumerate() {
        let mut line = vec![(*query).to_owned()];
        for mode in &of.modes {
            let (colour, shape) = of_mode(*mode);
            let Some(record) = of.find(query, *mode) else {
                line.extend(["failed".to_owned(), "-".to_owned()]);
                continue;
            };
            let spread = record.spread;
            marks.push(Mark::Range { row, from: spread.min, to: spread.max, colour });
            marks.push(Mark::Point { row, at: spread.median, colour, shape });
            line.extend([short(spread.median), format!("{} to {}", short(spread.min), short(spread.max))]);
        }
        lines.push(line);
    }
    let means: Vec<(Mode, f64)> = of.modes.iter().filter_map(|mode| Some((*mode, mean(of, *mode)?))).collect();
    let mut head = vec!["query".to_owned()];
    head.extend(of.modes.iter().flat_map(|mode| [format!("{} ms", name_of(*mode)), "spread".to_owned()]));
    let mut last = vec!["geomean".to_owned()];
    for mode in &of.modes {
        last.extend([means.iter().find(|(of, _)| of == mode).map_or("-".to_owned(), |(_, mean)| short(*mean)), String::new()]);
    }
    lines.push(last);
    let values = of.records.iter().flat_map(|record| [record.spread.min, record.spread.max]);
    let means: Vec<String> = means.iter().map(|(mode, mean)| format!("{} {} ms", name_of(*mode), short(*mean))).collect();
    let plan = Plan {
        name: format!("times{suffix}"),
        title: "Time of each query".to_owned(),
        about: format!(
            "A shape is the median run, the line through it goes from the quickest to the slowest; further left is faster, and the scale is logarithmic. Geometric means: {}.",
            means.join(", ")
        ),
        rows: Rows {
            labels: &labels,
            axis: Axis::logarithmic(values, Unit::Milliseconds),
            caption: "time from SQL text to the last batch",
            legend: of.modes.iter().map(|mode| (of_mode(*mode).0, of_mode(*mode).1, name_of(*mode))).collect(),
        },
        marks,
        head,
        lines,
    };
    plan.draw()
}

fn mean(of: &Measurements<'_>, mode: Mode) -> Option<f64> {
    geomean(of.queries.iter().filter_map(|query| Some(of.find(query, mode)?.spread.median)))
}

fn speedups(of: &Measurements<'_>, mode: Mode, other: Mode, suffix: &str) -> Result<Option<Figure>, Failure> {
    let mut ratios = of.ratios(mode, other);
    ratios.sort_by(|(_, one), (_, two)| two.total_cmp(one));
    let Some(mean) = geomean(ratios.iter().map(|(_, ratio)| *ratio)) else { return Ok(None) };
    let labels: Vec<String> = ratios.iter().map(|(query, _)| (*query).to_owned()).collect();
    let mut marks = vec![];
    for (row, (_, ratio)) in ratios.iter().enumerate() {
        let faster = !is_slower(*ratio);
        let (from, to) = (ratio.min(1.0), ratio.max(1.0));
        marks.push(Mark::Bar { row, from, to, colour: if faster { NATIVE } else { LOSS } });
        let text = if faster { format!("{ratio:.2}x") } else { format!("{ratio:.2}x: slower") };
        marks.push(Mark::Label { row, at: to, text, colour: if faster { TEXT } else { LOSS } });
    }
    marks.push(Mark::Border { at: 1.0, colour: DIM });
    let axis = Axis::logarithmic(ratios.iter().map(|(_, ratio)| *ratio).chain([1.0]), Unit::Times);
    let losers: Vec<&str> = ratios.iter().filter(|(_, ratio)| is_slower(*ratio)).map(|(query, _)| *query).collect();
    let losers = match losers.as_slice() {
        [] => "None is slower.".to_owned(),
        some => format!("Slower: {}.", some.join(", ")),
    };
    let caption = format!("times faster than {}", name_of(other));
    let plan = Plan {
        name: format!("speedup-{other}{suffix}"),
        title: format!("{} against {}", capital(name_of(mode)), name_of(other)),
        about: format!(
            "How many times faster {} is than {}, of the median runs; a bar to the left of 1x is a query that it makes slower. Geometric mean {mean:.2}x. {losers}",
            name_of(mode),
            name_of(other)
        ),
        rows: Rows {
            labels: &labels,
            axis,
            caption: &caption,
            legend: vec![(NATIVE, Shape::Square, "faster"), (LOSS, Shape::Square, "slower")],
        },
        marks,
        head: vec!["query".to_owned(), "times faster".to_owned()],
        lines: ratios.iter().map(|(query, ratio)| vec![(*query).to_owned(), format!("{ratio:.2}x")]).collect(),
    };
    plan.draw().map(Some)
}

fn compiling(of: &Measurements<'_>, mode: Mode, suffix: &str) -> Result<Option<Figure>, Failure> {
    let records: Vec<&Record> =
        of.queries.iter().filter_map(|query| of.find(query, mode)).filter(|record| record.compile_ms > 0.0).collect();
    if records.is_empty() {
        return Ok(None);
    }
    let labels: Vec<String> = records.iter().map(|record| record.query.clone()).collect();
    let (mut marks, mut lines) = (vec![], vec![]);
    for (row, record) in records.iter().enumerate() {
        let (compile, run) = (record.compile_ms, record.spread.median);
        marks.push(Mark::Range { row, from: compile.min(run), to: compile.max(run), colour: DIM });
        marks.push(Mark::Point { row, at: compile, colour: INTERPRETED, shape: Shape::Diamond });
        marks.push(Mark::Point { row, at: run, colour: NATIVE, shape: Shape::Circle });
        let cells = [compile, run, record.plan_ms, record.first_ms].map(short);
        lines.push([vec![record.query.clone()], cells.to_vec(), vec![record.code_bytes.to_string()]].concat());
    }
    let total = records.iter().map(|record| record.compile_ms).sum::<f64>();
    let longer = records.iter().filter(|record| record.compile_ms > record.spread.median).count();
    let plan = Plan {
        name: format!("compile{suffix}"),
        title: "Compiling against running".to_owned(),
        about: format!(
            "What compiling the stages of a query takes, once, against what its median run takes. All together: {} ms of compiling; {longer} of {} queries compile longer than they run.",
            short(total),
            records.len()
        ),
        rows: Rows {
            labels: &labels,
            axis: Axis::logarithmic(records.iter().flat_map(|record| [record.compile_ms, record.spread.median]), Unit::Milliseconds),
            caption: "time",
            legend: vec![(INTERPRETED, Shape::Diamond, "compile, once"), (NATIVE, Shape::Circle, "run")],
        },
        marks,
        head: ["query", "compile ms", "run ms", "plan ms", "first run ms", "code bytes"].map(str::to_owned).to_vec(),
        lines,
    };
    plan.draw().map(Some)
}

fn share(of: &Measurements<'_>, mode: Mode, suffix: &str) -> Result<Option<Figure>, Failure> {
    let records: Vec<&Record> = of.queries.iter().filter_map(|query| of.find(query, mode)).collect();
    let labels: Vec<String> = records.iter().map(|record| record.query.clone()).collect();
    let (mut marks, mut lines) = (vec![], vec![]);
    let (mut native, mut all) = (0, 0);
    for (row, record) in records.iter().enumerate() {
        let parts: [(u64, Colour); 3] =
            [(record.processed.native, NATIVE), (record.processed.interpreted, INTERPRETED), (record.processed.datafusion, DATAFUSION)];
        let total: u64 = parts.iter().map(|(rows, _)| rows).sum();
        let percent = |rows: u64| if total == 0 { 0.0 } else { 100.0 * rows as f64 / total as f64 };
        let mut from = 0.0;
        for (rows, colour) in parts {
            let to = (from + percent(rows)).min(100.0);
            if to > from {
                marks.push(Mark::Bar { row, from, to, colour });
            }
            from = to;
        }
        native += record.processed.native;
        all += total;
        let cells = parts.map(|(rows, _)| rows.to_string());
        let share = if total == 0 { "-".to_owned() } else { format!("{} %", short(percent(record.processed.native))) };
        let stages = format!("{}/{}", record.native_stages, record.stages);
        lines.push([vec![record.query.clone(), share], cells.to_vec(), vec![stages]].concat());
    }
    if all == 0 {
        return Ok(None);
    }
    let plan = Plan {
        name: format!("native{suffix}"),
        title: "Rows by engine".to_owned(),
        about: format!(
            "Of the rows that the operators of a query read, the part that native stages read, the interpreter, and DataFusion's operators. Native are {} % of all rows.",
            short(100.0 * native as f64 / all as f64)
        ),
        rows: Rows {
            labels: &labels,
            axis: Axis { from: 0.0, to: 100.0, logarithmic: false, unit: Unit::Percent },
            caption: "rows",
            legend: vec![
                (NATIVE, Shape::Square, "native"),
                (INTERPRETED, Shape::Square, "interpreted"),
                (DATAFUSION, Shape::Square, "DataFusion"),
            ],
        },
        marks,
        head: ["query", "native", "native rows", "interpreted rows", "DataFusion rows", "native stages"].map(str::to_owned).to_vec(),
        lines,
    };
    plan.draw().map(Some)
}

/// Whether a speed-up is none, in the two digits that are shown.
pub fn is_slower(ratio: f64) -> bool {
    ratio < 0.995
}

/// With a capital letter, as a title begins.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
