//! The text of generated code, with the operation that each part comes from.

use std::fmt::Write;

use cranelift_codegen::CompiledCode;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use stagefuse_ir::{Program, Stage, printer};

/// Puts the text of the operation beside each origin that begins with the value it defines.
pub(crate) fn name_operations(origins: &mut [String], program: &Program, stage: Stage) {
    let text = printer::print_stage(program, stage, false);
    for origin in origins {
        let (value, note) = origin.split_once(' ').unwrap_or((origin, ""));
        let defines = |line: &&str| line.strip_prefix(value).is_some_and(|rest| rest.starts_with(": "));
        if let Some(line) = text.lines().map(str::trim).find(defines) {
            *origin = if note.is_empty() { line.to_string() } else { format!("{line}  [{note}]") };
        }
    }
}

/// The machine code, disassembled; where the origin changes, a comment line names it.
pub(crate) fn asm(isa: &dyn TargetIsa, code: &CompiledCode, origins: Option<&Vec<String>>) -> String {
    let mut out = String::new();
    let Ok(capstone) = isa.to_capstone() else { return out };
    let Ok(instructions) = capstone.disasm_all(code.buffer.data(), 0) else { return out };
    let locations = code.buffer.get_srclocs_sorted();
    let mut last = None;
    for instruction in instructions.iter() {
        let at = instruction.address() as u32;
        let behind = locations.partition_point(|location| location.start <= at);
        let location = behind.checked_sub(1).and_then(|index| locations.get(index)).filter(|location| at < location.end);
        let number = location.map(|location| location.loc.bits());
        if number != last {
            last = number;
            if let Some(origin) = number.zip(origins).and_then(|(number, origins)| origins.get(number as usize)) {
                let _ = writeln!(out, "; {origin}");
            }
        }
        let _ = writeln!(out, "{at:6x}  {} {}", instruction.mnemonic().unwrap_or("?"), instruction.op_str().unwrap_or(""));
    }
    out
}

/// The Cranelift IR of a function. Instructions carry the number of the origin they come from; where it changes, a comment line names it.
pub(crate) fn clif(function: &Function, origins: Option<&Vec<String>>) -> String {
    let text = function.display().to_string();
    let Some(origins) = origins else { return text };
    let mut out = String::with_capacity(text.len() * 2);
    let mut last = None;
    for line in text.lines() {
        let number = line.trim_start().strip_prefix('@').and_then(|rest| u32::from_str_radix(rest.get(..4)?, 16).ok());
        if let Some(number) = number
            && last != Some(number)
        {
            last = Some(number);
            if let Some(origin) = origins.get(number as usize) {
                out.push_str("; ");
                out.push_str(origin);
                out.push('\n');
            }
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}
