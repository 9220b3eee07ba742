//! Row counters.

use std::sync::atomic::{AtomicU64, Ordering};

use stagefuse_ir::{EntityRef, Limit};

use crate::error::Error;
use crate::interpreter::More;
use crate::interpreter::level::Frame;

/// Counts the rows of the top level and lets those through that the limit allows; tells whether more may follow.
pub(crate) fn take(frame: &mut Frame<'_>, limit: Limit) -> Result<More, Error> {
    let decl = frame.run.program.limits[limit];
    let rows = frame.rows() as u64;
    // SAFETY: the worker's table holds an address for each limit of the program, which the run keeps; all access to `seen` is atomic.
    let seen = unsafe { AtomicU64::from_ptr((&raw const (**frame.worker.head.limits.add(limit.index())).seen).cast_mut()) };
    let before = seen.fetch_add(rows, Ordering::Relaxed);
    let end = decl.skip.saturating_add(decl.fetch);
    let from = decl.skip.saturating_sub(before).min(rows);
    let to = end.saturating_sub(before).min(rows);
    if (from, to) != (0, rows) {
        frame.push_map((from as u32..to.max(from) as u32).collect());
    }
    Ok(if before.saturating_add(rows) >= end { More::No } else { More::Yes })
}
