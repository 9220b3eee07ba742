//! Profiles: samples are taken, and the times add up.

use serde_json::Value;

use super::{GROUPED, session};
use crate::{Report, Session};

/// Whether this machine has profiles.
const HERE: bool = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

fn sum(lines: &Value, field: &str) -> f64 {
    lines.as_array().into_iter().flatten().filter_map(|line| line[field].as_f64()).sum()
}

/// The report, unless another test is just profiling, or the machine has none; then the error says so.
async fn profile(session: &Session, sql: &str) -> Option<Report> {
    loop {
        match session.sql(sql).await.unwrap().profile().await {
            Ok(report) => return Some(report),
            Err(error) if error.to_string().contains("being profiled") => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            Err(error) => {
                assert!(!HERE && error.is_usage() && error.to_string().contains("Linux"), "{error}");
                return None;
            }
        }
    }
}

/// The aggregation of a cross join: all time is the stage's.
const HEAVY: &str = "SELECT sum(t.k * u.v), min(t.k - u.v), count(*) FROM t CROSS JOIN u WHERE t.k + u.v > 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_instructions_add_up() {
    let session = session("compiled", 2).await;
    let Some(report) = profile(&session, HEAVY).await else { return };
    let data = report.json();
    let all = &data["profile"];
    // What was not sampled is told, and is the smaller part.
    assert!(all["unsampled_ms"].as_f64() < all["cpu_ms"].as_f64(), "{all}");
    let number = |value: &Value, field: &str| value[field].as_f64().unwrap_or_else(|| panic!("no {field} in {value}"));
    assert!(number(all, "samples") > 50.0 && number(all, "runs") >= 1.0 && number(all, "plain_ms") > 0.0, "{all}");
    let parts = ["code_ms", "calls_ms", "around_ms", "finish_ms"];
    let inside: f64 = parts.iter().map(|part| number(all, part)).sum();
    assert!((inside + number(all, "outside_ms") - number(all, "cpu_ms")).abs() < 0.01, "{all}");
    // Most of the time is spent in the code of the stage that joins.
    assert!(number(all, "code_ms") > 0.4 * number(all, "cpu_ms"), "{all}");
    for stage in data["nodes"][0]["stages"].as_array().unwrap() {
        let (own, calls) = (sum(&stage["asm"], "self_ms"), sum(&stage["asm"], "calls_ms"));
        let told = &stage["profile"];
        // Each is rounded.
        let near = |a: f64, b: f64| (a - b).abs() < 0.05 + 0.01 * b;
        assert!(near(own, number(told, "code_ms")) && near(calls, number(told, "calls_ms")), "{own} {calls} {told}");
        assert!(near(sum(&stage["ir"], "self_ms"), own + calls), "{told}");
    }
    assert!(sum(&data["plan"], "self_ms") > 0.0 && sum(&data["sql"], "self_ms") > 0.0);
    let text = session.sql(&format!("EXPLAIN CODEGEN PROFILE {HEAVY}")).await.unwrap().collect().await;
    if let Ok(rows) = text {
        let text = arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
        for part in ["of processor time a run in samples", "What measuring costs", "Hottest instructions", "outside all stages"] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interpreted_query_has_a_profile_too() {
    let session = session("interpreted", 2).await;
    let Some(report) = profile(&session, GROUPED).await else { return };
    let all = &report.json()["profile"];
    assert_eq!((all["code_ms"].as_f64(), all["calls_ms"].as_f64()), (Some(0.0), Some(0.0)), "{all}");
    assert!(all["around_ms"].as_f64() > Some(0.0), "{all}");
}

/// A query that is not profiled has no times, and the next profile is not disturbed by one that failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_fails_ends() {
    let session = session("compiled", 2).await;
    assert!(session.sql(GROUPED).await.unwrap().report().await.unwrap().json()["profile"].is_null());
    if !HERE {
        return;
    }
    loop {
        let error = session.sql("SELECT k / (k - 77) FROM t").await.unwrap().profile().await.unwrap_err().to_string();
        if !error.contains("being profiled") {
            assert!(error.to_lowercase().contains("divide by zero"), "{error}");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(profile(&session, GROUPED).await.is_some());
}
