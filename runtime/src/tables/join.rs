//! Join tables: the workers' rows, and the directory that finds them (see [`JoinHead`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use stagefuse_ir::JoinDecl;
use stagefuse_ir::abi::{JoinHead, SLOT_ADDRESS, join_tag};
use stagefuse_ir::layout::{JOIN_HASH, JOIN_NEXT, RowLayout};

use super::rows::BuildRows;
use crate::error::Error;
use crate::memory::Memory;

/// Rows that one part of linking takes.
const PART_ROWS: usize = 1 << 16;

/// A join table whose rows are all there.
#[derive(Debug)]
pub(crate) struct JoinTable {
    pub(crate) head: JoinHead,
    directory: Vec<AtomicU64>,
    rows: Vec<BuildRows>,
    /// Pieces of the rows: buffer, first row, number of rows.
    pieces: Vec<(usize, usize, usize)>,
    /// Offsets of validity bytes of keys that must not be null to match.
    null_keys: Vec<u32>,
}

// SAFETY: the head's address is that of the directory, which the table owns.
unsafe impl Send for JoinTable {}
// SAFETY: linking goes through atomics; after it rows change only in their matched bytes, which any number of workers set to 1.
unsafe impl Sync for JoinTable {}

/// A join table of a run: there once its build side is done.
pub(crate) type SharedJoin = OnceLock<Box<JoinTable>>;

impl JoinTable {
    pub(crate) fn new(decl: &JoinDecl, layout: &RowLayout, rows: Vec<BuildRows>, memory: &Memory) -> Result<Self, Error> {
        let total: usize = rows.iter().map(BuildRows::rows).sum();
        let slots = (total * 2).next_power_of_two().max(16);
        memory.grow(slots * 8)?;
        let directory: Vec<AtomicU64> = (0..slots).map(|_| AtomicU64::new(0)).collect();
        let head = JoinHead { directory: directory.as_ptr().cast(), mask: slots as u64 - 1 };
        let mut pieces = vec![];
        for (buffer, rows) in rows.iter().enumerate() {
            for first in (0..rows.rows()).step_by(PART_ROWS) {
                pieces.push((buffer, first, PART_ROWS.min(rows.rows() - first)));
            }
        }
        let keys = if decl.null_equal { &[] } else { &layout.fields[..layout.keys] };
        let null_keys = keys.iter().filter_map(|field| field.valid).collect();
        Ok(JoinTable { head, directory, rows, pieces, null_keys })
    }

    /// Number of parts that linking has.
    pub(crate) fn parts(&self) -> usize {
        self.pieces.len()
    }

    /// Address and number of the rows of a part.
    pub(crate) fn part(&self, part: usize) -> (*mut u8, usize) {
        let (buffer, first, rows) = self.pieces[part];
        (self.rows[buffer].row(first), rows)
    }

    /// Links the rows of a part into the directory. Parts may be linked at the same time.
    pub(crate) fn link(&self, part: usize, stride: u32) {
        let (base, rows) = self.part(part);
        for row in 0..rows {
            // SAFETY: the row is one of the part's; only this part writes its rows.
            unsafe {
                let entry = base.add(row * stride as usize);
                if self.null_keys.iter().any(|valid| *entry.add(*valid as usize) == 0) {
                    continue;
                }
                let hash = entry.add(JOIN_HASH as usize).cast::<u64>().read();
                let slot = &self.directory[(hash & self.head.mask) as usize];
                let mut old = slot.load(Ordering::Relaxed);
                loop {
                    entry.add(JOIN_NEXT as usize).cast::<u64>().write(old & SLOT_ADDRESS);
                    let new = entry as u64 | (old & !SLOT_ADDRESS) | join_tag(hash);
                    match slot.compare_exchange_weak(old, new, Ordering::Release, Ordering::Relaxed) {
                        Ok(_) => break,
                        Err(now) => old = now,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stagefuse_ir::abi::hash_word;
    use stagefuse_ir::{SqlType, Type};

    use super::*;
    use crate::config::Unlimited;

    /// Builds two workers' rows with key `number % distinct`, null where the number is divisible by 10, and links them from two threads.
    fn build(rows: u64, distinct: u64, null_equal: bool) -> (JoinTable, RowLayout) {
        let memory = Memory::new(Arc::new(Unlimited));
        let decl = JoinDecl {
            keys: vec![Type::new(SqlType::Int64, true)],
            payload: vec![Type::new(SqlType::Int64, false)],
            null_equal,
            tracked: true,
        };
        let layout = RowLayout::join(&decl);
        let mut workers = vec![BuildRows::new(layout.stride), BuildRows::new(layout.stride)];
        for number in 0..rows {
            let row = workers[(number % 3 == 0) as usize].append(&memory).unwrap();
            // SAFETY: the row is `stride` bytes long, and offsets are those of its layout.
            unsafe {
                row.write_bytes(0, layout.stride as usize);
                row.add(JOIN_HASH as usize).cast::<u64>().write(hash_word(number % distinct, 0, 0));
                row.add(layout.fields[0].offset as usize).cast::<u64>().write(number % distinct);
                row.add(layout.fields[1].offset as usize).cast::<u64>().write(number);
                row.add(layout.fields[0].valid.unwrap() as usize).write(u8::from(number % 10 != 0));
            }
        }
        let table = JoinTable::new(&decl, &layout, workers, &memory).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (table, stride) = (&table, layout.stride);
                scope.spawn(move || (0..table.parts()).filter(|part| part % 2 == thread).for_each(|part| table.link(part, stride)));
            }
        });
        (table, layout)
    }

    /// Numbers of the rows in the chain of a key.
    fn chain(table: &JoinTable, layout: &RowLayout, key: u64) -> Vec<u64> {
        let hash = hash_word(key, 0, 0);
        let slot = table.directory[(hash & table.head.mask) as usize].load(Ordering::Relaxed);
        let mut found = vec![];
        if slot & join_tag(hash) == 0 {
            return found;
        }
        let mut entry = (slot & SLOT_ADDRESS) as *const u8;
        while !entry.is_null() {
            // SAFETY: chains hold addresses of the table's rows.
            unsafe {
                if entry.add(JOIN_HASH as usize).cast::<u64>().read() == hash {
                    found.push(entry.add(layout.fields[1].offset as usize).cast::<u64>().read());
                }
                entry = entry.add(JOIN_NEXT as usize).cast::<*const u8>().read();
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn every_row_is_in_the_chain_of_its_key() {
        for (rows, distinct, null_equal) in [(0, 1, false), (1, 1, true), (300, 7, false), (1000, 1000, true), (200_000, 150_000, false)] {
            let (table, layout) = build(rows, distinct, null_equal);
            assert!(table.directory.len().is_power_of_two() && table.directory.len() as u64 >= (rows * 2).max(16));
            let mut expected = vec![vec![]; distinct as usize];
            (0..rows)
                .filter(|number| null_equal || number % 10 != 0)
                .for_each(|number| expected[(number % distinct) as usize].push(number));
            for key in 0..distinct {
                assert_eq!(chain(&table, &layout, key), expected[key as usize], "key {key} of {rows} rows");
            }
            // Rows that no probe finds are still there to be read.
            assert_eq!((0..table.parts()).map(|part| table.part(part).1 as u64).sum::<u64>(), rows);
        }
    }
}
