//! Carries text of dictionaries as numbers.
//!
//! Where a column of an input lies as numbers of dictionary entries, a row that is kept in a table takes 1 to 4 bytes for such a text in place of 16, keys are hashed and compared as
//! integers, and rows are put in order by them, for entries are sorted. So a payload, a group key or a field of a sort whose text always comes from one dictionary holds the number;
//! whoever wants the text reads the entry ([`Op::Entry`]), for the rows that come so far.
//!
//! Keys of join tables stay text, for the other side may have another dictionary; so does what a residual condition of a probe reads, and what is null for the
//! sake of a grouping set.

use std::collections::{BTreeSet, HashMap, HashSet};

use cranelift_entity::PrimaryMap;

use crate::entities::{Groups, Input, Join, Sort, Stage, Value};
use crate::op::Op;
use crate::program::{Probe, Program, Sink, Source, StageDecl, Stmt, StmtKind};
use crate::types::{SqlType, Stored, Type};

/// The dictionary of a column of an input.
type Dictionary = (Input, u32);

/// A field of a state, numbered as a stage reads them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Field {
    Join(Join, usize),
    Groups(Groups, usize),
    Sort(Sort, usize),
}

/// Fields of states that hold numbers, and of which dictionary.
type Fields = HashMap<Field, Dictionary>;

/// Has states hold numbers of dictionary entries in place of text, in a program that obeys the verifier's laws.
///
/// Inputs get columns for them, behind those that the host hands over already: yields, in order, the input and the column that each is once more, as numbers. A
/// program that breaks a law is left as it is, for the verifier to report.
pub fn carry_codes(program: &mut Program) -> Vec<(Input, u32)> {
    if crate::verifier::verify(program).is_err() {
        return vec![];
    }
    let fields = coded_fields(program);
    let mut columns = BTreeSet::new();
    for stage in program.stages.values().filter(|stage| matches!(stage.source, Source::Input { .. })) {
        let known = origins(program, stage, &HashMap::new());
        for_each_written(program, stage, &mut |field, value| {
            columns.extend(known.get(&value).filter(|_| fields.contains_key(&field)));
        });
    }
    let columns: Vec<Dictionary> = columns.into_iter().collect();
    let numbers = add_columns(program, &columns);
    for (field, dictionary) in &fields {
        let sql = numbers_of(program, *dictionary);
        let ty = match *field {
            Field::Join(join, number) => {
                let keys = program.joins[join].keys.len();
                &mut program.joins[join].payload[number - keys]
            }
            Field::Groups(groups, number) => &mut program.groups[groups].keys[number],
            Field::Sort(sort, number) => {
                let decl = &mut program.sorts[sort];
                let keys = decl.keys.len();
                decl.keys.get_mut(number).map(|key| &mut key.ty).unwrap_or_else(|| &mut decl.payload[number - keys])
            }
        };
        *ty = Type::new(sql, ty.nullable);
    }
    for stage in program.stages.keys().collect::<Vec<Stage>>() {
        let mut decl = program.stages[stage].clone();
        Carrier::new(program, &fields, &numbers, &mut decl).run(&mut decl);
        program.stages[stage] = decl;
    }
    columns
}

/// The type of a dictionary's numbers.
fn numbers_of(program: &Program, (input, column): Dictionary) -> SqlType {
    program.inputs[input].stored[column as usize].numbers().expect("a dictionary has numbers")
}

/// Which fields hold text of one dictionary only, and may hold its numbers.
fn coded_fields(program: &Program) -> Fields {
    let barred = barred_fields(program);
    // Writers come before readers: all of a field's are known when a stage reads it.
    let mut written: HashMap<Field, Option<Dictionary>> = HashMap::new();
    for stage in program.stages.values() {
        let fields: Fields = written.iter().filter_map(|(field, dictionary)| Some((*field, (*dictionary)?))).collect();
        let known = origins(program, stage, &fields);
        for_each_written(program, stage, &mut |field, value| {
            let dictionary = known.get(&value).copied().filter(|_| !barred.contains(&field));
            let all = written.entry(field).or_insert(dictionary);
            if *all != dictionary {
                *all = None;
            }
        });
    }
    written.into_iter().filter_map(|(field, dictionary)| Some((field, dictionary?))).collect()
}

/// Fields that have to stay text.
fn barred_fields(program: &Program) -> HashSet<Field> {
    let always = program.groups.iter().filter(|(_, decl)| !decl.always.is_empty());
    let mut barred: HashSet<Field> =
        always.flat_map(|(groups, decl)| (0..decl.keys.len()).map(move |key| Field::Groups(groups, key))).collect();
    for probe in program.stages.values().flat_map(StageDecl::probes).filter(|probe| probe.residual.is_some()) {
        let mut read = HashSet::new();
        probe.for_each_operand(&mut |value| _ = read.insert(value));
        let of_residual = |value: &Option<Value>| value.is_some_and(|value| read.contains(&value));
        let columns = probe.columns.iter().enumerate().filter(|(_, value)| of_residual(value));
        barred.extend(columns.map(|(column, _)| Field::Join(probe.join, column)));
    }
    barred
}

/// The values of a stage that are text of a dictionary.
fn origins(program: &Program, stage: &StageDecl, fields: &Fields) -> HashMap<Value, Dictionary> {
    let mut known = HashMap::new();
    for (number, param) in stage.params.iter().enumerate() {
        let dictionary = match stage.source {
            Source::Input { input, .. } => {
                let is_text = stage.values[*param].sql == SqlType::Utf8 && program.inputs[input].stored[number].numbers().is_some();
                is_text.then_some((input, number as u32))
            }
            Source::Groups(groups) => fields.get(&Field::Groups(groups, number)).copied(),
            Source::Join(join, _) => fields.get(&Field::Join(join, number)).copied(),
            Source::Sort(sort) => fields.get(&Field::Sort(sort, number)).copied(),
        };
        known.extend(dictionary.map(|dictionary| (*param, dictionary)));
    }
    for probe in stage.probes() {
        known.extend(coded_columns(probe, fields).map(|(_, value, dictionary)| (value, dictionary)));
    }
    known
}

/// The columns of a probe that hold numbers: which, as which value, of which dictionary.
fn coded_columns(probe: &Probe, fields: &Fields) -> impl Iterator<Item = (usize, Value, Dictionary)> {
    let columns = probe.columns.iter().enumerate();
    columns.filter_map(|(column, value)| Some((column, (*value)?, *fields.get(&Field::Join(probe.join, column))?)))
}

/// Calls `f` with every field that may hold numbers and that the stage writes, and the value that it writes there.
fn for_each_written(program: &Program, stage: &StageDecl, f: &mut impl FnMut(Field, Value)) {
    match &stage.sink {
        Sink::Build { join, payload, .. } => {
            let keys = program.joins[*join].keys.len();
            payload.iter().enumerate().for_each(|(column, value)| f(Field::Join(*join, keys + column), *value));
        }
        Sink::Group { groups, keys, .. } => keys.iter().enumerate().for_each(|(key, value)| f(Field::Groups(*groups, key), *value)),
        Sink::Sort { sort, keys, payload } => {
            keys.iter().chain(payload).enumerate().for_each(|(field, value)| f(Field::Sort(*sort, field), *value));
        }
        Sink::Mark { .. } | Sink::Hand { .. } | Sink::Emit { .. } => {}
    }
}

/// Adds columns of numbers to inputs and to the stages that read them; tells which they are.
fn add_columns(program: &mut Program, columns: &[Dictionary]) -> HashMap<Dictionary, usize> {
    let mut numbers = HashMap::new();
    for dictionary @ (input, column) in columns.iter().copied() {
        let decl = &mut program.inputs[input];
        let (at, column) = (decl.given(), column as usize);
        let Stored::Dictionary { entries } = decl.stored[column] else { continue };
        let sql = decl.stored[column].numbers().expect("a dictionary has numbers");
        let ty = Type::new(sql, decl.columns[column].nullable);
        decl.columns.insert(at, ty);
        decl.stored.insert(at, Stored::Offset { base: 0, span: u64::from(entries) - 1 });
        let later = decl.computed.iter_mut().flat_map(|computed| &mut computed.args).filter(|arg| **arg as usize >= at);
        later.for_each(|arg| *arg += 1);
        for stage in program.stages.values_mut() {
            if matches!(stage.source, Source::Input { input: read, .. } if read == input) {
                let param = stage.values.push(ty);
                stage.params.insert(at, param);
            }
        }
        numbers.insert(dictionary, at);
    }
    numbers
}

/// Rewrites a stage.
struct Carrier<'a> {
    program: &'a Program,
    fields: &'a Fields,
    values: PrimaryMap<Value, Type>,
    /// By text: its number, and of which dictionary.
    codes: HashMap<Value, (Value, Dictionary)>,
    /// Texts that nobody has read yet where only their number is there.
    unread: HashSet<Value>,
}

impl<'a> Carrier<'a> {
    fn new(program: &'a Program, fields: &'a Fields, numbers: &HashMap<Dictionary, usize>, decl: &mut StageDecl) -> Self {
        let values = std::mem::take(&mut decl.values);
        let mut carrier = Carrier { program, fields, values, codes: HashMap::new(), unread: HashSet::new() };
        let field = |number: usize| match decl.source {
            Source::Input { .. } => None,
            Source::Groups(groups) => fields.get(&Field::Groups(groups, number)),
            Source::Join(join, _) => fields.get(&Field::Join(join, number)),
            Source::Sort(sort) => fields.get(&Field::Sort(sort, number)),
        };
        for number in 0..decl.params.len() {
            if let Some(dictionary) = field(number) {
                decl.params[number] = carrier.code(decl.params[number], *dictionary);
            }
        }
        if let Source::Input { input, .. } = decl.source {
            let own = numbers.iter().filter(|((of, _), _)| *of == input);
            carrier.codes.extend(own.map(|(dictionary, at)| (decl.params[dictionary.1 as usize], (decl.params[*at], *dictionary))));
        }
        carrier
    }

    fn run(mut self, decl: &mut StageDecl) {
        let mut body = Vec::with_capacity(decl.body.len());
        for mut stmt in decl.body.drain(..) {
            stmt.kind.for_each_operand(&mut |value| self.read(value, stmt.note.as_ref(), &mut body));
            if let StmtKind::Probe(probe) = &mut stmt.kind {
                self.probe(probe);
            }
            body.push(stmt);
        }
        let fields = self.fields;
        let coded = |(field, value): (Field, &mut Value)| {
            if fields.contains_key(&field) {
                *value = self.codes[value].0;
            }
        };
        match &mut decl.sink {
            Sink::Build { join, keys, payload } => {
                payload.iter_mut().enumerate().map(|(column, value)| (Field::Join(*join, keys.len() + column), value)).for_each(coded);
            }
            Sink::Group { groups, keys, .. } => {
                keys.iter_mut().enumerate().map(|(key, value)| (Field::Groups(*groups, key), value)).for_each(coded);
            }
            Sink::Sort { sort, keys, payload } => {
                keys.iter_mut().chain(payload).enumerate().map(|(field, value)| (Field::Sort(*sort, field), value)).for_each(coded);
            }
            Sink::Mark { probe } => self.probe(probe),
            Sink::Hand { .. } | Sink::Emit { .. } => {}
        }
        decl.sink.for_each_operand(&mut |value| self.read(value, decl.sink_note.as_ref(), &mut body));
        decl.body = body;
        decl.values = self.values;
    }

    /// The number that comes in a text's place.
    fn code(&mut self, text: Value, dictionary: Dictionary) -> Value {
        let code = self.values.push(Type::new(numbers_of(self.program, dictionary), self.values[text].nullable));
        self.codes.insert(text, (code, dictionary));
        self.unread.insert(text);
        code
    }

    fn probe(&mut self, probe: &mut Probe) {
        let coded: Vec<_> = coded_columns(probe, self.fields).collect();
        for (column, text, dictionary) in coded {
            probe.columns[column] = Some(self.code(text, dictionary));
        }
    }

    /// Reads a text, if only its number is there.
    fn read(&mut self, text: Value, note: Option<&std::sync::Arc<str>>, body: &mut Vec<Stmt>) {
        if self.unread.remove(&text) {
            let (code, (input, column)) = self.codes[&text];
            body.push(Stmt { kind: StmtKind::Let(text, Op::Entry(input, column, code)), note: note.cloned() });
        }
    }
}
