//! Every semantic test is a text file under `tests/cases`, run through three engines: compiled, interpreted, plain DataFusion.
//!
//! The whole results are compared (as a bag of rows, unless the case says that order counts), and each case states the engine
//! of every stage: a fallback never passes for compiled, and a stage that unexpectedly compiles fails too. Then compiled and interpreted stages run
//! once more, over cached tables (which change plans, so that engines are not compared there).

#[path = "suite/case.rs"]
mod case;
#[path = "suite/data.rs"]
mod data;
#[path = "suite/nested.rs"]
mod nested;
#[path = "suite/typed.rs"]
mod typed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use case::Case;
use libtest_mimic::{Arguments, Failed, Trial};
use stagefuse::Session;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files = vec![];
    find(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no case under {}", root.display());
    let trials = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(&root).expect("found under the root").with_extension("").display().to_string();
            Trial::test(name, move || run_file(&file))
        })
        .collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if let Some(folder) = FILES.get() {
        let _ = std::fs::remove_dir_all(folder);
    }
    conclusion.exit();
}

/// The folder of the tables as Parquet files, once something has asked for them.
static FILES: tokio::sync::OnceCell<PathBuf> = tokio::sync::OnceCell::const_new();

/// Tables that there are as Parquet files, too: each a folder of some files of some row groups.
const FILE_TABLES: [&str; 2] = ["facts", "dim"];

async fn files() -> &'static Path {
    let write = async || {
        let folder = std::env::temp_dir().join(format!("stagefuse-suite-{}", std::process::id()));
        let session = Session::builder().target_partitions(2).build();
        for (name, table) in FILE_TABLES.into_iter().zip([data::facts(), data::dim()]) {
            session.context().register_table(name, Arc::new(table)).expect("a fresh session takes a table");
            let path = folder.join(name);
            let options = "STORED AS PARQUET OPTIONS ('format.max_row_group_size' '3000')";
            let copy = session.sql(&format!("COPY {name} TO '{}/' {options}", path.display())).await.expect("tables can be files");
            copy.collect().await.expect("tables can be files");
        }
        folder
    };
    FILES.get_or_init(write).await
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder of cases can be read") {
        let path = entry.expect("the folder of cases can be read").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "test") {
            files.push(path);
        }
    }
}

fn run_file(file: &Path) -> Result<(), Failed> {
    let mut cases = case::parse(&std::fs::read_to_string(file)?)?;
    // What these are about is that stages speak their functions.
    if file.parent().is_some_and(|folder| folder.ends_with("functions")) {
        cases.iter_mut().for_each(|case| case.opaque = case.opaque.or(Some(0)));
    }
    let files = file.parent().is_some_and(|folder| folder.ends_with("parquet"));
    cases.iter_mut().for_each(|case| case.files = files);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut wrong = vec![];
    for case in &cases {
        if let Err(message) = runtime.block_on(run_case(case)) {
            wrong.push(format!("{}:{}: {message}\n{}", file.display(), case.line, case.sql));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What one engine made of a case.
struct Outcome {
    result: Result<Vec<RecordBatch>, String>,
    /// The answer to the same text once more, which finds the plan in the cache; of cached tables only.
    again: Option<Vec<RecordBatch>>,
    /// Engine of each stage, in plan order.
    engines: Vec<String>,
    fallbacks: Vec<String>,
    /// Opaque expressions of all stages.
    opaque: usize,
}

async fn run(case: &Case, mode: &str, cached: bool) -> Outcome {
    let session = Session::builder().target_partitions(2).build();
    let mut outcome = Outcome { result: Ok(vec![]), again: None, engines: vec![], fallbacks: vec![], opaque: 0 };
    let tables = [
        ("facts", data::facts()),
        ("dim", data::dim()),
        ("nothing", data::nothing()),
        ("nested", nested::nested()),
        ("typed", typed::typed()),
    ];
    let names = tables.each_ref().map(|(name, _)| *name);
    for (name, table) in tables {
        if case.files && FILE_TABLES.contains(&name) {
            let path = files().await.join(name);
            session.register_parquet(name, path.to_str().expect("made of ASCII")).await.expect("the files are there");
            continue;
        }
        session.context().register_table(name, Arc::new(table)).expect("a fresh session takes a table");
    }
    let result = async {
        if cached {
            for table in names {
                session.cache_table(table).await?;
            }
        }
        for setting in std::iter::once(&format!("SET stagefuse.mode = '{mode}'")).chain(&case.settings) {
            session.sql(setting).await?.collect().await?;
        }
        let query = session.sql(&case.sql).await?;
        let batches = query.collect().await?;
        for stage in query.metrics()? {
            outcome.engines.push(stage.engine.to_string());
            outcome.opaque += stage.opaque_expressions;
            outcome.fallbacks.extend(stage.fallback.map(|reason| reason.to_string()));
        }
        drop(query);
        if cached {
            outcome.again = Some(session.sql(&case.sql).await?.collect().await?);
        }
        Ok::<_, stagefuse::Error>(batches)
    };
    outcome.result = result.await.map_err(|error| error.to_string());
    outcome
}

async fn run_case(case: &Case) -> Result<(), String> {
    let plain = run(case, "off", false).await;
    let compiled = run(case, "compiled", false).await;
    let interpreted = run(case, "interpreted", false).await;
    let cached = [("compiled, cached", run(case, "compiled", true).await), ("interpreted, cached", run(case, "interpreted", true).await)];
    if let Some(expected) = &case.error {
        // With `fallback = false` plain DataFusion answers; the error is ours alone.
        let ours_alone = case.settings.iter().any(|setting| setting.contains("stagefuse.fallback"));
        for (name, outcome) in [("off", &plain), ("compiled", &compiled), ("interpreted", &interpreted)] {
            match &outcome.result {
                Err(message) if message.contains(expected.as_str()) => {}
                Err(message) => return Err(format!("{name}: expected an error with `{expected}`, got: {message}")),
                Ok(_) if ours_alone && name != "compiled" => {}
                Ok(_) => return Err(format!("{name}: expected an error with `{expected}`, got an answer")),
            }
        }
        return Ok(());
    }
    let plain = plain.result.map_err(|error| format!("off: {error}"))?;
    let expected = lines(&plain, case)?;
    if case.rows.is_some_and(|rows| rows != expected.len()) {
        return Err(format!("off: expected {:?} rows, got {}", case.rows, expected.len()));
    }
    let cached = cached.iter().map(|(name, outcome)| (*name, outcome));
    for (name, outcome) in [("compiled", &compiled), ("interpreted", &interpreted)].into_iter().chain(cached) {
        let batches = outcome.result.as_ref().map_err(|error| format!("{name}: {error}"))?;
        if let Some(panic) = outcome.fallbacks.iter().find(|reason| reason.contains("panicked")) {
            return Err(format!("{name}: {panic}"));
        }
        compare(name, &lines(batches, case)?, &expected)?;
        if let Some(again) = &outcome.again {
            compare(&format!("{name}, again"), &lines(again, case)?, &expected)?;
        }
        if let (Some(ours), Some(plain)) = (batches.first(), plain.first())
            && ours.schema() != plain.schema()
        {
            return Err(format!("{name}: the columns are {:?}, DataFusion's are {:?}", ours.schema(), plain.schema()));
        }
    }
    let stages = case.stages.as_deref().unwrap_or_default();
    let wanted: Vec<&str> = stages.iter().map(String::as_str).filter(|word| *word != "none").collect();
    if compiled.engines != wanted {
        return Err(format!("stages: expected {wanted:?}, got {:?}; fallbacks: {:?}", compiled.engines, compiled.fallbacks));
    }
    if case.opaque.is_some_and(|opaque| opaque != compiled.opaque) {
        return Err(format!("opaque: expected {:?}, got {}", case.opaque, compiled.opaque));
    }
    if let Some(engine) = interpreted.engines.iter().zip(&compiled.engines).find_map(|(engine, compiled)| {
        // Where the stages give up, they do in every mode.
        let right = if compiled == "datafusion" { "datafusion" } else { "interpreted" };
        (engine != right).then_some(engine)
    }) {
        return Err(format!("mode interpreted ran a stage {engine}"));
    }
    match case.fallback.iter().find(|text| !compiled.fallbacks.iter().any(|reason| reason.contains(text.as_str()))) {
        Some(text) => Err(format!("no fallback reason holds `{text}`: {:?}", compiled.fallbacks)),
        None => Ok(()),
    }
}

fn compare(name: &str, got: &[String], expected: &[String]) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{name}: {} rows, DataFusion has {}", got.len(), expected.len()));
    }
    match got.iter().zip(expected).find(|(got, expected)| got != expected) {
        Some((got, expected)) => Err(format!("{name}: differs\n  got        {got}\n  DataFusion {expected}")),
        None => Ok(()),
    }
}

/// A line of text for each row, sorted unless the order counts. Unless the case is exact, floats are rounded: the last digits of averages and sums depend
/// on the order of summation.
fn lines(batches: &[RecordBatch], case: &Case) -> Result<Vec<String>, String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = vec![];
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let types: Vec<_> = batch.schema().fields().iter().map(|field| field.data_type().is_floating()).collect();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(&types).map(|(column, float)| {
                let text = column.value(row).to_string();
                match text.parse::<f64>() {
                    Ok(number) if *float && !case.exact && number.is_finite() => format!("{number:.9e}"),
                    _ => text,
                }
            });
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    if !case.ordered {
        lines.sort();
    }
    Ok(lines)
}
