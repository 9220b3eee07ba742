//! The statements that Stagefuse adds to SQL: `EXPLAIN CODEGEN [IR|CLIF|ASM] <query>`, `CACHE TABLE t` and `UNCACHE TABLE t` (Spark's words), and several
//! statements in one text.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::Error;
use crate::explain::Dump;

/// One statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// DataFusion's.
    Plain(String),
    /// `EXPLAIN CODEGEN`: what to show, if not everything, of which query.
    ExplainCodegen(Option<Dump>, String),
    /// `CACHE TABLE`: the table's name as it is written.
    Cache(String),
    /// `UNCACHE TABLE`.
    Uncache(String),
}

/// Splits a text at its semicolons. A semicolon in a string, a quoted name or a comment does not count.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>, Error> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| Error::usage(format!("SQL error: {error}")))?;
    let mut statements = vec![];
    for tokens in tokens.split(|token| *token == Token::SemiColon) {
        if tokens.iter().any(|token| !matches!(token, Token::Whitespace(_) | Token::EOF)) {
            statements.push(statement(tokens)?);
        }
    }
    Ok(statements)
}

fn statement(tokens: &[Token]) -> Result<Statement, Error> {
    let (first, rest) = word(tokens);
    let (second, rest) = word(rest);
    if is(second, "TABLE") && (is(first, "CACHE") || is(first, "UNCACHE")) {
        let name = join(rest);
        if name.is_empty() {
            return Err(Error::usage("CACHE TABLE takes the name of a table"));
        }
        return Ok(if is(first, "CACHE") { Statement::Cache(name) } else { Statement::Uncache(name) });
    }
    if !(is(first, "EXPLAIN") && is(second, "CODEGEN")) {
        return Ok(Statement::Plain(join(tokens)));
    }
    let (third, after) = word(rest);
    let dump = Dump::ALL.iter().copied().find(|dump| is(third, dump.name()));
    let query = join(if dump.is_some() { after } else { rest });
    if query.is_empty() {
        return Err(Error::usage("EXPLAIN CODEGEN takes a query: EXPLAIN CODEGEN [IR|CLIF|ASM] SELECT .."));
    }
    Ok(Statement::ExplainCodegen(dump, query))
}

/// The first token that is no space or comment, where it is a bare word, and what follows.
fn word(tokens: &[Token]) -> (Option<&str>, &[Token]) {
    match tokens.iter().position(|token| !matches!(token, Token::Whitespace(_))) {
        Some(at) => match &tokens[at] {
            Token::Word(word) if word.quote_style.is_none() => (Some(&word.value), &tokens[at + 1..]),
            _ => (None, &tokens[at..]),
        },
        None => (None, &[]),
    }
}

fn is(word: Option<&str>, keyword: &str) -> bool {
    word.is_some_and(|word| word.eq_ignore_ascii_case(keyword))
}

fn join(tokens: &[Token]) -> String {
    tokens.iter().map(Token::to_string).collect::<String>().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Statement {
        Statement::Plain(text.to_string())
    }

    #[test]
    fn statements_are_split_at_semicolons_only() {
        let statements = parse("SET a.b = 'x;y'; SELECT \"c;d\", 'it''s' -- no; end\n FROM t;;").unwrap();
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0], plain("SET a.b = 'x;y'"));
        assert!(matches!(&statements[1], Statement::Plain(text) if text.contains("'it''s'") && text.ends_with("FROM t")));
    }

    #[test]
    fn explain_codegen_says_what_to_show() {
        let query = || "SELECT 1".to_string();
        assert_eq!(parse("explain codegen SELECT 1").unwrap(), [Statement::ExplainCodegen(None, query())]);
        assert_eq!(parse("EXPLAIN CODEGEN CLIF SELECT 1").unwrap(), [Statement::ExplainCodegen(Some(Dump::Clif), query())]);
        assert_eq!(parse("EXPLAIN SELECT 1").unwrap(), [plain("EXPLAIN SELECT 1")]);
        assert_eq!(parse("cache table a.\"b c\"").unwrap(), [Statement::Cache("a.\"b c\"".to_string())]);
        assert_eq!(parse("UNCACHE TABLE t").unwrap(), [Statement::Uncache("t".to_string())]);
        assert!(parse("CACHE TABLE").unwrap_err().is_usage());
        assert!(parse("EXPLAIN CODEGEN ASM").unwrap_err().is_usage());
        assert!(parse("SELECT 'open").unwrap_err().is_usage());
    }
}
