//! The text of generated code, with the operation that each part comes from.

use cranelift_codegen::ir::Function;

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
