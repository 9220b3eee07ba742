//! The stages of a compiled node: what they read and write, what they did, and their code line by line.

use serde_json::{Value, json};
use stagefuse_compiler::Line;
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{EntityRef, Program, Sink, Source, Stage, StageDecl, printer};

use super::link;
use super::milliseconds;
use super::plan::PlanLine;
use super::sql::SqlToken;
use crate::exec::{CompiledExec, Exchange, StageMetrics, compile_for_dump, exchanges};

/// A node: its stages, and the exchanges between them.
pub(super) fn node(number: usize, node: &CompiledExec, plan: &[PlanLine], tokens: &[SqlToken]) -> Value {
    let metrics = node.stages();
    let total: u64 = metrics.iter().map(|stage| stage.nanos).sum();
    let stages = node.program().stages.iter().zip(&metrics);
    let stages: Vec<Value> =
        stages.map(|((stage, decl), metrics)| one(number, node, stage, decl, metrics, total, (plan, tokens))).collect();
    let exchanges: Vec<Value> = exchanges(node.program(), &metrics).iter().map(exchange).collect();
    json!({ "id": number, "stages": stages, "exchanges": exchanges, "ir": declarations(node.program()) })
}

fn one(
    number: usize,
    node: &CompiledExec,
    stage: Stage,
    decl: &StageDecl,
    metrics: &StageMetrics,
    total: u64,
    (plan, tokens): (&[PlanLine], &[SqlToken]),
) -> Value {
    let program = node.program();
    let listing = compile_for_dump(program, stage, node.config());
    let listing = listing.as_ref().ok().and_then(|compiled| compiled.listing());
    let ir = printer::stage_lines(program, stage);
    let ir: Vec<Value> = ir
        .iter()
        .map(|line| {
            let lines = match (&line.note, line.place) {
                (Some(note), _) => link::lines_of(note, number, plan),
                (None, Some(Place::Source)) => source_lines(number, program, decl, plan),
                _ => vec![],
            };
            let sql = link::tokens_of_note(line.note.as_deref(), &lines, plan, tokens);
            json!({ "text": line.text, "place": line.place.map(key), "note": line.note.as_deref(), "plan": lines, "sql": sql })
        })
        .collect();
    let code = |lines: &[Line]| -> Vec<Value> { lines.iter().map(|line| code_line(line, decl)).collect() };
    let opaque = opaque_names(program, decl);
    json!({
        "id": stage.to_string(), "name": decl.name, "engine": metrics.engine.to_string(), "opaque_expressions": opaque,
        "fallback": metrics.fallback.as_ref().map(|reason| {
            json!({ "reason": reason.to_string(), "cause": reason.cause(), "remedy": reason.remedy(), "chosen": reason.is_choice() })
        }),
        "fields": decl.fields(), "rows_in": metrics.rows_in, "rows_ahead": metrics.rows_ahead, "rows_out": metrics.rows_out, "ms": metrics.nanos as f64 / 1e6,
        "share": if total == 0 { 0.0 } else { metrics.nanos as f64 / total as f64 },
        "compile_ms": milliseconds(metrics.compile_time), "code_bytes": metrics.code_bytes,
        "ir": ir, "clif": listing.map(|listing| code(&listing.clif)), "asm": listing.map(|listing| code(&listing.asm)),
    })
}

fn code_line(line: &Line, decl: &StageDecl) -> Value {
    let place = line.place.map(|place| match place {
        // What is generated around an operation belongs to it.
        Place::Stmt(number) => match decl.body.get(number).map(|stmt| &stmt.kind) {
            Some(stagefuse_ir::StmtKind::Let(value, _)) => key(Place::Value(*value)),
            _ => key(place),
        },
        place => key(place),
    });
    match line.offset {
        Some(offset) => json!({ "text": line.text, "place": place, "offset": offset, "clif": line.from }),
        None => json!({ "text": line.text, "place": place }),
    }
}

/// A part of a stage in one word.
fn key(place: Place) -> String {
    match place {
        Place::Source => "source".to_string(),
        Place::Value(value) => value.to_string(),
        Place::Stmt(number) => format!("stmt{number}"),
        Place::Sink => "sink".to_string(),
    }
}

/// The lines of the plan that a stage's source comes from: the leaf that it scans, or the operator that filled the table that it reads.
fn source_lines(number: usize, program: &Program, decl: &StageDecl, plan: &[PlanLine]) -> Vec<usize> {
    let fills = |sink: &Sink| match (decl.source, sink) {
        (Source::Input { input, .. }, Sink::Hand { input: handed, .. }) => *handed == input,
        (Source::Groups(groups), Sink::Group { groups: filled, .. }) => *filled == groups,
        (Source::Join(join, _), Sink::Build { join: built, .. }) => *built == join,
        (Source::Sort(sort), Sink::Sort { sort: filled, .. }) => *filled == sort,
        _ => false,
    };
    match decl.source {
        Source::Input { input, .. } if !program.inputs[input].handed => {
            let leaf = plan.iter().position(|line| line.leaf == Some((number, input.index())));
            leaf.into_iter().collect()
        }
        _ => {
            let writer = program.stages.values().find(|decl| fills(&decl.sink));
            let note = writer.and_then(|writer| writer.sink_note.as_deref());
            note.map(|note| link::lines_of(note, number, plan)).unwrap_or_default()
        }
    }
}

fn opaque_names(program: &Program, decl: &StageDecl) -> Vec<String> {
    match decl.source {
        Source::Input { input, .. } => {
            program.inputs[input].computed.iter().map(|computed| program.opaques[computed.opaque].name.clone()).collect()
        }
        _ => vec![],
    }
}

fn exchange(edge: &Exchange) -> Value {
    json!({ "from": edge.from, "to": edge.to, "kind": edge.kind, "state": edge.state, "rows": edge.rows })
}

/// The program's declarations: its text up to the first stage.
fn declarations(program: &Program) -> String {
    let text = printer::annotated(program);
    text.split("\n\n").next().unwrap_or_default().to_string()
}
