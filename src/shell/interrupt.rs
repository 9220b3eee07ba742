//! Ctrl-C while a query runs.

use std::sync::OnceLock;

use tokio::sync::Notify;

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

/// Ready when Ctrl-C is pressed, from now on.
pub(super) async fn pressed() {
    match PRESSED.get() {
        Some(pressed) => pressed.notified().await,
        None => std::future::pending().await,
    }
}
