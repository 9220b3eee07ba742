//! The text form of programs. [`crate::parser`] reads it back: `print -> parse -> print` is the identity.
//!
//! ```text
//! program {
//!   host0 "List(Int64)"
//!   input0 "lineitem" (int64, decimal(15,2):i64 offset(90100, 10404850), utf8? dictionary(3)) pinned
//!   input1 "" (utf8, host0?) computed(boolean = opaque0(0)) handed
//!   lit0: decimal(15,2) = 2400
//!   lit1: float64 = 0x3ff0000000000000
//!   lit2: uint8 = 0
//!   lit3: uint8 = 1
//!   param0 "a scalar subquery" int64?
//!   opaque0 "regexp_like(c, 'x')" (utf8) -> boolean
//!   aggregate0 "corr(a, b)"
//!   join0 keys(int64) payload(utf8) null_equal tracked
//!   groups0 keys(utf8) accs(sum decimal(25,2)?, count_rows int64) operands(float64?, boolean) calls(aggregate0(0, 0) filter 1 -> float64?)
//!   sort0 keys(utf8? desc nulls_first, int64) payload(int64) skip 0 fetch 10
//!   limit0 skip 0 fetch all
//!   output (utf8, int64)
//!
//!   s0 "scan lineitem" {
//!     source input0 (v0: int64, v1: decimal(15,2):i64, v2: utf8?)
//!     v3: decimal(15,2) = literal lit0
//!     v4: boolean = lt v1, v3
//!     filter v4
//!     expand v9: uint8 [lit2, lit3]
//!     probe join0 inner keys(v0) -> (_, v5: utf8) residual {
//!       v6: boolean = eq v5, v2
//!       yield v6
//!     }
//!     group groups0 keys(v5) args(v1, _) operands(v7, v4)
//!   }
//! }
//! ```
//!
//! `;` begins a comment to the end of the line. Floats are printed as the bits of an `f64`, so that nothing is lost.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use crate::entities::{Lit, Param, Stage, Value};
use crate::op::{Op, Region};
use crate::program::{Datum, Expand, JoinRows, Literal, Probe, Program, Sink, Source, StageDecl, StmtKind};
use crate::states::{CallDecl, SortKey};
use crate::types::Stored;
use crate::verifier::Place;

impl Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Printer::new(self, false).program())
    }
}

/// The text form of a program with comments: what operator or expression of the plan each part comes from, and the values of literals.
/// The text form without them is the program's `Display`; both can be parsed.
///
/// ```
/// # use stagefuse_ir::{parser, printer};
/// # let text = "program { input0 \"t\" () lit0: int64 = 42 output (int64)
/// #   s0 \"scan t\" { source input0 () v0: int64 = literal lit0 emit (v0) } }";
/// let program = parser::parse(text).expect("a program");
/// assert!(printer::annotated(&program).contains("v0: int64 = literal lit0  ; 42"));
/// assert_eq!(parser::parse(&printer::annotated(&program)).expect("a program").to_string(), program.to_string());
/// ```
pub fn annotated(program: &Program) -> String {
    Printer::new(program, true).program()
}

/// The text form of one stage, with comments if `annotated`. Empty if there is no such stage.
pub fn print_stage(program: &Program, stage: Stage, annotated: bool) -> String {
    let mut printer = Printer::new(program, annotated);
    if let Some(decl) = program.stages.get(stage) {
        printer.stage(stage, decl);
    }
    printer.out
}

/// A line of a stage's text form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text, indented.
    pub text: String,
    /// The part of the stage that it shows; for an operation the value that it defines. None for what only frames others.
    pub place: Option<Place>,
    /// What operator or expression of the plan that comes from.
    pub note: Option<Arc<str>>,
}

/// The text form of one stage line by line, literals with their values. Empty if there is no such stage.
pub fn stage_lines(program: &Program, stage: Stage) -> Vec<Line> {
    let mut printer = Printer { literals: true, ..Printer::new(program, false) };
    let Some(decl) = program.stages.get(stage) else { return vec![] };
    printer.stage(stage, decl);
    let note = |place: &Place| match place {
        Place::Source => None,
        Place::Sink => decl.sink_note.clone(),
        Place::Stmt(number) => decl.body.get(*number).and_then(|stmt| stmt.note.clone()),
        Place::Value(value) => {
            let mut defining = decl.body.iter().filter(|stmt| defines(&stmt.kind, *value));
            defining.next().and_then(|stmt| stmt.note.clone())
        }
    };
    let lines = printer.out.lines().zip(printer.places);
    lines.map(|(text, place)| Line { text: text.to_string(), place, note: place.as_ref().and_then(note) }).collect()
}

/// Whether a statement defines a value, in a region perhaps.
fn defines(kind: &StmtKind, value: Value) -> bool {
    fn in_op(op: &Op, value: Value) -> bool {
        match op {
            Op::If(_, then, otherwise) => {
                [then, otherwise].iter().any(|region| region.body.iter().any(|(known, op)| *known == value || in_op(op, value)))
            }
            _ => false,
        }
    }
    match kind {
        StmtKind::Let(known, op) => *known == value || in_op(op, value),
        StmtKind::Probe(probe) => {
            let residual = probe.residual.iter().flat_map(|region| &region.body);
            residual.clone().any(|(known, op)| *known == value || in_op(op, value))
        }
        StmtKind::Filter(_) | StmtKind::Limit(_) | StmtKind::Expand(_) => false,
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Null => f.write_str("null"),
            Datum::Bool(value) => write!(f, "{value}"),
            Datum::Int(value) => write!(f, "{value}"),
            Datum::Float(bits) => write!(f, "0x{bits:016x}"),
            Datum::Str(text) => Quoted(text).fmt(f),
            Datum::Bytes(bytes) => {
                f.write_str("bytes \"")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_char('"')
            }
        }
    }
}

impl Display for CallDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.aggregate, List(self.args.iter()))?;
        if let Some(filter) = self.filter {
            write!(f, " filter {filter}")?;
        }
        write!(f, " -> {}", self.result)
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Input { input, partitioned: false } => write!(f, "{input}"),
            Source::Input { input, partitioned: true } => write!(f, "{input} partitioned"),
            Source::Groups(groups) => write!(f, "{groups}"),
            Source::Join(join, rows) => write!(f, "{join} {}", rows.name()),
            Source::Sort(sort) => write!(f, "{sort}"),
        }
    }
}

impl Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let descending = if self.descending { " desc" } else { "" };
        let nulls_first = if self.nulls_first { " nulls_first" } else { "" };
        write!(f, "{}{descending}{nulls_first}", self.ty)
    }
}

impl JoinRows {
    /// Every choice.
    pub const ALL: &'static [JoinRows] = &[JoinRows::Matched, JoinRows::Unmatched, JoinRows::All];

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            JoinRows::Matched => "matched",
            JoinRows::Unmatched => "unmatched",
            JoinRows::All => "all",
        }
    }
}

/// A text in quotes; quotes, backslashes and control characters are escaped.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Things with commas between them.
struct List<I>(I);

impl<I: Iterator<Item: Display> + Clone> Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.clone().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

/// A value where it is defined: name and type.
struct Definition<'a>(&'a StageDecl, Value);

impl Display for Definition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.values.get(self.1) {
            Some(ty) => write!(f, "{}: {ty}", self.1),
            // Only in a program that no builder made; a dump of it must not fail.
            None => write!(f, "{}: unknown", self.1),
        }
    }
}

/// A value, or `_` for none.
struct OrHole<T>(Option<T>);

impl<T: Display> Display for OrHole<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('_'),
        }
    }
}

struct Printer<'a> {
    program: &'a Program,
    /// Whether comments say where statements come from.
    annotated: bool,
    /// Whether comments say what literals are.
    literals: bool,
    out: String,
    /// By line of a stage.
    places: Vec<Option<Place>>,
    /// That of the next lines.
    place: Option<Place>,
    depth: usize,
}

impl<'a> Printer<'a> {
    fn new(program: &'a Program, annotated: bool) -> Self {
        Printer { program, annotated, literals: annotated, out: String::new(), places: vec![], place: None, depth: 0 }
    }

    fn line(&mut self, text: impl Display) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.out, "{text}");
        self.places.push(self.place);
    }

    /// A line that opens a block.
    fn open(&mut self, text: impl Display) {
        self.line(text);
        self.depth += 1;
    }

    /// A line that closes a block.
    fn close(&mut self, text: impl Display) {
        self.depth -= 1;
        self.line(text);
    }

    fn program(mut self) -> String {
        let program = self.program;
        self.open("program {");
        for (host, name) in program.host_types.iter() {
            self.line(format_args!("{host} {}", Quoted(name)));
        }
        for (input, decl) in program.inputs.iter() {
            let (given, computed) = decl.columns.split_at(decl.given());
            let columns = given.iter().enumerate();
            let columns: Vec<_> = columns.map(|(i, ty)| format!("{ty}{}", decl.stored.get(i).unwrap_or(&Stored::Arrow))).collect();
            let mut text = format!("{input} {} ({})", Quoted(&decl.name), List(columns.iter()));
            if !computed.is_empty() {
                let computed = computed.iter().zip(&decl.computed);
                let computed: Vec<_> = computed.map(|(ty, by)| format!("{ty} = {}({})", by.opaque, List(by.args.iter()))).collect();
                let _ = write!(text, " computed({})", List(computed.iter()));
            }
            text.push_str(if decl.pinned { " pinned" } else { "" });
            text.push_str(if decl.handed { " handed" } else { "" });
            self.line(text);
        }
        for (lit, Literal { ty, value }) in program.literals.iter() {
            self.line(format_args!("{lit}: {ty} = {value}"));
        }
        for (param, decl) in program.params.iter() {
            self.line(format_args!("{param} {} {}", Quoted(&decl.name), decl.ty));
        }
        for (opaque, decl) in program.opaques.iter() {
            self.line(format_args!("{opaque} {} ({}) -> {}", Quoted(&decl.name), List(decl.args.iter()), decl.result));
        }
        for (aggregate, decl) in program.aggregates.iter() {
            self.line(format_args!("{aggregate} {}", Quoted(&decl.name)));
        }
        for (join, decl) in program.joins.iter() {
            let null_equal = if decl.null_equal { " null_equal" } else { "" };
            let tracked = if decl.tracked { " tracked" } else { "" };
            let (keys, payload) = (List(decl.keys.iter()), List(decl.payload.iter()));
            self.line(format_args!("{join} keys({keys}) payload({payload}){null_equal}{tracked}"));
        }
        for (groups, decl) in program.groups.iter() {
            let accs: Vec<_> = decl.accs.iter().map(|acc| format!("{} {}", acc.op.name(), acc.ty)).collect();
            let mut text = format!("{groups} keys({}) accs({})", List(decl.keys.iter()), List(accs.iter()));
            if !decl.operands.is_empty() || !decl.calls.is_empty() {
                let _ = write!(text, " operands({}) calls({})", List(decl.operands.iter()), List(decl.calls.iter()));
            }
            if !decl.always.is_empty() {
                let rows: Vec<_> = decl.always.iter().map(|row| format!("({})", List(row.iter()))).collect();
                let _ = write!(text, " always({})", List(rows.iter()));
            }
            if let Some(enough) = decl.enough {
                let _ = write!(text, " enough {enough}");
            }
            self.line(text);
        }
        for (sort, decl) in program.sorts.iter() {
            let fetch = decl.fetch.map_or("all".to_string(), |fetch| fetch.to_string());
            let (keys, payload) = (List(decl.keys.iter()), List(decl.payload.iter()));
            self.line(format_args!("{sort} keys({keys}) payload({payload}) skip {} fetch {fetch}", decl.skip));
        }
        for (limit, decl) in program.limits.iter() {
            match decl.fetch {
                u64::MAX => self.line(format_args!("{limit} skip {} fetch all", decl.skip)),
                fetch => self.line(format_args!("{limit} skip {} fetch {fetch}", decl.skip)),
            }
        }
        self.line(format_args!("output ({})", List(program.output.iter())));
        for (stage, decl) in program.stages.iter() {
            self.out.push('\n');
            self.stage(stage, decl);
        }
        self.close("}");
        self.out
    }

    fn stage(&mut self, stage: Stage, decl: &StageDecl) {
        self.place = None;
        self.open(format_args!("{stage} {} {{", Quoted(&decl.name)));
        self.place = Some(Place::Source);
        let params = List(decl.params.iter().map(|v| Definition(decl, *v)));
        self.line(format_args!("source {} ({params})", decl.source));
        let mut last = None;
        for (number, stmt) in decl.body.iter().enumerate() {
            self.note(&mut last, stmt.note.as_ref());
            self.place = Some(Place::Stmt(number));
            match &stmt.kind {
                StmtKind::Let(value, op) => self.definition(decl, *value, op),
                StmtKind::Filter(condition) => self.line(format_args!("filter {condition}")),
                StmtKind::Probe(probe) => {
                    self.probe(decl, &format!("probe {} {}", probe.join, probe.kind.name()), probe, probe.marks_build)
                }
                StmtKind::Limit(limit) => self.line(format_args!("limit {limit}")),
                StmtKind::Expand(Expand { value, literals }) => {
                    let text = format!("expand {} [{}]{}", Definition(decl, *value), List(literals.iter()), self.literals(literals));
                    self.line(text);
                }
            }
        }
        self.note(&mut last, decl.sink_note.as_ref());
        self.place = Some(Place::Sink);
        match &decl.sink {
            Sink::Build { join, keys, payload } => {
                self.line(format_args!("build {join} keys({}) payload({})", List(keys.iter()), List(payload.iter())));
            }
            // A marking sink always marks, and always is a semi join.
            Sink::Mark { probe } => self.probe(decl, &format!("mark {}", probe.join), probe, false),
            Sink::Group { groups, keys, args, operands } => {
                let args = List(args.iter().map(|arg| OrHole(*arg)));
                let mut text = format!("group {groups} keys({}) args({args})", List(keys.iter()));
                if !operands.is_empty() {
                    let _ = write!(text, " operands({})", List(operands.iter()));
                }
                self.line(text);
            }
            Sink::Hand { input, columns } => self.line(format_args!("hand {input} ({})", List(columns.iter()))),
            Sink::Sort { sort, keys, payload } => {
                self.line(format_args!("sort {sort} keys({}) payload({})", List(keys.iter()), List(payload.iter())));
            }
            Sink::Emit { columns } => self.line(format_args!("emit ({})", List(columns.iter()))),
        }
        self.place = None;
        self.close("}");
    }

    /// A comment that says where the next statements come from, unless the last one said so already.
    fn note<'n>(&mut self, last: &mut Option<&'n Arc<str>>, note: Option<&'n Arc<str>>) {
        if self.annotated
            && *last != note
            && let Some(note) = note
        {
            let text: String = note.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.line(format_args!("; {text}"));
        }
        *last = note;
    }

    fn probe(&mut self, decl: &StageDecl, head: &str, probe: &Probe, marks_build: bool) {
        let columns = List(probe.columns.iter().map(|column| OrHole(column.map(|v| Definition(decl, v)))));
        let mut text = format!("{head} keys({}) -> ({columns})", List(probe.keys.iter()));
        if let Some(mark) = probe.mark {
            let _ = write!(text, " mark {}", Definition(decl, mark));
        }
        if marks_build {
            text.push_str(" marks_build");
        }
        match &probe.residual {
            None => self.line(text),
            Some(region) => {
                self.open(format_args!("{text} residual {{"));
                self.region(decl, region);
                self.close("}");
            }
        }
    }

    /// The inside of a region.
    fn region(&mut self, decl: &StageDecl, region: &Region) {
        for (value, op) in &region.body {
            self.definition(decl, *value, op);
        }
        self.line(format_args!("yield {}", region.result));
    }

    fn definition(&mut self, decl: &StageDecl, value: Value, op: &Op) {
        let head = Definition(decl, value);
        let around = self.place.replace(Place::Value(value));
        match op {
            Op::Literal(lit) => self.line(format_args!("{head} = literal {lit}{}", self.literals(&[*lit]))),
            Op::Param(param) => self.line(format_args!("{head} = param {param}{}", self.name_of(*param))),
            Op::Unary(op, a) => self.line(format_args!("{head} = {} {a}", op.name())),
            Op::Binary(op, a, b) => self.line(format_args!("{head} = {} {a}, {b}", op.name())),
            Op::If(condition, then, otherwise) => {
                self.open(format_args!("{head} = if {condition} {{"));
                self.region(decl, then);
                self.depth -= 1;
                self.open("} else {");
                self.region(decl, otherwise);
                self.close("}");
            }
            Op::In(a, list) => self.line(format_args!("{head} = in {a} [{}]{}", List(list.iter()), self.literals(list))),
            Op::Like(a, pattern) => self.line(format_args!("{head} = like {a} {pattern}{}", self.literals(&[*pattern]))),
            Op::Ilike(a, pattern) => self.line(format_args!("{head} = ilike {a} {pattern}{}", self.literals(&[*pattern]))),
            Op::Call(function, args) => self.line(format_args!("{head} = call {}({})", function.name(), List(args.iter()))),
            Op::Substr(a, start, None) => self.line(format_args!("{head} = substr {a}, {start}")),
            Op::Substr(a, start, Some(count)) => self.line(format_args!("{head} = substr {a}, {start}, {count}")),
            Op::Entry(input, column, number) => self.line(format_args!("{head} = entry {input} {column}, {number}")),
            Op::Opaque(opaque, args) => self.line(format_args!("{head} = {opaque}({})", List(args.iter()))),
        }
        self.place = around;
    }

    /// A comment with a parameter's name.
    fn name_of(&self, param: Param) -> String {
        match self.program.params.get(param) {
            Some(decl) if self.literals => format!("  ; {}", Quoted(&decl.name)),
            _ => String::new(),
        }
    }

    /// A comment with the values of literals.
    fn literals(&self, lits: &[Lit]) -> String {
        if !self.literals {
            return String::new();
        }
        let values = lits.iter().map(|lit| OrHole(self.program.literals.get(*lit).map(|literal| &literal.value)));
        format!("  ; {}", List(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{ProgramBuilder, StageBuilder};
    use crate::op::BinaryOp;
    use crate::program::ProbeKind;
    use crate::states::JoinDecl;
    use crate::types::{Repr, SqlType, Type};

    fn program() -> Program {
        let int = Type::new(SqlType::Int64, false);
        let text = Type::new(SqlType::Utf8, true);
        let price = Type::new(SqlType::Decimal { precision: 15, scale: 2 }, false).with_repr(Repr::I64);
        let mut b = ProgramBuilder::new();
        let input = b.input("line\"item", vec![int, price]);
        let lit = b.literal(Type::new(SqlType::Utf8, false), Datum::Str("a\n\u{1}\\".into()));
        let join = b.join(JoinDecl { keys: vec![int], payload: vec![text], null_equal: false, tracked: true });
        let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[int, price]);
        s.note("Filter: a\nb");
        let v2 = s.binary(BinaryOp::Lt, Value::from_u32(0), Value::from_u32(0), Type::boolean(false));
        s.filter(v2);
        let column = s.value(text);
        s.begin_region();
        let v4 = s.op(Op::Like(column, lit), Type::boolean(true));
        let residual = s.end_region(v4);
        s.probe(Probe {
            join,
            kind: ProbeKind::Inner,
            keys: vec![Value::from_u32(0)],
            columns: vec![None, Some(column)],
            mark: None,
            residual: Some(residual),
            marks_build: true,
        });
        b.stage(s.sink(Sink::Emit { columns: vec![column] }));
        b.finish(vec![text])
    }

    #[test]
    fn plain() {
        let want = r#"program {
  input0 "line\"item" (int64, decimal(15,2):i64)
  lit0: utf8 = "a\n\u{1}\\"
  join0 keys(int64) payload(utf8?) tracked
  output (utf8?)

  s0 "scan" {
    source input0 partitioned (v0: int64, v1: decimal(15,2):i64)
    v2: boolean = lt v0, v0
    filter v2
    probe join0 inner keys(v0) -> (_, v3: utf8?) marks_build residual {
      v4: boolean? = like v3 lit0
      yield v4
    }
    emit (v3)
  }
}
"#;
        assert_eq!(program().to_string(), want);
    }

    #[test]
    fn with_notes() {
        let want = r#"s0 "scan" {
  source input0 partitioned (v0: int64, v1: decimal(15,2):i64)
  ; Filter: a b
  v2: boolean = lt v0, v0
  filter v2
  probe join0 inner keys(v0) -> (_, v3: utf8?) marks_build residual {
    v4: boolean? = like v3 lit0  ; "a\n\u{1}\\"
    yield v4
  }
  emit (v3)
}
"#;
        assert_eq!(print_stage(&program(), Stage::from_u32(0), true), want);
        assert!(annotated(&program()).contains("; Filter: a b"));
        assert_eq!(print_stage(&program(), Stage::from_u32(7), true), "");
    }

    #[test]
    fn lines_have_places() {
        let lines = stage_lines(&program(), Stage::from_u32(0));
        let places: Vec<_> = lines.iter().map(|line| line.place.map_or(String::new(), |place| place.to_string())).collect();
        assert_eq!(places, ["", "source", "v2", "statement 1", "statement 2", "v4", "statement 2", "statement 2", "sink", ""]);
        assert_eq!(
            (lines[5].text.trim(), lines[5].note.as_deref()),
            (r#"v4: boolean? = like v3 lit0  ; "a\n\u{1}\\""#, Some("Filter: a\nb"))
        );
        assert_eq!(stage_lines(&program(), Stage::from_u32(7)), []);
    }
}
