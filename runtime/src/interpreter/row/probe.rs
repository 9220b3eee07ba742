//! Probes of join tables, a chunk at a time.
//!
//! All rows take one step along their chains together. Pairs whose hash and keys are equal are gathered until they fill a chunk; a
//! residual condition is evaluated over them as over any other rows.

use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};

use stagefuse_ir::abi::{ENTRY_ROW_BITS, JoinHead, SLOT_ADDRESS, STR_INLINE, StrRef, join_tag, order_word};
use stagefuse_ir::layout::{Field, JOIN_NEXT, RowLayout};
use stagefuse_ir::{EntityRef, Probe, ProbeKind, Repr, Value};

use crate::builtins::strings;
use crate::error::Error;
use crate::interpreter::hash::hash_keys;
use crate::interpreter::level::Frame;
use crate::interpreter::load::read;
use crate::interpreter::scalar::cast::resize;
use crate::interpreter::vector::{Buf, Data, Pooled, Prim, Vector, gather, select};
use crate::interpreter::{CHUNK, More, run_from, scalar};

/// One probe of one chunk.
struct Probing<'p> {
    probe: &'p Probe,
    /// The operation after the probe; none for a sink.
    next: Option<usize>,
    values: Vec<Value>,
    /// Offset of the table's matched byte.
    matched_byte: Option<u32>,
    /// By row of the chunk: whether a match was found.
    found: Buf<u8>,
    /// Pairs with equal keys that wait.
    rows: Buf<u32>,
    entries: Buf<u64>,
    more: More,
}

/// Runs a probe over the rows of the top level. For inner and outer probes all that follows is run, piece by piece: the result tells
/// whether more rows are wanted. For the others the rows that are left are the top level's.
pub(crate) fn run(frame: &mut Frame<'_>, probe: &Probe, next: Option<usize>) -> Result<Option<More>, Error> {
    let rows = frame.rows();
    let layout = &frame.run.join_layouts[probe.join.index()];
    let fields = &layout.fields[..layout.keys];
    let null_equal = frame.run.program.joins[probe.join].null_equal;
    let keys = probe.keys.iter().map(|key| frame.get(*key)).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: the worker has entered the stage, so that the table is in place.
    let table: &JoinHead = unsafe { &*(*frame.worker.head.joins.add(probe.join.index())).table };
    let mut probing = Probing {
        probe,
        next,
        values: probe.columns.iter().flatten().copied().collect(),
        matched_byte: layout.matched,
        found: Buf::filled(0, rows),
        rows: Buf::new(),
        entries: Buf::new(),
        more: More::Yes,
    };
    // Rows on their way, and the entry that each looks at.
    let (mut walking, mut at) = (Buf::<u32>::new(), Buf::<u64>::new());
    // Null is equal to null, if it is to anything; a field that is never null is not equal to it.
    let finds_null = |field: &Field| null_equal && field.ty.nullable;
    let may_match = |row: usize| keys.iter().zip(fields).all(|(key, field)| finds_null(field) || key.is_valid(row));
    let any_null = keys.iter().zip(fields).any(|(key, field)| !finds_null(field) && key.valid.is_some());
    let mut hashes = None;
    let mut begin = |row: usize, entry: u64| {
        if entry != 0 && (!any_null || may_match(row)) {
            walking.push(row as u32);
            at.push(entry);
        }
    };
    if table.range > 0 {
        let numbers = resize(&keys[0], Repr::I64)?;
        let numbers = numbers.arg::<i64>()?;
        (0..rows).for_each(|row| begin(row, direct_entry(table, numbers.at(row), layout)));
    } else if table.turn > 0 {
        let numbers = resize(&keys[0], Repr::I64)?;
        let numbers = numbers.arg::<i64>()?;
        (0..rows).for_each(|row| begin(row, of_slot(table, order_word(numbers.at(row), table.first, table.turn))));
    } else {
        let of_rows = hash_keys(&keys, rows, frame.run.memory.sizes.hash_mask)?;
        for (row, hash) in of_rows.iter().enumerate() {
            begin(row, of_slot(table, *hash));
        }
        hashes = layout.hash.map(|offset| (offset, of_rows));
    }
    let all_matches = matches!(probe.kind, ProbeKind::Inner | ProbeKind::Outer) || probe.marks_build;
    while !walking.is_empty() && probing.more == More::Yes {
        let (mut match_rows, mut match_entries) = (Buf::<u32>::new(), Buf::<u64>::new());
        for (row, entry) in walking.iter().zip(at.iter()) {
            if hashes.as_ref().is_none_or(|(offset, hashes)| read::<u64>(*entry, *offset) == hashes[*row as usize]) {
                match_rows.push(*row);
                match_entries.push(*entry);
            }
        }
        for (key, field) in keys.iter().zip(fields) {
            keep_equal(key, field, &mut match_rows, &mut match_entries)?;
        }
        probing.add(frame, &match_rows, &match_entries)?;
        let mut kept = 0;
        for step in 0..walking.len() {
            let (row, following) = (walking[step], read::<u64>(at[step], JOIN_NEXT));
            if following != 0 && (all_matches || probing.found[row as usize] == 0) {
                walking[kept] = row;
                at[kept] = following;
                kept += 1;
            }
        }
        walking.truncate(kept);
        at.truncate(kept);
    }
    probing.finish(frame)
}

/// The first entry of the chain that a hash, or what takes its place, finds; 0 where there is none.
#[inline(always)]
fn of_slot(table: &JoinHead, word: u64) -> u64 {
    // SAFETY: the directory has `mask + 1` slots.
    let slot = unsafe { *table.directory.add((word & table.mask) as usize) };
    if slot & join_tag(word) != 0 { slot & SLOT_ADDRESS } else { 0 }
}

/// The first entry of a number's chain in a directly addressed table; 0 where there is none.
#[inline(always)]
fn direct_entry(table: &JoinHead, number: i64, layout: &RowLayout) -> u64 {
    let at = number.wrapping_sub(table.first) as u64;
    if at >= table.range {
        return 0;
    }
    // SAFETY: there are `range` elements, and a buffer of every number that is in one.
    unsafe {
        match *table.direct.add(at as usize) {
            0 => 0,
            number => {
                let number = u64::from(number) - 1;
                let base = *table.bases.add((number >> ENTRY_ROW_BITS) as usize);
                base + (number & ((1 << ENTRY_ROW_BITS) - 1)) * u64::from(layout.stride)
            }
        }
    }
}

impl Probing<'_> {
    /// Whether pairs are looked at beyond the fact that they match.
    fn wants_pairs(&self) -> bool {
        self.probe.residual.is_some() || matches!(self.probe.kind, ProbeKind::Inner | ProbeKind::Outer)
    }

    fn add(&mut self, frame: &mut Frame<'_>, rows: &[u32], entries: &[u64]) -> Result<(), Error> {
        if !self.wants_pairs() {
            self.note(rows, entries);
            return Ok(());
        }
        if self.rows.len() + rows.len() > CHUNK {
            self.flush(frame)?;
        }
        self.rows.extend_from_slice(rows);
        self.entries.extend_from_slice(entries);
        Ok(())
    }

    /// Notes that these pairs match.
    fn note(&mut self, rows: &[u32], entries: &[u64]) {
        rows.iter().for_each(|row| self.found[*row as usize] = 1);
        if let Some(offset) = self.matched_byte.filter(|_| self.probe.marks_build) {
            for entry in entries {
                // SAFETY: the entry is a row of the table, which is tracked; workers only ever access the byte atomically.
                unsafe { AtomicU8::from_ptr((entry + u64::from(offset)) as *mut u8).store(1, Ordering::Relaxed) };
            }
        }
    }

    /// Puts the pairs that wait through the residual and, for inner and outer probes, through the rest of the stage.
    fn flush(&mut self, frame: &mut Frame<'_>) -> Result<(), Error> {
        let rows = std::mem::replace(&mut self.rows, Buf::new());
        let entries = std::mem::replace(&mut self.entries, Buf::new());
        if rows.is_empty() || self.more == More::No {
            return Ok(());
        }
        let base = frame.depth();
        let pairs = rows.len();
        frame.push_pairs(copy(&rows), copy(&entries), self.values.iter().copied());
        match &self.probe.residual {
            None => self.note(&rows, &entries),
            Some(residual) => {
                let condition = scalar::region(frame, residual)?;
                let kept = select(&condition, pairs, true)?;
                self.note(&gather(&rows, &kept), &gather(&entries, &kept));
                if kept.len() < pairs {
                    frame.push_map(kept);
                }
            }
        }
        self.pass_on(frame)?;
        frame.pop_to(base);
        Ok(())
    }

    /// Runs the rest of the stage over the pairs of the top level.
    fn pass_on(&mut self, frame: &mut Frame<'_>) -> Result<(), Error> {
        if let Some(next) = self.next.filter(|_| matches!(self.probe.kind, ProbeKind::Inner | ProbeKind::Outer))
            && frame.rows() > 0
        {
            self.more = run_from(frame, next)?;
        }
        Ok(())
    }

    fn finish(mut self, frame: &mut Frame<'_>) -> Result<Option<More>, Error> {
        self.flush(frame)?;
        let found = std::mem::replace(&mut self.found, Buf::new());
        let found = Vector::new::<u8>(found, None);
        match self.probe.kind {
            ProbeKind::Inner => return Ok(Some(self.more)),
            ProbeKind::Outer => {
                let alone = select(&found, frame.rows(), false)?;
                if !alone.is_empty() && self.more == More::Yes {
                    let base = frame.depth();
                    let nulls = Buf::filled(0, alone.len());
                    frame.push_pairs(alone, nulls, self.values.iter().copied());
                    self.pass_on(frame)?;
                    frame.pop_to(base);
                }
                return Ok(Some(self.more));
            }
            ProbeKind::Semi => frame.push_filter(&found, true)?,
            ProbeKind::Anti => frame.push_filter(&found, false)?,
            ProbeKind::Mark => {
                if let Some(mark) = self.probe.mark {
                    frame.define(mark, Rc::new(found));
                }
            }
        }
        Ok(None)
    }
}

fn copy<T: Pooled>(values: &[T]) -> Buf<T> {
    values.iter().copied().collect()
}

/// Keeps the pairs of a row and a table's row for which a key is the same (or null in both).
pub(crate) fn keep_equal(key: &Vector, field: &Field, rows: &mut Buf<u32>, entries: &mut Buf<u64>) -> Result<(), Error> {
    match &key.data {
        Data::Bool(_) => keep::<u8>(key, field, rows, entries, |a, b| a == b),
        Data::I8(_) => keep::<i8>(key, field, rows, entries, |a, b| a == b),
        Data::I16(_) => keep::<i16>(key, field, rows, entries, |a, b| a == b),
        Data::I32(_) => keep::<i32>(key, field, rows, entries, |a, b| a == b),
        Data::I64(_) => keep::<i64>(key, field, rows, entries, |a, b| a == b),
        Data::I128(_) => keep::<i128>(key, field, rows, entries, |a, b| a == b),
        Data::F32(_) => keep::<f32>(key, field, rows, entries, |a, b| a.to_bits() == b.to_bits()),
        Data::F64(_) => keep::<f64>(key, field, rows, entries, |a, b| a.to_bits() == b.to_bits()),
        Data::Str(_) => keep::<StrRef>(key, field, rows, entries, same_text),
    }
}

/// Whether two texts are equal.
#[inline(always)]
pub(crate) fn same_text(a: StrRef, b: StrRef) -> bool {
    // SAFETY: both refer to text that is alive.
    a == b || (a.lo == b.lo && a.lo as u32 > STR_INLINE && unsafe { strings::bytes(&a) == strings::bytes(&b) })
}

#[inline(always)]
fn keep<T: Prim>(
    key: &Vector,
    field: &Field,
    rows: &mut Buf<u32>,
    entries: &mut Buf<u64>,
    same: impl Fn(T, T) -> bool,
) -> Result<(), Error> {
    let values = key.arg::<T>()?;
    let validity = key.validity();
    let mut kept = 0;
    for pair in 0..rows.len() {
        let (row, entry) = (rows[pair], entries[pair]);
        let valid = validity.is_none_or(|valid| valid.at(row as usize) != 0);
        let entry_valid = field.valid.is_none_or(|offset| read::<u8>(entry, offset) != 0);
        let equal = valid == entry_valid && (!valid || same(values.at(row as usize), read(entry, field.offset)));
        rows[kept] = row;
        entries[kept] = entry;
        kept += usize::from(equal);
    }
    rows.truncate(kept);
    entries.truncate(kept);
    Ok(())
}
