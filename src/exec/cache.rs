//! The code cache: compiled stages of programs that came before, for all sessions of the process.
//!
//! The key is the program's text, literals included, and what the compiler was told; so the same query over the same tables finds its code, as
//! Spark's `CodeGenerator` cache does for the same generated source.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use stagefuse_compiler::{CompiledStage, Options};
use stagefuse_ir::{EntityRef, Program, Stage};

/// Bytes of machine code that the cache holds at most. Programs that were not asked for longest go first.
const MOST_BYTES: usize = 32 << 20;

/// Programs that the cache holds at most.
const MOST_PROGRAMS: usize = 1024;

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

#[derive(Default)]
struct Cache {
    programs: HashMap<String, Entry>,
    /// Counts look-ups.
    clock: u64,
    bytes: usize,
}

struct Entry {
    used: u64,
    stages: Vec<Option<CompiledStage>>,
}

/// The key of a program's code.
pub(super) fn key(program: &Program, options: &Options) -> String {
    // The label only names the code.
    let options = Options { label: String::new(), ..options.clone() };
    format!("{options:?}\n{program}")
}

/// The stages of a program that have been compiled.
pub(super) fn get(key: &str) -> Vec<Option<CompiledStage>> {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = cache.get_or_insert_with(Cache::default);
    cache.clock += 1;
    match cache.programs.get_mut(key) {
        Some(entry) => {
            entry.used = cache.clock;
            entry.stages.clone()
        }
        None => vec![],
    }
}

/// Keeps a stage of a program.
pub(super) fn put(key: &str, stage: Stage, compiled: &CompiledStage) {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = cache.get_or_insert_with(Cache::default);
    let entry = cache.programs.entry(key.to_string()).or_insert_with(|| Entry { used: cache.clock, stages: vec![] });
    if entry.stages.len() <= stage.index() {
        entry.stages.resize(stage.index() + 1, None);
    }
    if entry.stages[stage.index()].replace(compiled.clone()).is_none() {
        cache.bytes += compiled.code_bytes();
    }
    while cache.bytes > MOST_BYTES || cache.programs.len() > MOST_PROGRAMS {
        let Some(oldest) = cache.programs.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone()) else { return };
        if let Some(entry) = cache.programs.remove(&oldest) {
            cache.bytes -= entry.stages.iter().flatten().map(CompiledStage::code_bytes).sum::<usize>();
        }
    }
}
