//! Reports: what became of a query, from its text to machine code, as data and as a page.
//!
//! A [`Report`] holds everything that there is to see of one query: the SQL text in tokens, the plan, and for each compiled node its stages with pipeline IR,
//! Cranelift IR and assembly, line by line, each line linked to what it came from. [`Report::json`] has a documented schema (`docs/report.md`);
//! [`Report::html`] is one file that shows the same without a server.

mod heat;
mod link;
mod plan;
mod settings;
mod sql;
mod stages;

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use serde_json::{Value, json};

use crate::config::StagefuseConfig;
use crate::explain::compiled_nodes;
use crate::profile::Profile;

/// Version of the JSON schema; it grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// The page, with a place for the data.
const PAGE: &str = include_str!("page.html");

/// What is replaced in the page.
const DATA: &str = "{\"schema\":\"stagefuse-report\"}";

/// What became of a query. See the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    data: Value,
}

/// Times of a query's phases; none for what has not been done.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Times {
    /// From SQL text to a physical plan, lowering and compiling not included.
    pub(crate) plan: Duration,
    /// From the first to the last batch.
    pub(crate) run: Option<Duration>,
}

impl Report {
    pub(crate) fn new(
        text: &str,
        physical: &Arc<dyn ExecutionPlan>,
        config: &StagefuseConfig,
        times: Times,
        profile: Option<&Profile>,
    ) -> Report {
        let nodes = compiled_nodes(physical);
        let plan = plan::lines(physical);
        let tokens = sql::tokens(text);
        let mut all: Vec<Value> = nodes.iter().enumerate().map(|(number, node)| stages::node(number, node, &plan, &tokens)).collect();
        let mut lines: Vec<Value> = plan.iter().map(|line| line.json(&tokens)).collect();
        let mut words: Vec<Value> = tokens.iter().map(|token| json!({ "text": token.text, "word": token.is_word })).collect();
        let profile = profile.map(|profile| heat::add(profile, &mut all, &mut lines, &mut words));
        let lower: Duration = nodes.iter().map(|node| node.lowering_time()).sum();
        let compile: Duration = nodes.iter().flat_map(|node| node.stages()).map(|stage| stage.compile_time).sum();
        let phase = |name: &str, time: Duration| json!({ "name": name, "ms": milliseconds(time) });
        let planning = times.plan.saturating_sub(lower);
        let mut phases = vec![phase("plan", planning), phase("lower", lower), phase("compile", compile)];
        // Stages are compiled when the query first runs or is shown.
        phases.extend(times.run.map(|run| phase("run", run)));
        let data = json!({
            "schema": "stagefuse-report",
            "version": SCHEMA_VERSION,
            "stagefuse": env!("CARGO_PKG_VERSION"),
            "target": format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            "ran": times.run.is_some(),
            "sql": words,
            "plan": lines,
            "phases": phases,
            "profile": profile,
            "nodes": all,
            "settings": settings::all(config),
        });
        Report { data }
    }

    /// The data, by the schema of `docs/report.md`.
    pub fn json(&self) -> &Value {
        &self.data
    }

    /// One HTML file, complete in itself: it needs no server, and asks for nothing.
    pub fn html(&self) -> String {
        // In JSON it stands in strings only; in a script element it could begin what ends the script, or a comment that hides its end.
        PAGE.replacen(DATA, &self.data.to_string().replace('<', "\\u003c"), 1)
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_place_for_the_data() {
        assert_eq!(PAGE.matches(DATA).count(), 1);
        let report = Report { data: json!({ "sql": "<!--<script></script>" }) };
        assert!(report.html().contains(r#"{"sql":"\u003c!--\u003cscript>\u003c/script>"}"#));
    }

    #[test]
    fn the_page_asks_for_nothing() {
        // An arrow's head is in the page itself.
        let page = PAGE.replace("url(#arrow)", "");
        for word in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
