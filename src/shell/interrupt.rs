//! Ctrl-C while a query runs.

use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cli::failure::Failure;

/// Wakes whoever waits for Ctrl-C.
static PRESSED: OnceLock<Notify> = OnceLock::new();

/// From now on, Ctrl-C ends a query and not the process. Where that cannot be had, it goes on ending the process.
pub(super) fn listen() {
    PRESSED.get_or_init(Notify::new);
    let _ = ctrlc::set_handler(|| {
        if let Some(pressed) = PRESSED.get() {
            pressed.notify_waiters();
        }
    });
}

/// Runs a future to its end, or until Ctrl-C is pressed.
pub(super) async fn unless_pressed<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let pressed = async {
        match PRESSED.get() {
            Some(pressed) => pressed.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => done,
        () = pressed => Err(Failure::new("cancelled")),
    }
}

/// Runs a future as a task of its own, which ends when it is no longer waited for. A stage in the middle of a morsel would
/// otherwise keep the thread that has to hear Ctrl-C.
pub(super) async fn task<T: Send + 'static>(
    work: impl Future<Output = Result<T, stagefuse::Error>> + Send + 'static,
) -> Result<T, Failure> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => Ok(done?),
        Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        None => Err(Failure::new("cancelled")),
    }
}
