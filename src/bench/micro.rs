//! The classic comparisons of whole-stage code generation, in nanoseconds per row of the largest table.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::error::ArrowError;

use super::load;
use super::measure::{self, Query};
use super::report::Report;
use super::sides::{Runtimes, Side, Sides};
use super::sink::Sink;
use crate::cli::arguments::{BenchArguments, Mode};
use crate::cli::failure::Failure;
use crate::cli::{engine, output};

const BATCH_ROWS: u64 = 8192;
const DIM_ROWS: u64 = 10_000;

const COMPARISONS: [(&str, &str); 7] = [
    ("filter-project", "SELECT a + b AS s, a * 3 - c AS t FROM facts WHERE a < 20000 AND b > 500"),
    (
        "case-8",
        "SELECT sum(CASE WHEN a < 125000 THEN a + b WHEN a < 250000 THEN a - b WHEN a < 375000 THEN a * 2 + c WHEN a < 500000 THEN b * 3 - c \
         WHEN a < 625000 THEN a + b * c WHEN a < 750000 THEN a - b * c WHEN a < 875000 THEN (a + b) * 2 ELSE c - a END) AS s FROM facts",
    ),
    ("sum-filter", "SELECT sum(c) AS s, sum(f) AS t FROM facts WHERE a < 500000 AND b < 900"),
    ("group-few", "SELECT b % 16 AS k, sum(a) AS s, count(*) AS n FROM facts GROUP BY b % 16"),
    ("group-many", "SELECT a AS k, sum(b) AS s, count(*) AS n FROM facts GROUP BY a"),
    ("join-probe", "SELECT sum(facts.a + dim.v) AS s, count(*) AS n FROM facts JOIN dim ON facts.c = dim.id"),
    (
        "pipeline",
        "SELECT dim.g AS k, sum(facts.a * 2 + dim.v) AS s FROM facts JOIN dim ON facts.c = dim.id WHERE facts.b < 700 AND dim.v > 100 GROUP BY dim.g",
    ),
];

/// Runs the comparisons, for each number of rows.
pub fn main(arguments: &BenchArguments) -> Result<bool, Failure> {
    if let Some(name) = arguments.only.iter().find(|name| !COMPARISONS.iter().any(|(known, _)| known == name)) {
        return Err(Failure::new(format!("--only {name}: there is no such comparison")));
    }
    let mut sink = Sink::open(arguments)?;
    for rows in &arguments.rows {
        let runtimes = Runtimes::start(&arguments.threads)?;
        runtimes.widest().block_on(of_rows(*rows, &runtimes, arguments, &mut sink))?;
    }
    sink.close("micro")
}

async fn of_rows(rows: u64, runtimes: &Runtimes, arguments: &BenchArguments, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let threads = runtimes.threads();
    let plain = engine::open(Some(usize::from(threads)));
    let (facts, dim) = (facts(rows, usize::from(threads))?, dim()?);
    load::register(plain.context(), "facts", facts[0][0].schema(), facts)?;
    load::register(plain.context(), "dim", dim.schema(), vec![vec![dim]])?;
    let sides = Sides::over(&plain, runtimes, arguments).await?;
    if let Some(session) = sides.any() {
        sink.settings(session).await?;
    }
    let mut subject = sink.subject("micro");
    subject.table_rows = Some(rows);
    let mut report = Report::new(subject, &sides, arguments.stages);
    let mut text = format!("{:<16}", "ns/row");
    for side in sides.all() {
        let _ = write!(text, "{:>16}", sides.name(side));
    }
    text.push('\n');
    for (name, sql) in COMPARISONS.iter().filter(|(name, _)| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name)) {
        output::complain(name);
        let query = Query { name: (*name).to_owned(), text: (*sql).to_owned() };
        let measured = measure::query(&sides, &query, arguments.runs).await;
        let _ = write!(text, "{name:<16}");
        for (_, result) in &measured.sides {
            let _ = match result {
                Ok(of) => write!(text, "{:>16.2}", of.median().as_secs_f64() * 1e9 / rows as f64),
                Err(_) => write!(text, "{:>16}", "failed"),
            };
        }
        if let (Some(compiled), Some(off)) = (median(&measured, Mode::Compiled, threads), median(&measured, Mode::Off, threads)) {
            let _ = write!(text, "  {:.2}x", off / compiled.max(1e-9));
        }
        text.push('\n');
        sink.take(report.add(measured))?;
    }
    text.push_str("The last column: how many times faster than `off` the compiled mode is.\n");
    sink.wrong(report.wrong());
    output::print(&text)
}

fn median(measured: &measure::Measured, mode: Mode, threads: u16) -> Option<f64> {
    let (_, result) = measured.sides.iter().find(|(side, _)| *side == Side { mode, threads })?;
    Some(result.as_ref().ok()?.median().as_secs_f64())
}

/// Row `n`'s random number: the same on every machine.
fn random(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `a` below a million, `b` below a thousand, `c` a key of `dim`, `f` a float.
fn facts(rows: u64, threads: usize) -> Result<Vec<Vec<RecordBatch>>, ArrowError> {
    let mut partitions = vec![vec![]; threads];
    for (index, from) in (0..rows).step_by(BATCH_ROWS as usize).enumerate() {
        let range = from..rows.min(from + BATCH_ROWS);
        let column = |salt: u64, below: u64| Int64Array::from_iter_values(range.clone().map(|n| (random(n * 4 + salt) % below) as i64));
        let floats = Float64Array::from_iter_values(range.clone().map(|n| (random(n * 4 + 3) % 1_000_000) as f64 / 64.0));
        partitions[index % threads].push(RecordBatch::try_from_iter([
            ("a", Arc::new(column(0, 1_000_000)) as _),
            ("b", Arc::new(column(1, 1_000)) as _),
            ("c", Arc::new(column(2, DIM_ROWS)) as _),
            ("f", Arc::new(floats) as _),
        ])?);
    }
    Ok(partitions)
}

fn dim() -> Result<RecordBatch, ArrowError> {
    let column = |value: fn(u64) -> u64| Arc::new(Int64Array::from_iter_values((0..DIM_ROWS).map(|n| value(n) as i64)));
    RecordBatch::try_from_iter([("id", column(|n| n) as _), ("v", column(|n| random(n) % 1000) as _), ("g", column(|n| n % 50) as _)])
}
