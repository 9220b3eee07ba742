//! Counts what a run holds, and tells its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{MemoryBudget, Sizes};
use crate::error::Error;

/// Bytes by which the count may run ahead of what the budget was told. Small queries never ask at all.
const STEP: usize = 1 << 20;

/// The bytes of one run, and how its tables grow.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) sizes: Sizes,
    budget: Arc<dyn MemoryBudget>,
    held: AtomicUsize,
    told: AtomicUsize,
}

impl Memory {
    #[cfg(test)]
    pub(crate) fn new(budget: Arc<dyn MemoryBudget>) -> Self {
        Memory::with_sizes(budget, Sizes::default())
    }

    pub(crate) fn with_sizes(budget: Arc<dyn MemoryBudget>, sizes: Sizes) -> Self {
        Memory { sizes, budget, held: AtomicUsize::new(0), told: AtomicUsize::new(0) }
    }

    /// Takes `bytes` more.
    pub(crate) fn grow(&self, bytes: usize) -> Result<(), Error> {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held < self.told.load(Ordering::Relaxed) + STEP {
            return Ok(());
        }
        self.told.store(held, Ordering::Relaxed);
        self.budget.resize(held).map_err(Error::Memory)
    }

    /// Gives `bytes` back.
    pub(crate) fn shrink(&self, bytes: usize) {
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if held + STEP < self.told.load(Ordering::Relaxed) {
            self.told.store(held, Ordering::Relaxed);
            // Asking for less cannot fail in a way that anyone could act on.
            let _ = self.budget.resize(held);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Giving everything back cannot fail in a way that anyone could act on.
        let _ = self.budget.resize(0);
    }
}
