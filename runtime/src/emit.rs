//! Output buffers of stages that emit rows or hand them over, and how they become batches.

use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, GenericStringBuilder, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StringViewArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use stagefuse_ir::Type;
use stagefuse_ir::abi::{OUT_ROWS, OutColumn, OutHead, STR_INLINE, StrRef};

use crate::arrays::Arrays;
use crate::builtins::strings;
use crate::error::Error;

/// The output buffers of one worker.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) head: Box<OutHead>,
    _columns: Box<[OutColumn]>,
    values: Vec<Vec<u64>>,
    valid: Vec<Vec<u8>>,
    types: Vec<Type>,
    schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    /// Rows flushed since the last [`Output::take_rows`].
    flushed: u64,
}

// SAFETY: the head's addresses are those of the buffers, which the output owns.
unsafe impl Send for Output {}
// SAFETY: shared access only reads.
unsafe impl Sync for Output {}

impl Output {
    pub(crate) fn new(types: &[Type], schema: SchemaRef) -> Self {
        let mut values: Vec<Vec<u64>> =
            types.iter().map(|ty| vec![0; (ty.sql.default_repr().bytes() as usize * OUT_ROWS).div_ceil(8)]).collect();
        let mut valid: Vec<Vec<u8>> = types.iter().map(|ty| vec![0; if ty.nullable { OUT_ROWS } else { 0 }]).collect();
        let columns: Box<[OutColumn]> = values
            .iter_mut()
            .zip(&mut valid)
            .map(|(values, valid)| OutColumn { values: values.as_mut_ptr().cast(), valid: valid.as_mut_ptr() })
            .collect();
        let head = Box::new(OutHead { columns: columns.as_ptr(), rows: 0 });
        Output { head, _columns: columns, values, valid, types: types.to_vec(), schema, batches: vec![], flushed: 0 }
    }

    /// Turns the buffered rows into a batch and empties the buffers.
    pub(crate) fn flush(&mut self, arrays: &Arrays) -> Result<(), Error> {
        let rows = self.head.rows as usize;
        self.head.rows = 0;
        if rows == 0 {
            return Ok(());
        }
        let columns = (0..self.types.len()).map(|column| self.column(column, rows, arrays)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        self.batches.push(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        self.flushed += rows as u64;
        Ok(())
    }

    /// Forgets the buffered rows: their stage failed, and the text they refer to may be gone.
    pub(crate) fn discard(&mut self) {
        self.head.rows = 0;
    }

    /// How many rows have been flushed since the last call.
    pub(crate) fn take_rows(&mut self) -> u64 {
        std::mem::take(&mut self.flushed)
    }

    fn column(&self, column: usize, rows: usize, arrays: &Arrays) -> Result<ArrayRef, Error> {
        if self.types[column].sql.is_host() {
            return self.rows_of_host(column, rows, arrays);
        }
        let data_type = self.schema.field(column).data_type();
        let nulls = self.types[column].nullable.then(|| {
            let valid = &self.valid[column];
            NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| valid[row] != 0))
        });
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        Ok(match data_type {
            DataType::Boolean => {
                let bytes = self.bytes(column, rows);
                let values = BooleanBuffer::collect_bool(rows, |row| bytes[row] != 0);
                Arc::new(arrow::array::BooleanArray::new(values, nulls))
            }
            DataType::Utf8View => Arc::new(views(self.texts(column, rows), nulls)),
            DataType::Utf8 => offsets::<i32>(self.texts(column, rows), nulls.as_ref())?,
            DataType::LargeUtf8 => offsets::<i64>(self.texts(column, rows), nulls.as_ref())?,
            other => {
                let width = self.types[column].sql.default_repr().bytes() as usize;
                let data = ArrayData::builder(other.clone())
                    .len(rows)
                    .nulls(nulls)
                    .add_buffer(Buffer::from(&self.bytes(column, rows)[..rows * width]))
                    .align_buffers(true)
                    .build()?;
                make_array(data)
            }
        })
    }

    fn rows_of_host(&self, column: usize, rows: usize, arrays: &Arrays) -> Result<ArrayRef, Error> {
        let ty = self.types[column];
        arrays.gather(ty.sql, &self.values[column][..rows], |row| !ty.nullable || self.valid[column][row] != 0)
    }

    fn bytes(&self, column: usize, rows: usize) -> &[u8] {
        let width = self.types[column].sql.default_repr().bytes() as usize;
        // SAFETY: the buffer has room for `OUT_ROWS` values of this width, and words are bytes.
        unsafe { std::slice::from_raw_parts(self.values[column].as_ptr().cast(), rows * width) }
    }

    fn texts(&self, column: usize, rows: usize) -> &[StrRef] {
        // SAFETY: a text column's buffer holds `StrRef`s; it is aligned to 8, as they are.
        unsafe { std::slice::from_raw_parts(self.values[column].as_ptr().cast(), rows) }
    }
}

/// Text as views; long text is copied, since what it refers to may go before the batch does.
fn views(texts: &[StrRef], nulls: Option<NullBuffer>) -> StringViewArray {
    let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let mut buffers: Vec<Buffer> = vec![];
    let mut data: Vec<u8> = vec![];
    let mut views: Vec<u128> = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        if !is_valid(row) {
            views.push(0);
        } else if text.lo as u32 <= STR_INLINE {
            views.push((u128::from(text.hi) << 64) | u128::from(text.lo));
        } else {
            // SAFETY: an emitted text lives until its rows are flushed.
            let text_bytes = unsafe { strings::bytes(text) };
            // Offsets of views are 32-bit integers with a sign.
            if data.len() + text_bytes.len() > i32::MAX as usize && !data.is_empty() {
                buffers.push(Buffer::from_vec(std::mem::take(&mut data)));
            }
            let place = ((data.len() as u64) << 32) | buffers.len() as u64;
            data.extend_from_slice(text_bytes);
            views.push((u128::from(place) << 64) | u128::from(text.lo));
        }
    }
    if !data.is_empty() {
        buffers.push(Buffer::from_vec(data));
    }
    // SAFETY: every view is inline, or names a range of one of the buffers with its prefix; text of the engine is UTF-8.
    unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), buffers, nulls) }
}

fn offsets<O: OffsetSizeTrait>(texts: &[StrRef], nulls: Option<&NullBuffer>) -> Result<ArrayRef, Error> {
    let valid = texts.iter().enumerate().filter(|(row, _)| nulls.is_none_or(|nulls| nulls.is_valid(*row)));
    let bytes: usize = valid.map(|(_, text)| text.lo as u32 as usize).sum();
    if bytes > O::MAX_OFFSET {
        return Err(ArrowError::OffsetOverflowError(bytes).into());
    }
    let mut builder = GenericStringBuilder::<O>::with_capacity(texts.len(), bytes);
    for (row, text) in texts.iter().enumerate() {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            // SAFETY: as in `views`.
            builder.append_value(unsafe { std::str::from_utf8_unchecked(strings::bytes(text)) });
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, BooleanArray, Decimal128Array, Float32Array, Int8Array, LargeStringArray, StringArray};
    use arrow::datatypes::{Field, Schema};
    use stagefuse_ir::SqlType;

    use super::*;

    /// Writes as generated code does.
    fn put<T>(output: &mut Output, column: usize, row: usize, value: Option<T>) {
        // SAFETY: the head holds one column for each type, with room for `OUT_ROWS` values and, where nullable, validity bytes.
        unsafe {
            let to = &*output.head.columns.add(column);
            if output.types[column].nullable {
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
                put(&mut output, 0, row, some(row, 3).then_some(u8::from(row % 2 == 0)));
                put(&mut output, 1, row, Some(row as i8));
                put(&mut output, 2, row, some(row, 5).then_some(-(row as i128) << 40));
                put(&mut output, 3, row, some(row, 4).then_some(row as f32 / 3.0));
                for column in 4..7 {
                    put(&mut output, column, row, text(row).map(|text| strings::make(text.as_bytes())));
                }
            }
            output.head.rows = rows as u64;
            output.flush(&Arrays::default()).unwrap();
            assert_eq!((output.head.rows, output.take_rows()), (0, rows as u64));
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
    fn rows_without_columns_are_counted_and_nulls_are_checked() {
        let mut output = Output::new(&[], Arc::new(Schema::empty()));
        output.head.rows = 5;
        output.flush(&Arrays::default()).unwrap();
        assert_eq!(output.batches[0].num_rows(), 5);
        let schema = Schema::new(vec![Field::new("c", DataType::Int8, false)]);
        let mut output = Output::new(&[Type::new(SqlType::Int8, true)], Arc::new(schema));
        put::<i8>(&mut output, 0, 0, None);
        output.head.rows = 1;
        assert!(matches!(output.flush(&Arrays::default()), Err(Error::Arrow(_))));
    }
}
