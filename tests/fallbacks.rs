//! What is not native says why and what to do about it: in EXPLAIN, in the metrics, in the report as JSON and in the page. For every query of TPC-DS and ClickBench.
//!
//! `STAGEFUSE_QUERIES=DIR cargo test --test fallbacks`, where DIR has the folders `tpcds` and `clickbench` with one .sql file a query (the texts are at tpc.org and in
//! ClickHouse/ClickBench). Without the variable only queries made for it are looked at, and the test says so.

#[path = "../src/bench/data/mod.rs"]
mod data;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use data::Source;
use datafusion::datasource::MemTable;
use serde_json::Value;
use stagefuse::{EngineKind, Session};

const THREADS: usize = 2;

async fn session(source: Source, scale: f64, settings: &[&str]) -> Session {
    let session = Session::builder().target_partitions(THREADS).build();
    for name in source.tables() {
        let table = source.table(name, scale, THREADS).expect("a table of the suite");
        let table = MemTable::try_new(table.schema, table.partitions).expect("equal schemas");
        session.context().register_table(name, Arc::new(table)).expect("a fresh session takes a table");
    }
    for setting in settings {
        session.sql(&format!("SET {setting}")).await.expect("a setting").collect().await.expect("a setting");
    }
    session
}

/// Lines are broken anywhere between words.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn stages_of(report: &Value) -> Vec<&Value> {
    let nodes = report["nodes"].as_array().into_iter().flatten();
    nodes.flat_map(|node| node["stages"].as_array().into_iter().flatten()).collect()
}

/// Looks at the four places, and counts stages by cause.
async fn look(session: &Session, name: &str, sql: &str, run: bool, found: &mut BTreeMap<String, usize>) {
    let query = session.sql(sql).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let report = if run { query.report().await } else { query.report_plan().await };
    let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = if run { query.explain_analyze().await } else { query.explain().await };
    let text = flat(&text.unwrap_or_else(|error| panic!("{name}: {error}")));
    let html = report.html();
    let page = html.split("<script type=\"application/json\" id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let page: Value = serde_json::from_str(page.expect("the page holds data")).expect("it is JSON");
    let stages = stages_of(&page);
    let fallbacks = |stages: &[&Value]| stages.iter().map(|stage| stage["fallback"].clone()).collect::<Vec<_>>();
    assert_eq!(fallbacks(&stages), fallbacks(&stages_of(report.json())), "{name}");
    let metrics = query.metrics().expect("metrics");
    assert_eq!(metrics.len(), if run { stages.len() } else { 0 }, "{name}");
    for (number, stage) in stages.iter().enumerate() {
        let fallback = &stage["fallback"];
        assert_eq!(fallback.is_null(), stage["engine"] == "native", "{name}: {stage}");
        if let Some(metrics) = metrics.get(number) {
            assert_eq!(metrics.fallback.is_none(), metrics.engine == EngineKind::Native, "{name}");
            let told = metrics.fallback.as_ref().map(ToString::to_string);
            assert_eq!(fallback["reason"].as_str(), told.as_deref(), "{name}");
        }
        if !fallback.is_null() {
            let part = |field: &str| flat(fallback[field].as_str().unwrap_or_default());
            let (cause, remedy) = (part("cause"), part("remedy"));
            assert!(!cause.is_empty() && !remedy.is_empty(), "{name}: {fallback}");
            assert!(text.contains(&format!("because {cause}: {remedy}")), "{name}: no `{cause}: {remedy}` in\n{text}");
            let kind: String = cause.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(40).collect();
            *found.entry(kind).or_default() += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_made_to_fall_back_say_why() {
    let cases = [
        ("stagefuse.mode = 'auto'", "SELECT n_name FROM nation WHERE n_regionkey = 1", "the input has"),
        ("stagefuse.mode = 'interpreted'", "SELECT count(*) FROM lineitem WHERE l_tax > 0.01", "stagefuse.mode"),
        ("stagefuse.max_fields = 3", "SELECT l_orderkey, l_partkey, l_tax FROM lineitem WHERE l_suppkey > 3", "the stage has"),
        ("stagefuse.max_code_bytes = 300", "SELECT l_tax, sum(l_quantity) FROM lineitem GROUP BY l_tax", "the stage takes"),
        (
            "stagefuse.mode = 'compiled'",
            "SELECT n_name FROM nation LEFT JOIN region ON n_regionkey = r_regionkey AND regexp_count(concat(n_name, r_name), '^A.*A$') > 0",
            "only DataFusion can evaluate",
        ),
        ("stagefuse.mode = 'compiled'", "SELECT sum(CAST(l_orderkey * 100000 AS int)) FROM lineitem WHERE l_tax >= 0", ""),
        (
            "datafusion.execution.target_partitions = 1; SET datafusion.execution.batch_size = 128; SET datafusion.runtime.memory_limit = '1M'",
            "SELECT count(*) FROM (SELECT (v * 7) % 100000, sum(v) FROM generate_series(1, 100000) AS t(v) GROUP BY (v * 7) % 100000)",
            "the stages ran out",
        ),
    ];
    for (setting, sql, cause) in cases {
        let session = session(Source::Tpch, 0.01, &["stagefuse.mode = 'compiled'", setting]).await;
        let mut found = BTreeMap::new();
        if cause.is_empty() {
            // DataFusion fails as well: its error stays, and is no fallback.
            assert!(session.sql(sql).await.expect("a query").report().await.is_err());
            continue;
        }
        look(&session, sql, sql, true, &mut found).await;
        assert!(found.keys().any(|kind| kind.starts_with(cause)), "{setting}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fallback_of_tpcds_and_clickbench_says_why() {
    let Some(root) = std::env::var_os("STAGEFUSE_QUERIES") else {
        println!("skipped: STAGEFUSE_QUERIES names no folder with the queries of tpcds and clickbench");
        return;
    };
    for (source, scale) in [(Source::Tpcds, 0.01), (Source::ClickBench, 0.01)] {
        let folder = Path::new(&root).join(source.name());
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).collect();
        files.retain(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|ext| ext == "sql")));
        assert!(!files.is_empty(), "{} has no .sql file", folder.display());
        let narrow = ["stagefuse.mode = 'compiled'", "stagefuse.max_fields = 8", "stagefuse.max_code_bytes = 1500"];
        // As it comes, by small tables; then by tight limits.
        for (run, settings) in [(true, &["stagefuse.mode = 'auto'"][..]), (false, &narrow)] {
            let session = session(source, scale, settings).await;
            let mut found = BTreeMap::new();
            for file in files.iter().flatten() {
                let text = std::fs::read_to_string(file.path()).expect("the query can be read");
                let name = file.file_name().display().to_string();
                for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
                    look(&session, &name, statement, run, &mut found).await;
                }
            }
            println!("{}, {settings:?}: {found:?}", source.name());
            assert!(!found.is_empty(), "{}: nothing fell back, so that nothing was looked at", source.name());
        }
    }
}
