//! Sorts: the rows that workers collect, and how they get in order.
//!
//! When all rows are there, pieces of each worker's rows are sorted, at the same time; then ranges of the whole order are merged from all pieces, at the same
//! time again. Where the keys have more bits than a word, their ranges are looked up first, for all that fits into a word need not be compared key by key. What moves are entries of three words; rows stay where they are until a stage reads them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use stagefuse_ir::SortDecl;

use super::order::{KeyRange, RowOrder};
use super::rows::BuildRows;
use crate::error::Error;
use crate::memory::Memory;

/// Most rows of a piece.
const PIECE_ROWS: usize = 1 << 18;

/// Rows of a piece at least, where there are fewer for each worker.
const LEAST_PIECE: usize = 1 << 12;

/// Rows that are merged in one go where they are no more.
const SMALL: usize = 1 << 12;

/// Of each piece, this many entries tell where ranges begin.
const SAMPLES: usize = 64;

/// Rows that a worker collects at least before it drops those that are not among the first.
const LEAST_BUFFER: usize = 8192;

/// A row on its way into the order.
#[derive(Clone, Copy, Debug)]
struct Entry {
    word: u64,
    /// Where the row stands in the source, as far as the host tells: decides between rows with equal keys.
    place: u64,
    row: *const u8,
}

// SAFETY: the row is one of the run's, which only are read once there are entries.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    fn compare(&self, other: &Self, order: &RowOrder) -> Ordering {
        // SAFETY: entries are made of rows of the sort.
        let keys = || unsafe { order.compare(self.row, other.row) };
        self.word.cmp(&other.word).then_with(keys).then_with(|| self.place.cmp(&other.place)).then_with(|| self.row.cmp(&other.row))
    }
}

/// The rows of one worker.
#[derive(Debug)]
pub(crate) struct SortRows {
    pub(crate) rows: BuildRows,
    /// Places of the first rows, those that the last [`Self::compact`] has kept.
    places: Vec<u64>,
    /// From which row on the rows of a batch lie, and their first place.
    segments: Vec<(usize, u64)>,
    /// The place that the host gave for the last of them.
    batch: Option<u64>,
    /// How often rows have been dropped.
    compacted: usize,
}

impl SortRows {
    fn new(stride: usize) -> Self {
        SortRows { rows: BuildRows::new(stride as u32), places: vec![], segments: vec![], batch: None, compacted: 0 }
    }

    /// Rows come now that stand in the source from this place on, or behind those that came since the host said so.
    fn begin(&mut self, place: u64) {
        if self.batch.replace(place) != Some(place) {
            self.segments.push((self.rows.rows(), place));
        }
    }

    /// Is another one after rows have been stored.
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.compacted, self.rows.rows())
    }

    /// Entries of some of the rows.
    fn entries(&self, order: &RowOrder, rows: Range<usize>) -> Vec<Entry> {
        let mut segment = self.segments.partition_point(|(first, _)| *first <= rows.start);
        let entry = |row: usize| {
            while self.segments.get(segment).is_some_and(|(first, _)| *first <= row) {
                segment += 1;
            }
            let place = match self.places.get(row) {
                Some(place) => *place,
                None => {
                    segment.checked_sub(1).map_or(row as u64, |at| self.segments[at].1.wrapping_add((row - self.segments[at].0) as u64))
                }
            };
            let row = self.rows.row(row).cast_const();
            // SAFETY: the row is one of those that were collected.
            Entry { word: unsafe { order.word(row) }, place, row }
        };
        rows.map(entry).collect()
    }

    /// Drops all rows but the first `keep` of the order, which stay as they came. Yields the word of the last of them.
    fn compact(&mut self, order: &RowOrder, keep: usize) -> Option<u64> {
        let rows = self.rows.rows();
        if rows <= keep {
            return None;
        }
        let mut entries = self.entries(order, 0..rows);
        let mut threshold = None;
        if let Some(last) = keep.checked_sub(1) {
            let (_, worst, _) = entries.select_nth_unstable_by(last, |a, b| a.compare(b, order));
            // SAFETY: the row is one of those that were collected.
            threshold = Some(unsafe { order.first_word(worst.row) });
        }
        entries.truncate(keep);
        entries.sort_unstable_by_key(|entry| entry.row);
        for (to, entry) in entries.iter().enumerate() {
            // SAFETY: both are rows of the block; rows move to the front in their order, so that none is overwritten before it has moved.
            unsafe { std::ptr::copy(entry.row, self.rows.row(to), order.stride) };
        }
        self.places.clear();
        self.places.extend(entries.iter().map(|entry| entry.place));
        self.rows.truncate(keep);
        self.compacted += 1;
        // What comes next belongs to the same batch.
        let (first, place) = self.segments.pop().unwrap_or((0, 0));
        self.segments.clear();
        self.segments.push((keep, place.wrapping_add(rows.saturating_sub(first) as u64)));
        threshold
    }
}

/// A sort of a run.
#[derive(Debug)]
pub(crate) struct SharedSort {
    order: RowOrder,
    /// Rows that are left out, and the first rows that matter.
    skip: usize,
    kept: Option<usize>,
    /// The least of the workers' thresholds: as many rows as matter are no greater.
    threshold: AtomicU64,
    table: OnceLock<Box<SortTable>>,
}

impl SharedSort {
    pub(crate) fn new(decl: &SortDecl) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        SharedSort {
            order: RowOrder::new(decl),
            skip: number(decl.skip),
            kept: decl.kept().map(number),
            threshold: AtomicU64::new(u64::MAX),
            table: OnceLock::new(),
        }
    }

    /// Makes a worker ready to collect rows that stand in the source from `place` on.
    pub(crate) fn begin(&self, rows: &mut Option<Box<SortRows>>, place: u64) -> *mut stagefuse_ir::abi::RowsHead {
        let rows = rows.get_or_insert_with(|| Box::new(SortRows::new(self.order.stride)));
        rows.begin(place);
        rows.rows.head.threshold = self.threshold.load(Relaxed);
        &raw mut rows.rows.head
    }

    /// Makes room for at least one more row.
    pub(crate) fn grow(&self, rows: &mut SortRows, memory: &Memory) -> Result<(), Error> {
        if let Some(keep) = self.kept
            && rows.rows.rows() >= keep.saturating_mul(2).max(LEAST_BUFFER)
        {
            if let Some(threshold) = rows.compact(&self.order, keep) {
                let known = self.threshold.fetch_min(threshold, Relaxed);
                rows.rows.head.threshold = known.min(threshold);
            }
            if rows.rows.head.used < rows.rows.head.capacity {
                return Ok(());
            }
        }
        rows.rows.grow(memory)
    }

    /// Takes the workers' rows, or goes on to the next round; tells how many parts it has. 0: the rows are in order.
    pub(crate) fn round(&self, workers: impl FnOnce() -> Vec<SortRows>, partitions: usize, memory: &Memory) -> Result<usize, Error> {
        if self.table.get().is_none() {
            let table = SortTable::new(workers(), partitions, memory)?;
            let parts = table.pieces.len();
            if !self.order.is_wide() {
                let _ = table.order.set(self.order.clone());
            }
            // The host asks once at a time; the first table stays.
            let _ = self.table.set(Box::new(table));
            return Ok(parts);
        }
        let Some(table) = self.table.get().filter(|table| table.ranges.get().is_none()) else { return Ok(0) };
        if table.order.get().is_none() && !table.pieces.is_empty() {
            let known = table.known.iter().filter_map(OnceLock::get).map(Vec::as_slice);
            let _ = table.order.set(self.order.narrowed(known));
            return Ok(table.pieces.len());
        }
        table.split(self, memory)
    }

    /// Does one part of the round.
    pub(crate) fn part(&self, part: usize) -> Result<(), Error> {
        let table = self.table.get().ok_or_else(|| Error::Internal("a sort has not been collected".into()))?;
        match (table.order.get(), table.ranges.get()) {
            (None, _) => table.look(part, self),
            (Some(order), None) => table.sort(part, order, self.kept),
            (Some(order), Some(ranges)) => table.merge(&ranges[part], part, order),
        }
        Ok(())
    }

    /// Rows that are left in the end.
    pub(crate) fn rows(&self) -> usize {
        let ranges = self.table.get().and_then(|table| table.ranges.get());
        ranges.into_iter().flatten().map(|range| range.rows.len()).sum()
    }

    /// The least of the workers' thresholds, if there is one.
    pub(crate) fn threshold(&self) -> Option<u64> {
        Some(self.threshold.load(Relaxed)).filter(|threshold| *threshold < u64::MAX)
    }

    /// Rows of a partition.
    pub(crate) fn partition_rows(&self, partition: usize) -> usize {
        self.merged(partition).map_or(0, |rows| rows.len())
    }

    /// Copies rows of a partition to a buffer, next to each other.
    pub(crate) fn copy(&self, partition: usize, rows: Range<usize>, to: &mut Vec<u64>) {
        let words = self.order.stride / 8;
        to.clear();
        to.resize(rows.len() * words, 0);
        let Some(merged) = self.merged(partition) else { return };
        for (row, to) in merged[rows].iter().zip(to.chunks_exact_mut(words)) {
            // SAFETY: rows of the sort lie in blocks of the table, are that long and aligned to 8.
            to.copy_from_slice(unsafe { std::slice::from_raw_parts(row.0.cast::<u64>(), words) });
        }
    }

    pub(crate) fn stride(&self) -> usize {
        self.order.stride
    }

    fn merged(&self, partition: usize) -> Option<&Vec<Row>> {
        self.table.get()?.merged.get(partition)?.get()
    }
}

/// The address of a row.
#[derive(Clone, Copy, Debug)]
struct Row(*const u8);

// SAFETY: rows only are read once they are in order.
unsafe impl Send for Row {}
// SAFETY: as above.
unsafe impl Sync for Row {}

/// A range of the order: what it takes of each run, and which of those rows are wanted.
#[derive(Debug)]
struct Stretch {
    of_runs: Vec<Range<usize>>,
    rows: Range<usize>,
}

/// All rows of a sort.
#[derive(Debug)]
struct SortTable {
    workers: Vec<SortRows>,
    /// Number of the worker, and which of its rows.
    pieces: Vec<(usize, Range<usize>)>,
    /// By piece: the ranges of its keys.
    known: Vec<OnceLock<Vec<KeyRange>>>,
    /// The order, once it is known what the word has room for.
    order: OnceLock<RowOrder>,
    /// By piece: its rows in order.
    runs: Vec<OnceLock<Vec<Entry>>>,
    ranges: OnceLock<Vec<Stretch>>,
    /// By range.
    merged: Vec<OnceLock<Vec<Row>>>,
}

impl SortTable {
    fn new(workers: Vec<SortRows>, partitions: usize, memory: &Memory) -> Result<Self, Error> {
        let rows: usize = workers.iter().map(|rows| rows.rows.rows()).sum();
        let most = rows.div_ceil(partitions.max(1)).clamp(LEAST_PIECE, PIECE_ROWS);
        let mut pieces = vec![];
        for (worker, rows) in workers.iter().enumerate() {
            let rows = rows.rows.rows();
            pieces.extend((0..rows).step_by(most).map(|first| (worker, first..rows.min(first + most))));
        }
        memory.grow(rows * size_of::<Entry>())?;
        Ok(SortTable {
            known: pieces.iter().map(|_| OnceLock::new()).collect(),
            order: OnceLock::new(),
            runs: pieces.iter().map(|_| OnceLock::new()).collect(),
            ranges: OnceLock::new(),
            merged: (0..partitions).map(|_| OnceLock::new()).collect(),
            workers,
            pieces,
        })
    }

    /// Looks up the ranges of a piece's keys.
    fn look(&self, piece: usize, sort: &SharedSort) {
        let (worker, rows) = &self.pieces[piece];
        let all = &self.workers[*worker].rows;
        // SAFETY: these rows were collected.
        let ranges = unsafe { sort.order.ranges(rows.clone().map(|row| all.row(row).cast_const())) };
        let _ = self.known[piece].set(ranges);
    }

    /// Puts a piece in order; of one that holds more than the first rows that matter, those.
    fn sort(&self, piece: usize, order: &RowOrder, kept: Option<usize>) {
        let (worker, rows) = &self.pieces[piece];
        let mut entries = self.workers[*worker].entries(order, rows.clone());
        if let Some(kept) = kept.filter(|kept| *kept < entries.len()) {
            if kept > 0 {
                entries.select_nth_unstable_by(kept - 1, |a, b| a.compare(b, order));
            }
            entries.truncate(kept);
        }
        entries.sort_unstable_by(|a, b| a.compare(b, order));
        let _ = self.runs[piece].set(entries);
    }

    /// Cuts the whole order into ranges, about as long as each other, and tells how many they are.
    fn split(&self, sort: &SharedSort, memory: &Memory) -> Result<usize, Error> {
        let order = self.order.get().unwrap_or(&sort.order);
        let runs: Vec<&[Entry]> = self.runs.iter().map(|run| run.get().map_or(&[][..], Vec::as_slice)).collect();
        let total: usize = runs.iter().map(|run| run.len()).sum();
        let end = sort.kept.map_or(total, |kept| kept.min(total));
        let first = sort.skip.min(end);
        let parts = if end - first <= SMALL { 1 } else { self.merged.len() };
        memory.grow((end - first) * size_of::<Row>())?;
        let step = (total / (SAMPLES * parts)).max(1);
        let mut samples: Vec<Entry> = runs.iter().flat_map(|run| run.iter().step_by(step)).copied().collect();
        samples.sort_unstable_by(|a, b| a.compare(b, order));
        let mut from = vec![0; runs.len()];
        let mut rank = 0;
        let mut ranges = vec![];
        for part in 1..=parts {
            let splitter = samples.get(part * samples.len() / parts).filter(|_| part < parts);
            let to = runs.iter().zip(&from).map(|(run, from)| match splitter {
                Some(splitter) => from + run[*from..].partition_point(|entry| entry.compare(splitter, order).is_lt()),
                None => run.len(),
            });
            let to: Vec<usize> = to.collect();
            let of_runs: Vec<Range<usize>> = from.iter().zip(&to).map(|(from, to)| *from..*to).collect();
            let rows: usize = of_runs.iter().map(|range| range.len()).sum();
            let wanted = |at: usize| at.saturating_sub(rank).min(rows);
            ranges.push(Stretch { of_runs, rows: wanted(first)..wanted(end) });
            rank += rows;
            from = to;
        }
        let _ = self.ranges.set(ranges);
        Ok(parts)
    }

    /// Puts the wanted rows of a range in order.
    fn merge(&self, range: &Stretch, number: usize, order: &RowOrder) {
        let runs = self.runs.iter().zip(&range.of_runs).filter(|(_, of_run)| !of_run.is_empty());
        let runs: Vec<&[Entry]> = runs.map(|(run, of_run)| run.get().map_or(&[][..], |run| &run[of_run.clone()])).collect();
        let mut merged = Vec::with_capacity(range.rows.len());
        if let [run] = runs[..] {
            merged.extend(run[range.rows.clone()].iter().map(|entry| Row(entry.row)));
        } else {
            let mut heads: BinaryHeap<Head<'_>> = runs.iter().map(|run| Head { run, order }).collect();
            for at in 0..range.rows.end {
                let Some(mut head) = heads.peek_mut() else { break };
                if at >= range.rows.start {
                    merged.push(Row(head.run[0].row));
                }
                head.run = &head.run[1..];
                if head.run.is_empty() {
                    PeekMut::pop(head);
                }
            }
        }
        let _ = self.merged[number].set(merged);
    }
}

/// What is left of a run while it is merged; not empty. The run whose first entry comes first is the greatest.
struct Head<'a> {
    run: &'a [Entry],
    order: &'a RowOrder,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.run[0].compare(&self.run[0], self.order)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}
