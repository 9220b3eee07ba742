//! Queries begin while their stages are compiled.

use super::session;
use crate::{EngineKind, FallbackReason};

const SQL: &str = "SELECT value % 7 AS k, count(*) AS n, sum(value) AS s FROM generate_series(1, 300000) GROUP BY value % 7 ORDER BY k";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_interpreter_begins_and_code_is_found_the_next_time() {
    let session = session("auto", 2).await;
    let mut answers = vec![];
    for run in 0..2 {
        let query = session.sql(SQL).await.unwrap();
        answers.push(arrow::util::pretty::pretty_format_batches(&query.collect().await.unwrap()).unwrap().to_string());
        let scan = &query.metrics().unwrap()[0];
        assert_eq!(scan.rows_in, 300_000);
        // How far the interpreter comes is a matter of luck, but not how it is told.
        match &scan.fallback {
            None => assert!(scan.engine == EngineKind::Native && scan.rows_ahead < scan.rows_in, "{scan:?}"),
            Some(FallbackReason::EndedAhead { rows }) => {
                assert!(run == 0 && scan.engine == EngineKind::Interpreted && *rows == scan.rows_in, "{scan:?}");
            }
            other => panic!("{other:?}"),
        }
        let rows = query.rows_processed();
        assert!(rows.interpreted >= scan.rows_ahead && rows.native + rows.interpreted >= scan.rows_in, "{rows:?}");
        if run == 1 {
            assert_eq!(scan.rows_ahead, 0, "there is code");
        }
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_begun_ahead_where_that_is_not_wanted() {
    for (setting, value) in [("mode", "'compiled'"), ("compile_ahead", "false"), ("fallback", "false")] {
        let session = session("auto", 2).await;
        for (name, value) in [("code_cache", "false"), (setting, value)] {
            session.sql(&format!("SET stagefuse.{name} = {value}")).await.unwrap().collect().await.unwrap();
        }
        let query = session.sql(SQL).await.unwrap();
        query.collect().await.unwrap();
        let stages = query.metrics().unwrap();
        let wrong = stages.iter().find(|stage| stage.rows_ahead > 0 || stage.engine != EngineKind::Native && stage.rows_in > 4096);
        assert!(wrong.is_none(), "{setting}: {wrong:?}");
    }
}
