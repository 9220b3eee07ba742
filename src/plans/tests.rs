use super::*;
use crate::Session;
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::logical_expr::{ColumnarValue, create_udf};

const QUERY: &str = "SELECT sum(x) AS s FROM t WHERE x > 1;";

async fn table(session: &Session, values: Vec<i64>) {
    let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(values)) as _)]).unwrap();
    let _ = session.context().deregister_table("t").unwrap();
    session.register_batches("t", vec![batch]).unwrap();
    session.cache_table("t").await.unwrap();
}

async fn session() -> Session {
    let session = Session::builder().target_partitions(2).build();
    table(&session, vec![1, 2, 3]).await;
    session
}

async fn run(session: &Session, text: &str) -> i64 {
    let batches = session.sql(text).await.unwrap().collect().await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Whether the plan of a text would be used again.
async fn is_known(session: &Session, text: &str) -> bool {
    match session.plans.get(session.context(), text).await {
        Some(planned) => planned.idle().plan.is_some(),
        None => false,
    }
}

#[tokio::test]
async fn the_same_text_finds_its_plan() {
    let session = session().await;
    assert!(!is_known(&session, QUERY).await);
    for _ in 0..3 {
        assert_eq!(run(&session, QUERY).await, 5);
        assert!(is_known(&session, QUERY).await);
    }
    // A plan that runs is nobody else's.
    let (one, other) = (session.sql(QUERY).await.unwrap(), session.sql(QUERY).await.unwrap());
    let (one, other) = tokio::join!(one.collect(), other.collect());
    assert_eq!(one.unwrap(), other.unwrap());
    // One query, run twice.
    let query = session.sql(QUERY).await.unwrap();
    let first = query.collect().await.unwrap();
    assert_eq!(first, query.collect().await.unwrap());
    assert_eq!(query.metrics().unwrap().iter().map(|stage| stage.rows_in).max(), Some(3));
}

#[tokio::test]
async fn what_a_plan_depends_on_makes_it_new() {
    let session = session().await;
    assert_eq!(run(&session, QUERY).await, 5);
    session.sql("SET stagefuse.mode = 'interpreted'").await.unwrap().collect().await.unwrap();
    assert!(!is_known(&session, QUERY).await);
    assert_eq!(run(&session, QUERY).await, 5);
    // The same setting is no change.
    session.sql("SET stagefuse.mode = 'interpreted'").await.unwrap().collect().await.unwrap();
    assert!(is_known(&session, QUERY).await);
    table(&session, vec![7, 8]).await;
    assert_eq!(run(&session, QUERY).await, 15);
    // A table that goes takes its plans along, and with them its rows.
    session.sql("DROP TABLE t").await.unwrap().collect().await.unwrap();
    assert_eq!(session.plans.0.lock().unwrap().statements.len(), 0);
    assert!(session.sql(QUERY).await.is_err());
    table(&session, vec![2]).await;
    assert_eq!(run(&session, QUERY).await, 2);
    session.uncache_table("t").unwrap();
    assert_eq!(session.plans.0.lock().unwrap().statements.len(), 0);
    assert_eq!(run(&session, QUERY).await, 2);
    assert!(!is_known(&session, QUERY).await, "the rows of a table that is not cached may change");
}

#[tokio::test]
async fn a_view_that_is_made_again_means_the_same() {
    let session = session().await;
    let text = "SELECT sum(y) AS s FROM w";
    let view = |least: i64| format!("CREATE VIEW w AS SELECT x + 1 AS y FROM t WHERE x > {least}");
    for (least, known, sum) in [(1, false, 7), (1, true, 7), (2, false, 4), (2, true, 4), (1, false, 7)] {
        session.sql(&view(least)).await.unwrap().collect().await.unwrap();
        assert_eq!(is_known(&session, text).await, known, "{least}");
        assert_eq!(run(&session, text).await, sum);
        session.sql("DROP VIEW w").await.unwrap().collect().await.unwrap();
    }
    assert!(session.sql(text).await.is_err());
    // The same query over another table of that name.
    table(&session, vec![5]).await;
    session.sql(&view(1)).await.unwrap().collect().await.unwrap();
    assert_eq!(run(&session, text).await, 6);
    // Rows that nobody else has are not kept for a view that may never come again.
    session.sql("DROP VIEW w").await.unwrap().collect().await.unwrap();
    assert_eq!(session.plans.0.lock().unwrap().statements.len(), 1);
    session.sql("DROP TABLE t").await.unwrap().collect().await.unwrap();
    assert_eq!(session.plans.0.lock().unwrap().statements.len(), 0);
}

#[tokio::test]
async fn functions_count() {
    let session = session().await;
    let constant = |value: i64, volatility| {
        let make = Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.into())));
        create_udf("f", vec![], arrow::datatypes::DataType::Int64, volatility, make)
    };
    let text = "SELECT max(x) + f() AS s FROM t";
    for value in [10, 20] {
        session.context().register_udf(constant(value, Volatility::Immutable));
        assert_eq!(run(&session, text).await, 3 + value);
        assert_eq!(run(&session, text).await, 3 + value);
        assert!(is_known(&session, text).await);
    }
    session.context().register_udf(constant(1, Volatility::Stable));
    assert_eq!(run(&session, text).await, 4);
    assert!(!is_known(&session, text).await);
    let timed =
        "SELECT count(*) AS s FROM t WHERE now() > TIMESTAMP '2020-01-01 00:00:00' AND x IN (SELECT x FROM t WHERE x > random() - 1)";
    assert_eq!(run(&session, timed).await, 3);
    assert!(!is_known(&session, timed).await);
}

#[tokio::test]
async fn the_least_used_goes_first() {
    let session = session().await;
    session.sql("SET stagefuse.plan_cache = 2").await.unwrap().collect().await.unwrap();
    let text = |number: i64| format!("SELECT sum(x) + {number} AS s FROM t");
    for number in [0, 1, 0, 2] {
        assert_eq!(run(&session, &text(number)).await, 6 + number);
    }
    for (number, known) in [(0, true), (1, false), (2, true)] {
        assert_eq!(is_known(&session, &text(number)).await, known, "{number}");
    }
    session.sql("SET stagefuse.plan_cache = 0").await.unwrap().collect().await.unwrap();
    assert_eq!(run(&session, QUERY).await, 5);
    assert!(!is_known(&session, QUERY).await);
}

/// A session that compiles, with a folder of Parquet files as table `f`.
async fn files(name: &str) -> (Session, std::path::PathBuf) {
    let folder = std::env::temp_dir().join(format!("stagefuse-plans-{name}-{}", std::process::id()));
    let session = Session::builder().mode(crate::Mode::Compiled).target_partitions(2).build();
    write(&session, &folder, "a", 3).await;
    let table = format!("CREATE EXTERNAL TABLE f STORED AS PARQUET LOCATION '{}/'", folder.display());
    session.sql(&table).await.unwrap().collect().await.unwrap();
    (session, folder)
}

async fn write(session: &Session, folder: &std::path::Path, file: &str, rows: i64) {
    let copy =
        format!("COPY (SELECT value AS x FROM generate_series(1, {rows})) TO '{}'", folder.join(file).with_extension("parquet").display());
    session.sql(&copy).await.unwrap().collect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_over_files_last_as_long_as_the_files() {
    let (session, folder) = files("last").await;
    let text = "SELECT sum(x) AS s FROM f WHERE x > 1";
    for _ in 0..3 {
        assert_eq!(run(&session, text).await, 5);
        assert!(is_known(&session, text).await);
    }
    // A view finds them, too.
    session.sql("CREATE VIEW w AS SELECT x + 1 AS x FROM f").await.unwrap().collect().await.unwrap();
    let viewed = "SELECT sum(x) AS s FROM w";
    assert_eq!(run(&session, viewed).await, 9);
    assert!(is_known(&session, viewed).await);
    session.sql("INSERT INTO f VALUES (10)").await.unwrap().collect().await.unwrap();
    for _ in 0..2 {
        assert_eq!((run(&session, text).await, run(&session, viewed).await), (15, 20));
    }
    // Another file under the same name.
    let path = folder.join("a.parquet");
    session.register_parquet("one", &path.display().to_string()).await.unwrap();
    let one = "SELECT sum(x) AS s FROM one";
    assert_eq!(run(&session, one).await, 6);
    assert!(is_known(&session, one).await);
    write(&session, &folder, "a", 4).await;
    assert!(!is_known(&session, one).await);
    assert_eq!(run(&session, one).await, 10);
    std::fs::remove_file(&path).unwrap();
    assert!(!is_known(&session, one).await);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_files_are_those_of_a_run() {
    let (session, folder) = files("metrics").await;
    let text = "SELECT sum(x) AS s FROM f WHERE x > 1";
    for _ in 0..FILE_RUNS + 2 {
        let query = session.sql(text).await.unwrap();
        query.collect().await.unwrap();
        assert_eq!((query.progress().rows_read, query.progress().share()), (3, Some(1.0)));
        assert_eq!(query.rows_processed().datafusion, 0);
    }
    assert!(is_known(&session, text).await);
    let analyzed = session.sql(text).await.unwrap().explain_analyze().await.unwrap();
    assert!(analyzed.contains("3 rows") && !analyzed.contains("6 rows"), "{analyzed}");
    // DataFusion's own operators count what their scans have yielded: such a plan is made afresh.
    session.sql("SET stagefuse.mode = 'off'").await.unwrap().collect().await.unwrap();
    assert_eq!(run(&session, text).await, 5);
    assert!(!is_known(&session, text).await);
    std::fs::remove_dir_all(folder).unwrap();
}
