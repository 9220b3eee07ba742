//! Filters.

use std::sync::Arc;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::exchange::below_exchange;
use super::{Lowering, Pipe, Result, declined};

impl Lowering {
    pub(crate) fn filter(&mut self, filter: &FilterExec) -> Result<Pipe> {
        if filter.fetch().is_some() {
            return declined("a filter with a limit");
        }
        let mut pipe = self.node(below_exchange(filter.input()))?;
        let schema = filter.input().schema();
        let mut conjuncts = vec![];
        split(filter.predicate(), &mut conjuncts);
        for conjunct in conjuncts {
            pipe.s.note(format!("FilterExec: {conjunct}"));
            let condition = self.expr(&mut pipe.s, &pipe.columns, &schema, &conjunct)?;
            pipe.s.filter(condition);
        }
        if let Some(projection) = filter.projection() {
            pipe.columns = projection.iter().map(|index| pipe.columns[*index]).collect();
        }
        Ok(pipe)
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
