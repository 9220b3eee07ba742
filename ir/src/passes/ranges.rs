//! Which values each value of a program may take: one walk through the stages in running order, and through states from those that write
//! them to those that read them.

use cranelift_entity::{EntityRef, SecondaryMap};

use super::range::Range;
use crate::entities::{Groups, Input, Join, Sort, Stage, Value};
use crate::op::{BinaryOp, Op, Region, UnaryOp};
use crate::program::{Datum, JoinRows, Probe, Program, Sink, Source, StageDecl, StmtKind};
use crate::states::AccOp;
use crate::types::{SqlType, Stored, Type};

/// More rows than any run of a program sees: bounds sums.
const MOST_ROWS: i128 = 1 << 63;

/// What is known of all values and of the fields of states.
pub(super) struct Ranges {
    /// By stage.
    stages: Vec<SecondaryMap<Value, Range>>,
    /// Keys, then payload. `None` where nothing was written.
    joins: SecondaryMap<Join, Vec<Option<Range>>>,
    /// Keys, then accumulators, then results of calls.
    groups: SecondaryMap<Groups, Vec<Option<Range>>>,
    /// By column, computed ones included.
    inputs: SecondaryMap<Input, Vec<Range>>,
    /// Keys, then payload.
    sorts: SecondaryMap<Sort, Vec<Option<Range>>>,
}

impl Ranges {
    /// Analyses a program.
    pub(super) fn of(program: &Program) -> Self {
        let mut ranges = Ranges {
            stages: vec![],
            joins: SecondaryMap::new(),
            groups: SecondaryMap::new(),
            inputs: SecondaryMap::new(),
            sorts: SecondaryMap::new(),
        };
        for (input, decl) in program.inputs.iter() {
            ranges.inputs[input] = (0..decl.columns.len()).map(|column| input_column(program, input, column)).collect();
        }
        for (join, decl) in program.joins.iter() {
            ranges.joins[join] = vec![None; decl.keys.len() + decl.payload.len()];
        }
        for (groups, decl) in program.groups.iter() {
            ranges.groups[groups] = vec![None; decl.columns().count()];
            for (key, lit) in decl.always.iter().flat_map(|row| row.iter().enumerate()) {
                if let Some(value) = integer(&program.literals[*lit].value) {
                    let field = &mut ranges.groups[groups][key];
                    *field = Some(field.map_or(value, |old| old.union(value)));
                }
            }
        }
        for (sort, decl) in program.sorts.iter() {
            ranges.sorts[sort] = vec![None; decl.keys.len() + decl.payload.len()];
        }
        for decl in program.stages.values() {
            let values = StageRanges { program, states: &ranges, decl, values: SecondaryMap::with_default(Range::FULL) }.run();
            ranges.write_state(program, decl, &values);
            ranges.stages.push(values);
        }
        ranges
    }

    /// What a value may be.
    pub(super) fn value(&self, stage: Stage, value: Value) -> Range {
        self.stages[stage.index()][value]
    }

    /// What a column of an input may be.
    pub(super) fn input(&self, input: Input, column: usize) -> Range {
        self.inputs[input][column]
    }

    /// What a join table's field (keys, then payload) may be; `None` where nothing is written.
    pub(super) fn join(&self, join: Join, field: usize) -> Option<Range> {
        self.joins[join][field]
    }

    /// What a group table's field (keys, then accumulators) may be; `None` where nothing is written.
    pub(super) fn groups(&self, groups: Groups, field: usize) -> Option<Range> {
        self.groups[groups][field]
    }

    /// What a sort's field (keys, then payload) may be; `None` where nothing is written.
    pub(super) fn sort(&self, sort: Sort, field: usize) -> Option<Range> {
        self.sorts[sort][field]
    }

    fn write_state(&mut self, program: &Program, decl: &StageDecl, values: &SecondaryMap<Value, Range>) {
        let put = |field: &mut Option<Range>, range: Range| *field = Some(field.map_or(range, |old| old.union(range)));
        match &decl.sink {
            Sink::Build { join, keys, payload } => {
                for (field, value) in self.joins[*join].iter_mut().zip(keys.iter().chain(payload)) {
                    put(field, values[*value]);
                }
            }
            Sink::Group { groups, keys, args, operands: _ } => {
                let (key_fields, acc_fields) = self.groups[*groups].split_at_mut(keys.len());
                for (field, value) in key_fields.iter_mut().zip(keys) {
                    put(field, values[*value]);
                }
                let accs = &program.groups[*groups].accs;
                let (acc_fields, call_fields) = acc_fields.split_at_mut(accs.len());
                for (field, call) in call_fields.iter_mut().zip(&program.groups[*groups].calls) {
                    put(field, Range::of_type(call.result));
                }
                for ((field, acc), arg) in acc_fields.iter_mut().zip(accs).zip(args) {
                    let arg = arg.map_or(Range::FULL, |arg| values[arg]);
                    put(
                        field,
                        match acc.op {
                            AccOp::CountRows | AccOp::Count => Range::new(0, i64::MAX.into()),
                            AccOp::Min | AccOp::Max => arg,
                            AccOp::Sum => sum(arg, acc.ty),
                            AccOp::BitOr | AccOp::BitXor => Range::of_type(acc.ty),
                        },
                    );
                }
            }
            Sink::Hand { input, columns } => {
                for (column, value) in self.inputs[*input].iter_mut().zip(columns) {
                    *column = values[*value];
                }
            }
            Sink::Sort { sort, keys, payload } => {
                for (field, value) in self.sorts[*sort].iter_mut().zip(keys.iter().chain(payload)) {
                    put(field, values[*value]);
                }
            }
            Sink::Mark { .. } | Sink::Emit { .. } => {}
        }
    }
}

fn integer(value: &Datum) -> Option<Range> {
    match value {
        Datum::Int(value) => Some(Range::exact(*value)),
        _ => None,
    }
}

/// A sum of any number of values; it is zero where there are none.
fn sum(arg: Range, ty: Type) -> Range {
    let all = arg.union(Range::exact(0)).mul(Range::new(0, MOST_ROWS));
    all.filter(|all| all.within(Range::of_type(ty))).unwrap_or(Range::of_type(ty))
}

/// The exact range of an arithmetic operation's result; `None` for other operations, and where a result may be beyond 128 bits.
pub(super) fn arithmetic(op: BinaryOp, a: Range, b: Range) -> Option<Range> {
    match op {
        BinaryOp::Add | BinaryOp::AddChecked => a.add(b),
        BinaryOp::Sub | BinaryOp::SubChecked => a.sub(b),
        BinaryOp::Mul | BinaryOp::MulChecked => a.mul(b),
        BinaryOp::Div => a.div(b),
        BinaryOp::Rem => a.rem(b),
        _ => None,
    }
}

/// The walk through one stage.
struct StageRanges<'a> {
    program: &'a Program,
    states: &'a Ranges,
    decl: &'a StageDecl,
    values: SecondaryMap<Value, Range>,
}

impl StageRanges<'_> {
    fn run(mut self) -> SecondaryMap<Value, Range> {
        let decl = self.decl;
        for (i, param) in decl.params.iter().enumerate() {
            self.values[*param] = match decl.source {
                Source::Input { input, .. } => self.states.input(input, i),
                Source::Groups(groups) => self.state_field(&self.states.groups[groups], i, *param),
                Source::Sort(sort) => self.state_field(&self.states.sorts[sort], i, *param),
                Source::Join(join, rows) => {
                    let flag = rows == JoinRows::All && i + 1 == decl.params.len();
                    if flag { Range::new(0, 1) } else { self.state_field(&self.states.joins[join], i, *param) }
                }
            };
        }
        for stmt in &decl.body {
            match &stmt.kind {
                StmtKind::Let(value, op) => self.define(*value, op),
                StmtKind::Probe(probe) => self.probe(probe),
                StmtKind::Expand(expand) => {
                    let literals = expand.literals.iter().filter_map(|lit| integer(&self.program.literals[*lit].value));
                    self.values[expand.value] = literals.reduce(Range::union).unwrap_or(Range::FULL);
                }
                StmtKind::Filter(_) | StmtKind::Limit(_) => {}
            }
        }
        if let Sink::Mark { probe } = &decl.sink {
            self.probe(probe);
        }
        self.values
    }

    fn state_field(&self, fields: &[Option<Range>], field: usize, value: Value) -> Range {
        fields.get(field).copied().flatten().unwrap_or(Range::of_type(self.ty(value)))
    }

    fn ty(&self, value: Value) -> Type {
        self.decl.values[value]
    }

    fn probe(&mut self, probe: &Probe) {
        for (i, column) in probe.columns.iter().enumerate() {
            if let Some(column) = column {
                self.values[*column] = self.state_field(&self.states.joins[probe.join], i, *column);
            }
        }
        if let Some(mark) = probe.mark {
            self.values[mark] = Range::new(0, 1);
        }
        if let Some(region) = &probe.residual {
            self.region(region);
        }
    }

    fn region(&mut self, region: &Region) {
        for (value, op) in &region.body {
            self.define(*value, op);
        }
    }

    fn define(&mut self, value: Value, op: &Op) {
        if let Op::If(_, then, otherwise) = op {
            self.region(then);
            self.region(otherwise);
        }
        let ty = self.ty(value);
        let all = Range::of_type(ty);
        self.values[value] = match op {
            Op::Literal(lit) => match self.program.literals[*lit].value {
                Datum::Int(value) => Range::exact(value),
                Datum::Bool(value) => Range::exact(value.into()),
                // A null has no values; engines hold it as zero.
                Datum::Null => Range::exact(0),
                Datum::Float(_) | Datum::Str(_) | Datum::Bytes(_) => all,
            },
            Op::Unary(op, a) => self.unary(*op, *a, ty),
            Op::Binary(op, a, b) => {
                let exact = arithmetic(*op, self.values[*a], self.values[*b]);
                match exact {
                    // An integer that wraps can come out anywhere.
                    Some(range) if op.can_fail() || range.within(all) => range.clip(all),
                    Some(range) if ty.sql.scale().is_some() => range.clip(all),
                    _ => all,
                }
            }
            Op::If(_, then, otherwise) => self.values[then.result].union(self.values[otherwise.result]),
            Op::Param(_) | Op::Opaque(..) | Op::In(..) | Op::Like(..) | Op::Ilike(..) | Op::Substr(..) | Op::Call(..) | Op::Entry(..) => {
                all
            }
        };
    }

    fn unary(&self, op: UnaryOp, a: Value, ty: Type) -> Range {
        let all = Range::of_type(ty);
        let (from, arg) = (self.ty(a).sql, self.values[a]);
        match op {
            UnaryOp::Neg => arg.neg().filter(|range| range.within(all)).unwrap_or(all),
            UnaryOp::NegChecked => arg.neg().unwrap_or(all).clip(all),
            UnaryOp::Abs => arg.abs().unwrap_or(Range::new(0, i128::MAX)).clip(all),
            UnaryOp::AssumeValid => arg,
            UnaryOp::Convert => match convert(from, ty.sql, arg) {
                Some(range) => range.clip(all),
                None => all,
            },
            UnaryOp::Cast | UnaryOp::TryCast => cast(from, ty, arg),
            UnaryOp::Month => Range::new(1, 12),
            UnaryOp::Day => Range::new(1, 31),
            UnaryOp::CharLength => Range::new(0, i32::MAX.into()),
            UnaryOp::Year | UnaryOp::Not | UnaryOp::IsNull | UnaryOp::IsNotNull | UnaryOp::IsTrue => all,
        }
    }
}

/// The declared precision of the host's columns is trusted, and the range that they are stored in; not what is computed.
fn input_column(program: &Program, input: Input, column: usize) -> Range {
    let decl = &program.inputs[input];
    let Some(ty) = decl.columns.get(column) else { return Range::FULL };
    if let Some(Stored::Offset { base, span }) = decl.stored.get(column) {
        return Range::new((*base).into(), i128::from(*base) + i128::from(*span));
    }
    match ty.sql {
        SqlType::Decimal { precision, .. } if column < decl.given() && !decl.handed => Range::of_precision(precision),
        _ => Range::of_type(Type::new(ty.sql, ty.nullable)),
    }
}

/// The range of an integer, date, boolean or decimal as another such type, before any check; `None` where it is not known.
pub(super) fn convert(from: SqlType, to: SqlType, arg: Range) -> Option<Range> {
    if from.is_float() || to.is_float() || from.is_host() || !from.default_repr().is_int() && from != SqlType::Boolean {
        return None;
    }
    let shift = i32::from(to.scale().unwrap_or(0)) - i32::from(from.scale().unwrap_or(0));
    match (from, to) {
        (SqlType::Decimal { .. }, SqlType::Decimal { .. }) => arg.rescale(shift),
        // Truncated: between zero and the rounded value.
        (SqlType::Decimal { .. }, _) => Range::new(arg.lo.min(0), arg.hi.max(0)).rescale(shift),
        _ => arg.rescale(shift),
    }
}

fn cast(from: SqlType, ty: Type, arg: Range) -> Range {
    let checked = match ty.sql {
        SqlType::Decimal { precision, .. } => Range::of_precision(precision).clip(Range::of_type(ty)),
        _ => Range::of_type(ty),
    };
    convert(from, ty.sql, arg).unwrap_or(Range::FULL).clip(checked)
}
