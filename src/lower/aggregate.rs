//! Aggregations: single, or partial, exchange and final as one group table.

use arrow::datatypes::SchemaRef;
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::InputOrderMode;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{AccDecl, AccOp, BinaryOp, Datum, GroupsDecl, Op, Sink, Source, SqlType, Type, UnaryOp, Value};

use super::exchange::below_exchange;
use super::pipe::common_types;
use super::{Branch, Declined, KeyFilter, Lowering, Pipe, Result, declined, types};

/// How an aggregate function's value is read from its accumulators.
enum Read {
    /// The accumulator itself.
    Acc(usize),
    /// The quotient of a sum and a count.
    Average { sum: usize, count: usize },
}

/// The accumulators of an aggregation.
struct Accumulators {
    decls: Vec<AccDecl>,
    /// By accumulator: the number of the function whose operand it takes.
    operands: Vec<Option<usize>>,
    has_keys: bool,
}

impl Accumulators {
    fn push(&mut self, op: AccOp, ty: Type, operand: Option<usize>) -> usize {
        self.decls.push(AccDecl { op, ty });
        self.operands.push(operand);
        self.decls.len() - 1
    }

    /// Adds what a function needs; `arg` is its operand's type, none where it counts rows.
    fn add(&mut self, function: &AggregateFunctionExpr, number: usize, arg: Option<Type>) -> Result<Read> {
        let unknown = || Declined::Unsupported(format!("the aggregate {}", function.name()));
        let result = types::ir_type(function.field().data_type(), true).filter(|_| plain(function)).ok_or_else(unknown)?;
        let inner = function.fun().inner();
        if inner.downcast_ref::<Count>().is_some() {
            let op = if arg.is_some() { AccOp::Count } else { AccOp::CountRows };
            return Ok(Read::Acc(self.push(op, Type::new(SqlType::Int64, false), arg.map(|_| number))));
        }
        let arg = arg.ok_or_else(unknown)?;
        let nullable = !self.has_keys || arg.nullable;
        let same_kind = arg.sql == result.sql || (arg.sql.scale().is_some() && arg.sql.scale() == result.sql.scale());
        let is_min = inner.downcast_ref::<Min>().is_some();
        if is_min || inner.downcast_ref::<Max>().is_some() {
            // DataFusion's result for floats depends on where a NaN stands among the rows.
            if !same_kind || arg.sql.is_float() {
                return Err(unknown());
            }
            let op = if is_min { AccOp::Min } else { AccOp::Max };
            return Ok(Read::Acc(self.push(op, result.with_nullable(nullable), Some(number))));
        }
        if inner.downcast_ref::<Sum>().is_some() {
            let summed = matches!(result.sql, SqlType::Int64 | SqlType::UInt64 | SqlType::Float64 | SqlType::Decimal { .. });
            if !same_kind || !summed {
                return Err(unknown());
            }
            return Ok(Read::Acc(self.push(AccOp::Sum, result.with_nullable(nullable), Some(number))));
        }
        let sum = match arg.sql {
            // DataFusion keeps 4 digits for the scale and 9 for the rows; where that takes more than 38, it adds up in 256 bits.
            SqlType::Decimal { precision, .. } if precision > 38 - 13 => return Err(unknown()),
            SqlType::Decimal { scale, .. } => SqlType::Decimal { precision: 38, scale },
            SqlType::Float64 => SqlType::Float64,
            _ => return Err(unknown()),
        };
        if inner.downcast_ref::<Avg>().is_none() {
            return Err(unknown());
        }
        let sum = self.push(AccOp::Sum, Type::new(sum, nullable), Some(number));
        Ok(Read::Average { sum, count: self.push(AccOp::Count, Type::new(SqlType::Int64, false), Some(number)) })
    }
}

impl Lowering {
    pub(crate) fn aggregate(&mut self, aggregate: &AggregateExec, key_filters: Vec<KeyFilter>) -> Result<Pipe> {
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
        let mut pipe = self.below(input.input())?;
        // One branch may count rows where it counts what cannot be null; several must agree on what they count.
        let alone = pipe.branches.len() == 1;
        let (mut keys, mut operands) = (vec![], vec![]);
        for branch in &mut pipe.branches {
            let of_branch = self.keys(branch, &schema, by)?;
            self.keep_groups(branch, &of_branch, &key_filters)?;
            keys.push(of_branch);
            operands.push(self.operands(branch, &schema, input, alone)?);
        }
        let branches = || pipe.branches.iter();
        let key_types = branches().zip(&keys).map(|(branch, keys)| keys.iter().map(|key| branch.s.ty(*key)).collect());
        let key_types = match common_types(&key_types.collect::<Vec<_>>()) {
            Some(types) if types.iter().all(|ty| !ty.sql.is_float() && !ty.sql.is_host()) => types,
            Some(_) => return declined("groups by a float, or by what cannot be compared"),
            None => return declined("groups by a column of several types"),
        };
        let mut accs = Accumulators { decls: vec![], operands: vec![], has_keys: !key_types.is_empty() };
        let mut reads = vec![];
        for (number, function) in input.aggr_expr().iter().enumerate() {
            let types = branches().zip(&operands).filter_map(|(branch, operands)| Some(vec![branch.s.ty(operands[number]?)]));
            let arg = common_types(&types.collect::<Vec<_>>()).and_then(|types| types.first().copied());
            reads.push(accs.add(function, number, arg)?);
        }
        let acc_types: Vec<Type> = accs.decls.iter().map(|acc| acc.ty).collect();
        let groups = self.p.groups(GroupsDecl { keys: key_types.clone(), accs: accs.decls });
        for ((branch, keys), operands) in pipe.branches.into_iter().zip(keys).zip(operands) {
            let args = accs.operands.iter().map(|number| number.and_then(|number| operands[number])).collect();
            self.p.stage(branch.sink(Sink::Group { groups, keys, args }));
        }

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
        Ok(Branch { s, columns, exchanged: true }.into())
    }

    /// Drops rows of groups that nobody misses.
    fn keep_groups(&mut self, branch: &mut Branch, keys: &[Value], filters: &[KeyFilter]) -> Result<()> {
        let columns = std::mem::replace(&mut branch.columns, keys.iter().copied().map(Some).collect());
        let kept = self.keep_matches(branch, filters);
        branch.columns = columns;
        kept
    }

    fn keys(&mut self, branch: &mut Branch, schema: &SchemaRef, by: &PhysicalGroupBy) -> Result<Vec<Value>> {
        let mut keys = vec![];
        for (key, _) in by.expr() {
            branch.s.note(format!("AggregateExec: by {key}"));
            keys.push(self.expr(&mut branch.s, &branch.columns, schema, key)?);
        }
        Ok(keys)
    }

    /// The operand of each function; none for a count of rows. A filter turns the rows that it drops into nulls.
    fn operands(&mut self, branch: &mut Branch, schema: &SchemaRef, input: &AggregateExec, alone: bool) -> Result<Vec<Option<Value>>> {
        let mut operands = vec![];
        for (function, filter) in input.aggr_expr().iter().zip(input.filter_expr()) {
            let exprs = function.expressions();
            let [operand] = exprs.as_slice() else { return declined(format!("the aggregate {}", function.name())) };
            branch.s.note(format!("AggregateExec: {}", function.name()));
            let counting = function.fun().inner().downcast_ref::<Count>().is_some();
            let counts_rows = counting && operand.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null());
            if counts_rows && filter.is_none() {
                operands.push(None);
                continue;
            }
            let filter = match filter {
                Some(filter) => Some(self.expr(&mut branch.s, &branch.columns, schema, filter)?),
                None => None,
            };
            let value = self.expr(&mut branch.s, &branch.columns, schema, operand)?;
            operands.push(match filter {
                Some(filter) => Some(self.null_unless(branch, filter, value)),
                // A count of what cannot be null is a count of rows.
                None => (!counting || !alone || branch.s.ty(value).nullable).then_some(value),
            });
        }
        Ok(operands)
    }

    fn null_unless(&mut self, branch: &mut Branch, condition: Value, value: Value) -> Value {
        let s = &mut branch.s;
        let ty = s.ty(value).with_nullable(true);
        let null = self.p.literal(ty, Datum::Null);
        s.begin_region();
        let then = s.end_region(value);
        s.begin_region();
        let null = s.op(Op::Literal(null), ty);
        let otherwise = s.end_region(null);
        s.op(Op::If(condition, Box::new(then), Box::new(otherwise)), ty)
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
