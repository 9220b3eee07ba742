//! Group tables whose entries are *loose*: where keys hardly repeat, each row that comes gets an entry of its own without being looked up, and which entries are of one
//! group is found out when the workers' tables are merged, as it has to be in any case.
//!
//! Looking a row up in a table that is larger than the cache is what grouping costs, and doing it once for the worker and once more for the merge buys nothing where
//! nearly every row is a group. (DataFusion does likewise: `skip_partial_aggregation_probe_ratio_threshold`.) Whether that is so a table tries out: engines find its
//! slots empty for a morsel, and what comes meanwhile is looked up afterwards. Nobody may hold the place of an entry from one morsel to the next, then.

use std::ops::Range;

use stagefuse_ir::GroupsDecl;

use super::block::Block;
use super::calls::Moves;
use super::groups::{GroupTable, Seen};
use super::merge::{Merging, add, add_hashed};
use super::number::{key_of, row_hash};
use crate::error::Error;

/// Rows of which it is found out whether they repeat, at least.
const TRIED_ROWS: usize = 256;
/// How many of ten rows that are tried must be new groups.
const LEAST_NEW: usize = 8;
/// What share of all rows must be groups in the end, as far as can be told.
const LEAST_GROUPS: f64 = 0.6;
/// Most rows, or nearly, that are looked at to tell how many there will be; of more, some stand for all.
const SAMPLED_ROWS: usize = 1 << 12;
/// How many times the rows that are there may come, where the source does not tell.
const FORESEEN: f64 = 16.0;

/// Whether a table's rows are loose.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Loose {
    /// Whether they may be at all.
    pub(crate) allowed: bool,
    state: State,
    /// How many rows there are when that is looked at next.
    due: usize,
}

#[derive(Copy, Clone, Debug, Default)]
enum State {
    /// No: every entry is a group of its own, and found.
    #[default]
    No,
    /// Being tried: those from this number on may repeat.
    From(usize),
    /// All may repeat; from this number on they are rows as they came.
    All(usize),
}

/// Whether rows of a table may be loose: not where somebody holds the distance of entries, or counts groups as they come.
pub(crate) fn may_loosen(decl: &GroupsDecl) -> bool {
    !decl.keys.is_empty() && decl.calls.is_empty() && decl.enough.is_none()
}

impl GroupTable {
    /// Whether some entries may be of the same group.
    pub(crate) fn is_loose(&self) -> bool {
        !matches!(self.loose.state, State::No)
    }

    /// Has rows be loose from now on, or no longer, where that is worth it. Entries move: nobody may hold the distance of one.
    pub(crate) fn consider_loosening(&mut self, of: Merging<'_>) -> Result<(), Error> {
        let rows = self.rows();
        if !self.loose.allowed || rows < self.loose.due.max(of.memory.sizes.loose_rows) {
            return Ok(());
        }
        match self.loose.state {
            // Numbers find their entries at once, or soon will.
            State::No if self.span().range > 0 || self.may_be_spread() => self.loose.due = rows * 4,
            State::No => {
                self.hide_slots();
                self.loose.state = State::From(rows);
                self.loose.due = rows + TRIED_ROWS.min(of.memory.sizes.loose_rows);
            }
            State::From(first) => {
                self.show_slots();
                self.loose.state = State::No;
                let tried = rows - first;
                self.look_up(of, first)?;
                let rows = self.rows();
                self.loose.due = rows * 4;
                if (rows - first) * 10 >= tried * LEAST_NEW && self.span().range == 0 {
                    self.drop_places(of.memory);
                    self.loose.state = State::All(rows);
                    self.loose.due = rows * 2;
                }
            }
            State::All(first) => {
                self.loose.due = rows * 2;
                if self.share_of_groups(of, first) < LEAST_GROUPS {
                    self.look_all_up(of)?;
                }
            }
        }
        Ok(())
    }

    /// Looks up the entries from a number on, which were not: those of known groups are added to them.
    fn look_up(&mut self, of: Merging<'_>, first: usize) -> Result<(), Error> {
        let (rows, stride) = (self.rows(), self.stride());
        if rows == first {
            return Ok(());
        }
        let bytes = (rows - first) * stride;
        of.memory.grow(bytes)?;
        let mut copies = Block::new();
        copies.grow(bytes);
        // SAFETY: the entries lie next to each other, and the copies have room for them.
        unsafe { copies.base().copy_from_nonoverlapping(self.entry(first), bytes) }
        self.head.rows = first as u64;
        for row in 0..rows - first {
            // SAFETY: the copies are rows of this layout.
            let (entry, hash, key) = unsafe {
                let entry = copies.base().add(row * stride);
                let key = if of.layout.numeric { key_of(of.layout, entry) } else { None };
                (entry, row_hash(of.layout, entry, of.memory.sizes.hash_mask), key)
            };
            add(of, self, hash, key, entry)?;
        }
        of.memory.shrink(bytes);
        Ok(())
    }

    /// Looks all entries up: the table is loose no longer, and never will be.
    fn look_all_up(&mut self, of: Merging<'_>) -> Result<(), Error> {
        let found = GroupTable::hashed(of.layout, self.rows(), of.memory)?;
        let loose = std::mem::replace(self, found);
        add_hashed(of, self, &loose, (0, 1), &mut Moves::default())?;
        of.memory.shrink(loose.held);
        (self.place, self.seen, self.spread) = (loose.place, loose.seen, loose.spread);
        Ok(())
    }

    /// What share of all rows will be groups in the end, as those from a number on let foresee.
    ///
    /// Of *n* rows whose keys are any of *G* about *n*²/2*G* repeat one before; where equal keys come close to each other a share of the rows does, however many they are. The rows up to
    /// the middle tell one from the other.
    fn share_of_groups(&self, of: Merging<'_>, first: usize) -> f64 {
        // One row in so many, a power of two.
        let share = ((self.rows() - first) / SAMPLED_ROWS).max(1).next_power_of_two() as u64;
        let middle = first.midpoint(self.rows());
        let repeated = |rows: Range<usize>| {
            // SAFETY: the entries are rows of this layout.
            let hashes = rows.map(|row| unsafe { row_hash(of.layout, self.entry(row), of.memory.sizes.hash_mask) });
            // Bits that choose neither slots nor partitions.
            let mut hashes: Vec<u64> = hashes.filter(|hash| (hash >> 25).is_multiple_of(share)).collect();
            let sampled = hashes.len();
            hashes.sort_unstable();
            hashes.dedup();
            (sampled - hashes.len()) as f64 * share as f64
        };
        let rows = (self.rows() - first) as f64;
        let (by_middle, by_now) = (repeated(first..middle), repeated(first..self.rows()));
        // Rows of any of G groups, and the share that repeats in any case.
        let by_chance = (2.0 * (by_now - 2.0 * by_middle)).clamp(0.0, by_now);
        let groups = rows * rows / 2.0 / by_chance;
        let close = (by_now - by_chance) / rows;
        let Seen { rows: read, expected, .. } = self.seen;
        let foreseen = if expected > read && read > 0 { expected as f64 / read as f64 } else { FORESEEN };
        let times = rows * foreseen.min(1e6) / groups;
        // Without any that repeat by chance, or nearly.
        let new = if times < 1e-6 { 1.0 } else { (1.0 - (-times).exp()) / times };
        (1.0 - close) * new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use stagefuse_ir::abi::{HASH_ALL, HASH_SEED, hash_word};
    use stagefuse_ir::layout::RowLayout;
    use stagefuse_ir::{AccDecl, AccOp, PrimaryMap, SqlType, Type};

    use super::*;
    use crate::config::Unlimited;
    use crate::memory::Memory;
    use crate::tables::merge::{Look, Tables, look};
    use crate::tables::number::hash_of;

    const MORSEL: i64 = 1000;

    /// Adds rows to a table as engines do, morsel by morsel. Yields whether it was loose after each of them.
    fn fill(of: Merging<'_>, table: &mut GroupTable, keys: impl Iterator<Item = i64>) -> Vec<bool> {
        let mut was_loose = vec![];
        for (row, key) in keys.enumerate() {
            if (row as i64) % MORSEL == 0 {
                table.consider_loosening(of).unwrap();
                was_loose.push(matches!(table.loose.state, State::All(_)));
            }
            let (fields, count) = of.layout.fields.split_at(of.layout.keys);
            let mut probe = vec![0u64; of.layout.stride as usize / 8];
            let probe = probe.as_mut_ptr().cast::<u8>();
            let write = |entry: *mut u8| {
                // SAFETY: the keys lie within the entry.
                fields.iter().for_each(|field| unsafe { entry.add(field.offset as usize).cast::<i64>().write(key) });
            };
            write(probe);
            let number = of.layout.numeric.then_some(key);
            let hash = match number {
                Some(_) => hash_of(number, HASH_ALL),
                None => fields.iter().fold(HASH_SEED, |hash, _| hash_word(hash, key as u64, 0)),
            };
            let entry = match look(of.layout, table, hash, number, probe) {
                Look::Known(entry) => entry,
                Look::Free(_) => {
                    let entry = table.insert(hash, number, of.memory).unwrap();
                    write(entry);
                    entry
                }
            };
            // SAFETY: as above.
            unsafe { *entry.add(count[0].offset as usize).cast::<i64>() += 1 }
        }
        was_loose
    }

    #[test]
    fn rows_that_hardly_repeat_are_looked_up_when_tables_are_merged() {
        type Keys = fn(i64) -> i64;
        // Keys by number of the row, far apart; whether the table is loose in the midst, and at the end.
        let cases: [(&str, Keys, bool, bool); 5] = [
            ("none repeats", |row| row, true, true),
            ("one in ten repeats", |row| row - i64::from(row % 10 == 9), true, true),
            ("a hundred groups", |row| row % 100, false, false),
            ("many groups, soon all there", |row| row % 7_000, false, false),
            ("all repeat in the end", |row| if row < 30_000 { row } else { row % 30_000 }, true, false),
        ];
        for keys in [1, 2] {
            let accs = vec![AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) }];
            let decl = GroupsDecl::new(vec![Type::new(SqlType::Int64, false); keys], accs);
            let layout = RowLayout::groups(&decl);
            let memory = Memory::new(Arc::new(Unlimited));
            let literals = PrimaryMap::new();
            let arrays = Arc::default();
            let of = Merging { decl: &decl, literals: &literals, layout: &layout, hosts: &[], memory: &memory, arrays: &arrays };
            for (name, key_of_row, midst, end) in cases {
                let mut expected: HashMap<i64, i64> = HashMap::new();
                let tables = [0, 10_000, 20_500].map(|shift| {
                    let mut table = GroupTable::new(&layout, &memory).unwrap();
                    table.loose.allowed = true;
                    let all = (0..140_000).map(|row| (key_of_row(row) + shift) << 20);
                    all.clone().for_each(|key| *expected.entry(key).or_default() += 1);
                    let was_loose = fill(of, &mut table, all);
                    assert_eq!((was_loose[25], *was_loose.last().unwrap()), (midst, end), "{name}, {keys} keys: {was_loose:?}");
                    table
                });
                // One that ends while it is being tried.
                let mut trying = GroupTable::new(&layout, &memory).unwrap();
                trying.loose.allowed = true;
                let all = (0..6 * MORSEL).map(|row| (row % 5_500) << 20);
                all.clone().for_each(|key| *expected.entry(key).or_default() += 1);
                fill(of, &mut trying, all);
                assert!(matches!(trying.loose.state, State::From(_)), "{:?}", trying.loose);
                let known: usize = tables.iter().chain([&trying]).map(GroupTable::known).sum();
                let merged = Tables::new(of, tables.into_iter().chain([trying]).collect(), 2).unwrap();
                let groups = expected.len();
                for partition in 0..2 {
                    let table = merged.merge(of, partition).unwrap();
                    for row in 0..table.rows() {
                        // SAFETY: the fields lie within the entry.
                        let read =
                            |field: usize| unsafe { table.entry(row).add(layout.fields[field].offset as usize).cast::<i64>().read() };
                        assert_eq!(expected.remove(&read(0)), Some(read(keys)), "{name}");
                    }
                }
                assert_eq!(expected.len(), 0, "{name}");
                let found = merged.found.load(std::sync::atomic::Ordering::Relaxed) as usize;
                assert!(known + found >= groups, "{name}: {known} known, {found} found of {groups}");
            }
        }
    }
}
