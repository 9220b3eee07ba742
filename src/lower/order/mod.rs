//! The order of joins: which side builds, and what is joined first.
//!
//! DataFusion plans joins in the order of the SQL text, and chooses the sides where statistics tell it the sizes; tables in memory tell it
//! row counts only. As a program holds all joins of a subtree, it can join in any order: this module finds a good one, from samples of the tables.

mod choose;
mod estimate;
mod graph;
mod sample;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use stagefuse_ir::{JoinRows, ProbeKind, Value};

use self::choose::{Tree, choose, key_pairs};
use self::estimate::Estimate;
use self::graph::Graph;
use super::{Branch, Declined, Lowering, Pipe, Result};

/// Whether the right side of a join, which builds where it is to be the left one, is so much smaller that the sides should change over.
pub(super) fn right_should_build(left: &Arc<dyn ExecutionPlan>, right: &Arc<dyn ExecutionPlan>) -> bool {
    Estimate::of(right).rows * 1.5 < Estimate::of(left).rows
}

impl Lowering {
    /// Lowers the inner and semi joins at the root of a plan in an order of our own. `None` where there is nothing to order.
    pub(crate) fn ordered_joins(&mut self, join: &HashJoinExec) -> Result<Option<Pipe>> {
        let Some(graph) = Graph::of(join) else { return Ok(None) };
        let Some(tree) = choose(&graph) else { return Ok(None) };
        let mut pipe = self.tree(&graph, &tree)?;
        for branch in &mut pipe.branches {
            branch.columns = graph.output.iter().map(|col| branch.columns[graph.number(*col)]).collect();
        }
        Ok(Some(pipe.exchanged(true)))
    }

    /// The rows of a tree, with the columns of all leaves.
    fn tree(&mut self, graph: &Graph, tree: &Tree) -> Result<Pipe> {
        let (build, probe) = match tree {
            Tree::Leaf(number) => {
                let leaf = &graph.leaves[*number];
                let mut pipe = self.below(&leaf.plan)?;
                for branch in &mut pipe.branches {
                    let mut columns = vec![None; graph.width()];
                    columns[leaf.first..leaf.first + branch.columns.len()].copy_from_slice(&branch.columns);
                    branch.columns = columns;
                }
                return Ok(pipe);
            }
            Tree::Join(build, probe) => (build, probe),
        };
        let pairs = key_pairs(graph, build.leaves(), probe.leaves());
        let (left, right): (Vec<usize>, Vec<usize>) = pairs.iter().map(|(a, b)| (graph.number(*a), graph.number(*b))).unzip();
        let is_semi = |tree: &Tree| matches!(tree, Tree::Leaf(leaf) if graph.leaves[*leaf].semi);
        let semi = is_semi(build);
        let note = note(graph, &pairs, semi || is_semi(probe));
        let keys = |branch: &Branch, columns: &[usize]| {
            let key = |column: &usize| branch.columns[*column].ok_or_else(|| Declined::Unsupported("a key of unknown type".to_string()));
            columns.iter().map(key).collect::<Result<Vec<Value>>>()
        };
        let side = self.tree(graph, build)?;
        let marks = is_semi(probe);
        let table = self.build_table(&note, side, &mut |_, branch| keys(branch, &left), false, marks)?;
        if marks {
            for mut branch in self.tree(graph, probe)?.branches {
                branch.s.note(note.as_str());
                let keys = keys(&branch, &right)?;
                self.mark_matches(branch, &table, keys)?;
            }
            return Ok(self.rows_of_table(&note, &table, JoinRows::Matched).into());
        }
        let mut pipe = self.tree(graph, probe)?;
        for branch in &mut pipe.branches {
            branch.s.note(note.as_str());
            let keys = keys(branch, &right)?;
            let kind = if semi { ProbeKind::Semi } else { ProbeKind::Inner };
            let columns = self.look_up(branch, &table, kind, false, keys, &mut |lowering, branch, left| {
                let columns: Vec<Option<Value>> = left.iter().zip(&branch.columns).map(|(a, b)| a.or(*b)).collect();
                lowering.conditions(graph, (build.leaves(), probe.leaves()), branch, &columns)
            })?;
            if !semi {
                for (column, value) in branch.columns.iter_mut().zip(columns) {
                    *column = column.or(value);
                }
            }
        }
        Ok(pipe)
    }

    /// The conditions that can be looked at for the first time where two sides meet.
    fn conditions(
        &mut self,
        graph: &Graph,
        (build, probe): (u32, u32),
        branch: &mut Branch,
        columns: &[Option<Value>],
    ) -> Result<Option<Value>> {
        let mut all = None;
        for condition in &graph.conditions {
            let leaves = condition.leaves;
            if leaves & !(build | probe) != 0 || leaves & !build == 0 || leaves & !probe == 0 {
                continue;
            }
            let sides: Vec<Option<Value>> = condition.columns.iter().map(|col| columns[graph.number(*col)]).collect();
            let value = self.expr(&mut branch.s, &sides, condition.filter.schema(), condition.filter.expression())?;
            all = Some(match all {
                None => value,
                Some(other) => self.both(&mut branch.s, other, value),
            });
        }
        Ok(all)
    }
}

/// What a join says in dumps.
fn note(graph: &Graph, pairs: &[(graph::Col, graph::Col)], semi: bool) -> String {
    let name = |col: &graph::Col| graph.leaves[col.leaf].plan.schema().field(col.column).name().clone();
    let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{} = {}", name(a), name(b))).collect();
    format!("HashJoinExec: {} on {}", if semi { "Semi" } else { "Inner" }, pairs.join(", "))
}
