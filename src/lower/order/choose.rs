//! Chooses the order of joins: dynamic programming over sets of leaves (Selinger et al. 1979, over bushy trees), by the rows that each join builds, probes
//! and yields.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use stagefuse_ir::abi::StrRef;

use super::estimate::Estimate;
use super::graph::{Col, Graph, Leaf, Leaves};

/// More leaves than this keep the plan's order: the number of pairs of sets grows threefold with each.
pub(super) const MAX_LEAVES: usize = 11;

/// Cost of a row that is built, in nanoseconds, as measured on TPC-H.
const BUILD: f64 = 15.0;
/// Of one that looks up in a table that fits the cache, or does not.
const PROBE_CACHED: f64 = 2.0;
const PROBE_MISSING: f64 = 8.0;
/// Of one that comes out.
const PASS: f64 = 1.0;
/// Bytes of a row that come with one cache miss.
const LINE: f64 = 64.0;
/// Rows of a table that fit the second-level cache.
const CACHED_ROWS: f64 = 30_000.0;
/// What a condition lets through that nothing is known of.
const CONDITION: f64 = 0.3;

/// An order of joins.
pub(super) enum Tree {
    Leaf(usize),
    /// The first side builds, the second looks up. Where the second is the right side of a semi join, it only marks rows of the first.
    Join(Box<Tree>, Box<Tree>),
}

impl Tree {
    pub(super) fn leaves(&self) -> Leaves {
        match self {
            Tree::Leaf(leaf) => 1 << leaf,
            Tree::Join(build, probe) => build.leaves() | probe.leaves(),
        }
    }
}

/// The best way found to join a set of leaves.
#[derive(Copy, Clone)]
struct Plan {
    cost: f64,
    rows: f64,
    /// Bytes of a row in a join table, about.
    bytes: f64,
    /// The sides; none of a single leaf.
    sides: Option<(Leaves, Leaves)>,
}

/// An order, and what it rests on.
pub(super) struct Choice {
    pub(super) tree: Tree,
    statistics: Statistics,
    plans: Vec<Option<Plan>>,
}

impl Choice {
    /// Rows of a set of leaves that are joined.
    pub(super) fn rows(&self, leaves: Leaves) -> f64 {
        self.plans[leaves as usize].map_or(f64::INFINITY, |plan| plan.rows)
    }

    /// What it takes to have the rows of a set of leaves: those of its largest leaf, and what joining costs.
    pub(super) fn work(&self, leaves: Leaves) -> f64 {
        let of_leaves = self.statistics.read.iter().enumerate().filter(|(leaf, _)| leaves & 1 << leaf != 0).map(|(_, rows)| *rows);
        self.plans[leaves as usize].map_or(f64::INFINITY, |plan| plan.cost) + of_leaves.fold(0.0, f64::max)
    }

    /// Different values of a column that is joined.
    pub(super) fn distinct(&self, graph: &Graph, col: Col) -> f64 {
        self.statistics.distinct(graph, col)
    }
}

/// The cheapest order. `None` where the leaves are too many, or not all connected.
pub(super) fn choose(graph: &Graph) -> Option<Choice> {
    let count = graph.leaves.len();
    if count > MAX_LEAVES {
        return None;
    }
    let estimates: Vec<Estimate> = graph.leaves.iter().map(|leaf| Estimate::of(&leaf.plan)).collect();
    let statistics = Statistics::of(graph, &estimates);
    let all: Leaves = (1 << count) - 1;
    let mut plans: Vec<Option<Plan>> = vec![None; 1 << count];
    for (number, (leaf, estimate)) in graph.leaves.iter().zip(&estimates).enumerate() {
        plans[1 << number] = Some(Plan { cost: 0.0, rows: estimate.rows, bytes: bytes(leaf), sides: None });
    }
    // Every subset comes after its own subsets.
    for set in 1..=all {
        if set.count_ones() < 2 {
            continue;
        }
        let mut build = (set - 1) & set;
        while build > 0 {
            let probe = set ^ build;
            if let (Some(b), Some(p)) = (plans[build as usize], plans[probe as usize])
                && let Some(plan) = statistics.join(graph, (build, b), (probe, p))
                && plans[set as usize].is_none_or(|best| plan.cost < best.cost)
            {
                plans[set as usize] = Some(plan);
            }
            build = (build - 1) & set;
        }
    }
    Some(Choice { tree: tree(&plans, all)?, statistics, plans })
}

fn tree(plans: &[Option<Plan>], set: Leaves) -> Option<Tree> {
    match plans[set as usize]?.sides {
        None => Some(Tree::Leaf(set.trailing_zeros() as usize)),
        Some((build, probe)) => Some(Tree::Join(Box::new(tree(plans, build)?), Box::new(tree(plans, probe)?))),
    }
}

/// The columns of two sides that must be equal: one pair for each class that both have.
pub(super) fn key_pairs(graph: &Graph, build: Leaves, probe: Leaves) -> Vec<(Col, Col)> {
    let of = |class: &[Col], leaves: Leaves| {
        let mut members = class.iter().filter(|col| leaves & 1 << col.leaf != 0).copied();
        let first = members.next()?;
        // A leaf of a semi join has no columns behind its join.
        std::iter::once(first).chain(members).find(|col| !graph.leaves[col.leaf].semi || leaves.count_ones() == 1)
    };
    graph.classes.iter().filter_map(|class| Some((of(class, build)?, of(class, probe)?))).collect()
}

/// What is known of the columns that are joined.
struct Statistics {
    rows: Vec<f64>,
    /// By leaf: rows that have to be read for them.
    read: Vec<f64>,
    /// By class and member: different values.
    distinct: Vec<Vec<f64>>,
    /// By class: whether its columns, which are of one type, are integers.
    numbers: Vec<bool>,
}

impl Statistics {
    fn of(graph: &Graph, estimates: &[Estimate]) -> Self {
        let of_class = |class: &Vec<Col>| class.iter().map(|col| estimates[col.leaf].distinct(col.column)).collect();
        Statistics {
            rows: estimates.iter().map(|estimate| estimate.rows).collect(),
            read: estimates.iter().map(|estimate| estimate.read).collect(),
            distinct: graph.classes.iter().map(of_class).collect(),
            numbers: graph.classes.iter().map(|class| class.first().is_some_and(|col| is_number(graph, col))).collect(),
        }
    }

    fn distinct(&self, graph: &Graph, col: Col) -> f64 {
        for (class, distinct) in graph.classes.iter().zip(&self.distinct) {
            if let Some(at) = class.iter().position(|other| *other == col) {
                return distinct[at];
            }
        }
        self.rows[col.leaf]
    }

    /// The join of two sides; `None` where nothing connects them, or a semi join would have the wrong side.
    fn join(&self, graph: &Graph, (build, b): (Leaves, Plan), (probe, p): (Leaves, Plan)) -> Option<Plan> {
        let is_semi = |leaves: Leaves| graph.is_semi(leaves);
        let pairs = key_pairs(graph, build, probe);
        if pairs.is_empty() || (is_semi(build) && is_semi(probe)) {
            return None;
        }
        let semi = [build, probe].into_iter().find(|side| is_semi(*side));
        if let Some(semi) = semi {
            // All of its keys must be there.
            let keys = graph.classes.iter().filter(|class| class.iter().any(|col| 1 << col.leaf == semi)).count();
            // And so must all that its conditions look at: behind the join it has no columns.
            let open = |leaves: Leaves| leaves & semi != 0 && leaves & !(build | probe) != 0;
            if keys != pairs.len() || graph.conditions.iter().any(|condition| open(condition.leaves)) {
                return None;
            }
        }
        let share = self.share(graph, &pairs);
        let conditions = graph.conditions.iter().filter(|condition| {
            let leaves = condition.leaves;
            leaves & !(build | probe) == 0 && leaves & !build != 0 && leaves & !probe != 0
        });
        let conditions = CONDITION.powi(conditions.count() as i32);
        let matches = (b.rows * p.rows * share * conditions).max(1.0);
        let rows = match semi {
            None => matches,
            Some(side) if side == build => matches.min(p.rows),
            Some(_) => matches.min(b.rows),
        };
        let cost = b.cost + p.cost + b.rows * BUILD + self.probing(graph, &pairs, b, p.rows, matches) + rows * PASS;
        Some(Plan { cost, rows, bytes: b.bytes + p.bytes, sides: Some((build, probe)) })
    }

    /// What it costs that rows look up in a table, and that those that match read its rows.
    fn probing(&self, graph: &Graph, pairs: &[(Col, Col)], built: Plan, rows: f64, matches: f64) -> f64 {
        let found = if built.rows <= CACHED_ROWS { PROBE_CACHED } else { PROBE_MISSING };
        // A miss brings the first line of a row.
        let lines = (built.bytes / LINE - 1.0).max(0.0);
        let reading = matches * lines * (found - PROBE_CACHED);
        let is_number = |col: &Col| graph.classes.iter().zip(&self.numbers).any(|(class, number)| *number && class.contains(col));
        match pairs {
            // A bitmap of the numbers, or the table's own elements, tells of those without a match.
            [(col, _)] if is_number(col) => rows * PROBE_CACHED + matches.min(rows) * (found - PROBE_CACHED) + reading,
            _ => rows * found + reading,
        }
    }

    /// The share of all pairs of rows that match.
    fn share(&self, graph: &Graph, pairs: &[(Col, Col)]) -> f64 {
        if let [(a, b)] = pairs {
            return 1.0 / self.distinct(graph, *a).max(self.distinct(graph, *b)).max(1.0);
        }
        // Keys of several columns are seldom independent: no more combinations than rows, of the side that has fewer.
        let combinations = |side: &dyn Fn(&(Col, Col)) -> Col| {
            let product: f64 = pairs.iter().map(|pair| self.distinct(graph, side(pair))).product();
            let rows = pairs.iter().map(|pair| self.rows[side(pair).leaf]).fold(1.0, f64::max);
            product.min(rows).max(1.0)
        };
        1.0 / combinations(&|pair| pair.0).min(combinations(&|pair| pair.1))
    }
}

/// Bytes that a leaf's columns take in a row of a join table, about.
fn bytes(leaf: &Leaf) -> f64 {
    if leaf.semi {
        return 0.0;
    }
    let of_field = |field: &Arc<Field>| match field.data_type() {
        // Mostly narrow enough.
        DataType::Decimal128(..) => 8,
        ty => ty.primitive_width().unwrap_or(size_of::<StrRef>()),
    };
    leaf.plan.schema().fields().iter().map(of_field).sum::<usize>() as f64
}

fn is_number(graph: &Graph, col: &Col) -> bool {
    graph.leaves[col.leaf].plan.schema().field(col.column).data_type().is_integer()
}
