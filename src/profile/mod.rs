//! Where the time of a query goes: samples of the instruction pointer, attributed to instructions, operations and stages.
//!
//! A timer for each thread of the process interrupts it about a thousand times a second; the signal's handler notes which instruction was about to run, and how
//! much processor time the thread has had since the last time. What falls into generated code belongs to an instruction. What falls elsewhere while a stage
//! runs is looked for on the stack: the nearest return address into generated code is the call that it serves. The rest is the stage's own (its batches are made, its table is
//! merged), or not Stagefuse's at all. Nothing needs privileges, nothing is compiled into the code, and who does not profile pays one load for each batch.

mod attribute;
#[cfg_attr(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")), path = "linux.rs")]
#[cfg_attr(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))), path = "elsewhere.rs")]
mod sampler;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use stagefuse_ir::{EntityRef, Program, Stage};

use crate::error::Error;
use crate::explain::{self, compiled_nodes};
pub(crate) use attribute::{NodeCode, Profile, StageProfile};

/// Time between two samples of a thread. Not a round number, so that it does not keep in step with anything.
pub(crate) const INTERVAL: Duration = Duration::from_micros(997);

/// How long a query is run again and again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a thread does for a stage.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Runs it over rows.
    Run,
    /// Finishes its table or sort.
    Finish,
}

/// A sample.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The instruction.
    ip: usize,
    /// Where it returns to in generated code; 0: nowhere.
    call: usize,
    /// The address of the program whose stage the thread runs.
    program: usize,
    /// What it does, by [`encode`]; 0: nothing of ours.
    work: usize,
    /// Processor time since the thread's last sample.
    nanos: u64,
}

fn encode(stage: Stage, work: Work) -> usize {
    stage.index() * 2 + usize::from(work == Work::Finish) + 1
}

fn decode(work: usize) -> Option<(usize, Work)> {
    let work = work.checked_sub(1)?;
    Some((work / 2, if work % 2 == 1 { Work::Finish } else { Work::Run }))
}

/// Says what the thread does until the value is dropped. Nothing unless somebody profiles.
#[inline]
pub(crate) fn doing(program: &Arc<Program>, stage: Stage, work: Work) -> Option<sampler::Doing> {
    if !sampler::is_active() {
        return None;
    }
    sampler::enter(Arc::as_ptr(program) as usize, encode(stage, work))
}

/// Runs a query for about two seconds, every other time with samples. `plan` makes a fresh plan, `run` runs it. Yields the profile, and the plan that ran last.
///
/// # Errors
/// Where the machine has no profiles, another one is under way, or the query fails.
pub(crate) async fn measure<P, R>(plan: impl Fn() -> P, run: impl Fn(Arc<dyn ExecutionPlan>) -> R) -> Result<(Profile, Measured), Error>
where
    P: Future<Output = Result<Arc<dyn ExecutionPlan>, Error>>,
    R: Future<Output = Result<(), Error>>,
{
    let mut profile = Profile::default();
    let ready = async || -> Result<Arc<dyn ExecutionPlan>, Error> {
        let plan = plan().await?;
        explain::compile(&plan);
        Ok(plan)
    };
    let timed = async |plan: &Arc<dyn ExecutionPlan>| -> Result<Duration, Error> {
        let start = Instant::now();
        run(Arc::clone(plan)).await?;
        Ok(start.elapsed())
    };
    // Files are read for the first time, tables are touched for the first time: that is not what repeats.
    let warm_up = timed(&ready().await?).await?;
    let start = Instant::now();
    loop {
        // Of a query that takes so long there is one run without samples.
        profile.plain.push(if warm_up > PATIENCE { warm_up } else { timed(&ready().await?).await? });
        let plan = ready().await?;
        let nodes = compiled_nodes(&plan);
        let code: Vec<_> = nodes.iter().map(|node| node.code()).collect();
        let sampler = sampler::Sampler::start(code.iter().flat_map(|code| code.ranges()))?;
        let took = timed(&plan).await;
        let (samples, lost, rest) = sampler.stop();
        let took = took?;
        profile.add(&samples, lost, &code, took);
        profile.unsampled += rest;
        drop(nodes);
        if start.elapsed() > PATIENCE {
            return Ok((profile, Measured { plan, took }));
        }
    }
}

/// The last run of [`measure`].
pub(crate) struct Measured {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) took: Duration,
}
