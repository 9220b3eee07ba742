//! DataFusion's own sqllogictest files: whatever plain DataFusion answers, Stagefuse answers, and alike.
//!
//! `STAGEFUSE_SLT=DIR cargo test --test slt [-- FILE..]`, where DIR is `test_files` of the crate `datafusion-sqllogictest` of DataFusion's
//! version. Every record runs in two sessions of the same file, one without the rule and one with it in mode `compiled`; what the file expects
//! does not matter, since it was written for a DataFusion with more features. Without the variable there is nothing to do. `STAGEFUSE_SLT_MODE` is another mode; times are
//! those of statements that both sessions answer (in a release build they say something).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{SessionConfig, SessionContext};
use sqllogictest::{DefaultColumnType, Record};

/// Queries whose ORDER BY leaves rows in any order.
const TIES: &[&str] = &[
    "select * from information_schema.routines",
    "select * from information_schema.parameters where specific_name = 'date_trunc'",
    "SELECT t1.id, sub.data",
    "LAST_VALUE(e.amount ORDER BY e.sn) AS last_rate",
    "\"data\".\"timestamp\" as \"time\",",
    "select a, b, count(*) from t group by grouping sets ((a, b), (a), (b)) order by a, b;",
    "select column1, count(*) as cnt from foo group by column1 order by count(*) desc",
];

/// What a statement came to: its rows as text, or its error.
type Outcome = Result<Vec<String>, String>;

/// Files that take less say nothing about speed.
const WORTH_COMPARING: Duration = Duration::from_millis(50);

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record whose outcomes differ for a good reason.
struct Exclusion {
    file: &'static str,
    /// A part of its SQL.
    sql: &'static str,
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
}

/// A record here whose outcomes are the same after all fails the run.
const EXCLUDED: &[Exclusion] = &[
    Exclusion {
        file: "select.slt",
        sql: "SELECT y > 0 and 1 / y < 1,",
        why: "DataFusion divides by zero in rows that the AND has decided already (its issue 8927); Stagefuse decides row by row",
    },
    Exclusion { file: "select.slt", sql: "SELECT y = 0 or 1 / y < 1,", why: "the same with OR" },
    Exclusion {
        file: "limit.slt",
        sql: "select * from testSubQueryLimit as t1 join (select * from testSubQueryLimit limit 10) limit 2",
        why: "any two rows are right: nothing orders them",
    },
];

fn main() -> ExitCode {
    let Some(folder) = std::env::var_os("STAGEFUSE_SLT").map(PathBuf::from) else {
        println!("skipped: STAGEFUSE_SLT names no folder of .slt files");
        return ExitCode::SUCCESS;
    };
    // Absolute: the working directory changes below.
    let folder = match folder.canonicalize() {
        Ok(folder) => folder,
        Err(error) => {
            println!("STAGEFUSE_SLT: {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut files = vec![];
    find(&folder, &mut files);
    files.sort();
    files.retain(|file| wanted.is_empty() || wanted.iter().any(|part| file.to_string_lossy().contains(part.as_str())));
    // Files name others relative to where DataFusion's own runner starts.
    if let Some(parent) = folder.parent() {
        let _ = std::env::set_current_dir(parent);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(16 << 20).enable_all().build().expect("a runtime");
    let mut total = Tally::default();
    let mut slower = vec![];
    for file in &files {
        let tally = runtime.block_on(run(file));
        let name = file.strip_prefix(&folder).unwrap_or(file).display();
        println!(
            "{name}: {} same, {} different, {} not answered by DataFusion here; DataFusion {:.2} s, Stagefuse {:.2} s",
            tally.same,
            tally.different,
            tally.unanswered,
            tally.times[0].as_secs_f64(),
            tally.times[1].as_secs_f64()
        );
        total.same += tally.same;
        total.different += tally.different;
        total.unanswered += tally.unanswered;
        total.excluded += tally.excluded;
        for (sum, time) in total.times.iter_mut().zip(tally.times) {
            *sum += time;
        }
        if tally.times[1].as_secs_f64() > 1.3 * tally.times[0].as_secs_f64() && tally.times[0] >= WORTH_COMPARING {
            slower.push(format!("{name} {:.2}x", tally.times[1].as_secs_f64() / tally.times[0].as_secs_f64()));
        }
    }
    println!(
        "total: {} same, {} different, {} excluded, {} not answered by DataFusion here; DataFusion {:.1} s, Stagefuse {:.1} s",
        total.same,
        total.different,
        total.excluded,
        total.unanswered,
        total.times[0].as_secs_f64(),
        total.times[1].as_secs_f64()
    );
    println!("more than 1.3 times slower, of files of {WORTH_COMPARING:?} and more: {}", slower.join(", "));
    if total.same == 0 {
        println!("nothing was compared: STAGEFUSE_SLT has to name a folder of .slt files, and the arguments parts of their names");
        return ExitCode::FAILURE;
    }
    if total.different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Tally {
    same: usize,
    different: usize,
    unanswered: usize,
    excluded: usize,
    /// What the answers of each session took, of statements that both answered.
    times: [Duration; 2],
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
}

/// Sessions as DataFusion's own runner makes them.
fn sessions() -> [SessionContext; 2] {
    let config = || SessionConfig::new().with_target_partitions(4);
    let plain = SessionContext::new_with_config(config());
    let ours = stagefuse::with_stagefuse(SessionContext::new_with_config(config()));
    [plain, ours]
}

async fn run(file: &Path) -> Tally {
    let mut tally = Tally::default();
    let records = match sqllogictest::parse_file::<DefaultColumnType>(file) {
        Ok(records) => records,
        Err(error) => {
            println!("  cannot be read: {error}");
            tally.different += 1;
            return tally;
        }
    };
    let [plain, ours] = sessions();
    let mode = std::env::var("STAGEFUSE_SLT_MODE").unwrap_or_else(|_| "compiled".to_owned());
    ours.sql(&format!("SET stagefuse.mode = '{mode}'")).await.expect("STAGEFUSE_SLT_MODE is a mode");
    for record in records {
        let (sql, place) = match record {
            Record::Statement { sql, loc, .. } | Record::Query { sql, loc, .. } => (sql, loc),
            Record::Halt { .. } => break,
            _ => continue,
        };
        let start = sql.trim_start().to_ascii_uppercase();
        // Plans and settings are meant to differ, and files that one session writes are in the way of the other.
        if ["EXPLAIN", "SHOW", "COPY"].iter().any(|word| start.starts_with(word)) || sql.contains("df_settings") {
            continue;
        }
        let begin = Instant::now();
        let expected = outcome(&plain, &sql).await;
        let middle = Instant::now();
        let got = outcome(&ours, &sql).await;
        if expected.is_ok() && got.is_ok() {
            tally.times[0] += middle - begin;
            tally.times[1] += middle.elapsed();
        }
        let same = match (&expected, &got) {
            (Err(expected), Err(got)) => fault(expected) || !fault(got),
            (Ok(expected), Ok(got)) => same(expected, got, is_ordered(&start) && !TIES.iter().any(|tie| sql.contains(tie))),
            _ => false,
        };
        let excluded = EXCLUDED.iter().any(|record| file.ends_with(record.file) && sql.contains(record.sql));
        match (same, excluded) {
            (true, false) if expected.is_err() => tally.unanswered += 1,
            (true, false) => tally.same += 1,
            (false, true) => tally.excluded += 1,
            (true, true) => {
                tally.different += 1;
                println!("  {place}: is excluded, but makes no difference: {}", sql.replace('\n', " "));
            }
            (false, false) => {
                tally.different += 1;
                println!("  {place}: {}", sql.replace('\n', " "));
                println!("    DataFusion: {}", shown(&expected));
                println!("    Stagefuse:  {}", shown(&got));
            }
        }
    }
    tally
}

/// Rows in the order of the answer where it has one, or in any.
fn same(expected: &[String], got: &[String], ordered: bool) -> bool {
    if expected == got {
        return true;
    }
    let sorted = |rows: &[String]| {
        let mut rows = rows.to_vec();
        rows.sort();
        rows
    };
    !ordered && sorted(expected) == sorted(got)
}

/// Whether an ORDER BY is the query's own and not that of a window or a subquery, by the looks of it.
fn is_ordered(sql: &str) -> bool {
    sql.rfind("ORDER BY").is_some_and(|at| !sql[at..].contains(')'))
}

/// Whether an error is nobody's but the engine's.
fn fault(error: &str) -> bool {
    error.starts_with("PANIC") || error == "TIMEOUT" || error.contains("Internal error")
}

fn shown(outcome: &Outcome) -> String {
    let text = match outcome {
        Ok(rows) => format!("{} rows: {}", rows.len(), rows.iter().take(6).cloned().collect::<Vec<_>>().join(" / ")),
        Err(error) => format!("error: {error}"),
    };
    text.chars().take(400).collect::<String>().replace('\n', " ")
}

async fn outcome(context: &SessionContext, sql: &str) -> Outcome {
    let (context, sql) = (context.clone(), sql.to_owned());
    // A task of its own: a panic is an outcome, too.
    let task = tokio::spawn(async move {
        let batches = context.sql(&sql).await.map_err(|error| error.to_string())?.collect().await.map_err(|error| error.to_string())?;
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = vec![];
        for batch in &batches {
            let columns = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?;
            for row in 0..batch.num_rows() {
                rows.push(
                    columns
                        .iter()
                        .map(|column| column.value(row).try_to_string().unwrap_or_else(|error| error.to_string()))
                        .collect::<Vec<_>>()
                        .join(" "),
                );
            }
        }
        Ok(rows)
    });
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(format!("PANIC: {panic}")),
        Err(_) => Err("TIMEOUT".to_owned()),
    }
}
