//! Merging group tables whose keys lie apart: where each worker went through a range of rows that are clustered by the key, nearly all groups of a table are
//! in no other. Each table becomes a partition as it is, but for the groups that another one takes.

use std::sync::{Arc, Mutex, PoisonError};

use stagefuse_ir::layout::RowLayout;

use super::groups::GroupTable;
use super::merge::{Merging, add};
use super::number::{hash_of, key_of};
use crate::error::Error;

/// Groups of each table that are looked at to tell whether keys lie apart.
const SAMPLES: usize = 256;
/// Groups up to which merging is cheap in any case.
const FEW_ROWS: usize = 4096;
/// Of how many groups that were looked at one may be on the wrong side of a cut.
const MOST_FOREIGN: usize = 8;

/// Tables in the order of their keys.
#[derive(Debug)]
pub(crate) struct Apart {
    /// The least key of each table's partition but the first's. Null belongs to the first.
    cuts: Vec<i64>,
    tables: Vec<Mutex<Place>>,
}

/// A table, until its partition takes it, and the groups of it that other partitions take.
#[derive(Debug)]
struct Place {
    table: Option<GroupTable>,
    foreign: Option<Arc<Foreign>>,
}

/// Groups of a table that belong to other partitions than its own.
#[derive(Debug)]
struct Foreign {
    /// Numbers of their rows, ascending.
    rows: Vec<usize>,
    /// Their entries, one after the other.
    entries: Vec<u64>,
}

impl Apart {
    /// Takes the tables, if their keys lie apart; gives them back otherwise. There are at most as many tables as partitions.
    pub(crate) fn new(of: Merging<'_>, tables: Vec<GroupTable>, partitions: usize) -> Result<Apart, Vec<GroupTable>> {
        let few = tables.iter().any(|table| table.rows() < FEW_ROWS);
        let spread = tables.iter().any(|table| table.spread.places > 0 || table.is_loose());
        if spread || !of.layout.numeric || !of.decl.calls.is_empty() || tables.len() < 2 || tables.len() > partitions || few {
            return Err(tables);
        }
        let mut sampled: Vec<(Vec<i64>, GroupTable)> = tables.into_iter().map(|table| (sample(of.layout, &table), table)).collect();
        sampled.sort_by_key(|(keys, _)| keys[keys.len() / 2]);
        let cuts: Option<Vec<i64>> = sampled.windows(2).map(|pair| cut(&pair[0].0, &pair[1].0)).collect();
        let tables = sampled.into_iter().map(|(_, table)| table);
        match cuts {
            Some(cuts) if cuts.is_sorted() => {
                let place = |table| Mutex::new(Place { table: Some(table), foreign: None });
                Ok(Apart { cuts, tables: tables.map(place).collect() })
            }
            _ => Err(tables.collect()),
        }
    }

    /// The table of a partition, with what other tables have of it.
    pub(crate) fn merge(&self, of: Merging<'_>, partition: usize) -> Result<GroupTable, Error> {
        if partition >= self.tables.len() {
            return Ok(GroupTable::empty(of.layout));
        }
        // The own table first: whoever merges another partition at the same time begins with another table.
        let tables = self.tables.len();
        let mut foreign = vec![None; tables];
        for table in (0..tables).map(|number| (partition + number) % tables) {
            foreign[table] = Some(self.foreign(of, table)?);
        }
        let foreign: Vec<Arc<Foreign>> = foreign.into_iter().flatten().collect();
        let mut place = self.tables[partition].lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = place.table.take().ok_or_else(|| Error::Internal(format!("partition {partition} is merged twice")))?;
        drop(place);
        let stride = of.layout.stride as usize;
        for (_, other) in foreign.iter().enumerate().filter(|(other, _)| *other != partition) {
            for entry in other.entries.chunks_exact(stride / 8) {
                let entry = entry.as_ptr().cast::<u8>();
                // SAFETY: the words are a row of this layout.
                let key = unsafe { key_of(of.layout, entry) };
                if self.partition(key) == partition {
                    add(of, &mut table, hash_of(key, of.memory.sizes.hash_mask), key, entry)?;
                }
            }
        }
        table.remove(&foreign[partition].rows, of.memory);
        Ok(table)
    }

    /// The partition of a key.
    fn partition(&self, key: Option<i64>) -> usize {
        key.map_or(0, |key| self.cuts.partition_point(|cut| *cut <= key))
    }

    /// The groups of a table that other partitions take: copied by whoever asks first, before its own partition takes the table.
    fn foreign(&self, of: Merging<'_>, number: usize) -> Result<Arc<Foreign>, Error> {
        let mut place = self.tables[number].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(foreign) = &place.foreign {
            return Ok(Arc::clone(foreign));
        }
        let table = place.table.as_ref().ok_or_else(|| Error::Internal(format!("table {number} is gone")))?;
        let words = of.layout.stride as usize / 8;
        let mut foreign = Foreign { rows: vec![], entries: vec![] };
        for row in 0..table.rows() {
            let entry = table.entry(row);
            // SAFETY: the entry is a row of this layout.
            if self.partition(unsafe { key_of(of.layout, entry) }) != number {
                foreign.rows.push(row);
                // SAFETY: it takes so many words, and rows lie at multiples of 8.
                foreign.entries.extend_from_slice(unsafe { std::slice::from_raw_parts(entry.cast::<u64>(), words) });
            }
        }
        of.memory.grow(foreign.bytes())?;
        let foreign = Arc::new(foreign);
        place.foreign = Some(Arc::clone(&foreign));
        Ok(foreign)
    }

    /// Bytes that no partition has taken over.
    pub(crate) fn held(&self) -> usize {
        let held = |place: &Mutex<Place>| {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner);
            place.table.as_ref().map_or(0, |table| table.held) + place.foreign.as_ref().map_or(0, |foreign| foreign.bytes())
        };
        self.tables.iter().map(held).sum()
    }
}

impl Foreign {
    fn bytes(&self) -> usize {
        size_of_val(&self.rows[..]) + size_of_val(&self.entries[..])
    }
}

/// Some keys of a table, sorted; one at least.
fn sample(layout: &RowLayout, table: &GroupTable) -> Vec<i64> {
    let step = table.rows() / SAMPLES;
    // SAFETY: the entry is a row of this layout.
    let mut keys: Vec<i64> = (0..SAMPLES).filter_map(|at| unsafe { key_of(layout, table.entry(at * step)) }).collect();
    keys.sort_unstable();
    keys
}

/// The key from which on the second table's lie, where few of the first's lie behind it and few of the second's ahead.
fn cut(a: &[i64], b: &[i64]) -> Option<i64> {
    let wrong = |cut: i64| a.len() - a.partition_point(|key| *key < cut) + b.partition_point(|key| *key < cut);
    let best = b.iter().copied().min_by_key(|cut| wrong(*cut))?;
    (wrong(best) * MOST_FOREIGN <= a.len().min(b.len())).then_some(best)
}
