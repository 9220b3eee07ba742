//! Feeding the dynamic filters of top-ks while rows come.

use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::Result;
use stagefuse_ir::Program;
use stagefuse_runtime::Run;

use crate::lower::TopK;

/// What an execution has told a filter.
#[derive(Debug)]
pub(crate) struct Told(AtomicU64);

impl Told {
    pub(crate) fn nothing() -> Self {
        Told(AtomicU64::new(u64::MAX))
    }

    /// Tells the filter, if there is news.
    pub(crate) fn tell(&self, top_k: &TopK, program: &Program, run: &Run) -> Result<()> {
        let Some(threshold) = run.threshold(top_k.sort) else { return Ok(()) };
        // Of several workers that find news, the one with the best tells; a lesser one that comes late is still right.
        if self.0.fetch_min(threshold, Ordering::AcqRel) <= threshold {
            return Ok(());
        }
        top_k.feed(program, threshold)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use crate::Session;

    const FILES: i64 = 12;

    /// Keys of one file are not those of another: most files hold nothing that is wanted.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scans_leave_out_what_is_not_among_the_first() {
        let folder = std::env::temp_dir().join(format!("stagefuse-top-k-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for key in ["id DESC", "d DESC NULLS FIRST", "nk NULLS FIRST", "day", "u", "ts DESC"] {
            // The files are read in the order of their names: the first ones hold what is wanted.
            let falls = key.contains("DESC");
            let session = Session::builder().target_partitions(1).build();
            let run = async |sql: &str| session.sql(sql).await.unwrap().collect().await.unwrap();
            for file in 0..FILES {
                let first = if falls { FILES - 1 - file } else { file } * 10_000;
                let path = folder.join(format!("{}{file:02}.parquet", key.replace(' ', "_")));
                // In no order within a file, or there would be nothing to sort.
                let columns = "v AS id, CASE WHEN v > 10000 OR v % 1000 <> 7 THEN v END AS nk, CAST(v AS DECIMAL(12,2)) AS d, \
                               CAST(CAST(v / 1000 AS INT) AS DATE) AS day, CAST(v AS BIGINT UNSIGNED) AS u, \
                               arrow_cast(v, 'Timestamp(ms)') AS ts, 'some text' AS s";
                let rows =
                    format!("SELECT {columns} FROM (SELECT {first} + v * 7919 % 10000 AS v FROM generate_series(0, 9999) AS s(v)) AS t");
                run(&format!("COPY ({rows}) TO '{}'", path.display())).await;
            }
            let table = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/'", folder.display());
            run(&table).await;
            let sql = format!("SELECT id, s, nk FROM t ORDER BY {key}, id LIMIT 50");
            let mut answers = vec![];
            for mode in ["off", "compiled"] {
                run(&format!("SET stagefuse.mode = '{mode}'")).await;
                let query = session.sql(&sql).await.unwrap();
                let batches = query.collect().await.unwrap();
                let ids: Vec<i64> =
                    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
                answers.push(ids);
                if mode == "compiled" {
                    let stages = query.metrics().unwrap();
                    assert_eq!(stages.len(), 2, "{sql}: {}", query.explain().await.unwrap());
                    assert!(stages[0].rows_in <= 40_000, "{sql}: {} rows of {} were read", stages[0].rows_in, FILES * 10_000);
                }
            }
            assert_eq!(answers[0].len(), 50);
            assert_eq!(answers[0], answers[1], "{sql}");
            std::fs::remove_dir_all(&folder).unwrap();
            std::fs::create_dir_all(&folder).unwrap();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
