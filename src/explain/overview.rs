//! What becomes of a query, on one screen: the plan in short, the stages in a table, and what each of them does.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use stagefuse_ir::{EntityRef, Program, Sink, Source, Stage, StageDecl, Stmt, StmtKind};

use super::table::{WIDTH, aligned, milliseconds, number, shortened, wrapped};
use super::{beside, compiled_nodes, cut};
use crate::exec::{CompiledExec, EngineKind, Exchange, StageMetrics, exchanges};

/// What is said of a query without stages.
pub(super) const NO_STAGE: &str = "No stage: DataFusion runs all of the query.";

/// The text of `EXPLAIN CODEGEN`. `ran`: the query has run, so that there are rows and times.
pub(crate) fn overview(plan: &Arc<dyn ExecutionPlan>, ran: bool) -> String {
    let nodes = compiled_nodes(plan);
    let Some(config) = nodes.first().map(|node| node.config()) else { return NO_STAGE.to_string() };
    let mut text = format!("{}\n\n", summary(&nodes));
    outline(plan, 0, &mut 0, ran, &mut text);
    for (number, node) in nodes.iter().enumerate() {
        let metrics = node.stages();
        let _ = match nodes.len() {
            1 => writeln!(text),
            _ => writeln!(text, "\nCompiledExec {number}"),
        };
        text.push_str(&of_node(&metrics, ran));
        text.push_str(&remarks(node.program(), &metrics));
        text.push('\n');
        let exchanges = exchanges(node.program(), &metrics);
        for (stage, decl) in node.program().stages.iter() {
            text.push_str(&stage_text(node.program(), stage, decl, &exchanges));
        }
    }
    let _ =
        write!(text, "\nMore: EXPLAIN CODEGEN {}VERBOSE, IR, CLIF, ASM, FORMAT JSON, HTML", if ran { "" } else { "ANALYZE, PROFILE, " });
    cut(&text, config.dump_max_lines.get())
}

/// The stages of a plan in a table, with what they did.
pub(crate) fn stage_table(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let nodes = compiled_nodes(plan);
    let tables = nodes.iter().enumerate().map(|(number, node)| {
        let metrics = node.stages();
        let title = if nodes.len() > 1 { format!("CompiledExec {number}\n") } else { String::new() };
        format!("{title}{}{}", of_node(&metrics, true), remarks(node.program(), &metrics))
    });
    let tables = tables.collect::<Vec<_>>().join("\n");
    (!tables.is_empty()).then(|| tables.trim_end().to_string())
}

fn summary(nodes: &[&CompiledExec]) -> String {
    let stages: Vec<StageMetrics> = nodes.iter().flat_map(|node| node.stages()).collect();
    let of = |engine: EngineKind| stages.iter().filter(|stage| stage.engine == engine).count();
    let mut text = format!("{} stage{}: {} native", stages.len(), if stages.len() == 1 { "" } else { "s" }, of(EngineKind::Native));
    for (engine, what) in [(EngineKind::Interpreted, "interpreted"), (EngineKind::DataFusion, "given up to DataFusion")] {
        if of(engine) > 0 {
            let _ = write!(text, ", {} {what}", of(engine));
        }
    }
    let bytes: usize = stages.iter().map(|stage| stage.code_bytes).sum();
    let time: f64 = stages.iter().map(|stage| stage.compile_time.as_secs_f64() * 1e3).sum();
    let lowering: f64 = nodes.iter().map(|node| node.lowering_time().as_secs_f64() * 1e3).sum();
    let _ =
        write!(text, "; lowered in {}, {} bytes of code compiled in {}", milliseconds(lowering), number(bytes as u64), milliseconds(time));
    text
}

/// The plan in short: a line for each of DataFusion's operators that stay, and for each node.
fn outline(plan: &Arc<dyn ExecutionPlan>, depth: usize, nodes: &mut usize, ran: bool, text: &mut String) {
    let rows = plan.metrics().and_then(|metrics| metrics.output_rows()).filter(|_| ran);
    let rows = rows.map(|rows| format!("  {} row{}", number(rows as u64), if rows == 1 { "" } else { "s" })).unwrap_or_default();
    let what = match plan.downcast_ref::<CompiledExec>() {
        Some(node) => {
            let last = node.program().stages.len().saturating_sub(1);
            *nodes += 1;
            format!("CompiledExec {}: {}", *nodes - 1, if last == 0 { "s0".to_string() } else { format!("s0 to s{last}") })
        }
        None => without_files(displayable(plan.as_ref()).one_line().to_string().trim_end()),
    };
    let indent = "  ".repeat(depth);
    let width = WIDTH.saturating_sub(indent.len() + rows.chars().count()).max(30);
    let _ = writeln!(text, "{indent}{}{rows}", shortened(&what, width));
    plan.children().into_iter().for_each(|child| outline(child, depth + 1, nodes, ran, text));
}

/// A scan without the list of its files, which would take the line.
fn without_files(line: &str) -> String {
    match (line.find("file_groups={"), line.find("]}, ")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 4..]),
        _ => line.to_string(),
    }
}

fn of_node(metrics: &[StageMetrics], ran: bool) -> String {
    let total: u64 = metrics.iter().map(|stage| stage.nanos).sum();
    let head: &[&str] = if ran {
        &["stage", "engine", "rows in", "rows out", "time", "share", "compile", "code"]
    } else {
        &["stage", "engine", "compile", "code"]
    };
    let mut rows = vec![head.iter().map(|name| name.to_string()).collect::<Vec<_>>()];
    for (at, stage) in metrics.iter().enumerate() {
        let mut row = vec![shortened(&format!("s{at} {}", stage.name), 40), stage.engine.to_string()];
        if ran {
            row.extend([number(stage.rows_in), number(stage.rows_out), milliseconds(stage.nanos as f64 / 1e6)]);
            row.push(format!("{:.0} %", stage.nanos as f64 * 100.0 / total.max(1) as f64));
        }
        row.extend([milliseconds(stage.compile_time.as_secs_f64() * 1e3), format!("{} B", number(stage.code_bytes as u64))]);
        rows.push(row);
    }
    aligned(&rows)
}

/// Why stages are not native, and what DataFusion evaluates for them.
fn remarks(program: &Program, metrics: &[StageMetrics]) -> String {
    let mut text = String::new();
    let told: Vec<&StageMetrics> = metrics.iter().filter(|stage| stage.fallback.is_some()).collect();
    // Where all have the same reason, such as a setting, it is said once.
    let same = told.len() > 1 && told.len() == metrics.len() && told.iter().all(|stage| stage.fallback == told[0].fallback);
    for (at, stage) in metrics.iter().enumerate() {
        if let Some(reason) = stage.fallback.as_ref().filter(|_| !same || at == 0) {
            let who = if same { "all stages".to_string() } else { format!("s{at}") };
            let _ = writeln!(text, "{}", wrapped(&format!("{who}: {} because {reason}", stage.engine), 4));
        }
    }
    for (at, stage) in metrics.iter().enumerate().filter(|(_, stage)| stage.engine == EngineKind::Native && stage.rows_ahead > 0) {
        let what = format!("s{at}: {} of its rows were interpreted while it was being compiled", number(stage.rows_ahead));
        let _ = writeln!(text, "{}", wrapped(&what, 4));
    }
    for (stage, decl) in program.stages.iter() {
        if let (Source::Input { input, .. }, 1..) = (decl.source, program.opaque_expressions(decl)) {
            let names = program.inputs[input].computed.iter().map(|computed| format!("`{}`", program.opaques[computed.opaque].name));
            let names = shortened(&names.collect::<Vec<_>>().join(", "), 3 * WIDTH);
            let what = beside(program.opaque_expressions(decl));
            let _ = writeln!(text, "{}", wrapped(&format!("{stage}:{what}, which DataFusion evaluates: {names}"), 4));
        }
    }
    text
}

/// What a stage does, a line for each operation of the plan.
fn stage_text(program: &Program, stage: Stage, decl: &StageDecl, exchanges: &[Exchange]) -> String {
    let mut lines = vec![("from", source(program, stage, decl, exchanges), String::new())];
    let mut first = 0;
    while let Some(stmt) = decl.body.get(first) {
        let is_let = |stmt: &Stmt| matches!(stmt.kind, StmtKind::Let(..));
        let mut end = first;
        while is_let(&decl.body[end]) && decl.body.get(end + 1).is_some_and(|next| next.note == stmt.note) {
            end += 1;
        }
        let (verb, what) = operation(&decl.body[end].kind);
        let (operator, detail) = told(stmt.note.as_deref());
        let operations = if end > first { format!(", {} ops", end - first + 1) } else { String::new() };
        let text = [what, detail].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        lines.push((verb, text, format!("{operator}{operations}")));
        first = end + 1;
    }
    let (operator, detail) = told(decl.sink_note.as_deref());
    let (verb, what) = sink(program, &decl.sink, &detail);
    let to = exchanges.iter().filter(|edge| edge.from == Some(stage.index()));
    let to: Vec<String> = to.filter_map(|edge| edge.to).map(|to| format!("s{to}")).collect();
    lines.push((verb, what, operator));
    let to = if to.is_empty() { String::new() } else { format!(" -> {}", to.join(", ")) };
    let mut text = format!("{stage} {}\n", decl.name);
    let last = lines.len() - 1;
    for (number, (verb, what, whence)) in lines.into_iter().enumerate() {
        let mut whence = if whence.is_empty() { whence } else { format!("  [{}]", whence.trim_start_matches(", ")) };
        if number == last {
            whence.push_str(&to);
        }
        let width = WIDTH.saturating_sub(10 + whence.chars().count()).max(20);
        let _ = writeln!(text, "   {verb:<6} {}{whence}", shortened(&what, width));
    }
    text
}

/// Operator and expression of a note; columns without their numbers, which say nothing to a reader.
fn told(note: Option<&str>) -> (String, String) {
    let Some(note) = note else { return (String::new(), String::new()) };
    let (operator, detail) = note.split_once(": ").unwrap_or((note, ""));
    let mut plain = String::new();
    let mut rest = detail.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '@' && rest.peek().is_some_and(char::is_ascii_digit) {
            while rest.next_if(char::is_ascii_digit).is_some() {}
        } else {
            plain.push(c);
        }
    }
    (operator.to_string(), plain)
}

fn source(program: &Program, stage: Stage, decl: &StageDecl, exchanges: &[Exchange]) -> String {
    let from = exchanges.iter().filter(|edge| edge.to == Some(stage.index()) && edge.feeds);
    let from: Vec<String> = from.filter_map(|edge| edge.from).map(|from| format!("s{from}")).collect();
    let of = if from.is_empty() { String::new() } else { format!(" of {}", from.join(", ")) };
    match decl.source {
        Source::Input { input, .. } if program.inputs[input].handed => format!("rows{of}"),
        Source::Input { input, .. } => format!("{input} {}, {}", program.inputs[input].name, counted(decl.params.len(), "column")),
        Source::Groups(groups) => format!("{groups}{of}"),
        Source::Join(join, rows) => format!("{join}{of}, {} rows", rows.name()),
        Source::Sort(sort) => format!("{sort}{of}"),
    }
}

fn operation(kind: &StmtKind) -> (&'static str, String) {
    match kind {
        StmtKind::Let(..) => ("let", String::new()),
        StmtKind::Filter(_) => ("filter", String::new()),
        StmtKind::Probe(probe) => ("probe", format!("{} {}", probe.join, probe.kind.name())),
        StmtKind::Limit(limit) => ("limit", limit.to_string()),
        StmtKind::Expand(expand) => ("expand", format!("each row to {}", expand.literals.len())),
    }
}

fn sink(program: &Program, sink: &Sink, detail: &str) -> (&'static str, String) {
    let with = |text: String| if detail.is_empty() { text } else { format!("{text}: {detail}") };
    match sink {
        Sink::Build { join, keys, payload } => {
            ("build", with(format!("{join} of {}, {}", counted(keys.len(), "key"), counted(payload.len(), "more column"))))
        }
        Sink::Mark { probe } => ("mark", with(format!("rows of {} that match", probe.join))),
        Sink::Group { groups, keys, args, .. } => {
            let calls = program.groups[*groups].calls.len();
            let calls = if calls == 0 { String::new() } else { format!(", {} of DataFusion's functions", calls) };
            ("group", with(format!("{groups} by {}, {}{calls}", counted(keys.len(), "key"), counted(args.len(), "accumulator"))))
        }
        Sink::Sort { sort, keys, payload } => {
            let fetch = program.sorts[*sort].kept().map(|kept| format!(", the first {kept}")).unwrap_or_default();
            ("sort", with(format!("{sort} by {}, {}{fetch}", counted(keys.len(), "key"), counted(payload.len(), "more column"))))
        }
        Sink::Hand { columns, .. } => ("hand", with(counted(columns.len(), "column"))),
        Sink::Emit { columns } => ("emit", counted(columns.len(), "column")),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn notes_are_told_without_numbers_of_columns() {
        let told = |note| {
            let (operator, detail) = told(Some(note));
            format!("{operator}|{detail}")
        };
        assert_eq!(told("FilterExec: l_shipdate@6 <= 1998-09-02"), "FilterExec|l_shipdate <= 1998-09-02");
        assert_eq!(told("FilterExec: mail@2 = 'a@b.c' AND x@10 > 1"), "FilterExec|mail = 'a@b.c' AND x > 1");
        assert_eq!(told("LocalLimitExec"), "LocalLimitExec|");
    }
}
