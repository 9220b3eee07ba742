//! Reports of TPC-H's queries: complete, linked, small; and the page in a browser, as somebody would use it.
//!
//! The browser is `chromium` on the path, or what `STAGEFUSE_CHROMIUM` names; without one that part says that it is skipped.

#[path = "../src/bench/data/mod.rs"]
#[allow(dead_code, reason = "only `bench` makes the other suites")]
mod data;
mod hands;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use data::Source;
use datafusion::datasource::MemTable;
use hands::Folder;
use serde_json::Value;
use stagefuse::{Report, Session};

async fn session() -> Session {
    let session = Session::builder().target_partitions(2).build();
    for name in Source::Tpch.tables() {
        let table = Source::Tpch.table(name, 0.01, 2).expect("a table of TPC-H");
        let table = MemTable::try_new(table.schema, table.partitions).expect("equal schemas");
        session.context().register_table(name, Arc::new(table)).expect("a fresh session takes a table");
    }
    session.sql("SET stagefuse.mode = 'compiled'").await.expect("a setting").collect().await.expect("a setting");
    session
}

/// The reports of a query's SELECTs.
async fn reports(session: &Session, number: usize) -> Vec<Report> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/tpch/q{number}.sql"));
    let text = std::fs::read_to_string(file).expect("the query is there");
    let mut reports = vec![];
    for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
        let query = session.sql(statement).await.unwrap_or_else(|error| panic!("q{number}: {error}"));
        let start = statement.trim_start().to_lowercase();
        if start.starts_with("select") || start.starts_with("with") {
            reports.push(query.report().await.unwrap_or_else(|error| panic!("q{number}: {error}")));
        } else {
            query.collect().await.unwrap_or_else(|error| panic!("q{number}: {error}"));
        }
    }
    reports
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instruction_of_tpch_is_linked() {
    let session = session().await;
    let (mut clif, mut instructions, mut linked, mut exact) = (0, 0, 0, 0);
    for number in 1..=22 {
        let reports = reports(&session, number).await;
        assert!(!reports.is_empty(), "q{number} has no query");
        for report in reports {
            let data = report.json();
            assert!(report.html().len() < 2 << 20, "q{number}: {} bytes", report.html().len());
            assert_eq!((data["schema"].as_str(), data["ran"].as_bool()), (Some("stagefuse-report"), Some(true)));
            let plan = list(data, "plan");
            let stages: Vec<&Value> = list(data, "nodes").iter().flat_map(|node| list(node, "stages")).collect();
            assert!(!stages.is_empty(), "q{number} has no stage");
            for stage in stages {
                assert_eq!(stage["engine"], "native", "q{number}: {}", stage["fallback"]);
                let places: HashSet<&str> = list(stage, "ir").iter().filter_map(|line| line["place"].as_str()).collect();
                // What stands in blocks is instructions, each with a place; signatures and headers have none.
                let mut in_blocks = false;
                for line in list(stage, "clif") {
                    let text = line["text"].as_str().unwrap_or_default();
                    let header = text.starts_with("block");
                    in_blocks = (in_blocks || header) && text != "}";
                    // `v157 -> v159` only says that they are the same.
                    let renames = text.split_whitespace().nth(1) == Some("->");
                    if in_blocks && !header && !renames && !text.is_empty() {
                        assert!(places.contains(line["place"].as_str().unwrap_or_default()), "q{number}: {line}");
                        clif += 1;
                    }
                }
                instructions += list(stage, "asm").len();
                // An instruction of either form belongs to the same place, as far as the compiler says which it comes from.
                for line in list(stage, "asm") {
                    let Some(from) = line["clif"].as_u64() else { continue };
                    assert_eq!(list(stage, "clif")[from as usize]["place"], line["place"], "q{number}: {line}");
                    exact += 1;
                }
                linked +=
                    list(stage, "asm").iter().filter(|line| line["place"].as_str().is_some_and(|place| places.contains(place))).count();
                // Every line of the IR that says where it comes from is linked to a line of the plan.
                for line in list(stage, "ir").iter().filter(|line| !line["note"].is_null()) {
                    assert!(!list(line, "plan").is_empty(), "q{number}: {line}");
                    assert!(list(line, "plan").iter().all(|at| (at.as_u64().unwrap_or(u64::MAX) as usize) < plan.len()));
                }
            }
            // The text can be put together again, and most operators are linked to it.
            let text: String = list(data, "sql").iter().filter_map(|token| token["text"].as_str()).collect();
            assert!(text.to_lowercase().contains("select"));
            let operators =
                plan.iter().filter(|line| line["compiled"] == false && line["text"].as_str().unwrap_or_default().starts_with("FilterExec"));
            assert!(operators.clone().all(|line| !list(line, "sql").is_empty()), "q{number}");
        }
    }
    println!("{clif} instructions of CLIF, all linked; of {instructions} of the machine {linked} are, {exact} to a line of CLIF");
    assert!(clif > 10_000, "{clif}");
    assert!(linked * 100 >= instructions * 99, "{linked} of {instructions} instructions are linked");
    // The others save registers ahead of the first instruction.
    assert!(exact * 100 >= instructions * 90, "{exact} of {instructions} instructions know their line of Cranelift's IR");
}

/// Whoever asks sees all of it at once, in a window of usual width.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_codegen_fits_a_screen() {
    let session = session().await;
    for number in (1..=22).filter(|number| *number != 15) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/tpch/q{number}.sql"));
        let query = session.sql(&std::fs::read_to_string(file).expect("the query is there")).await.expect("a query");
        let text = if number == 1 { query.explain_analyze().await } else { query.explain().await }.expect("it runs");
        for line in text.lines() {
            assert!(line.chars().count() <= 120, "q{number}: {} columns: {line}", line.chars().count());
        }
        if number == 1 {
            assert!(text.lines().count() <= 50, "{} lines\n{text}", text.lines().count());
            for part in ["rows in", "compile", "l_extendedprice * (1 - l_discount)", "avg(lineitem.l_quantity)", "-> s1"] {
                assert!(text.contains(part), "no `{part}` in\n{text}");
            }
        }
    }
}

/// What a reader does, in the page itself: its findings become the page's text.
const VISIT: &str = r##"<script>
(() => {
  const found = [];
  const check = (what, holds) => found.push((holds ? "ok " : "WRONG ") + what);
  const over = line => line.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
  const press = (box, key) => box.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const marked = id => document.querySelectorAll("#" + id + " .mark").length;
  check("ready", document.documentElement.dataset.ready === "yes");
  const asm = [...document.querySelectorAll("#asm [data-k]")];
  over(asm.find(line => line.dataset.k !== "csource" && line.dataset.k !== "csink"));
  check("an instruction marks all columns", ["ir", "clif", "asm", "plan", "sql"].every(id => marked(id) > 0));
  const filter = [...document.querySelectorAll("#plan [data-k]")].find(line => line.textContent.includes("FilterExec"));
  over(filter);
  check("a filter of the plan marks IR and SQL", marked("plan") > 0 && marked("sql") > 0);
  const named = data.plan.find(line => line.text.startsWith("FilterExec") && line.sql.length).sql[0];
  const token = document.querySelector('#sql [data-k="t' + named + '"]');
  over(token);
  check("a token marks the plan", marked("plan") > 0);
  const boxes = [...document.querySelectorAll("#graph .stage")];
  check("a box for each stage", boxes.length > 1 && boxes.every(box => box.getAttribute("aria-label")));
  boxes[0].dispatchEvent(new MouseEvent("click", { bubbles: true }));
  const inputs = data.nodes.flatMap(node => node.exchanges).filter(edge => edge.from === null || edge.to === null).length;
  check("a box for each input and the output", inputs > 1 && document.querySelectorAll("#graph .input").length === inputs);
  check("an arrow for each exchange", document.querySelectorAll("#graph path[marker-end]").length === data.nodes.flatMap(node => node.exchanges).length);
  check("rows on the arrows", data.nodes[0].exchanges.every(edge => [...document.querySelectorAll("#graph text")].some(text => text.textContent === count(edge.rows))));
  const fallen = data.nodes.flatMap(node => node.stages).filter(stage => stage.fallback), told = document.querySelector("#fallbacks").textContent;
  check("every fallback says why and what to do", fallen.every(stage => told.includes(stage.fallback.cause) && told.includes(stage.fallback.remedy)));
  check("nothing else is told to have fallen back", fallen.length > 0 || told === "");
  if (data.profile) {
    check("a profile has shares", document.querySelectorAll("#profile tbody tr").length === boxes.length + 1 && document.querySelector("#profile").textContent.includes("What measuring costs"));
    check("and so have lines", ["sql .warm", "plan .heat[title]", "ir .heat[title]", "clif .heat[title]", "asm .heat[title]"].every(part => document.querySelector("#" + part)));
  }
  check("a click chooses a stage", boxes[0].getAttribute("aria-pressed") === "true" && document.querySelector("#ir").textContent.includes("s0"));
  boxes[1].dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  check("so does Enter", boxes[1].getAttribute("aria-pressed") === "true" && document.querySelector("#ir").textContent.includes("s1"));
  const ir = document.querySelector("#ir");
  press(ir, "ArrowDown"); press(ir, "ArrowDown");
  check("arrow keys move", ir.querySelectorAll(".at").length === 1 && marked("ir") > 0);
  press(ir, "Enter");
  check("Enter holds", ir.querySelectorAll(".pin").length === 1);
  over(asm[0]);
  check("what is held stays", ir.querySelectorAll(".pin").length === 1);
  press(ir, "Escape");
  check("Escape lets go", document.querySelectorAll(".mark, .pin").length === 0);
  check("nothing was asked for", performance.getEntriesByType("resource").length === 0);
  check("under a second", performance.now() < 1000 || found.push("took " + performance.now() + " ms") < 0);
  const narrow = innerWidth < 600;
  check("nothing is wider than the window", document.documentElement.scrollWidth <= innerWidth + 1);
  const shown = [...document.querySelectorAll(".column")].filter(column => getComputedStyle(column).display !== "none").length;
  check("columns", shown === (narrow ? 1 : 5));
  document.body.innerHTML = "<pre id=found></pre>";
  document.querySelector("#found").textContent = found.join("\n");
})();
</script></body>"##;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_in_a_browser() {
    let Some(browser) = hands::browser() else { return };
    let session = session().await;
    let folder = Folder::new("report");
    // A simple one, the one with most stages; one that falls back, one with samples, where there are some.
    for name in ["q3", "q8", "interpreted", "profiled"] {
        let report = match name {
            "interpreted" => {
                session.sql("SET stagefuse.mode = 'interpreted'").await.expect("a setting").collect().await.expect("a setting");
                reports(&session, 3).await.remove(0)
            }
            "profiled" => {
                session.sql("SET stagefuse.mode = 'compiled'").await.expect("a setting").collect().await.expect("a setting");
                // Rows enough that samples fall into the stages, however long a debug build plans.
                let table = Source::Tpch.table("lineitem", 0.01, 2).expect("a table of TPC-H");
                let partitions = table.partitions.iter().map(|batches| vec![batches.clone(); 25].concat()).collect();
                let table = MemTable::try_new(table.schema, partitions).expect("equal schemas");
                session.context().deregister_table("lineitem").expect("it is there");
                session.context().register_table("lineitem", Arc::new(table)).expect("its name is free");
                let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tpch/q1.sql")).expect("q1");
                match session.sql(&text).await.expect("a query").profile().await {
                    Ok(report) => report,
                    Err(error) => {
                        assert!(error.is_usage() && !cfg!(target_os = "linux"), "{error}");
                        continue;
                    }
                }
            }
            name => reports(&session, name[1..].parse().expect("a number")).await.remove(0),
        };
        let page = format!("{name}.html");
        folder.file(&page, report.html().replace("</body>", VISIT));
        for width in [1400, 500] {
            hands::visit(&browser, &folder, &page, width, width == 500);
        }
    }
}
