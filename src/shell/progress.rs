//! A bar for queries that take long.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use stagefuse::{Progress, Query};

/// How long a query has to take before the bar is shown, and how often it is drawn.
const FIRST: Duration = Duration::from_millis(700);
const STEP: Duration = Duration::from_millis(150);

/// Characters of the bar.
const WIDTH: usize = 30;

/// Draws how far a query has come, until dropped.
pub(super) struct Bar {
    /// The thread ends when this is gone.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    pub(super) fn new(query: Arc<Query>) -> Bar {
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut wait = FIRST;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = STEP;
                // There is nobody to tell when that fails.
                let _ = write!(std::io::stderr(), "\r\x1b[K{}", line(&query.progress()));
            }
            if wait == STEP {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        });
        Bar { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // Nothing in it panics that anyone could act on.
            let _ = thread.join();
        }
    }
}

fn line(progress: &Progress) -> String {
    let rows = group(progress.rows_read);
    let stage = progress.stage.as_deref().unwrap_or("DataFusion");
    match progress.share() {
        Some(share) => {
            let full = (share * WIDTH as f64).round() as usize;
            format!("[{}{}] {:3.0} %  {rows} rows read, {stage}", "=".repeat(full), " ".repeat(WIDTH - full), share * 100.0)
        }
        None => format!("{rows} rows read, {stage}"),
    }
}

/// A number with commas.
fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(rows_expected: Option<u64>, stage: Option<&str>) -> Progress {
        let mut progress = Progress::default();
        (progress.rows_read, progress.rows_expected, progress.stage) = (1_234_567, rows_expected, stage.map(str::to_string));
        progress
    }

    #[test]
    fn the_bar_fills() {
        let half = line(&progress(Some(2_469_134), Some("scan lineitem")));
        assert_eq!(half, format!("[{}{}]  50 %  1,234,567 rows read, scan lineitem", "=".repeat(15), " ".repeat(15)));
        assert_eq!(line(&progress(None, None)), "1,234,567 rows read, DataFusion");
    }
}
