//! Filters.

use std::sync::Arc;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, DynamicFilterPhysicalExpr};
use datafusion::physical_plan::filter::FilterExec;

use super::limit::own_limit;
use super::{Lowering, Pipe, Result};

impl Lowering {
    pub(crate) fn filter(&mut self, filter: &FilterExec, wanted: Option<usize>) -> Result<Pipe> {
        let fetch = own_limit(filter, wanted)?;
        let mut pipe = self.below(filter.input())?;
        let schema = filter.input().schema();
        let mut conjuncts = vec![];
        split(filter.predicate(), &mut conjuncts);
        // What a join above pushed down here, it tests itself.
        conjuncts.retain(|conjunct| !conjunct.is::<DynamicFilterPhysicalExpr>());
        for branch in &mut pipe.branches {
            for conjunct in &conjuncts {
                branch.s.note(format!("FilterExec: {conjunct}"));
                let condition = self.expr(&mut branch.s, &branch.columns, &schema, conjunct)?;
                branch.s.filter(condition);
            }
        }
        pipe.project(filter.projection().as_deref());
        match fetch {
            Some(fetch) => self.limited(pipe, 0, Some(fetch), "FilterExec: fetch"),
            None => Ok(pipe),
        }
    }
}

/// The conditions of a conjunction, in order.
fn split(predicate: &Arc<dyn PhysicalExpr>, out: &mut Vec<Arc<dyn PhysicalExpr>>) {
    match predicate.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == Operator::And => {
            split(binary.left(), out);
            split(binary.right(), out);
        }
        _ => out.push(Arc::clone(predicate)),
    }
}
