//! The tables of a case: what is in them, and how it lies in memory.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Field, Int8Type, Int16Type, Int32Type, Int64Type, Schema, SchemaRef, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue};

use super::kind::Kind;
use super::random::Random;
use super::value;

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether the schema allows nulls.
    pub nullable: bool,
    /// Whether sums of its values are exact in any order.
    pub tame: bool,
}

/// How rows lie in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// How many rows the batches have, over and over.
    pub batches: Vec<usize>,
    /// Partitions.
    pub partitions: usize,
    /// Whether values that are not null lie under nulls.
    pub garbage: bool,
    /// Rows before and after the batches in the same arrays.
    pub padding: usize,
    /// Whether dictionaries have entries that no row uses, and one that is null.
    pub spare_entries: bool,
    /// Whether compiled stages read it from a cached table.
    pub cached: bool,
}

impl Layout {
    /// One batch in one partition.
    pub fn plain() -> Layout {
        Layout { batches: vec![usize::MAX], partitions: 1, garbage: false, padding: 0, spare_entries: false, cached: false }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows; a value for each column.
    pub rows: Vec<Vec<ScalarValue>>,
    /// How they lie.
    pub layout: Layout,
}

impl Table {
    /// A random table of so many rows. Tables with the same `common` number have values in common, so that joins find something.
    pub fn any(name: &str, rows: usize, common: u64, random: &mut Random) -> Table {
        let mut columns = vec![];
        let mut pools = vec![];
        for number in 0..2 + random.below(6) {
            // Most tables begin with something to join on.
            let kind = if number == 0 && random.chance(75) { Kind::Int } else { Kind::any(random) };
            let mut data_type = kind.data_type(random);
            if number == 0 && kind == Kind::Int && random.chance(60) {
                data_type = DataType::Int32;
            }
            let tame = random.chance(60);
            let nulls = [0, 0, 10, 40, 100][random.weighted(&[30, 20, 30, 15, 2])];
            let nullable = nulls > 0 || random.chance(40);
            let size = 1 + random.below(12);
            let pool: Vec<ScalarValue> = if random.chance(65) {
                let mut same = Random::new(common ^ kind as u64);
                (0..size).map(|_| value::value(&data_type, tame, &mut same)).collect()
            } else {
                (0..size).map(|_| value::value(&data_type, tame, random)).collect()
            };
            pools.push((pool, nulls, random.chance(25)));
            columns.push(Column { name: format!("{}{number}", letter(kind)), data_type, nullable, tame });
        }
        let of_row = |random: &mut Random| {
            let values = columns.iter().zip(&pools).map(|(column, (pool, nulls, fresh))| {
                if random.chance(*nulls) {
                    null(&column.data_type)
                } else if *fresh {
                    value::value(&column.data_type, column.tame, random)
                } else {
                    // The first values of the pool are more frequent.
                    let most = 1 + random.below(pool.len());
                    pool[random.below(most)].clone()
                }
            });
            values.collect()
        };
        let rows = (0..rows).map(|_| of_row(random)).collect();
        let layout = Layout {
            batches: match random.below(4) {
                0 => vec![usize::MAX],
                1 => vec![1, 0, 3],
                2 => vec![1 + random.below(40)],
                _ => vec![7, 64, 0, 2],
            },
            partitions: 1 + random.below(3),
            garbage: random.chance(60),
            padding: if random.chance(40) { random.below(12) } else { 0 },
            spare_entries: random.chance(50),
            cached: random.chance(25),
        };
        Table { name: name.to_owned(), columns, rows, layout }
    }

    /// Its schema.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable)).collect::<Vec<_>>()))
    }

    /// Its batches, by partition.
    ///
    /// # Errors
    /// Where Arrow refuses them.
    pub fn batches(&self) -> Result<Vec<Vec<RecordBatch>>> {
        let schema = self.schema();
        let padding = self.layout.padding;
        let columns = (0..self.columns.len()).map(|column| self.array(column)).collect::<Result<Vec<_>>>()?;
        let all = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let mut partitions = vec![vec![]; self.layout.partitions];
        let (mut at, mut number) = (0, 0);
        while at < self.rows.len() {
            let size = self.layout.batches[number % self.layout.batches.len()].min(self.rows.len() - at);
            partitions[number % self.layout.partitions].push(all.slice(padding + at, size));
            at += size;
            number += 1;
            if size == 0 && number > 4 * self.rows.len() + 8 {
                return Err(DataFusionError::Internal("batches without rows".to_owned()));
            }
        }
        Ok(partitions)
    }

    /// A column as one array, with the padding around it.
    fn array(&self, number: usize) -> Result<ArrayRef> {
        let column = &self.columns[number];
        let values: Vec<&ScalarValue> = self.rows.iter().map(|row| &row[number]).collect();
        let mut random = Random::new(self.rows.len() as u64 ^ (number as u64) << 32);
        let mut filler = |like: &ScalarValue| {
            let empty = like.is_null() && (!self.layout.garbage || matches!(column.data_type, DataType::List(_) | DataType::Struct(_)));
            if empty { like.clone() } else { value::value(&column.data_type, column.tame, &mut random) }
        };
        let pad = value::value(&column.data_type, true, &mut Random::new(1));
        let padding: Vec<ScalarValue> = (0..self.layout.padding).map(|_| filler(&pad)).collect();
        let mut filled = padding.clone();
        for value in &values {
            filled.push(if value.is_null() { filler(value) } else { (*value).clone() });
        }
        filled.extend(padding);
        let array = if filled.is_empty() {
            arrow::array::new_empty_array(&column.data_type)
        } else {
            self.dictionary(array_of(filled, &column.data_type)?)?
        };
        if !values.iter().any(|value| value.is_null()) {
            return Ok(array);
        }
        let valid = (0..array.len()).map(|row| {
            let row = row.checked_sub(self.layout.padding).and_then(|row| values.get(row));
            row.is_none_or(|value| !value.is_null())
        });
        let valid: NullBuffer = valid.collect::<Vec<bool>>().into();
        let valid = NullBuffer::union(Some(&valid), array.nulls());
        Ok(make_array(array.to_data().into_builder().nulls(valid).build()?))
    }

    /// A dictionary gets entries that no row uses, the last of them null.
    fn dictionary(&self, array: ArrayRef) -> Result<ArrayRef> {
        let DataType::Dictionary(key, _) = array.data_type() else { return Ok(array) };
        if !self.layout.spare_entries {
            return Ok(array);
        }
        macro_rules! with_key {
            ($($data_type:pat => $key:ty,)*) => {
                match key.as_ref() {
                    $($data_type => spare::<$key>(&array),)*
                    _ => Ok(array),
                }
            };
        }
        Ok(with_key! {
            DataType::Int8 => Int8Type,
            DataType::Int16 => Int16Type,
            DataType::Int32 => Int32Type,
            DataType::Int64 => Int64Type,
            DataType::UInt8 => UInt8Type,
            DataType::UInt16 => UInt16Type,
            DataType::UInt32 => UInt32Type,
            DataType::UInt64 => UInt64Type,
        }?)
    }

    /// `CREATE TABLE .. AS`, as good as SQL can say it: nullability and layout are lost.
    pub fn script(&self) -> String {
        let mut text = format!("CREATE TABLE {} AS SELECT ", self.name);
        let columns = self.columns.iter().enumerate().map(|(i, column)| {
            let null = null(&column.data_type);
            if self.rows.is_empty() {
                format!("{} AS {}", value::sql(&null), column.name)
            } else {
                format!("column{} AS {}", i + 1, column.name)
            }
        });
        text.push_str(&columns.collect::<Vec<_>>().join(", "));
        if self.rows.is_empty() {
            text.push_str(" WHERE false");
            return text;
        }
        text.push_str("\nFROM (VALUES");
        for (number, row) in self.rows.iter().enumerate() {
            let values: Vec<String> = row.iter().map(value::sql).collect();
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}\n  ({})", if number == 0 { "" } else { "," }, values.join(", "));
        }
        text.push_str("\n) AS v");
        text
    }
}

/// An array of values. A dictionary has each of them once.
fn array_of(values: Vec<ScalarValue>, data_type: &DataType) -> Result<ArrayRef> {
    if !matches!(data_type, DataType::Dictionary(..)) {
        return ScalarValue::iter_to_array(values);
    }
    let inner = values.into_iter().map(|value| match value {
        ScalarValue::Dictionary(_, inner) => *inner,
        other => other,
    });
    Ok(arrow::compute::cast(&ScalarValue::iter_to_array(inner)?, data_type)?)
}

fn spare<K: arrow::datatypes::ArrowDictionaryKeyType>(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    use arrow::array::AsArray;
    let dictionary = array.as_dictionary::<K>();
    let extra =
        ["never used", "nor this one, which is longer"].map(|text| ScalarValue::from(text).cast_to(dictionary.values().data_type()));
    let extra = extra.into_iter().collect::<Result<Vec<_>>>().and_then(ScalarValue::iter_to_array);
    let extra = extra.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    let null = arrow::array::new_null_array(extra.data_type(), 1);
    let values = arrow::compute::concat(&[dictionary.values().as_ref(), extra.as_ref(), null.as_ref()])?;
    Ok(Arc::new(DictionaryArray::<K>::try_new(dictionary.keys().clone(), values)?))
}

fn null(data_type: &DataType) -> ScalarValue {
    ScalarValue::try_from(data_type).unwrap_or(ScalarValue::Null)
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Bool => 'b',
        Kind::Int => 'i',
        Kind::Float => 'f',
        Kind::Decimal => 'd',
        Kind::Date => 'y',
        Kind::Timestamp => 't',
        Kind::Time => 'h',
        Kind::Text => 's',
        Kind::Binary => 'x',
        Kind::Other => 'o',
    }
}
