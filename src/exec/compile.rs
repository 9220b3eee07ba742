//! Compiles the stages of a program, several at the same time: they do not depend on each other. A query may wait for them, or begin ahead of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use stagefuse_compiler::{CompileError, CompiledStage, Options};
use stagefuse_ir::{Program, Stage};
use stagefuse_runtime::{Engine, builtins};
use tokio::runtime::Handle;

use super::cache;
use super::wake::release_last;

/// Stages that are being compiled, by whoever has the time.
pub(super) struct Compiling {
    program: Arc<Program>,
    options: Options,
    /// Where the code cache keeps them.
    key: Option<String>,
    /// Those that take longest come first, so that threads end at about the same time.
    stages: Vec<Compiled>,
    /// The next stage that nobody has claimed.
    next: AtomicUsize,
}

struct Compiled {
    stage: Stage,
    outcome: OnceLock<Result<CompiledStage, CompileError>>,
    /// Set if there is code.
    engine: Arc<OnceLock<Engine>>,
}

impl Compiling {
    pub(super) fn new(program: &Arc<Program>, mut stages: Vec<Stage>, options: &Options, key: Option<String>) -> Arc<Compiling> {
        stages.sort_by_key(|stage| std::cmp::Reverse(weight(program, *stage)));
        let nothing = |stage| Compiled { stage, outcome: OnceLock::new(), engine: Arc::default() };
        Arc::new(Compiling {
            program: Arc::clone(program),
            options: options.clone(),
            key,
            stages: stages.into_iter().map(nothing).collect(),
            next: AtomicUsize::new(0),
        })
    }

    /// Its stages, each with its place.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, Stage)> {
        self.stages.iter().map(|compiled| compiled.stage).enumerate()
    }

    /// Compiles all stages with at most so many threads, in any order, and waits for them.
    ///
    /// The thread that asks compiles, too, and waits for no stage that nobody has begun: where the runtime's other workers are busy, it does all by itself.
    pub(super) fn compile(self: &Arc<Self>, threads: usize) {
        if let Ok(runtime) = Handle::try_current() {
            let others = threads.min(self.stages.len()).saturating_sub(1);
            for _ in 0..others {
                let work = Arc::clone(self);
                drop(runtime.spawn(async move { work.run() }));
            }
            if others > 0 {
                release_last(&runtime);
            }
        }
        for (place, _) in self.places() {
            self.outcome(place);
        }
    }

    /// Compiles all stages on threads beside the runtime's workers, which may run the query meanwhile. Tells whether there is a runtime.
    pub(super) fn compile_beside(self: &Arc<Self>, threads: usize) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        for _ in 0..threads.clamp(1, self.stages.len().max(1)) {
            let work = Arc::clone(self);
            drop(runtime.spawn_blocking(move || work.run()));
        }
        true
    }

    /// What became of a stage. Stages that nobody has begun are compiled here and now, so that this ends whatever became of the other threads.
    pub(super) fn outcome(&self, place: usize) -> &Result<CompiledStage, CompileError> {
        let outcome = &self.stages[place].outcome;
        if outcome.get().is_none() {
            self.run();
        }
        outcome.wait()
    }

    /// What a stage runs on: its code once there is some.
    pub(super) fn engine(&self, place: usize) -> Engine {
        match self.stages[place].outcome.get() {
            Some(Ok(compiled)) => native(compiled),
            Some(Err(_)) => Engine::Interpreted,
            None => Engine::Awaited(Arc::clone(&self.stages[place].engine)),
        }
    }

    /// Compiles until every stage has been claimed.
    fn run(&self) {
        while let Some(Compiled { stage, outcome, engine }) = self.stages.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            // Whoever waits for this stage must get to know of it, whatever happens.
            let compile = || stagefuse_compiler::compile(&self.program, *stage, &builtins(), &self.options);
            let compiled = catch_unwind(AssertUnwindSafe(compile));
            let compiled = compiled.unwrap_or_else(|_| Err(CompileError::Backend("the compiler panicked".into())));
            if let (Ok(compiled), Some(key)) = (&compiled, &self.key) {
                cache::put(key, *stage, compiled);
            }
            let compiled = outcome.get_or_init(|| compiled);
            match compiled {
                Ok(compiled) => drop(engine.set(native(compiled))),
                Err(error) => tracing::debug!(stage = %self.program.stages[*stage].name, %error, "stage runs interpreted"),
            }
        }
    }
}

/// The engine that runs a stage's code.
pub(super) fn native(compiled: &CompiledStage) -> Engine {
    Engine::Native { function: compiled.function(), owner: Arc::new(compiled.clone()) }
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

    fn compiling(options: &Options) -> Arc<Compiling> {
        let program = program();
        Compiling::new(&program, program.stages.keys().collect(), options, None)
    }

    fn check(threads: usize) {
        let work = compiling(&Options::default());
        work.compile(threads);
        let mut stages: Vec<usize> = work.places().map(|(_, stage)| stage.index()).collect();
        stages.sort_unstable();
        assert_eq!(stages, [0, 1, 2, 3, 4]);
        assert!(work.stages.iter().all(|compiled| matches!(compiled.outcome.get(), Some(Ok(_)))));
        assert!((0..5).all(|place| matches!(work.engine(place), Engine::Native { .. })));
        assert!(work.next.load(Ordering::Relaxed) >= 5);
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
        let work = compiling(&Options { max_code_bytes: 1, split_by_operator: false, ..Options::default() });
        work.compile(2);
        assert!((0..5).all(|place| matches!(work.outcome(place), Err(CompileError::CodeTooLarge { .. }))));
        assert!((0..5).all(|place| matches!(work.engine(place), Engine::Interpreted)));
    }

    #[test]
    fn code_that_is_awaited_comes() {
        let work = compiling(&Options::default());
        assert!(!work.compile_beside(1), "there is no runtime");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let engines: Vec<Engine> = (0..5).map(|place| work.engine(place)).collect();
        let awaited = |engine: &Engine| match engine {
            Engine::Awaited(engine) => Some(Arc::clone(engine)),
            _ => None,
        };
        let awaited: Vec<_> = engines.iter().filter_map(awaited).collect();
        assert_eq!(awaited.len(), 5);
        runtime.block_on(async { assert!(work.compile_beside(2)) });
        for engine in awaited {
            assert!(matches!(engine.wait(), Engine::Native { .. }));
        }
    }

    #[test]
    fn whoever_waits_need_not_wait_for_a_thread() {
        // All threads beside the runtime's are taken, and will be for as long as this waits.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
        let (free, taken) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || taken.recv());
        let work = compiling(&Options::default());
        runtime.block_on(async { assert!(work.compile_beside(2)) });
        assert!((0..5).all(|place| work.outcome(place).is_ok()));
        drop(free);
    }
}
