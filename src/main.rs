//! The command line: `stagefuse sql`, `stagefuse explain`, `stagefuse bench`, and the shell.

mod bench;
mod cli;
mod shell;

use std::process::ExitCode;

/// DataFusion's published Python wheel runs on mimalloc. The plain engine that `bench` compares with must not be
/// handicapped by a slower allocator than the one its users get, so both sides of every comparison use the same one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
