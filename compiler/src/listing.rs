//! Generated code as lines of text, each with the part of the stage that it comes from.

use std::collections::BTreeMap;
use std::fmt::Write;

use cranelift_codegen::CompiledCode;
use cranelift_codegen::ir::{Function, SourceLoc};
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
/// // And which instruction of Cranelift's IR.
/// let last = listing.asm.iter().find(|line| line.text.starts_with("ret")).and_then(|line| line.from).expect("a return");
/// assert!(listing.clif[last as usize].text.contains("return"));
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
    /// Of machine code: the line of Cranelift's IR that it comes from.
    pub from: Option<u32>,
}

/// What an instruction of Cranelift's IR is, by the number that stands for it as a source location.
pub(crate) struct Origin {
    place: Option<Place>,
    line: u32,
}

impl Listing {
    /// Appends the Cranelift IR of a function whose instructions have the numbers of their places. From here on each has a number of its own instead, so that
    /// machine code can tell which of them it comes from. `names`: what `fn0` and so on are called.
    pub(crate) fn add_clif(&mut self, function: &mut Function, places: &[Place], names: &[String]) -> Vec<Origin> {
        let mut origins = vec![];
        let blocks: Vec<_> = function.layout.blocks().collect();
        for block in blocks {
            let instructions: Vec<_> = function.layout.block_insts(block).collect();
            for instruction in instructions {
                let place = places.get(function.srcloc(instruction).bits() as usize).copied();
                function.set_srcloc(instruction, SourceLoc::new(origins.len() as u32));
                origins.push(Origin { place, line: 0 });
            }
        }
        for line in function.display().to_string().lines() {
            let rest = line.trim_start();
            let number = rest.strip_prefix('@').map(|rest| rest.split(' ').next().unwrap_or_default());
            let origin = number.and_then(|number| origins.get_mut(u32::from_str_radix(number, 16).ok()? as usize));
            let Some(origin) = origin else {
                self.clif.push(Line { text: dedent(line), place: None, offset: None, from: None });
                continue;
            };
            origin.line = self.clif.len() as u32;
            // The number says nothing to a reader.
            let mut text = format!("    {}", rest[1 + number.map_or(0, str::len)..].trim_start());
            if let Some(name) = callee(&text).and_then(|number| names.get(number)).filter(|name| !name.is_empty()) {
                let _ = write!(text, "  ; {name}");
            }
            self.clif.push(Line { text, place: origin.place, offset: None, from: None });
        }
        origins
    }

    /// Appends the machine code of a function. What the compiler inserted by itself, such as spills, belongs to what comes before it. `callees`: what is called,
    /// by the offset of its address, which is zero as long as the code is not linked.
    pub(crate) fn add_asm(&mut self, isa: &dyn TargetIsa, code: &CompiledCode, origins: &[Origin], callees: &BTreeMap<u32, String>) {
        let Ok(capstone) = isa.to_capstone() else { return };
        let locations = code.buffer.get_srclocs_sorted();
        // Every block ends with an instruction that has a location: what follows the last is constants.
        let data = code.buffer.data();
        let end = locations.iter().map(|location| location.end as usize).max().unwrap_or(data.len()).min(data.len());
        let Ok(instructions) = capstone.disasm_all(&data[..end], 0) else { return };
        let (mut place, mut from) = (Place::Source, None);
        for instruction in instructions.iter() {
            let at = instruction.address() as u32;
            let behind = locations.partition_point(|location| location.start <= at);
            let location = behind.checked_sub(1).and_then(|index| locations.get(index)).filter(|location| at < location.end);
            if let Some(known) = location.and_then(|location| origins.get(location.loc.bits() as usize)) {
                place = known.place.unwrap_or(place);
                from = Some(known.line);
            }
            let mut text = format!("{} {}", instruction.mnemonic().unwrap_or("?"), instruction.op_str().unwrap_or(""));
            let next = at + instruction.bytes().len() as u32;
            for (_, name) in callees.range(at..next).filter(|(_, name)| !name.is_empty()) {
                let _ = write!(text, "  ; {name}");
            }
            self.asm.push(Line { text: text.trim_end().to_string(), place: Some(place), offset: Some(at), from });
        }
        let mut at = end;
        while at < data.len() {
            // Up to the next multiple of eight, then eight each.
            let next = data.len().min(at / 8 * 8 + 8);
            let bytes = &data[at..next];
            let text = match bytes.try_into().map(u64::from_le_bytes) {
                Ok(word) => format!(".quad {word:#x}"),
                Err(_) => format!(".byte {}", bytes.iter().map(|byte| format!("{byte:#x}")).collect::<Vec<_>>().join(", ")),
            };
            self.asm.push(Line { text, place: Some(place), offset: Some(at as u32), from: None });
            at = next;
        }
    }
}

/// The number of the function that an instruction calls.
fn callee(instruction: &str) -> Option<usize> {
    let (_, rest) = instruction.split_once("call fn").or_else(|| instruction.split_once("func_addr.i64 fn"))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
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
