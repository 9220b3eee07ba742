//! The binary as a user meets it: what it prints, its exit codes, and one clear line for every kind of bad input.

mod hands;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hands::{Folder, fails, path, printed, stagefuse, text};
use serde_json::Value;

fn tables(folder: &Folder) {
    folder.file("people.csv", "id,name\n1,Ada\n2,Grace\n");
    folder.file("visits.json", "{\"id\":1,\"n\":5}\n{\"id\":2,\"n\":7}\n");
}

#[test]
fn sql_reads_files_and_prints_three_formats() {
    let folder = Folder::new("cli-formats");
    tables(&folder);
    let sql = "SELECT name, n FROM people JOIN visits ON people.id = visits.id ORDER BY n";
    let data = path(&folder.0);
    assert_eq!(printed(&["sql", "--data", data, "--format", "csv", sql]), "name,n\nAda,5\nGrace,7\n");
    assert_eq!(printed(&["sql", "--data", data, "--format", "json", sql]), "{\"name\":\"Ada\",\"n\":5}\n{\"name\":\"Grace\",\"n\":7}\n");
    assert!(printed(&["sql", "--data", data, sql]).contains("| Grace | 7 |"));
    for mode in ["auto", "compiled", "interpreted", "off"] {
        assert_eq!(printed(&["sql", "--data", data, "--mode", mode, "--format", "csv", sql]), "name,n\nAda,5\nGrace,7\n", "{mode}");
    }
}

#[test]
fn sql_reads_parquet_by_name_and_statements_from_a_file() {
    let folder = Folder::new("cli-parquet");
    tables(&folder);
    let parquet = folder.0.join("copy.parquet");
    printed(&["sql", "--data", path(&folder.0), &format!("COPY people TO '{}' STORED AS PARQUET", parquet.display())]);
    let table = format!("p={}", parquet.display());
    let file = folder.file("q.sql", "SET stagefuse.mode = 'compiled'; -- a comment; here\nSELECT count(*) AS n, 'a;b' AS t FROM p;\n");
    assert_eq!(printed(&["sql", "--table", &table, "--format", "csv", "--file", path(&file)]), "n,t\n2,a;b\n");
}

#[test]
fn explain_dumps_every_form() {
    let sql = "SELECT sum(x) AS s FROM (SELECT column1 AS x, column2 AS y FROM (VALUES (1, 2), (3, 4))) t WHERE y > 1";
    for (dump, part) in
        [("text", "2 stages: 2 native"), ("ir", "filter v"), ("clif", "function "), ("asm", "ret"), ("html", "<!doctype html>")]
    {
        let shown = printed(&["explain", "--mode", "compiled", "--dump", dump, sql]);
        assert!(shown.contains(part), "{dump}: {shown}");
    }
    assert!(printed(&["explain", "--mode", "compiled", sql]).starts_with("2 stages"));
    let ran = printed(&["explain", "--mode", "compiled", "--analyze", sql]);
    assert!(ran.contains("rows in") && ran.contains("compile"), "{ran}");
    let json: Value = serde_json::from_str(&printed(&["explain", "--dump", "json", "--plan-only", sql])).expect("JSON");
    assert_eq!((&json["schema"], &json["ran"]), (&"stagefuse-report".into(), &false.into()));
    fails(&["explain", "SET stagefuse.mode = 'off'"], "no query to explain");
    fails(&["explain", "--dump", "html", "SET stagefuse.mode = 'off'"], "no query");
    fails(&["explain", "--dump", "asm", "--profile", sql], "--profile");
}

/// What `EXPLAIN` yields is printed to be read, or to be parsed; never in a table's borders.
#[test]
fn explain_is_a_statement() {
    let sql = "SELECT count(*) FROM (VALUES (1), (3)) t(x) WHERE x > 1";
    let sql = |words: &str| printed(&["sql", "--mode", "compiled", &format!("{words} {sql}")]);
    let json: Value = serde_json::from_str(&sql("EXPLAIN CODEGEN FORMAT JSON")).expect("JSON");
    assert_eq!((&json["ran"], &json["version"]), (&false.into(), &1.into()));
    let json: Value = serde_json::from_str(&sql("EXPLAIN CODEGEN ANALYZE FORMAT JSON")).expect("JSON");
    assert_eq!(json["ran"], true);
    assert!(sql("EXPLAIN CODEGEN HTML").starts_with("<!doctype html>"));
    assert!(sql("EXPLAIN CODEGEN").starts_with("2 stages: 2 native"));
    assert!(sql("EXPLAIN CODEGEN ANALYZE").contains("rows out"));
    assert!(sql("EXPLAIN CODEGEN VERBOSE").contains("program {"));
    assert!(sql("EXPLAIN").contains("CompiledExec: stages=2, native=2"));
    assert!(sql("EXPLAIN FORMAT TREE").contains("CompiledExec"));
    assert!(sql("EXPLAIN ANALYZE").contains("rows out"));
    fails(&["sql", "EXPLAIN CODEGEN FORMAT YAML SELECT 1"], "TEXT, JSON or HTML");
    fails(&["sql", "EXPLAIN CODEGEN NONSENSE SELECT 1"], "NONSENSE is no form");
    fails(&["sql", "EXPLAIN ANALYZE CODEGEN SELECT 1"], "EXPLAIN CODEGEN [ANALYZE");
}

/// Names for perf: in a map, or with the code in a file of the kernel's format.
#[test]
#[cfg(target_os = "linux")]
fn perf_gets_names() {
    let folder = Folder::new("cli-perf");
    for form in ["map", "jitdump"] {
        let sql = format!("SET stagefuse.perf = '{form}'; SELECT count(*) FROM (VALUES (1), (3)) t(x) WHERE x > 1");
        let child = Command::new(env!("CARGO_BIN_EXE_stagefuse")).args(["sql", "--mode", "compiled", &sql]).current_dir(&folder.0).spawn();
        let mut child = child.expect("the binary starts");
        let id = child.id();
        assert!(child.wait().expect("it ends").success());
        let name = "stagefuse::q1::s0 scan ";
        if form == "map" {
            let file = PathBuf::from(format!("/tmp/perf-{id}.map"));
            let map = fs::read_to_string(&file).expect("the map is there");
            let _ = fs::remove_file(&file);
            let mut words = map.lines().find(|line| line.contains(name)).expect("a line of the stage").splitn(3, ' ');
            let mut hex = || u64::from_str_radix(words.next().expect("a number"), 16).expect("in hexadecimal");
            assert!(hex() > 4096 && hex() > 16, "{map}");
        } else {
            let dump = fs::read(folder.0.join(format!("jit-{id}.dump"))).expect("the file is there");
            assert_eq!(dump[..4], 0x4A69_5444_u32.to_ne_bytes());
            // Records follow each other to the end, each as long as it says.
            let word = |at: usize| u32::from_ne_bytes(dump[at..at + 4].try_into().expect("four bytes")) as usize;
            let (mut at, mut records) = (word(8), 0);
            while at < dump.len() {
                at += word(at + 4);
                records += 1;
            }
            assert_eq!((at, records), (dump.len(), 2));
            assert!(text(&dump).contains(name));
        }
    }
    fails(&["sql", "SET stagefuse.perf = 'yes'"], "'off', 'map', 'jitdump'");
}

#[test]
fn bad_input_is_one_line_and_exit_code_1() {
    let folder = Folder::new("cli-bad");
    tables(&folder);
    let people = format!("people={}", folder.0.join("people.csv").display());
    let corrupt = format!("t={}", folder.file("corrupt.parquet", "PAR1 this is not a parquet file").display());
    fails(&["sql", "SELEKT 1"], "sql");
    fails(&["sql", "SELECT 'open"], "unterminated");
    fails(&["sql", ""], "no statement");
    fails(&["sql", "--table", &people, "SELECT nope FROM people"], "nope");
    fails(&["sql", "SELECT * FROM nowhere"], "nowhere");
    fails(&["sql", "--table", "t=/nowhere/t.parquet", "SELECT 1"], "/nowhere/t.parquet");
    fails(&["sql", "--data", "/nowhere", "SELECT 1"], "/nowhere");
    fails(&["sql", "--file", "/nowhere/q.sql"], "/nowhere/q.sql");
    fails(&["sql", "--table", &corrupt, "SELECT * FROM t"], "parquet");
    for mode in ["compiled", "interpreted", "off"] {
        fails(&["sql", "--mode", mode, "--table", &people, "SELECT 10 / (id - 1) AS x FROM people"], "divide by zero");
        // Integers wrap around in DataFusion; casts do not.
        fails(&["sql", "--mode", mode, "--table", &people, "SELECT CAST(id * 100 AS tinyint) AS x FROM people"], "cast");
    }
    fails(&["sql", "SET stagefuse.nope = 1"], "nope");
    fails(&["sql", "SET stagefuse.mode = 'fast'"], "fast");
    fails(&["sql", "SET stagefuse.max_fields = 'many'"], "many");
    fails(&["bench", "tpch", "--only", "q99"], "q99");
}

#[test]
fn files_that_are_not_what_they_say_are_one_line() {
    let folder = Folder::new("cli-files");
    let garbage: Vec<u8> = (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let whole = folder.file("people.csv", "id,name\n1,Ada\n2,Grace\n");
    let parquet = folder.0.join("whole.parquet");
    printed(&["sql", "--table", &format!("p={}", path(&whole)), &format!("COPY p TO '{}' STORED AS PARQUET", parquet.display())]);
    let bytes = fs::read(&parquet).expect("it was written");
    let mut inside = bytes.clone();
    // The pages, but not the footer.
    let pages = 4..bytes.len() / 4;
    inside[pages].fill(0xA5);
    let files = [
        ("garbage.parquet", garbage.clone()),
        ("garbage.csv", garbage.clone()),
        ("garbage.json", garbage),
        ("empty.parquet", vec![]),
        // Lengths in the footer that do not fit the file.
        ("magic.parquet", b"PAR1garbagePAR1".to_vec()),
        ("cut.parquet", bytes[..bytes.len() - 9].to_vec()),
        ("inside.parquet", inside),
        ("short.csv", b"a,b\n1,2\n3\n".to_vec()),
        ("cut.json", b"{\"a\":1}\n{\"a\":".to_vec()),
        ("array.json", b"[1, 2]".to_vec()),
        ("text.txt", b"a\n".to_vec()),
    ];
    for (name, bytes) in files {
        let file = folder.file(name, bytes);
        for mode in ["compiled", "off"] {
            fails(&["sql", "--mode", mode, "--table", &format!("t={}", path(&file)), "SELECT * FROM t"], "");
        }
    }
    fs::create_dir(folder.0.join("folder.csv")).expect("a folder");
    fails(&["sql", "--table", &format!("t={}", path(&folder.0.join("folder.csv"))), "SELECT 1"], "not a file");
}

#[test]
fn statements_of_stagefuse_fail_in_one_line() {
    fails(&["sql", "CACHE TABLE"], "takes the name of a table");
    fails(&["sql", "CACHE TABLE nowhere"], "nowhere");
    fails(&["sql", "UNCACHE TABLE nowhere"], "not cached");
    fails(&["sql", "CACHE TABLE \"open"], "delimiter");
    fails(&["sql", "EXPLAIN CODEGEN"], "takes a query");
    fails(&["sql", "EXPLAIN CODEGEN ASM"], "takes a query");
    fails(&["sql", "EXPLAIN CODEGEN SELECT 1 FROM nowhere"], "nowhere");
    fails(&["sql", "SET stagefuse.test_paths = 'x'"], "whole number");
    fails(&["sql", "SET stagefuse.max_code_bytes = -1"], "at least 1");
    fails(&["sql", "SELECT \u{1}"], "sql");
}

/// Trees of thousands of terms take more stack than a thread has by default.
#[test]
fn long_expressions_do_not_overflow_the_stack() {
    let sum = format!("SELECT {} AS n", vec!["1"; 1500].join(" + "));
    assert_eq!(printed(&["sql", "--format", "csv", &sum]), "n\n1500\n");
    fails(&["sql", &format!("SELECT {}1{}", "(".repeat(3000), ")".repeat(3000))], "recursion");
}

/// A difference would be exit code 1.
#[test]
fn fuzz_counts_what_it_did_and_replays_a_case() {
    let shown = printed(&["fuzz", "--cases", "3", "--seed", "5", "--trace"]);
    assert!(shown.starts_with("3 cases: "), "{shown}");
    let shown = printed(&["fuzz", "--replay", "42"]);
    assert!(shown.contains("CREATE TABLE t0 AS") && shown.contains("-- "), "{shown}");
}

/// The digests of a file of measurements, three modes a query, must agree.
fn check_json(file: &Path, queries: usize) {
    let lines: Vec<Value> = fs::read_to_string(file)
        .expect("the file was written")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines.len(), queries * 3);
    for of_query in lines.chunks(3) {
        for line in of_query {
            assert_eq!(line["q"], of_query[0]["q"]);
            assert_eq!(line["digest"], of_query[0]["digest"], "{}", line["q"]);
            for field in [
                "scale",
                "first_ms",
                "min_ms",
                "median_ms",
                "cpu_ms",
                "plan_ms",
                "ready_ms",
                "compile_ms",
                "code_bytes",
                "stages",
                "native_stages",
                "rows",
            ] {
                assert!(line[field].is_number() || (field == "scale" && line[field].is_null()), "{field}: {line}");
            }
            assert!(line["fallbacks"].is_array() && line["suite"].is_string() && line["storage"].is_string());
        }
    }
}

#[test]
fn bench_tpch_agrees_in_all_modes() {
    let folder = Folder::new("cli-tpch");
    let json = folder.0.join("out.json");
    let table = printed(&["bench", "tpch", "--scale", "0.001", "--runs", "1", "--json", path(&json)]);
    assert!(table.contains("geomean"), "{table}");
    check_json(&json, 22);
}

#[test]
fn bench_reads_queries_of_a_folder() {
    let folder = Folder::new("cli-queries");
    tables(&folder);
    let queries = folder.0.join("mine");
    fs::create_dir_all(&queries).expect("the folder takes a folder");
    fs::write(queries.join("q2.sql"), "SELECT count(*) AS n FROM people").expect("the folder takes a file");
    fs::write(queries.join("q10.sql"), "CREATE VIEW v AS SELECT id FROM people; SELECT sum(id) AS s FROM v; DROP VIEW v")
        .expect("the folder takes a file");
    let json = folder.0.join("out.jsonl");
    printed(&["bench", "--queries", path(&queries), "--data", path(&folder.0), "--runs", "2", "--json", path(&json)]);
    check_json(&json, 2);
    assert!(fs::read_to_string(&json).expect("the file was written").contains("\"suite\":\"mine\""));
    fs::write(queries.join("q3.sql"), "SELECT nope FROM people").expect("the folder takes a file");
    let output = stagefuse(&["bench", "--queries", path(&queries), "--data", path(&folder.0), "--runs", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("FAILED q3 compiled"), "{}", text(&output.stdout));
}

#[test]
fn bench_measures_several_numbers_of_threads_side_by_side() {
    let folder = Folder::new("cli-threads");
    tables(&folder);
    let query = folder.file("groups.sql", "SELECT id % 2 AS k, count(*) AS n FROM people GROUP BY id % 2");
    let json = folder.0.join("out.jsonl");
    let bench = ["bench", "--queries", path(&query), "--data", path(&folder.0), "--modes", "compiled,off", "--runs", "2"];
    let measure = |more: &[&str]| printed(&[&bench[..], more].concat());
    let table = measure(&["--threads", "1,3", "--json", path(&json)]);
    let header = table.lines().next().expect("there is a header");
    let cells: Vec<&str> = header.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[1..5], ["compiled/1 ms", "compiled/3 ms", "off/1 ms", "off/3 ms"], "{table}");
    assert_eq!(cells[5..8], ["vs compiled/1", "vs off/1", "vs off/3"], "{table}");
    let lines = fs::read_to_string(&json).expect("the file was written");
    let found: Vec<(&str, &str)> = lines
        .lines()
        .map(|line| (if line.contains("\"threads\":3") { "3" } else { "1" }, if line.contains("\"off\"") { "off" } else { "compiled" }))
        .collect();
    assert_eq!(found, [("1", "compiled"), ("3", "compiled"), ("1", "off"), ("3", "off")]);
    let compared = printed(&["bench", "compare", path(&json), path(&json)]);
    for group in ["groups, memory, 1 threads compiled", "groups, memory, 3 threads off"] {
        assert!(compared.contains(group), "{compared}");
    }
    let one = folder.0.join("one.jsonl");
    measure(&["--threads", "1", "--json", path(&one)]);
    // Only what ran with one thread is in both.
    let compared = printed(&["bench", "compare", path(&one), path(&json)]);
    assert!(compared.contains("only in B: groups compiled with 3 threads, groups off with 3 threads"), "{compared}");
    let fails_with = |more: &[&str], part: &str| fails(&[&bench[..], more].concat(), part);
    fails_with(&["--threads", "2,2"], "names 2 twice");
    fails_with(&["--threads", "1,2", "--report", path(&folder.0)], "--report");
}
