//! Compact tables: columns held in the fewest bytes, which stages read as they lie.
//!
//! Integers, dates and decimals lie as offsets from the least value of the table's column (a frame of reference), text of few different values
//! as numbers of a sorted dictionary; whatever gains nothing stays an Arrow array. Least and greatest value, nulls and distinct values of each
//! column are known from the start. [`CompactTable::decode`] gives rows back as Arrow has them.

mod decode;
mod encode;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::SchemaRef;
use stagefuse_ir::abi::StrRef;
use stagefuse_ir::{SqlType, Stored};

use crate::builtins::strings;
pub use encode::CompactBuilder;

/// A table of partitions; a partition's rows lie in one block.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use stagefuse_ir::SqlType;
/// use stagefuse_runtime::CompactTable;
///
/// let years: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(|row| 1992 + row % 7)));
/// let batch = RecordBatch::try_from_iter([("year", years)]).expect("equal lengths");
/// let table = CompactTable::new(batch.schema(), &[Some(SqlType::Int64)], &[vec![batch.clone()]]).expect("one schema");
/// assert_eq!((table.rows(), table.columns()[0].range), (1000, Some((1992, 1998))));
/// assert!(table.bytes() <= 1100, "a byte each, as the offset from 1992: {}", table.bytes());
/// assert_eq!(table.decode(0, &[0], 0, 1000).expect("all rows"), batch);
/// ```
#[derive(Debug)]
pub struct CompactTable {
    schema: SchemaRef,
    columns: Vec<ColumnInfo>,
    partitions: Vec<Arc<Block>>,
}

/// What is known of a column of all partitions.
#[derive(Clone, Debug)]
pub struct ColumnInfo {
    /// Its type in the IR; `None`: stages cannot read it.
    pub sql: Option<SqlType>,
    /// How it lies.
    pub stored: Stored,
    /// Least and greatest value of an integer, a date, or an unscaled decimal of at most 64 bits; `None` for other types and where all is null.
    pub range: Option<(i64, i64)>,
    /// Nulls.
    pub nulls: usize,
    /// Different values, nulls apart, where they were counted.
    pub distinct: Option<usize>,
    dictionary: Option<Arc<Dictionary>>,
}

/// The rows of a partition.
#[derive(Debug)]
pub struct Block {
    rows: usize,
    columns: Vec<BlockColumn>,
}

/// A column of a block.
#[derive(Clone, Debug)]
pub(crate) enum BlockColumn {
    /// As it came, in the layout that stages read if the IR has its type.
    Arrow(ArrayRef),
    /// Numbers without sign of some width: offsets, or entries of a dictionary.
    Numbers { values: Buffer, nulls: Option<NullBuffer>, dictionary: Option<Arc<Dictionary>> },
}

/// The different values of a column of text, in order.
#[derive(Debug)]
pub struct Dictionary {
    /// References to `texts`; one of an empty text where there is none.
    entries: Vec<StrRef>,
    texts: Vec<Box<str>>,
}

// SAFETY: entries refer to texts that the dictionary owns and never changes.
unsafe impl Send for Dictionary {}
// SAFETY: as above.
unsafe impl Sync for Dictionary {}

impl Dictionary {
    fn new(mut texts: Vec<Box<str>>) -> Self {
        texts.sort_unstable();
        // Nulls lie as entry 0, so that there has to be one.
        if texts.is_empty() {
            texts.push("".into());
        }
        Dictionary { entries: texts.iter().map(|text| strings::make(text.as_bytes())).collect(), texts }
    }

    /// At least one.
    pub(crate) fn entries(&self) -> &[StrRef] {
        &self.entries
    }

    fn bytes(&self) -> usize {
        self.texts.iter().map(|text| text.len() + size_of::<Box<str>>() + size_of::<StrRef>()).sum()
    }
}

impl CompactTable {
    /// The schema of the rows that it was made of.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What is known of each column.
    pub fn columns(&self) -> &[ColumnInfo] {
        &self.columns
    }

    /// The dictionary of a column that lies as [`Stored::Dictionary`].
    pub fn dictionary(&self, column: usize) -> Option<&Arc<Dictionary>> {
        self.columns.get(column)?.dictionary.as_ref()
    }

    /// The rows, by partition.
    pub fn partitions(&self) -> &[Arc<Block>] {
        &self.partitions
    }

    /// Rows of all partitions.
    pub fn rows(&self) -> usize {
        self.partitions.iter().map(|block| block.rows).sum()
    }

    /// Bytes that the table takes.
    pub fn bytes(&self) -> usize {
        let dictionaries: usize = self.columns.iter().filter_map(|column| Some(column.dictionary.as_ref()?.bytes())).sum();
        let columns = self.partitions.iter().flat_map(|block| &block.columns).map(|column| match column {
            BlockColumn::Arrow(array) => array.get_array_memory_size(),
            BlockColumn::Numbers { values, nulls, .. } => values.len() + nulls.as_ref().map_or(0, |nulls| nulls.buffer().len()),
        });
        dictionaries + columns.sum::<usize>()
    }
}

impl Block {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn column(&self, column: usize) -> Option<&BlockColumn> {
        self.columns.get(column)
    }
}
