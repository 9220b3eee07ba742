//! From record batches to a compact table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, new_empty_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::concat;
use arrow::datatypes::{
    ArrowPrimitiveType, ByteViewType, DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, SchemaRef,
};
use arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use stagefuse_ir::{SqlType, Stored};

use super::{Block, BlockColumn, ColumnInfo, CompactTable, Dictionary};
use crate::adapt::{adapt, retype};
use crate::columns::arrow_type;

/// Most different texts of a dictionary: their numbers take two bytes.
const MOST_ENTRIES: usize = 1 << 16;

/// Rows for each different text, at least: with fewer a dictionary gains nothing.
const ROWS_PER_ENTRY: usize = 8;

/// Distinct numbers are counted where their range is at most so many times the number of rows.
const COUNTED_RANGE: u64 = 64;

/// Bytes that may lie about in the buffers of a column of text.
const MUCH: usize = 1 << 16;

/// A compact table in the making, column by column: what a column was made of need not be there any more when the next one comes.
#[derive(Debug)]
pub struct CompactBuilder {
    schema: SchemaRef,
    /// The columns' types in the IR, where it has them.
    types: Vec<Option<SqlType>>,
    /// Rows by partition.
    rows: Vec<usize>,
    columns: Vec<ColumnInfo>,
    blocks: Vec<Vec<BlockColumn>>,
}

impl CompactBuilder {
    /// A table of so many rows, by partition. `types` are the columns' types in the IR, where it has them.
    pub fn new(schema: SchemaRef, types: Vec<Option<SqlType>>, rows: Vec<usize>) -> Self {
        let blocks = rows.iter().map(|_| vec![]).collect();
        CompactBuilder { schema, types, rows, columns: vec![], blocks }
    }

    /// Adds the next column: by partition, arrays of its rows.
    ///
    /// # Errors
    /// Where arrays have another type than the schema, or another number of rows; or there is no such column.
    pub fn column(&mut self, parts: &[Vec<ArrayRef>]) -> Result<(), ArrowError> {
        let number = self.columns.len();
        let fields = self.schema.fields();
        let field = fields.get(number).ok_or_else(|| ArrowError::SchemaError(format!("the schema has no column {number}")))?;
        let rows: Vec<usize> = parts.iter().map(|arrays| arrays.iter().map(|array| array.len()).sum()).collect();
        if rows != self.rows {
            return Err(ArrowError::InvalidArgumentError(format!("column {number} has {rows:?} rows by partition, not {:?}", self.rows)));
        }
        let sql = self.types.get(number).copied().flatten();
        let held = sql.map_or_else(|| field.data_type().clone(), arrow_type);
        // One partition after the other would leave all but one core idle.
        let parts = in_parallel(parts, |arrays| whole(arrays, number, field.data_type(), &held))?;
        let (info, blocks) = column(sql, &parts)?;
        self.columns.push(info);
        self.blocks.iter_mut().zip(blocks).for_each(|(block, column)| block.push(column));
        Ok(())
    }

    /// The table.
    ///
    /// # Errors
    /// Where columns are missing.
    pub fn finish(self) -> Result<CompactTable, ArrowError> {
        let (columns, fields) = (self.columns.len(), self.schema.fields().len());
        if columns != fields {
            return Err(ArrowError::SchemaError(format!("{columns} of {fields} columns are there")));
        }
        let partitions = self.blocks.into_iter().zip(self.rows).map(|(columns, rows)| Arc::new(Block { rows, columns })).collect();
        Ok(CompactTable { schema: self.schema, columns: self.columns, partitions })
    }
}

impl CompactTable {
    /// Makes a table of these batches, by partition. `types` are the columns' types in the IR, where it has them.
    ///
    /// # Errors
    /// Where batches have other columns than the schema.
    pub fn new(schema: SchemaRef, types: &[Option<SqlType>], partitions: &[Vec<RecordBatch>]) -> Result<CompactTable, ArrowError> {
        let columns = schema.fields().len();
        let rows = partitions.iter().map(|batches| batches.iter().map(RecordBatch::num_rows).sum()).collect();
        let mut builder = CompactBuilder::new(schema, types.to_vec(), rows);
        let column = |batch: &RecordBatch, number: usize| {
            let column = batch.columns().get(number).cloned();
            column.ok_or_else(|| ArrowError::SchemaError(format!("a batch has no column {number}")))
        };
        for number in 0..columns {
            let parts = partitions.iter().map(|batches| batches.iter().map(|batch| column(batch, number)).collect());
            builder.column(&parts.collect::<Result<Vec<Vec<ArrayRef>>, ArrowError>>()?)?;
        }
        builder.finish()
    }
}

/// Does the same for every part, each in a thread of its own.
fn in_parallel<'p, P: Sync, R: Send>(parts: &'p [P], f: impl Fn(&'p P) -> Result<R, ArrowError> + Sync) -> Result<Vec<R>, ArrowError> {
    std::thread::scope(|scope| {
        let f = &f;
        let workers: Vec<_> = parts.iter().map(|part| scope.spawn(move || f(part))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// A column of a partition as one array.
fn whole(arrays: &[ArrayRef], column: usize, data_type: &DataType, held: &DataType) -> Result<ArrayRef, ArrowError> {
    let adapted = |array: &ArrayRef| match array.data_type() {
        other if other != data_type => Err(ArrowError::SchemaError(format!("column {column} is {other}, not {data_type}"))),
        _ => adapt(array, held),
    };
    let arrays = arrays.iter().map(adapted).collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    match arrays.as_slice() {
        [] => Ok(new_empty_array(held)),
        [only] => Ok(Arc::clone(only)),
        arrays => concat(&arrays.iter().map(|array| &**array).collect::<Vec<&dyn Array>>()),
    }
}

/// An array that is kept as it is. Text of a file lies among whatever else was in its pages: that is left out where it is much.
fn kept(array: &ArrayRef) -> ArrayRef {
    fn alone<T: ByteViewType>(array: &GenericByteViewArray<T>) -> ArrayRef {
        let held: usize = array.data_buffers().iter().map(|buffer| buffer.len()).sum();
        Arc::new(if held > array.total_buffer_bytes_used() / 8 * 9 + MUCH { array.gc() } else { array.clone() })
    }
    match array.data_type() {
        DataType::Utf8View => alone(array.as_string_view()),
        DataType::BinaryView => alone(array.as_binary_view()),
        _ => Arc::clone(array),
    }
}

/// Encodes a column, of which there is one array for each partition.
fn column(sql: Option<SqlType>, parts: &[ArrayRef]) -> Result<(ColumnInfo, Vec<BlockColumn>), ArrowError> {
    let nulls = parts.iter().map(|part| part.logical_null_count()).sum();
    let mut info = ColumnInfo { sql, stored: Stored::Arrow, range: None, nulls, distinct: None, dictionary: None };
    let as_it_is = |info| Ok((info, in_parallel(parts, |part| Ok(BlockColumn::Arrow(kept(part))))?));
    match sql {
        Some(SqlType::Utf8) => {
            let Some(texts) = few_texts(parts)? else { return as_it_is(info) };
            info.distinct = Some(texts.len());
            let dictionary = Arc::new(Dictionary::new(texts));
            info.stored = Stored::Dictionary { entries: dictionary.texts.len() as u32 };
            let bytes = info.stored.bytes(SqlType::Utf8);
            info.dictionary = Some(Arc::clone(&dictionary));
            let numbers: HashMap<&str, usize> = dictionary.texts.iter().enumerate().map(|(number, text)| (&**text, number)).collect();
            let blocks = in_parallel(parts, |part| {
                let of_rows = part.as_string_view().iter().map(|text| text.and_then(|text| numbers.get(text).copied()).unwrap_or(0) as u64);
                let dictionary = Some(Arc::clone(&dictionary));
                Ok(BlockColumn::Numbers { values: narrow(of_rows, bytes), nulls: nulls_of(part), dictionary })
            })?;
            Ok((info, blocks))
        }
        Some(sql) if sql.is_integer() || sql.is_temporal() || sql.scale().is_some() => {
            let Some(numbers) = in_parallel(parts, |part| Ok(numbers(part)))?.into_iter().collect::<Option<Vec<_>>>() else {
                return as_it_is(info);
            };
            let values = || {
                numbers.iter().zip(parts).flat_map(|(numbers, part)| {
                    numbers.iter().enumerate().filter(|(row, _)| part.is_valid(*row)).map(|(_, number)| *number)
                })
            };
            let Some((least, greatest)) = values().fold(None, |range: Option<(i64, i64)>, number| {
                Some(range.map_or((number, number), |(least, greatest)| (least.min(number), greatest.max(number))))
            }) else {
                return as_it_is(info);
            };
            info.range = Some((least, greatest));
            let Some(span) = greatest.checked_sub(least).map(|span| span as u64) else { return as_it_is(info) };
            info.distinct = count_distinct(values(), least, span, numbers.iter().map(Vec::len).sum());
            let stored = Stored::Offset { base: least, span };
            if stored.bytes(sql) >= sql.default_repr().bytes() {
                return as_it_is(info);
            }
            info.stored = stored;
            let blocks = numbers.iter().zip(parts).map(|(numbers, part)| {
                let offsets =
                    numbers.iter().enumerate().map(|(row, number)| if part.is_valid(row) { number.wrapping_sub(least) as u64 } else { 0 });
                BlockColumn::Numbers { values: narrow(offsets, stored.bytes(sql)), nulls: nulls_of(part), dictionary: None }
            });
            let blocks = blocks.collect();
            Ok((info, blocks))
        }
        _ => as_it_is(info),
    }
}

fn nulls_of(array: &ArrayRef) -> Option<NullBuffer> {
    array.nulls().filter(|nulls| nulls.null_count() > 0).cloned()
}

/// The different texts, if they are few.
fn few_texts(parts: &[ArrayRef]) -> Result<Option<Vec<Box<str>>>, ArrowError> {
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    let most = MOST_ENTRIES.min(rows / ROWS_PER_ENTRY);
    let of_parts = in_parallel(parts, |part| {
        let mut texts: HashSet<&str> = HashSet::new();
        let mut last = None;
        for text in part.as_string_view().iter().flatten() {
            // Neighbours are often alike.
            if last != Some(text) && texts.insert(text) && texts.len() > most {
                return Ok(None);
            }
            last = Some(text);
        }
        Ok(Some(texts))
    })?;
    let mut all: HashSet<&str> = HashSet::new();
    for texts in of_parts {
        match texts {
            Some(texts) => all.extend(texts),
            None => return Ok(None),
        }
    }
    Ok((all.len() <= most).then(|| all.into_iter().map(Box::from).collect()))
}

/// Integers, what dates and times count, or unscaled decimals, as 64 bits; `None` where one does not fit.
fn numbers(array: &ArrayRef) -> Option<Vec<i64>> {
    fn of<T: ArrowPrimitiveType<Native: TryInto<i64>>>(array: &ArrayRef) -> Option<Vec<i64>> {
        let array = array.as_primitive::<T>();
        // What lies below a null may be anything.
        let number = |row: usize| if array.is_valid(row) { array.value(row).try_into().ok() } else { Some(0) };
        (0..array.len()).map(number).collect()
    }
    match array.data_type() {
        DataType::Int8 => of::<Int8Type>(array),
        DataType::Int16 => of::<Int16Type>(array),
        DataType::Int32 => of::<Int32Type>(array),
        DataType::Int64 => of::<Int64Type>(array),
        DataType::UInt8 => of::<UInt8Type>(array),
        DataType::UInt16 => of::<UInt16Type>(array),
        DataType::UInt32 => of::<UInt32Type>(array),
        DataType::UInt64 => of::<UInt64Type>(array),
        DataType::Decimal128(..) => of::<Decimal128Type>(array),
        DataType::Date32 | DataType::Time32(_) | DataType::Interval(IntervalUnit::YearMonth) => {
            of::<Int32Type>(&retype(array, &DataType::Int32).ok()?)
        }
        DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            of::<Int64Type>(&retype(array, &DataType::Int64).ok()?)
        }
        _ => None,
    }
}

/// How many different numbers there are, where a bitmap of their range is not too large.
fn count_distinct(numbers: impl Iterator<Item = i64>, least: i64, span: u64, rows: usize) -> Option<usize> {
    if span >= COUNTED_RANGE.saturating_mul(rows as u64) {
        return None;
    }
    let mut seen = vec![0u64; (span / 64 + 1) as usize];
    for number in numbers {
        let at = number.wrapping_sub(least) as u64;
        seen[(at / 64) as usize] |= 1 << (at % 64);
    }
    Some(seen.iter().map(|word| word.count_ones() as usize).sum())
}

/// Numbers in so many bytes each.
fn narrow(numbers: impl Iterator<Item = u64>, bytes: u32) -> Buffer {
    match bytes {
        1 => Buffer::from_vec(numbers.map(|number| number as u8).collect()),
        2 => Buffer::from_vec(numbers.map(|number| number as u16).collect()),
        4 => Buffer::from_vec(numbers.map(|number| number as u32).collect()),
        _ => Buffer::from_vec(numbers.collect()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn text_keeps_no_more_than_what_it_needs() {
        let texts: StringViewArray = (0..10_000).map(|row| (row % 9 != 0).then(|| format!("a text that is long, number {row}"))).collect();
        let part: ArrayRef = Arc::new(texts.slice(500, 100));
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8View, true)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![part]).unwrap();
        let table = CompactTable::new(schema, &[Some(SqlType::Utf8)], &[vec![batch.clone()]]).unwrap();
        assert!(table.bytes() < 100 * 64, "{}", table.bytes());
        assert_eq!(table.decode(0, &[0], 0, 100).unwrap(), batch);
    }

    #[test]
    fn columns_are_those_of_the_schema() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Int64, true)]));
        let numbers = |rows: i64| Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
        let types = vec![Some(SqlType::Int64); 2];
        let mut builder = CompactBuilder::new(schema, types, vec![3, 4]);
        builder.column(&[vec![numbers(1), numbers(2)], vec![numbers(4)]]).unwrap();
        let wrong = [vec![vec![numbers(4)], vec![numbers(3)]], vec![vec![numbers(3)]], vec![vec![numbers(3)], vec![texts(4)]]];
        for parts in wrong {
            assert!(builder.column(&parts).is_err());
        }
        builder.column(&[vec![numbers(3)], vec![numbers(4)]]).unwrap();
        assert!(builder.column(&[vec![numbers(3)], vec![numbers(4)]]).is_err(), "there is no third one");
        assert_eq!(builder.finish().unwrap().rows(), 7);
    }

    fn texts(rows: usize) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values((0..rows).map(|row| row.to_string())))
    }
}
