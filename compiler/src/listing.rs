//! Generated code as lines of text, each with the part of the stage that it comes from.

use std::fmt::Write;

use cranelift_codegen::CompiledCode;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use stagefuse_ir::printer::print_stage;
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{Program, Stage, StmtKind};

/// The code of a stage: Cranelift's IR as it was generated, and the machine code that came of it.
///
/// ```
/// use stagefuse_compiler::{Options, compile};
/// use stagefuse_ir::parser;
/// use stagefuse_ir::verifier::Place;
///
/// let program = parser::parse(
///     "program {
///        input0 \"t\" (int64)
///        output (int64)
///        s0 \"scan t\" { source input0 (v0: int64) v1: int64 = add v0, v0 emit (v1) }
///      }",
/// )
/// .expect("a program");
/// let stage = program.stages.keys().next().expect("it has a stage");
/// let compiled = compile(&program, stage, &stagefuse_runtime::builtins(), &Options { dump: true, ..Options::default() });
/// let compiled = compiled.expect("native code");
/// // Every instruction says which part of the stage it comes from.
/// let listing = compiled.listing().expect("it was asked for");
/// assert!(listing.asm.iter().all(|line| line.place.is_some()));
/// assert!(listing.clif.iter().any(|line| matches!(line.place, Some(Place::Value(_))) && line.text.contains("iadd")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Cranelift's IR.
    pub clif: Vec<Line>,
    /// Machine code, disassembled.
    pub asm: Vec<Line>,
}

/// A line of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text.
    pub text: String,
    /// What it comes from: every instruction has a place; signatures, headers of blocks and the like have none.
    pub place: Option<Place>,
    /// Of machine code: bytes from the start of the function.
    pub offset: Option<u32>,
}

impl Listing {
    /// Appends the Cranelift IR of a function whose instructions have the numbers of their places.
    pub(crate) fn add_clif(&mut self, function: &Function, places: &[Place]) {
        for line in function.display().to_string().lines() {
            let number = line.trim_start().strip_prefix('@').and_then(|rest| u32::from_str_radix(rest.get(..4)?, 16).ok());
            let place = number.and_then(|number| places.get(number as usize).copied());
            // The number says nothing to a reader.
            let text = if number.is_some() { format!("    {}", line.trim_start()[5..].trim_start()) } else { dedent(line) };
            self.clif.push(Line { text, place, offset: None });
        }
    }

    /// Appends the machine code of a function. What the compiler inserted by itself, such as spills, belongs to what comes before it.
    pub(crate) fn add_asm(&mut self, isa: &dyn TargetIsa, code: &CompiledCode, places: &[Place]) {
        let Ok(capstone) = isa.to_capstone() else { return };
        let Ok(instructions) = capstone.disasm_all(code.buffer.data(), 0) else { return };
        let locations = code.buffer.get_srclocs_sorted();
        let mut place = Place::Source;
        for instruction in instructions.iter() {
            let at = instruction.address() as u32;
            let behind = locations.partition_point(|location| location.start <= at);
            let location = behind.checked_sub(1).and_then(|index| locations.get(index)).filter(|location| at < location.end);
            if let Some(known) = location.and_then(|location| places.get(location.loc.bits() as usize)) {
                place = *known;
            }
            let text = format!("{} {}", instruction.mnemonic().unwrap_or("?"), instruction.op_str().unwrap_or(""));
            self.asm.push(Line { text: text.trim_end().to_string(), place: Some(place), offset: Some(at) });
        }
    }
}

/// What is no instruction is indented by the width of the places' numbers.
fn dedent(line: &str) -> String {
    line.strip_prefix("                                ").unwrap_or(line).to_string()
}

/// Lines as one text; where the place changes, a comment line describes it, if `comments`.
pub(crate) fn text(lines: &[Line], comments: Option<(&Program, Stage)>) -> String {
    let mut out = String::new();
    let mut last = None;
    for line in lines {
        if let (Some((program, stage)), Some(place)) = (comments, line.place)
            && last != Some(place)
        {
            last = Some(place);
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "; {}", describe(program, stage, place));
        }
        let _ = match line.offset {
            Some(offset) => writeln!(out, "{offset:6x}  {}", line.text),
            None => writeln!(out, "{}", line.text),
        };
    }
    out
}

/// A part of a stage in words: the text of the operation, and the operator of the plan that it comes from.
pub fn describe(program: &Program, stage: Stage, place: Place) -> String {
    let Some(decl) = program.stages.get(stage) else { return String::new() };
    let noted = |text: String, note: Option<&str>| match note {
        Some(note) if !note.is_empty() => format!("{text}  [{note}]"),
        _ => text,
    };
    match place {
        Place::Source => decl.name.clone(),
        Place::Sink => noted("sink".into(), decl.sink_note.as_deref()),
        Place::Stmt(number) => match decl.body.get(number) {
            Some(stmt) => {
                let what = match &stmt.kind {
                    StmtKind::Let(value, _) => value.to_string(),
                    StmtKind::Filter(value) => format!("filter {value}"),
                    StmtKind::Probe(probe) => format!("probe {}", probe.join),
                    StmtKind::Limit(limit) => limit.to_string(),
                    StmtKind::Expand(expand) => format!("expand {}", expand.value),
                };
                noted(what, stmt.note.as_deref())
            }
            None => place.to_string(),
        },
        Place::Value(value) => {
            let head = format!("{value}: ");
            let text = print_stage(program, stage, false);
            let line = text.lines().map(str::trim).find(|line| line.starts_with(&head));
            let note = decl.body.iter().find(|stmt| matches!(stmt.kind, StmtKind::Let(defined, _) if defined == value));
            noted(line.unwrap_or(&value.to_string()).to_string(), note.and_then(|stmt| stmt.note.as_deref()))
        }
    }
}
