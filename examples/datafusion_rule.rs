//! One line adds Stagefuse to a DataFusion program.

use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use stagefuse::StagefuseBuilder;

#[tokio::main]
async fn main() -> Result<()> {
    // To a context that exists:
    let ctx = stagefuse::with_stagefuse(SessionContext::new());
    let sql = "SELECT value % 3 AS k, count(*) AS n FROM generate_series(1, 50000) WHERE value > 100 GROUP BY value % 3";
    ctx.sql(sql).await?.show().await?;
    ctx.sql(&format!("EXPLAIN ANALYZE {sql}")).await?.show().await?;

    // Or to a builder:
    let state = SessionStateBuilder::new_with_default_features().with_stagefuse().build();
    SessionContext::new_with_state(state).sql(sql).await?.show().await
}
