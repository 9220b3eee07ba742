//! Pieces of inputs in memory: what workers claim one by one.

use crate::lower::Memory;

/// Most morsels of a piece of an in-memory input, the unit that workers claim.
const PIECE_MORSELS: usize = 4;

/// Pieces for each worker, where there are morsels enough, so that workers end together.
const WORKER_PIECES: usize = 8;

/// A slice of a batch of an in-memory input.
#[derive(Copy, Clone)]
pub(crate) struct Piece {
    pub(crate) partition: usize,
    pub(super) batch: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Cuts an in-memory input into pieces for so many workers; morsels have at most `morsel_rows` rows.
pub(super) fn cut(memory: &Memory, morsel_rows: usize, workers: usize) -> Vec<Piece> {
    let morsels = memory.rows().div_ceil(morsel_rows * workers * WORKER_PIECES);
    let piece_rows = morsel_rows * morsels.clamp(1, PIECE_MORSELS);
    let mut pieces = vec![];
    let mut add = |partition: usize, batch: usize, rows: usize| {
        for first in (0..rows).step_by(piece_rows) {
            pieces.push(Piece { partition, batch, first, rows: piece_rows.min(rows - first) });
        }
    };
    match memory {
        Memory::Batches(partitions) => {
            for (partition, batches) in partitions.iter().enumerate() {
                batches.iter().enumerate().for_each(|(number, batch)| add(partition, number, batch.num_rows()));
            }
        }
        Memory::Compact(table, _) => table.partitions().iter().enumerate().for_each(|(partition, block)| add(partition, 0, block.rows())),
    }
    pieces
}
