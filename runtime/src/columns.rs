//! Batches as generated code sees them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, IntervalUnit};
use arrow::error::ArrowError;
use stagefuse_ir::abi::{ColumnView, MAX_MORSEL_ROWS};
use stagefuse_ir::{InputDecl, SqlType, Storage, Stored, TimeUnit, Type};

use crate::adapt::adapt;
use crate::arrays::{Arrays, Held};
use crate::compact::{Block, BlockColumn, Dictionary};
use crate::error::Error;

/// Validity of a column without nulls.
static ALL_VALID: [u8; MAX_MORSEL_ROWS / 8] = [0xFF; MAX_MORSEL_ROWS / 8];

/// The columns of a batch or a block, in the forms that stages read, kept alive.
pub(crate) struct Columns {
    columns: Vec<Column>,
    views: Vec<ColumnView>,
    /// The arrays of host types.
    pub(crate) held: Held,
}

enum Column {
    /// An array, and how values of its type lie. Its first row is this one of the batch.
    Array { array: ArrayRef, storage: Storage, buffers: Vec<*const u8>, origin: usize },
    /// An array of a host type: the reference to its first row, which is this one of the batch.
    Rows { reference: u64, nulls: Option<NullBuffer>, origin: usize },
    /// Numbers of so many bytes without sign.
    Numbers { values: Buffer, bytes: usize, nulls: Option<NullBuffer>, dictionary: Option<Arc<Dictionary>> },
}

impl Columns {
    /// Adapts a batch; columns that lie in another form (offset text, dictionaries) are cast by Arrow's kernels. Computed columns are to be added.
    pub(crate) fn new(batch: &RecordBatch, input: &InputDecl, arrays: &Arc<Arrays>) -> Result<Self, Error> {
        let (types, stored) = (&input.columns[..input.given()], &input.stored);
        let lies = |stored: &Stored| matches!(stored, Stored::Arrow | Stored::Word);
        if batch.num_columns() != types.len() || !stored.iter().all(lies) {
            return Err(Error::Internal(format!("a batch of {} columns for an input of {}", batch.num_columns(), types.len())));
        }
        let mut columns = Columns { columns: Vec::with_capacity(input.columns.len()), views: vec![], held: Held::new(arrays) };
        for ((column, ty), stored) in batch.columns().iter().zip(types).zip(stored) {
            match stored {
                Stored::Word => columns.columns.push(Column::word(column, *ty)?),
                _ => columns.add(column, *ty, 0)?,
            }
        }
        Ok(columns)
    }

    /// Adds a column, whose first row is row `origin` of the others.
    pub(crate) fn add(&mut self, array: &ArrayRef, ty: Type, origin: usize) -> Result<(), Error> {
        let column = if ty.sql.is_host() {
            Column::Rows { reference: self.held.add(array), nulls: array.logical_nulls(), origin }
        } else {
            Column::array(adapt(array, &arrow_type(ty.sql))?, ty, origin)
        };
        self.columns.push(column);
        Ok(())
    }

    /// The columns of a block, of which `numbers` are the input's.
    pub(crate) fn of_block(block: &Block, numbers: &[usize], input: &InputDecl, arrays: &Arc<Arrays>) -> Result<Self, Error> {
        let mut held = Held::new(arrays);
        if numbers.len() != input.given() {
            return Err(Error::Internal(format!("{} columns of a block for an input of {}", numbers.len(), input.columns.len())));
        }
        let columns =
            numbers.iter().zip(&input.columns).zip(&input.stored).map(|((number, ty), stored)| match (block.column(*number), stored) {
                (Some(BlockColumn::Arrow(array)), Stored::Arrow) if ty.sql.is_host() => {
                    Ok(Column::Rows { reference: held.add(array), nulls: array.logical_nulls(), origin: 0 })
                }
                (Some(BlockColumn::Arrow(array)), Stored::Arrow) if *array.data_type() == arrow_type(ty.sql) => {
                    Ok(Column::array(Arc::clone(array), *ty, 0))
                }
                (Some(BlockColumn::Numbers { values, nulls, dictionary }), Stored::Offset { .. } | Stored::Dictionary { .. }) => {
                    let bytes = stored.bytes(ty.sql) as usize;
                    Ok(Column::Numbers { values: values.clone(), bytes, nulls: nulls.clone(), dictionary: dictionary.clone() })
                }
                _ => Err(Error::Internal(format!("column {number} of a block does not lie as {ty}{stored}"))),
            });
        let columns = columns.collect::<Result<_, Error>>()?;
        Ok(Columns { columns, views: vec![], held })
    }

    /// Views of the rows from `first` on.
    pub(crate) fn at(&mut self, first: usize) -> &[ColumnView] {
        let Columns { columns, views, .. } = self;
        views.clear();
        views.extend(columns.iter().map(|column| column.view(first)));
        views
    }
}

impl Column {
    fn array(array: ArrayRef, ty: Type, origin: usize) -> Self {
        let buffers = match ty.sql.storage() {
            Storage::View => view_buffers(&array),
            _ => vec![],
        };
        Column::Array { array, storage: ty.sql.storage(), buffers, origin }
    }

    /// A decimal in 8 bytes. One that comes in more, from a file that holds it so, is made narrow here.
    fn word(array: &ArrayRef, ty: Type) -> Result<Self, Error> {
        let SqlType::Decimal { precision, scale } = ty.sql else {
            return Err(Error::Internal(format!("a column of {ty} in words of 8 bytes")));
        };
        let mut array = Arc::clone(array);
        if *array.data_type() != DataType::Decimal64(precision, scale) {
            let wide = adapt(&array, &arrow_type(ty.sql))?;
            // Arrow's own cast takes the digits of the type for granted, and panics where a value has more.
            let word = |value: i128| {
                i64::try_from(value).map_err(|_| ArrowError::CastError(format!("Can't cast {value} to a decimal of 64 bits")))
            };
            array = Arc::new(wide.as_primitive::<Decimal128Type>().try_unary::<_, Int64Type, _>(word)?);
        }
        Ok(Column::Array { array, storage: Storage::Fixed(8), buffers: vec![], origin: 0 })
    }

    fn view(&self, first: usize) -> ColumnView {
        match self {
            Column::Rows { reference, nulls, origin } => {
                let first = first - origin;
                let (validity, validity_bit) = validity(nulls.as_ref(), first);
                // Not an address: nothing is read there.
                let values = std::ptr::without_provenance(*reference as usize + first);
                ColumnView { values, validity, buffers: std::ptr::null(), values_bit: 0, validity_bit }
            }
            Column::Array { array, storage, buffers, origin } => {
                let first = first - origin;
                let (validity, validity_bit) = validity(array.nulls(), first);
                let (values, values_bit) = match storage {
                    Storage::Bits => {
                        let bits = array.as_boolean().values();
                        (bits.inner().as_ptr(), (bits.offset() + first) as u64)
                    }
                    Storage::View => (views(array)[first.min(array.len())..].as_ptr().cast(), 0),
                    // Columns of host types are rows.
                    Storage::Rows => (std::ptr::null(), 0),
                    Storage::Fixed(width) => {
                        let data = array.to_data();
                        // SAFETY: the buffer holds `offset + len` values of this width, and `first` is not beyond them.
                        (unsafe { data.buffers()[0].as_ptr().add((data.offset() + first) * *width as usize) }, 0)
                    }
                };
                ColumnView { values, validity, buffers: buffers.as_ptr(), values_bit, validity_bit }
            }
            Column::Numbers { values, bytes, nulls, dictionary } => {
                let (validity, validity_bit) = validity(nulls.as_ref(), first);
                let values = values.as_slice()[(first * bytes).min(values.len())..].as_ptr();
                let buffers = dictionary.as_ref().map_or(std::ptr::null(), |dictionary| dictionary.entries().as_ptr().cast());
                ColumnView { values, validity, buffers, values_bit: 0, validity_bit }
            }
        }
    }
}

/// Address and bit number of the validity of a row.
fn validity(nulls: Option<&NullBuffer>, row: usize) -> (*const u8, u64) {
    match nulls {
        Some(nulls) => (nulls.buffer().as_ptr(), (nulls.offset() + row) as u64),
        None => (ALL_VALID.as_ptr(), 0),
    }
}

/// The views of an array of text or bytes.
pub(crate) fn views(array: &ArrayRef) -> &[u128] {
    match array.as_string_view_opt() {
        Some(text) => text.views(),
        None => array.as_binary_view().views(),
    }
}

/// The addresses of the buffers that an array's views name.
pub(crate) fn view_buffers(array: &ArrayRef) -> Vec<*const u8> {
    let buffers = match array.as_string_view_opt() {
        Some(text) => text.data_buffers(),
        None => array.as_binary_view().data_buffers(),
    };
    buffers.iter().map(|buffer| buffer.as_ptr()).collect()
}

/// The Arrow type whose layout a stage reads. A timestamp has no time zone there: it belongs to the host, as do host types, which have no such
/// layout (their type is `Null` here).
pub fn arrow_type(sql: SqlType) -> DataType {
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
        SqlType::Decimal32 { precision, scale } => DataType::Decimal32(precision, scale),
        SqlType::Decimal64 { precision, scale } => DataType::Decimal64(precision, scale),
        SqlType::Date32 => DataType::Date32,
        SqlType::Date64 => DataType::Date64,
        SqlType::Time(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(arrow_unit(unit)),
        SqlType::Time(unit) => DataType::Time64(arrow_unit(unit)),
        SqlType::Timestamp(unit) => DataType::Timestamp(arrow_unit(unit), None),
        SqlType::Duration(unit) => DataType::Duration(arrow_unit(unit)),
        SqlType::IntervalMonths => DataType::Interval(IntervalUnit::YearMonth),
        SqlType::Utf8 => DataType::Utf8View,
        SqlType::Binary => DataType::BinaryView,
        SqlType::Host(_) => DataType::Null,
    }
}

fn arrow_unit(unit: TimeUnit) -> arrow::datatypes::TimeUnit {
    match unit {
        TimeUnit::Second => arrow::datatypes::TimeUnit::Second,
        TimeUnit::Millisecond => arrow::datatypes::TimeUnit::Millisecond,
        TimeUnit::Microsecond => arrow::datatypes::TimeUnit::Microsecond,
        TimeUnit::Nanosecond => arrow::datatypes::TimeUnit::Nanosecond,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Decimal128Array, DictionaryArray, Int32Array, Int64Array, LargeStringArray, StringArray, StringViewArray,
    };
    use arrow::datatypes::{Field, Int8Type, Schema};

    use super::*;

    fn batch(arrays: Vec<ArrayRef>) -> RecordBatch {
        let fields = arrays.iter().map(|array| Field::new("c", array.data_type().clone(), true));
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays).unwrap()
    }

    fn input(types: &[Type]) -> InputDecl {
        InputDecl { name: "t".into(), columns: types.to_vec(), stored: vec![Stored::Arrow; types.len()], ..InputDecl::default() }
    }

    fn bit(bits: *const u8, at: usize) -> bool {
        // SAFETY: tests ask for bits of their arrays only.
        unsafe { bits.add(at / 8).read() >> (at % 8) & 1 == 1 }
    }

    fn valid(view: &ColumnView, row: usize) -> bool {
        bit(view.validity, view.validity_bit as usize + row)
    }

    fn fixed<T: Copy>(view: &ColumnView, row: usize) -> T {
        // SAFETY: as above; values need not be aligned.
        unsafe { view.values.cast::<T>().add(row).read_unaligned() }
    }

    fn text(view: &ColumnView, row: usize) -> String {
        let words: u128 = fixed(view, row);
        let len = words as u32 as usize;
        let bytes = words.to_le_bytes();
        if len <= 12 {
            return String::from_utf8(bytes[4..4 + len].to_vec()).unwrap();
        }
        let (buffer, offset) = ((words >> 64) as u32 as usize, (words >> 96) as usize);
        // SAFETY: a view refers to a range of one of the buffers.
        let long = unsafe { std::slice::from_raw_parts((*view.buffers.add(buffer)).add(offset), len) };
        String::from_utf8(long.to_vec()).unwrap()
    }

    const ROWS: usize = MAX_MORSEL_ROWS + 500;

    fn number(row: usize) -> Option<i64> {
        (!row.is_multiple_of(3)).then_some(row as i64)
    }

    fn string(row: usize) -> Option<String> {
        (!row.is_multiple_of(5))
            .then(|| if row.is_multiple_of(2) { format!("s{row}") } else { format!("text longer than twelve bytes {row}") })
    }

    #[test]
    fn sliced_columns_with_nulls_are_seen_as_they_are() {
        let rows = || 0..ROWS;
        let texts: Vec<_> = rows().map(string).collect();
        let whole = batch(vec![
            Arc::new(rows().map(number).collect::<Int64Array>()),
            Arc::new(rows().map(|row| Some(row as i32)).collect::<Int32Array>()),
            Arc::new(rows().map(|row| number(row).map(|n| n % 2 == 0)).collect::<BooleanArray>()),
            Arc::new(rows().map(|row| number(row).map(|n| -i128::from(n))).collect::<Decimal128Array>()),
            Arc::new(StringViewArray::from_iter(texts.clone())),
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(LargeStringArray::from(texts.clone())),
            Arc::new(
                rows()
                    .map(|row| (!row.is_multiple_of(7)).then_some(["a", "a long word of a dictionary"][row % 2]))
                    .collect::<DictionaryArray<Int8Type>>(),
            ),
        ]);
        let ty = |sql| Type::new(sql, true);
        let types = [
            ty(SqlType::Int64),
            Type::new(SqlType::Int32, false),
            ty(SqlType::Boolean),
            ty(SqlType::Decimal { precision: 38, scale: 10 }),
            ty(SqlType::Utf8),
            ty(SqlType::Utf8),
            ty(SqlType::Utf8),
            ty(SqlType::Utf8),
        ];
        for start in [0, 1, 7, 13, 64, 300] {
            let batch = whole.slice(start, ROWS - start);
            let mut columns = Columns::new(&batch, &input(&types), &Arc::default()).unwrap();
            for first in [0, MAX_MORSEL_ROWS] {
                let rows = MAX_MORSEL_ROWS.min(batch.num_rows().saturating_sub(first));
                let views = columns.at(first.min(batch.num_rows()));
                for row in (0..rows).step_by(11) {
                    let at = start + first + row;
                    let seen = valid(&views[0], row).then(|| fixed::<i64>(&views[0], row));
                    assert_eq!(seen, number(at));
                    assert!(valid(&views[1], row));
                    assert_eq!(fixed::<i32>(&views[1], row), at as i32);
                    let seen = valid(&views[2], row).then(|| bit(views[2].values, views[2].values_bit as usize + row));
                    assert_eq!(seen, number(at).map(|n| n % 2 == 0));
                    let seen = valid(&views[3], row).then(|| fixed::<i128>(&views[3], row));
                    assert_eq!(seen, number(at).map(|n| -i128::from(n)));
                    for view in &views[4..7] {
                        assert_eq!(valid(view, row).then(|| text(view, row)), string(at));
                    }
                    let word = (!at.is_multiple_of(7)).then(|| ["a", "a long word of a dictionary"][at % 2].to_owned());
                    assert_eq!(valid(&views[7], row).then(|| text(&views[7], row)), word);
                }
            }
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error() {
        let batch = batch(vec![Arc::new(Int64Array::from(vec![1, i64::MAX]))]);
        assert!(matches!(Columns::new(&batch, &input(&[Type::new(SqlType::Int32, false)]), &Arc::default()), Err(Error::Arrow(_))));
        assert!(matches!(Columns::new(&batch, &input(&[]), &Arc::default()), Err(Error::Internal(_))));
    }
}
