//! Having other threads begin at once what a thread of the runtime's has spawned.

use tokio::runtime::Handle;

/// Lets another thread take the task that was spawned last.
///
/// Tokio keeps that task for the very thread that has spawned it (its "LIFO slot"): no other can take it, and none is woken for it. If the thread goes on for milliseconds, as stages and
/// the compiler do, the task waits for as long. The next task that is spawned takes its place, so here is one that nobody waits for.
pub(super) fn release_last(runtime: &Handle) {
    drop(runtime.spawn(async {}));
}
