//! Reads a table of Parquet files into compact columns, a few columns at a time.
//!
//! The rows of a table take several times as much memory as Arrow has them than they take in the end. Columns of Parquet are read apart from each other, so that only
//! those that are being encoded are there as Arrow arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingTable;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{DataFrame, SessionContext};
use stagefuse_runtime::CompactBuilder;

use super::{CachedTable, types_of};

/// The table in compact columns, in so many partitions, its rows in the order of the files. None: it is not one of Parquet files.
///
/// # Errors
/// Where it cannot be read, or files change meanwhile.
pub(crate) async fn by_column(
    context: &SessionContext,
    frame: &DataFrame,
    table: &Arc<dyn TableProvider>,
    partitions: usize,
) -> Result<Option<CachedTable>> {
    let is_parquet = table.downcast_ref::<ListingTable>().is_some_and(|table| (*table.options().format).is::<ParquetFormat>());
    let fields = frame.schema().fields().len();
    if !is_parquet || fields == 0 {
        return Ok(None);
    }
    // One stream of batches has the same order every time; so several columns are read at a time instead of several parts of one.
    let mut state = context.state();
    state.config_mut().options_mut().execution.target_partitions = 1;
    let read = |number: usize| {
        let (qualifier, field) = frame.schema().qualified_field(number);
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let rows = DataFrame::new(state.clone(), frame.logical_plan().clone()).select([column])?;
        Ok::<_, DataFusionError>(SpawnedTask::spawn(rows.collect()))
    };
    let schema = Arc::clone(frame.schema().inner());
    let mut builder: Option<(CompactBuilder, Vec<usize>)> = None;
    for first in (0..fields).step_by(partitions) {
        let columns: Vec<_> = (first..fields.min(first + partitions)).map(read).collect::<Result<_>>()?;
        for column in columns {
            let batches = column.join().await.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
            let arrays: Vec<ArrayRef> = batches.iter().map(|batch: &RecordBatch| Arc::clone(batch.column(0))).collect();
            let rows: usize = arrays.iter().map(|array| array.len()).sum();
            let (builder, bounds) = builder.get_or_insert_with(|| {
                let bounds: Vec<usize> = (0..=partitions).map(|part| rows * part / partitions).collect();
                let lengths = bounds.windows(2).map(|ends| ends[1] - ends[0]).collect();
                (CompactBuilder::new(Arc::clone(&schema), types_of(&schema), lengths), bounds)
            });
            if bounds.last() != Some(&rows) {
                let name = frame.schema().qualified_field(0).0.map(ToString::to_string).unwrap_or_default();
                return Err(DataFusionError::Execution(format!("files of table {name} have changed while they were read: cache it again")));
            }
            builder.column(&cut(arrays, bounds))?;
        }
    }
    let Some((builder, _)) = builder else { return Ok(None) };
    Ok(Some(CachedTable::of(builder.finish()?)))
}

/// Cuts arrays at these rows, the first and the last of which are those of all arrays.
fn cut(arrays: Vec<ArrayRef>, bounds: &[usize]) -> Vec<Vec<ArrayRef>> {
    let mut parts: Vec<Vec<ArrayRef>> = bounds.windows(2).map(|_| vec![]).collect();
    let mut begin = 0;
    for array in arrays {
        let end = begin + array.len();
        for (part, ends) in parts.iter_mut().zip(bounds.windows(2)) {
            let (first, last) = (begin.max(ends[0]), end.min(ends[1]));
            if first < last {
                part.push(array.slice(first - begin, last - first));
            }
        }
        begin = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::Session;

    #[test]
    fn arrays_are_cut_at_rows() {
        let array = |from: i64, to: i64| Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef;
        for bounds in [vec![0, 10], vec![0, 5, 10], vec![0, 3, 3, 6, 10], vec![0, 0, 0, 10]] {
            let parts = cut(vec![array(0, 4), array(4, 4), array(4, 9), array(9, 10)], &bounds);
            let values = |part: &Vec<ArrayRef>| part.iter().flat_map(|array| array.as_primitive::<Int64Type>().values().to_vec()).collect();
            let parts: Vec<Vec<i64>> = parts.iter().map(values).collect();
            let expected: Vec<Vec<i64>> = bounds.windows(2).map(|ends| (ends[0] as i64..ends[1] as i64).collect()).collect();
            assert_eq!(parts, expected);
        }
        assert_eq!(cut(vec![], &[0, 0, 0]), [vec![], vec![]] as [Vec<ArrayRef>; 2]);
    }

    /// All rows, in their order: partition by partition, which a query would mix.
    async fn rows(session: &Session, table: &str) -> RecordBatch {
        let batches = session.context().table(table).await.unwrap().collect_partitioned().await.unwrap().concat();
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_cached_table_has_the_rows_of_its_files_in_their_order() {
        let folder = std::env::temp_dir().join(format!("stagefuse-by-column-{}", std::process::id()));
        let writer = Session::builder().target_partitions(1).build();
        writer.sql("SET datafusion.execution.parquet.max_row_group_size = 1000").await.unwrap();
        for file in 0..2 {
            let copy = format!(
                "COPY (SELECT value AS n, nullif(value % 7, 3)::int AS few, 'text number ' || (value * {file}) AS t, nullif(value % 3, 1)::varchar AS word,
                 make_array(value, value + 1) AS list, value::decimal(20, 2) / 8 AS d FROM generate_series(1, 2500)) TO '{}'",
                folder.join(format!("{file}.parquet")).display()
            );
            writer.sql(&copy).await.unwrap().collect().await.unwrap();
        }
        for partitions in [1, 2, 3] {
            let session = Session::builder().target_partitions(partitions).build();
            let files = format!("CREATE EXTERNAL TABLE f STORED AS PARQUET LOCATION '{}/'", folder.display());
            session.sql(&files).await.unwrap().collect().await.unwrap();
            session.sql("SET datafusion.execution.target_partitions = 1").await.unwrap();
            let expected = rows(&session, "f").await;
            session.sql(&format!("SET datafusion.execution.target_partitions = {partitions}")).await.unwrap();
            let cached = session.cache_table("f").await.unwrap();
            assert_eq!(cached.rows(), 5000);
            session.sql("SET datafusion.execution.target_partitions = 1").await.unwrap();
            assert_eq!(rows(&session, "f").await, expected, "{partitions} partitions");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
