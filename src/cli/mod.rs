//! What the command line offers, and the way from its arguments to an exit code.

pub mod arguments;
pub mod engine;
pub mod explain;
pub mod failure;
pub mod fuzz;
pub mod output;
mod processor;
pub mod statements;
pub mod tables;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Format, QueryArguments};
use explain::Wish;
use failure::Failure;

/// Stack of the thread that plans: trees of thousands of terms are parsed, printed and dropped by recursion. Only what is used takes memory.
const STACK: usize = 256 << 20;

/// Parses the arguments and runs the command. A failure is one line on stderr and exit code 1, and so is a panic, of whatever library.
pub fn main() -> ExitCode {
    if let Some(missing) = processor::missing() {
        output::complain(&format!("error: {missing}"));
        return ExitCode::FAILURE;
    }
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
        Command::Explain { query, dump, output, plan_only, analyze, profile } => {
            finish(explain::main(&query, Wish { dump, plan_only, analyze, profile }, output.as_deref()))
        }
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
            if arguments.format == Format::Table && output::is_plan(&answer.schema) {
                output::print(&output::text(&answer.batches)?)?;
                printed = true;
                continue;
            }
            printed = output::answer(&answer.schema, &answer.batches, arguments.format, printed)? || printed;
        }
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
