//! Aggregations: single, or partial, exchange and final as one group table.

mod host;
mod native;
mod sets;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::InputOrderMode;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{AccOp, AggregateDecl, BinaryOp, CallDecl, Datum, GroupsDecl, Op, Region, Sink, Source, SqlType, Type, UnaryOp, Value};

use self::host::HostFunction;
use self::native::{Accumulators, Native, Read, native};
use super::exchange::below_exchange;
use super::pipe::common_types;
use super::sort::Unordered;
use super::{Branch, KeyFilter, Lowering, Pipe, Result, declined, types};

/// What rows hand over to the host: an expression, of which only what the filter lets through is looked at. What several functions take is handed
/// over once.
type HostOperand = (Arc<dyn PhysicalExpr>, Option<Arc<dyn PhysicalExpr>>);

impl Lowering {
    /// An aggregation. One over ordered input promises that its groups come in order: they are sorted, unless nobody needs it (`unordered`).
    pub(crate) fn aggregate(
        &mut self,
        aggregate: &AggregateExec,
        key_filters: Vec<KeyFilter>,
        unordered: Option<Unordered>,
    ) -> Result<Pipe> {
        let input = match aggregate.mode() {
            AggregateMode::Single | AggregateMode::SinglePartitioned => aggregate,
            AggregateMode::Final | AggregateMode::FinalPartitioned => {
                match below_any_exchange(aggregate.input()).downcast_ref::<AggregateExec>() {
                    Some(partial) if *partial.mode() == AggregateMode::Partial => partial,
                    _ => return declined("a final aggregation without its partial one"),
                }
            }
            AggregateMode::Partial | AggregateMode::PartialReduce => return declined("a partial aggregation without its final one"),
        };
        let by = input.group_expr();
        let ordered = [aggregate, input].iter().any(|step| !matches!(step.input_order_mode(), InputOrderMode::Linear));
        let ordering = aggregate.properties().output_ordering().filter(|_| ordered && unordered.is_none());
        if ordering.is_some() && aggregate.properties().output_partitioning().partition_count() > 1 {
            return declined("an aggregation over ordered input, each of whose partitions is in order");
        }
        let sets = self.sets(by)?;
        let grouped = !by.is_true_no_grouping();
        // A limit is a hint: whoever gave it cuts the rows itself. With an order, DataFusion compares floats as a sort does.
        let limits = || [aggregate, input].into_iter().filter_map(AggregateExec::limit_options);
        let total_order = !grouped || limits().any(|limit| limit.descending().is_some());
        let enough = aggregate.limit_options().filter(|limit| limit.descending().is_none() && input.aggr_expr().is_empty());
        let schema = input.input().schema();
        let functions: Vec<Option<Native>> = input.aggr_expr().iter().map(|function| native(function, &schema, total_order)).collect();
        // What DataFusion computes may depend on the order in which rows come, though nothing promises that it does.
        if functions.iter().all(Option::is_some) {
            self.unordered = Some(Unordered { fetch: None });
        }
        let mut pipe = self.below(input.input())?;
        // One branch may count rows where it counts what cannot be null; several must agree on what they count.
        let alone = pipe.branches.len() == 1;
        let (mut keys, mut operands) = (vec![], vec![]);
        for branch in &mut pipe.branches {
            let of_branch = self.keys(branch, &schema, by)?;
            if sets.is_none() {
                self.keep_groups(branch, &of_branch, &key_filters)?;
            }
            keys.push(of_branch);
            operands.push(self.operands(branch, &schema, input, &functions, alone)?);
        }
        let branches = || pipe.branches.iter();
        let key_types = branches().zip(&keys).map(|(branch, keys)| keys.iter().map(|key| branch.s.ty(*key)).collect());
        let mut key_types = match common_types(&key_types.collect::<Vec<_>>()) {
            Some(types) if types.iter().all(|ty| !ty.sql.is_host()) => types,
            Some(_) => return declined("groups by what cannot be compared"),
            None => return declined("groups by a column of several types"),
        };
        if let Some(sets) = &sets {
            sets.add_to(&mut key_types);
        }
        // A group of no rows has no sum.
        let always = sets.as_ref().map(|sets| self.empty_sets(sets, &key_types)).unwrap_or_default();
        let mut accs = Accumulators { decls: vec![], operands: vec![], has_rows: grouped && always.is_empty() };
        let (mut reads, mut calls, mut handed) = (vec![], vec![], vec![]);
        for (number, (function, native)) in input.aggr_expr().iter().zip(&functions).enumerate() {
            let Some(native) = native else {
                reads.push(Read::Call(calls.len()));
                let result = self.any_type(function.field().data_type(), function.field().is_nullable());
                let (host, exprs) = HostFunction::new(function, &schema, grouped)?;
                let filter = &input.filter_expr()[number];
                let mut operand = |operand: HostOperand| {
                    handed.iter().position(|known| *known == operand).unwrap_or_else(|| {
                        handed.push(operand);
                        handed.len() - 1
                    })
                };
                let args = exprs.into_iter().map(|expr| operand((expr, filter.clone()))).collect();
                let filter = filter.clone().map(|filter| operand((filter, None)));
                let aggregate = self.p.aggregate(AggregateDecl { name: function.name().to_string() });
                self.aggregates.push(Arc::new(host));
                calls.push(CallDecl { aggregate, args, filter, result });
                continue;
            };
            let types = branches().zip(&operands).filter_map(|(branch, operands)| Some(vec![branch.s.ty(operands[number]?)]));
            let arg = common_types(&types.collect::<Vec<_>>()).and_then(|types| types.first().copied());
            reads.push(accs.add(*native, number, arg));
        }
        let mut handed_over = vec![];
        for branch in &mut pipe.branches {
            if !handed.is_empty() {
                branch.s.note("AggregateExec: operands of DataFusion's functions");
            }
            let values = handed.iter().map(|(expr, filter)| self.call_operand(branch, &schema, expr, filter.as_ref(), grouped));
            handed_over.push(values.collect::<Result<Vec<Value>>>()?);
        }
        let branches = pipe.branches.iter().zip(&handed_over);
        let types = branches.map(|(branch, values)| values.iter().map(|value| branch.s.ty(*value)).collect());
        let Some(types) = common_types(&types.collect::<Vec<Vec<Type>>>()) else { return declined("an operand of several types") };
        let operand_types = types.into_iter().map(|ty| ty.with_repr(ty.sql.default_repr())).collect();

        let enough = enough.map(|limit| limit.limit() as u64);
        let decl = GroupsDecl { keys: key_types.clone(), accs: accs.decls, operands: operand_types, calls, always, enough };
        let field_types: Vec<Type> = decl.columns().collect();
        let (first_acc, first_call) = (key_types.len(), key_types.len() + decl.accs.len());
        let groups = self.p.groups(decl);
        for (((mut branch, mut keys), values), handed_over) in pipe.branches.into_iter().zip(keys).zip(operands).zip(handed_over) {
            if let Some(sets) = &sets {
                branch.s.note("AggregateExec: grouping sets");
                keys = self.expand(&mut branch, sets, &keys);
            }
            let args = accs.operands.iter().map(|number| number.and_then(|number| values[number])).collect();
            branch.s.note(groups_note(input));
            self.p.stage(branch.sink(Sink::Group { groups, keys, args, operands: handed_over }));
        }

        let mut s = StageBuilder::new(format!("groups of {groups}"), Source::Groups(groups), &field_types);
        let fields = s.params().to_vec();
        let mut columns: Vec<Option<Value>> = fields[..key_types.len()].iter().copied().map(Some).collect();
        for (read, function) in reads.iter().zip(input.aggr_expr()) {
            let acc = |index: usize| fields[first_acc + index];
            s.note(format!("AggregateExec: {}", function.name()));
            columns.push(Some(match read {
                Read::Acc(index) => acc(*index),
                Read::Complement(index) => self.complement(&mut s, acc(*index)),
                Read::Call(index) => fields[first_call + index],
                Read::Average { sum, count } => {
                    let result = types::ir_type(function.field().data_type(), true);
                    let Some(result) = result else { return declined("an average") };
                    self.average(&mut s, acc(*sum), acc(*count), result)?
                }
            }));
        }
        let pipe = Branch { s, columns, exchanged: true }.into();
        match ordering {
            Some(ordering) => self.sorted(pipe, aggregate, ordering, None, "AggregateExec: in order"),
            None => Ok(pipe),
        }
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
            let key = self.expr(&mut branch.s, &branch.columns, schema, key)?;
            // DataFusion holds -0.0 and 0.0 equal, and NaNs by their bits.
            keys.push(self.unsigned_zero(&mut branch.s, key));
        }
        Ok(keys)
    }

    /// The operand of each function that the IR computes; none for a count of rows. A filter turns the rows that it drops into nulls.
    fn operands(
        &mut self,
        branch: &mut Branch,
        schema: &SchemaRef,
        input: &AggregateExec,
        functions: &[Option<Native>],
        alone: bool,
    ) -> Result<Vec<Option<Value>>> {
        let mut operands = vec![];
        for ((function, filter), native) in input.aggr_expr().iter().zip(input.filter_expr()).zip(functions) {
            let Some(native) = native else {
                operands.push(None);
                continue;
            };
            branch.s.note(format!("AggregateExec: {}", function.name()));
            let exprs = function.expressions();
            let [operand] = exprs.as_slice() else { return declined(format!("the aggregate {}", function.name())) };
            if *native == Native::CountRows && filter.is_none() {
                operands.push(None);
                continue;
            }
            let mut value = self.operand(branch, schema, operand, filter.as_ref())?;
            if matches!(native, Native::BitAnd(_)) {
                value = self.complement(&mut branch.s, value);
            }
            // A count of what cannot be null is a count of rows.
            let counting = *native == Native::Acc(AccOp::Count, SqlType::Int64);
            let counts_rows = counting && alone && filter.is_none() && !branch.s.ty(value).nullable;
            operands.push((!counts_rows).then_some(value));
        }
        Ok(operands)
    }

    /// An operand; null where the filter is not true. What can fail is evaluated only where it is.
    fn operand(
        &mut self,
        branch: &mut Branch,
        schema: &SchemaRef,
        expr: &Arc<dyn PhysicalExpr>,
        filter: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Value> {
        let Some(filter) = filter else { return self.expr(&mut branch.s, &branch.columns, schema, expr) };
        let (condition, mut region) = self.filtered(branch, schema, expr, filter)?;
        if !can_fail(&region) {
            let value = region.result;
            branch.s.adopt(region);
            branch.s.begin_region();
            region = branch.s.end_region(value);
        }
        Ok(self.where_true(branch, condition, region))
    }

    /// An operand of a call; anything where the filter is not true. What can fail is evaluated only where it is, unless DataFusion, which evaluates all
    /// where there are keys, has to do it in any case.
    fn call_operand(
        &mut self,
        branch: &mut Branch,
        schema: &SchemaRef,
        expr: &Arc<dyn PhysicalExpr>,
        filter: Option<&Arc<dyn PhysicalExpr>>,
        grouped: bool,
    ) -> Result<Value> {
        let Some(filter) = filter else { return self.expr(&mut branch.s, &branch.columns, schema, expr) };
        let (condition, region) = self.filtered(branch, schema, expr, filter)?;
        let opaque = region.body.iter().any(|(_, op)| op.has_opaque());
        if can_fail(&region) && !(opaque && grouped) {
            return Ok(self.where_true(branch, condition, region));
        }
        let value = region.result;
        branch.s.adopt(region);
        Ok(value)
    }

    /// A condition, and the region of an expression.
    fn filtered(
        &mut self,
        branch: &mut Branch,
        schema: &SchemaRef,
        expr: &Arc<dyn PhysicalExpr>,
        filter: &Arc<dyn PhysicalExpr>,
    ) -> Result<(Value, Region)> {
        let condition = self.expr(&mut branch.s, &branch.columns, schema, filter)?;
        branch.s.begin_region();
        let value = self.expr(&mut branch.s, &branch.columns, schema, expr)?;
        Ok((condition, branch.s.end_region(value)))
    }

    /// What a region yields where the condition is true, else null.
    fn where_true(&mut self, branch: &mut Branch, condition: Value, then: Region) -> Value {
        let s = &mut branch.s;
        let ty = s.ty(then.result).with_nullable(true);
        let null = self.p.literal(ty, Datum::Null);
        s.begin_region();
        let null = s.op(Op::Literal(null), ty);
        let otherwise = s.end_region(null);
        s.op(Op::If(condition, Box::new(then), Box::new(otherwise)), ty)
    }

    /// All bits of an integer turned around.
    fn complement(&mut self, s: &mut StageBuilder, value: Value) -> Value {
        let ty = s.ty(value);
        let ones = if ty.sql.is_unsigned() { i128::from(u64::MAX >> (64 - 8 * ty.repr.bytes())) } else { -1 };
        let ones = self.p.literal(ty.with_nullable(false), Datum::Int(ones));
        let ones = s.op(Op::Literal(ones), ty.with_nullable(false));
        s.binary(BinaryOp::BitXor, value, ones, ty)
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

/// The plan below exchanges, be they such that keep an order.
fn below_any_exchange(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    let mut plan = below_exchange(plan);
    while plan.is::<RepartitionExec>() || (plan.is::<SortPreservingMergeExec>() && plan.fetch().is_none()) {
        match plan.children().first() {
            Some(child) => plan = below_exchange(child),
            None => return plan,
        }
    }
    plan
}

fn can_fail(region: &Region) -> bool {
    region.body.iter().any(|(_, op)| op.can_fail())
}

/// What an aggregation computes, in words.
fn groups_note(aggregate: &AggregateExec) -> String {
    let functions = aggregate.aggr_expr().iter().map(|function| function.name());
    let functions = functions.collect::<Vec<_>>().join(", ");
    let keys: Vec<String> = aggregate.group_expr().expr().iter().map(|(key, _)| key.to_string()).collect();
    match (keys.is_empty(), functions.is_empty()) {
        (true, _) => format!("AggregateExec: {functions}"),
        (false, true) => format!("AggregateExec: by {}", keys.join(", ")),
        (false, false) => format!("AggregateExec: by {}: {functions}", keys.join(", ")),
    }
}
