//! SQL through a session of its own: files as tables, and which engine ran each stage.

use stagefuse::{EngineKind, Mode, Session};

#[tokio::main]
async fn main() -> Result<(), stagefuse::Error> {
    let session = Session::builder().target_partitions(2).mode(Mode::Compiled).build();

    // A Parquet file to work with; yours is registered in the same way.
    let folder = std::env::temp_dir().join(format!("stagefuse-session-{}", std::process::id()));
    let file = folder.join("orders.parquet").display().to_string();
    let rows = "SELECT value AS id, value % 7 AS customer, value * 3 AS cents FROM generate_series(1, 100000)";
    session.sql(&format!("COPY ({rows}) TO '{file}' STORED AS PARQUET")).await?.collect().await?;
    session.register_parquet("orders", &file).await?;

    let query = session.sql("SELECT customer, count(*) AS n, sum(cents) AS cents FROM orders WHERE id % 2 = 0 GROUP BY customer").await?;
    let batches = query.collect().await?;
    println!("{}", arrow::util::pretty::pretty_format_batches(&batches).map_err(datafusion::common::DataFusionError::from)?);
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 7);

    for stage in query.metrics()? {
        let reason = stage.fallback.map(|reason| format!(" because {reason}")).unwrap_or_default();
        println!("{}: {}{reason}, {} rows in, {} ns", stage.name, stage.engine, stage.rows_in, stage.nanos);
        assert_eq!(stage.engine, EngineKind::Native);
    }
    println!("{:.0} % of the rows were read by native stages", 100.0 * query.rows_processed().native_share());

    // Held in memory in the fewest bytes from here on.
    let cached = session.cache_table("orders").await?;
    println!("cached in {} kB", cached.bytes() / 1024);
    assert_eq!(
        session.sql("SELECT 1 FROM orders WHERE customer = 3").await?.collect().await?.iter().map(|b| b.num_rows()).sum::<usize>(),
        14286
    );

    // A wrong statement is an error that says so.
    let error = session.sql("SELECT no_such_column FROM orders").await.err().expect("there is no such column");
    assert!(error.is_usage());
    println!("error: {error}");

    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
