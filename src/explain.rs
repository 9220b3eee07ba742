//! Texts that show what becomes of a query.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use stagefuse_ir::Stage;
use stagefuse_ir::printer;

use crate::config::StagefuseConfig;
use crate::exec::{CompiledExec, compile_for_dump};

/// A form of a compiled stage.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dump {
    /// Stagefuse's IR.
    Ir,
    /// Cranelift's IR.
    Clif,
    /// Machine code, disassembled.
    Asm,
}

impl Dump {
    /// Every form.
    pub const ALL: &'static [Dump] = &[Dump::Ir, Dump::Clif, Dump::Asm];

    /// The word that `EXPLAIN CODEGEN` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Dump::Ir => "IR",
            Dump::Clif => "CLIF",
            Dump::Asm => "ASM",
        }
    }
}

/// The compiled nodes of a plan, outermost first.
pub(crate) fn compiled_nodes(plan: &Arc<dyn ExecutionPlan>) -> Vec<&CompiledExec> {
    let mut nodes = vec![];
    collect(plan, &mut nodes);
    nodes
}

fn collect<'a>(plan: &'a Arc<dyn ExecutionPlan>, nodes: &mut Vec<&'a CompiledExec>) {
    nodes.extend(plan.downcast_ref::<CompiledExec>());
    for child in plan.children() {
        collect(child, nodes);
    }
}

/// The plan, and for every compiled node its stages: engine, reason of a fallback, size of the code, and the IR (or the form asked for).
/// One titled section each.
pub(crate) fn sections(plan: &Arc<dyn ExecutionPlan>, dump: Option<Dump>) -> Vec<(String, String)> {
    let mut sections = vec![];
    if dump.is_none() {
        sections.push(("plan".to_string(), displayable(plan.as_ref()).indent(false).to_string().trim_end().to_string()));
    }
    let nodes = compiled_nodes(plan);
    if nodes.is_empty() {
        sections.push(("stages".to_string(), "No stage: DataFusion runs all of the query.".to_string()));
    }
    for (number, node) in nodes.into_iter().enumerate() {
        let config = node.config();
        if dump.is_none() {
            sections.push((format!("CompiledExec {number}"), summary(node)));
        }
        let text = match dump.unwrap_or(Dump::Ir) {
            Dump::Ir if config.comments.get() => printer::annotated(node.program()),
            Dump::Ir => node.program().to_string(),
            form => code(node, form),
        };
        let title = format!("CompiledExec {number} {}", dump.unwrap_or(Dump::Ir).name());
        sections.push((title, cut(text.trim_end(), config.dump_max_lines.get())));
    }
    sections
}

fn summary(node: &CompiledExec) -> String {
    let mut text = String::new();
    for ((stage, _), metrics) in node.program().stages.iter().zip(node.stages()) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{stage} {}: {}{}", metrics.name, metrics.engine, beside(metrics.opaque_expressions));
        let _ = match &metrics.fallback {
            Some(reason) => writeln!(text, " ({reason})"),
            None => writeln!(text, ", {} bytes of code", metrics.code_bytes),
        };
    }
    text.trim_end().to_string()
}

/// Says how many opaque expressions DataFusion evaluates beside a stage.
pub(crate) fn beside(opaque_expressions: usize) -> String {
    match opaque_expressions {
        0 => String::new(),
        1 => " with 1 opaque expression".to_string(),
        n => format!(" with {n} opaque expressions"),
    }
}

fn code(node: &CompiledExec, form: Dump) -> String {
    let mut text = String::new();
    for (stage, decl) in node.program().stages.iter() {
        let _ = writeln!(text, "; {stage} {}", decl.name);
        let _ = writeln!(text, "{}\n", stage_code(node, stage, form, node.config()).trim_end());
    }
    text
}

fn stage_code(node: &CompiledExec, stage: Stage, form: Dump, config: &StagefuseConfig) -> String {
    match compile_for_dump(node.program(), stage, config) {
        Ok(compiled) => {
            let text = if form == Dump::Asm { compiled.asm() } else { compiled.clif() };
            text.unwrap_or("; the compiler kept no text").to_string()
        }
        Err(reason) => format!("; interpreted: {reason}"),
    }
}

/// At most so many lines, and then one that says what was cut.
pub(crate) fn cut(text: &str, lines: usize) -> String {
    let total = text.lines().count();
    if total <= lines {
        return text.to_string();
    }
    let mut kept: String = text.lines().take(lines).flat_map(|line| [line, "\n"]).collect();
    let _ = write!(kept, "; {} of {total} lines were cut: raise stagefuse.dump_max_lines = {lines}", total - lines);
    kept
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_is_cut_is_said() {
        assert_eq!(cut("a\nb", 2), "a\nb");
        assert_eq!(cut("a\nb\nc", 2), "a\nb\n; 1 of 3 lines were cut: raise stagefuse.dump_max_lines = 2");
    }
}
