//! What stages did, for the API and for EXPLAIN ANALYZE.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::physical_plan::Metric;
use datafusion::physical_plan::metrics::{Count, Gauge, Label, MetricValue, MetricsSet, Time};
use stagefuse_ir::Program;

use super::stage::Prepared;
use crate::fallback::FallbackReason;

/// What a stage runs on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Its compiled function.
    Native,
    /// The vectorised interpreter.
    Interpreted,
    /// DataFusion's own operators, which took over when the stages had failed; see [`FallbackReason::OutOfMemory`].
    DataFusion,
}

impl Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineKind::Native => "native",
            EngineKind::Interpreted => "interpreted",
            EngineKind::DataFusion => "datafusion",
        })
    }
}

/// What one stage is and did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageMetrics {
    /// Its name, such as `scan lineitem`.
    pub name: String,
    /// What it runs on.
    pub engine: EngineKind,
    /// Why it is not native, if it is not.
    pub fallback: Option<FallbackReason>,
    /// Expressions that DataFusion evaluates ahead of it, because the IR has no words for them; their results are columns of its input.
    pub opaque_expressions: usize,
    /// Rows that its source yielded.
    pub rows_in: u64,
    /// Rows of these that the interpreter took while a native stage was still being compiled (`stagefuse.compile_ahead`).
    pub rows_ahead: u64,
    /// Rows that it emitted or left in its table.
    pub rows_out: u64,
    /// Time in its function, summed over all workers.
    pub nanos: u64,
    /// Time that compiling it took, perhaps for an earlier query (`stagefuse.code_cache`).
    pub compile_time: Duration,
    /// Bytes of its machine code.
    pub code_bytes: usize,
}

/// Rows and times of the stages of runs that are over.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Recorded>);

#[derive(Clone, Debug, Default)]
struct Recorded {
    stages: Vec<stagefuse_runtime::StageMetrics>,
    /// Why DataFusion's operators took over, if they did.
    retreat: Option<FallbackReason>,
}

impl Recorder {
    /// Adds what a run did.
    pub(crate) fn add(&self, stages: impl Iterator<Item = stagefuse_runtime::StageMetrics>) {
        let sums = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).stages;
        for (i, stage) in stages.enumerate() {
            if sums.len() <= i {
                sums.resize(i + 1, Default::default());
            }
            sums[i].rows_in += stage.rows_in;
            sums[i].rows_ahead += stage.rows_ahead;
            sums[i].rows_out += stage.rows_out;
            sums[i].nanos += stage.nanos;
        }
    }

    /// DataFusion's operators take over.
    pub(crate) fn retreat(&self, reason: FallbackReason) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retreat = Some(reason);
    }

    pub(crate) fn snapshot(&self) -> Recorder {
        Recorder(Mutex::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    /// The stages with what they did.
    pub(crate) fn stages(&self, program: &Program, prepared: &[Prepared]) -> Vec<StageMetrics> {
        let recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = program.stages.values().zip(prepared).enumerate();
        let metrics = stages.map(|(i, (decl, prepared))| {
            let sum = recorded.stages.get(i).copied().unwrap_or_default();
            let (engine, fallback) = match (&recorded.retreat, prepared.fallback()) {
                (Some(reason), _) => (EngineKind::DataFusion, Some(reason.clone())),
                (None, Some(reason)) => (EngineKind::Interpreted, Some(reason)),
                (None, None) if sum.rows_in > 0 && sum.rows_ahead >= sum.rows_in => {
                    (EngineKind::Interpreted, Some(FallbackReason::EndedAhead { rows: sum.rows_ahead }))
                }
                (None, None) => (EngineKind::Native, None),
            };
            StageMetrics {
                name: decl.name.clone(),
                engine,
                fallback,
                opaque_expressions: program.opaque_expressions(decl),
                rows_in: sum.rows_in,
                rows_ahead: sum.rows_ahead,
                rows_out: sum.rows_out,
                nanos: sum.nanos,
                compile_time: prepared.compile_time(),
                code_bytes: prepared.code_bytes(),
            }
        });
        metrics.collect()
    }
}

/// DataFusion's form of the metrics, as EXPLAIN ANALYZE shows it.
pub(crate) fn metrics_set(program: &Program, stages: &[StageMetrics], lowering: Duration) -> MetricsSet {
    let mut set = MetricsSet::new();
    let emitted = program.stages.values().zip(stages).filter(|(decl, _)| decl.emits()).map(|(_, stage)| stage.rows_out);
    set.push(Arc::new(Metric::new(MetricValue::OutputRows(count(emitted.sum())), None)));
    set.push(Arc::new(Metric::new(MetricValue::ElapsedCompute(time(Duration::from_nanos(stages.iter().map(|s| s.nanos).sum()))), None)));
    let compile_time = lowering + stages.iter().map(|stage| stage.compile_time).sum::<Duration>();
    let total = |name: &'static str, value: MetricValue, set: &mut MetricsSet| {
        debug_assert_eq!(name, value.name());
        set.push(Arc::new(Metric::new(value, None)));
    };
    total("compile_time", MetricValue::Time { name: "compile_time".into(), time: time(compile_time) }, &mut set);
    let native = stages.iter().filter(|stage| stage.engine == EngineKind::Native).count();
    let code_bytes = stages.iter().map(|stage| stage.code_bytes).sum();
    for (name, value) in [("code_bytes", code_bytes), ("stages", stages.len()), ("native_stages", native)] {
        let gauge = Gauge::new();
        gauge.set(value);
        total(name, MetricValue::Gauge { name: name.into(), gauge }, &mut set);
    }
    for (number, stage) in stages.iter().enumerate() {
        // MetricsSet adds up what has one name, so that the stage's number is part of it.
        let name = |what: &str| Cow::Owned(format!("s{number}_{what}"));
        let fallback = stage.fallback.iter().map(|reason| Label::new("fallback", reason.to_string()));
        let labels = [Label::new("stage", stage.name.clone()), Label::new("engine", stage.engine.to_string())];
        let labels: Vec<Label> = labels.into_iter().chain(fallback).collect();
        let values = [
            MetricValue::Count { name: name("rows_in"), count: count(stage.rows_in) },
            MetricValue::Count { name: name("rows_ahead"), count: count(stage.rows_ahead) },
            MetricValue::Count { name: name("rows_out"), count: count(stage.rows_out) },
            MetricValue::Time { name: name(&format!("{}_time", stage.engine)), time: time(Duration::from_nanos(stage.nanos)) },
            MetricValue::Time { name: name("compile_time"), time: time(stage.compile_time) },
        ];
        for value in values {
            set.push(Arc::new(Metric::new_with_labels(value, None, labels.clone())));
        }
    }
    set
}

fn count(value: u64) -> Count {
    let count = Count::new();
    count.add(value as usize);
    count
}

fn time(value: Duration) -> Time {
    let time = Time::new();
    // A time of nothing would be shown as 1 ns.
    if !value.is_zero() {
        time.add_duration(value);
    }
    time
}
