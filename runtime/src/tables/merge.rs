//! Merges the workers' group tables: partition *p* gets the entries whose hash falls into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stagefuse_ir::abi::{HASH_NULL, HASH_SEED, SLOT_ADDRESS, STR_INLINE, StrRef, hash_word};
use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{Datum, GroupsDecl, Lit, Literal, PrimaryMap, Repr};

use super::apart::Apart;
use super::calls::{self, Moves, State};
use super::combine::{byte, combine_all, get, set, text};
use super::groups::GroupTable;
use super::number::{Span, hash_of, key_of, row_hash};
use super::spread::{add_number, rows_of};
use crate::arrays::Arrays;
use crate::config::HostAggregate;
use crate::error::Error;
use crate::memory::Memory;

/// Partition of a hash: its high half, scaled. (The low bits pick the slot.)
fn partition_of(hash: u64, partitions: usize) -> usize {
    (((hash >> 32) * partitions as u64) >> 32) as usize
}

/// Rows of a partition up to which its table grows as it is filled.
const FEW_ROWS: usize = 1024;
/// Rows whose slots are asked for before the first of them is added.
const ROWS_AHEAD: usize = 32;
/// Most elements of a merged table's array for each row.
const DIRECT_PER_ROW: u64 = 16;

/// The workers' tables, and how their groups fall into partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    tables: Vec<Arc<GroupTable>>,
    /// By table and call: the state that the host left; empty where nothing is called.
    states: Arc<Vec<Vec<State>>>,
    /// Bytes of the states.
    state_bytes: usize,
    /// Where numeric keys lie close together: their range, of which each partition takes an equal part. Else partitions go by the hash.
    span: Option<Span>,
    /// The tables, where their keys lie apart.
    apart: Option<Arc<Apart>>,
    partitions: usize,
    /// How many groups of spread and loose tables have been found so far.
    pub(crate) found: Arc<AtomicU64>,
}

/// A table of the groups that are there where no row has come.
fn always(of: Merging<'_>) -> Result<GroupTable, Error> {
    let mut table = GroupTable::empty(of.layout);
    for row in &of.decl.always {
        let keys: Vec<Option<i64>> = row
            .iter()
            .map(|lit| match of.literals[*lit].value {
                Datum::Int(value) => Some(value as i64),
                _ => None,
            })
            .collect();
        // As the fields hold them: numbers without sign, too, are extended with it.
        let held = |key: Option<i64>, field: &Field| {
            let unused = 64 - 8 * field.ty.repr.bytes().min(8);
            key.map(|key| key << unused >> unused)
        };
        let keys: Vec<Option<i64>> = keys.into_iter().zip(&of.layout.fields).map(|(key, field)| held(key, field)).collect();
        let hash = keys.iter().fold(HASH_SEED, |hash, key| hash_word(hash, key.map_or(HASH_NULL, |key| key as u64), 0));
        let hash = hash & of.memory.sizes.hash_mask;
        let number = if of.layout.numeric { keys[0] } else { None };
        let entry = table.insert(hash, number, of.memory)?;
        for (key, field) in keys.iter().zip(&of.layout.fields) {
            let Some(key) = key else { continue };
            let bytes = &i128::from(*key).to_le_bytes()[..field.ty.repr.bytes() as usize];
            // SAFETY: the field lies within the entry and takes so many bytes.
            unsafe { entry.add(field.offset as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
            if let Some(valid) = field.valid {
                set(entry, valid, 1u8);
            }
        }
    }
    calls::without_rows(of, &mut table)?;
    Ok(table)
}

/// What merging needs to know of a group table.
#[derive(Copy, Clone)]
pub(crate) struct Merging<'a> {
    pub(crate) decl: &'a GroupsDecl,
    pub(crate) literals: &'a PrimaryMap<Lit, Literal>,
    pub(crate) layout: &'a RowLayout,
    pub(crate) hosts: &'a [Arc<dyn HostAggregate>],
    pub(crate) memory: &'a Memory,
    pub(crate) arrays: &'a Arc<Arrays>,
}

/// The part of the groups that a merged table takes.
#[derive(Copy, Clone)]
pub(super) enum Part {
    /// Those whose hash falls into it.
    Hash { partition: usize, partitions: usize },
    /// Those whose numeric key lies in the range; null goes to the first.
    Keys { span: Span, first: bool },
}

impl Tables {
    /// Takes the workers' tables, in the order of the places that their first rows come from.
    pub(crate) fn new(of: Merging<'_>, mut tables: Vec<GroupTable>, partitions: usize) -> Result<Self, Error> {
        tables.retain(|table| table.rows() > 0);
        if tables.is_empty() && !of.decl.always.is_empty() {
            tables.push(always(of)?);
        }
        tables.sort_by_key(|table| table.place);
        let mut tables = match Apart::new(of, tables, partitions) {
            Ok(apart) => return Ok(Tables { apart: Some(Arc::new(apart)), partitions, ..Tables::default() }),
            Err(tables) => tables,
        };
        let rows = tables.iter().map(|table| table.rows()).sum();
        let keys = tables.iter().filter_map(|table| table.keys()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let span = keys.filter(|_| of.layout.numeric).and_then(|(least, greatest)| Span::of(least, greatest));
        let span = span.filter(|span| span.is_dense(rows, DIRECT_PER_ROW));
        let (mut states, mut state_bytes) = (vec![], 0);
        let found = Arc::<AtomicU64>::default();
        if let ([only], true) = (&mut tables[..], partitions == 1 || of.layout.keys == 0) {
            found.store(only.gather(of.memory) as u64, Ordering::Relaxed);
            calls::finish(of, only)?;
        } else {
            for table in &mut tables {
                let (state, bytes) = calls::take_states(table, of.memory)?;
                states.push(state);
                state_bytes += bytes;
            }
        }
        let tables = tables.into_iter().map(Arc::new).collect();
        Ok(Tables { tables, states: Arc::new(states), state_bytes, span, apart: None, partitions, found })
    }

    /// Bytes of the tables that nobody else holds, and of the states.
    pub(crate) fn into_held(self) -> usize {
        let apart = self.apart.map_or(0, |apart| apart.held());
        self.tables.into_iter().filter_map(Arc::into_inner).map(|table| table.held).sum::<usize>() + self.state_bytes + apart
    }

    /// Merges a partition.
    pub(crate) fn merge(&self, of: Merging<'_>, partition: usize) -> Result<Arc<GroupTable>, Error> {
        let Merging { decl, layout, memory, .. } = of;
        if let Some(apart) = &self.apart {
            return Ok(Arc::new(apart.merge(of, partition)?));
        }
        if layout.keys == 0 && partition > 0 {
            return Ok(Arc::new(GroupTable::empty(layout)));
        }
        if let [only] = &self.tables[..]
            && (self.partitions == 1 || layout.keys == 0)
        {
            return Ok(Arc::clone(only));
        }
        let mut moves: Vec<Moves> = self.tables.iter().map(|_| Moves::default()).collect();
        let mut target = if layout.keys == 0 {
            let target = GroupTable::new(layout, memory)?;
            for (table, moves) in self.tables.iter().zip(&mut moves) {
                combine_all(decl, layout, target.entry(0), table.entry(0));
                *moves = Moves { rows: vec![0], targets: vec![0] };
            }
            target
        } else {
            let (part, mut target) = self.part(layout, partition, memory)?;
            for (table, moves) in self.tables.iter().zip(&mut moves) {
                let before = target.rows();
                let with_places = add_part(of, &mut target, table, part, moves)?;
                let found = if table.is_loose() { (target.rows() - before) as u64 } else { with_places };
                self.found.fetch_add(found, Ordering::Relaxed);
            }
            target
        };
        if target.rows() > 0 && !decl.calls.is_empty() {
            let parts: Vec<_> = self.states.iter().map(Vec::as_slice).zip(moves).collect();
            calls::merge(of, &mut target, &parts)?;
        }
        Ok(Arc::new(target))
    }

    /// What a partition takes, and its table, which is empty yet.
    fn part(&self, layout: &RowLayout, partition: usize, memory: &Memory) -> Result<(Part, GroupTable), Error> {
        let partitions = self.partitions;
        let rows: usize = self.tables.iter().map(|table| table.rows()).sum();
        let Some(span) = self.span else {
            // As many as can come, and what hashes may be uneven by.
            let rows = rows.div_ceil(partitions);
            let target = if rows > FEW_ROWS { GroupTable::hashed(layout, rows + rows / 32, memory)? } else { GroupTable::empty(layout) };
            return Ok((Part::Hash { partition, partitions }, target));
        };
        let width = span.range.div_ceil(partitions as u64);
        let from = (width * partition as u64).min(span.range);
        let span = Span { first: span.first.wrapping_add(from as i64), range: width.min(span.range - from) };
        let target = GroupTable::direct(layout, span, rows.div_ceil(partitions).min(span.range as usize), memory)?;
        Ok((Part::Keys { span, first: partition == 0 }, target))
    }
}

/// Adds the groups of a table that belong to a part. Which they are is only noted where the host has to know. Yields how many of them had places.
fn add_part(of: Merging<'_>, target: &mut GroupTable, table: &GroupTable, part: Part, moves: &mut Moves) -> Result<u64, Error> {
    let (layout, mask) = (of.layout, of.memory.sizes.hash_mask);
    let noted = !of.decl.calls.is_empty();
    let mut found = 0;
    let (span, first) = match part {
        Part::Hash { partition, partitions } => return add_hashed(of, target, table, (partition, partitions), moves),
        Part::Keys { span, first } => (span, first),
    };
    for row in rows_of(table, part).into_iter().flatten() {
        if !table.is_group(row, layout) {
            continue;
        }
        if !noted && row < table.spread.places {
            add_number(of, target, table, row)?;
            found += 1;
            continue;
        }
        let entry = table.entry(row);
        // SAFETY: the entry is a row of this layout, whose key is a number.
        let key = unsafe { key_of(layout, entry) };
        if !key.map_or(first, |number| span.place(number).is_some()) {
            continue;
        }
        let entry = add(of, target, hash_of(key, mask), key, entry)?;
        found += u64::from(row < table.spread.places);
        if noted {
            moves.rows.push(row as u32);
            moves.targets.push(target.row_of(entry));
        }
    }
    Ok(found)
}

/// Adds the groups of a table whose hash falls into a partition. Slots, and the entries that they name, are asked for some rows ahead: the target is larger than a cache, and in
/// the order of hashes nothing of it is next to each other.
pub(super) fn add_hashed(
    of: Merging<'_>,
    target: &mut GroupTable,
    table: &GroupTable,
    (partition, partitions): (usize, usize),
    moves: &mut Moves,
) -> Result<u64, Error> {
    let (layout, mask) = (of.layout, of.memory.sizes.hash_mask);
    let noted = !of.decl.calls.is_empty();
    let mut found = 0;
    let mut add_all = |rows: &[(usize, u64)], target: &mut GroupTable| {
        rows.iter().for_each(|(_, hash)| target.ask_for_slot(*hash));
        rows.iter().for_each(|(_, hash)| target.ask_for_entry(*hash));
        for (row, hash) in rows.iter().copied() {
            let entry = table.entry(row);
            // SAFETY: the entry is a row of this layout.
            let key = if layout.numeric { unsafe { key_of(layout, entry) } } else { None };
            let entry = add(of, target, hash, key, entry)?;
            found += u64::from(row < table.spread.places);
            if noted {
                moves.rows.push(row as u32);
                moves.targets.push(target.row_of(entry));
            }
        }
        Ok::<_, Error>(())
    };
    let (mut ahead, mut count) = ([(0, 0); ROWS_AHEAD], 0);
    for row in (0..table.rows()).filter(|row| table.is_group(*row, layout)) {
        // SAFETY: the entry is a row of this layout.
        let hash = unsafe { row_hash(layout, table.entry(row), mask) };
        // No branch: whose partition a hash is in nobody can predict.
        ahead[count] = (row, hash);
        count += usize::from(partition_of(hash, partitions) == partition);
        if count == ROWS_AHEAD {
            add_all(&ahead, target)?;
            count = 0;
        }
    }
    add_all(&ahead[..count], target)?;
    Ok(found)
}

/// Adds a group to those of the target; yields its entry there.
pub(super) fn add(of: Merging<'_>, target: &mut GroupTable, hash: u64, key: Option<i64>, entry: *const u8) -> Result<*mut u8, Error> {
    let Merging { decl, layout, memory, .. } = of;
    match look(layout, target, hash, key, entry) {
        Look::Known(known) => {
            combine_all(decl, layout, known, entry);
            Ok(known)
        }
        Look::Free(slot) => {
            if let Some(new) = slot.and_then(|slot| target.copy_at(slot, hash, key, entry)) {
                return Ok(new);
            }
            let new = target.insert(hash, key, memory)?;
            // SAFETY: both entries are `stride` bytes long and lie in different tables.
            unsafe { new.copy_from_nonoverlapping(entry, layout.stride as usize) }
            Ok(new)
        }
    }
}

/// What looking a group up comes to.
pub(super) enum Look {
    /// The entry of the same keys.
    Known(*mut u8),
    /// There is none. The empty slot that its hash leads to, where slots are what finds it.
    Free(Option<usize>),
}

/// Looks for the entry of the same keys.
pub(super) fn look(layout: &RowLayout, table: &GroupTable, hash: u64, key: Option<i64>, entry: *const u8) -> Look {
    let head = &table.head;
    if let Some(place) = key.and_then(|key| table.span().place(key)) {
        // SAFETY: the place is in the range.
        let number = unsafe { *head.direct.add(place) } as usize;
        return if number > 0 { Look::Known(table.entry(number - 1)) } else { Look::Free(None) };
    }
    let mut at = hash & head.mask;
    loop {
        // SAFETY: `at` is within the slots.
        let slot = unsafe { *head.slots.add(at as usize) };
        if slot == 0 {
            return Look::Free(Some(at as usize));
        }
        if (slot ^ hash) & !SLOT_ADDRESS == 0 {
            // SAFETY: a slot holds the offset of an entry.
            let known = unsafe { head.entries.add((slot & SLOT_ADDRESS) as usize) };
            if layout.fields[..layout.keys].iter().all(|field| same(field, known, entry)) {
                return Look::Known(known);
            }
        }
        at = (at + 1) & head.mask;
    }
}

/// Whether a key is the same in two entries.
fn same(field: &Field, a: *const u8, b: *const u8) -> bool {
    if let Some(valid) = field.valid
        && byte(a, valid) != byte(b, valid)
    {
        return false;
    }
    match field.ty.repr {
        Repr::Str => {
            let (a, b): (StrRef, StrRef) = (get(a, field.offset), get(b, field.offset));
            a == b || (a.lo == b.lo && a.lo as u32 > STR_INLINE && text(&a) == text(&b))
        }
        repr => match repr.bytes() {
            1 => get::<u8>(a, field.offset) == get::<u8>(b, field.offset),
            2 => get::<u16>(a, field.offset) == get::<u16>(b, field.offset),
            4 => get::<u32>(a, field.offset) == get::<u32>(b, field.offset),
            8 => get::<u64>(a, field.offset) == get::<u64>(b, field.offset),
            _ => get::<u128>(a, field.offset) == get::<u128>(b, field.offset),
        },
    }
}

#[cfg(test)]
mod tests;
