//! Group tables whose numeric keys address the entries themselves: entry number *n* + 1 is that of the *n*-th number of a range, from the start.
//!
//! Where rows come in no order and go to many groups, each waits for memory twice in a table that an array of numbers leads into, and nothing tells which rows are the first of their group.
//! Spread entries are found by arithmetic, none is ever added, and merging goes through them in the order of their keys. They take room for every
//! number of the range, so that a table is spread only once it has shown that it will fill a good part of it.

use std::ops::Range;

use stagefuse_ir::layout::RowLayout;

use super::block::Block;
use super::combine::combine_all;
use super::groups::GroupTable;
use super::merge::{Merging, Part, add};
use super::number::{Span, hash_of, key_of, row_hash};
use crate::error::Error;
use crate::memory::Memory;

/// Of how many numbers of the range one at least must be foreseen to be a group.
const LEAST_DENSITY: u64 = 3;
/// Most numbers of the range for each group that is there: what is foreseen may be wrong.
const SPREAD_PER_ROW: u64 = 128;

/// What a table knows of its keys' range, to tell whether that still grows.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Spread {
    /// Whether the table may be spread at all.
    pub(crate) allowed: bool,
    /// Entries that numbers address; zero where the table is not spread.
    pub(crate) places: usize,
    /// How many groups there were, and the range of their keys, when that was looked at last.
    noted: (usize, u64),
}

impl GroupTable {
    /// Spreads the table, if that is worth it by now. Entries move: nobody may hold the distance of one.
    pub(crate) fn consider_spreading(&mut self, memory: &Memory) -> Result<(), Error> {
        let (rows, seen, Spread { allowed, places, noted }) = (self.rows(), self.seen, self.spread);
        if !allowed || places > 0 || self.is_loose() || seen.rows == 0 || rows < memory.sizes.spread_rows.max(noted.0 * 2) {
            return Ok(());
        }
        let Some(span) = self.keys().and_then(|(least, greatest)| Span::of(least, greatest)) else { return Ok(()) };
        self.spread.noted = (rows, span.range);
        // Keys that come in their order, or nearly, take no more memory than they need where they are, and the range is not known.
        if noted.0 == 0 || span.range > noted.1.saturating_add(noted.1 / 4) {
            return Ok(());
        }
        if !self.fills(span) || span.range > (rows as u64).saturating_mul(SPREAD_PER_ROW) {
            return Ok(());
        }
        // The keys that are still to come may lie a little beyond.
        let margin = span.range / 64 + 64;
        let below = margin.min(span.first.wrapping_sub(i64::MIN) as u64);
        let above = margin.min(i64::MAX.wrapping_sub(span.first.wrapping_add(span.range as i64 - 1)) as u64);
        self.spread_over(Span { first: span.first.wrapping_sub(below as i64), range: span.range + below + above }, memory)
    }

    /// Whether groups are foreseen to take a good part of the range of their keys.
    fn fills(&self, span: Span) -> bool {
        let (rows, seen) = (self.rows() as u64, self.seen);
        let left = seen.expected.saturating_sub(seen.rows);
        let more = if seen.rows > 0 { (left as f64 * rows as f64 / seen.rows as f64) as u64 } else { 0 };
        rows.saturating_add(more).saturating_mul(LEAST_DENSITY) >= span.range
    }

    /// Whether the table may still be spread.
    pub(crate) fn may_be_spread(&self) -> bool {
        let span = self.keys().and_then(|(least, greatest)| Span::of(least, greatest));
        self.spread.allowed && span.is_some_and(|span| self.fills(span))
    }

    /// Moves the entries to the places of their keys in a range that all of them lie in; null, which has no number, behind them. Where there is no room for
    /// that the table stays as it is.
    fn spread_over(&mut self, span: Span, memory: &Memory) -> Result<(), Error> {
        let (places, rows, stride) = (span.range as usize, self.rows(), self.stride());
        let capacity = (places + 1 + memory.sizes.first_rows + 1) * stride;
        if memory.grow(capacity).is_err() {
            memory.shrink(capacity);
            return Ok(());
        }
        let block = Block::zeroed(capacity);
        // A number that no row has come with is told by another key in its entry: zero, but for zero itself.
        if let Some(place) = span.place(0) {
            let Some(field) = self.layout.fields.first() else { return Ok(()) };
            // SAFETY: the place has an entry, and the field lies within it.
            unsafe {
                let entry = block.base().add((place + 1) * stride);
                entry.add(field.offset as usize).write_bytes(0xFF, field.ty.repr.bytes() as usize);
            }
        }
        let mut behind = places;
        for row in 0..rows {
            let from = self.entry(row);
            // SAFETY: the entry is a row of this layout.
            let key = unsafe { key_of(&self.layout, from) };
            let to = key.and_then(|key| span.place(key)).unwrap_or(behind);
            behind += usize::from(to == behind);
            // SAFETY: the block has room for `places` entries and one more behind the free first stride; only null has no place.
            unsafe { block.base().add((to + 1) * stride).copy_from_nonoverlapping(from, stride) }
        }
        self.drop_places(memory);
        self.give_back(self.block.capacity(), memory);
        self.held += capacity;
        self.block = block;
        self.head.entries = self.block.base();
        (self.head.first, self.head.range) = (span.first, span.range);
        self.head.rows = behind as u64;
        self.spread.places = places;
        self.find_again(memory.sizes.first_slots, memory)
    }

    /// Makes so many slots, and what lies behind the places found by them.
    pub(crate) fn find_again(&mut self, slots: usize, memory: &Memory) -> Result<(), Error> {
        self.set_slots(slots, memory)?;
        for row in self.spread.places..self.rows() {
            // SAFETY: the entry is one of those inserted; the layout of a spread table is numeric.
            let (hash, key) = unsafe {
                let entry = self.entry(row);
                (row_hash(&self.layout, entry, memory.sizes.hash_mask), key_of(&self.layout, entry))
            };
            self.place(row, hash, key);
        }
        Ok(())
    }

    /// Whether an entry is that of a group: not where it is the place of a number that no row has come with.
    #[inline(always)]
    pub(crate) fn is_group(&self, row: usize, layout: &RowLayout) -> bool {
        // SAFETY: the entry is a row of this layout, which is numeric where there are places.
        row >= self.spread.places || unsafe { key_of(layout, self.entry(row)) } == Some(self.head.first.wrapping_add(row as i64))
    }

    /// Moves the groups of a spread table together. From now on they are read only: what finds them is gone. Yields how many of them had places.
    pub(crate) fn gather(&mut self, memory: &Memory) -> usize {
        let places = self.spread.places;
        if places == 0 {
            return 0;
        }
        let others = self.rows() - places;
        let layout = self.layout.clone();
        let mut kept = 0;
        for row in 0..self.rows() {
            if self.is_group(row, &layout) {
                if kept < row {
                    // SAFETY: both are entries, which are `stride` bytes long and do not overlap.
                    unsafe { self.entry(kept).copy_from_nonoverlapping(self.entry(row), self.stride()) }
                }
                kept += 1;
            }
        }
        self.spread.places = 0;
        self.head.rows = kept as u64;
        self.drop_places(memory);
        kept - others
    }
}

/// Adds a group of a spread table, whose key is number `row` of its range, to those of a table that is addressed by keys.
pub(super) fn add_number(of: Merging<'_>, target: &mut GroupTable, table: &GroupTable, row: usize) -> Result<(), Error> {
    let (number, entry) = (table.head.first.wrapping_add(row as i64), table.entry(row));
    // Null and what lies far away may have made the target choose another range, or none.
    let Some(place) = target.span().place(number) else {
        return add(of, target, hash_of(Some(number), of.memory.sizes.hash_mask), Some(number), entry).map(|_| ());
    };
    match target.numbered(place) {
        Some(known) => combine_all(of.decl, of.layout, known, entry),
        None => target.copy_in(place, number, entry, of.memory)?,
    }
    Ok(())
}

/// The rows of a table that a part may take: places of its keys first, then all others.
pub(super) fn rows_of(table: &GroupTable, part: Part) -> [Range<usize>; 2] {
    let places = table.spread.places;
    let Part::Keys { span, .. } = part else { return [0..places, places..table.rows()] };
    let place = |number: i128| (number - i128::from(table.head.first)).clamp(0, places as i128) as usize;
    let first = i128::from(span.first);
    [place(first)..place(first + i128::from(span.range)), places..table.rows()]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use stagefuse_ir::abi::HASH_ALL;
    use stagefuse_ir::{AccDecl, AccOp, GroupsDecl, SqlType, Type};

    use super::*;
    use crate::config::{MemoryBudget, Unlimited};
    use crate::error::HostError;

    /// Adds a row to the group of its key, as engines do.
    fn count(table: &mut GroupTable, layout: &RowLayout, found: &mut HashMap<Option<i64>, usize>, key: Option<i64>, memory: &Memory) {
        let (head, stride) = (&table.head, layout.stride as usize);
        let spread = key.and_then(|key| table.span().place(key)).filter(|_| head.direct.is_null());
        let distance = match (spread, found.get(&key)) {
            (Some(place), _) => (place + 1) * stride,
            (None, Some(distance)) => *distance,
            (None, None) => table.insert(hash_of(key, HASH_ALL), key, memory).unwrap() as usize - table.head.entries as usize,
        };
        found.insert(key, distance);
        // SAFETY: the entry is one of the table's.
        unsafe {
            let entry = table.head.entries.add(distance);
            entry.add(layout.fields[0].offset as usize).cast::<i64>().write(key.unwrap_or(0));
            entry.add(layout.fields[0].valid.unwrap() as usize).write(u8::from(key.is_some()));
            *entry.add(layout.fields[1].offset as usize).cast::<i64>() += 1;
        }
    }

    fn groups(table: &GroupTable, layout: &RowLayout) -> HashMap<Option<i64>, i64> {
        let rows = (0..table.rows()).filter(|row| table.is_group(*row, layout));
        // SAFETY: the entries are rows of this layout.
        let group = |row| unsafe {
            let entry = table.entry(row);
            (key_of(layout, entry), entry.add(layout.fields[1].offset as usize).cast::<i64>().read())
        };
        rows.map(group).collect()
    }

    #[test]
    fn a_table_is_spread_where_keys_come_in_no_order_over_a_range_that_they_fill() {
        let accs = vec![AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) }];
        let layout = RowLayout::groups(&GroupsDecl::new(vec![Type::new(SqlType::Int64, true)], accs));
        // Keys that are scattered over a range around zero, with null and some far away; ascending ones; ones of a range that is too wide.
        type Keys = fn(i64) -> Option<i64>;
        let orders: [(Keys, bool); 4] = [
            (|n| (n % 50 != 7).then_some(n.wrapping_mul(7919) % 10_007 - 5_000), true),
            (|n| Some(if n % 500 == 499 { n << 40 } else { n * 7919 % 10_007 }), false),
            (|n| Some(n / 3), false),
            (|n| Some(n * 7919 % 10_007 * 1000), false),
        ];
        for (number, (key_of_row, spread)) in orders.into_iter().enumerate() {
            let memory = Memory::new(Arc::new(Unlimited));
            let mut table = GroupTable::new(&layout, &memory).unwrap();
            table.spread.allowed = true;
            let (mut found, mut expected) = (HashMap::new(), HashMap::new());
            for row in 0..30_000 {
                if row % 500 == 0 {
                    (table.seen.rows, table.seen.expected) = (row as u64, 30_000);
                    let before = table.spread.places;
                    table.consider_spreading(&memory).unwrap();
                    // Distances are others now; those behind the places have to be found again.
                    if table.spread.places != before {
                        found.retain(|key: &Option<i64>, _| key.is_none());
                        let distance = (table.rows()) * layout.stride as usize;
                        found.iter_mut().for_each(|(_, at)| *at = distance);
                    }
                }
                let key = key_of_row(row);
                *expected.entry(key).or_insert(0) += 1;
                count(&mut table, &layout, &mut found, key, &memory);
            }
            assert_eq!(table.spread.places > 0, spread, "case {number}");
            // Some that lie beyond the range, so many that their slots have to grow.
            for row in 0..1_000 {
                let key = Some(row + 1_000_000_000_000_000);
                *expected.entry(key).or_insert(0) += 1;
                count(&mut table, &layout, &mut found, key, &memory);
            }
            assert_eq!(groups(&table, &layout), expected, "case {number}");
            table.gather(&memory);
            assert_eq!((table.rows(), table.head.range > 0), (expected.len(), !spread && table.head.range > 0), "case {number}");
            assert_eq!(groups(&table, &layout), expected, "case {number}");
        }
    }

    /// So many bytes, and no more.
    #[derive(Debug)]
    struct Bytes(usize);

    impl MemoryBudget for Bytes {
        fn resize(&self, bytes: usize) -> Result<(), HostError> {
            if bytes <= self.0 { Ok(()) } else { Err("no more".into()) }
        }
    }

    #[test]
    fn a_table_stays_where_there_is_no_room_to_spread_it() {
        let layout = RowLayout::groups(&GroupsDecl::new(vec![Type::new(SqlType::Int64, true)], vec![]));
        for (bytes, spread) in [(3 << 20, false), (64 << 20, true)] {
            let memory = Memory::new(Arc::new(Bytes(bytes)));
            let mut table = GroupTable::new(&layout, &memory).unwrap();
            table.spread.allowed = true;
            for row in 0..20_000 {
                if row % 5_000 == 0 {
                    (table.seen.rows, table.seen.expected) = (row as u64, 2_000_000);
                    table.consider_spreading(&memory).unwrap();
                }
                let number = row * 7919 % 1_000_003;
                let key = Some(number);
                if table.spread.places == 0 {
                    let entry = table.insert(hash_of(key, HASH_ALL), key, &memory).unwrap();
                    // SAFETY: the fields lie within the entry.
                    unsafe {
                        entry.add(layout.fields[0].offset as usize).cast::<i64>().write(number);
                        entry.add(layout.fields[0].valid.unwrap() as usize).write(1);
                    }
                }
            }
            assert_eq!(table.spread.places > 0, spread, "{bytes} bytes");
        }
    }
}
