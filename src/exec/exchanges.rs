//! What goes from stage to stage.

use stagefuse_ir::{EntityRef, Program, Sink, Source, Stage, StageDecl};

use super::metrics::StageMetrics;

/// Rows on their way, from a stage to one that reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Number of the stage that they come from; none: DataFusion.
    pub(crate) from: Option<usize>,
    /// Number of the stage that they go to; none: the output.
    pub(crate) to: Option<usize>,
    pub(crate) kind: &'static str,
    /// The state or the input that holds them.
    pub(crate) state: String,
    pub(crate) rows: u64,
    /// Whether they are the source of the stage that they go to, and not a table that it looks rows up in.
    pub(crate) feeds: bool,
}

/// All exchanges of a program.
pub(crate) fn exchanges(program: &Program, metrics: &[StageMetrics]) -> Vec<Exchange> {
    let mut all = vec![];
    for (stage, decl) in program.stages.iter() {
        let rows = metrics.get(stage.index()).map_or(0, |stage| stage.rows_out);
        let readers = |reads: &dyn Fn(&StageDecl) -> bool| -> Vec<Stage> {
            program.stages.iter().filter(|(_, decl)| reads(decl)).map(|(stage, _)| stage).collect()
        };
        let (kind, state, to): (&'static str, String, Vec<Stage>) = match &decl.sink {
            Sink::Build { join, .. } => {
                let reads = |decl: &StageDecl| {
                    decl.probes().any(|probe| probe.join == *join) || matches!(decl.source, Source::Join(read, _) if read == *join)
                };
                ("broadcast", join.to_string(), readers(&reads))
            }
            Sink::Mark { probe } => {
                let join = probe.join;
                ("marks", join.to_string(), readers(&|decl| matches!(decl.source, Source::Join(read, _) if read == join)))
            }
            Sink::Group { groups, .. } => {
                ("hash", groups.to_string(), readers(&|decl| matches!(decl.source, Source::Groups(read) if read == *groups)))
            }
            Sink::Sort { sort, .. } => {
                ("gather", sort.to_string(), readers(&|decl| matches!(decl.source, Source::Sort(read) if read == *sort)))
            }
            Sink::Hand { input, .. } => ("hand over", input.to_string(), program.reader(*input).into_iter().collect()),
            Sink::Emit { .. } => {
                let state = "output".to_string();
                all.push(Exchange { from: Some(stage.index()), to: None, kind: "output", state, rows, feeds: false });
                continue;
            }
        };
        for to in to {
            let feeds = match (&decl.sink, program.stages[to].source) {
                (Sink::Build { join, .. }, Source::Join(read, _)) => read == *join,
                (Sink::Build { .. }, _) => false,
                _ => true,
            };
            all.push(Exchange { from: Some(stage.index()), to: Some(to.index()), kind, state: state.clone(), rows, feeds });
        }
    }
    for (stage, decl) in program.stages.iter() {
        if let Source::Input { input, .. } = decl.source
            && !program.inputs[input].handed
        {
            let rows = metrics.get(stage.index()).map_or(0, |stage| stage.rows_in);
            let state = format!("{input} {}", program.inputs[input].name);
            all.push(Exchange { from: None, to: Some(stage.index()), kind: "input", state, rows, feeds: true });
        }
    }
    all
}
