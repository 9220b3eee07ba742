//! `bench --report`: the page and its charts, as files and in a browser; and `bench compare`.
//!
//! The browser is `chromium` on the path, or what `STAGEFUSE_CHROMIUM` names; without one that part says that it is skipped.

mod hands;

use std::fs;
use std::path::Path;

use hands::{Folder, fails, printed, stagefuse};
use serde_json::Value;

/// A chart is well-formed enough for any XML parser: tags are closed in order, and it has what a screen reader reads.
fn check_svg(name: &str, svg: &str) {
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{name}");
    for part in ["role=\"img\"", "<title ", "<desc ", "prefers-color-scheme: dark", "xmlns=\"http://www.w3.org/2000/svg\""] {
        assert!(svg.contains(part), "{name} has no {part}");
    }
    let mut open: Vec<&str> = vec![];
    for tag in svg.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let word = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(word), "{name}");
        } else if !tag.ends_with('/') {
            open.push(word);
        }
    }
    assert!(open.is_empty(), "{name}: {open:?} are not closed");
}

/// Findings of a look at the page become its text.
const VISIT: &str = r##"<script>
(() => {
  const found = [];
  const check = (what, holds) => found.push((holds ? "ok " : "WRONG ") + what);
  const shown = element => getComputedStyle(element).display !== "none";
  const narrow = innerWidth <= 640;
  check("nothing is wider than the window: " + document.documentElement.scrollWidth, document.documentElement.scrollWidth <= innerWidth + 1);
  const figures = [...document.querySelectorAll("figure")];
  check("there are figures", figures.length >= 5);
  check("one chart each is shown", figures.every(figure => [...figure.querySelectorAll("svg")].filter(shown).length === 1));
  check("that of this width", figures.every(figure => shown(figure.querySelector(narrow ? "svg.narrow" : "svg.wide"))));
  check("charts have names", [...document.querySelectorAll("svg[role=img]")].every(svg =>
    svg.getAttribute("aria-labelledby").split(" ").every(id => document.getElementById(id).textContent.length > 5)));
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  check("ids are of one element", new Set(ids).size === ids.length);
  check("links lead somewhere", [...document.querySelectorAll("a")].every(link => document.getElementById(link.hash.slice(1))));
  check("each has its numbers", figures.every(figure => figure.querySelectorAll("tbody tr").length > 0));
  let cut = [];
  for (const svg of document.querySelectorAll("svg.sf-chart")) {
    if (!shown(svg)) continue;
    const box = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const at = text.getBoundingClientRect();
      if (at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 1 || at.bottom > box.bottom + 1) cut.push(text.textContent.trim() + " of " + svg.querySelector("title").textContent);
    }
  }
  check("no letter is cut off: " + cut.slice(0, 5), cut.length === 0);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  check("paper is " + (dark ? "dark" : "light"), getComputedStyle([...document.querySelectorAll("svg.sf-chart rect")].find(rect =>
    rect.getAttribute("fill") === "#FFFFFF")).fill === (dark ? "rgb(28, 31, 35)" : "rgb(255, 255, 255)"));
  check("nothing was asked for", performance.getEntriesByType("resource").length === 0);
  const about = (dark ? "dark" : "light") + " " + innerWidth;
  document.body.innerHTML = "<pre id=found></pre>";
  document.querySelector("#found").textContent = about + "\n" + found.join("\n");
})();
</script></body>"##;

/// Visits the page at two widths, light and dark.
fn visit(folder: &Folder, page: &str) {
    let Some(browser) = hands::browser() else { return };
    // The page itself forbids scripts.
    let html = folder
        .read(page)
        .replace("</body>", VISIT)
        .replace("style-src 'unsafe-inline'", "style-src 'unsafe-inline'; script-src 'unsafe-inline'");
    folder.file("visited.html", html);
    let mut seen = vec![];
    for (width, dark) in [(1280, false), (1280, true), (500, false)] {
        let found = hands::visit(&browser, folder, "visited.html", width, dark);
        seen.push(found.lines().next().unwrap_or_default().to_owned());
    }
    println!("visited: {seen:?}");
}

#[test]
fn tpch_at_two_scales_becomes_a_page() {
    let folder = Folder::new("charts-tpch");
    let (charts, json) = (folder.path("charts"), folder.path("out.jsonl"));
    let shown = printed(&[
        "bench",
        "tpch",
        "--scale",
        "0.001,0.002",
        "--runs",
        "3",
        "--only",
        "q1,q3,q6,q14",
        "--json",
        &json,
        "--report",
        &charts,
    ]);
    assert!(shown.contains("scale 0.001\n") && shown.contains("scale 0.002\n"), "{shown}");
    let lines: Vec<Value> = folder.read("out.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2 * 4 * 3);
    assert!(lines.iter().all(|line| line["runs_ms"].as_array().map_or(0, Vec::len) == 3), "{lines:?}");

    let page = folder.read("charts/index.html");
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("{charts}"));
    // What is needed to repeat it.
    for part in [
        "stagefuse bench tpch --scale 0.001,0.002",
        "Processor",
        "Memory",
        "Load when it began",
        "DataFusion</th><td>55",
        "rustc ",
        "stagefuse.max_fields",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    let mut names: Vec<String> =
        fs::read_dir(&charts).expect("a folder").map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for kind in ["times", "speedup-off", "speedup-interpreted", "compile", "native"] {
        for scale in ["0.001", "0.002"] {
            assert!(names.contains(&format!("{kind}-scale-{scale}.svg")), "{names:?}");
        }
    }
    assert!(names.contains(&"over-size.svg".to_owned()), "{names:?}");
    for name in names.iter().filter(|name| name.ends_with(".svg")) {
        let svg = folder.read(&format!("charts/{name}"));
        check_svg(name, &svg);
        assert!(["q1", "q3", "q6", "q14"].iter().all(|query| svg.contains(&format!("\n{query}\n"))), "{name}");
    }
    // The numbers of the page are those of the file.
    for line in &lines {
        let median = line["median_ms"].as_f64().expect("a number");
        let texts = [0, 1, 2, 3].map(|digits| format!("{median:.digits$}"));
        assert!(texts.iter().any(|text| page.contains(&format!("<td>{}</td>", trimmed(text)))), "{median}");
    }
    visit(&folder, "charts/index.html");
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[test]
fn a_query_of_ones_own_over_a_file_and_micro_become_pages() {
    let folder = Folder::new("charts-own");
    let table = folder.path("t.csv");
    fs::write(&table, "a,b\n1,x\n2,y\n3,x\n").expect("the folder takes a file");
    let query = folder.path("mine.sql");
    fs::write(&query, "SELECT b, sum(a) AS s FROM t GROUP BY b").expect("the folder takes a file");
    let (charts, json) = (folder.path("mine"), folder.path("mine.jsonl"));
    let table = format!("t={table}");
    printed(&["bench", "--queries", &query, "--table", &table, "--runs", "1", "--report", &charts, "--json", &json]);
    let page = folder.read("mine/index.html");
    assert!(page.contains("Benchmark of mine") && page.contains("Only 1 run of each query"), "{page}");
    assert_eq!(folder.read("mine.jsonl").matches("\"suite\":\"mine\"").count(), 3);

    let (charts, json) = (folder.path("micro"), folder.path("micro.jsonl"));
    printed(&[
        "bench",
        "micro",
        "--rows",
        "2000,4000",
        "--runs",
        "1",
        "--only",
        "sum-filter,group-few",
        "--report",
        &charts,
        "--json",
        &json,
    ]);
    assert!(folder.read("micro/over-size.svg").contains("Time over rows"));
    assert_eq!(folder.read("micro.jsonl").matches("\"table_rows\":4000").count(), 2 * 3);

    // Names that are longer than there is room for, and a query that fails, are seen as what they are.
    let queries = folder.path("queries");
    fs::create_dir_all(&queries).expect("the folder takes a folder");
    fs::write(folder.0.join("queries/wrong.sql"), "SELECT nope FROM t").expect("the folder takes a file");
    let report = |folder: &str| ["bench", "--queries", &queries, "--table", &table, "--runs", "1", "--report", folder].map(str::to_owned);
    let failing = |arguments: [String; 9]| {
        let output = stagefuse(&arguments.each_ref().map(String::as_str)[..]);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    };
    failing(report(&folder.path("wrong")));
    let page = folder.read("wrong/index.html");
    assert!(page.contains("FAILED wrong compiled: ") && !page.contains("<figure"), "{page}");
    let long = "a_name_that_is_much_longer_than_there_is_room_for_in_any_chart_or_table_of_the_page";
    fs::write(folder.0.join(format!("queries/{long}.sql")), "SELECT count(*) AS \"<n>\" FROM t").expect("the folder takes a file");
    failing(report(&folder.path("long")));
    visit(&folder, "long/index.html");
    // One engine alone is not compared with anything.
    printed(&["bench", "--queries", &query, "--table", &table, "--modes", "off", "--report", &folder.path("off")]);
    let page = folder.read("off/index.html");
    assert_eq!(page.matches("<figure").count(), 1, "{page}");

    fails(&["bench", "--queries", &query, "--report", &charts], "--table NAME=FILE");
    fails(&["bench", "tpch", "--scale", "1,2", "--data", &folder.path("")], "several scales");
    fails(&["bench", "tpch", "--report", &query], "mine.sql");
}

/// One line of `bench --json`.
fn line(query: &str, mode: &str, runs: [f64; 5], digest: &str) -> String {
    format!(
        "{{\"suite\":\"s\",\"scale\":1,\"storage\":\"memory\",\"q\":\"{query}\",\"mode\":\"{mode}\",\"rows\":1,\"digest\":\"{digest}\",\
         \"min_ms\":{},\"median_ms\":{},\"runs_ms\":{runs:?}}}\n",
        runs[0], runs[2]
    )
}

#[test]
fn compare_finds_what_changed_beyond_noise() {
    let folder = Folder::new("charts-compare");
    let (a, b) = (folder.path("a.jsonl"), folder.path("b.jsonl"));
    let steady = |at: f64| [at * 0.98, at * 0.99, at, at * 1.01, at * 1.02];
    let text = [
        line("q1", "compiled", steady(10.0), "1"),
        line("q1", "off", steady(30.0), "1"),
        line("q2", "compiled", [5.0, 8.0, 10.0, 14.0, 20.0], "2"),
        line("q3", "compiled", steady(40.0), "3"),
        line("gone", "compiled", steady(1.0), "4"),
    ];
    fs::write(&a, text.concat()).expect("the folder takes a file");
    let text = [
        line("q1", "compiled", steady(15.0), "1"),
        line("q1", "off", steady(30.1), "1"),
        line("q2", "compiled", [6.0, 9.0, 12.0, 15.0, 21.0], "2"),
        line("q3", "compiled", steady(20.0), "other"),
        line("new", "compiled", steady(1.0), "5"),
    ];
    fs::write(&b, text.concat()).expect("the folder takes a file");

    let shown = printed(&["bench", "compare", &a, &b]);
    for part in [
        "slower: 1 of 4: q1 compiled at scale 1 1.50x",
        "faster: 1 of 4: q3 compiled at scale 1 0.50x",
        "ANSWERS DIFFER",
        "only in A: gone compiled",
        "only in B: new compiled",
        "rule: ",
    ] {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    let found: Value = serde_json::from_str(&printed(&["bench", "compare", &a, &b, "--json"])).expect("JSON");
    assert_eq!((found["schema"].as_str(), found["version"].as_u64()), (Some("stagefuse-bench-comparison"), Some(1)));
    let verdicts: Vec<(&str, &str, &str)> = found["queries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|of| ["q", "mode", "verdict"].map(|field| of[field].as_str().expect("a text")).into())
        .collect();
    assert_eq!(verdicts, [("q1", "compiled", "slower"), ("q1", "off", "same"), ("q2", "compiled", "same"), ("q3", "compiled", "faster")]);
    let mean = &found["geomeans"][0];
    assert_eq!((mean["mode"].as_str(), mean["queries"].as_u64()), (Some("compiled"), Some(3)));
    let expected = (1.5_f64 * 1.2 * 0.5).cbrt();
    assert!((mean["ratio"].as_f64().expect("a number") - expected).abs() < 1e-9, "{mean}");

    // A regression fails where that is asked for, and nothing else does.
    assert_eq!(stagefuse(&["bench", "compare", &a, &b, "--fail-on-regression"]).status.code(), Some(1));
    assert_eq!(stagefuse(&["bench", "compare", &a, &a, "--fail-on-regression"]).status.code(), Some(0));
    assert_eq!(stagefuse(&["bench", "compare", &a, &b, "--fail-on-regression", "--threshold", "60"]).status.code(), Some(0));

    // A file of before there were all runs in it.
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/2026-11-24-tpch-sf1.jsonl");
    let old = old.to_str().expect("the path is UTF-8");
    let shown = printed(&["bench", "compare", old, old]);
    assert!(shown.contains("slower: none") && shown.contains("does not hold the times of all runs"), "{shown}");

    let file = |name: &str, text: &str| {
        fs::write(folder.0.join(name), text).expect("the folder takes a file");
        folder.path(name)
    };
    fails(&["bench", "compare", &a, "/nowhere/b.jsonl"], "/nowhere/b.jsonl");
    fails(&["bench", "compare", &a, &file("text", "hello\n")], "line 1 is not one of `bench --json`");
    fails(&["bench", "compare", &a, &file("half", &format!("{}{{\"mode\":\"off\"}}\n", text[0]))], "line 2");
    fails(&["bench", "compare", &a, &file("mode", &text[0].replace("compiled", "fast"))], "`fast` is no mode");
    fails(&["bench", "compare", &a, &file("twice", &text[0].repeat(2))], "measured before");
    fails(&["bench", "compare", &a, &file("empty", "")], "no measurement");
    fails(&["bench", "compare", &a, &file("other", &text[0].replace("q1", "q9"))], "no query in common");
    fs::write(folder.0.join("bytes"), [0xFF, 0xFE, 0x00]).expect("the folder takes a file");
    fails(&["bench", "compare", &a, &folder.path("bytes")], "bytes");
}
