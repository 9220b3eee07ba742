//! Single operators through every engine: `cargo bench --bench micro`.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stagefuse::Session;

const ROWS: i64 = 1_000_000;
const QUERIES: [(&str, &str); 3] = [
    ("filter-sum", "SELECT sum(b) FROM t WHERE a % 100 < 50"),
    ("group-few", "SELECT a % 16, sum(b) FROM t GROUP BY a % 16"),
    ("group-many", "SELECT a, sum(b) FROM t GROUP BY a"),
];

fn micro(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let session = Session::builder().target_partitions(2).build();
    let batches = (0..ROWS)
        .step_by(8192)
        .map(|from| {
            let column = |factor: i64, below: i64| {
                let values = (from..ROWS.min(from + 8192)).map(|n| n.wrapping_mul(factor).rem_euclid(below));
                Arc::new(Int64Array::from_iter_values(values))
            };
            RecordBatch::try_from_iter([("a", column(7_919, 100_003) as _), ("b", column(104_729, 1_000) as _)]).expect("equal lengths")
        })
        .collect();
    session.register_batches("t", batches).expect("a fresh session takes a table");
    for (name, sql) in QUERIES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).throughput(Throughput::Elements(ROWS.unsigned_abs()));
        for mode in ["compiled", "interpreted", "off"] {
            group.bench_function(mode, |bencher| {
                let run = async |sql: &str| session.sql(sql).await.expect("a plan").collect().await.expect("an answer");
                runtime.block_on(run(&format!("SET stagefuse.mode = '{mode}'")));
                bencher.iter(|| black_box(runtime.block_on(run(sql))));
            });
        }
    }
}

criterion_group!(benches, micro);
criterion_main!(benches);
