//! Lowering: from a subtree of a DataFusion physical plan to a program.
//!
//! One file per operator. What is not understood becomes an opaque expression, or stays a DataFusion node below the program: a leaf.

mod aggregate;
mod exchange;
mod expr;
mod filter;
mod hash_join;
mod projection;
mod scan;
mod types;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
use stagefuse_ir::{Program, Sink, Source, Type, Value, passes, verifier};
use stagefuse_runtime::OpaqueExpr;

/// What a subtree became.
#[derive(Debug)]
pub struct Lowered {
    /// The program, narrowed and verified.
    pub program: Arc<Program>,
    /// The plans that the program reads, by input.
    pub children: Vec<Arc<dyn ExecutionPlan>>,
    /// By input: which columns of its child are the input's.
    pub projections: Vec<Vec<usize>>,
    /// By input: the batches of each partition, projected, where the child scans memory.
    pub memory: Vec<Option<Vec<Vec<RecordBatch>>>>,
    /// The program's opaque expressions.
    pub opaques: Vec<Arc<dyn OpaqueExpr>>,
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
pub fn lower(plan: &Arc<dyn ExecutionPlan>) -> Result<Lowered> {
    if plan.output_ordering().is_some() {
        return declined("its output is ordered");
    }
    let mut lowering = Lowering::default();
    let pipe = lowering.operator(plan)?.ok_or(Declined::NothingToGain)?;
    let output = lowering.emit(plan, pipe)?;
    let mut program = lowering.p.finish(output);
    passes::narrow(&mut program);
    passes::eliminate_dead(&mut program);
    if let Err(errors) = verifier::verify(&program) {
        tracing::error!(?errors, "lowering made a program that does not verify\n{program}");
        return Err(Declined::Bug(format!("{errors:?}")));
    }
    Ok(Lowered {
        program: Arc::new(program),
        children: lowering.children,
        projections: lowering.projections,
        memory: lowering.memory,
        opaques: lowering.opaques,
    })
}

/// The state of lowering.
#[derive(Default)]
pub(crate) struct Lowering {
    pub(crate) p: ProgramBuilder,
    pub(crate) children: Vec<Arc<dyn ExecutionPlan>>,
    pub(crate) projections: Vec<Vec<usize>>,
    pub(crate) memory: Vec<Option<Vec<Vec<RecordBatch>>>>,
    pub(crate) opaques: Vec<Arc<dyn OpaqueExpr>>,
}

/// A stage being filled, and where the columns of the plan node are in it.
pub(crate) struct Pipe {
    pub(crate) s: StageBuilder,
    /// By column of the plan node; none where the IR has no such type.
    pub(crate) columns: Vec<Option<Value>>,
}

impl Lowering {
    /// Lowers a plan; what has no lowering becomes a leaf.
    pub(crate) fn node(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Pipe> {
        let mark = (self.p.program().clone(), self.children.len(), self.opaques.len());
        match self.operator(plan) {
            Ok(Some(pipe)) => Ok(pipe),
            Ok(None) => self.scan(plan),
            Err(Declined::Bug(bug)) => Err(Declined::Bug(bug)),
            Err(reason) => {
                tracing::debug!(plan = plan.name(), %reason, "stays a DataFusion operator");
                // What was lowered on the way is taken back.
                *self.p.program_mut() = mark.0;
                self.children.truncate(mark.1);
                self.projections.truncate(mark.1);
                self.memory.truncate(mark.1);
                self.opaques.truncate(mark.2);
                self.scan(plan)
            }
        }
    }

    /// Lowers an operator; none where there is nothing to lower but a leaf.
    fn operator(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Pipe>> {
        let pipe = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            self.filter(filter)?
        } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            self.projection(projection)?
        } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            self.aggregate(aggregate)?
        } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            self.hash_join(join)?
        } else {
            return Ok(None);
        };
        Ok(Some(pipe))
    }

    /// Ends the program: the root's columns leave it.
    fn emit(&mut self, plan: &Arc<dyn ExecutionPlan>, mut pipe: Pipe) -> Result<Vec<Type>> {
        let schema: Arc<Schema> = plan.schema();
        let mut columns = vec![];
        let mut output = vec![];
        for (field, column) in schema.fields().iter().zip(&pipe.columns) {
            let (Some(ty), Some(value)) = (types::ir_type(field.data_type(), field.is_nullable()), *column) else {
                return declined(format!("column {} of type {}", field.name(), field.data_type()));
            };
            let have = pipe.s.ty(value);
            if have.sql != ty.sql {
                return Err(Declined::Bug(format!("column {} is {have}, not {ty}", field.name())));
            }
            columns.push(if have.nullable && !ty.nullable {
                // DataFusion promises that no null comes.
                pipe.s.unary(stagefuse_ir::UnaryOp::AssumeValid, value, ty.with_repr(have.repr))
            } else {
                value
            });
            output.push(ty);
        }
        self.p.stage(pipe.s.sink(Sink::Emit { columns }));
        // Where an exchange lies below, rows may leave in any partition.
        let stages = self.p.program().stages.len();
        let absorbed = stages > 1;
        for stage in self.p.program_mut().stages.values_mut() {
            if let Source::Input { partitioned, .. } = &mut stage.source
                && (absorbed || !matches!(stage.sink, Sink::Emit { .. }))
            {
                *partitioned = false;
            }
        }
        Ok(output)
    }
}
