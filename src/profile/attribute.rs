//! Samples become times of instructions, stages and the rest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::{Sample, Work, decode};

/// The generated code of a plan's node.
pub(crate) struct NodeCode {
    /// The address of its program.
    pub(crate) program: usize,
    /// By stage: where its functions lie.
    pub(crate) stages: Vec<Vec<Range<usize>>>,
}

impl NodeCode {
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.stages.iter().flatten().cloned()
    }

    /// Stage, function of it, and bytes from that one's start.
    fn find(&self, address: usize) -> Option<(usize, usize, usize)> {
        for (stage, functions) in self.stages.iter().enumerate() {
            if let Some(function) = functions.iter().position(|range| range.contains(&address)) {
                return Some((stage, function, address - functions[function].start));
            }
        }
        None
    }
}

/// Where the time of a query went, of all runs together; in nanoseconds of processor time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    /// Times of runs without samples.
    pub(crate) plain: Vec<Duration>,
    /// Times of runs with samples.
    pub(crate) sampled: Vec<Duration>,
    pub(crate) samples: usize,
    pub(crate) lost: usize,
    /// Time between the last sample of a thread and the end of a run.
    pub(crate) unsampled: u64,
    /// What no stage did: DataFusion, and whatever else the process does.
    pub(crate) outside: u64,
    /// By node and stage.
    pub(crate) stages: BTreeMap<(usize, usize), StageProfile>,
}

/// Where the time of a stage went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageProfile {
    /// By function and offset: time in the instruction, and in what it calls.
    pub(crate) code: BTreeMap<(usize, usize), (u64, u64)>,
    /// Around the generated code: the interpreter, making batches, looking at columns.
    pub(crate) around: u64,
    /// Finishing its table or sort.
    pub(crate) finish: u64,
}

impl StageProfile {
    /// Time in its instructions, and in what they call.
    pub(crate) fn in_code(&self) -> (u64, u64) {
        self.code.values().fold((0, 0), |sum, time| (sum.0 + time.0, sum.1 + time.1))
    }
}

impl Profile {
    /// Adds the samples of one run.
    pub(super) fn add(&mut self, samples: &[Sample], lost: usize, code: &[NodeCode], took: Duration) {
        self.sampled.push(took);
        self.samples += samples.len();
        self.lost += lost;
        for sample in samples {
            self.add_one(sample, code);
        }
    }

    fn add_one(&mut self, sample: &Sample, code: &[NodeCode]) {
        let own = code.iter().position(|node| node.program == sample.program);
        // Two nodes with the same program share its code: the one that runs goes first.
        let nodes = || own.into_iter().chain(0..code.len());
        let find = |address: usize| nodes().find_map(|node| code[node].find(address).map(|at| (node, at)));
        if let Some((node, (stage, function, offset))) = find(sample.ip) {
            self.stage(node, stage).code.entry((function, offset)).or_default().0 += sample.nanos;
            return;
        }
        // A return address is behind the instruction that called.
        if let Some((node, (stage, function, offset))) = sample.call.checked_sub(1).and_then(find) {
            self.stage(node, stage).code.entry((function, offset)).or_default().1 += sample.nanos;
            return;
        }
        match (own, decode(sample.work)) {
            (Some(node), Some((stage, Work::Run))) => self.stage(node, stage).around += sample.nanos,
            (Some(node), Some((stage, Work::Finish))) => self.stage(node, stage).finish += sample.nanos,
            _ => self.outside += sample.nanos,
        }
    }

    fn stage(&mut self, node: usize, stage: usize) -> &mut StageProfile {
        self.stages.entry((node, stage)).or_default()
    }

    /// Nanoseconds of all runs as milliseconds of one.
    pub(crate) fn per_run(&self, nanos: u64) -> f64 {
        nanos as f64 / 1e6 / self.sampled.len().max(1) as f64
    }

    /// All time.
    pub(crate) fn total(&self) -> u64 {
        let of_stage = |stage: &StageProfile| stage.in_code().0 + stage.in_code().1 + stage.around + stage.finish;
        self.outside + self.stages.values().map(of_stage).sum::<u64>()
    }

    /// The middle of the times without and with samples.
    pub(crate) fn medians(&self) -> (Duration, Duration) {
        (median(&self.plain), median(&self.sampled))
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;
    use stagefuse_ir::{EntityRef, Stage};

    #[test]
    fn samples_go_where_they_belong() {
        let code = [
            NodeCode { program: 7, stages: vec![vec![100..200, 300..400], vec![200..250]] },
            NodeCode { program: 8, stages: vec![vec![200..250]] },
        ];
        let sample = |ip, call, program, work, nanos| Sample { ip, call, program, work, nanos };
        let run = encode(Stage::new(1), Work::Run);
        let finish = encode(Stage::new(0), Work::Finish);
        let mut profile = Profile::default();
        let samples = [
            sample(110, 0, 7, run, 1),
            // The same instruction, in a builtin that it calls: the address behind it is that of the next.
            sample(9000, 111, 7, run, 10),
            sample(399, 0, 0, 0, 100),
            // Code that two nodes share belongs to the one that runs.
            sample(205, 0, 8, encode(Stage::new(0), Work::Run), 1000),
            sample(205, 0, 7, run, 10_000),
            sample(9000, 0, 7, run, 100_000),
            sample(9000, 0, 7, finish, 1_000_000),
            sample(9000, 0, 0, 0, 10_000_000),
        ];
        profile.add(&samples, 3, &code, Duration::from_millis(5));
        let stage = |node, stage| profile.stages[&(node, stage)].clone();
        assert_eq!(stage(0, 0).code, BTreeMap::from([((0, 10), (1, 10)), ((1, 99), (100, 0))]));
        assert_eq!(stage(0, 0).finish, 1_000_000);
        assert_eq!(stage(0, 1).code, BTreeMap::from([((0, 5), (10_000, 0))]));
        assert_eq!(stage(0, 1).around, 100_000);
        assert_eq!(stage(1, 0).in_code(), (1000, 0));
        assert_eq!((profile.outside, profile.total(), profile.lost), (10_000_000, 11_111_111, 3));
    }
}
