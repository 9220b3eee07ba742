//! Filters.

use std::sync::Arc;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, DynamicFilterPhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::{Lowering, Pipe, Result, declined};

impl Lowering {
    pub(crate) fn filter(&mut self, filter: &FilterExec) -> Result<Pipe> {
        // A limit counts the rows of each partition on its own.
        if filter.fetch().is_some() && filter.properties().output_partitioning().partition_count() > 1 {
            return declined("a filter with a limit for each partition");
        }
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
        match filter.fetch() {
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
