//! Join graphs: the inner and semi joins of a subtree, freed from the order that the plan has them in.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::lower::exchange::below_exchange;

/// Leaves of a graph, one bit each.
pub(super) type Leaves = u32;

/// A column of a leaf.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Col {
    pub(super) leaf: usize,
    pub(super) column: usize,
}

/// A relation of the graph.
pub(super) struct Leaf {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// The right side of a semi join: rows of others stay where it has a match; it has no columns of its own.
    pub(super) semi: bool,
    /// Number of its first column among those of all leaves.
    pub(super) first: usize,
}

/// A condition over columns of two leaves or more.
pub(super) struct Condition {
    pub(super) filter: JoinFilter,
    /// By column of the condition's schema.
    pub(super) columns: Vec<Col>,
    pub(super) leaves: Leaves,
}

/// Relations, which of their columns are equal, and what else must hold.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) leaves: Vec<Leaf>,
    /// Columns that are equal to each other: of each leaf at most one.
    pub(super) classes: Vec<Vec<Col>>,
    pub(super) conditions: Vec<Condition>,
    /// Columns of the root.
    pub(super) output: Vec<Col>,
    width: usize,
}

impl Graph {
    /// The graph of the joins at the root of a plan. `None` where there are fewer than two joins to order.
    pub(super) fn of(join: &HashJoinExec) -> Option<Graph> {
        let mut graph = Graph::default();
        graph.output = graph.join(join)?;
        let repeats = |class: &Vec<Col>| (1..class.len()).any(|i| class[..i].iter().any(|col| col.leaf == class[i].leaf));
        (graph.leaves.len() > 1 && !graph.classes.iter().any(repeats)).then_some(graph)
    }

    /// Whether this is the right side of a semi join.
    pub(super) fn is_semi(&self, leaves: Leaves) -> bool {
        leaves.count_ones() == 1 && self.leaves[leaves.trailing_zeros() as usize].semi
    }

    /// Columns of all leaves.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// A column's number among those of all leaves.
    pub(super) fn number(&self, col: Col) -> usize {
        self.leaves[col.leaf].first + col.column
    }

    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Vec<Col> {
        let plan = below_exchange(plan);
        if let Some(columns) = plan.downcast_ref::<HashJoinExec>().and_then(|join| self.join(join)) {
            return columns;
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>()
            && has_joins(projection.input())
            && let Some(indices) =
                projection.expr().iter().map(|expr| expr.expr.downcast_ref::<Column>().map(Column::index)).collect::<Option<Vec<_>>>()
        {
            let columns = self.add(projection.input());
            return indices.into_iter().map(|index| columns[index]).collect();
        }
        self.leaf(plan, false)
    }

    fn leaf(&mut self, plan: &Arc<dyn ExecutionPlan>, semi: bool) -> Vec<Col> {
        let (leaf, columns) = (self.leaves.len(), plan.schema().fields().len());
        self.leaves.push(Leaf { plan: Arc::clone(plan), semi, first: self.width });
        self.width += columns;
        (0..columns).map(|column| Col { leaf, column }).collect()
    }

    /// Adds what a join joins; `None`, and nothing is added, where it is of a kind that has to stay where it is.
    fn join(&mut self, join: &HashJoinExec) -> Option<Vec<Col>> {
        let semi = matches!(join.join_type, JoinType::LeftSemi | JoinType::RightSemi);
        let keys = keys(join)?;
        if !(semi || join.join_type == JoinType::Inner)
            || join.null_aware
            || join.fetch().is_some()
            || join.null_equality != NullEquality::NullEqualsNothing
            || join.filter.as_ref().is_some_and(|filter| !spans_both(filter))
        {
            return None;
        }
        let left = if join.join_type == JoinType::RightSemi { self.leaf(&join.left, true) } else { self.add(&join.left) };
        let right = if join.join_type == JoinType::LeftSemi { self.leaf(&join.right, true) } else { self.add(&join.right) };
        for (a, b) in keys {
            self.equate(left[a], right[b]);
        }
        if let Some(filter) = &join.filter {
            let columns = filter.column_indices().iter().map(|column| match column.side {
                JoinSide::Right => right[column.index],
                _ => left[column.index],
            });
            let columns: Vec<Col> = columns.collect();
            let leaves = columns.iter().fold(0, |leaves, col| leaves | 1 << col.leaf);
            self.conditions.push(Condition { filter: filter.clone(), columns, leaves });
        }
        let columns: Vec<Col> = match join.join_type {
            JoinType::LeftSemi => left,
            JoinType::RightSemi => right,
            _ => left.into_iter().chain(right).collect(),
        };
        Some(match &join.projection {
            Some(projection) => projection.iter().map(|index| columns[*index]).collect(),
            None => columns,
        })
    }

    /// Says that two columns are equal, and so all that are equal to them.
    fn equate(&mut self, a: Col, b: Col) {
        let mut class = vec![];
        for col in [a, b] {
            match self.classes.iter().position(|class| class.contains(&col)) {
                Some(at) => class.extend(self.classes.swap_remove(at)),
                None if class.contains(&col) => {}
                None => class.push(col),
            }
        }
        self.classes.push(class);
    }
}

/// Whether a plan is a join, behind projections and exchanges.
fn has_joins(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let plan = below_exchange(plan);
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => has_joins(projection.input()),
        None => plan.is::<HashJoinExec>(),
    }
}

/// The numbers of the key columns; `None` where a key is computed, or two are of different types.
fn keys(join: &HashJoinExec) -> Option<Vec<(usize, usize)>> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let pair = |(a, b): &(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)| {
        let (a, b) = (a.downcast_ref::<Column>()?.index(), b.downcast_ref::<Column>()?.index());
        (left.field(a).data_type() == right.field(b).data_type()).then_some((a, b))
    };
    join.on.iter().map(pair).collect()
}

/// Whether a condition looks at both sides: only then it is met for the first time where the sides meet.
fn spans_both(filter: &JoinFilter) -> bool {
    let has = |side: JoinSide| filter.column_indices().iter().any(|column| column.side == side);
    has(JoinSide::Left) && has(JoinSide::Right)
}
