//! `stagefuse bench`: the same queries in every mode, side by side, and whether the answers agree.

mod compare;
mod cpu;
mod data;
mod digest;
mod load;
mod machine;
mod measure;
mod micro;
mod page;
mod pictures;
mod record;
mod report;
mod sides;
mod sink;
mod tpch;

use std::path::{Path, PathBuf};

use crate::cli::arguments::{BenchArguments, BenchCommand, Mode, Storage, Suite, Tables};
use crate::cli::failure::Failure;
use crate::cli::{engine, output, statements, tables};
use data::Source;
use measure::Query;
use record::Subject;
use report::Report;
use sides::{Runtimes, Sides};
use sink::Sink;

/// Runs a suite, or compares two measurements. `Ok(false)`: some query was wrong, failed or became slower, and was shown.
pub fn main(arguments: &BenchArguments) -> Result<bool, Failure> {
    if let Some(BenchCommand::Compare(files)) = &arguments.command {
        return compare::main(files);
    }
    if arguments.modes.is_empty() {
        return Err(Failure::new("--modes names no mode"));
    }
    if arguments.report.is_some() && arguments.threads.len() > 1 {
        return Err(Failure::new("the charts of --report are of one number of threads: name one, or leave out --report"));
    }
    if arguments.suite == Some(Suite::Micro) {
        return micro::main(arguments);
    }
    // Tables are made where no folder has them; a suite of one's own brings them.
    let source = match arguments.suite {
        Some(Suite::Tpcds) => Some(Source::Tpcds),
        Some(Suite::Clickbench) => Some(Source::ClickBench),
        Some(_) => Some(Source::Tpch),
        None => None,
    };
    let (suite, queries) = match (&arguments.queries, source) {
        (Some(folder), None) => (suite_name(folder)?, queries_of(folder)?),
        (Some(folder), Some(source)) => (source.name().to_owned(), queries_of(folder)?),
        (None, Some(source @ (Source::Tpcds | Source::ClickBench))) => {
            let suite = source.name();
            return Err(Failure::new(format!("the queries of {suite} are not part of Stagefuse: name their folder with --queries DIR")));
        }
        (None, _) => ("tpch".to_owned(), tpch::queries()),
    };
    let queries = select(queries, &arguments.only)?;
    // The scale of files that were there before is not known.
    let made = source.is_some() && arguments.data.is_none();
    if !made && arguments.scale.len() > 1 {
        return Err(Failure::new("several scales need data that is made: name one, or leave out --data"));
    }
    let mut sink = Sink::open(arguments)?;
    for scale in &arguments.scale {
        let mut subject = sink.subject(&suite);
        subject.scale = made.then_some(*scale);
        if arguments.scale.len() > 1 {
            output::complain(&format!("scale {scale}"));
        }
        let runtimes = Runtimes::start(&arguments.threads)?;
        let measure = of_scale(*scale, subject, source, &queries, &runtimes, arguments, &mut sink);
        let text = runtimes.widest().block_on(measure)?;
        if arguments.scale.len() > 1 {
            output::line(&format!("scale {scale}"))?;
        }
        output::print(&text)?;
    }
    sink.close(&suite)
}

/// Brings the tables, measures the queries, and says what came of it.
async fn of_scale(
    scale: f64,
    subject: Subject,
    source: Option<Source>,
    queries: &[Query],
    runtimes: &Runtimes,
    arguments: &BenchArguments,
    sink: &mut Sink<'_>,
) -> Result<String, Failure> {
    let threads = usize::from(runtimes.threads());
    let plain = engine::open(Some(threads));
    let context = plain.context();
    let files = || tables::named(arguments.data.as_deref(), &arguments.table);
    let brought = arguments.data.is_some() || !arguments.table.is_empty();
    // Kept until the end: dropping it deletes files made for this run.
    let _made = match (arguments.storage, source) {
        (Storage::Parquet, Some(source)) => load::made_parquet(context, source, arguments.data.as_deref(), scale, threads).await?,
        (Storage::Memory, Some(source)) if !brought => load::made_memory(context, source, scale, threads).map(|()| None)?,
        (_, None) if !brought => {
            return Err(Failure::new(
                "--queries without a suite needs the tables: name their folder with --data DIR, or a file with --table NAME=FILE",
            ));
        }
        // What is cached is read from the files at once: as Arrow arrays it may not fit into memory.
        (Storage::Memory, _) if arguments.tables == Tables::Arrow || arguments.modes.contains(&Mode::Off) => {
            load::into_memory(context, files()?, threads).await.map(|()| None)?
        }
        _ => tables::register(context, arguments.data.as_deref(), &arguments.table).await.map(|()| None)?,
    };
    let sides = Sides::over(&plain, runtimes, arguments).await?;
    if let Some(session) = sides.any() {
        sink.settings(session).await?;
    }
    let mut report = Report::new(subject, &sides, arguments.stages);
    for (index, query) in queries.iter().enumerate() {
        output::complain(&format!("[{}/{}] {}", index + 1, queries.len(), query.name));
        let measured = measure::query(&sides, query, arguments.runs).await;
        sink.take(report.add(measured))?;
    }
    sink.wrong(report.wrong());
    Ok(report.text())
}

fn suite_name(queries: &Path) -> Result<String, Failure> {
    let path = queries.canonicalize().map_err(|error| Failure::at(queries, error))?;
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    Ok(name.map_or_else(|| "queries".to_owned(), |name| name.to_string_lossy().into_owned()))
}

/// The query of a file, or the `.sql` files of a folder, in the order of their numbers.
fn queries_of(folder: &Path) -> Result<Vec<Query>, Failure> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::at(path, error))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok::<_, Failure>(Query { name, text })
    };
    if folder.is_file() {
        return Ok(vec![read(folder)?]);
    }
    let mut queries = vec![];
    for entry in std::fs::read_dir(folder).map_err(|error| Failure::at(folder, error))? {
        let path: PathBuf = entry.map_err(|error| Failure::at(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            queries.push(read(&path)?);
        }
    }
    if queries.is_empty() {
        return Err(Failure::at(folder, "no .sql file here"));
    }
    // `q2` before `q10`.
    queries.sort_by_key(|query| {
        let digits: String = query.name.chars().filter(char::is_ascii_digit).collect();
        (digits.parse::<u64>().unwrap_or(u64::MAX), query.name.clone())
    });
    Ok(queries)
}

fn select(queries: Vec<Query>, only: &[String]) -> Result<Vec<Query>, Failure> {
    if let Some(name) = only.iter().find(|name| !queries.iter().any(|query| query.name == **name)) {
        return Err(Failure::new(format!("--only {name}: there is no such query")));
    }
    Ok(queries.into_iter().filter(|query| only.is_empty() || only.contains(&query.name)).collect())
}

impl Query {
    /// The statements of the text.
    fn statements(&self) -> Result<Vec<String>, Failure> {
        statements::split(&self.text)
    }
}
