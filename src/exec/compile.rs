//! Compiles the stages of a program, several at the same time: they do not depend on each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use stagefuse_compiler::{CompileError, CompiledStage, Options};
use stagefuse_ir::{Program, Stage};
use stagefuse_runtime::builtins;
use tokio::runtime::Handle;

/// Work that threads share.
struct Work {
    program: Arc<Program>,
    options: Options,
    stages: Vec<Stage>,
    /// The next stage that nobody has claimed.
    next: AtomicUsize,
    done: Mutex<Vec<(Stage, Result<CompiledStage, CompileError>)>>,
    more_done: Condvar,
}

impl Work {
    /// Compiles until every stage has been claimed.
    fn run(&self) {
        while let Some(stage) = self.stages.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            // Whoever waits for this stage must get to know of it, whatever happens.
            let compile = || stagefuse_compiler::compile(&self.program, *stage, &builtins(), &self.options);
            let compiled = catch_unwind(AssertUnwindSafe(compile));
            let compiled = compiled.unwrap_or_else(|_| Err(CompileError::Backend("the compiler panicked".into())));
            self.done.lock().unwrap_or_else(PoisonError::into_inner).push((*stage, compiled));
            self.more_done.notify_one();
        }
    }
}

/// Compiles stages, in any order, with at most so many threads.
///
/// The thread that asks compiles, too, and waits for no stage that nobody has begun: where the runtime's other workers are busy, it does all by itself.
pub(super) fn all(
    program: &Arc<Program>,
    mut stages: Vec<Stage>,
    options: &Options,
    threads: usize,
) -> Vec<(Stage, Result<CompiledStage, CompileError>)> {
    // What takes longest comes first, so that threads end at about the same time.
    stages.sort_by_key(|stage| std::cmp::Reverse(weight(program, *stage)));
    let helpers = threads.min(stages.len()).saturating_sub(1);
    let count = stages.len();
    let work = Arc::new(Work {
        program: Arc::clone(program),
        options: options.clone(),
        stages,
        next: AtomicUsize::new(0),
        done: Mutex::default(),
        more_done: Condvar::new(),
    });
    if helpers > 0
        && let Ok(runtime) = Handle::try_current()
    {
        for _ in 0..helpers {
            let work = Arc::clone(&work);
            drop(runtime.spawn(async move { work.run() }));
        }
    }
    work.run();
    let mut done = work.done.lock().unwrap_or_else(PoisonError::into_inner);
    while done.len() < count {
        done = work.more_done.wait(done).unwrap_or_else(PoisonError::into_inner);
    }
    std::mem::take(&mut *done)
}

/// About how long it takes to compile a stage.
fn weight(program: &Program, stage: Stage) -> usize {
    let decl = &program.stages[stage];
    // A probe or a filter is a loop or a selection of its own; a sink has a word for each field.
    4 * decl.body.len() + decl.fields()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stagefuse_ir::{EntityRef, parser};

    fn program() -> Arc<Program> {
        let stage = |number: usize, body: &str| {
            format!("s{number} \"scan\" {{ source input{number} (v0: int64) {body} emit (v0) }}\n")
                .replace(" source", "\nsource")
                .replace(" emit", "\nemit")
        };
        let inputs: String = (0..5).map(|number| format!("input{number} \"t\" (int64)\n")).collect();
        let stages: String = (0..5).map(|number| stage(number, "")).collect();
        Arc::new(parser::parse(&format!("program {{\n{inputs}output (int64)\n{stages}}}")).unwrap())
    }

    fn check(threads: usize) {
        let program = program();
        let stages: Vec<Stage> = program.stages.keys().collect();
        let mut done = all(&program, stages.clone(), &Options::default(), threads);
        done.sort_by_key(|(stage, _)| stage.index());
        assert_eq!(done.iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), stages);
        assert!(done.iter().all(|(_, compiled)| compiled.is_ok()));
    }

    #[test]
    fn every_stage_is_compiled_once() {
        // Without a runtime; in one whose only thread is this one; in one that has others.
        check(4);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { check(4) });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        for threads in [1, 2, 8] {
            runtime.block_on(async { tokio::spawn(async move { check(threads) }).await.unwrap() });
        }
    }

    #[test]
    fn errors_come_with_their_stage() {
        let program = program();
        let options = Options { max_code_bytes: 1, split_by_operator: false, ..Options::default() };
        let done = all(&program, program.stages.keys().collect(), &options, 2);
        assert!(done.len() == 5 && done.iter().all(|(_, compiled)| matches!(compiled, Err(CompileError::CodeTooLarge { .. }))));
    }
}
