//! Every command and every block of code of README.md and docs/*.md does what the text says. `sh` blocks run in a shell with the
//! binary on the path, `sql` blocks through the binary, `ir` blocks through the IR's parser and verifier; `rust` blocks are
//! documentation tests of the library (`src/lib.rs` includes the pages); `text` blocks are drawings. Blocks of one page run in order, in one folder, as a reader would run them.
//!
//! A block that cannot run has `<!-- not run: why -->` on the line before.

mod hands;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hands::Folder;
use stagefuse_ir::parser;

/// More than this would be a documentation that nobody checks.
const MOST_NOT_RUN: usize = 4;

struct Block {
    line: usize,
    language: String,
    text: String,
    /// Why it is not run.
    skipped: Option<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let mut open = false;
    let mut before = "";
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                let skipped = before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->")).map(str::to_owned);
                blocks.push(Block { line: at + 1, language: language.to_owned(), text: String::new(), skipped });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                let block = blocks.last_mut().expect("it is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
        before = line;
    }
    assert!(!open, "the last block is never closed");
    blocks
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> =
        fs::read_dir(root.join("docs")).expect("there is documentation").map(|file| file.expect("a file").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(root.join("README.md"));
    pages.sort();
    pages
}

/// Runs a command of a page's block. Its folder holds what the blocks before it left there.
fn run(page: &Path, block: &Block, folder: &Path) {
    let binaries = Path::new(env!("CARGO_BIN_EXE_stagefuse")).parent().expect("the binary is in a folder").to_owned();
    let paths = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let path = std::env::join_paths(std::iter::once(binaries).chain(paths)).expect("a path of folders");
    let mut command = match block.language.as_str() {
        "sh" => Command::new("bash"),
        _ => Command::new("stagefuse"),
    };
    match block.language.as_str() {
        "sh" => command.args(["-euo", "pipefail", "-c", &block.text]),
        // The folder of a page that has SQL has tables in `data`.
        _ => {
            let file = folder.join(format!("block-{}.sql", block.line));
            fs::write(&file, &block.text).expect("the folder takes a file");
            command.args(["sql", "--data", "data", "--file"]).arg(file)
        }
    };
    let output = command.current_dir(folder).env("PATH", path).env_remove("RUST_BACKTRACE").output().expect("it starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}:{}\n{}\n{out}\n{err}", page.display(), block.line, block.text);
}

#[test]
fn every_block_runs() {
    let (mut ran, mut compiled, mut skipped) = (0, 0, vec![]);
    for page in pages() {
        let name = page.file_stem().expect("a page has a name").to_string_lossy().into_owned();
        let folder = Folder::new(&format!("docs-{name}"));
        for block in blocks(&fs::read_to_string(&page).expect("the page is there")) {
            if let Some(why) = &block.skipped {
                skipped.push(format!("{}:{}: {why}", page.display(), block.line));
                continue;
            }
            match block.language.as_str() {
                "sh" | "sql" => run(&page, &block, &folder.0),
                "ir" => {
                    let program = parser::parse(&block.text).unwrap_or_else(|error| panic!("{}:{}: {error}", page.display(), block.line));
                    let found = stagefuse_ir::verifier::verify(&program);
                    assert!(found.is_ok(), "{}:{}: {found:?}", page.display(), block.line);
                }
                "rust" | "rust,no_run" => {
                    compiled += 1;
                    continue;
                }
                // A drawing.
                "text" => continue,
                other => panic!("{}:{}: `{other}` blocks are not known to this test: sh, sql, ir, rust, text", page.display(), block.line),
            }
            ran += 1;
        }
    }
    println!("{ran} blocks ran, {compiled} are documentation tests, {} were not run:\n{}", skipped.len(), skipped.join("\n"));
    assert!(skipped.len() <= MOST_NOT_RUN, "{skipped:#?}");
    assert!(ran >= 15 && compiled >= 3, "{ran} and {compiled}: where have they gone?");
}

/// No link of a page is dead.
#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("the page is there");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = page.parent().expect("a page is in a folder").join(file);
            assert!(target.exists(), "{}: {link}", page.display());
        }
    }
}

/// Options that pages speak of, within sentences too, are options of some command.
#[test]
fn options_are_known() {
    let commands: [&[&str]; 6] = [&[], &["sql"], &["explain"], &["bench"], &["bench", "compare"], &["fuzz"]];
    let help: String = commands
        .iter()
        .map(|command| {
            let output = Command::new(env!("CARGO_BIN_EXE_stagefuse")).args(*command).arg("--help").output().expect("the binary starts");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect();
    let options = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words
            .filter(|word| word.starts_with("--") && word.len() > 3 && !word.starts_with("---") && !word.ends_with("--"))
            .map(str::to_owned)
            .collect()
    };
    let known = options(&help);
    assert!(known.len() > 20, "{known:?}");
    // Cargo's and perf's.
    let others = ["--release", "--workspace", "--test", "--jit", "--sort", "--stdio"];
    for page in pages() {
        for option in options(&fs::read_to_string(&page).expect("the page is there")) {
            assert!(known.contains(&option) || others.contains(&option.as_str()), "{}: {option} is no option", page.display());
        }
    }
}

/// The guide's table of settings is the settings.
#[test]
fn the_guide_lists_every_setting_and_its_default() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md")).expect("the guide is there");
    let output = Command::new(env!("CARGO_BIN_EXE_stagefuse"))
        .args(["sql", "--format", "csv", "SELECT name, value FROM information_schema.df_settings WHERE name LIKE 'stagefuse.%'"])
        .output()
        .expect("the binary starts");
    let settings = String::from_utf8_lossy(&output.stdout).into_owned();
    let settings: Vec<(&str, &str)> = settings.lines().skip(1).filter_map(|line| line.split_once(',')).collect();
    assert!(settings.len() >= 10, "{settings:?}");
    for (name, value) in &settings {
        let name = name.trim_start_matches("stagefuse.");
        assert!(guide.contains(&format!("| `{name}` | `{value}` |")), "docs/guide.md does not list {name} with its default {value}");
    }
    let section = guide.split("\n## Settings\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("there is a section");
    let rows = section.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, settings.len(), "docs/guide.md lists settings that are gone");
}
