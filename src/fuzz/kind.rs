//! Kinds of values: what SQL can do with them. Several of Arrow's types are of one kind.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use super::random::Random;

/// A kind of values.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Conditions.
    Bool,
    /// Integers of all widths.
    Int,
    /// Floats.
    Float,
    /// Decimals.
    Decimal,
    /// Days.
    Date,
    /// Timestamps with all units, without a time zone.
    Timestamp,
    /// Times of day with all units.
    Time,
    /// Text in all layouts, dictionaries too.
    Text,
    /// Bytes.
    Binary,
    /// What is only handed on: lists, structs, points in time with a zone, spans of time.
    Other,
}

impl Kind {
    /// Kinds that expressions are made of, and how often.
    pub const WEIGHTS: [(Kind, usize); 10] = [
        (Kind::Bool, 8),
        (Kind::Int, 30),
        (Kind::Float, 10),
        (Kind::Decimal, 14),
        (Kind::Date, 9),
        (Kind::Timestamp, 5),
        (Kind::Time, 2),
        (Kind::Text, 20),
        (Kind::Binary, 2),
        (Kind::Other, 2),
    ];

    /// A kind.
    pub fn any(random: &mut Random) -> Kind {
        Kind::WEIGHTS[random.weighted(&Kind::WEIGHTS.map(|(_, weight)| weight))].0
    }

    /// The kind of an Arrow type.
    pub fn of(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Boolean => Kind::Bool,
            _ if data_type.is_integer() => Kind::Int,
            DataType::Float32 | DataType::Float64 => Kind::Float,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => Kind::Decimal,
            DataType::Date32 => Kind::Date,
            DataType::Timestamp(_, None) => Kind::Timestamp,
            DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
            DataType::Dictionary(_, values) => Kind::of(values),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Binary,
            _ => Kind::Other,
        }
    }

    /// A type for a column of this kind.
    pub fn data_type(self, random: &mut Random) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => [
                DataType::Int64,
                DataType::Int32,
                DataType::Int16,
                DataType::Int8,
                DataType::UInt8,
                DataType::UInt16,
                DataType::UInt32,
                DataType::UInt64,
            ][random.weighted(&[30, 25, 6, 6, 5, 5, 5, 6])]
            .clone(),
            Kind::Float => [DataType::Float64, DataType::Float32][random.weighted(&[7, 3])].clone(),
            Kind::Decimal => {
                if random.chance(8) {
                    return random.pick(&[DataType::Decimal32(9, 2), DataType::Decimal64(18, 4), DataType::Decimal64(12, 0)]).clone();
                }
                let shapes = [(15, 2), (9, 0), (5, 3), (18, 4), (20, 0), (38, 10), (38, 0), (12, 12), (7, -2)];
                let (precision, scale) = shapes[random.weighted(&[30, 8, 8, 10, 8, 6, 6, 3, 2])];
                DataType::Decimal128(precision, scale)
            }
            Kind::Date => DataType::Date32,
            Kind::Timestamp => {
                let units = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second];
                DataType::Timestamp(*random.pick(&units), None)
            }
            Kind::Time => {
                let types = [
                    DataType::Time64(TimeUnit::Microsecond),
                    DataType::Time64(TimeUnit::Nanosecond),
                    DataType::Time32(TimeUnit::Millisecond),
                    DataType::Time32(TimeUnit::Second),
                ];
                random.pick(&types).clone()
            }
            Kind::Text => match random.weighted(&[40, 30, 10, 20]) {
                0 => DataType::Utf8View,
                1 => DataType::Utf8,
                2 => DataType::LargeUtf8,
                _ => {
                    let keys = [DataType::Int32, DataType::UInt8, DataType::Int16, DataType::UInt32];
                    let values = [DataType::Utf8, DataType::Utf8, DataType::LargeUtf8];
                    DataType::Dictionary(Box::new(random.pick(&keys).clone()), Box::new(random.pick(&values).clone()))
                }
            },
            Kind::Binary => [DataType::Binary, DataType::BinaryView, DataType::LargeBinary][random.below(3)].clone(),
            Kind::Other => match random.below(7) {
                0 => DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
                1 => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
                2 => DataType::Struct(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8, true)].into()),
                3 => DataType::Timestamp(TimeUnit::Microsecond, Some("+02:00".into())),
                4 => DataType::Duration(TimeUnit::Microsecond),
                5 => DataType::Interval(IntervalUnit::MonthDayNano),
                _ => DataType::Date64,
            },
        }
    }

    /// Whether rows can be ordered and grouped by values of the kind.
    pub fn is_comparable(self) -> bool {
        self != Kind::Other
    }
}
