//! What the command line offers, and the way from its arguments to an exit code.

pub mod arguments;
pub mod engine;
pub mod failure;
pub mod fuzz;
pub mod output;
pub mod statements;
pub mod tables;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Dump, QueryArguments};
use failure::Failure;

/// Stack of the thread that plans: trees of thousands of terms are parsed, printed and dropped by recursion. Only what is used takes memory.
const STACK: usize = 256 << 20;

/// Parses the arguments and runs the command. A failure is one line on stderr and exit code 1, and so is a panic, of whatever library.
pub fn main() -> ExitCode {
    if std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value == "0") {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let code = std::thread::Builder::new().stack_size(STACK).spawn(command).map(|thread| thread.join());
    match code {
        Ok(Ok(code)) => code,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            let text = Failure::new(text.unwrap_or("no message"));
            output::complain(&format!("error: this should not have happened: {text} (RUST_BACKTRACE=1 shows where)"));
            ExitCode::FAILURE
        }
        Err(error) => finish(Err(error.into())),
    }
}

fn command() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(command) = arguments.command else { return crate::shell::main(&arguments.shell) };
    match command {
        Command::Sql(arguments) => finish(sql(&arguments)),
        Command::Explain { query, dump: dump @ (Dump::Html | Dump::Json), output, plan_only } => {
            finish(report(&query, dump, output.as_deref(), !plan_only))
        }
        Command::Explain { query, dump: Dump::Ir, output, .. } => finish(explain(&query, "", output.as_deref())),
        Command::Explain { query, dump: Dump::Clif, output, .. } => finish(explain(&query, "CLIF ", output.as_deref())),
        Command::Explain { query, dump: Dump::Asm, output, .. } => finish(explain(&query, "ASM ", output.as_deref())),
        Command::Bench(arguments) => finish(crate::bench::main(&arguments)),
        Command::Fuzz(arguments) => finish(fuzz::main(&arguments)),
    }
}

/// `Ok(false)` means that everything was printed already, but something in it is wrong.
fn finish(result: Result<bool, Failure>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            output::complain(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn sql(arguments: &QueryArguments) -> Result<bool, Failure> {
    let text = arguments.text()?;
    runtime(None)?.block_on(async {
        let session = engine::begin(&arguments.session).await?;
        let mut printed = false;
        for statement in statements::split(&text)? {
            let answer = engine::run(&session, &statement).await?;
            if answer.schema.fields().is_empty() {
                continue;
            }
            printed = output::answer(&answer.schema, &answer.batches, arguments.format, printed)? || printed;
        }
        Ok(true)
    })
}

/// Explains the last statement, which must be a query; those before it are run.
fn report(arguments: &QueryArguments, dump: Dump, file: Option<&Path>, run: bool) -> Result<bool, Failure> {
    let text = arguments.text()?;
    runtime(None)?.block_on(async {
        let session = engine::begin(&arguments.session).await?;
        let mut statements = statements::split(&text)?;
        let query = statements.pop().filter(|last| statements::is_query(last));
        let query = query.ok_or_else(|| Failure::new("the last statement is no query: there is nothing to explain"))?;
        for statement in statements {
            engine::run(&session, &statement).await?;
        }
        let query = session.sql(&query).await?;
        let report = if run { query.report().await? } else { query.report_plan().await? };
        let text = match dump {
            Dump::Json => format!("{:#}\n", report.json()),
            _ => report.html(),
        };
        output::write(file, &text)?;
        Ok(true)
    })
}

/// Prints what `EXPLAIN CODEGEN` with this form says of every query.
fn explain(arguments: &QueryArguments, form: &str, file: Option<&Path>) -> Result<bool, Failure> {
    let text = arguments.text()?;
    runtime(None)?.block_on(async {
        let session = engine::begin(&arguments.session).await?;
        let mut explained = vec![];
        for statement in statements::split(&text)? {
            if statements::is_query(&statement) {
                let answer = engine::run(&session, &format!("EXPLAIN CODEGEN {form}{statement}")).await?;
                explained.push(output::text(&answer.batches)?);
            } else {
                engine::run(&session, &statement).await?;
            }
        }
        if explained.is_empty() {
            return Err(Failure::new("there is no query to explain"));
        }
        output::write(file, &explained.concat())?;
        Ok(true)
    })
}

/// A runtime with `threads` workers, or as many as the machine has cores.
pub fn runtime(threads: Option<usize>) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    // Deep expressions recurse on a worker's stack.
    Ok(builder.thread_stack_size(64 << 20).enable_all().build()?)
}
