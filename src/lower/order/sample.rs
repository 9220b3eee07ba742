//! Samples of plans over tables in memory: a few thousand rows, put through the plan's own filters and projections, tell more than
//! rules of thumb do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat, concat_batches};
use arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::lower::exchange::below_exchange;
use crate::table::CachedExec;

/// Slices of a sample, evenly spread over the table, and rows of each: within a slice neighbours tell how often a value repeats.
const SLICES: usize = 8;
const SLICE_ROWS: usize = 512;

/// Some rows of a plan.
pub(super) struct Sample {
    /// Rows of the table, with the plan's columns, whether they pass its filters or not.
    batch: RecordBatch,
    /// Which of them pass.
    kept: Vec<bool>,
    /// Rows of the table.
    total: usize,
}

/// Some rows of a part of a table, next to each other.
#[derive(Debug, PartialEq)]
struct Slice {
    part: usize,
    first: usize,
    rows: usize,
}

/// The slices of a table whose parts have so many rows: all of a small table, and no row twice, or values would seem to repeat that do not.
fn slices(sizes: &[usize]) -> Vec<Slice> {
    let total: usize = sizes.iter().sum();
    if total <= SLICES * SLICE_ROWS {
        let parts = sizes.iter().enumerate().filter(|(_, rows)| **rows > 0);
        return parts.map(|(part, rows)| Slice { part, first: 0, rows: *rows }).collect();
    }
    let slice = |number: usize| {
        // The first and the last rows are among them.
        let mut first = (total - SLICE_ROWS) * number / (SLICES - 1);
        for (part, rows) in sizes.iter().enumerate() {
            if first < *rows {
                return Some(Slice { part, first, rows: SLICE_ROWS.min(rows - first) });
            }
            first -= rows;
        }
        None
    };
    (0..SLICES).filter_map(slice).collect()
}

impl Sample {
    /// Takes a sample; `None` where the plan is more than filters and projections over a table in memory.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Sample> {
        let plan = below_exchange(plan);
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            let mut sample = Sample::of(filter.input())?;
            let passes = column(filter.predicate(), &sample.batch)?;
            let passes = passes.as_boolean_opt()?;
            for (row, kept) in sample.kept.iter_mut().enumerate() {
                *kept &= passes.is_valid(row) && passes.value(row);
            }
            if let Some(projection) = filter.projection() {
                sample.batch = sample.batch.project(projection).ok()?;
            }
            return Some(sample);
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let sample = Sample::of(projection.input())?;
            let columns = projection.expr().iter().map(|expr| column(&expr.expr, &sample.batch)).collect::<Option<Vec<_>>>()?;
            let batch = batch_of(projection.schema(), columns, sample.kept.len())?;
            return Some(Sample { batch, ..sample });
        }
        Sample::of_table(plan)
    }

    fn of_cached(scan: &CachedExec) -> Option<Sample> {
        let table = scan.table();
        let total = table.rows();
        let sizes: Vec<usize> = table.partitions().iter().map(|block| block.rows()).collect();
        let slices = slices(&sizes);
        let decode = |slice: &Slice| table.decode(slice.part, scan.columns(), slice.first, slice.rows).ok();
        let batches = slices.iter().map(decode).collect::<Option<Vec<_>>>()?;
        let rows = slices.iter().map(|slice| slice.rows).sum();
        let schema = scan.schema();
        let batch = if batches.is_empty() { RecordBatch::new_empty(schema) } else { concat_batches(&schema, &batches).ok()? };
        Some(Sample { kept: vec![true; rows], batch, total })
    }

    fn of_table(plan: &Arc<dyn ExecutionPlan>) -> Option<Sample> {
        if let Some(scan) = plan.downcast_ref::<CachedExec>() {
            return Sample::of_cached(scan);
        }
        let scan = plan.downcast_ref::<DataSourceExec>()?;
        let source = scan.data_source().downcast_ref::<MemorySourceConfig>()?;
        let batches: Vec<&RecordBatch> = source.partitions().iter().flatten().filter(|batch| batch.num_rows() > 0).collect();
        let total: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        let sizes: Vec<usize> = batches.iter().map(|batch| batch.num_rows()).collect();
        let slices = slices(&sizes);
        let schema = plan.schema();
        let columns: Vec<usize> = match source.projection() {
            Some(projection) => projection.to_vec(),
            None => (0..schema.fields().len()).collect(),
        };
        let rows = slices.iter().map(|slice| slice.rows).sum();
        let columns = columns.iter().map(|column| {
            let parts: Vec<ArrayRef> =
                slices.iter().map(|slice| batches[slice.part].column(*column).slice(slice.first, slice.rows)).collect();
            match parts.as_slice() {
                [] => None,
                parts => concat(&parts.iter().map(|part| &**part).collect::<Vec<&dyn Array>>()).ok(),
            }
        });
        let batch = batch_of(schema, columns.collect::<Option<Vec<_>>>()?, rows)?;
        Some(Sample { kept: vec![true; rows], batch, total })
    }

    /// How many rows the plan has.
    pub(super) fn rows(&self) -> f64 {
        let kept = self.kept.iter().filter(|kept| **kept).count() as f64;
        // Where no row of the sample passes, few do, but perhaps not none.
        self.total as f64 * kept.max(0.5) / self.kept.len().max(1) as f64
    }

    /// Rows of the table.
    pub(super) fn total(&self) -> f64 {
        self.total as f64
    }

    /// How many different values a column of the table has.
    pub(super) fn distinct(&self, column: usize) -> f64 {
        let (rows, total) = (self.kept.len().max(1) as f64, self.total.max(1) as f64);
        let array = self.batch.column(column);
        let numbers = match array.data_type() {
            data_type if data_type.is_integer() || *data_type == DataType::Date32 => cast(array, &DataType::Int64).ok(),
            _ => None,
        };
        let Some(numbers) = numbers else {
            let different = hashes(array).map_or(rows, |mut hashes| different(&mut hashes) as f64);
            // Few in the sample: it has most likely met them all.
            return if different < rows / 10.0 { different } else { different / rows * total };
        };
        let numbers = numbers.as_primitive::<Int64Type>();
        // In each slice by itself: how often a value repeats among its neighbours.
        let mut values: Vec<i64> = Vec::with_capacity(SLICE_ROWS);
        let mut repeated = 0;
        for first in (0..numbers.len()).step_by(SLICE_ROWS) {
            values.clear();
            values.extend(numbers.slice(first, SLICE_ROWS.min(numbers.len() - first)).iter().flatten());
            repeated += different(&mut values);
        }
        let (least, greatest) = (arrow::compute::min(numbers).unwrap_or(0), arrow::compute::max(numbers).unwrap_or(0));
        let range = greatest as f64 - least as f64 + 1.0;
        (repeated as f64 / rows * total).min(range).max(1.0)
    }
}

/// How many of some numbers differ. Sorting a few of them takes a fraction of what a hash table does, less where they come in order.
fn different<T: Ord>(numbers: &mut [T]) -> usize {
    numbers.sort_unstable();
    numbers.chunk_by(|one, other| one == other).count()
}

/// Hashes of the values that are there: as many differ as values do, near enough.
fn hashes(array: &ArrayRef) -> Option<Vec<u64>> {
    let mut hashes = vec![0; array.len()];
    create_hashes([array], &RandomState::with_seed(0), &mut hashes).ok()?;
    if array.logical_null_count() > 0 {
        let nulls = array.logical_nulls()?;
        let mut valid = nulls.iter();
        hashes.retain(|_| valid.next().unwrap_or(true));
    }
    Some(hashes)
}

fn batch_of(schema: Arc<Schema>, columns: Vec<ArrayRef>, rows: usize) -> Option<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).ok()
}

/// An expression over the sample. One that fails, or knows its value only later, tells nothing.
fn column(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Option<ArrayRef> {
    expr.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_are_sampled_whole_and_no_row_twice() {
        let slice = |part, first, rows| Slice { part, first, rows };
        assert_eq!(slices(&[]), vec![]);
        assert_eq!(slices(&[3, 0, 2]), vec![slice(0, 0, 3), slice(2, 0, 2)]);
        assert_eq!(slices(&[4000, 96]), vec![slice(0, 0, 4000), slice(1, 0, 96)]);
        for sizes in [vec![4097], vec![100_000, 3, 100_000], vec![1000; 9]] {
            let taken = slices(&sizes);
            let first_of = |part: usize| sizes[..part].iter().sum::<usize>();
            let places: Vec<(usize, usize)> = taken.iter().map(|slice| (first_of(slice.part) + slice.first, slice.rows)).collect();
            assert_eq!((places.len(), places[0].0), (SLICES, 0));
            assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{places:?}");
            assert!(taken.iter().all(|slice| slice.first + slice.rows <= sizes[slice.part]), "{taken:?}");
        }
    }
}
