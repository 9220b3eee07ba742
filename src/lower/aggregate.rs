//! Aggregations: single, or partial, exchange and final as one group table.

use std::sync::Arc;

use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::InputOrderMode;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{AccDecl, AccOp, BinaryOp, Datum, GroupsDecl, Op, Sink, Source, SqlType, Type, UnaryOp, Value};

use super::exchange::below_exchange;
use super::{Lowering, Pipe, Result, declined, types};

/// How an aggregate function's value is read from its accumulators.
enum Read {
    /// The accumulator itself.
    Acc(usize),
    /// The quotient of a sum and a count.
    Average { sum: usize, count: usize },
}

impl Lowering {
    pub(crate) fn aggregate(&mut self, aggregate: &AggregateExec) -> Result<Pipe> {
        let input = match aggregate.mode() {
            AggregateMode::Single | AggregateMode::SinglePartitioned => aggregate,
            AggregateMode::Final | AggregateMode::FinalPartitioned => {
                match below_exchange(aggregate.input()).downcast_ref::<AggregateExec>() {
                    Some(partial) if *partial.mode() == AggregateMode::Partial => partial,
                    _ => return declined("a final aggregation without its partial one"),
                }
            }
            AggregateMode::Partial | AggregateMode::PartialReduce => return declined("a partial aggregation without its final one"),
        };
        let by = input.group_expr();
        if by.has_grouping_set() || !by.is_single() && !by.expr().is_empty() {
            return declined("grouping sets");
        }
        for step in [aggregate, input] {
            if step.limit_options().is_some() || !matches!(step.input_order_mode(), InputOrderMode::Linear) {
                return declined("an aggregation with a limit or over ordered input");
            }
        }
        let schema = input.input().schema();
        let mut pipe = self.node(below_exchange(input.input()))?;
        let mut keys = vec![];
        for (key, _) in by.expr() {
            pipe.s.note(format!("AggregateExec: by {key}"));
            keys.push(self.expr(&mut pipe.s, &pipe.columns, &schema, key)?);
        }
        if keys.iter().any(|key| pipe.s.ty(*key).sql.is_float()) {
            return declined("groups by a float");
        }
        let mut accs = vec![];
        let mut args = vec![];
        let mut reads = vec![];
        for (function, filter) in input.aggr_expr().iter().zip(input.filter_expr()) {
            pipe.s.note(format!("AggregateExec: {}", function.name()));
            let filter = match filter {
                Some(filter) => Some(self.expr(&mut pipe.s, &pipe.columns, &schema, filter)?),
                None => None,
            };
            let mut add = |op: AccOp, ty: Type, arg: Option<Value>| {
                accs.push(AccDecl { op, ty });
                args.push(arg);
                accs.len() - 1
            };
            let result = types::ir_type(function.field().data_type(), true);
            let Some(result) = result.filter(|_| plain(function)) else { return declined(format!("the aggregate {}", function.name())) };
            let inner = function.fun().inner();
            let operands = function.expressions();
            let [operand] = operands.as_slice() else { return declined(format!("the aggregate {}", function.name())) };
            if inner.downcast_ref::<Count>().is_some() {
                let counted = self.argument(&mut pipe, &schema, operand, filter, true)?;
                let op = if counted.is_some() { AccOp::Count } else { AccOp::CountRows };
                reads.push(Read::Acc(add(op, Type::new(SqlType::Int64, false), counted)));
                continue;
            }
            let Some(arg) = self.argument(&mut pipe, &schema, operand, filter, false)? else { return declined("an aggregate of nothing") };
            let nullable = keys.is_empty() || pipe.s.ty(arg).nullable;
            let arg_sql = pipe.s.ty(arg).sql;
            let same_kind = arg_sql == result.sql || (arg_sql.scale().is_some() && arg_sql.scale() == result.sql.scale());
            let sum_type = |result: Type| match result.sql {
                SqlType::Int64 | SqlType::UInt64 | SqlType::Float64 | SqlType::Decimal { .. } => Some(result.with_nullable(nullable)),
                _ => None,
            };
            reads.push(if inner.downcast_ref::<Sum>().is_some() && same_kind {
                let Some(ty) = sum_type(result) else { return declined(format!("a sum of {result}")) };
                Read::Acc(add(AccOp::Sum, ty, Some(arg)))
            } else if arg_sql.is_float() && (inner.downcast_ref::<Min>().is_some() || inner.downcast_ref::<Max>().is_some()) {
                // DataFusion's result depends on where a NaN stands among the rows.
                return declined(format!("the aggregate {} of a float", function.name()));
            } else if inner.downcast_ref::<Min>().is_some() && same_kind {
                Read::Acc(add(AccOp::Min, result.with_nullable(nullable), Some(arg)))
            } else if inner.downcast_ref::<Max>().is_some() && same_kind {
                Read::Acc(add(AccOp::Max, result.with_nullable(nullable), Some(arg)))
            } else if inner.downcast_ref::<Avg>().is_some() && (arg_sql == SqlType::Float64 || arg_sql.scale().is_some()) {
                let sum = match arg_sql {
                    SqlType::Decimal { scale, .. } => SqlType::Decimal { precision: 38, scale },
                    other => other,
                };
                let sum = add(AccOp::Sum, Type::new(sum, nullable), Some(arg));
                Read::Average { sum, count: add(AccOp::Count, Type::new(SqlType::Int64, false), Some(arg)) }
            } else {
                return declined(format!("the aggregate {}", function.name()));
            });
        }
        let key_types: Vec<Type> = keys.iter().map(|key| pipe.s.ty(*key)).collect();
        let acc_types: Vec<Type> = accs.iter().map(|acc| acc.ty).collect();
        let groups = self.p.groups(GroupsDecl { keys: key_types.clone(), accs });
        self.p.stage(pipe.s.sink(Sink::Group { groups, keys, args }));

        let field_types: Vec<Type> = key_types.iter().chain(&acc_types).copied().collect();
        let mut s = StageBuilder::new(format!("groups of {groups}"), Source::Groups(groups), &field_types);
        let fields = s.params().to_vec();
        let mut columns: Vec<Option<Value>> = fields[..key_types.len()].iter().copied().map(Some).collect();
        for (read, function) in reads.iter().zip(input.aggr_expr()) {
            let acc = |index: usize| fields[key_types.len() + index];
            s.note(format!("AggregateExec: {}", function.name()));
            columns.push(Some(match read {
                Read::Acc(index) => acc(*index),
                Read::Average { sum, count } => {
                    let result = types::ir_type(function.field().data_type(), true);
                    let Some(result) = result else { return declined("an average") };
                    self.average(&mut s, acc(*sum), acc(*count), result)?
                }
            }));
        }
        Ok(Pipe { s, columns })
    }

    /// The argument of an aggregate; none for a count of rows. A filter turns the rows that it drops into nulls.
    fn argument(
        &mut self,
        pipe: &mut Pipe,
        schema: &arrow::datatypes::SchemaRef,
        operand: &Arc<dyn PhysicalExpr>,
        filter: Option<Value>,
        counting: bool,
    ) -> Result<Option<Value>> {
        let is_rows = counting && operand.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null());
        if is_rows && filter.is_none() {
            return Ok(None);
        }
        let value = self.expr(&mut pipe.s, &pipe.columns, schema, operand)?;
        let Some(filter) = filter else {
            // A count of what cannot be null is a count of rows.
            return Ok((!counting || pipe.s.ty(value).nullable).then_some(value));
        };
        let ty = pipe.s.ty(value).with_nullable(true);
        let null = self.p.literal(ty, Datum::Null);
        pipe.s.begin_region();
        let then = pipe.s.end_region(value);
        pipe.s.begin_region();
        let null = pipe.s.op(Op::Literal(null), ty);
        let otherwise = pipe.s.end_region(null);
        Ok(Some(pipe.s.op(Op::If(filter, Box::new(then), Box::new(otherwise)), ty)))
    }

    /// DataFusion's average: a decimal's sum is scaled up to the result's scale and divided, truncating; then its digits are checked.
    fn average(&mut self, s: &mut StageBuilder, sum: Value, count: Value, result: Type) -> Result<Value> {
        let nullable = s.ty(sum).nullable;
        let (SqlType::Decimal { scale: have, .. }, SqlType::Decimal { scale, .. }) = (s.ty(sum).sql, result.sql) else {
            let ty = Type::new(SqlType::Float64, nullable);
            let count = s.unary(UnaryOp::Convert, count, Type::new(SqlType::Float64, false));
            return Ok(s.binary(BinaryOp::Div, sum, count, ty));
        };
        let wide = |scale: i8, nullable: bool| Type::new(SqlType::Decimal { precision: 38, scale }, nullable);
        let scaled = self.rescale_up(s, sum, scale - have)?;
        let count = s.unary(UnaryOp::Convert, count, Type::new(SqlType::Decimal { precision: 20, scale: 0 }, false));
        let quotient = s.binary(BinaryOp::Div, scaled, count, wide(scale, nullable));
        Ok(s.unary(UnaryOp::Cast, quotient, result.with_nullable(nullable)))
    }
}

/// Whether the function has no DISTINCT, ORDER BY, or treatment of nulls.
fn plain(function: &AggregateFunctionExpr) -> bool {
    !function.is_distinct() && !function.ignore_nulls() && function.order_bys().is_empty() && !function.is_reversed()
}
