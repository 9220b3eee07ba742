//! Who does which piece of a stage: each task goes through a range of its own, and then takes from the ends of the others'.
//!
//! Pieces next to each other mostly hold keys next to each other, so that what a worker builds of its range stays apart from what others build of theirs:
//! such group tables are hardly merged.

use std::sync::atomic::{AtomicU64, Ordering};

/// Pieces that have not been claimed, by task: the first, and the one behind the last, in one word.
#[derive(Debug)]
pub(super) struct Claims {
    ranges: Vec<AtomicU64>,
}

fn pack(first: u32, end: u32) -> u64 {
    u64::from(first) << 32 | u64::from(end)
}

fn unpack(range: u64) -> (u32, u32) {
    ((range >> 32) as u32, range as u32)
}

impl Claims {
    /// `pieces` pieces, for so many tasks.
    pub(super) fn new(pieces: usize, tasks: usize) -> Self {
        let tasks = tasks.max(1);
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX) as usize;
        let bound = |task: usize| (pieces * task / tasks) as u32;
        Claims { ranges: (0..tasks).map(|task| AtomicU64::new(pack(bound(task), bound(task + 1)))).collect() }
    }

    /// A piece for a task, that no other has.
    pub(super) fn claim(&self, task: usize) -> Option<usize> {
        let own = task % self.ranges.len();
        let first = take(&self.ranges[own], |first, end| (first, pack(first + 1, end)));
        // The last piece of whoever has most left.
        let left = || {
            let most = self.ranges.iter().max_by_key(|range| {
                let (first, end) = unpack(range.load(Ordering::Relaxed));
                end.saturating_sub(first)
            })?;
            let (first, end) = unpack(most.load(Ordering::Relaxed));
            (first < end).then_some(most)
        };
        first.or_else(|| {
            while let Some(range) = left() {
                if let Some(piece) = take(range, |first, end| (end - 1, pack(first, end - 1))) {
                    return Some(piece);
                }
            }
            None
        })
    }
}

/// Takes a piece of a range: `which` tells the piece, and what is left.
fn take(range: &AtomicU64, which: impl Fn(u32, u32) -> (u32, u64)) -> Option<usize> {
    let mut now = range.load(Ordering::Relaxed);
    loop {
        let (first, end) = unpack(now);
        if first >= end {
            return None;
        }
        let (piece, left) = which(first, end);
        match range.compare_exchange_weak(now, left, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(piece as usize),
            Err(other) => now = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_goes_through_its_range_and_then_takes_the_last_of_others() {
        let claims = Claims::new(7, 2);
        assert_eq!([claims.claim(0), claims.claim(1), claims.claim(0), claims.claim(0)], [Some(0), Some(3), Some(1), Some(2)]);
        assert_eq!([claims.claim(0), claims.claim(0), claims.claim(1), claims.claim(1)], [Some(6), Some(5), Some(4), None]);
        assert_eq!(claims.claim(0), None);
        assert_eq!(Claims::new(0, 3).claim(2), None);
        assert_eq!(Claims::new(1, 3).claim(0), Some(0));
    }

    #[test]
    fn every_piece_is_claimed_once() {
        let claims = Claims::new(10_000, 3);
        let mut all: Vec<usize> = std::thread::scope(|scope| {
            let claims = &claims;
            let tasks: Vec<_> =
                (0..4).map(|task| scope.spawn(move || std::iter::from_fn(|| claims.claim(task)).collect::<Vec<_>>())).collect();
            tasks.into_iter().flat_map(|task| task.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10_000));
    }
}
