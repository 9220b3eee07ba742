//! Lowering: from a subtree of a DataFusion physical plan to a program.
//!
//! One file per operator. What is not understood becomes an opaque expression, or stays a DataFusion node below the program: a leaf.

mod aggregate;
mod codes;
mod exchange;
pub(crate) mod expr;
mod filter;
mod hash_join;
mod join;
mod limit;
mod memory;
mod nested_loop_join;
mod null_aware;
mod order;
mod pipe;
mod projection;
mod scan;
mod sort;
mod sort_merge_join;
mod top_k;
mod types;
mod union;
mod words;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use stagefuse_ir::builder::ProgramBuilder;
use stagefuse_ir::{EntityRef, HostType, Op, Program, Sink, SqlType, StmtKind, Type, UnaryOp, passes, verifier};
use stagefuse_runtime::{HostAggregate, OpaqueExpr};

use crate::config::StagefuseConfig;
use crate::table::TableNames;

pub(crate) use codes::dictionaries;
pub(crate) use memory::Memory;
pub(crate) use pipe::{Branch, Pipe};
pub(crate) use top_k::TopK;
pub(crate) use types::ir_type;
pub(crate) use words::parquet_scan;

/// What a subtree became.
#[derive(Debug)]
pub struct Lowered {
    /// The program, narrowed and verified.
    pub program: Arc<Program>,
    /// The plans that the program reads, by input.
    pub children: Vec<Arc<dyn ExecutionPlan>>,
    /// By input: which columns of its child are the input's.
    pub projections: Vec<Vec<usize>>,
    /// By input: the rows themselves, where the child scans memory.
    pub memory: Vec<Option<Memory>>,
    /// What the program's host types are.
    pub host_types: Vec<DataType>,
    /// The program's opaque expressions.
    pub opaques: Vec<Arc<dyn OpaqueExpr>>,
    /// The program's aggregate functions.
    pub aggregates: Vec<Arc<dyn HostAggregate>>,
    /// By parameter of the program: the expression that yields its value once a run starts.
    pub params: Vec<Arc<dyn PhysicalExpr>>,
    /// The dynamic filters of scans that the program's sorts feed.
    pub(crate) top_ks: Vec<TopK>,
    /// What tables in memory are called, for when it is lowered again over other children.
    pub(crate) names: Arc<TableNames>,
}

/// Why a subtree was not lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Declined {
    /// The root is something that the IR has no words for, or promises what a program would not keep.
    #[error("{0}")]
    Unsupported(String),
    /// Nothing but a scan: DataFusion does as well.
    #[error("nothing to gain")]
    NothingToGain,
    /// The program does not verify.
    #[error("a bug in lowering: {0}")]
    Bug(String),
}

pub(crate) type Result<T> = std::result::Result<T, Declined>;

/// Declines in words.
pub(crate) fn declined<T>(why: impl Into<String>) -> Result<T> {
    Err(Declined::Unsupported(why.into()))
}

/// Lowers the maximal subtree that is rooted at `plan`.
///
/// # Errors
/// Where the root itself cannot be lowered, or lowering it gains nothing. The caller then looks at its children.
pub fn lower(plan: &Arc<dyn ExecutionPlan>, config: &StagefuseConfig, names: &Arc<TableNames>) -> Result<Lowered> {
    let mut lowering = Lowering { reorders: config.reorder_joins.get(), names: Arc::clone(names), ..Lowering::default() };
    let pipe = lowering.operator(plan)?.ok_or(Declined::NothingToGain)?;
    let output = lowering.emit(plan, pipe)?;
    if !works(lowering.p.program()) {
        return Err(Declined::NothingToGain);
    }
    let mut program = lowering.p.finish(output);
    if !program.opaques.is_empty() {
        passes::eliminate_dead(&mut program);
        passes::lift_opaque(&mut program);
    }
    words::choose(&mut program, &lowering.children);
    passes::narrow(&mut program);
    passes::read_keys(&mut program);
    passes::eliminate_dead(&mut program);
    codes::carry(&mut program, &mut lowering.memory);
    if let Err(errors) = verifier::verify(&program) {
        tracing::error!(?errors, "lowering made a program that does not verify\n{program}");
        return Err(Declined::Bug(format!("{errors:?}")));
    }
    Ok(Lowered {
        program: Arc::new(program),
        children: lowering.children,
        projections: lowering.projections,
        memory: lowering.memory,
        host_types: lowering.host_types,
        opaques: lowering.opaques,
        aggregates: lowering.aggregates,
        params: lowering.params,
        top_ks: lowering.top_ks,
        names: lowering.names,
    })
}

/// Whether a program does more than hand rows on, with what DataFusion computes of them.
fn works(program: &Program) -> bool {
    let idle = |kind: &StmtKind| match kind {
        StmtKind::Limit(_) | StmtKind::Let(_, Op::Opaque(..)) => true,
        StmtKind::Let(_, Op::Literal(_) | Op::Param(_)) => !program.opaques.is_empty(),
        _ => false,
    };
    program.stages.values().any(|stage| !stage.emits() || stage.body.iter().any(|stmt| !idle(&stmt.kind)))
}

/// The state of lowering.
#[derive(Default)]
pub(crate) struct Lowering {
    pub(crate) p: ProgramBuilder,
    pub(crate) children: Vec<Arc<dyn ExecutionPlan>>,
    pub(crate) projections: Vec<Vec<usize>>,
    pub(crate) memory: Vec<Option<Memory>>,
    pub(crate) host_types: Vec<DataType>,
    pub(crate) opaques: Vec<Arc<dyn OpaqueExpr>>,
    pub(crate) aggregates: Vec<Arc<dyn HostAggregate>>,
    pub(crate) params: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) top_ks: Vec<TopK>,
    /// What rows of the plan that is lowered next need not have: where they have no match in a table, nobody misses them.
    pub(crate) key_filters: Vec<KeyFilter>,
    /// Whether the order of rows of the plan that is lowered next does not matter.
    pub(crate) unordered: Option<sort::Unordered>,
    /// How many rows of the plan that is lowered next matter, whichever: a limit further up takes no more. Then the plan need not count itself.
    pub(crate) wanted: Option<usize>,
    /// Whether joins may be put in another order.
    pub(crate) reorders: bool,
    /// What tables in memory are called.
    pub(crate) names: Arc<TableNames>,
}

/// A column of a plan whose values have to be in a table that is there, or their rows are dropped later anyway.
#[derive(Clone)]
pub(crate) struct KeyFilter {
    pub(crate) column: usize,
    pub(crate) table: join::Table,
}

/// How far lowering has come.
struct Mark {
    program: Program,
    children: usize,
    opaques: usize,
    aggregates: usize,
    params: usize,
}

impl Lowering {
    /// Lowers a plan; what has no lowering becomes a leaf.
    pub(crate) fn node(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Pipe> {
        match self.attempt(plan.name(), |lowering| lowering.operator(plan))? {
            Some(pipe) => Ok(pipe),
            None => self.scan(plan),
        }
    }

    /// Tries to lower something. `None`: it was declined, and nothing of it has been left.
    fn attempt(&mut self, what: &str, lower: impl FnOnce(&mut Self) -> Result<Option<Pipe>>) -> Result<Option<Pipe>> {
        let mark = self.mark();
        match lower(self) {
            Err(Declined::Bug(bug)) => Err(Declined::Bug(bug)),
            Err(reason) => {
                tracing::debug!(what, %reason, "not lowered");
                self.take_back(mark);
                Ok(None)
            }
            lowered => lowered,
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            program: self.p.program().clone(),
            children: self.children.len(),
            opaques: self.opaques.len(),
            aggregates: self.aggregates.len(),
            params: self.params.len(),
        }
    }

    /// Takes back what was lowered since.
    fn take_back(&mut self, mark: Mark) {
        *self.p.program_mut() = mark.program;
        self.children.truncate(mark.children);
        self.projections.truncate(mark.children);
        self.memory.truncate(mark.children);
        self.host_types.truncate(self.p.program().host_types.len());
        self.opaques.truncate(mark.opaques);
        self.aggregates.truncate(mark.aggregates);
        self.params.truncate(mark.params);
        let sorts = self.p.program().sorts.len();
        self.top_ks.retain(|top_k| top_k.sort.index() < sorts);
    }

    /// Joins in an order of our own, where that is wanted and possible, else as the plan has them.
    fn reordered(&mut self, join: &HashJoinExec, wanted: Option<usize>) -> Result<Pipe> {
        if !self.reorders {
            return self.hash_join(join, wanted);
        }
        match self.attempt("joins in another order", |lowering| lowering.ordered_joins(join))? {
            Some(pipe) => Ok(pipe),
            None => self.hash_join(join, wanted),
        }
    }

    /// Lowers an operator; none where there is nothing to lower but a leaf.
    fn operator(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Pipe>> {
        // They are handed down through operators that know how, and no further.
        let key_filters = std::mem::take(&mut self.key_filters);
        let unordered = self.unordered.take();
        let wanted = self.wanted.take();
        let pipe = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            self.key_filters = filter_keys(filter, key_filters);
            self.filter(filter, wanted)?
        } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            self.key_filters = projection_keys(projection, key_filters);
            (self.unordered, self.wanted) = (unordered, wanted);
            self.projection(projection)?
        } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            self.aggregate(aggregate, key_filters, unordered)?
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            self.reordered(join, wanted)?
        } else if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
            self.sort_merge_join(join)?
        } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            self.nested_loop_join(join)?
        } else if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
            self.cross_join(join)?
        } else if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
            self.global_limit(limit)?
        } else if let Some(limit) = plan.downcast_ref::<LocalLimitExec>() {
            self.local_limit(limit, wanted)?
        } else if let Some(coalesce) = plan.downcast_ref::<CoalescePartitionsExec>().filter(|_| plan.fetch().is_some()) {
            self.coalesce(coalesce)?
        } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
            self.sort(sort, unordered)?
        } else if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
            self.merged_sort(merge)?
        } else if let Some(union) = plan.downcast_ref::<UnionExec>() {
            self.union(union, union.inputs(), wanted)?
        } else if let Some(interleave) = plan.downcast_ref::<InterleaveExec>() {
            self.union(interleave, interleave.inputs(), wanted)?
        } else {
            return Ok(None);
        };
        Ok(Some(pipe))
    }

    /// The IR's type, or one that only the host knows.
    pub(crate) fn any_type(&mut self, data_type: &DataType, nullable: bool) -> Type {
        if let Some(ty) = types::ir_type(data_type, nullable) {
            return ty;
        }
        let host = match self.host_types.iter().position(|known| known == data_type) {
            Some(number) => HostType::new(number),
            None => {
                self.host_types.push(data_type.clone());
                self.p.host_type(data_type.to_string())
            }
        };
        Type::new(SqlType::Host(host), nullable)
    }

    /// Ends the program: the root's columns leave it.
    fn emit(&mut self, plan: &Arc<dyn ExecutionPlan>, pipe: Pipe) -> Result<Vec<Type>> {
        let schema: Arc<Schema> = plan.schema();
        let output: Vec<Type> = schema.fields().iter().map(|field| self.any_type(field.data_type(), field.is_nullable())).collect();
        for mut branch in pipe.branches {
            let mut columns = vec![];
            for ((field, ty), column) in schema.fields().iter().zip(&output).zip(&branch.columns) {
                let Some(value) = *column else { return declined(format!("column {} of type {}", field.name(), field.data_type())) };
                let have = branch.s.ty(value);
                if have.sql != ty.sql {
                    return Err(Declined::Bug(format!("column {} is {have}, not {ty}", field.name())));
                }
                columns.push(if have.nullable && !ty.nullable {
                    // DataFusion promises that no null comes.
                    branch.s.unary(UnaryOp::AssumeValid, value, ty.with_repr(have.repr))
                } else {
                    value
                });
            }
            self.p.stage(branch.sink(Sink::Emit { columns }));
        }
        Ok(output)
    }
}

/// What key filters on a filter's columns mean for its input. A filter that ends after some rows needs all of them.
fn filter_keys(filter: &FilterExec, mut filters: Vec<KeyFilter>) -> Vec<KeyFilter> {
    if filter.fetch().is_some() {
        return vec![];
    }
    if let Some(projection) = filter.projection() {
        filters.iter_mut().for_each(|filter| filter.column = projection[filter.column]);
    }
    filters
}

/// What key filters on a projection's columns mean for its input.
fn projection_keys(projection: &ProjectionExec, filters: Vec<KeyFilter>) -> Vec<KeyFilter> {
    let below = |filter: KeyFilter| {
        let column = projection.expr().get(filter.column)?.expr.downcast_ref::<Column>()?.index();
        Some(KeyFilter { column, ..filter })
    };
    filters.into_iter().filter_map(below).collect()
}
