//! A subset of TPC-H through every engine: `cargo bench --bench tpch`.

#[path = "../src/bench/data/mod.rs"]
#[allow(dead_code, reason = "only `bench` makes the other suites")]
mod data;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use data::Source;
use datafusion::datasource::MemTable;
use stagefuse::Session;

const SCALE: f64 = 0.1;
const THREADS: usize = 2;
const QUERIES: [(&str, &str); 4] = [
    ("q1", include_str!("../tests/tpch/q1.sql")),
    ("q3", include_str!("../tests/tpch/q3.sql")),
    ("q6", include_str!("../tests/tpch/q6.sql")),
    ("q18", include_str!("../tests/tpch/q18.sql")),
];

fn tpch(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().expect("a runtime");
    let session = Session::builder().target_partitions(THREADS).build();
    for name in Source::Tpch.tables() {
        let table = Source::Tpch.table(name, SCALE, THREADS).expect("a table of TPC-H");
        let table = MemTable::try_new(table.schema, table.partitions).expect("equal schemas");
        session.context().register_table(name, Arc::new(table)).expect("a fresh session takes a table");
    }
    for (name, sql) in QUERIES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for mode in ["compiled", "interpreted", "off"] {
            group.bench_function(mode, |bencher| {
                let run = async |sql: &str| session.sql(sql).await.expect("a plan").collect().await.expect("an answer");
                runtime.block_on(run(&format!("SET stagefuse.mode = '{mode}'")));
                bencher.iter(|| black_box(runtime.block_on(run(sql))));
            });
        }
    }
}

criterion_group!(benches, tpch);
criterion_main!(benches);
