//! Output buffers of stages that emit rows or hand them over, and how they become batches.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use stagefuse_ir::Type;

use crate::arrays::Arrays;
use crate::buffers::Buffers;
use crate::error::Error;

/// The output buffers of one worker.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) buffers: Buffers,
    schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    /// Rows flushed since the last [`Output::take_rows`].
    flushed: u64,
}

impl Output {
    pub(crate) fn new(types: &[Type], schema: SchemaRef) -> Self {
        Output { buffers: Buffers::new(types), schema, batches: vec![], flushed: 0 }
    }

    /// Turns the buffered rows into a batch and empties the buffers.
    pub(crate) fn flush(&mut self, arrays: &Arrays) -> Result<(), Error> {
        let rows = self.buffers.take_rows();
        if rows == 0 {
            return Ok(());
        }
        self.push(0, rows, arrays)?;
        self.flushed += rows as u64;
        Ok(())
    }

    /// Makes a batch of some of the buffered rows; two where their values are too many for a dictionary's keys.
    fn push(&mut self, first: usize, rows: usize, arrays: &Arrays) -> Result<(), Error> {
        let fields = self.schema.fields().iter().enumerate();
        let columns = fields
            .map(|(column, field)| self.buffers.array(column, first..first + rows, field.data_type(), arrays))
            .collect::<Result<Vec<_>, _>>();
        match columns {
            Err(Error::Arrow(ArrowError::DictionaryKeyOverflowError)) if rows > 1 => {
                self.push(first, rows / 2, arrays)?;
                self.push(first + rows / 2, rows - rows / 2, arrays)
            }
            columns => {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                self.batches.push(RecordBatch::try_new_with_options(self.schema.clone(), columns?, &options)?);
                Ok(())
            }
        }
    }

    /// Forgets the buffered rows: their stage failed, and the text they refer to may be gone.
    pub(crate) fn discard(&mut self) {
        self.buffers.take_rows();
    }

    /// How many rows have been flushed since the last call.
    pub(crate) fn take_rows(&mut self) -> u64 {
        std::mem::take(&mut self.flushed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, AsArray, BooleanArray, Decimal128Array, Float32Array, Int8Array, LargeStringArray, StringArray, StringViewArray,
    };
    use arrow::datatypes::{DataType, Field, Schema};
    use stagefuse_ir::SqlType;
    use stagefuse_ir::abi::OUT_ROWS;

    use super::*;
    use crate::adapt::adapt;
    use crate::builtins::strings;

    /// Writes as generated code does.
    fn put<T>(output: &mut Output, types: &[Type], column: usize, row: usize, value: Option<T>) {
        // SAFETY: the head holds one column for each type, with room for `OUT_ROWS` values and, where nullable, validity bytes.
        unsafe {
            let to = &*output.buffers.head.columns.add(column);
            if types[column].nullable {
                to.valid.add(row).write(u8::from(value.is_some()));
            }
            if let Some(value) = value {
                to.values.cast::<T>().add(row).write_unaligned(value);
            }
        }
    }

    fn text(row: usize) -> Option<&'static str> {
        const TEXTS: [&str; 4] = ["", "short", "twelve bytes", "a text that is longer than twelve bytes: ü"];
        (row % 7 != 3).then_some(TEXTS[row % 4])
    }

    #[test]
    fn what_is_written_comes_out() {
        let columns = [
            (SqlType::Boolean, true, DataType::Boolean),
            (SqlType::Int8, false, DataType::Int8),
            (SqlType::Decimal { precision: 20, scale: 3 }, true, DataType::Decimal128(20, 3)),
            (SqlType::Float32, true, DataType::Float32),
            (SqlType::Utf8, true, DataType::Utf8View),
            (SqlType::Utf8, true, DataType::Utf8),
            (SqlType::Utf8, true, DataType::LargeUtf8),
        ];
        let types: Vec<Type> = columns.iter().map(|(sql, nullable, _)| Type::new(*sql, *nullable)).collect();
        let fields: Vec<Field> = columns.iter().map(|(_, nullable, ty)| Field::new("c", ty.clone(), *nullable)).collect();
        let mut output = Output::new(&types, Arc::new(Schema::new(fields)));
        // The same buffers are used again: what an earlier batch left must not show.
        for rows in [OUT_ROWS, 1, 100] {
            let some = |row: usize, modulus: usize| !row.is_multiple_of(modulus);
            for row in 0..rows {
                put(&mut output, &types, 0, row, some(row, 3).then_some(u8::from(row % 2 == 0)));
                put(&mut output, &types, 1, row, Some(row as i8));
                put(&mut output, &types, 2, row, some(row, 5).then_some(-(row as i128) << 40));
                put(&mut output, &types, 3, row, some(row, 4).then_some(row as f32 / 3.0));
                for column in 4..7 {
                    put(&mut output, &types, column, row, text(row).map(|text| strings::make(text.as_bytes())));
                }
            }
            output.buffers.head.rows = rows as u64;
            output.flush(&Arrays::default()).unwrap();
            assert_eq!((output.buffers.head.rows, output.take_rows()), (0, rows as u64));
            let batch = output.batches.pop().unwrap();
            let rows = || 0..rows;
            assert_eq!(batch.column(0).as_boolean(), &rows().map(|r| some(r, 3).then_some(r % 2 == 0)).collect::<BooleanArray>());
            assert_eq!(batch.column(1).as_primitive(), &rows().map(|r| Some(r as i8)).collect::<Int8Array>());
            let decimals = rows().map(|r| some(r, 5).then_some(-(r as i128) << 40)).collect::<Decimal128Array>();
            assert_eq!(batch.column(2).as_primitive(), &decimals.with_precision_and_scale(20, 3).unwrap());
            assert_eq!(batch.column(3).as_primitive(), &rows().map(|r| some(r, 4).then_some(r as f32 / 3.0)).collect::<Float32Array>());
            batch.column(4).to_data().validate_full().unwrap();
            assert_eq!(batch.column(4).as_string_view(), &rows().map(text).collect::<StringViewArray>());
            assert_eq!(batch.column(5).as_string::<i32>(), &rows().map(text).collect::<StringArray>());
            assert_eq!(batch.column(6).as_string::<i64>(), &rows().map(text).collect::<LargeStringArray>());
        }
    }

    #[test]
    fn a_batch_is_cut_where_a_dictionary_has_too_few_keys() {
        let small = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let schema = Schema::new(vec![Field::new("c", small, true), Field::new("n", DataType::Int32, false)]);
        let types = [Type::new(SqlType::Utf8, true), Type::new(SqlType::Int32, false)];
        let mut output = Output::new(&types, Arc::new(schema));
        for row in 0..1_000 {
            let text = format!("{}", row % 500);
            put(&mut output, &types, 0, row, (row % 9 != 0).then(|| strings::make(text.as_bytes())));
            put(&mut output, &types, 1, row, Some(row as i32));
        }
        output.buffers.head.rows = 1_000;
        output.flush(&Arrays::default()).unwrap();
        assert_eq!(output.take_rows(), 1_000);
        let mut row = 0;
        for batch in &output.batches {
            let texts = adapt(batch.column(0), &DataType::Utf8View).unwrap();
            for at in 0..batch.num_rows() {
                assert_eq!(batch.column(1).as_primitive::<arrow::datatypes::Int32Type>().value(at), row);
                let text = texts.is_valid(at).then(|| texts.as_string_view().value(at).to_owned());
                assert_eq!(text, (row % 9 != 0).then(|| format!("{}", row % 500)));
                row += 1;
            }
        }
        assert_eq!(row, 1_000);
    }

    #[test]
    fn rows_without_columns_are_counted_and_nulls_are_checked() {
        let mut output = Output::new(&[], Arc::new(Schema::empty()));
        output.buffers.head.rows = 5;
        output.flush(&Arrays::default()).unwrap();
        assert_eq!(output.batches[0].num_rows(), 5);
        let schema = Schema::new(vec![Field::new("c", DataType::Int8, false)]);
        let mut output = Output::new(&[Type::new(SqlType::Int8, true)], Arc::new(schema));
        put::<i8>(&mut output, &[Type::new(SqlType::Int8, true)], 0, 0, None);
        output.buffers.head.rows = 1;
        assert!(matches!(output.flush(&Arrays::default()), Err(Error::Arrow(_))));
    }
}
