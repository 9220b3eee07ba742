//! Aggregate functions that the IR has accumulators for.

use std::sync::Arc;

use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::bit_and_or_xor::{bit_and_udaf, bit_or_udaf, bit_xor_udaf};
use datafusion::functions_aggregate::bool_and_or::{BoolAnd, BoolOr};
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use stagefuse_ir::{AccDecl, AccOp, SqlType, Type};

use crate::lower::types;

/// How a function is computed.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Native {
    /// By counting rows, whatever the argument.
    CountRows,
    /// By an accumulator that holds this type.
    Acc(AccOp, SqlType),
    /// By the bits that some argument lacks: what all have in common is their complement.
    BitAnd(SqlType),
    /// As the quotient of a sum of this type and a count.
    Average(SqlType),
}

/// How the IR computes a function of one argument; none where only the host can. `total_order`: whether least and greatest floats are those of the total
/// order.
pub(super) fn native(function: &AggregateFunctionExpr, schema: &arrow::datatypes::Schema, total_order: bool) -> Option<Native> {
    let exprs = function.expressions();
    let ([operand], true) = (exprs.as_slice(), plain(function)) else { return None };
    let inner = function.fun().inner();
    if inner.is::<Count>() {
        let counts_rows = operand.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null());
        return Some(if counts_rows { Native::CountRows } else { Native::Acc(AccOp::Count, SqlType::Int64) });
    }
    let result = types::ir_type(function.field().data_type(), true)?.sql;
    let arg = types::ir_type(&operand.data_type(schema).ok()?, true)?.sql;
    let same_kind = arg == result || (arg.scale().is_some() && arg.scale() == result.scale());
    if inner.is::<Min>() || inner.is::<Max>() {
        // With groups, DataFusion's result for floats mostly depends on where a NaN stands among the rows.
        let op = if inner.is::<Min>() { AccOp::Min } else { AccOp::Max };
        return (same_kind && (!arg.is_float() || total_order)).then_some(Native::Acc(op, result));
    }
    if inner.is::<BoolAnd>() || inner.is::<BoolOr>() {
        let op = if inner.is::<BoolAnd>() { AccOp::Min } else { AccOp::Max };
        return (arg == SqlType::Boolean && result == arg).then_some(Native::Acc(op, result));
    }
    if arg.is_integer() && result == arg {
        // One type stands for three functions, so that they are told apart as functions.
        let is = |other: Arc<AggregateUDF>| *function.fun() == *other;
        let bits = [
            (bit_or_udaf(), Native::Acc(AccOp::BitOr, arg)),
            (bit_xor_udaf(), Native::Acc(AccOp::BitXor, arg)),
            (bit_and_udaf(), Native::BitAnd(arg)),
        ];
        if let Some((_, native)) = bits.into_iter().find(|(other, _)| is(Arc::clone(other))) {
            return Some(native);
        }
    }
    if inner.is::<Sum>() {
        let summed = matches!(result, SqlType::Int64 | SqlType::UInt64 | SqlType::Float64 | SqlType::Decimal { .. });
        return (same_kind && summed).then_some(Native::Acc(AccOp::Sum, result));
    }
    match arg {
        // DataFusion keeps 4 digits for the scale and 9 for the rows; where that takes more than 38, it adds up in 256 bits.
        SqlType::Decimal { precision, scale } if inner.is::<Avg>() && precision <= 38 - 13 => {
            Some(Native::Average(SqlType::Decimal { precision: 38, scale }))
        }
        SqlType::Float64 if inner.is::<Avg>() => Some(Native::Average(SqlType::Float64)),
        _ => None,
    }
}

/// Whether the function has no DISTINCT, ORDER BY, or treatment of nulls.
fn plain(function: &AggregateFunctionExpr) -> bool {
    !function.is_distinct() && !function.ignore_nulls() && function.order_bys().is_empty() && !function.is_reversed()
}

/// How an aggregate function's value is read from the columns of a group table.
pub(super) enum Read {
    /// An accumulator.
    Acc(usize),
    /// The complement of an accumulator.
    Complement(usize),
    /// The quotient of a sum and a count.
    Average { sum: usize, count: usize },
    /// What the host computed.
    Call(usize),
}

/// The accumulators of an aggregation.
pub(super) struct Accumulators {
    pub(super) decls: Vec<AccDecl>,
    /// By accumulator: the number of the function whose operand it takes.
    pub(super) operands: Vec<Option<usize>>,
    /// Whether every group has a row.
    pub(super) has_rows: bool,
}

impl Accumulators {
    fn push(&mut self, op: AccOp, ty: Type, operand: Option<usize>) -> usize {
        self.decls.push(AccDecl { op, ty });
        self.operands.push(operand);
        self.decls.len() - 1
    }

    /// Adds what a function needs; `arg` is its operand's type, none where it counts rows.
    pub(super) fn add(&mut self, native: Native, number: usize, arg: Option<Type>) -> Read {
        let count = Type::new(SqlType::Int64, false);
        let nullable = !self.has_rows || arg.is_some_and(|arg| arg.nullable);
        match (native, arg) {
            (Native::CountRows | Native::Acc(AccOp::Count, _), None) => Read::Acc(self.push(AccOp::CountRows, count, None)),
            (Native::CountRows | Native::Acc(AccOp::Count, _), Some(_)) => Read::Acc(self.push(AccOp::Count, count, Some(number))),
            (Native::Acc(op, sql), _) => Read::Acc(self.push(op, Type::new(sql, nullable), Some(number))),
            (Native::BitAnd(sql), _) => Read::Complement(self.push(AccOp::BitOr, Type::new(sql, nullable), Some(number))),
            (Native::Average(sql), _) => {
                let sum = self.push(AccOp::Sum, Type::new(sql, nullable), Some(number));
                Read::Average { sum, count: self.push(AccOp::Count, count, Some(number)) }
            }
        }
    }
}
