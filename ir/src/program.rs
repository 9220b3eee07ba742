//! Programs: stages, and the states that they hand to one another.

use std::sync::Arc;

use cranelift_entity::PrimaryMap;

use crate::entities::{Aggregate, Groups, HostType, Input, Join, Limit, Lit, Opaque, Param, Sort, Stage, Value};
use crate::op::{Op, Region};
use crate::states::{GroupsDecl, JoinDecl, LimitDecl, SortDecl};
use crate::types::{Stored, Type};

/// A directed acyclic graph of stages with the states they share: what one compiled subtree of a plan becomes.
///
/// Stages stand in an order in which they can run: a stage that reads a state comes after every stage that writes it.
/// The stages that emit come last; together they yield the program's output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Types that only the host knows, with their names for dumps.
    pub host_types: PrimaryMap<HostType, String>,
    /// What the program reads.
    pub inputs: PrimaryMap<Input, InputDecl>,
    /// Literals.
    pub literals: PrimaryMap<Lit, Literal>,
    /// Values that the host binds when a run starts.
    pub params: PrimaryMap<Param, ParamDecl>,
    /// Expressions that the host evaluates.
    pub opaques: PrimaryMap<Opaque, OpaqueDecl>,
    /// Aggregate functions that the host computes.
    pub aggregates: PrimaryMap<Aggregate, AggregateDecl>,
    /// Join tables.
    pub joins: PrimaryMap<Join, JoinDecl>,
    /// Group tables.
    pub groups: PrimaryMap<Groups, GroupsDecl>,
    /// Sorts.
    pub sorts: PrimaryMap<Sort, SortDecl>,
    /// Row counters.
    pub limits: PrimaryMap<Limit, LimitDecl>,
    /// Types of the emitted columns.
    pub output: Vec<Type>,
    /// The stages, in running order.
    pub stages: PrimaryMap<Stage, StageDecl>,
}

/// An input: a stream of batches in partitions, from the host or from another stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputDecl {
    /// Shown in dumps.
    pub name: String,
    /// The columns that some stage uses, in the order of the batches that are handed over; then those that are computed.
    pub columns: Vec<Type>,
    /// How each of them lies there.
    pub stored: Vec<Stored>,
    /// Whether the host keeps all batches until the run ends, so that text of them can be referred to.
    pub pinned: bool,
    /// The last columns: what the host computes of the others, batch by batch, ahead of the stage.
    pub computed: Vec<Computed>,
    /// Whether the rows come from a stage, which hands them over ([`Sink::Hand`]), and not from the host.
    pub handed: bool,
}

impl InputDecl {
    /// Number of columns that are not computed.
    pub fn given(&self) -> usize {
        self.columns.len().saturating_sub(self.computed.len())
    }

    /// Whether text of a column can be referred to until the run ends.
    pub fn is_pinned(&self, column: usize) -> bool {
        self.pinned && column < self.given()
    }
}

/// A column that the host computes ahead of a stage: an opaque expression of other columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// The expression.
    pub opaque: Opaque,
    /// The columns that are its operands; each stands before this one.
    pub args: Vec<u32>,
}

/// A literal with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// Its type; `nullable` exactly for [`Datum::Null`].
    pub ty: Type,
    /// Its value.
    pub value: Datum,
}

/// The value of a literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// Null, of the literal's type.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer, the unscaled value of a decimal, or what a date or a time counts.
    Int(i128),
    /// A float, as the bits of an `f64` (an `f32` is held widened).
    Float(u64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Datum {
    /// The bytes of a text, or bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Datum::Str(text) => Some(text.as_bytes()),
            Datum::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A value that the host knows only when a run starts, such as that of a scalar subquery.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamDecl {
    /// Shown in dumps.
    pub name: String,
    /// Its type. The host's value is held in the default representation.
    pub ty: Type,
}

/// An expression that the host evaluates, once per vector.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueDecl {
    /// Shown in dumps and in the fallback reason.
    pub name: String,
    /// Types of the operands.
    pub args: Vec<Type>,
    /// Type of the result.
    pub result: Type,
}

/// An aggregate function that the host computes, for all groups of a table at once. See [`crate::states::CallDecl`].
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateDecl {
    /// Shown in dumps.
    pub name: String,
}

/// A stage: a source, row operations, a sink. It becomes one native function.
#[derive(Clone, Debug, PartialEq)]
pub struct StageDecl {
    /// Shown in dumps and metrics, such as `scan lineitem`.
    pub name: String,
    /// Where rows come from.
    pub source: Source,
    /// The values that the source defines, one for each of its columns.
    pub params: Vec<Value>,
    /// Row operations in order.
    pub body: Vec<Stmt>,
    /// Where rows go to.
    pub sink: Sink,
    /// What operator of the plan the sink comes from; only for dumps.
    pub sink_note: Option<Arc<str>>,
    /// Types of all values of the stage.
    pub values: PrimaryMap<Value, Type>,
}

/// Where a stage's rows come from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Batches of an input; one value for each of its columns.
    Input {
        /// The input.
        input: Input,
        /// Whether rows of input partition *p* must leave in output partition *p* (no exchange lies between). Only matters in a stage that emits.
        partitioned: bool,
    },
    /// The groups of a group table; values are its keys, then its accumulators.
    Groups(Groups),
    /// Rows of a join table, after every probe of it; values are its keys, then its payload, then (for [`JoinRows::All`]) whether the row was matched.
    Join(Join, JoinRows),
    /// The rows of a sort, in order; values are its keys, then its payload.
    Sort(Sort),
}

/// Which rows of a tracked join table a stage reads.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum JoinRows {
    /// Those that some probe matched.
    Matched,
    /// Those that none matched.
    Unmatched,
    /// All, with a boolean that tells.
    All,
}

/// A row operation and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// What is done.
    pub kind: StmtKind,
    /// The plan's operator or expression; only for dumps.
    pub note: Option<Arc<str>>,
}

/// Row operations.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// Defines a value.
    Let(Value, Op),
    /// Keeps the rows for which the boolean is true (not false, not null).
    Filter(Value),
    /// Looks rows up in a join table.
    Probe(Probe),
    /// Counts rows and ends the stage when enough have come.
    Limit(Limit),
    /// Runs what follows several times for each row, each time with another value.
    Expand(Expand),
}

/// One row becomes several, told apart by a value (the grouping sets of an aggregation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// Defined here: an integer.
    pub value: Value,
    /// What it takes in turn. Literals that are numbered one after another.
    pub literals: Vec<Lit>,
}

/// A look-up in a join table.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The table.
    pub join: Join,
    /// What becomes of the row.
    pub kind: ProbeKind,
    /// Key values, in the representation of the table's keys (nullability may differ).
    pub keys: Vec<Value>,
    /// Values that the probe defines: the table's keys, then its payload, as far as used (`None` where not); for
    /// [`ProbeKind::Mark`] one more, the boolean. They are visible in `residual`, and after the probe
    /// for [`ProbeKind::Inner`] and [`ProbeKind::Outer`] (there nullable); for the other kinds only in `residual`.
    pub columns: Vec<Option<Value>>,
    /// The boolean that [`ProbeKind::Mark`] defines.
    pub mark: Option<Value>,
    /// A condition on a pair of rows: only pairs for which it is true match.
    pub residual: Option<Region>,
    /// Whether matched rows of the table are marked (the table is tracked).
    pub marks_build: bool,
}

/// What a probe does with a row.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// One row for each match.
    Inner,
    /// One row for each match; where there is none, one row with nulls for the table's columns.
    Outer,
    /// The row itself, once, where there is a match.
    Semi,
    /// The row itself, where there is none.
    Anti,
    /// The row itself, with a boolean: whether there is a match.
    Mark,
}

impl ProbeKind {
    /// Every kind.
    pub const ALL: &'static [ProbeKind] = &[ProbeKind::Inner, ProbeKind::Outer, ProbeKind::Semi, ProbeKind::Anti, ProbeKind::Mark];

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            ProbeKind::Inner => "inner",
            ProbeKind::Outer => "outer",
            ProbeKind::Semi => "semi",
            ProbeKind::Anti => "anti",
            ProbeKind::Mark => "mark",
        }
    }
}

/// Where a stage's rows go to.
#[derive(Clone, Debug, PartialEq)]
pub enum Sink {
    /// Rows of a join table. Rows with a null key that can match nothing are dropped unless the table is tracked.
    Build {
        /// The table.
        join: Join,
        /// Its keys.
        keys: Vec<Value>,
        /// Its payload.
        payload: Vec<Value>,
    },
    /// Marks the rows of a tracked join table that match, and yields no rows of its own (the probe side of a semi or anti join that keeps the build side).
    Mark {
        /// The look-up; its kind is [`ProbeKind::Semi`] and `marks_build` is set.
        probe: Probe,
    },
    /// Accumulates rows into groups.
    Group {
        /// The table.
        groups: Groups,
        /// Its keys.
        keys: Vec<Value>,
        /// The argument of each accumulator, where it takes one.
        args: Vec<Option<Value>>,
        /// The table's operands.
        operands: Vec<Value>,
    },
    /// Rows to be put in order.
    Sort {
        /// The sort.
        sort: Sort,
        /// Its keys.
        keys: Vec<Value>,
        /// Its payload.
        payload: Vec<Value>,
    },
    /// Rows of an input that another stage reads, which comes later: batch by batch it runs over them as soon as they are there.
    Hand {
        /// The input.
        input: Input,
        /// One value for each of its columns that is not computed.
        columns: Vec<Value>,
    },
    /// Rows of the program's output.
    Emit {
        /// One value for each column of the output.
        columns: Vec<Value>,
    },
}

impl Sink {
    /// Calls `f` with every value that the sink takes, those of a marking sink's residual condition included.
    pub fn for_each_operand(&self, f: &mut impl FnMut(Value)) {
        match self {
            Sink::Build { keys, payload, .. } | Sink::Sort { keys, payload, .. } => keys.iter().chain(payload).for_each(|value| f(*value)),
            Sink::Mark { probe } => probe.for_each_operand(f),
            Sink::Group { keys, args, operands, .. } => {
                keys.iter().chain(args.iter().flatten()).chain(operands).for_each(|value| f(*value))
            }
            Sink::Hand { columns, .. } | Sink::Emit { columns } => columns.iter().for_each(|value| f(*value)),
        }
    }
}

impl Probe {
    /// Calls `f` with every value that the probe takes, those that its residual condition defines included.
    pub fn for_each_operand(&self, f: &mut impl FnMut(Value)) {
        self.keys.iter().for_each(|key| f(*key));
        if let Some(region) = &self.residual {
            region.body.iter().for_each(|(_, op)| op.for_each_operand(f));
            f(region.result);
        }
    }

    /// The values that the probe defines.
    pub fn defined(&self) -> impl Iterator<Item = Value> {
        self.columns.iter().flatten().copied().chain(self.mark)
    }
}

impl StmtKind {
    /// Calls `f` with every value that the statement takes, those that its regions define included.
    pub fn for_each_operand(&self, f: &mut impl FnMut(Value)) {
        match self {
            StmtKind::Let(_, op) => op.for_each_operand(f),
            StmtKind::Filter(condition) => f(*condition),
            StmtKind::Probe(probe) => probe.for_each_operand(f),
            StmtKind::Limit(_) | StmtKind::Expand(_) => {}
        }
    }

    /// Calls `f` with every value that is visible after the statement and was not before it.
    pub fn for_each_defined(&self, f: &mut impl FnMut(Value)) {
        match self {
            StmtKind::Let(value, _) => f(*value),
            StmtKind::Probe(probe) => probe.defined().for_each(f),
            StmtKind::Expand(expand) => f(expand.value),
            StmtKind::Filter(_) | StmtKind::Limit(_) => {}
        }
    }
}

impl Program {
    /// Types of the columns that a sink writes to output buffers, as far as the sink does; values lie there in the default representation.
    pub fn out_columns(&self, sink: &Sink) -> &[Type] {
        match sink {
            Sink::Emit { .. } => &self.output,
            Sink::Hand { input, .. } => {
                let decl = &self.inputs[*input];
                &decl.columns[..decl.given()]
            }
            Sink::Build { .. } | Sink::Mark { .. } | Sink::Group { .. } | Sink::Sort { .. } => &[],
        }
    }

    /// The columns of inputs that lie as numbers of dictionary entries, in order: the dictionaries that a host brings to a run.
    pub fn dictionaries(&self) -> impl Iterator<Item = (Input, usize)> + '_ {
        let columns = self
            .inputs
            .iter()
            .flat_map(|(input, decl)| decl.stored.iter().enumerate().map(move |(column, stored)| (input, column, stored)));
        columns.filter(|(_, _, stored)| stored.numbers().is_some()).map(|(input, column, _)| (input, column))
    }

    /// Which of the dictionaries is that of a column.
    pub fn dictionary(&self, input: Input, column: u32) -> Option<usize> {
        self.dictionaries().position(|dictionary| dictionary == (input, column as usize))
    }

    /// Which element of the literal table says where the dictionary of a column lies: behind the literals, and two for each parameter.
    pub fn entries_at(&self, input: Input, column: u32) -> Option<usize> {
        Some(self.literals.len() + 2 * self.params.len() + self.dictionary(input, column)?)
    }

    /// The stage that reads an input.
    pub fn reader(&self, input: Input) -> Option<Stage> {
        let reads = |decl: &StageDecl| matches!(decl.source, Source::Input { input: read, .. } if read == input);
        self.stages.iter().find(|(_, decl)| reads(decl)).map(|(stage, _)| stage)
    }

    /// The stage that the rows of a stage end up in: itself, or the last of those that hand them on.
    pub fn last_of(&self, stage: Stage) -> Stage {
        match self.stages[stage].sink {
            Sink::Hand { input, .. } => match self.reader(input) {
                // The verifier sees to it that readers come later.
                Some(reader) if reader > stage => self.last_of(reader),
                _ => stage,
            },
            _ => stage,
        }
    }

    /// Whether the rows of a stage become rows of the program's output, by itself or by stages that it hands them to.
    pub fn emits(&self, stage: Stage) -> bool {
        self.stages[self.last_of(stage)].emits()
    }

    /// Number of opaque expressions that the host evaluates ahead of a stage.
    pub fn opaque_expressions(&self, decl: &StageDecl) -> usize {
        match decl.source {
            Source::Input { input, .. } => self.inputs[input].computed.len(),
            Source::Groups(_) | Source::Join(..) | Source::Sort(_) => 0,
        }
    }

    /// Whether another stage hands this one its rows.
    pub fn is_handed(&self, stage: Stage) -> bool {
        matches!(self.stages[stage].source, Source::Input { input, .. } if self.inputs[input].handed)
    }
}

impl StageDecl {
    /// The join tables that the stage looks rows up in, in order.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.body
            .iter()
            .filter_map(|stmt| match &stmt.kind {
                StmtKind::Probe(probe) => Some(probe),
                _ => None,
            })
            .chain(match &self.sink {
                Sink::Mark { probe } => Some(probe),
                _ => None,
            })
    }

    /// Whether the stage itself yields rows of the program's output.
    pub fn emits(&self) -> bool {
        matches!(self.sink, Sink::Emit { .. })
    }

    /// Fields in and out: the larger of the number of source columns that are used and of sink columns (Spark's `maxFields` counts the same).
    pub fn fields(&self) -> usize {
        let sink = match &self.sink {
            Sink::Build { keys, payload, .. } | Sink::Sort { keys, payload, .. } => keys.len() + payload.len(),
            Sink::Mark { probe } => probe.keys.len(),
            Sink::Group { keys, args, operands, .. } => keys.len() + args.len() + operands.len(),
            Sink::Hand { columns, .. } | Sink::Emit { columns } => columns.len(),
        };
        self.params.len().max(sink)
    }
}
