//! `stagefuse explain`.

use std::path::Path;

use stagefuse::Session;

use super::arguments::{Dump, QueryArguments};
use super::failure::Failure;
use super::{engine, output, runtime, statements};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub dump: Dump,
    pub plan_only: bool,
    pub analyze: bool,
    pub profile: bool,
}

impl Wish {
    /// The words behind `EXPLAIN CODEGEN`.
    fn words(self) -> Result<String, Failure> {
        let form = match self.dump {
            Dump::Text => "",
            Dump::Ir => "IR",
            Dump::Clif => "CLIF",
            Dump::Asm => "ASM",
            Dump::Html => "FORMAT HTML",
            Dump::Json => "FORMAT JSON",
        };
        let is_code = matches!(self.dump, Dump::Ir | Dump::Clif | Dump::Asm);
        if is_code && (self.profile || self.analyze) {
            return Err(Failure::new(
                "--analyze and --profile go with --dump text, html or json: code is the same whether the query runs or not",
            ));
        }
        let runs = self.analyze || (matches!(self.dump, Dump::Html | Dump::Json) && !self.plan_only);
        let effort = match (self.profile, runs) {
            (true, _) => "PROFILE ",
            (false, true) => "ANALYZE ",
            (false, false) => "",
        };
        Ok(format!("{effort}{form}"))
    }
}

/// Explains: a report is about the last statement, which must be a query; other forms are about every query. Other statements are run.
pub fn main(arguments: &QueryArguments, wish: Wish, file: Option<&Path>) -> Result<bool, Failure> {
    let text = arguments.text()?;
    let words = wish.words()?;
    let is_report = matches!(wish.dump, Dump::Html | Dump::Json);
    runtime(None)?.block_on(async {
        let session = engine::begin(&arguments.session).await?;
        let statements = statements::split(&text)?;
        let last = statements.len() - 1;
        if is_report && !statements::is_query(&statements[last]) {
            return Err(Failure::new("the last statement is no query: there is nothing to explain"));
        }
        let mut explained = vec![];
        for (number, statement) in statements.iter().enumerate() {
            if statements::is_query(statement) && (!is_report || number == last) {
                explained.push(explanation(&session, &words, statement).await?);
            } else {
                engine::run(&session, statement).await?;
            }
        }
        if explained.is_empty() {
            return Err(Failure::new("there is no query to explain"));
        }
        output::write(file, &explained.join("\n"))?;
        Ok(true)
    })
}

async fn explanation(session: &Session, words: &str, query: &str) -> Result<String, Failure> {
    let answer = engine::run(session, &format!("EXPLAIN CODEGEN {words} {query}")).await?;
    output::text(&answer.batches)
}
