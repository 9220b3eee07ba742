//! Narrows decimals: from what values can be, holds them in 64 bits and drops overflow checks where nothing can go wrong.
//!
//! Front ends hold every decimal in 128 bits and use arithmetic that checks for overflow. This pass finds the range of every value (from
//! types, literals, arithmetic, and through join and group tables), and then
//!
//! 1. holds decimals that provably fit in 64 bits so. The declared precision of a *source column* is trusted: a column of at
//!    most 18 digits fits. (Computed decimals may exceed their precision: arithmetic checks 128 bits only.)
//! 2. turns checked arithmetic whose result provably fits into plain arithmetic, and casts of decimals that cannot fail into conversions;
//! 3. computes once what is the same for all rows, such as a rescaled literal, by putting a literal in its place;
//! 4. takes parts of dates without asking first whether the calendar goes that far, where it does;
//! 5. declares states accordingly, and inserts conversions where a value goes to a place of another representation. A join key is held in
//!    64 bits only if it fits on the build side and in every probe. Sums of decimals stay in 128 bits.
//!
//! The representation of an arithmetic result follows these rules, which both engines and the verifier know: `add`, `sub`, `mul`, `neg` and
//! `abs` yield 64 bits only from operands of 64 bits; any operand may be narrower than the result (`mul` of two 64-bit operands
//! into 128 bits is the important case); comparisons, `div`, `rem`, `convert` and `cast` take and yield any.

use cranelift_entity::{PrimaryMap, SecondaryMap};

use super::range::Range;
use super::ranges::{Ranges, arithmetic, convert};
use crate::entities::{Join, Lit, Stage, Value};
use crate::op::{BinaryOp, Op, Region, UnaryOp};
use crate::program::{Datum, JoinRows, Literal, Probe, Program, Sink, Source, StageDecl, Stmt, StmtKind};
use crate::states::AccOp;
use crate::types::{Repr, SqlType, Stored, Type};

/// Digits that a source column may have to be held in 64 bits.
const DIGITS_OF_I64: u8 = 18;

/// Narrows a program's decimals. See the module's documentation.
///
/// A program that breaks a law is left as it is, for the verifier to report.
pub fn narrow(program: &mut Program) {
    if crate::verifier::verify(program).is_err() {
        return;
    }
    let ranges = Ranges::of(program);
    declare_states(program, &ranges);
    let stages: Vec<Stage> = program.stages.keys().collect();
    for stage in stages {
        // A copy, so that the rest of the program can be read and literals be added meanwhile.
        let mut decl = program.stages[stage].clone();
        let values = std::mem::take(&mut decl.values);
        decl.values = StageNarrower { program, ranges: &ranges, stage, values }.run(&mut decl);
        program.stages[stage] = decl;
    }
}

/// The representation of a decimal of this range.
fn decimal_repr(range: Range) -> Repr {
    if range.fits_i64() { Repr::I64 } else { Repr::I128 }
}

fn is_decimal(sql: SqlType) -> bool {
    matches!(sql, SqlType::Decimal { .. })
}

/// Chooses the representations of columns and of the fields of states.
fn declare_states(program: &mut Program, ranges: &Ranges) {
    let narrow = |ty: &mut Type, fits: bool| {
        if is_decimal(ty.sql) {
            ty.repr = if fits { Repr::I64 } else { Repr::I128 };
        }
    };
    for (input, decl) in program.inputs.iter_mut() {
        let given = decl.given();
        for (column, (ty, stored)) in decl.columns.iter_mut().zip(&decl.stored).enumerate() {
            let fits = match decl.handed || column >= given {
                true => ranges.input(input, column).fits_i64(),
                false => {
                    matches!(ty.sql, SqlType::Decimal { precision, .. } if precision <= DIGITS_OF_I64)
                        || matches!(stored, Stored::Offset { .. })
                }
            };
            narrow(ty, fits);
        }
    }
    let probed = probe_keys_fit(program, ranges);
    for (join, decl) in program.joins.iter_mut() {
        let fits = |field| ranges.join(join, field).is_some_and(Range::fits_i64);
        for (i, ty) in decl.keys.iter_mut().enumerate() {
            narrow(ty, fits(i) && probed[join][i]);
        }
        let keys = decl.keys.len();
        for (i, ty) in decl.payload.iter_mut().enumerate() {
            narrow(ty, fits(keys + i));
        }
    }
    for (sort, decl) in program.sorts.iter_mut() {
        let fields = decl.keys.iter_mut().map(|key| &mut key.ty).chain(&mut decl.payload);
        for (i, ty) in fields.enumerate() {
            narrow(ty, ranges.sort(sort, i).is_some_and(Range::fits_i64));
        }
    }
    for (groups, decl) in program.groups.iter_mut() {
        let fits = |field| ranges.groups(groups, field).is_some_and(Range::fits_i64);
        for (i, ty) in decl.keys.iter_mut().enumerate() {
            narrow(ty, fits(i));
        }
        let keys = decl.keys.len();
        for (i, acc) in decl.accs.iter_mut().enumerate() {
            if matches!(acc.op, AccOp::Min | AccOp::Max) {
                narrow(&mut acc.ty, fits(keys + i));
            }
        }
    }
}

/// By join and key, whether the values of all probes fit in 64 bits.
fn probe_keys_fit(program: &Program, ranges: &Ranges) -> SecondaryMap<Join, Vec<bool>> {
    let mut fit = SecondaryMap::new();
    for (join, decl) in program.joins.iter() {
        fit[join] = vec![true; decl.keys.len()];
    }
    for (stage, decl) in program.stages.iter() {
        for probe in decl.probes() {
            for (fits, key) in fit[probe.join].iter_mut().zip(&probe.keys) {
                *fits &= ranges.value(stage, *key).fits_i64();
            }
        }
    }
    fit
}

/// Operations that were inserted before a statement.
type Inserted = Vec<(Value, Op)>;

struct StageNarrower<'a> {
    program: &'a mut Program,
    ranges: &'a Ranges,
    stage: Stage,
    /// The stage's values, with new types, and more of them at the end.
    values: PrimaryMap<Value, Type>,
}

impl StageNarrower<'_> {
    /// Rewrites the stage and yields the types of its values.
    fn run(mut self, decl: &mut StageDecl) -> PrimaryMap<Value, Type> {
        self.params(decl);
        let mut body = Vec::with_capacity(decl.body.len());
        for mut stmt in decl.body.drain(..) {
            let mut before = Inserted::new();
            match &mut stmt.kind {
                StmtKind::Let(value, op) => self.define(*value, op, &mut before),
                StmtKind::Probe(probe) => self.probe(probe, &mut before),
                StmtKind::Filter(_) | StmtKind::Limit(_) | StmtKind::Expand(_) => {}
            }
            body.extend(before.into_iter().map(|(value, op)| Stmt { kind: StmtKind::Let(value, op), note: stmt.note.clone() }));
            body.push(stmt);
        }
        let mut before = Inserted::new();
        self.sink(&mut decl.sink, &mut before);
        body.extend(before.into_iter().map(|(value, op)| Stmt { kind: StmtKind::Let(value, op), note: decl.sink_note.clone() }));
        decl.body = body;
        self.values
    }

    fn range(&self, value: Value) -> Range {
        self.ranges.value(self.stage, value)
    }

    fn set_repr(&mut self, value: Value, repr: Repr) {
        if is_decimal(self.values[value].sql) {
            self.values[value].repr = repr;
        }
    }

    /// The value in a representation, converted if need be.
    fn coerce(&mut self, value: &mut Value, repr: Repr, before: &mut Inserted) {
        let ty = self.values[*value];
        if ty.repr != repr {
            let converted = self.values.push(ty.with_repr(repr));
            before.push((converted, Op::Unary(UnaryOp::Convert, *value)));
            *value = converted;
        }
    }

    fn coerce_all(&mut self, values: &mut [Value], types: &[Type], before: &mut Inserted) {
        for (value, ty) in values.iter_mut().zip(types) {
            self.coerce(value, ty.repr, before);
        }
    }

    /// Source columns are held as their declarations say.
    fn params(&mut self, decl: &StageDecl) {
        let columns: Vec<Type> = match decl.source {
            Source::Input { input, .. } => self.program.inputs[input].columns.clone(),
            Source::Groups(groups) => self.program.groups[groups].columns().collect(),
            Source::Join(join, rows) => {
                let join = &self.program.joins[join];
                let flag = (rows == JoinRows::All).then_some(Type::boolean(false));
                join.keys.iter().chain(&join.payload).copied().chain(flag).collect()
            }
            Source::Sort(sort) => {
                let sort = &self.program.sorts[sort];
                sort.keys.iter().map(|key| key.ty).chain(sort.payload.iter().copied()).collect()
            }
        };
        for (param, ty) in decl.params.iter().zip(columns) {
            self.set_repr(*param, ty.repr);
        }
    }

    fn probe(&mut self, probe: &mut Probe, before: &mut Inserted) {
        let (keys, payload) = {
            let join = &self.program.joins[probe.join];
            (join.keys.clone(), join.payload.clone())
        };
        self.coerce_all(&mut probe.keys, &keys, before);
        for (column, ty) in probe.columns.iter().zip(keys.iter().chain(&payload)) {
            if let Some(column) = column {
                self.set_repr(*column, ty.repr);
            }
        }
        if let Some(region) = &mut probe.residual {
            self.region(region);
        }
    }

    fn sink(&mut self, sink: &mut Sink, before: &mut Inserted) {
        match sink {
            Sink::Build { join, keys, payload } => {
                let decl = self.program.joins[*join].clone();
                self.coerce_all(keys, &decl.keys, before);
                self.coerce_all(payload, &decl.payload, before);
            }
            Sink::Mark { probe } => self.probe(probe, before),
            // Operands are widened when they are handed over.
            Sink::Group { groups, keys, args, operands: _ } => {
                let decl = self.program.groups[*groups].clone();
                self.coerce_all(keys, &decl.keys, before);
                for (arg, acc) in args.iter_mut().zip(&decl.accs) {
                    if let (Some(arg), AccOp::Min | AccOp::Max) = (arg, acc.op) {
                        self.coerce(arg, acc.ty.repr, before);
                    }
                }
            }
            Sink::Sort { sort, keys, payload } => {
                let decl = self.program.sorts[*sort].clone();
                for (key, field) in keys.iter_mut().zip(&decl.keys) {
                    self.coerce(key, field.ty.repr, before);
                }
                self.coerce_all(payload, &decl.payload, before);
            }
            // Both are written in the default representation.
            Sink::Hand { .. } | Sink::Emit { .. } => {}
        }
    }

    fn region(&mut self, region: &mut Region) {
        let mut body = Vec::with_capacity(region.body.len());
        for (value, mut op) in region.body.drain(..) {
            self.define(value, &mut op, &mut body);
            body.push((value, op));
        }
        region.body = body;
    }

    /// Rewrites an operation and chooses the representation of its result.
    fn define(&mut self, value: Value, op: &mut Op, before: &mut Inserted) {
        let fits = decimal_repr(self.range(value));
        if let Some((part, date)) = guarded_part(op)
            && self.range(date).within(CALENDAR)
        {
            *op = Op::Unary(part, date);
        }
        match op {
            Op::Literal(_) => self.set_repr(value, fits),
            Op::Unary(unary, a) => {
                self.relax_unary(unary, *a, self.values[value]);
                let repr = match unary {
                    UnaryOp::Convert if self.widens(value, *a) => Repr::I128,
                    UnaryOp::Convert | UnaryOp::Cast | UnaryOp::TryCast => fits,
                    UnaryOp::AssumeValid => self.values[*a].repr,
                    // Arithmetic; set_repr leaves alone what is not a decimal.
                    _ => self.arithmetic_repr(fits, &[*a]),
                };
                self.set_repr(value, repr);
            }
            Op::Binary(binary, a, b) => {
                self.relax_binary(binary, *a, *b, self.values[value]);
                let repr = match binary {
                    BinaryOp::Div | BinaryOp::Rem => fits,
                    _ => self.arithmetic_repr(fits, &[*a, *b]),
                };
                self.set_repr(value, repr);
            }
            Op::If(_, then, otherwise) => {
                self.set_repr(value, fits);
                for region in [then, otherwise] {
                    self.region(region);
                    let mut end = Inserted::new();
                    self.coerce(&mut region.result, self.values[value].repr, &mut end);
                    region.body.append(&mut end);
                }
            }
            Op::Opaque(opaque, args) => {
                let types = self.program.opaques[*opaque].args.clone();
                self.coerce_all(args, &types, before);
            }
            // A parameter is as wide as it is declared: who knows what comes.
            Op::Param(_) | Op::In(..) | Op::Like(..) | Op::Ilike(..) | Op::Substr(..) | Op::Call(..) | Op::Entry(..) => {}
        }
        if let Some(lit) = self.constant(value, op) {
            *op = Op::Literal(lit);
            self.set_repr(value, fits);
        }
    }

    /// Whether a conversion was there to widen its operand before this pass came: this pass, run before, put it there.
    fn widens(&self, value: Value, operand: Value) -> bool {
        let before = &self.program.stages[self.stage].values;
        let (from, to) = (before[operand], before[value]);
        from.sql == to.sql && (from.repr, to.repr) == (Repr::I64, Repr::I128)
    }

    /// A result of 64 bits takes operands of 64 bits.
    fn arithmetic_repr(&self, fits: Repr, operands: &[Value]) -> Repr {
        let narrow = operands.iter().all(|v| self.values[*v].repr == Repr::I64);
        if narrow { fits } else { Repr::I128 }
    }

    fn relax_unary(&self, op: &mut UnaryOp, a: Value, ty: Type) {
        let (arg, from) = (self.range(a), self.values[a].sql);
        match op {
            UnaryOp::NegChecked if arg.neg().is_some_and(|range| range.within(whole(ty))) => *op = UnaryOp::Neg,
            UnaryOp::Cast | UnaryOp::TryCast => {
                // What a conversion does: the same scale, or whole numbers scaled up.
                let SqlType::Decimal { precision, scale } = ty.sql else { return };
                let same = from.scale() == Some(scale) || (from.is_integer() && scale >= 0);
                if same && convert(from, ty.sql, arg).is_some_and(|range| range.within(Range::of_precision(precision))) {
                    *op = UnaryOp::Convert;
                }
            }
            _ => {}
        }
    }

    fn relax_binary(&self, op: &mut BinaryOp, a: Value, b: Value, ty: Type) {
        let plain = match op {
            BinaryOp::AddChecked => BinaryOp::Add,
            BinaryOp::SubChecked => BinaryOp::Sub,
            BinaryOp::MulChecked => BinaryOp::Mul,
            _ => return,
        };
        if arithmetic(*op, self.range(a), self.range(b)).is_some_and(|range| range.within(whole(ty))) {
            *op = plain;
        }
    }

    /// The literal that an operation always yields.
    fn constant(&mut self, value: Value, op: &Op) -> Option<Lit> {
        let ty = self.values[value];
        let range = self.range(value);
        let known = range.lo == range.hi && !ty.nullable && !op.can_fail() && !op.has_opaque();
        let computed = match op {
            Op::Unary(UnaryOp::Convert, a) => !self.widens(value, *a),
            Op::Unary(..) | Op::Binary(..) => true,
            _ => false,
        };
        let holds = match ty.sql {
            SqlType::Decimal { precision, .. } => range.within(Range::of_precision(precision)),
            sql => sql.is_integer() || sql == SqlType::Date32,
        };
        if !(known && computed && holds) {
            return None;
        }
        let literal = Literal { ty: Type::new(ty.sql, false), value: Datum::Int(range.lo) };
        let found = self.program.literals.iter().find(|(_, known)| **known == literal).map(|(lit, _)| lit);
        Some(found.unwrap_or_else(|| self.program.literals.push(literal)))
    }
}

/// Days since 1970-01-01 that front ends know a date for: the years -262143 to 262142.
const CALENDAR: Range = Range::new(-96_465_292, 95_026_236);

/// The part of a date that an `if` yields, and the date, where the other region yields null: a front end asks first whether the calendar goes that far.
fn guarded_part(op: &Op) -> Option<(UnaryOp, Value)> {
    let Op::If(_, then, otherwise) = op else { return None };
    let ([(value, Op::Unary(part @ (UnaryOp::Year | UnaryOp::Month | UnaryOp::Day), date))], [(_, Op::Literal(_))]) =
        (then.body.as_slice(), otherwise.body.as_slice())
    else {
        return None;
    };
    (then.result == *value).then_some((*part, *date))
}

/// All values of a type in its default representation: what checked arithmetic lets through.
fn whole(ty: Type) -> Range {
    Range::of_type(Type::new(ty.sql, ty.nullable))
}
