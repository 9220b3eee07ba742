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
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use stagefuse_ir::{JoinRows, ProbeKind, Value};

use self::choose::{Choice, Tree, choose, key_pairs};
use self::estimate::Estimate;
use self::graph::Graph;
use super::exchange::below_exchange;
use super::join::Table;
use super::{Branch, Declined, KeyFilter, Lowering, Pipe, Result, declined};

/// Whether the right side of a join, which builds where it is to be the left one, is so much smaller that the sides should change over.
pub(super) fn right_should_build(left: &Arc<dyn ExecutionPlan>, right: &Arc<dyn ExecutionPlan>) -> bool {
    Estimate::of(right).rows * 1.5 < Estimate::of(left).rows
}

/// A table that was built for a graph, and what its only key is equal to.
struct Built {
    class: usize,
    table: Table,
    /// Rows, as estimated.
    rows: f64,
}

/// A graph while it is lowered.
struct Lowered<'a> {
    graph: &'a Graph,
    choice: &'a Choice,
    built: Vec<Built>,
}

impl Lowering {
    /// Lowers the inner and semi joins at the root of a plan in an order of our own. `None` where there is nothing to order.
    pub(crate) fn ordered_joins(&mut self, join: &HashJoinExec) -> Result<Option<Pipe>> {
        let Some(graph) = Graph::of(join) else { return Ok(None) };
        let Some(choice) = choose(&graph) else { return Ok(None) };
        let mut lowered = Lowered { graph: &graph, choice: &choice, built: vec![] };
        let mut pipe = self.tree(&mut lowered, &choice.tree)?;
        for branch in &mut pipe.branches {
            branch.columns = graph.output.iter().map(|col| branch.columns[graph.number(*col)]).collect();
        }
        Ok(Some(pipe.exchanged(true)))
    }

    /// The rows of a tree, with the columns of all leaves.
    fn tree(&mut self, lowered: &mut Lowered<'_>, tree: &Tree) -> Result<Pipe> {
        let graph = lowered.graph;
        // The sides that build, outermost first, and what looks up in all of them.
        let (mut steps, mut driver) = (vec![], tree);
        while let Tree::Join(build, probe) = driver {
            steps.push((build.as_ref(), probe.as_ref()));
            if graph.is_semi(probe.leaves()) {
                break;
            }
            driver = probe;
        }
        // Small tables come first: those that are built later can leave out what has no match in them.
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.sort_by(|a, b| {
            let work = |step: &usize| lowered.choice.work(steps[*step].0.leaves());
            work(a).total_cmp(&work(b))
        });
        let mut tables: Vec<Option<Table>> = steps.iter().map(|_| None).collect();
        for step in order {
            let (build, probe) = steps[step];
            tables[step] = Some(self.built(lowered, build, probe)?);
        }
        let mut pipe = match steps.last().copied() {
            Some((build, probe)) if graph.is_semi(probe.leaves()) => {
                let Some(table) = tables.pop().flatten() else { return declined("a join without its table") };
                steps.pop();
                self.marked(lowered, &table, build, probe)?
            }
            _ => self.leaf(lowered, driver, &steps)?,
        };
        for ((build, probe), table) in steps.into_iter().zip(tables).rev() {
            let Some(table) = table else { return declined("a join without its table") };
            self.look_up_side(graph, &mut pipe, &table, build, probe)?;
        }
        Ok(pipe)
    }

    /// The rows of a leaf, with the columns of all leaves, without those that have no match in tables that are there. `steps`: the joins that look up in tables with
    /// these rows. A table that they look up by its only key tells of that itself; one with several keys does not.
    fn leaf(&mut self, lowered: &Lowered<'_>, tree: &Tree, steps: &[(&Tree, &Tree)]) -> Result<Pipe> {
        let graph = lowered.graph;
        let looked_up: Vec<graph::Col> = steps
            .iter()
            .filter_map(|(build, probe)| match key_pairs(graph, build.leaves(), probe.leaves())[..] {
                [(col, _)] => Some(col),
                _ => None,
            })
            .collect();
        let Tree::Leaf(number) = tree else { return declined("a join that is no leaf") };
        let leaf = &graph.leaves[*number];
        let aggregates = groups_rows(&leaf.plan);
        let mut filters = vec![];
        for built in &lowered.built {
            let member = graph.classes[built.class].iter().find(|col| col.leaf == *number);
            if let Some(col) = member
                && (aggregates || !looked_up.iter().any(|col| graph.classes[built.class].contains(col)))
                && built.rows * 2.0 < lowered.choice.distinct(graph, *col)
            {
                filters.push(KeyFilter { column: col.column, table: built.table.clone() });
            }
        }
        self.key_filters = if aggregates { filters.clone() } else { vec![] };
        let mut pipe = self.below(&leaf.plan)?;
        self.key_filters.clear();
        for branch in &mut pipe.branches {
            if !aggregates {
                self.keep_matches(branch, &filters)?;
            }
            let mut columns = vec![None; graph.width()];
            columns[leaf.first..leaf.first + branch.columns.len()].copy_from_slice(&branch.columns);
            branch.columns = columns;
        }
        Ok(pipe)
    }

    /// Drops rows of a branch whose column has no match in a table.
    pub(crate) fn keep_matches(&mut self, branch: &mut Branch, filters: &[KeyFilter]) -> Result<()> {
        for KeyFilter { column, table } in filters {
            if let Some(key) = branch.columns.get(*column).copied().flatten() {
                branch.s.note("HashJoinExec: a match in a join further up");
                self.look_up(branch, table, ProbeKind::Semi, false, vec![key], &mut |_, _, _| Ok(None))?;
            }
        }
        Ok(())
    }

    /// Lowers a side that builds.
    fn built(&mut self, lowered: &mut Lowered<'_>, build: &Tree, probe: &Tree) -> Result<Table> {
        let graph = lowered.graph;
        let pairs = key_pairs(graph, build.leaves(), probe.leaves());
        let columns: Vec<usize> = pairs.iter().map(|(a, _)| graph.number(*a)).collect();
        let marks = graph.is_semi(probe.leaves());
        let side = self.tree(lowered, build)?;
        let note = note(graph, &pairs, marks || graph.is_semi(build.leaves()));
        let table = self.build_table(&note, side, &mut |_, branch| keys(branch, &columns), false, marks)?;
        if let [(a, _)] = pairs[..]
            && let Some(class) = graph.classes.iter().position(|class| class.contains(&a))
        {
            lowered.built.push(Built { class, table: table.clone(), rows: lowered.choice.rows(build.leaves()) });
        }
        Ok(table)
    }

    /// The rows of a table that have a match on the right side of a semi join.
    fn marked(&mut self, lowered: &mut Lowered<'_>, table: &Table, build: &Tree, probe: &Tree) -> Result<Pipe> {
        let graph = lowered.graph;
        let pairs = key_pairs(graph, build.leaves(), probe.leaves());
        let columns: Vec<usize> = pairs.iter().map(|(_, b)| graph.number(*b)).collect();
        let note = note(graph, &pairs, true);
        for mut branch in self.leaf(lowered, probe, &[(build, probe)])?.branches {
            branch.s.note(note.as_str());
            let keys = keys(&branch, &columns)?;
            let sides = (build.leaves(), probe.leaves());
            self.mark_matches(branch, table, keys, &mut |lowering, branch, left| {
                let columns: Vec<Option<Value>> = left.iter().zip(&branch.columns).map(|(a, b)| a.or(*b)).collect();
                lowering.conditions(graph, sides, branch, &columns)
            })?;
        }
        Ok(self.rows_of_table(&note, table, JoinRows::Matched).into())
    }

    /// Looks rows up in the table of a side.
    fn look_up_side(&mut self, graph: &Graph, pipe: &mut Pipe, table: &Table, build: &Tree, probe: &Tree) -> Result<()> {
        let sides = (build.leaves(), probe.leaves());
        let pairs = key_pairs(graph, sides.0, sides.1);
        let columns: Vec<usize> = pairs.iter().map(|(_, b)| graph.number(*b)).collect();
        let semi = graph.is_semi(sides.0);
        let note = note(graph, &pairs, semi);
        for branch in &mut pipe.branches {
            branch.s.note(note.as_str());
            let keys = keys(branch, &columns)?;
            let kind = if semi { ProbeKind::Semi } else { ProbeKind::Inner };
            let columns = self.look_up(branch, table, kind, false, keys, &mut |lowering, branch, left| {
                let columns: Vec<Option<Value>> = left.iter().zip(&branch.columns).map(|(a, b)| a.or(*b)).collect();
                lowering.conditions(graph, sides, branch, &columns)
            })?;
            if !semi {
                for (column, value) in branch.columns.iter_mut().zip(columns) {
                    *column = column.or(value);
                }
            }
        }
        Ok(())
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

fn keys(branch: &Branch, columns: &[usize]) -> Result<Vec<Value>> {
    let key = |column: &usize| branch.columns[*column].ok_or_else(|| Declined::Unsupported("a key of unknown type".to_string()));
    columns.iter().map(key).collect()
}

/// Whether a plan is an aggregation, behind filters, projections and exchanges.
fn groups_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let plan = below_exchange(plan);
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return groups_rows(filter.input());
    }
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => groups_rows(projection.input()),
        None => plan.is::<AggregateExec>(),
    }
}

/// What a join says in dumps.
fn note(graph: &Graph, pairs: &[(graph::Col, graph::Col)], semi: bool) -> String {
    let name = |col: &graph::Col| graph.leaves[col.leaf].plan.schema().field(col.column).name().clone();
    let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{} = {}", name(a), name(b))).collect();
    format!("HashJoinExec: {} on {}", if semi { "Semi" } else { "Inner" }, pairs.join(", "))
}
