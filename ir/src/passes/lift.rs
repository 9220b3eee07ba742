//! Lifts opaque expressions out of stages, so that what is left can be compiled.
//!
//! The host evaluates an opaque expression batch by batch, ahead of a stage that takes its result as a computed column of its input. Where that stage
//! would have evaluated it for fewer rows than it reads (behind a filter, a probe or a limit), or of values that are no columns of its input, the
//! stage is cut in two: the first hands the rows that are left to the second ([`Sink::Hand`]), whose input has the computed column. So an
//! expression is evaluated for the very rows for which it was before, and raises no error that it would not have raised.
//!
//! Opaque expressions within regions (branches of an `if`, residual conditions) stay where they are: they are evaluated for some rows only.

use cranelift_entity::{EntitySet, PrimaryMap};

use crate::entities::{Input, Opaque, Value};
use crate::op::Op;
use crate::program::{Computed, InputDecl, Program, Sink, Source, StageDecl, Stmt, StmtKind};
use crate::types::Stored;

/// Lifts opaque expressions. See the module's documentation. To be run before representations are chosen, and after what nobody reads has been removed.
///
/// A program that breaks a law is left as it is, for the verifier to report.
pub fn lift_opaque(program: &mut Program) {
    let any = program.stages.values().any(|decl| decl.body.iter().any(|stmt| opaque_of(stmt).is_some()));
    if !any || crate::verifier::verify(program).is_err() {
        return;
    }
    let mut stages = PrimaryMap::new();
    for (stage, mut decl) in program.stages.clone() {
        let shared = match decl.source {
            Source::Input { input, .. } => program.stages.iter().any(|(other, decl)| other != stage && reads(decl, input)),
            _ => true,
        };
        let mut own = (!shared).then_some(()).and(input_of(&decl));
        while let Some(at) = decl.body.iter().position(|stmt| opaque_of(stmt).is_some()) {
            if own.is_none_or(|input| !compute(program, input, &mut decl, at)) {
                let first = cut(program, &mut decl, at);
                stages.push(first);
                own = input_of(&decl);
            }
        }
        stages.push(decl);
    }
    program.stages = stages;
}

fn reads(decl: &StageDecl, input: Input) -> bool {
    input_of(decl) == Some(input)
}

fn input_of(decl: &StageDecl) -> Option<Input> {
    match decl.source {
        Source::Input { input, .. } => Some(input),
        Source::Groups(_) | Source::Join(..) | Source::Sort(_) => None,
    }
}

/// The value that a statement has an opaque expression for.
fn opaque_of(stmt: &Stmt) -> Option<(Value, Opaque, &[Value])> {
    match &stmt.kind {
        StmtKind::Let(value, Op::Opaque(opaque, args)) => Some((*value, *opaque, args)),
        _ => None,
    }
}

/// Makes the opaque expression of a statement a computed column, where every row of the input reaches it and its operands are columns.
fn compute(program: &mut Program, input: Input, decl: &mut StageDecl, at: usize) -> bool {
    let Some((value, opaque, args)) = opaque_of(&decl.body[at]) else { return false };
    let every_row = decl.body[..at].iter().all(|stmt| matches!(stmt.kind, StmtKind::Let(..)));
    let column = |arg: &Value| decl.params.iter().position(|param| param == arg).map(|column| column as u32);
    let (true, Some(args)) = (every_row, args.iter().map(column).collect::<Option<Vec<_>>>()) else { return false };
    let ty = decl.values[value];
    let columns = &mut program.inputs[input];
    columns.columns.push(ty);
    columns.stored.push(Stored::Arrow);
    columns.computed.push(Computed { opaque, args });
    decl.params.push(value);
    decl.body.remove(at);
    true
}

/// Cuts a stage before the opaque expression of a statement; yields the first part and leaves the second, which has an input of its own.
fn cut(program: &mut Program, decl: &mut StageDecl, at: usize) -> StageDecl {
    let at = gather_operands(decl, at);
    let rest = decl.body.split_off(at);
    let mut defined = EntitySet::new();
    defined.extend(decl.params.iter().copied());
    decl.body.iter().for_each(|stmt| {
        stmt.kind.for_each_defined(&mut |value| {
            defined.insert(value);
        })
    });
    // In the order in which they are used.
    let mut live: Vec<Value> = vec![];
    let mut seen = EntitySet::new();
    let mut take = |value: Value| {
        if defined.contains(value) && seen.insert(value) {
            live.push(value);
        }
    };
    rest.iter().for_each(|stmt| stmt.kind.for_each_operand(&mut take));
    decl.sink.for_each_operand(&mut take);
    // What is the same for all rows is said again rather than handed over.
    let constant = |value: &Value| {
        let says = |stmt: &&Stmt| matches!(&stmt.kind, StmtKind::Let(known, Op::Literal(_) | Op::Param(_)) if known == value);
        decl.body.iter().find(says).cloned()
    };
    // But an operand of an opaque expression has to be a column.
    let mut operands = EntitySet::new();
    rest.iter().filter_map(opaque_of).for_each(|(_, _, args)| operands.extend(args.iter().copied()));
    let mut again = vec![];
    live.retain(|value| match constant(value) {
        Some(stmt) if !operands.contains(*value) => {
            again.push(stmt);
            false
        }
        _ => true,
    });
    let columns = live.iter().map(|value| decl.values[*value]).collect::<Vec<_>>();
    let stored = vec![Stored::Arrow; columns.len()];
    let input = program.inputs.push(InputDecl { name: decl.name.clone(), columns, stored, handed: true, ..InputDecl::default() });
    // The second part comes after all that reads or writes what the first does.
    let second = StageDecl {
        name: decl.name.clone(),
        source: Source::Input { input, partitioned: false },
        params: live.clone(),
        body: again.into_iter().chain(rest).collect(),
        sink: decl.sink.clone(),
        sink_note: decl.sink_note.clone(),
        values: decl.values.clone(),
    };
    let mut first = std::mem::replace(decl, second);
    first.sink = Sink::Hand { input, columns: live };
    first.sink_note = None;
    first
}

/// Brings operations that the operands of opaque expressions need ahead of the first of those, as far as every row that reaches it reaches
/// them: so that one cut does for several expressions. Yields the place of the first opaque expression.
fn gather_operands(decl: &mut StageDecl, at: usize) -> usize {
    let end = at + decl.body[at..].iter().take_while(|stmt| matches!(stmt.kind, StmtKind::Let(..))).count();
    let mut needed = EntitySet::new();
    for stmt in decl.body[at..end].iter().rev() {
        let StmtKind::Let(value, op) = &stmt.kind else { continue };
        if matches!(op, Op::Opaque(..)) || needed.contains(*value) {
            op.for_each_operand(&mut |operand| {
                needed.insert(operand);
            });
        }
    }
    // What depends on an opaque result stays behind it.
    let mut opaque = EntitySet::new();
    let (mut ahead, mut behind) = (vec![], vec![]);
    for stmt in decl.body.drain(at..end).collect::<Vec<_>>() {
        let StmtKind::Let(value, op) = &stmt.kind else { continue };
        let mut depends = op.has_opaque();
        op.for_each_operand(&mut |operand| depends |= opaque.contains(operand));
        if depends {
            opaque.insert(*value);
        }
        if !depends && needed.contains(*value) {
            ahead.push(stmt);
        } else {
            behind.push(stmt);
        }
    }
    let place = at + ahead.len();
    // The expressions whose operands are there now come first, so that all of them become columns.
    behind.sort_by_key(|stmt| !matches!(opaque_of(stmt), Some((_, _, args)) if args.iter().all(|arg| !opaque.contains(*arg))));
    decl.body.splice(at..at, ahead.into_iter().chain(behind));
    place
}
