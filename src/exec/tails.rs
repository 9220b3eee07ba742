//! Cutting scans of files so that workers end together.
//!
//! DataFusion cuts a table of files into as many parts as there are workers, and an idle worker takes a part that nobody has begun; where each has one part, none is left to take, and
//! all wait for the slowest. Here each part is cut in two: most of it, which comes first, so that a worker goes through rows next to each other, which mostly have keys next to
//! each other; and its last row groups one by one, for whoever is done.

use std::sync::Arc;

use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::execution::TaskContext;
use datafusion::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

/// Most pieces at the end of a part.
const TAILS: usize = 4;
/// At most one of so many row groups of a part is at its end.
const LEAST_SHARE: usize = 3;
/// Row groups of a part for each of a piece: those of files with many are opened together.
const GROUPS: usize = 24;

/// The scan with parts that are cut; none where DataFusion would not let workers take parts of each other, or parts are too small to be worth it.
pub(super) fn cut(config: &FileScanConfig, context: &TaskContext) -> Option<FileScanConfig> {
    let takes_parts = context.session_config().options().execution.enable_file_stream_work_stealing
        && !config.preserve_order
        && config.output_partitioning.is_none()
        && config.output_ordering.is_empty()
        && config.limit.is_none();
    if !takes_parts || config.file_groups.len() < 2 {
        return None;
    }
    let mut groups = vec![];
    let mut tails = vec![];
    for group in &config.file_groups {
        let [file] = group.files() else { return None };
        let mut pieces = pieces(file, context)?.into_iter();
        groups.extend(pieces.next().map(|first| FileGroup::new(vec![first])));
        tails.push(pieces);
    }
    let last = groups.last_mut()?;
    let mut is_cut = false;
    for _ in 0..TAILS {
        for file in tails.iter_mut().filter_map(Iterator::next) {
            last.push(file);
            is_cut = true;
        }
    }
    is_cut.then(|| FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).build())
}

/// A part of a file as its beginning and the pieces of its end. `None`: its footer has not been read yet.
fn pieces(file: &PartitionedFile, context: &TaskContext) -> Option<Vec<PartitionedFile>> {
    let metadata = footer(file, context).filter(|metadata| metadata.file_metadata().schema_descr().num_columns() > 0)?;
    if !file.extensions.is_empty() {
        return None;
    }
    let size = i64::try_from(file.object_meta.size).ok()?;
    let (start, end) = file.range.as_ref().map_or((0, size), |range| (range.start, range.end));
    let begins = metadata.row_groups().iter().map(begin).filter(|begin| (start..end).contains(begin));
    let begins: Vec<i64> = begins.collect();
    if !begins.is_sorted() {
        return None;
    }
    let bounds: Vec<i64> = [start].into_iter().chain(cuts(&begins)).chain([end]).collect();
    let piece = |bounds: &[i64]| {
        let mut piece = file.clone();
        piece.range = Some(FileRange { start: bounds[0], end: bounds[1] });
        piece
    };
    Some(bounds.windows(2).map(piece).collect())
}

/// Where a part is cut, by the places at which its row groups begin.
fn cuts(begins: &[i64]) -> Vec<i64> {
    let size = (begins.len() / GROUPS).max(1);
    let tails = TAILS.min(begins.len() / LEAST_SHARE / size);
    let first = begins.len() - tails * size;
    begins[first..].iter().step_by(size).copied().collect()
}

/// Where a row group begins, as DataFusion tells in whose part it is.
fn begin(group: &RowGroupMetaData) -> i64 {
    let column = group.column(0);
    column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset())
}

/// The footer of a file, where DataFusion has it in its cache.
pub(super) fn footer(file: &PartitionedFile, context: &TaskContext) -> Option<Arc<ParquetMetaData>> {
    let known = context.runtime_env().cache_manager.get_file_metadata_cache().get(&file.object_meta.location)?;
    let metadata =
        known.is_valid_for(&file.object_meta).then(|| known.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>())??;
    Some(Arc::clone(metadata.parquet_metadata()))
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::ExecutionPlan;

    use super::*;
    use crate::Session;
    use crate::lower::parquet_scan;

    #[test]
    fn the_last_row_groups_are_cut_off_one_by_one() {
        let cuts = |groups: i64| cuts(&(0..groups).map(|group| group * 10).collect::<Vec<_>>());
        assert!([0, 1, 2].into_iter().all(|groups| cuts(groups).is_empty()));
        assert_eq!((cuts(3), cuts(8), cuts(26)), (vec![20], vec![60, 70], vec![220, 230, 240, 250]));
        // Of many, several together.
        assert_eq!(cuts(265), [2210, 2320, 2430, 2540]);
    }

    /// Every row is read once, whatever takes which part.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn scans_are_cut_and_read_once() {
        let path = std::env::temp_dir().join(format!("stagefuse-tails-{}.parquet", std::process::id()));
        let session = Session::builder().mode(crate::Mode::Compiled).target_partitions(3).build();
        // In no order: files that have one may be read for it.
        let rows = "SELECT value * 7 % 40001 AS id, value % 10 AS k, 'text number ' || value AS t FROM generate_series(1, 40000)";
        let copy = format!("COPY ({rows}) TO '{}' OPTIONS ('format.max_row_group_size' '1000')", path.display());
        session.sql(&copy).await.unwrap().collect().await.unwrap();
        session.sql("SET datafusion.optimizer.repartition_file_min_size = 1").await.unwrap();
        session.register_parquet("t", &path.display().to_string()).await.unwrap();
        let query =
            session.sql("SELECT count(*) AS n, sum(id) AS s, count(DISTINCT t) AS d, max(k) AS k FROM t WHERE id > 7").await.unwrap();
        let plan = query.physical().await.unwrap();
        let node = plan.downcast_ref::<crate::CompiledExec>().expect("all of the plan is lowered");
        let (config, _) = parquet_scan(node.children()[0].as_ref()).unwrap();
        let context = session.context().task_ctx();
        let files = |config: &FileScanConfig| config.file_groups.iter().map(FileGroup::len).collect::<Vec<_>>();
        assert_eq!(files(config), [1, 1, 1]);
        let cut = cut(config, &context).expect("there are row groups enough");
        // Parts have about as many row groups as each other.
        assert!(matches!(files(&cut)[..], [1, 1, pieces] if (2 + 2 * TAILS..=1 + 3 * TAILS).contains(&pieces)), "{:?}", files(&cut));
        let whole = cut
            .file_groups
            .iter()
            .flat_map(|group| group.files())
            .map(|file| file.range.as_ref().map_or(0, |range| range.end - range.start));
        assert_eq!(whole.sum::<i64>(), std::fs::metadata(&path).unwrap().len() as i64);
        for _ in 0..3 {
            let rows = query.collect().await.unwrap();
            let rows = arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
            assert!(rows.contains("| 39993 | 800019972 | 39993 | 9 |"), "{rows}");
        }
        // Not where DataFusion would leave every part to its worker.
        session.sql("SET datafusion.execution.enable_file_stream_work_stealing = false").await.unwrap();
        assert!(self::cut(config, &session.context().task_ctx()).is_none());
        std::fs::remove_file(path).unwrap();
    }
}
