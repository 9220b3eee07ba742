//! The order of joins, as explanations tell it.

use super::session;

/// The stages of a query over tables that these statements create, a text each.
async fn stages(tables: &[&str], sql: &str) -> Vec<String> {
    let session = session("compiled", 2).await;
    for table in tables {
        session.sql(table).await.unwrap().collect().await.unwrap();
    }
    let text = session.sql(sql).await.unwrap().explain().await.unwrap();
    let (_, stages) = text.split_once("\n\ns0 ").unwrap();
    format!("s0 {stages}").split("\ns").map(str::to_string).collect()
}

/// The stage that looks up in the tables of all others.
fn driver(stages: &[String]) -> String {
    stages.iter().rfind(|stage| stage.contains("scan ")).unwrap().clone()
}

/// Of two keys no bitmap tells whether there is a match; of one of them it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_up_with_two_keys_is_kept_to_those_of_a_smaller_table() {
    let tables = [
        "CREATE TABLE part AS SELECT value AS p, value % 40 AS name FROM generate_series(1, 2000)",
        "CREATE TABLE lines AS SELECT value % 2000 + 1 AS lp, value % 4 AS ls FROM generate_series(1, 40000)",
        "CREATE TABLE supply AS SELECT value / 4 + 1 AS sp, value % 4 AS ss, value AS cost FROM generate_series(0, 7999)",
    ];
    let of_two = "SELECT sum(cost) FROM part, lines, supply WHERE p = lp AND sp = lp AND ss = ls AND name = 3";
    let lines = driver(&stages(&tables, of_two).await);
    let (kept, looked_up) = (lines.find("a match in a join further up"), lines.find("ss = ls"));
    assert!(kept.is_some() && kept < looked_up, "{lines}");
    // A single key is looked up itself.
    let of_one = "SELECT sum(cost) FROM part, lines, supply WHERE p = lp AND sp = lp AND name = 3";
    let one = driver(&stages(&tables, of_one).await);
    assert!(one.contains("probe") && !one.contains("further up"), "{one}");
}

/// Each match in a table of wide rows reads several cache lines, so that they are joined last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_rows_are_not_carried_through_joins_that_multiply_them() {
    let narrow = "SELECT value AS c, value % 5 AS n0";
    let wide = (1..40).fold(narrow.to_string(), |sql, n| format!("{sql}, value * {n} AS n{n}"));
    for (columns, last) in [(narrow, "lines"), (&wide, "customers")] {
        let tables = [
            &format!("CREATE TABLE customers AS {columns} FROM generate_series(1, 100000)"),
            "CREATE TABLE orders AS SELECT value AS o, value * 7919 % 100000 + 1 AS oc FROM generate_series(1, 40000)",
            "CREATE TABLE lines AS SELECT value * 31 % 133333 + 1 AS lo, value AS price FROM generate_series(1, 400000)",
        ];
        let sum = (0..40).map(|n| format!("n{n}")).filter(|name| columns.contains(&format!(" {name}"))).collect::<Vec<_>>().join(" + ");
        let sql = format!("SELECT max({sum} + price) FROM customers, orders, lines WHERE c = oc AND o = lo");
        let stages = stages(&tables, &sql).await;
        let at = |table: &str| stages.iter().position(|stage| stage.contains(&format!("scan {table}\n"))).unwrap();
        assert!(["customers", "orders", "lines"].iter().all(|table| at(table) <= at(last)), "{last} is not last: {stages:#?}");
    }
}
