//! What lowering an operator yields: stages that are still open at their end.

use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{Sink, Source, StageDecl, Type, Value};

/// A stage being filled, and where the columns of the plan node are in it.
pub(crate) struct Branch {
    pub(crate) s: StageBuilder,
    /// By column of the plan node; none where the IR has no such type.
    pub(crate) columns: Vec<Option<Value>>,
    /// Whether an exchange lies between the source and the plan node: rows may leave in any partition.
    pub(crate) exchanged: bool,
}

/// The rows of a plan node: those of all branches together. There are several where rows have several sources, such as the matched and
/// the unmatched rows of a left join; they stand in the order in which they must run.
pub(crate) struct Pipe {
    pub(crate) branches: Vec<Branch>,
}

impl From<Branch> for Pipe {
    fn from(branch: Branch) -> Self {
        Pipe { branches: vec![branch] }
    }
}

impl Pipe {
    /// Sets the note that the next statements and the sink carry.
    pub(crate) fn note(&mut self, note: &str) {
        for branch in &mut self.branches {
            branch.s.note(note);
        }
    }

    /// Keeps some of the columns, in this order.
    pub(crate) fn project(&mut self, projection: Option<&[usize]>) {
        let Some(projection) = projection else { return };
        for branch in &mut self.branches {
            branch.columns = projection.iter().map(|index| branch.columns[*index]).collect();
        }
    }

    /// Says that an exchange lies behind all sources.
    pub(crate) fn exchanged(mut self, is: bool) -> Self {
        for branch in &mut self.branches {
            branch.exchanged |= is;
        }
        self
    }

    /// The columns that every branch has, by number.
    pub(crate) fn known_columns(&self) -> Vec<usize> {
        let width = self.branches.iter().map(|branch| branch.columns.len()).min().unwrap_or(0);
        (0..width).filter(|column| self.branches.iter().all(|branch| branch.columns[*column].is_some())).collect()
    }
}

impl Branch {
    /// Ends the stage.
    pub(crate) fn sink(self, sink: Sink) -> StageDecl {
        let emits = matches!(sink, Sink::Emit { .. });
        let mut stage = self.s.sink(sink);
        if let Source::Input { partitioned, .. } = &mut stage.source {
            *partitioned = emits && !self.exchanged;
        }
        stage
    }
}

/// Types that hold the values of every branch: nullable where one of them is. `None` where their SQL types differ.
pub(crate) fn common_types(branches: &[Vec<Type>]) -> Option<Vec<Type>> {
    let (first, rest) = branches.split_first()?;
    let mut types = first.clone();
    for branch in rest {
        for (ty, other) in types.iter_mut().zip(branch) {
            if ty.sql != other.sql {
                return None;
            }
            ty.nullable |= other.nullable;
        }
    }
    Some(types)
}
