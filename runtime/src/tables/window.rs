//! When a worker's group table stops to look for its groups.
//!
//! A table of more groups than the cache holds waits for memory at every row. Where nearly every row is a group of its own, that gains nothing: the merge
//! meets the group once more, and waits once more. So a table whose slots have filled the cache may forget which groups it has and begin anew, as DuckDB's
//! aggregation does: rows that come are added behind the old ones, some of them twice, and the merge makes them one. DataFusion's partial aggregation
//! likewise passes rows on where 8 of 10 are new.
//!
//! It forgets only as long as rows are new (fewer than two for each group since the last time), and groups do not come back (an estimate of how many
//! distinct ones there are does not fall behind the entries): the second is what tells a million groups in random order from rows that are all distinct.

use crate::tables::sketch::Sketch;

/// What a table has seen since it forgot last.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Rows that have come to the stage; an upper limit of those that came to the table.
    pub(crate) seen: u64,
    /// Of them, those before the window.
    seen_before: u64,
    /// Never again.
    pub(crate) ended: bool,
    /// The hashes of all entries that were in slots, since the first window was full.
    sketch: Option<Box<Sketch>>,
    entries: u64,
}

impl Window {
    /// A table that never forgets.
    pub(crate) fn closed() -> Window {
        Window { ended: true, ..Window::default() }
    }

    /// Notes an entry that goes into the slots.
    pub(crate) fn note(&mut self, hash: u64) {
        if let Some(sketch) = &mut self.sketch {
            sketch.add(hash);
            self.entries += 1;
        }
    }

    /// Whether the table shall forget its groups, of which `rows` have come in this window; `hashes`: of all so far, for the first time.
    pub(crate) fn shall_forget(&mut self, rows: usize, hashes: impl Iterator<Item = u64>) -> bool {
        if self.ended {
            return false;
        }
        if self.sketch.is_none() {
            let sketch = self.sketch.insert(Box::default());
            for hash in hashes {
                sketch.add(hash);
                self.entries += 1;
            }
        }
        let seen = self.seen - self.seen_before;
        let distinct = self.sketch.as_deref().map_or(0.0, Sketch::estimate);
        self.ended = seen > 2 * rows as u64 || distinct < 0.75 * self.entries as f64;
        if self.ended {
            self.sketch = None;
        }
        self.seen_before = self.seen;
        !self.ended
    }
}
