//! Sessions, settings and the node's behaviour as a DataFusion operator.

mod ahead;
mod fallbacks;
mod order;
mod profiles;

use std::sync::Arc;

use crate::{CompiledExec, Dump, EngineKind, FallbackReason, Session};
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

const ROWS: i64 = 50_000;
const GROUPED: &str = "SELECT k % 7 AS g, s, count(*) AS n, sum(d) AS total FROM t WHERE k % 3 <> 0 GROUP BY k % 7, s";
const FILTERED: &str = "SELECT k, s FROM t WHERE k % 3 = 0";
const JOINED: &str = "SELECT t.k, u.v FROM t LEFT JOIN u ON t.k = u.k WHERE t.k < 1000";

fn batches(rows: std::ops::Range<i64>) -> Vec<RecordBatch> {
    let chunks: Vec<i64> = rows.collect();
    let chunks = chunks.chunks(7_000).map(|keys| {
        let d = keys.iter().map(|k| i128::from(*k) * 3 - 5_000).collect::<Vec<_>>();
        let d = Decimal128Array::from(d).with_precision_and_scale(15, 2).unwrap();
        let s: StringArray = keys.iter().map(|k| (k % 11 != 0).then(|| format!("text number {}", k % 5))).collect();
        let k: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        RecordBatch::try_from_iter_with_nullable([
            ("k", k, false),
            ("d", Arc::new(d) as ArrayRef, false),
            ("s", Arc::new(s) as ArrayRef, true),
        ])
        .unwrap()
    });
    chunks.collect()
}

fn add_tables(context: &SessionContext) {
    let parts = vec![batches(0..ROWS / 2), batches(ROWS / 2..ROWS)];
    let schema = parts[0][0].schema();
    context.register_table("t", Arc::new(MemTable::try_new(schema, parts).unwrap())).unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..600).map(|i| i * 2)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..600));
    let u = RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap();
    context.register_table("u", Arc::new(MemTable::try_new(u.schema(), vec![vec![u]]).unwrap())).unwrap();
}

async fn session(mode: &str, partitions: usize) -> Session {
    let session = Session::builder().target_partitions(partitions).build();
    add_tables(session.context());
    session.sql(&format!("SET stagefuse.mode = '{mode}'")).await.unwrap().collect().await.unwrap();
    session
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<_> = text.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.retain(|line| !line.starts_with('+'));
    lines.sort();
    lines
}

async fn answer(mode: &str, partitions: usize, sql: &str) -> Vec<String> {
    let session = session(mode, partitions).await;
    lines(&session.sql(sql).await.unwrap().collect().await.unwrap())
}

fn compiled(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let own = plan.is::<CompiledExec>().then(|| Arc::clone(plan));
    own.into_iter().chain(plan.children().into_iter().flat_map(compiled)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_engines_agree() {
    for sql in [GROUPED, FILTERED, JOINED] {
        let plain = answer("off", 2, sql).await;
        assert!(plain.len() > 10);
        for partitions in [1, 2, 5] {
            assert_eq!(answer("compiled", partitions, sql).await, plain, "compiled, {partitions} partitions: {sql}");
            assert_eq!(answer("interpreted", partitions, sql).await, plain, "interpreted, {partitions} partitions: {sql}");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_single_threaded_runtime_will_do() {
    for sql in [GROUPED, FILTERED, JOINED] {
        assert_eq!(answer("compiled", 4, sql).await, answer("off", 4, sql).await, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_name_the_engine_of_every_stage() {
    let session = session("compiled", 2).await;
    let query = session.sql(GROUPED).await.unwrap();
    query.collect().await.unwrap();
    let stages = query.metrics().unwrap();
    assert_eq!(stages.len(), 2, "{stages:?}");
    assert!(
        stages.iter().all(|stage| stage.engine == EngineKind::Native && stage.fallback.is_none() && stage.code_bytes > 0),
        "{stages:?}"
    );
    assert_eq!(stages[0].rows_in, ROWS as u64);
    assert_eq!(stages[1].rows_in, stages[1].rows_out);
}

#[tokio::test]
async fn a_tiny_input_is_interpreted_in_mode_auto() {
    let session = session("auto", 2).await;
    let query = session.sql("SELECT k FROM u WHERE k % 4 = 0").await.unwrap();
    assert_eq!(query.collect().await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 300);
    let stages = query.metrics().unwrap();
    assert!(matches!(stages[0].fallback, Some(FallbackReason::TinyInput { rows: 600, .. })), "{stages:?}");
}

/// Every partition, executed on an instance of its own, yields an end; on one instance, one after the other, they yield everything once.
#[tokio::test]
async fn a_partition_polled_alone_finishes() {
    for sql in [GROUPED, FILTERED, JOINED] {
        let session = session("compiled", 4).await;
        let plain = answer("off", 4, sql).await;
        let query = session.sql(sql).await.unwrap();
        let context = session.context().task_ctx();
        let plan = query.physical().await.unwrap();
        let node = compiled(&plan).remove(0);
        for partition in 0..node.output_partitioning().partition_count() {
            let plan = query.physical().await.unwrap();
            let node = compiled(&plan).remove(0);
            let mut stream = node.execute(partition, Arc::clone(&context)).unwrap();
            while let Some(batch) = stream.next().await {
                batch.unwrap();
            }
        }
        if Arc::ptr_eq(&node, &plan) {
            let mut all = vec![];
            for partition in 0..node.output_partitioning().partition_count() {
                let mut stream = node.execute(partition, Arc::clone(&context)).unwrap();
                while let Some(batch) = stream.next().await {
                    all.push(batch.unwrap());
                }
            }
            assert_eq!(lines(&all), plain, "{sql}");
        }
        // Once more on the same instance: a run of its own.
        assert_eq!(lines(&collect(plan, context).await.unwrap()), plain, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_streams_end_the_run() {
    let session = session("compiled", 2).await;
    let plan = session.sql(GROUPED).await.unwrap().physical().await.unwrap();
    let context = session.context().task_ctx();
    let node = compiled(&plan).remove(0);
    for _ in 0..20 {
        let mut stream = node.execute(0, Arc::clone(&context)).unwrap();
        let _ = futures::poll!(stream.next());
        drop(stream);
    }
    assert_eq!(lines(&collect(plan, context).await.unwrap()), answer("off", 2, GROUPED).await);
    assert_eq!(session.context().runtime_env().memory_pool.reserved(), 0);
}

#[tokio::test]
async fn settings_are_checked_and_shown() {
    let session = Session::new();
    for (setting, words) in [("mode = 'x'", "'interpreted'"), ("max_fields = 'many'", "at least 1"), ("fallback = 3", "true or false")] {
        let error = match session.sql(&format!("SET stagefuse.{setting}")).await {
            Ok(query) => query.collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_usage(), "{error:?}");
    }
    let shown = session.sql("SET stagefuse.max_fields = 50; SHOW stagefuse.max_fields").await.unwrap().collect().await.unwrap();
    assert!(pretty_format_batches(&shown).unwrap().to_string().contains("50"));
    let all = session.sql("SHOW ALL").await.unwrap().collect().await.unwrap();
    assert!(pretty_format_batches(&all).unwrap().to_string().contains("stagefuse.split_by_operator"));
}

#[tokio::test]
async fn without_fallback_the_reason_is_an_error() {
    let session = session("compiled", 2).await;
    let text = "SET stagefuse.fallback = false; SET stagefuse.max_fields = 1; SELECT k, s, d FROM t WHERE k > 5";
    let error = session.sql(text).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(
        error.contains("stagefuse.max_fields = 1") && error.contains("stagefuse.fallback = false") && error.contains("stage `"),
        "{error}"
    );
}

#[tokio::test]
async fn explain_shows_stages_and_code() {
    let session = session("compiled", 2).await;
    let query = session.sql(GROUPED).await.unwrap();
    let text = query.explain().await.unwrap();
    for part in ["2 stages: 2 native", "CompiledExec 0: s0 to s1", "filter k % 3 != 0", "group  groups0 by 2 keys", "-> s1"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let ran = query.explain_analyze().await.unwrap();
    assert!(ran.contains("rows in") && ran.contains("50,000") && !text.contains("rows in"), "{ran}");
    assert!(query.dump(Dump::Ir).await.unwrap().contains("group groups0 keys("));
    assert!(query.dump(Dump::Clif).await.unwrap().contains("function "));
    assert!(query.dump(Dump::Asm).await.unwrap().contains("ret"));
    let rows = session.sql(&format!("EXPLAIN CODEGEN {GROUPED}")).await.unwrap().collect().await.unwrap();
    assert_eq!(rows[0].num_columns(), 2);
    let cut =
        session.sql(&format!("SET stagefuse.dump_max_lines = 3; EXPLAIN CODEGEN IR {GROUPED}")).await.unwrap().collect().await.unwrap();
    assert!(pretty_format_batches(&cut).unwrap().to_string().contains("lines were cut"));
    let analyzed = session.sql(&format!("EXPLAIN ANALYZE {GROUPED}")).await.unwrap().collect().await.unwrap();
    let analyzed = pretty_format_batches(&analyzed).unwrap().to_string();
    for part in ["native_stages=2", "s0_rows_in=", "s0_compile_time=", "Stages ", "rows out", "50,000"] {
        assert!(analyzed.contains(part), "no `{part}` in\n{analyzed}");
    }
}

/// A window function relies on the hash distribution of the aggregation that is replaced below it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_hash_distribution_is_restored() {
    let sql = "SELECT g, k, row_number() OVER (PARTITION BY g ORDER BY k) AS r, sum(n) OVER (PARTITION BY g) AS total \
               FROM (SELECT k % 10 AS g, k, count(*) AS n FROM t WHERE k < 3000 GROUP BY k % 10, k) AS x";
    let session = session("compiled", 3).await;
    let plan = session.sql(sql).await.unwrap().physical().await.unwrap();
    assert!(!compiled(&plan).is_empty());
    assert_eq!(answer("compiled", 3, sql).await, answer("off", 3, sql).await);
    let by_group = "SELECT g, n, row_number() OVER (PARTITION BY g ORDER BY n) AS r \
                    FROM (SELECT k % 10 AS g, count(*) AS n FROM t GROUP BY k % 10) AS x";
    let plan = session.sql(by_group).await.unwrap().physical().await.unwrap();
    assert!(!compiled(&plan).is_empty());
    assert_eq!(answer("compiled", 3, by_group).await, answer("off", 3, by_group).await);
}

#[tokio::test]
async fn an_existing_context_keeps_its_tables() {
    let context = SessionContext::new();
    add_tables(&context);
    let context = crate::with_stagefuse(crate::with_stagefuse(context));
    let plan = context.sql(FILTERED).await.unwrap().create_physical_plan().await.unwrap();
    assert_eq!(compiled(&plan).len(), 1);
}

#[tokio::test]
async fn errors_are_those_of_datafusion() {
    let session = session("compiled", 2).await;
    let error = session.sql("SELECT k / (k - 77) FROM t").await.unwrap().collect().await.unwrap_err().to_string();
    assert!(error.contains("Divide by zero"), "{error}");
}

/// What the compiler does not speak, or is too much for it, is answered all the same, with the reason.
#[test]
fn wide_deep_and_foreign_queries_are_answered() {
    // DataFusion's planner recurses as deep as expressions are.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(32 << 20).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(answer_wide_deep_and_foreign_queries()).await.unwrap() });
}

async fn answer_wide_deep_and_foreign_queries() {
    let columns: Vec<String> = (0..300).map(|i| format!("k + {i} AS c{i}")).collect();
    let wide = format!("SELECT {} FROM t WHERE k < 100", columns.join(", "));
    let deep = (0..500).fold("k".to_string(), |expr, i| format!("({expr} + {i})"));
    let deep = format!("SELECT {deep} AS x FROM t WHERE k < 100");
    let nested = (0..500).fold("0".to_string(), |expr, i| format!("CASE WHEN k = {i} THEN {} ELSE {expr} END", i * 7));
    let nested = format!("SELECT {nested} AS x FROM t WHERE k < 600");
    let udf = "SELECT twice(k) AS x FROM t WHERE k < 100".to_string();
    let regex = "SELECT count(*) FROM t WHERE regexp_count(s, '^text.*[1-3]$') = 1".to_string();
    let cases = [(&wide, Some("max_fields"), 0), (&deep, None, 0), (&nested, None, 0), (&udf, None, 1), (&regex, None, 1)];
    for (sql, reason, opaque) in cases {
        let mut answers = vec![];
        for mode in ["compiled", "off"] {
            let session = session(mode, 2).await;
            session.context().register_udf(twice());
            session.sql("SET datafusion.sql_parser.recursion_limit = 2000").await.unwrap().collect().await.unwrap();
            let query = session.sql(sql).await.unwrap();
            answers.push(lines(&query.collect().await.unwrap()));
            if mode == "compiled" {
                let stages = query.metrics().unwrap();
                let fallbacks: Vec<String> = stages.iter().filter_map(|s| Some(s.fallback.as_ref()?.to_string())).collect();
                assert!(reason.is_none_or(|reason| fallbacks.iter().any(|text| text.contains(reason))), "{sql}: {fallbacks:?}");
                let beside: usize = stages.iter().map(|stage| stage.opaque_expressions).sum();
                assert!(beside == opaque || opaque == 0, "{sql}: {beside} opaque expressions");
            }
        }
        assert!(answers[0] == answers[1] && !answers[0].is_empty(), "{}", &sql[..sql.len().min(200)]);
    }
}

/// A function of the user's.
fn twice() -> ScalarUDF {
    let double = |args: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let doubled = arrays[0].as_primitive::<Int64Type>().unary::<_, Int64Type>(|x| x * 2);
        Ok(ColumnarValue::Array(Arc::new(doubled)))
    };
    create_udf("twice", vec![DataType::Int64], DataType::Int64, Volatility::Immutable, Arc::new(double))
}

#[tokio::test]
async fn a_table_is_cached_and_uncached() {
    let session = session("compiled", 2).await;
    let before = answer("off", 2, GROUPED).await;
    session.sql("CACHE TABLE t").await.unwrap().collect().await.unwrap();
    let query = session.sql(GROUPED).await.unwrap();
    assert_eq!(lines(&query.collect().await.unwrap()), before);
    let plan = query.explain().await.unwrap();
    let ir = query.dump(Dump::Ir).await.unwrap();
    assert!(plan.contains("CachedExec: rows=50000") && ir.contains("dictionary(5)") && ir.contains("offset("), "{plan}\n{ir}");
    // Other operators of DataFusion's read it, too.
    session.sql("SET stagefuse.mode = 'off'").await.unwrap().collect().await.unwrap();
    assert_eq!(lines(&session.sql(GROUPED).await.unwrap().collect().await.unwrap()), before);
    session.sql("UNCACHE TABLE t").await.unwrap().collect().await.unwrap();
    assert!(!session.sql(GROUPED).await.unwrap().explain().await.unwrap().contains("CachedExec"));
    assert!(session.sql("UNCACHE TABLE t").await.err().unwrap().to_string().contains("not cached"));
    assert!(session.sql("CACHE TABLE nowhere").await.is_err());
}
