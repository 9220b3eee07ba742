//! Texts that show what becomes of a query.

mod form;
mod hot;
mod overview;
mod table;

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use stagefuse_ir::Stage;
use stagefuse_ir::printer;

use crate::config::StagefuseConfig;
use crate::exec::{CompiledExec, compile_for_dump};
pub(crate) use form::{Codegen, Effort, FORMS, Form};
pub(crate) use hot::hot;
pub(crate) use overview::{overview, stage_table};

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

/// Compiles the stages of a plan, where that has not been done yet.
pub(crate) fn compile(plan: &Arc<dyn ExecutionPlan>) {
    compiled_nodes(plan).into_iter().for_each(|node| drop(node.stages()));
}

fn collect<'a>(plan: &'a Arc<dyn ExecutionPlan>, nodes: &mut Vec<&'a CompiledExec>) {
    nodes.extend(plan.downcast_ref::<CompiledExec>());
    for child in plan.children() {
        collect(child, nodes);
    }
}

/// What `EXPLAIN CODEGEN` shows of a plan, or every stage in one form. One titled section each.
pub(crate) fn sections(plan: &Arc<dyn ExecutionPlan>, form: Form, ran: bool) -> Vec<(String, String)> {
    let dump = match form {
        Form::Dump(dump) => dump,
        Form::Verbose => Dump::Ir,
        Form::Text | Form::Html | Form::Json => return vec![("stages".to_string(), overview(plan, ran))],
    };
    let mut sections = vec![];
    if form == Form::Verbose {
        sections.push(("plan".to_string(), displayable(plan.as_ref()).indent(false).to_string().trim_end().to_string()));
        sections.push(("stages".to_string(), overview(plan, ran)));
    }
    let nodes = compiled_nodes(plan);
    if nodes.is_empty() && form != Form::Verbose {
        sections.push(("stages".to_string(), overview::NO_STAGE.to_string()));
    }
    for (number, node) in nodes.into_iter().enumerate() {
        let config = node.config();
        let text = match dump {
            Dump::Ir if config.comments.get() => printer::annotated(node.program()),
            Dump::Ir => node.program().to_string(),
            form => code(node, form),
        };
        let title = format!("CompiledExec {number} {}", dump.name());
        sections.push((title, cut(text.trim_end(), config.dump_max_lines.get())));
    }
    sections
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
