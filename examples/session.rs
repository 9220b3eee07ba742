//! SQL through a session: which engine ran each stage, and what a stage looks like.

use stagefuse::{Dump, Session};

#[tokio::main]
async fn main() -> Result<(), stagefuse::Error> {
    let session = Session::builder().target_partitions(2).build();
    let table = "CREATE TABLE orders AS SELECT value AS id, value % 7 AS customer, value * 3 AS cents FROM generate_series(1, 100000)";
    session.sql(table).await?.collect().await?;

    let query = session.sql("SELECT customer, count(*), sum(cents) FROM orders WHERE id % 2 = 0 GROUP BY customer").await?;
    let batches = query.collect().await?;
    println!("{}", arrow::util::pretty::pretty_format_batches(&batches).map_err(datafusion::common::DataFusionError::from)?);
    for stage in query.metrics()? {
        let reason = stage.fallback.map(|reason| format!(" because {reason}")).unwrap_or_default();
        println!("{}: {}{reason}, {} rows in, {} ns", stage.name, stage.engine, stage.rows_in, stage.nanos);
    }
    println!("{}", query.dump(Dump::Ir).await?);
    Ok(())
}
