//! One line adds Stagefuse to a DataFusion program.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use stagefuse::{CompiledExec, EngineKind, StagefuseBuilder};

const SQL: &str = "SELECT value % 3 AS k, count(*) AS n FROM generate_series(1, 50000) WHERE value > 100 GROUP BY value % 3 ORDER BY k";

#[tokio::main]
async fn main() -> Result<()> {
    // To a context that exists: tables, functions and settings stay.
    let context = stagefuse::with_stagefuse(SessionContext::new());
    context.sql(SQL).await?.show().await?;

    // Or to a builder:
    let state = SessionStateBuilder::new_with_default_features().with_stagefuse().build();
    let context = SessionContext::new_with_state(state);

    // What became of a query is in its plan, which is an ordinary DataFusion plan.
    let plan = context.sql(SQL).await?.create_physical_plan().await?;
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await?;
    let node = compiled(&plan).expect("the plan has a compiled part");
    for stage in node.stages() {
        println!("{}: {}, {} rows in, {} rows out", stage.name, stage.engine, stage.rows_in, stage.rows_out);
    }
    assert!(node.stages().iter().all(|stage| stage.engine == EngineKind::Native), "{:?}", node.stages());
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);

    // `EXPLAIN ANALYZE` shows the same.
    context.sql(&format!("EXPLAIN ANALYZE {SQL}")).await?.show().await?;

    // The same query without stages has the same answer.
    context.sql("SET stagefuse.mode = 'off'").await?.collect().await?;
    let plain = context.sql(SQL).await?.collect().await?;
    let text = |batches: &[_]| arrow::util::pretty::pretty_format_batches(batches).map(|table| table.to_string());
    assert_eq!(text(&batches)?, text(&plain)?);
    Ok(())
}

/// The outermost compiled part of a plan.
fn compiled(plan: &Arc<dyn ExecutionPlan>) -> Option<&CompiledExec> {
    plan.downcast_ref::<CompiledExec>().or_else(|| plan.children().into_iter().find_map(compiled))
}
