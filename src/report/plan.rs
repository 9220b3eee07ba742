//! The physical plan line by line: DataFusion's operators, and below each compiled node those that its stages took the place of.

use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use serde_json::{Value, json};

use super::link;
use super::sql::SqlToken;
use crate::exec::CompiledExec;

/// A line of the plan.
pub(super) struct PlanLine {
    pub(super) depth: usize,
    pub(super) text: String,
    /// The compiled node that runs the operator, by number.
    pub(super) node: Option<usize>,
    /// The compiled node and the number of its input that the operator's rows are.
    pub(super) leaf: Option<(usize, usize)>,
    /// Whether it is the node itself.
    is_node: bool,
    /// Rows that it yielded, where that was counted.
    rows: Option<usize>,
}

impl PlanLine {
    /// The operator's name.
    pub(super) fn operator(&self) -> &str {
        self.text.split([':', ' ']).next().unwrap_or_default()
    }

    pub(super) fn json(&self, tokens: &[SqlToken]) -> Value {
        let sql = if self.is_node { vec![] } else { link::tokens_of(self, tokens) };
        let (reader, input) = self.leaf.map(|(node, input)| (node, format!("input{input}"))).unzip();
        json!({
            "depth": self.depth, "text": self.text, "node": self.node, "compiled": self.is_node, "reader": reader, "input": input,
            "rows": self.rows, "sql": sql,
        })
    }
}

/// The lines of a plan, outermost first.
pub(super) fn lines(plan: &Arc<dyn ExecutionPlan>) -> Vec<PlanLine> {
    let mut lines = Lines { all: vec![], nodes: 0 };
    lines.add(plan, 0);
    lines.all
}

/// A plan below a node: where its lines go.
struct Leaf {
    at: usize,
    input: usize,
    plan: Arc<dyn ExecutionPlan>,
    depth: usize,
}

struct Lines {
    all: Vec<PlanLine>,
    /// Compiled nodes so far.
    nodes: usize,
}

impl Lines {
    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>, depth: usize) {
        let rows = plan.metrics().and_then(|metrics| metrics.output_rows());
        let Some(node) = plan.downcast_ref::<CompiledExec>() else {
            self.line(plan, depth, None, rows);
            return plan.children().into_iter().for_each(|child| self.add(child, depth + 1));
        };
        let number = self.nodes;
        self.nodes += 1;
        let stages = node.program().stages.len();
        let text = format!("CompiledExec {number}: {stages} {}", if stages == 1 { "stage" } else { "stages" });
        self.all.push(PlanLine { depth, text, node: Some(number), leaf: None, is_node: true, rows });
        // Nodes are numbered outermost first, and from the first child to the last.
        let mut below = vec![];
        self.replaced(node, node.original(), depth + 1, number, &mut below);
        let own = self.all.len();
        for Leaf { at, input, plan, depth } in below {
            let at = at + self.all.len() - own;
            let behind = self.all.split_off(at);
            self.add(&plan, depth);
            if let Some(line) = self.all.get_mut(at) {
                line.leaf = Some((number, input));
            }
            self.all.extend(behind);
        }
    }

    /// An operator that a node's stages took the place of, and those below it, down to the leaves that stay DataFusion's: `below` takes
    /// where they belong.
    fn replaced(&mut self, node: &CompiledExec, plan: &Arc<dyn ExecutionPlan>, depth: usize, number: usize, below: &mut Vec<Leaf>) {
        if let Some((input, plan)) = node.leaf(plan) {
            below.push(Leaf { at: self.all.len(), input, plan, depth });
            return;
        }
        self.line(plan, depth, Some(number), None);
        plan.children().into_iter().for_each(|child| self.replaced(node, child, depth + 1, number, below));
    }

    fn line(&mut self, plan: &Arc<dyn ExecutionPlan>, depth: usize, node: Option<usize>, rows: Option<usize>) {
        let text = displayable(plan.as_ref()).one_line().to_string().trim_end().to_string();
        self.all.push(PlanLine { depth, text, node, leaf: None, is_node: false, rows });
    }
}
