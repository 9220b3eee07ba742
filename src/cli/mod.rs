//! What the command line offers, and the way from its arguments to an exit code.

pub mod arguments;
pub mod engine;
pub mod failure;
pub mod output;
pub mod statements;
pub mod tables;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Dump, QueryArguments};
use failure::Failure;

/// Parses the arguments and runs the command. A failure is one line on stderr and exit code 1.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Sql(arguments) => finish(sql(&arguments)),
        Command::Explain { query, dump } => finish(explain(&query, dump)),
        Command::Bench(arguments) => finish(crate::bench::main(&arguments)),
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
        let session = engine::open(None);
        tables::register(session.context(), arguments.data.as_deref(), &arguments.tables).await?;
        engine::set_mode(&session, arguments.mode).await?;
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

fn explain(arguments: &QueryArguments, dump: Dump) -> Result<bool, Failure> {
    let text = arguments.text()?;
    runtime(None)?.block_on(async {
        let session = engine::open(None);
        tables::register(session.context(), arguments.data.as_deref(), &arguments.tables).await?;
        engine::set_mode(&session, arguments.mode).await?;
        let what = match dump {
            Dump::Ir => "EXPLAIN CODEGEN ",
            Dump::Clif => "EXPLAIN CODEGEN CLIF ",
            Dump::Asm => "EXPLAIN CODEGEN ASM ",
        };
        let mut explained = false;
        for statement in statements::split(&text)? {
            if statements::is_query(&statement) {
                explained = true;
                let answer = engine::run(&session, &format!("{what}{statement}")).await?;
                output::text(&answer.batches)?;
            } else {
                engine::run(&session, &statement).await?;
            }
        }
        if explained { Ok(true) } else { Err(Failure::new("there is no query to explain")) }
    })
}

/// A runtime with `threads` workers, or as many as the machine has cores.
pub fn runtime(threads: Option<usize>) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    // Deep expressions recurse on a worker's stack.
    Ok(builder.thread_stack_size(8 << 20).enable_all().build()?)
}
