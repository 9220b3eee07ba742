//! From a compact table back to record batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions, StringViewBuilder, UInt32Array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema};
use arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use stagefuse_ir::Stored;

use super::{BlockColumn, CompactTable};
use crate::adapt::{adapt, retype};
use crate::columns::arrow_type;

impl CompactTable {
    /// Rows of a partition as Arrow has them: `columns` of the table's columns, `rows` rows from row `first` on.
    ///
    /// # Errors
    /// Where there is no such partition, column or row, or a column is of a dictionary type whose keys do not suffice for so many rows.
    pub fn decode(&self, partition: usize, columns: &[usize], first: usize, rows: usize) -> Result<RecordBatch, ArrowError> {
        let block = self.partitions.get(partition).filter(|block| first + rows <= block.rows);
        let block = block
            .ok_or_else(|| ArrowError::InvalidArgumentError(format!("no rows {first} to {} in partition {partition}", first + rows)))?;
        let mut fields = vec![];
        let mut arrays = vec![];
        for column in columns {
            let (Some(encoded), Some(info)) = (block.columns.get(*column), self.columns.get(*column)) else {
                return Err(ArrowError::InvalidArgumentError(format!("no column {column}")));
            };
            let field = Arc::clone(&self.schema.fields()[*column]);
            let held = info.sql.map_or_else(|| field.data_type().clone(), arrow_type);
            arrays.push(adapt(&decode_column(encoded, info.stored, &held, first, rows)?, field.data_type())?);
            fields.push(field);
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
    }
}

fn decode_column(column: &BlockColumn, stored: Stored, data_type: &DataType, first: usize, rows: usize) -> Result<ArrayRef, ArrowError> {
    let (values, nulls, dictionary) = match column {
        BlockColumn::Arrow(array) => return Ok(array.slice(first, rows)),
        BlockColumn::Numbers { values, nulls, dictionary } => (values, nulls.as_ref().map(|nulls| nulls.slice(first, rows)), dictionary),
    };
    match (stored, dictionary) {
        (Stored::Dictionary { .. }, Some(dictionary)) => {
            let numbers: Vec<u32> =
                numbers(values, stored.bytes(stagefuse_ir::SqlType::Utf8), first, rows).map(|number| number as u32).collect();
            let mut texts = StringViewBuilder::with_capacity(dictionary.texts.len());
            dictionary.texts.iter().for_each(|text| texts.append_value(text));
            take(&texts.finish(), &UInt32Array::new(numbers.into(), nulls), None)
        }
        (Stored::Offset { base, span }, _) => {
            let bytes = |width: u32| Stored::Offset { base, span }.bytes(stagefuse_ir::SqlType::Int64).min(width);
            let offsets = numbers(values, bytes(8), first, rows);
            macro_rules! array {
                ($ty:ty) => {
                    primitive::<$ty>(offsets.map(|offset| base.wrapping_add(offset as i64) as <$ty as ArrowPrimitiveType>::Native), nulls)
                };
            }
            Ok(match data_type {
                DataType::Int8 => Arc::new(array!(Int8Type)),
                DataType::Int16 => Arc::new(array!(Int16Type)),
                DataType::Int32 => Arc::new(array!(Int32Type)),
                DataType::Int64 => Arc::new(array!(Int64Type)),
                DataType::UInt8 => Arc::new(array!(UInt8Type)),
                DataType::UInt16 => Arc::new(array!(UInt16Type)),
                DataType::UInt32 => Arc::new(array!(UInt32Type)),
                DataType::UInt64 => Arc::new(array!(UInt64Type)),
                DataType::Decimal128(precision, scale) => Arc::new(array!(Decimal128Type).with_precision_and_scale(*precision, *scale)?),
                other => match other.primitive_width() {
                    Some(4) => return retype(&(Arc::new(array!(Int32Type)) as ArrayRef), other),
                    Some(8) => return retype(&(Arc::new(array!(Int64Type)) as ArrayRef), other),
                    _ => return Err(ArrowError::InvalidArgumentError(format!("offsets of {other}"))),
                },
            })
        }
        _ => Err(ArrowError::InvalidArgumentError("numbers that stand for nothing".into())),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = T::Native>,
    nulls: Option<arrow::buffer::NullBuffer>,
) -> PrimitiveArray<T> {
    PrimitiveArray::new(values.collect::<ScalarBuffer<T::Native>>(), nulls)
}

/// Numbers that lie in so many bytes each.
fn numbers(values: &Buffer, bytes: u32, first: usize, rows: usize) -> Box<dyn Iterator<Item = u64> + '_> {
    macro_rules! of {
        ($ty:ty) => {
            Box::new(values.typed_data::<$ty>()[first..first + rows].iter().map(|number| u64::from(*number)))
        };
    }
    match bytes {
        1 => of!(u8),
        2 => of!(u16),
        4 => of!(u32),
        _ => of!(u64),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int8Array, Int64Array, ListArray,
        StringArray, Time32SecondArray, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::datatypes::Field;
    use stagefuse_ir::{SqlType, TimeUnit};

    use super::*;

    /// A column: its name, its type in the IR, its values, and how it should lie.
    type Case = (&'static str, Option<SqlType>, ArrayRef, fn(Stored) -> bool);

    fn cases(rows: i64) -> Vec<Case> {
        let some = |row: i64| row % 7 != 3;
        let decimal =
            |values: Vec<Option<i128>>| Arc::new(Decimal128Array::from(values).with_precision_and_scale(20, 2).unwrap()) as ArrayRef;
        let decimals = SqlType::Decimal { precision: 20, scale: 2 };
        let narrow = |stored: Stored| matches!(stored, Stored::Offset { .. });
        let plain = |stored: Stored| stored == Stored::Arrow;
        let text =
            |row: i64| some(row).then(|| ["", "short", "a text that is longer than twelve bytes", "ü"][row as usize % 4].to_string());
        vec![
            ("i", Some(SqlType::Int64), Arc::new((0..rows).map(|row| some(row).then_some(row * 3 - 500)).collect::<Int64Array>()), narrow),
            ("wide", Some(SqlType::Int64), Arc::new((0..rows).map(|row| Some(row * (i64::MAX / rows))).collect::<Int64Array>()), plain),
            (
                "extremes",
                Some(SqlType::Int64),
                Arc::new(Int64Array::from_iter_values((0..rows).map(|row| if row == 1 { i64::MIN } else { row }))),
                plain,
            ),
            ("small", Some(SqlType::Int8), Arc::new((0..rows).map(|row| Some(row as i8)).collect::<Int8Array>()), plain),
            ("u", Some(SqlType::UInt64), Arc::new(UInt64Array::from_iter_values((0..rows).map(|row| row as u64 % 300))), narrow),
            ("beyond", Some(SqlType::UInt64), Arc::new(UInt64Array::from_iter_values((0..rows).map(|row| u64::MAX - row as u64))), plain),
            (
                "day",
                Some(SqlType::Date32),
                Arc::new((0..rows).map(|row| some(row).then_some(9_000 + row as i32 % 200)).collect::<Date32Array>()),
                narrow,
            ),
            ("d", Some(decimals), decimal((0..rows).map(|row| some(row).then_some(i128::from(row) * 1_000_000 - 7)).collect()), narrow),
            ("huge", Some(decimals), decimal((0..rows).map(|row| Some(i128::from(row) << 60)).collect()), plain),
            ("none", Some(SqlType::Int64), Arc::new(Int64Array::from(vec![None; rows as usize])), plain),
            ("s", Some(SqlType::Utf8), Arc::new((0..rows).map(text).collect::<StringArray>()), |stored| {
                stored == Stored::Dictionary { entries: 4 }
            }),
            ("many", Some(SqlType::Utf8), Arc::new((0..rows).map(|row| Some(format!("{}", row / 9))).collect::<StringArray>()), |stored| {
                stored == Stored::Dictionary { entries: 556 }
            }),
            (
                "unique",
                Some(SqlType::Utf8),
                Arc::new((0..rows).map(|row| Some(format!("text number {row}"))).collect::<StringArray>()),
                plain,
            ),
            (
                "f",
                Some(SqlType::Float64),
                Arc::new((0..rows).map(|row| some(row).then_some(row as f64 / 3.0)).collect::<Float64Array>()),
                plain,
            ),
            (
                "b",
                Some(SqlType::Boolean),
                Arc::new((0..rows).map(|row| some(row).then_some(row % 2 == 0)).collect::<BooleanArray>()),
                plain,
            ),
            (
                "zoned",
                Some(SqlType::Timestamp(TimeUnit::Microsecond)),
                Arc::new(
                    TimestampMicrosecondArray::from_iter((0..rows).map(|row| some(row).then_some(row * 1_000 - 77)))
                        .with_timezone("+02:00"),
                ),
                narrow,
            ),
            (
                "time",
                Some(SqlType::Time(TimeUnit::Second)),
                Arc::new((0..rows).map(|row| some(row).then_some(row as i32 % 200)).collect::<Time32SecondArray>()),
                narrow,
            ),
            (
                "bytes",
                Some(SqlType::Binary),
                Arc::new((0..rows).map(|row| some(row).then_some([0xff, row as u8])).collect::<BinaryArray>()),
                plain,
            ),
            (
                "packed",
                Some(SqlType::Utf8),
                Arc::new(
                    (0..rows)
                        .map(|row| some(row).then_some(["a", "b", "a text that is longer"][row as usize % 3]))
                        .collect::<DictionaryArray<Int8Type>>(),
                ),
                |stored| stored == Stored::Dictionary { entries: 3 },
            ),
            ("l", None, Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..rows).map(|row| Some(vec![Some(row)])))), plain),
        ]
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let cases = cases(5_000);
        let fields: Vec<Field> = cases.iter().map(|(name, _, array, _)| Field::new(*name, array.data_type().clone(), true)).collect();
        let whole = RecordBatch::try_new(Arc::new(Schema::new(fields)), cases.iter().map(|case| Arc::clone(&case.2)).collect()).unwrap();
        let types: Vec<_> = cases.iter().map(|case| case.1).collect();
        let partitions = vec![vec![whole.slice(0, 1_000), whole.slice(1_000, 1_500)], vec![], vec![whole.slice(2_500, 2_500)]];
        let table = CompactTable::new(whole.schema(), &types, &partitions).unwrap();
        assert_eq!(table.rows(), 5_000);
        for ((name, _, array, lies), info) in cases.iter().zip(table.columns()) {
            assert!(lies(info.stored), "{name} lies as {:?}", info.stored);
            assert_eq!(info.nulls, array.null_count(), "{name}");
        }
        assert_eq!(table.columns()[0].range, Some((-500, 4_999 * 3 - 500)));
        assert_eq!((table.columns()[6].distinct, table.columns()[10].distinct), (Some(200), Some(4)));
        let columns: Vec<usize> = (0..cases.len()).rev().collect();
        for (partition, from, first, rows) in [(0, 0, 0, 2_500), (0, 0, 990, 20), (2, 2_500, 7, 2_000), (1, 0, 0, 0)] {
            let got = table.decode(partition, &columns, first, rows).unwrap();
            let want = whole.slice(from + first, rows).project(&columns).unwrap();
            assert_eq!(got, want);
        }
        assert!(
            table.decode(0, &[0], 2_400, 200).is_err() && table.decode(3, &[0], 0, 0).is_err() && table.decode(0, &[99], 0, 1).is_err()
        );
        assert_eq!(table.decode(0, &[], 3, 4).unwrap().num_rows(), 4);
        let text = table.decode(2, &[10], 0, 3).unwrap();
        assert_eq!(text.column(0).as_string::<i32>().value(0), "");
    }
}
