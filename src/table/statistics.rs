//! DataFusion's form of what a compact table knows of itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, make_array};
use arrow::datatypes::{DataType, IntervalUnit, Schema, TimeUnit};
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
    // DataFusion's interval arithmetic negates bounds with a check: a query with a negation would fail while it is planned.
    let negatable = |value: i64| value != least(data_type);
    let known = info.range.filter(|range| fits_nanoseconds(range.0, data_type) && fits_nanoseconds(range.1, data_type));
    let end = |value: fn((i64, i64)) -> i64| match known.and_then(|range| scalar(value(range), data_type)) {
        Some(value) => Precision::Exact(value),
        None => Precision::Absent,
    };
    ColumnStatistics {
        null_count: Precision::Exact(info.nulls),
        min_value: if info.range.is_none_or(|range| negatable(range.0)) { end(|range| range.0) } else { Precision::Absent },
        max_value: end(|range| range.1),
        distinct_count: info.distinct.map_or(Precision::Absent, Precision::Exact),
        ..ColumnStatistics::new_unknown()
    }
}

/// Whether a point in time is one in nanoseconds, too: DataFusion casts the ends of a column so while it plans, with an error where they do not fit.
fn fits_nanoseconds(number: i64, data_type: &DataType) -> bool {
    let each = match data_type {
        DataType::Date32 => 86_400_000_000_000,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    };
    number.checked_mul(each).is_some()
}

/// The least number of a type with a sign, in as many bits; of others the least of 64.
fn least(data_type: &DataType) -> i64 {
    match data_type.primitive_width() {
        Some(width @ (1 | 2 | 4)) => i64::MIN >> (64 - 8 * width),
        _ => i64::MIN,
    }
}

/// A number as a value of a column's type.
fn scalar(number: i64, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Decimal128(precision, scale) => ScalarValue::Decimal128(Some(number.into()), *precision, *scale),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => ScalarValue::Int64(Some(number)).cast_to(data_type).ok()?,
        DataType::Date32 | DataType::Time32(_) | DataType::Interval(IntervalUnit::YearMonth) => {
            let array: ArrayRef = Arc::new(Int32Array::from(vec![i32::try_from(number).ok()?]));
            ScalarValue::try_from_array(&retype(&array, data_type)?, 0).ok()?
        }
        DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            let array: ArrayRef = Arc::new(Int64Array::from(vec![number]));
            ScalarValue::try_from_array(&retype(&array, data_type)?, 0).ok()?
        }
        _ => return None,
    })
}

/// A number under the name of a type that counts something in as many bits.
fn retype(array: &ArrayRef, data_type: &DataType) -> Option<ArrayRef> {
    Some(make_array(array.to_data().into_builder().data_type(data_type.clone()).build().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_a_type_is_what_has_no_opposite() {
        assert_eq!(least(&DataType::Int8), i64::from(i8::MIN));
        assert_eq!(least(&DataType::Int32), i64::from(i32::MIN));
        assert_eq!(least(&DataType::Date32), i64::from(i32::MIN));
        assert_eq!(least(&DataType::Int64), i64::MIN);
    }

    #[test]
    fn the_last_day_that_nanoseconds_reach_is_in_2262() {
        assert!(fits_nanoseconds(106_751, &DataType::Date32) && !fits_nanoseconds(106_752, &DataType::Date32));
        assert!(!fits_nanoseconds(2_932_896, &DataType::Date32) && fits_nanoseconds(i64::MAX, &DataType::Int64));
    }
}
