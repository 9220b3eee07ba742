//! Aggregate functions that DataFusion computes, on the group table of a stage.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::DataType;
use datafusion::common::{Result as HostResult, ScalarValue};
use datafusion::functions_aggregate::string_agg::StringAgg;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use stagefuse_runtime::{HostAccumulator, HostAggregate, HostError, adapt};

use crate::lower::{Result, declined};

type Hosted<T> = std::result::Result<T, HostError>;

/// An argument of a function.
#[derive(Clone, Debug)]
enum Arg {
    /// The same for all rows: many functions take such parameters, of types that the IR may not have.
    Constant(ScalarValue),
    /// The next of the operands, as an array of this type.
    Operand(DataType),
}

/// A function of a plan.
#[derive(Debug)]
pub(super) struct HostFunction {
    function: Arc<AggregateFunctionExpr>,
    args: Vec<Arg>,
    grouped: bool,
}

impl HostFunction {
    /// The function, and the expressions that yield its operands.
    pub(super) fn new(
        function: &Arc<AggregateFunctionExpr>,
        schema: &arrow::datatypes::Schema,
        grouped: bool,
    ) -> Result<(Self, Vec<Arc<dyn PhysicalExpr>>)> {
        // What AggregateExec hands over: the arguments, then what an ORDER BY within them orders by.
        let mut exprs = function.expressions();
        exprs.extend(function.order_bys().iter().map(|order| Arc::clone(&order.expr)));
        let (mut args, mut operands) = (vec![], vec![]);
        for (number, expr) in exprs.iter().enumerate() {
            match expr.downcast_ref::<Literal>() {
                // Somebody has to say how many rows there are.
                Some(literal) if number > 0 => args.push(Arg::Constant(literal.value().clone())),
                _ => {
                    let Ok(ty) = expr.data_type(schema) else { return declined(format!("the type of {expr}")) };
                    args.push(Arg::Operand(ty));
                    operands.push(Arc::clone(expr));
                }
            }
        }
        if operands.is_empty() {
            return declined(format!("the aggregate {} without arguments", function.name()));
        }
        Ok((HostFunction { function: any_order(function)?, args, grouped }, operands))
    }
}

/// The function, made not to rely on the order in which rows come: rows of several workers have none.
fn any_order(function: &Arc<AggregateFunctionExpr>) -> Result<Arc<AggregateFunctionExpr>> {
    if function.order_bys().is_empty() {
        return Ok(Arc::clone(function));
    }
    let sorts_itself = function.fun().inner().is::<StringAgg>();
    match Arc::clone(function).with_beneficial_ordering(false) {
        Ok(Some(function)) => Ok(Arc::new(function)),
        Ok(None) if sorts_itself || function.order_sensitivity() != AggregateOrderSensitivity::HardRequirement => Ok(Arc::clone(function)),
        _ => declined(format!("the aggregate {} relies on the order of its rows", function.name())),
    }
}

impl HostAggregate for HostFunction {
    fn start(&self) -> Hosted<Box<dyn HostAccumulator>> {
        let args = self.args.clone();
        // DataFusion, too, has one accumulator where there are no keys; the two kinds differ in what they make of a NaN, for one.
        if !self.grouped {
            return Ok(Box::new(Single { accumulator: self.function.create_accumulator()?, args }));
        }
        let accumulator: Box<dyn GroupsAccumulator> = if self.function.groups_accumulator_supported() {
            self.function.create_groups_accumulator()?
        } else {
            let function = Arc::clone(&self.function);
            Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator()))
        };
        Ok(Box::new(Grouped { accumulator, args }))
    }
}

/// The arrays that a function takes.
fn arrays(args: &[Arg], operands: &[ArrayRef]) -> HostResult<Vec<ArrayRef>> {
    let rows = operands.first().map_or(0, |operand| operand.len());
    let mut operands = operands.iter();
    let array = |arg: &Arg| match arg {
        Arg::Constant(value) => value.to_array_of_size(rows),
        Arg::Operand(ty) => match operands.next() {
            Some(operand) => Ok(adapt(operand, ty)?),
            None => datafusion::common::internal_err!("an operand is missing"),
        },
    };
    args.iter().map(array).collect()
}

/// The state of all groups.
struct Grouped {
    accumulator: Box<dyn GroupsAccumulator>,
    args: Vec<Arg>,
}

impl HostAccumulator for Grouped {
    fn update(&mut self, args: &[ArrayRef], filter: Option<&BooleanArray>, groups: &[usize], total: usize) -> Hosted<()> {
        Ok(self.accumulator.update_batch(&arrays(&self.args, args)?, groups, filter, total)?)
    }

    fn state(&mut self) -> Hosted<Vec<ArrayRef>> {
        Ok(self.accumulator.state(EmitTo::All)?)
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Hosted<()> {
        Ok(self.accumulator.merge_batch(states, groups, total)?)
    }

    fn evaluate(&mut self) -> Hosted<ArrayRef> {
        Ok(self.accumulator.evaluate(EmitTo::All)?)
    }

    fn size(&self) -> usize {
        self.accumulator.size()
    }
}

/// The state of the only group of a table without keys.
struct Single {
    accumulator: Box<dyn Accumulator>,
    args: Vec<Arg>,
}

impl HostAccumulator for Single {
    fn update(&mut self, args: &[ArrayRef], condition: Option<&BooleanArray>, _groups: &[usize], _total: usize) -> Hosted<()> {
        let args = match condition {
            Some(condition) => &args.iter().map(|arg| filter(arg, condition)).collect::<std::result::Result<Vec<_>, _>>()?,
            None => args,
        };
        Ok(self.accumulator.update_batch(&arrays(&self.args, args)?)?)
    }

    fn state(&mut self) -> Hosted<Vec<ArrayRef>> {
        let state = self.accumulator.state()?;
        Ok(state.iter().map(|value| value.to_array()).collect::<HostResult<_>>()?)
    }

    fn merge(&mut self, states: &[ArrayRef], _groups: &[usize], _total: usize) -> Hosted<()> {
        Ok(self.accumulator.merge_batch(states)?)
    }

    fn evaluate(&mut self) -> Hosted<ArrayRef> {
        Ok(self.accumulator.evaluate()?.to_array()?)
    }

    fn size(&self) -> usize {
        self.accumulator.size()
    }
}
