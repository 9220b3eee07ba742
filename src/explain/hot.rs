//! A profile as text: where the time goes by stage, and the instructions that take most of it.

use std::fmt::Write as _;

use serde_json::Value;

use super::table::{aligned, milliseconds, number, shortened, wrapped};

/// Instructions that are shown.
const SHOWN: usize = 12;

/// The text of a report's profile.
pub(crate) fn hot(report: &Value) -> String {
    let profile = &report["profile"];
    let ms = |value: &Value, field: &str| value[field].as_f64().unwrap_or(0.0);
    let total = ms(profile, "cpu_ms").max(1e-9);
    let share = |ms: f64| format!("{:.1} %", ms * 100.0 / total);
    let mut text = format!(
        "{} of processor time a run in samples, and {} between the last ones and the end; {} samples in {} runs, one each {} us of a thread{}\n",
        milliseconds(total),
        milliseconds(ms(profile, "unsampled_ms")),
        number(profile["samples"].as_u64().unwrap_or(0)),
        profile["runs"],
        profile["interval_us"],
        match profile["lost"].as_u64() {
            Some(lost @ 1..) => format!("; no room for {} more", number(lost)),
            _ => String::new(),
        }
    );
    text = wrapped(text.trim_end(), 0) + "\n";
    let _ = writeln!(
        text,
        "What measuring costs: runs took {} without samples and {} with them (medians, {:+.1} %)\n",
        milliseconds(ms(profile, "plain_ms")),
        milliseconds(ms(profile, "sampled_ms")),
        ms(profile, "cost") * 100.0
    );
    let mut rows = vec![["stage", "engine", "its code", "calls of it", "around it", "finishing"].map(str::to_string).to_vec()];
    let mut lines = vec![];
    for node in report["nodes"].as_array().into_iter().flatten() {
        for stage in node["stages"].as_array().into_iter().flatten() {
            let id = stage["id"].as_str().unwrap_or_default();
            let name = shortened(&format!("{id} {}", stage["name"].as_str().unwrap_or_default()), 40);
            let mut row = vec![name, stage["engine"].as_str().unwrap_or_default().to_string()];
            row.extend(["code_ms", "calls_ms", "around_ms", "finish_ms"].map(|field| share(ms(&stage["profile"], field))));
            rows.push(row);
            for line in stage["asm"].as_array().into_iter().flatten() {
                lines.push((ms(line, "self_ms") + ms(line, "calls_ms"), id, line, stage));
            }
        }
    }
    let outside =
        ["outside all stages".to_string(), "datafusion".to_string(), String::new(), String::new(), share(ms(profile, "outside_ms"))];
    rows.push(outside.to_vec());
    text.push_str(&aligned(&rows));
    lines.retain(|(ms, ..)| *ms > 0.0);
    lines.sort_by(|a, b| b.0.total_cmp(&a.0));
    if !lines.is_empty() {
        text.push_str("\nHottest instructions, with what they call\n");
    }
    for (ms, id, line, stage) in lines.into_iter().take(SHOWN) {
        let ir = stage["ir"].as_array().into_iter().flatten().find(|ir| ir["place"] == line["place"]);
        let ir = ir.and_then(|ir| ir["text"].as_str()).map(str::trim).unwrap_or_default();
        let (offset, asm) = (line["offset"].as_u64().unwrap_or(0), line["text"].as_str().unwrap_or_default());
        let _ = writeln!(text, "{:>7}  {id}+{offset:<4x} {:<44} {}", share(ms), shortened(asm, 44), shortened(ir, 52));
    }
    text.push_str(&wrapped(
        "\nits code: generated; calls of it: builtins of the runtime; around it: making batches, the interpreter; finishing: merging groups, linking a join table, sorting.",
        0,
    ));
    text
}
