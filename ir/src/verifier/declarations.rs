//! Declarations, and what stages owe to one another.

use super::{Errors, Law, Place};
use crate::entities::{Groups, Input, Join, Lit, Stage};
use crate::program::{Datum, InputDecl, Literal, Program, Sink, Source, StageDecl};
use crate::states::AccOp;
use crate::types::{Repr, SqlType, Stored, TimeUnit, Type};

/// Most digits of a decimal.
const MAX_PRECISION: u8 = 38;

/// Checks everything but the stages.
pub(super) fn verify(program: &Program, errors: &mut Errors) {
    let columns = program.inputs.values().flat_map(|input| &input.columns);
    let opaques = program.opaques.values().flat_map(|opaque| opaque.args.iter().chain([&opaque.result]));
    let joins = program.joins.values().flat_map(|join| join.keys.iter().chain(&join.payload));
    let groups = program.groups.values().flat_map(|groups| groups.columns().chain(groups.operands.iter().copied()));
    let sorts = program.sorts.values().flat_map(|sort| sort.keys.iter().map(|key| &key.ty).chain(&sort.payload));
    let params = program.params.values().map(|param| &param.ty);
    let literals = program.literals.values().map(|literal| &literal.ty);
    for ty in columns.chain(literals).chain(params).chain(opaques).chain(joins).chain(sorts).chain(&program.output).copied().chain(groups) {
        verify_type(program, ty, errors);
    }
    for (input, decl) in program.inputs.iter() {
        let (found, wanted) = (decl.stored.len(), decl.columns.len());
        errors.check(found == wanted, Law::StoredColumns, || format!("{input} says of {found} columns of {wanted} how they lie"));
        for (ty, stored) in decl.columns.iter().zip(&decl.stored) {
            let holds = match *stored {
                Stored::Arrow => true,
                Stored::Offset { base, span } => {
                    let last = i128::from(base) + i128::from(span);
                    let held = if ty.sql.scale().is_some() { SqlType::Int64 } else { ty.sql };
                    int_fits(base.into(), held) && int_fits(last, held) && last <= i64::MAX.into()
                }
                Stored::Dictionary { entries } => ty.sql.default_repr() == Repr::Str && entries > 0,
                Stored::Word => matches!(ty.sql, SqlType::Decimal { precision, .. } if precision <= 18),
            };
            errors.check(holds, Law::StoredColumns, || format!("{input}: a column of {ty} cannot lie as{stored}"));
        }
    }
    for (input, decl) in program.inputs.iter() {
        verify_computed(program, input, decl, errors);
        verify_handed(program, input, decl, errors);
    }
    for (param, decl) in program.params.iter() {
        let holds = decl.ty.repr == decl.ty.sql.default_repr();
        errors.check(holds, Law::Types, || format!("{param} is {}, not in its default representation", decl.ty));
    }
    for (lit, literal) in program.literals.iter() {
        if let Err(message) = verify_literal(literal) {
            errors.push(Law::Literals, format!("{lit} {message}"));
        }
    }
    let keys = program.joins.values().flat_map(|join| &join.keys).chain(program.groups.values().flat_map(|groups| &groups.keys));
    let keys = keys.chain(program.sorts.values().flat_map(|sort| sort.keys.iter().map(|key| &key.ty)));
    for key in keys.filter(|key| key.sql.is_host()) {
        errors.push(Law::HostTypes, format!("a key is {key}"));
    }
    for (groups, decl) in program.groups.iter() {
        for acc in &decl.accs {
            let holds = match acc.op {
                AccOp::CountRows | AccOp::Count => acc.ty == Type::new(SqlType::Int64, false),
                AccOp::Sum => match acc.ty.sql {
                    SqlType::Int64 | SqlType::UInt64 | SqlType::Float64 => true,
                    SqlType::Decimal { .. } => acc.ty.repr == Repr::I128,
                    _ => false,
                },
                AccOp::BitOr | AccOp::BitXor => acc.ty.sql.is_integer(),
                AccOp::Min | AccOp::Max => !acc.ty.sql.is_host(),
            };
            errors.check(holds, Law::Accumulators, || format!("{groups}: {} cannot be {}", acc.op.name(), acc.ty));
        }
    }
    for (groups, decl) in program.groups.iter() {
        for ty in decl.operands.iter().chain(decl.calls.iter().map(|call| &call.result)) {
            let holds = ty.repr == ty.sql.default_repr();
            errors.check(holds, Law::Calls, || format!("{groups}: {ty} is not in its default representation"));
        }
        for call in &decl.calls {
            let declared = program.aggregates.is_valid(call.aggregate);
            errors.check(declared, Law::Declared, || format!("{} is not declared", call.aggregate));
            let known = call.args.iter().all(|arg| *arg < decl.operands.len()) && !call.args.is_empty();
            errors.check(known, Law::Calls, || format!("{groups}: {call} takes what is no operand, or nothing"));
            let holds = call.filter.is_none_or(|filter| decl.operands.get(filter).is_some_and(|ty| ty.sql == SqlType::Boolean));
            errors.check(holds, Law::Calls, || format!("{groups}: {call} filters by what is no boolean"));
        }
    }
    for (groups, decl) in program.groups.iter() {
        for row in &decl.always {
            let fits = |(lit, key): (&Lit, &Type)| {
                let literal = program.literals.get(*lit);
                literal.is_some_and(|lit| lit.ty.sql == key.sql && if lit.ty.nullable { key.nullable } else { key.sql.is_integer() })
            };
            let holds = !row.is_empty() && row.len() == decl.keys.len() && row.iter().zip(&decl.keys).all(fits);
            errors.check(holds, Law::GroupsAlways, || format!("{groups} cannot always have such a group"));
        }
    }
    for ty in &program.output {
        let holds = ty.repr == ty.sql.default_repr();
        errors.check(holds, Law::Emit, || format!("the output column {ty} is not in its default representation"));
    }
    for (join, decl) in program.joins.iter() {
        let marked = program.stages.values().any(|stage| stage.probes().any(|probe| probe.join == join && probe.marks_build));
        let read = program.stages.values().any(|stage| matches!(stage.source, Source::Join(source, _) if source == join));
        let used = match (marked, read) {
            (true, _) => "a probe marks its rows",
            (false, true) => "a stage reads its rows",
            (false, false) => "no stage marks or reads its rows",
        };
        let is = if decl.tracked { "tracked" } else { "not tracked" };
        errors.check(decl.tracked == (marked || read), Law::Tracked, || format!("{join} is {is}, but {used}"));
    }
    for (sort, decl) in program.sorts.iter() {
        errors.check(!decl.keys.is_empty(), Law::Sort, || format!("{sort} has no key"));
        let readers = program.stages.values().filter(|stage| matches!(stage.source, Source::Sort(source) if source == sort)).count();
        errors.check(readers == 1, Law::Sort, || format!("{readers} stages read {sort}"));
    }
    errors.check(program.stages.values().any(StageDecl::emits), Law::EmittingStages, || "no stage emits".into());
}

/// Law 21.
fn verify_computed(program: &Program, input: Input, decl: &InputDecl, errors: &mut Errors) {
    if decl.computed.is_empty() {
        return;
    }
    if decl.computed.len() > decl.columns.len() {
        return errors.push(Law::ComputedColumns, format!("{input} computes more columns than it has"));
    }
    errors.check(readers(program, input) <= 1, Law::ComputedColumns, || format!("{input} computes columns for several stages"));
    for (column, computed) in (decl.given()..).zip(&decl.computed) {
        let Some(opaque) = program.opaques.get(computed.opaque) else {
            errors.push(Law::Declared, format!("{} is not declared", computed.opaque));
            continue;
        };
        let args: Option<Vec<Type>> = computed.args.iter().map(|arg| decl.columns[..column].get(*arg as usize).copied()).collect();
        let fits = |have: Type, want: Type| have.sql == want.sql && have.nullable <= want.nullable;
        let holds = args
            .is_some_and(|args| args.len() == opaque.args.len() && args.iter().zip(&opaque.args).all(|(have, want)| fits(*have, *want)));
        errors.check(holds, Law::ComputedColumns, || {
            format!("{input}: the operands of column {column} are not those of {}", computed.opaque)
        });
        let ty = decl.columns[column];
        let holds = fits(opaque.result, ty) && decl.stored.get(column).is_none_or(|stored| *stored == Stored::Arrow);
        errors.check(holds, Law::ComputedColumns, || {
            format!("{input}: column {column} is {ty}, {} yields {}", computed.opaque, opaque.result)
        });
    }
}

/// Law 22, for an input.
fn verify_handed(program: &Program, input: Input, decl: &InputDecl, errors: &mut Errors) {
    let hands = |sink: &Sink| matches!(sink, Sink::Hand { input: handed, .. } if *handed == input);
    let writers = writers(program, hands);
    if !decl.handed {
        return errors.check(writers.is_empty(), Law::HandingOver, || format!("{input} is the host's, but a stage hands rows to it"));
    }
    let lies = !decl.pinned && decl.stored.iter().all(|stored| *stored == Stored::Arrow);
    errors.check(lies, Law::HandingOver, || format!("{input} is handed over, but lies as only the host's do"));
    let reader = program.reader(input);
    let holds = match (writers.as_slice(), reader) {
        ([writer], Some(reader)) => *writer < reader && readers(program, input) == 1,
        _ => false,
    };
    errors.check(holds, Law::HandingOver, || format!("{input} does not have one stage that hands it over and one, later, that reads it"));
}

/// Stages that read an input.
fn readers(program: &Program, input: Input) -> usize {
    program.stages.values().filter(|decl| matches!(decl.source, Source::Input { input: read, .. } if read == input)).count()
}

/// Law 2.
pub(super) fn verify_type(program: &Program, ty: Type, errors: &mut Errors) {
    if let SqlType::Host(host) = ty.sql {
        errors.check(program.host_types.is_valid(host), Law::Types, || format!("{host} is not declared"));
    }
    let decimal = match ty.sql {
        SqlType::Decimal { precision, scale } => Some((precision, scale, MAX_PRECISION)),
        SqlType::Decimal32 { precision, scale } => Some((precision, scale, 9)),
        SqlType::Decimal64 { precision, scale } => Some((precision, scale, 18)),
        _ => None,
    };
    if let Some((precision, scale, most)) = decimal {
        let holds = (1..=most).contains(&precision) && scale.unsigned_abs() <= most;
        errors.check(holds, Law::Types, || format!("there is no type {ty}"));
    }
    let narrow = matches!(ty.sql, SqlType::Decimal { .. }) && ty.repr == Repr::I64;
    errors.check(ty.repr == ty.sql.default_repr() || narrow, Law::Types, || format!("{} cannot be held as {}", ty.sql, ty.repr.name()));
}

/// Law 3.
fn verify_literal(literal: &Literal) -> Result<(), String> {
    let Literal { ty, value } = literal;
    if ty.nullable != (*value == Datum::Null) {
        return Err(format!("= {value} is {}nullable", if ty.nullable { "" } else { "not " }));
    }
    let fits = match (value, ty.sql) {
        (Datum::Null, _) | (Datum::Bool(_), SqlType::Boolean) | (Datum::Str(_), SqlType::Utf8) => true,
        (Datum::Bytes(_), SqlType::Binary) => true,
        (Datum::Float(bits), SqlType::Float32) => {
            let value = f64::from_bits(*bits);
            value.is_nan() || f64::from(value as f32).to_bits() == *bits
        }
        (Datum::Float(_), SqlType::Float64) => true,
        (Datum::Int(value), sql) => int_fits(*value, sql) && (ty.repr != Repr::I64 || fits_i64(*value, sql)),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("= {value} is no {ty}")) }
}

/// Whether a decimal fits in 64 bits; other types say for themselves.
pub(super) fn fits_i64(value: i128, sql: SqlType) -> bool {
    !matches!(sql, SqlType::Decimal { .. }) || i64::try_from(value).is_ok()
}

fn int_fits(value: i128, sql: SqlType) -> bool {
    match sql {
        SqlType::Int8 => i8::try_from(value).is_ok(),
        SqlType::Int16 => i16::try_from(value).is_ok(),
        SqlType::Int32 | SqlType::Date32 | SqlType::IntervalMonths => i32::try_from(value).is_ok(),
        SqlType::Time(TimeUnit::Second | TimeUnit::Millisecond) => i32::try_from(value).is_ok(),
        SqlType::Int64 | SqlType::Date64 | SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::Duration(_) => i64::try_from(value).is_ok(),
        SqlType::UInt8 => u8::try_from(value).is_ok(),
        SqlType::UInt16 => u16::try_from(value).is_ok(),
        SqlType::UInt32 => u32::try_from(value).is_ok(),
        SqlType::UInt64 => u64::try_from(value).is_ok(),
        SqlType::Decimal { precision, .. } | SqlType::Decimal32 { precision, .. } | SqlType::Decimal64 { precision, .. } => {
            10u128.checked_pow(precision.into()).is_none_or(|end| value.unsigned_abs() < end)
        }
        SqlType::Boolean | SqlType::Float32 | SqlType::Float64 | SqlType::Utf8 | SqlType::Binary | SqlType::Host(_) => false,
    }
}

/// Laws 16 and 17, for one stage.
pub(super) fn verify_order(program: &Program, stage: Stage, decl: &StageDecl, errors: &mut Errors) {
    let builders = |join: Join| writers(program, move |sink| matches!(sink, Sink::Build { join: built, .. } if *built == join));
    let fillers = |groups: Groups| writers(program, move |sink| matches!(sink, Sink::Group { groups: filled, .. } if *filled == groups));
    match decl.source {
        Source::Groups(groups) => written_before(stage, groups, &fillers(groups), errors, Place::Source),
        Source::Join(join, _) => {
            written_before(stage, join, &builders(join), errors, Place::Source);
            let probed_later = program.stages.iter().find(|(s, decl)| *s >= stage && decl.probes().any(|probe| probe.join == join));
            if let Some((later, _)) = probed_later {
                errors.place = Some(Place::Source);
                errors.push(Law::StageOrder, format!("the rows of {join} are read before {later} probes it"));
            }
        }
        Source::Sort(sort) => {
            let writers = writers(program, |sink| matches!(sink, Sink::Sort { sort: written, .. } if *written == sort));
            written_before(stage, sort, &writers, errors, Place::Source);
        }
        Source::Input { .. } => {}
    }
    for (i, stmt) in decl.body.iter().enumerate() {
        if let crate::program::StmtKind::Probe(probe) = &stmt.kind {
            written_before(stage, probe.join, &builders(probe.join), errors, Place::Stmt(i));
        }
    }
    if let Sink::Mark { probe } = &decl.sink {
        written_before(stage, probe.join, &builders(probe.join), errors, Place::Sink);
    }
    let emitted_before = program.stages.keys().take_while(|s| *s < stage).any(|s| program.emits(s));
    errors.place = Some(Place::Sink);
    errors
        .check(program.emits(stage) || !emitted_before, Law::EmittingStages, || "comes after a stage that emits, and does not emit".into());
}

fn writers(program: &Program, writes: impl Fn(&Sink) -> bool) -> Vec<Stage> {
    program.stages.iter().filter(|(_, decl)| writes(&decl.sink)).map(|(stage, _)| stage).collect()
}

fn written_before(reader: Stage, state: impl std::fmt::Display, writers: &[Stage], errors: &mut Errors, place: Place) {
    errors.place = Some(place);
    errors.check(!writers.is_empty(), Law::StageOrder, || format!("reads {state}, which no stage writes"));
    for writer in writers.iter().filter(|writer| **writer >= reader) {
        errors.push(Law::StageOrder, format!("reads {state}, which {writer} writes"));
    }
}
