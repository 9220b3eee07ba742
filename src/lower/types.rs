//! Arrow's types as the IR's.

use arrow::datatypes::{DataType, IntervalUnit};
use stagefuse_ir::{SqlType, TimeUnit, Type};

/// The IR's type, if it has one.
///
/// Text and bytes have one type each however they are laid out, and values that are packed in a dictionary or by runs have that of what is packed:
/// stages see them unpacked, and their output is packed again. A timestamp's time zone is the host's business:
/// whatever looks at it is lowered by Arrow's types, not the IR's.
pub(crate) fn ir_type(data_type: &DataType, nullable: bool) -> Option<Type> {
    let sql = match data_type {
        DataType::Dictionary(_, value) if packs(value) => return ir_type(value, nullable),
        DataType::RunEndEncoded(_, value) if packs(value.data_type()) => return ir_type(value.data_type(), nullable),
        DataType::Boolean => SqlType::Boolean,
        DataType::Int8 => SqlType::Int8,
        DataType::Int16 => SqlType::Int16,
        DataType::Int32 => SqlType::Int32,
        DataType::Int64 => SqlType::Int64,
        DataType::UInt8 => SqlType::UInt8,
        DataType::UInt16 => SqlType::UInt16,
        DataType::UInt32 => SqlType::UInt32,
        DataType::UInt64 => SqlType::UInt64,
        DataType::Float32 => SqlType::Float32,
        DataType::Float64 => SqlType::Float64,
        DataType::Decimal128(precision, scale) => SqlType::Decimal { precision: *precision, scale: *scale },
        DataType::Decimal32(precision, scale) => SqlType::Decimal32 { precision: *precision, scale: *scale },
        DataType::Decimal64(precision, scale) => SqlType::Decimal64 { precision: *precision, scale: *scale },
        DataType::Date32 => SqlType::Date32,
        DataType::Date64 => SqlType::Date64,
        DataType::Time32(unit) | DataType::Time64(unit) => SqlType::Time(time_unit(*unit)),
        DataType::Timestamp(unit, _) => SqlType::Timestamp(time_unit(*unit)),
        DataType::Duration(unit) => SqlType::Duration(time_unit(*unit)),
        DataType::Interval(IntervalUnit::YearMonth) => SqlType::IntervalMonths,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => SqlType::Binary,
        _ => return None,
    };
    Some(Type::new(sql, nullable))
}

/// Whether Arrow packs values of this type into dictionaries and runs, so that a stage's output can be what its input was.
fn packs(value: &DataType) -> bool {
    !matches!(
        value,
        DataType::Boolean | DataType::Duration(_) | DataType::Interval(_) | DataType::Dictionary(..) | DataType::RunEndEncoded(..)
    )
}

fn time_unit(unit: arrow::datatypes::TimeUnit) -> TimeUnit {
    match unit {
        arrow::datatypes::TimeUnit::Second => TimeUnit::Second,
        arrow::datatypes::TimeUnit::Millisecond => TimeUnit::Millisecond,
        arrow::datatypes::TimeUnit::Microsecond => TimeUnit::Microsecond,
        arrow::datatypes::TimeUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}

/// Whether two Arrow types that are one type of the IR are one type to Arrow too: they differ in no time zone.
pub(crate) fn same_zone(a: &DataType, b: &DataType) -> bool {
    zone(a) == zone(b)
}

/// The time zone of a timestamp.
pub(crate) fn zone(data_type: &DataType) -> Option<&str> {
    match data_type {
        DataType::Timestamp(_, zone) => zone.as_deref(),
        DataType::Dictionary(_, value) => zone(value),
        DataType::RunEndEncoded(_, value) => zone(value.data_type()),
        _ => None,
    }
}
