//! One stage: what is visible where, and what it owes to the declarations.

use cranelift_entity::SecondaryMap;

use super::declarations::verify_type;
use super::{Errors, Law, Place, ops};
use crate::entities::{Join, Value};
use crate::op::{Op, Region};
use crate::program::{Expand, JoinRows, Probe, ProbeKind, Program, Sink, Source, StageDecl, StmtKind};
use crate::states::{AccOp, JoinDecl};
use crate::types::{SqlType, Type};

/// Checks a stage by itself.
pub(super) fn verify(program: &Program, decl: &StageDecl, errors: &mut Errors) {
    let mut verifier = StageVerifier { program, decl, errors, known: SecondaryMap::new(), scope: vec![] };
    verifier.source();
    for (i, stmt) in decl.body.iter().enumerate() {
        verifier.errors.place = Some(Place::Stmt(i));
        match &stmt.kind {
            StmtKind::Let(value, op) => verifier.operation(*value, op),
            StmtKind::Filter(condition) => verifier.condition(*condition, "filter"),
            StmtKind::Probe(probe) => verifier.probe(probe),
            StmtKind::Limit(limit) => {
                let declared = program.limits.is_valid(*limit);
                verifier.errors.check(declared, Law::Declared, || format!("{limit} is not declared"));
            }
            StmtKind::Expand(expand) => verifier.expand(expand),
        }
    }
    verifier.errors.place = Some(Place::Sink);
    verifier.sink();
    verifier.errors.place = None;
}

/// What the verifier knows of a value at some point.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Undefined,
    Visible,
    /// Defined in a region that has ended.
    OutOfScope,
}

struct StageVerifier<'a, 'e> {
    program: &'a Program,
    decl: &'a StageDecl,
    errors: &'e mut Errors,
    known: SecondaryMap<Value, Known>,
    /// Values that are visible, in order of definition.
    scope: Vec<Value>,
}

impl StageVerifier<'_, '_> {
    fn define(&mut self, value: Value) -> Option<Type> {
        let Some(ty) = self.decl.values.get(value).copied() else {
            self.errors.push(Law::DefinitionBeforeUse, format!("{value} has no type"));
            return None;
        };
        verify_type(self.program, ty, self.errors);
        if self.known[value] != Known::Undefined {
            self.errors.push(Law::SingleDefinition, format!("{value} is defined twice"));
        }
        self.known[value] = Known::Visible;
        self.scope.push(value);
        Some(ty)
    }

    /// The type of a value that is used; `None` (and an error) where it is not visible.
    fn used(&mut self, value: Value) -> Option<Type> {
        let Some(ty) = self.decl.values.get(value).copied() else {
            self.errors.push(Law::DefinitionBeforeUse, format!("{value} is nowhere defined"));
            return None;
        };
        match self.known[value] {
            Known::Visible => return Some(ty),
            Known::Undefined => self.errors.push(Law::DefinitionBeforeUse, format!("{value} is used before it is defined")),
            Known::OutOfScope => self.errors.push(Law::DefinitionBeforeUse, format!("{value} is not visible here")),
        }
        None
    }

    /// Types of values that are used; `None` where one of them is not visible.
    fn all_used(&mut self, values: &[Value]) -> Option<Vec<Type>> {
        let types: Vec<_> = values.iter().map(|value| self.used(*value)).collect();
        types.into_iter().collect()
    }

    /// Makes the values that were defined since the scope had this length invisible.
    fn leave(&mut self, scope: usize) {
        for value in self.scope.drain(scope..) {
            self.known[value] = Known::OutOfScope;
        }
    }

    fn join(&mut self, join: Join) -> Option<&'_ JoinDecl> {
        let decl = self.program.joins.get(join);
        self.errors.check(decl.is_some(), Law::Declared, || format!("{join} is not declared"));
        decl
    }

    fn source(&mut self) {
        self.errors.place = Some(Place::Source);
        let columns: Option<Vec<Type>> = match self.decl.source {
            Source::Input { input, .. } => self.program.inputs.get(input).map(|input| input.columns.clone()),
            Source::Groups(groups) => self.program.groups.get(groups).map(|groups| groups.columns().collect()),
            Source::Join(join, rows) => {
                let flag = (rows == JoinRows::All).then_some(Type::boolean(false));
                self.program.joins.get(join).map(|join| join.keys.iter().chain(&join.payload).copied().chain(flag).collect())
            }
            Source::Sort(sort) => {
                self.program.sorts.get(sort).map(|sort| sort.keys.iter().map(|key| key.ty).chain(sort.payload.iter().copied()).collect())
            }
        };
        for param in &self.decl.params {
            self.define(*param);
        }
        let Some(columns) = columns else {
            self.errors.push(Law::Declared, format!("{} is not declared", self.decl.source));
            return;
        };
        let (found, wanted) = (self.decl.params.len(), columns.len());
        self.errors.check(found == wanted, Law::SourceColumns, || format!("{found} values for {wanted} columns"));
        for (param, column) in self.decl.params.iter().zip(columns) {
            let Some(ty) = self.decl.values.get(*param) else { continue };
            let holds = same_register(*ty, column) && ty.nullable >= column.nullable;
            self.errors.check(holds, Law::SourceColumns, || format!("{param} is {ty}, the column {column}"));
        }
    }

    fn condition(&mut self, value: Value, what: &str) {
        if let Some(ty) = self.used(value) {
            self.errors.check(ty.sql == SqlType::Boolean, Law::Conditions, || format!("the {what}'s condition is {ty}"));
        }
    }

    fn expand(&mut self, expand: &Expand) {
        let Some(ty) = self.define(expand.value) else { return };
        let literals = expand.literals.iter().map(|lit| self.program.literals.get(*lit));
        let fit = literals.clone().all(|literal| literal.is_some_and(|literal| literal.ty.sql == ty.sql && !literal.ty.nullable));
        let holds = ty.sql.is_integer() && fit && literals.len() > 0;
        self.errors.check(holds, Law::Expansions, || format!("{} is {ty}, which its literals are not", expand.value));
        let follow = expand.literals.windows(2).all(|pair| pair[0].as_u32() + 1 == pair[1].as_u32());
        self.errors.check(follow, Law::Expansions, || "the numbers of the literals do not follow one another".into());
    }

    fn probe(&mut self, probe: &Probe) {
        let keys = self.all_used(&probe.keys);
        let Some(table) = self.join(probe.join).cloned() else { return };
        let (found, wanted) = (probe.keys.len(), table.keys.len());
        self.errors.check(found == wanted, Law::ProbeKeys, || format!("{found} keys for the {wanted} of {}", probe.join));
        for (key, field) in keys.iter().flatten().zip(&table.keys) {
            self.errors.check(same_register(*key, *field), Law::ProbeKeys, || format!("a key is {key}, the table's {field}"));
        }

        let scope = self.scope.len();
        let (found, wanted) = (probe.columns.len(), table.keys.len() + table.payload.len());
        self.errors.check(found == wanted, Law::ProbeColumns, || format!("{found} columns for the {wanted} of {}", probe.join));
        for (i, column) in probe.columns.iter().enumerate() {
            let Some(column) = *column else { continue };
            let (Some(ty), Some(field)) = (self.define(column), table.keys.iter().chain(&table.payload).nth(i)) else { continue };
            // A null key that matches nothing is never seen.
            let null_field = field.nullable && (i >= table.keys.len() || table.null_equal);
            let nullable = null_field || probe.kind == ProbeKind::Outer;
            let holds = same_register(ty, *field) && ty.nullable >= nullable;
            self.errors.check(holds, Law::ProbeColumns, || format!("{column} is {ty}, the table's field {field}"));
        }
        if let Some(region) = &probe.residual {
            let place = self.errors.place;
            if let Some(ty) = self.region(region) {
                self.errors.place = place;
                self.errors.check(ty.sql == SqlType::Boolean, Law::Conditions, || format!("the residual condition is {ty}"));
            }
            self.errors.place = place;
        }
        if !matches!(probe.kind, ProbeKind::Inner | ProbeKind::Outer) {
            self.leave(scope);
        }
        let marks = probe.kind == ProbeKind::Mark;
        self.errors.check(probe.mark.is_some() == marks, Law::ProbeColumns, || {
            format!("a probe of kind {} has {} mark", probe.kind.name(), if marks { "no" } else { "a" })
        });
        if let Some(mark) = probe.mark
            && let Some(ty) = self.define(mark)
        {
            self.errors.check(ty.sql == SqlType::Boolean, Law::ProbeColumns, || format!("the mark {mark} is {ty}"));
        }
    }

    /// Checks a region and yields its result's type.
    fn region(&mut self, region: &Region) -> Option<Type> {
        let scope = self.scope.len();
        let place = self.errors.place;
        for (value, op) in &region.body {
            self.operation(*value, op);
        }
        self.errors.place = place;
        let ty = self.used(region.result);
        self.leave(scope);
        ty
    }

    fn operation(&mut self, value: Value, op: &Op) {
        let outer = self.errors.place.replace(Place::Value(value));
        let typed = self.operands(op);
        self.errors.place = Some(Place::Value(value));
        if let (Some(result), Some(typed)) = (self.define(value), typed) {
            self.result(op, &typed, result);
        }
        self.errors.place = outer;
    }

    /// Types of an operation's operands, and of what its regions yield; `None` where one of them is not visible.
    fn operands(&mut self, op: &Op) -> Option<Vec<Type>> {
        match op {
            Op::Literal(_) | Op::Param(_) => Some(vec![]),
            Op::Unary(_, a) | Op::In(a, _) | Op::Like(a, _) | Op::Ilike(a, _) | Op::Entry(_, _, a) => self.all_used(&[*a]),
            Op::Binary(_, a, b) => self.all_used(&[*a, *b]),
            Op::If(condition, then, otherwise) => {
                let condition = self.used(*condition);
                let then = self.region(then);
                let otherwise = self.region(otherwise);
                Some(vec![condition?, then?, otherwise?])
            }
            Op::Substr(a, start, count) => {
                let values: Vec<_> = [*a, *start].into_iter().chain(*count).collect();
                self.all_used(&values)
            }
            Op::Opaque(_, args) | Op::Call(_, args) => self.all_used(args),
        }
    }

    /// Laws 6 and 7 for one operation, given the types of its operands (and of what its regions yield).
    fn result(&mut self, op: &Op, typed: &[Type], result: Type) {
        let any_nullable = typed.iter().any(|ty| ty.nullable);
        let (rule, nullable) = match (op, typed) {
            (Op::Literal(lit), _) => match self.program.literals.get(*lit) {
                Some(literal) => (ops::literal(literal, result), literal.ty.nullable),
                None => return self.errors.push(Law::Declared, format!("{lit} is not declared")),
            },
            (Op::Param(param), _) => match self.program.params.get(*param) {
                Some(decl) => (ops::param(decl.ty, result), decl.ty.nullable),
                None => return self.errors.push(Law::Declared, format!("{param} is not declared")),
            },
            (Op::Unary(op, _), [a]) => (ops::unary(*op, *a, result), ops::unary_passes_null(*op) && a.nullable),
            (Op::Binary(op, ..), [a, b]) => (ops::binary(*op, *a, *b, result), ops::binary_passes_null(*op) && any_nullable),
            (Op::If(..), [condition, then, otherwise]) => {
                (ops::choice(*condition, [*then, *otherwise], result), then.nullable || otherwise.nullable)
            }
            (Op::In(_, list), [a]) => {
                let literals: Option<Vec<_>> = list.iter().map(|lit| self.program.literals.get(*lit)).collect();
                match literals {
                    Some(literals) => (ops::in_list(*a, &literals, result), any_nullable),
                    None => return self.errors.push(Law::Declared, "a literal of the list is not declared"),
                }
            }
            (Op::Call(function, _), args) => (ops::call(*function, args, result), any_nullable || function.can_be_null()),
            (Op::Like(_, lit) | Op::Ilike(_, lit), [a]) => match self.program.literals.get(*lit) {
                Some(pattern) => (ops::like(*a, pattern, result), any_nullable),
                None => return self.errors.push(Law::Declared, format!("{lit} is not declared")),
            },
            (Op::Substr(..), [a, start, rest @ ..]) => (ops::substr(*a, *start, rest.first().copied(), result), any_nullable),
            (Op::Entry(input, column, _), [number]) => {
                let stored = self.program.inputs.get(*input).and_then(|decl| decl.stored.get(*column as usize));
                (ops::entry(stored.copied(), *number, result), any_nullable)
            }
            (Op::Opaque(opaque, _), args) => {
                let Some(decl) = self.program.opaques.get(*opaque) else {
                    return self.errors.push(Law::Declared, format!("{opaque} is not declared"));
                };
                for (arg, declared) in args.iter().zip(&decl.args) {
                    let holds = arg.nullable <= declared.nullable;
                    self.errors.check(holds, Law::Nullability, || format!("an operand is {arg}, {opaque} declares {declared}"));
                }
                let matches = args.len() == decl.args.len() && args.iter().zip(&decl.args).all(|(arg, ty)| same_register(*arg, *ty));
                let holds = matches && same_register(result, decl.result);
                (if holds { Ok(()) } else { Err(format!("types are not those that {opaque} declares")) }, decl.result.nullable)
            }
            // As many operands as the operation has, by construction.
            _ => return,
        };
        if let Err(message) = rule {
            self.errors.push(Law::OperationTypes, message);
        }
        self.errors.check(result.nullable >= nullable, Law::Nullability, || format!("the result may be null, but is {result}"));
    }

    fn sink(&mut self) {
        match &self.decl.sink {
            Sink::Build { join, keys, payload } => {
                let types = self.all_used(&keys.iter().chain(payload).copied().collect::<Vec<_>>());
                let Some(table) = self.join(*join) else { return };
                let fields: Vec<Type> = table.keys.iter().chain(&table.payload).copied().collect();
                let holds = (keys.len(), payload.len()) == (table.keys.len(), table.payload.len());
                self.errors.check(holds, Law::Build, || format!("{} keys and {} payload values for {join}", keys.len(), payload.len()));
                self.stored(&types.unwrap_or_default(), &fields, Law::Build);
            }
            Sink::Mark { probe } => {
                let holds = probe.kind == ProbeKind::Semi && probe.marks_build;
                self.errors.check(holds, Law::MarkingSinks, || "a marking sink is a semi join that marks".into());
                self.probe(probe);
            }
            Sink::Group { groups, keys, args, operands } => {
                let types = self.all_used(keys);
                let operands: Vec<_> = operands.iter().map(|operand| self.used(*operand)).collect();
                let args: Vec<_> = args.iter().map(|arg| arg.map(|arg| self.used(arg))).collect();
                let Some(table) = self.program.groups.get(*groups) else {
                    return self.errors.push(Law::Declared, format!("{groups} is not declared"));
                };
                let holds = (keys.len(), args.len()) == (table.keys.len(), table.accs.len());
                self.errors.check(holds, Law::Group, || format!("{} keys and {} arguments for {groups}", keys.len(), args.len()));
                self.stored(&types.unwrap_or_default(), &table.keys, Law::Group);
                let (found, wanted) = (operands.len(), table.operands.len());
                self.errors.check(found == wanted, Law::Calls, || format!("{found} operands for the {wanted} of {groups}"));
                for (operand, declared) in operands.iter().zip(&table.operands) {
                    let Some(operand) = operand else { continue };
                    let holds = operand.sql == declared.sql && operand.nullable <= declared.nullable;
                    self.errors.check(holds, Law::Calls, || format!("an operand is {operand}, {groups} declares {declared}"));
                }
                for (acc, arg) in table.accs.iter().zip(args) {
                    let given = arg.is_some();
                    self.errors.check(given == acc.op.takes_argument(), Law::Group, || {
                        format!("{} {} argument", acc.op.name(), if given { "takes no" } else { "needs an" })
                    });
                    let Some(arg) = arg.flatten() else { continue };
                    let holds = match acc.op {
                        AccOp::CountRows | AccOp::Count => true,
                        AccOp::Sum => ops::same(arg.sql, acc.ty.sql),
                        AccOp::BitOr | AccOp::BitXor => same_register(arg, acc.ty),
                        AccOp::Min | AccOp::Max => same_register(arg, acc.ty) && acc.ty.nullable >= (arg.nullable || table.keys.is_empty()),
                    };
                    self.errors.check(holds, Law::Group, || format!("{} as {} does not take {arg}", acc.op.name(), acc.ty));
                }
            }
            Sink::Sort { sort, keys, payload } => {
                let types = self.all_used(&keys.iter().chain(payload).copied().collect::<Vec<_>>());
                let Some(decl) = self.program.sorts.get(*sort) else {
                    return self.errors.push(Law::Declared, format!("{sort} is not declared"));
                };
                let fields: Vec<Type> = decl.keys.iter().map(|key| key.ty).chain(decl.payload.iter().copied()).collect();
                let holds = (keys.len(), payload.len()) == (decl.keys.len(), decl.payload.len());
                self.errors.check(holds, Law::Sort, || format!("{} keys and {} payload values for {sort}", keys.len(), payload.len()));
                self.stored(&types.unwrap_or_default(), &fields, Law::Sort);
            }
            Sink::Hand { input, columns } => {
                let types = self.all_used(columns);
                let Some(decl) = self.program.inputs.get(*input) else {
                    return self.errors.push(Law::Declared, format!("{input} is not declared"));
                };
                let (found, wanted) = (columns.len(), decl.given());
                self.errors.check(found == wanted, Law::HandingOver, || format!("{found} values for {wanted} columns of {input}"));
                for (ty, column) in types.iter().flatten().zip(&decl.columns) {
                    let holds = ty.sql == column.sql && ty.nullable <= column.nullable;
                    self.errors.check(holds, Law::HandingOver, || format!("a value is {ty}, the column of {input} {column}"));
                }
            }
            Sink::Emit { columns } => {
                let types = self.all_used(columns);
                let (found, wanted) = (columns.len(), self.program.output.len());
                self.errors.check(found == wanted, Law::Emit, || format!("{found} values for {wanted} output columns"));
                for (ty, column) in types.iter().flatten().zip(&self.program.output) {
                    let holds = ty.sql == column.sql && ty.nullable <= column.nullable;
                    self.errors.check(holds, Law::Emit, || format!("a value is {ty}, the output column {column}"));
                }
            }
        }
    }

    /// Values that go to fields of a table.
    fn stored(&mut self, values: &[Type], fields: &[Type], law: Law) {
        for (value, field) in values.iter().zip(fields) {
            let holds = same_register(*value, *field) && value.nullable <= field.nullable;
            self.errors.check(holds, law, || format!("a value is {value}, the table's field {field}"));
        }
    }
}

/// Same SQL type and representation.
fn same_register(a: Type, b: Type) -> bool {
    a.sql == b.sql && a.repr == b.repr
}
