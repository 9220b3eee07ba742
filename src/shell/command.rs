//! Commands of the shell: what begins with a backslash.

use std::path::Path;

use clap::ValueEnum;

use super::{Next, Shell};
use crate::cli::arguments::{Dump, Mode};
use crate::cli::failure::Failure;
use crate::cli::output;

/// Every command: its words, and what it does.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("\\d", "list tables; \\d TABLE: the columns of a table"),
    ("\\mode", "\\mode auto|compiled|interpreted|off: which engine runs the stages"),
    ("\\timing", "turn times on or off"),
    ("\\rows", "\\rows N: how many rows of an answer are shown"),
    ("\\set", "\\set NAME VALUE: a setting; \\set NAME: show it; \\set: those of Stagefuse"),
    ("\\explain", "stages of the last query, their engines, what each does; \\explain SQL: of that query"),
    ("\\analyze", "the same after running the query, with rows and times"),
    ("\\dump", "\\dump ir|clif|asm: code of the last query; \\dump html|json FILE: its report"),
    ("\\i", "\\i FILE: run a file"),
    ("\\?", "this help"),
    ("\\q", "quit"),
];

impl Shell {
    pub(super) fn command(&mut self, line: &str) -> Result<Next, Failure> {
        let line = line.trim_end_matches(';').trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "\\q" => return Ok(Next::Quit),
            "\\?" | "\\h" => {
                let help: String = COMMANDS.iter().map(|(word, what)| format!("{word:<10} {what}\n")).collect();
                output::print(&format!(
                    "{help}Statements end with `;`. Ctrl-C ends a query, Tab completes, Ctrl-R searches the history.\n"
                ))?;
            }
            "\\d" if rest.is_empty() => self.quietly(
                "SELECT table_schema AS schema, table_name AS name, table_type AS kind FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2",
            )?,
            "\\d" => self.quietly(&format!("DESCRIBE {rest}"))?,
            "\\timing" => {
                self.timing = match rest {
                    "" => !self.timing,
                    "on" => true,
                    "off" => false,
                    _ => return Err(Failure::new("\\timing takes `on`, `off` or nothing")),
                };
                output::print(if self.timing { "times are shown\n" } else { "times are not shown\n" })?;
            }
            "\\rows" => {
                self.rows = rest.parse().map_err(|_| Failure::new("\\rows takes a number"))?;
            }
            "\\mode" => {
                let mode = Mode::from_str(rest, true).map_err(|_| Failure::new("\\mode takes auto, compiled, interpreted or off"))?;
                self.set_mode(mode)?;
            }
            "\\set" => {
                match rest.split_once(char::is_whitespace) {
                    Some((name, value)) => self.quietly(&format!("SET {name} = '{}'", value.trim().replace('\'', "''")))?,
                    None if rest.is_empty() => {
                        self.quietly("SELECT name, value, description FROM information_schema.df_settings WHERE name LIKE 'stagefuse.%' ORDER BY name")?;
                    }
                    None => self.quietly(&format!("SHOW {rest}"))?,
                }
            }
            "\\explain" => {
                let query = self.asked(rest)?;
                self.quietly(&format!("EXPLAIN CODEGEN {query}"))?;
            }
            "\\analyze" => {
                let query = self.asked(rest)?;
                self.quietly(&format!("EXPLAIN CODEGEN ANALYZE {query}"))?;
            }
            "\\dump" => self.dump(rest)?,
            "\\i" => {
                let text = std::fs::read_to_string(rest).map_err(|error| Failure::at(Path::new(rest), error))?;
                self.statements(&text)?;
            }
            _ => return Err(Failure::new(format!("there is no command {word}; \\? lists them"))),
        }
        Ok(Next::Go)
    }

    fn dump(&mut self, rest: &str) -> Result<(), Failure> {
        let (form, file) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let form =
            Dump::from_str(form, true).map_err(|_| Failure::new("\\dump takes text, ir, clif or asm, or html or json and a file"))?;
        let query = self.asked("")?;
        let word = match form {
            Dump::Text => "FORMAT TEXT",
            Dump::Ir => "IR",
            Dump::Clif => "CLIF",
            Dump::Asm => "ASM",
            Dump::Html | Dump::Json => {
                if file.trim().is_empty() {
                    return Err(Failure::new("\\dump html and \\dump json take a file"));
                }
                let report = self.runtime.block_on(async { self.session.sql(&query).await?.report().await })?;
                let text = if form == Dump::Html { report.html() } else { format!("{:#}\n", report.json()) };
                let file = Path::new(file.trim());
                output::write(Some(file), &text)?;
                return output::print(&format!("written to {}\n", file.display()));
            }
        };
        self.quietly(&format!("EXPLAIN CODEGEN {word} {query}"))
    }

    /// The query that is given, or the last one.
    fn asked(&self, given: &str) -> Result<String, Failure> {
        if !given.is_empty() {
            return Ok(given.to_owned());
        }
        self.last.clone().ok_or_else(|| Failure::new("there is no query yet"))
    }

    /// Runs a statement of the shell's own: it is not timed.
    fn quietly(&mut self, statement: &str) -> Result<(), Failure> {
        let timing = std::mem::replace(&mut self.timing, false);
        let ran = self.statement(statement);
        self.timing = timing;
        ran
    }
}
