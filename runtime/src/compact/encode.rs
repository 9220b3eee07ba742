//! From record batches to a compact table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::concat;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, SchemaRef};
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

impl CompactTable {
    /// Makes a table of these batches, by partition. `types` are the columns' types in the IR, where it has them.
    ///
    /// # Errors
    /// Where batches have other columns than the schema.
    pub fn new(schema: SchemaRef, types: &[Option<SqlType>], partitions: &[Vec<RecordBatch>]) -> Result<CompactTable, ArrowError> {
        let mut columns = vec![];
        let mut encoded: Vec<Vec<BlockColumn>> = partitions.iter().map(|_| vec![]).collect();
        for (number, field) in schema.fields().iter().enumerate() {
            let sql = types.get(number).copied().flatten();
            let held = sql.map_or_else(|| field.data_type().clone(), arrow_type);
            // One partition after the other would leave all but one core idle.
            let parts = in_parallel(partitions, |batches| whole(batches, number, field.data_type(), &held))?;
            let (info, blocks) = column(sql, &parts)?;
            columns.push(info);
            encoded.iter_mut().zip(blocks).for_each(|(block, column)| block.push(column));
        }
        let rows = partitions.iter().map(|batches| batches.iter().map(RecordBatch::num_rows).sum());
        let partitions = encoded.into_iter().zip(rows).map(|(columns, rows)| Arc::new(Block { rows, columns })).collect();
        Ok(CompactTable { schema, columns, partitions })
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
fn whole(batches: &[RecordBatch], column: usize, data_type: &DataType, held: &DataType) -> Result<ArrayRef, ArrowError> {
    let mut arrays = vec![];
    for batch in batches {
        let array = batch.columns().get(column).ok_or_else(|| ArrowError::SchemaError(format!("a batch has no column {column}")))?;
        if array.data_type() != data_type {
            return Err(ArrowError::SchemaError(format!("column {column} is {}, not {data_type}", array.data_type())));
        }
        arrays.push(adapt(array, held)?);
    }
    match arrays.as_slice() {
        [] => Ok(new_empty_array(held)),
        [only] => Ok(Arc::clone(only)),
        arrays => concat(&arrays.iter().map(|array| &**array).collect::<Vec<&dyn Array>>()),
    }
}

/// Encodes a column, of which there is one array for each partition.
fn column(sql: Option<SqlType>, parts: &[ArrayRef]) -> Result<(ColumnInfo, Vec<BlockColumn>), ArrowError> {
    let nulls = parts.iter().map(|part| part.logical_null_count()).sum();
    let mut info = ColumnInfo { sql, stored: Stored::Arrow, range: None, nulls, distinct: None, dictionary: None };
    let as_it_is = |info| Ok((info, parts.iter().map(|part| BlockColumn::Arrow(Arc::clone(part))).collect()));
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
