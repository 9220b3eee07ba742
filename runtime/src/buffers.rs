//! Columns that rows are written to one by one, and how they become arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, FixedSizeBinaryArray, GenericByteBuilder, GenericByteViewArray, OffsetSizeTrait, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    BinaryType, BinaryViewType, ByteArrayType, ByteViewType, DataType, LargeBinaryType, LargeUtf8Type, StringViewType, Utf8Type,
};
use arrow::error::ArrowError;
use stagefuse_ir::Type;
use stagefuse_ir::abi::{OUT_ROWS, OutColumn, OutHead, STR_INLINE, StrRef};

use crate::adapt::adapt;
use crate::arrays::Arrays;
use crate::builtins::strings;
use crate::error::Error;

/// Buffers of [`OUT_ROWS`] rows, which engines write to.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) head: Box<OutHead>,
    _columns: Box<[OutColumn]>,
    values: Vec<Vec<u64>>,
    valid: Vec<Vec<u8>>,
    types: Vec<Type>,
}

// SAFETY: the head's addresses are those of the buffers, which it owns.
unsafe impl Send for Buffers {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffers {}

impl Buffers {
    pub(crate) fn new(types: &[Type]) -> Self {
        let mut values: Vec<Vec<u64>> =
            types.iter().map(|ty| vec![0; (ty.sql.default_repr().bytes() as usize * OUT_ROWS).div_ceil(8)]).collect();
        let mut valid: Vec<Vec<u8>> = types.iter().map(|ty| vec![0; if ty.nullable { OUT_ROWS } else { 0 }]).collect();
        let columns: Box<[OutColumn]> = values
            .iter_mut()
            .zip(&mut valid)
            .map(|(values, valid)| OutColumn { values: values.as_mut_ptr().cast(), valid: valid.as_mut_ptr() })
            .collect();
        let head = Box::new(OutHead { columns: columns.as_ptr(), rows: 0 });
        Buffers { head, _columns: columns, values, valid, types: types.to_vec() }
    }

    /// Takes the rows that are buffered: the next row overwrites the first. Yields how many they are.
    pub(crate) fn take_rows(&mut self) -> usize {
        std::mem::take(&mut self.head.rows) as usize
    }

    /// The first `rows` values of a column of 64-bit integers.
    pub(crate) fn words(&self, column: usize, rows: usize) -> &[u64] {
        &self.values[column][..rows]
    }

    /// Buffered rows of a column as an array of a type that fits the column's.
    pub(crate) fn array(&self, column: usize, rows: Range<usize>, data_type: &DataType, arrays: &Arrays) -> Result<ArrayRef, Error> {
        let ty = self.types[column];
        let count = rows.len();
        if ty.sql.is_host() {
            let is_valid = |row: usize| !ty.nullable || self.valid[column][rows.start + row] != 0;
            return arrays.gather(ty.sql, &self.values[column][rows.clone()], is_valid);
        }
        let packed = match data_type {
            DataType::Dictionary(_, value) => Some(&**value),
            DataType::RunEndEncoded(_, value) => Some(value.data_type()),
            _ => None,
        };
        if let Some(value) = packed {
            return Ok(adapt(&self.array(column, rows, value, arrays)?, data_type)?);
        }
        let nulls = ty.nullable.then(|| {
            let valid = &self.valid[column][rows.clone()];
            NullBuffer::new(BooleanBuffer::collect_bool(count, |row| valid[row] != 0))
        });
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let texts = || self.texts(column, rows.clone());
        Ok(match data_type {
            DataType::Boolean => {
                let bytes = self.bytes(column, rows.clone());
                let values = BooleanBuffer::collect_bool(count, |row| bytes[row] != 0);
                Arc::new(arrow::array::BooleanArray::new(values, nulls))
            }
            DataType::Utf8View => Arc::new(views::<StringViewType>(texts(), nulls)),
            DataType::BinaryView => Arc::new(views::<BinaryViewType>(texts(), nulls)),
            DataType::Utf8 => offsets::<Utf8Type>(texts(), nulls.as_ref(), text)?,
            DataType::LargeUtf8 => offsets::<LargeUtf8Type>(texts(), nulls.as_ref(), text)?,
            DataType::Binary => offsets::<BinaryType>(texts(), nulls.as_ref(), |bytes| bytes)?,
            DataType::LargeBinary => offsets::<LargeBinaryType>(texts(), nulls.as_ref(), |bytes| bytes)?,
            DataType::FixedSizeBinary(width) => {
                let values = texts().iter().enumerate().map(|(row, value)| {
                    // SAFETY: as in `views`.
                    nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then(|| unsafe { strings::bytes(value) })
                });
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *width)?)
            }
            other => {
                let data = ArrayData::builder(other.clone())
                    .len(count)
                    .nulls(nulls)
                    .add_buffer(Buffer::from(self.bytes(column, rows.clone())))
                    .align_buffers(true)
                    .build()?;
                make_array(data)
            }
        })
    }

    fn bytes(&self, column: usize, rows: Range<usize>) -> &[u8] {
        let width = self.types[column].sql.default_repr().bytes() as usize;
        // SAFETY: the buffer has room for `OUT_ROWS` values of this width, and words are bytes.
        let all: &[u8] = unsafe { std::slice::from_raw_parts(self.values[column].as_ptr().cast(), OUT_ROWS * width) };
        &all[rows.start * width..rows.end * width]
    }

    fn texts(&self, column: usize, rows: Range<usize>) -> &[StrRef] {
        // SAFETY: a text column's buffer holds `OUT_ROWS` `StrRef`s; it is aligned to 8, as they are.
        let all: &[StrRef] = unsafe { std::slice::from_raw_parts(self.values[column].as_ptr().cast(), OUT_ROWS) };
        &all[rows]
    }
}

/// Text as views; long text is copied, since what it refers to may go before the batch does.
fn views<T: ByteViewType>(texts: &[StrRef], nulls: Option<NullBuffer>) -> GenericByteViewArray<T> {
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
    // SAFETY: every view is inline, or names a range of one of the buffers with its prefix; a column of text holds UTF-8.
    unsafe { GenericByteViewArray::new_unchecked(ScalarBuffer::from(views), buffers, nulls) }
}

/// A text of a column of text.
fn text(bytes: &[u8]) -> &str {
    // SAFETY: a column of type `Utf8` holds UTF-8: what need not be is of type `Binary`, which no operation turns into text unseen.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

/// Text or bytes behind each other; `native` says what bytes mean.
fn offsets<T: ByteArrayType>(texts: &[StrRef], nulls: Option<&NullBuffer>, native: fn(&[u8]) -> &T::Native) -> Result<ArrayRef, Error> {
    let valid = texts.iter().enumerate().filter(|(row, _)| nulls.is_none_or(|nulls| nulls.is_valid(*row)));
    let bytes: usize = valid.map(|(_, text)| text.lo as u32 as usize).sum();
    if bytes > T::Offset::MAX_OFFSET {
        return Err(ArrowError::OffsetOverflowError(bytes).into());
    }
    let mut builder = GenericByteBuilder::<T>::with_capacity(texts.len(), bytes);
    for (row, text) in texts.iter().enumerate() {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            // SAFETY: as in `views`.
            builder.append_value(native(unsafe { strings::bytes(text) }));
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}
