//! The shell: what `stagefuse` without a command is.
//!
//! Statements end with `;` and may take several lines; commands begin with `\`. Ctrl-C ends the query that runs, not the shell. Where the
//! input is no terminal, it is read as SQL, and the first failure ends it, as in other clients.

mod command;
mod editor;
mod interrupt;
mod names;
mod progress;

use std::io::{IsTerminal, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use stagefuse::Session;

use crate::cli::arguments::{Format, Mode, SessionArguments};
use crate::cli::failure::Failure;
use crate::cli::{engine, output, runtime, statements};
use editor::Helper;
use names::Names;

/// Rows that are printed of an answer, unless `\rows` says otherwise.
const ROWS_SHOWN: usize = 200;

/// The state of a shell.
pub(crate) struct Shell {
    session: Session,
    runtime: tokio::runtime::Runtime,
    /// Whether times are printed.
    timing: bool,
    /// Rows that are printed of an answer.
    rows: usize,
    /// The last query, which `\explain` and `\dump` are about.
    last: Option<String>,
    /// Whether somebody sits at a terminal.
    interactive: bool,
}

/// Whether to go on.
pub(crate) enum Next {
    Go,
    Quit,
}

/// Runs the shell until its input ends, or `\q`.
pub fn main(arguments: &SessionArguments) -> ExitCode {
    let interactive = std::io::stdin().is_terminal();
    match Shell::open(arguments, interactive).and_then(|shell| if interactive { shell.talk() } else { shell.read() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

impl Shell {
    fn open(arguments: &SessionArguments, interactive: bool) -> Result<Shell, Failure> {
        let runtime = runtime(None)?;
        let session = runtime.block_on(engine::begin(arguments))?;
        Ok(Shell { session, runtime, timing: interactive, rows: ROWS_SHOWN, last: None, interactive })
    }

    /// Runs all of standard input.
    fn read(mut self) -> Result<(), Failure> {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::new(format!("standard input: {error}")))?;
        // Lines that begin with a backslash are commands; what is between them is SQL.
        let mut sql = String::new();
        for line in text.lines() {
            if line.trim_start().starts_with('\\') {
                self.statements(&std::mem::take(&mut sql))?;
                if let Next::Quit = self.command(line.trim())? {
                    return Ok(());
                }
            } else {
                sql.push_str(line);
                sql.push('\n');
            }
        }
        self.statements(&sql)
    }

    /// Talks to whoever sits at the terminal.
    fn talk(mut self) -> Result<(), Failure> {
        interrupt::listen();
        let config =
            Config::builder().completion_type(CompletionType::List).completion_show_all_if_ambiguous(true).auto_add_history(false).build();
        let mut editor: Editor<Helper, FileHistory> = Editor::with_config(config).map_err(Failure::new)?;
        editor.set_helper(Some(Helper::default()));
        let history = history_file();
        if let Some(file) = &history {
            // There is none before the first time.
            let _ = editor.load_history(file);
        }
        output::print(&format!("stagefuse {}; \\? for help, \\q to quit\n", env!("CARGO_PKG_VERSION")))?;
        loop {
            if let Some(helper) = editor.helper_mut() {
                helper.names = Names::of(&self.session, &self.runtime);
            }
            let line = match editor.readline("stagefuse> ") {
                Ok(line) => line,
                // A line is thrown away, the shell stays.
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(Failure::new(error)),
            };
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let _ = editor.add_history_entry(line);
            // A panic of whatever library ends the statement, not the shell.
            let done = catch_unwind(AssertUnwindSafe(|| match line.starts_with('\\') {
                true => self.command(line),
                false => self.statements(line).map(|()| Next::Go),
            }));
            match done {
                Ok(Ok(Next::Go)) => {}
                Ok(Ok(Next::Quit)) => break,
                Ok(Err(failure)) => output::complain(&format!("error: {failure}")),
                Err(_) => output::complain("error: this should not have happened (RUST_BACKTRACE=1 shows where)"),
            }
        }
        if let Some(file) = &history {
            // A history that cannot be kept is no reason to end with an error.
            let _ = editor.save_history(file);
        }
        // What was cancelled may still be at its last morsel: nobody waits for it.
        self.runtime.shutdown_background();
        Ok(())
    }

    /// Runs the statements of a text, one after the other; the first failure ends it.
    fn statements(&mut self, text: &str) -> Result<(), Failure> {
        if text.trim().is_empty() || text.trim() == ";" {
            return Ok(());
        }
        for statement in statements::split(text)? {
            if statements::is_query(&statement) {
                self.last = Some(statement.clone());
            }
            self.statement(&statement)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &str) -> Result<(), Failure> {
        let start = Instant::now();
        let interactive = self.interactive;
        let session = self.session.clone();
        let text = statement.to_string();
        let ran = self.runtime.block_on(interrupt::unless_pressed(async move {
            let query = Arc::new(interrupt::task(async move { session.sql(&text).await }).await?);
            let _bar = interactive.then(|| progress::Bar::new(Arc::clone(&query)));
            interrupt::task(async move {
                let batches = query.collect().await?;
                let schema = match batches.first() {
                    Some(batch) => batch.schema(),
                    None => query.schema(),
                };
                Ok((schema, batches))
            })
            .await
        }));
        let (schema, batches) = ran?;
        let took = start.elapsed();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if !schema.fields().is_empty() {
            let is_text = output::is_plan(&schema);
            if is_text {
                // A plan is for reading: a table's borders would only be in the way.
                output::print(&output::text(&batches)?)?;
            } else {
                output::answer(&schema, &first(&batches, self.rows), Format::Table, false)?;
            }
            if rows > self.rows && !is_text {
                output::print(&format!("{rows} rows, the first {} shown (\\rows shows more)\n", self.rows))?;
            } else if self.interactive && !is_text {
                output::print(&format!("{rows} row{}\n", if rows == 1 { "" } else { "s" }))?;
            }
        }
        if self.timing {
            output::print(&format!("{}\n", shown(took)))?;
        }
        Ok(())
    }

    fn set_mode(&self, mode: Mode) -> Result<(), Failure> {
        self.runtime.block_on(engine::set_mode(&self.session, mode))
    }
}

/// The first rows of an answer.
fn first(batches: &[RecordBatch], rows: usize) -> Vec<RecordBatch> {
    let mut left = rows;
    let mut kept = vec![];
    for batch in batches {
        let take = batch.num_rows().min(left);
        left -= take;
        kept.push(batch.slice(0, take));
    }
    kept
}

fn shown(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{:.1} ms", time.as_secs_f64() * 1e3) } else { format!("{:.2} s", time.as_secs_f64()) }
}

/// Where lines are kept from one shell to the next; `STAGEFUSE_HISTORY` names another file, or none where it is empty.
fn history_file() -> Option<PathBuf> {
    match std::env::var_os("STAGEFUSE_HISTORY") {
        Some(file) if file.is_empty() => None,
        Some(file) => Some(file.into()),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".stagefuse_history")),
    }
}
