//! DataFusion's form of what a compact table knows of itself.

use arrow::datatypes::{DataType, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use stagefuse_runtime::{ColumnInfo, CompactTable};

/// The statistics of all columns.
pub(super) fn of(table: &CompactTable) -> Statistics {
    let columns = table.columns().iter().zip(table.schema().fields()).map(|(info, field)| of_column(info, field.data_type()));
    Statistics { num_rows: Precision::Exact(table.rows()), total_byte_size: Precision::Absent, column_statistics: columns.collect() }
}

/// The statistics of some of the columns. DataFusion compares sides of joins by the bytes that come out as Arrow arrays.
pub(super) fn project(statistics: &Statistics, schema: &Schema, columns: &[usize]) -> Statistics {
    let projected = statistics.clone().project(Some(&columns.to_vec()));
    let bytes = columns.iter().map(|column| schema.field(*column).data_type().primitive_width().unwrap_or(TEXT_BYTES)).sum::<usize>();
    Statistics { total_byte_size: statistics.num_rows.map(|rows| rows * bytes).to_inexact(), ..projected }
}

/// What a text takes, roughly: a view, and what does not fit in it.
const TEXT_BYTES: usize = 32;

fn of_column(info: &ColumnInfo, data_type: &DataType) -> ColumnStatistics {
    let end = |value: fn((i64, i64)) -> i64| match info.range.and_then(|range| scalar(value(range), data_type)) {
        Some(value) => Precision::Exact(value),
        None => Precision::Absent,
    };
    ColumnStatistics {
        null_count: Precision::Exact(info.nulls),
        min_value: end(|range| range.0),
        max_value: end(|range| range.1),
        distinct_count: info.distinct.map_or(Precision::Absent, Precision::Exact),
        ..ColumnStatistics::new_unknown()
    }
}

/// A number as a value of a column's type.
fn scalar(number: i64, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Date32 => ScalarValue::Date32(Some(i32::try_from(number).ok()?)),
        DataType::Decimal128(precision, scale) => ScalarValue::Decimal128(Some(number.into()), *precision, *scale),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => ScalarValue::Int64(Some(number)).cast_to(data_type).ok()?,
        _ => return None,
    })
}
