//! Arrow's types as the IR's.

use arrow::datatypes::DataType;
use stagefuse_ir::{SqlType, Type};

/// The IR's type, if it has one.
pub(crate) fn ir_type(data_type: &DataType, nullable: bool) -> Option<Type> {
    let sql = match data_type {
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
        DataType::Date32 => SqlType::Date32,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Utf8,
        _ => return None,
    };
    Some(Type::new(sql, nullable))
}
