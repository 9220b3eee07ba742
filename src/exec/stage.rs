//! Chooses the engine of each stage.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::stats::Precision;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use stagefuse_compiler::{CompileError, CompiledStage, Options};
use stagefuse_ir::{EntityRef, Op, PrimaryMap, Program, Region, Sink, Source, Stage, StageDecl, StmtKind};
use stagefuse_runtime::{Engine, builtins};

use super::compile::Compiling;
use super::{cache, compile, perf};
use crate::config::{Mode, OptLevel, Perf, StagefuseConfig, TINY_INPUT_ROWS};
use crate::fallback::FallbackReason;
use crate::lower::Lowered;

/// A stage whose engine has been chosen.
pub(crate) enum Prepared {
    /// The compiled stage, or why there is none.
    Known(Result<CompiledStage, FallbackReason>),
    /// It is compiled for this query, perhaps while it runs.
    Compiling { work: Arc<Compiling>, place: usize },
}

impl Prepared {
    /// What it runs on from now on.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Prepared::Known(Ok(stage)) => compile::native(stage),
            Prepared::Known(Err(_)) => Engine::Interpreted,
            Prepared::Compiling { work, place } => work.engine(*place),
        }
    }

    /// The compiled stage, once it is.
    pub(crate) fn compiled(&self) -> Option<&CompiledStage> {
        match self {
            Prepared::Known(outcome) => outcome.as_ref().ok(),
            Prepared::Compiling { work, place } => work.outcome(*place).as_ref().ok(),
        }
    }

    /// Why there is no compiled stage, once that is known.
    pub(crate) fn fallback(&self) -> Option<FallbackReason> {
        match self {
            Prepared::Known(outcome) => outcome.as_ref().err().cloned(),
            Prepared::Compiling { work, place } => work.outcome(*place).as_ref().err().map(reason_of),
        }
    }

    pub(crate) fn compile_time(&self) -> Duration {
        self.compiled().map(CompiledStage::compile_time).unwrap_or_default()
    }

    pub(crate) fn code_bytes(&self) -> usize {
        self.compiled().map(CompiledStage::code_bytes).unwrap_or_default()
    }
}

/// Chooses an engine for every stage, and compiles, with at most so many threads. If `ahead`, and the settings allow it, the query may run before all is compiled.
pub(crate) fn prepare(lowered: &Lowered, config: &StagefuseConfig, threads: usize, ahead: bool) -> Vec<Prepared> {
    let program = &lowered.program;
    let options = Options { label: perf::label(config.perf), ..options(config) };
    let mut tiny: PrimaryMap<Stage, Option<usize>> = PrimaryMap::new();
    let key = config.code_cache.get().then(|| cache::key(program, &options));
    let mut known = key.as_deref().map(cache::get).unwrap_or_default();
    known.resize(program.stages.len(), None);
    let mut prepared = vec![];
    let mut unknown = vec![];
    for (stage, decl) in program.stages.iter() {
        let rows = source_rows(lowered, decl, &tiny).filter(|rows| *rows < TINY_INPUT_ROWS);
        tiny.push(rows);
        let reason = match (config.mode, rows) {
            (Mode::Interpreted | Mode::Off, _) => Some(FallbackReason::Requested),
            (Mode::Auto, Some(rows)) => Some(FallbackReason::TinyInput { rows, limit: TINY_INPUT_ROWS }),
            _ => refusal(program, decl, config),
        };
        let outcome = match reason {
            Some(reason) => {
                tracing::debug!(stage = %decl.name, %reason, "stage runs interpreted");
                Some(Err(reason))
            }
            None => known[stage.index()].take().map(Ok),
        };
        if outcome.is_none() {
            unknown.push(stage);
        }
        prepared.push(outcome.map(Prepared::Known));
    }
    if !unknown.is_empty() {
        let work = Compiling::new(program, unknown, &options, key);
        // Who asks for an error in place of a fallback, or for names of the code, must know ahead what is compiled.
        let ahead = ahead && config.mode == Mode::Auto && config.compile_ahead.get() && !config.strict() && config.perf == Perf::Off;
        if !(ahead && work.compile_beside(threads)) {
            work.compile(threads);
        }
        for (place, stage) in work.places() {
            prepared[stage.index()] = Some(Prepared::Compiling { work: Arc::clone(&work), place });
        }
    }
    let stages: Vec<Prepared> = prepared.into_iter().flatten().collect();
    perf::name(program, &stages, config.perf);
    stages
}

/// Compiles a stage whatever the mode, keeping what a dump shows.
pub(crate) fn compile_for_dump(program: &Program, stage: Stage, config: &StagefuseConfig) -> Result<CompiledStage, FallbackReason> {
    if let Some(reason) = refusal(program, &program.stages[stage], config) {
        return Err(reason);
    }
    stagefuse_compiler::compile(program, stage, &builtins(), &Options { dump: true, ..options(config) }).map_err(|error| reason_of(&error))
}

fn options(config: &StagefuseConfig) -> Options {
    Options {
        opt_level: match config.opt_level {
            OptLevel::None => stagefuse_compiler::OptLevel::None,
            OptLevel::Speed => stagefuse_compiler::OptLevel::Speed,
        },
        max_code_bytes: config.max_code_bytes.get(),
        split_by_operator: config.split_by_operator.get(),
        comments: config.comments.get(),
        hash_mask: config.hash_mask(),
        cached_bytes: if config.test_paths.get() > 0 { 0 } else { Options::default().cached_bytes },
        ..Options::default()
    }
}

fn reason_of(error: &CompileError) -> FallbackReason {
    match error {
        CompileError::Unsupported(what) => FallbackReason::Unsupported { what: what.clone() },
        CompileError::CodeTooLarge { bytes, limit } => FallbackReason::CodeTooLarge { bytes: *bytes, limit: *limit },
        CompileError::Backend(message) => FallbackReason::Backend { message: message.clone() },
        other => FallbackReason::Backend { message: other.to_string() },
    }
}

/// Why the compiler need not be asked.
fn refusal(program: &Program, decl: &StageDecl, config: &StagefuseConfig) -> Option<FallbackReason> {
    let limit = config.max_fields.get();
    if decl.fields() > limit {
        return Some(FallbackReason::MaxFields { fields: decl.fields(), limit });
    }
    let mut names = vec![];
    for stmt in &decl.body {
        if let StmtKind::Let(_, op) = &stmt.kind {
            opaque_names(program, op, &mut names);
        }
    }
    for region in decl.probes().filter_map(|probe| probe.residual.as_ref()) {
        opaque_names_of_region(program, region, &mut names);
    }
    (!names.is_empty()).then_some(FallbackReason::OpaqueExpression { names })
}

fn opaque_names(program: &Program, op: &Op, names: &mut Vec<String>) {
    match op {
        Op::Opaque(opaque, _) => {
            let name = &program.opaques[*opaque].name;
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Op::If(_, then, otherwise) => {
            opaque_names_of_region(program, then, names);
            opaque_names_of_region(program, otherwise, names);
        }
        _ => {}
    }
}

fn opaque_names_of_region(program: &Program, region: &Region, names: &mut Vec<String>) {
    for (_, op) in &region.body {
        opaque_names(program, op, names);
    }
}

/// Most rows that a stage's source can have, where that is known for certain.
fn source_rows(lowered: &Lowered, decl: &StageDecl, known: &PrimaryMap<Stage, Option<usize>>) -> Option<usize> {
    match decl.source {
        // Not more than the stage read that hands them over, unless it multiplied rows on the way.
        Source::Input { input, .. } if lowered.program.inputs[input].handed => {
            written(lowered, known, |sink| matches!(sink, Sink::Hand { input: other, .. } if *other == input))
        }
        Source::Input { input, .. } => match lowered.memory.get(input.index()) {
            Some(Some(memory)) => Some(memory.rows()),
            _ => {
                let child = lowered.children.get(input.index())?;
                let statistics = StatisticsContext::new().compute(child.as_ref(), &StatisticsArgs::new()).ok()?;
                match statistics.num_rows {
                    Precision::Exact(rows) => Some(rows),
                    _ => None,
                }
            }
        },
        // A table holds no more rows than its writers read, unless they multiplied rows on the way.
        Source::Groups(groups) => written(lowered, known, |sink| matches!(sink, Sink::Group { groups: other, .. } if *other == groups)),
        Source::Join(join, _) => written(lowered, known, |sink| matches!(sink, Sink::Build { join: other, .. } if *other == join)),
        Source::Sort(sort) => {
            let rows = written(lowered, known, |sink| matches!(sink, Sink::Sort { sort: other, .. } if *other == sort));
            let fetched = lowered.program.sorts[sort].fetch.and_then(|fetch| usize::try_from(fetch).ok());
            rows.map_or(fetched, |rows| Some(rows.min(fetched.unwrap_or(rows))))
        }
    }
}

fn written(lowered: &Lowered, known: &PrimaryMap<Stage, Option<usize>>, writes: impl Fn(&Sink) -> bool) -> Option<usize> {
    let mut total = 0;
    for (stage, rows) in known.iter() {
        let decl = &lowered.program.stages[stage];
        if writes(&decl.sink) {
            let expands = decl.body.iter().any(|stmt| matches!(stmt.kind, StmtKind::Expand(_)));
            if expands || decl.probes().next().is_some() {
                return None;
            }
            total += (*rows)?;
        }
    }
    Some(total)
}
