//! Builds programs: what a front end uses.
//!
//! A builder numbers things and keeps their order; it checks nothing. Run [`crate::verifier::verify`] on what it yields.

use std::sync::Arc;

use cranelift_entity::PrimaryMap;

use crate::entities::{Aggregate, Groups, HostType, Input, Join, Limit, Lit, Opaque, Param, Sort, Stage, Value};
use crate::op::{BinaryOp, Op, Region, UnaryOp};
use crate::program::{
    AggregateDecl, Datum, Expand, InputDecl, Literal, OpaqueDecl, ParamDecl, Probe, Program, Sink, Source, StageDecl, Stmt, StmtKind,
};
use crate::states::{GroupsDecl, JoinDecl, LimitDecl, SortDecl};
use crate::types::{Stored, Type};

/// Builds a [`Program`].
#[derive(Debug, Default)]
pub struct ProgramBuilder {
    program: Program,
}

impl ProgramBuilder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an input.
    pub fn input(&mut self, name: impl Into<String>, columns: Vec<Type>) -> Input {
        let stored = vec![Stored::Arrow; columns.len()];
        self.stored_input(name, columns, stored, false)
    }

    /// Declares an input whose columns lie in layouts of their own; `pinned`: whether the host keeps its batches until the run ends.
    pub fn stored_input(&mut self, name: impl Into<String>, columns: Vec<Type>, stored: Vec<Stored>, pinned: bool) -> Input {
        self.program.inputs.push(InputDecl { name: name.into(), columns, stored, pinned, ..InputDecl::default() })
    }

    /// Declares a type that only the host knows.
    pub fn host_type(&mut self, name: impl Into<String>) -> HostType {
        self.program.host_types.push(name.into())
    }

    /// A literal; equal ones are declared once.
    pub fn literal(&mut self, ty: Type, value: Datum) -> Lit {
        let literal = Literal { ty, value };
        match self.program.literals.iter().find(|(_, known)| **known == literal) {
            Some((lit, _)) => lit,
            None => self.program.literals.push(literal),
        }
    }

    /// Literals that are numbered one after another, as an expansion takes them.
    pub fn literals_in_a_row(&mut self, ty: Type, values: impl IntoIterator<Item = Datum>) -> Vec<Lit> {
        values.into_iter().map(|value| self.program.literals.push(Literal { ty, value })).collect()
    }

    /// Declares a parameter.
    pub fn param(&mut self, decl: ParamDecl) -> Param {
        self.program.params.push(decl)
    }

    /// Declares an opaque expression.
    pub fn opaque(&mut self, decl: OpaqueDecl) -> Opaque {
        self.program.opaques.push(decl)
    }

    /// Declares an aggregate function of the host.
    pub fn aggregate(&mut self, decl: AggregateDecl) -> Aggregate {
        self.program.aggregates.push(decl)
    }

    /// Declares a join table.
    pub fn join(&mut self, decl: JoinDecl) -> Join {
        self.program.joins.push(decl)
    }

    /// Declares a group table.
    pub fn groups(&mut self, decl: GroupsDecl) -> Groups {
        self.program.groups.push(decl)
    }

    /// Declares a sort.
    pub fn sort(&mut self, decl: SortDecl) -> Sort {
        self.program.sorts.push(decl)
    }

    /// Declares a row counter.
    pub fn limit(&mut self, decl: LimitDecl) -> Limit {
        self.program.limits.push(decl)
    }

    /// Adds a finished stage. Stages are added in running order.
    pub fn stage(&mut self, stage: StageDecl) -> Stage {
        self.program.stages.push(stage)
    }

    /// What has been declared so far.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What has been declared so far, to change: a join's payload becomes known only when its probe side is lowered.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Declares the types of the emitted columns and yields the program.
    pub fn finish(mut self, output: Vec<Type>) -> Program {
        self.program.output = output;
        self.program
    }
}

/// A place in a stage that is being built.
#[derive(Copy, Clone, Debug)]
pub struct Mark {
    regions: usize,
    statements: usize,
}

/// Builds a [`StageDecl`].
#[derive(Debug, Clone)]
pub struct StageBuilder {
    name: String,
    source: Source,
    params: Vec<Value>,
    body: Vec<Stmt>,
    values: PrimaryMap<Value, Type>,
    /// Regions that are open, outermost first; operations go into the last.
    regions: Vec<Vec<(Value, Op)>>,
    note: Option<Arc<str>>,
}

impl StageBuilder {
    /// A stage over a source with columns of these types.
    pub fn new(name: impl Into<String>, source: Source, params: &[Type]) -> Self {
        let mut values = PrimaryMap::new();
        let params = params.iter().map(|ty| values.push(*ty)).collect();
        StageBuilder { name: name.into(), source, params, body: vec![], values, regions: vec![], note: None }
    }

    /// The values of the source's columns.
    pub fn params(&self) -> &[Value] {
        &self.params
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> Type {
        self.values[value]
    }

    /// Where rows come from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether nothing so far drops, counts or multiplies rows.
    pub fn only_computes(&self) -> bool {
        self.body.iter().all(|stmt| matches!(stmt.kind, StmtKind::Let(..)))
    }

    /// Sets the note that the next statements and the sink carry.
    pub fn note(&mut self, note: impl Into<Arc<str>>) {
        self.note = Some(note.into());
    }

    /// Changes the stage's name.
    pub fn rename(&mut self, name: impl Into<String>) {
        self.name = name.into();
    }

    /// The stage's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value that a probe defines.
    pub fn value(&mut self, ty: Type) -> Value {
        self.values.push(ty)
    }

    /// Appends an operation, in the innermost open region if there is one.
    pub fn op(&mut self, op: Op, ty: Type) -> Value {
        let value = self.values.push(ty);
        match self.regions.last_mut() {
            Some(region) => region.push((value, op)),
            None => self.push(StmtKind::Let(value, op)),
        }
        value
    }

    /// Appends an operation of one operand.
    pub fn unary(&mut self, op: UnaryOp, arg: Value, ty: Type) -> Value {
        self.op(Op::Unary(op, arg), ty)
    }

    /// Appends an operation of two operands.
    pub fn binary(&mut self, op: BinaryOp, a: Value, b: Value, ty: Type) -> Value {
        self.op(Op::Binary(op, a, b), ty)
    }

    /// Opens a region; operations go into it until [`Self::end_region`].
    pub fn begin_region(&mut self) {
        self.regions.push(vec![]);
    }

    /// Closes the innermost region.
    ///
    /// # Panics
    /// Where none is open.
    pub fn end_region(&mut self, result: Value) -> Region {
        let body = self.regions.pop().expect("a region is open");
        Region { body, result }
    }

    /// Closes the innermost region, which has turned out not to be needed, and drops what it holds.
    pub fn drop_region(&mut self) {
        self.regions.pop();
    }

    /// Appends what a closed region holds, where that turns out not to need a region.
    pub fn adopt(&mut self, region: Region) {
        for (value, op) in region.body {
            match self.regions.last_mut() {
                Some(outer) => outer.push((value, op)),
                None => self.push(StmtKind::Let(value, op)),
            }
        }
    }

    /// How far the stage has come.
    pub fn mark(&self) -> Mark {
        Mark { regions: self.regions.len(), statements: self.regions.last().map_or(self.body.len(), Vec::len) }
    }

    /// Whether operations that were appended since, where the same region is open, have opaque expressions within regions.
    pub fn has_nested_opaque(&self, mark: Mark) -> bool {
        let nested = |op: &Op| matches!(op, Op::If(..)) && op.has_opaque();
        match self.regions.last() {
            Some(region) => region[mark.statements..].iter().any(|(_, op)| nested(op)),
            None => self.body[mark.statements..].iter().any(|stmt| matches!(&stmt.kind, StmtKind::Let(_, op) if nested(op))),
        }
    }

    /// Takes back what was appended since.
    pub fn take_back(&mut self, mark: Mark) {
        self.regions.truncate(mark.regions);
        match self.regions.last_mut() {
            Some(region) => region.truncate(mark.statements),
            None => self.body.truncate(mark.statements),
        }
    }

    /// Appends a filter.
    pub fn filter(&mut self, condition: Value) {
        self.push(StmtKind::Filter(condition));
    }

    /// Appends a probe.
    pub fn probe(&mut self, probe: Probe) {
        self.push(StmtKind::Probe(probe));
    }

    /// Appends a limit.
    pub fn limit(&mut self, limit: Limit) {
        self.push(StmtKind::Limit(limit));
    }

    /// Appends an expansion; yields the value that it defines.
    pub fn expand(&mut self, ty: Type, literals: Vec<Lit>) -> Value {
        let value = self.values.push(ty);
        self.push(StmtKind::Expand(Expand { value, literals }));
        value
    }

    /// Ends the stage.
    pub fn sink(self, sink: Sink) -> StageDecl {
        debug_assert!(self.regions.is_empty(), "a region is still open");
        StageDecl {
            name: self.name,
            source: self.source,
            params: self.params,
            body: self.body,
            sink,
            sink_note: self.note,
            values: self.values,
        }
    }

    fn push(&mut self, kind: StmtKind) {
        self.body.push(Stmt { kind, note: self.note.clone() });
    }
}
