//! Batches as generated code sees them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use stagefuse_ir::abi::{ColumnView, MAX_MORSEL_ROWS};
use stagefuse_ir::{SqlType, Storage, Type};

use crate::error::Error;

/// Validity of a column without nulls.
static ALL_VALID: [u8; MAX_MORSEL_ROWS / 8] = [0xFF; MAX_MORSEL_ROWS / 8];

/// A value that the wanted type cannot hold is an error, not a null.
const CHECKED: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// The columns of a batch, in the forms that stages read, kept alive.
pub(crate) struct Columns {
    arrays: Vec<ArrayRef>,
    types: Vec<Type>,
    /// Addresses of each text column's data buffers.
    buffers: Vec<Vec<*const u8>>,
    views: Vec<ColumnView>,
}

impl Columns {
    /// Adapts a batch; columns that lie in another form (offset text, dictionaries) are cast by Arrow's kernels.
    pub(crate) fn new(batch: &RecordBatch, types: &[Type]) -> Result<Self, Error> {
        if batch.num_columns() != types.len() {
            return Err(Error::Internal(format!("a batch of {} columns for an input of {}", batch.num_columns(), types.len())));
        }
        let mut arrays = Vec::with_capacity(types.len());
        for (column, ty) in batch.columns().iter().zip(types) {
            let wanted = arrow_type(ty.sql);
            arrays.push(if *column.data_type() == wanted { column.clone() } else { cast_with_options(column, &wanted, &CHECKED)? });
        }
        let buffers = arrays.iter().map(|array| match array.as_string_view_opt() {
            Some(text) => text.data_buffers().iter().map(|buffer| buffer.as_ptr()).collect(),
            None => vec![],
        });
        let buffers = buffers.collect();
        Ok(Columns { arrays, types: types.to_vec(), buffers, views: vec![] })
    }

    /// Views of the rows from `first` on.
    pub(crate) fn at(&mut self, first: usize) -> &[ColumnView] {
        self.views.clear();
        for ((array, ty), buffers) in self.arrays.iter().zip(&self.types).zip(&self.buffers) {
            let (validity, validity_bit) = match array.nulls() {
                Some(nulls) => (nulls.buffer().as_ptr(), (nulls.offset() + first) as u64),
                None => (ALL_VALID.as_ptr(), 0),
            };
            let (values, values_bit) = match ty.sql.storage() {
                Storage::Bits => {
                    let bits = array.as_boolean().values();
                    (bits.inner().as_ptr(), (bits.offset() + first) as u64)
                }
                Storage::View => (array.as_string_view().views()[first.min(array.len())..].as_ptr().cast(), 0),
                Storage::Fixed(width) => {
                    let data = array.to_data();
                    // SAFETY: the buffer holds `offset + len` values of this width, and `first` is not beyond them.
                    (unsafe { data.buffers()[0].as_ptr().add((data.offset() + first) * width as usize) }, 0)
                }
            };
            self.views.push(ColumnView { values, validity, buffers: buffers.as_ptr(), values_bit, validity_bit });
        }
        &self.views
    }
}

/// The Arrow type whose layout a stage reads.
pub(crate) fn arrow_type(sql: SqlType) -> DataType {
    match sql {
        SqlType::Boolean => DataType::Boolean,
        SqlType::Int8 => DataType::Int8,
        SqlType::Int16 => DataType::Int16,
        SqlType::Int32 => DataType::Int32,
        SqlType::Int64 => DataType::Int64,
        SqlType::UInt8 => DataType::UInt8,
        SqlType::UInt16 => DataType::UInt16,
        SqlType::UInt32 => DataType::UInt32,
        SqlType::UInt64 => DataType::UInt64,
        SqlType::Float32 => DataType::Float32,
        SqlType::Float64 => DataType::Float64,
        SqlType::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        SqlType::Date32 => DataType::Date32,
        SqlType::Utf8 => DataType::Utf8View,
    }
}
