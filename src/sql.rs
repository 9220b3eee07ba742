//! The statements that Stagefuse adds to SQL: `EXPLAIN CODEGEN` in its forms, `CACHE TABLE t` and `UNCACHE TABLE t` (Spark's words), and several statements
//! in one text.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::Error;
use crate::explain::{Codegen, Dump, Effort, FORMS, Form};

/// One statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// DataFusion's.
    Plain(String),
    /// `EXPLAIN CODEGEN`: what to show of which query.
    ExplainCodegen(Codegen, String),
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
    if is(first, "EXPLAIN") && (is(second, "ANALYZE") || is(second, "VERBOSE")) && is(word(rest).0, "CODEGEN") {
        return Err(Error::usage(format!("CODEGEN comes behind EXPLAIN: {FORMS}")));
    }
    if !(is(first, "EXPLAIN") && is(second, "CODEGEN")) {
        return Ok(Statement::Plain(join(tokens)));
    }
    let (codegen, rest) = codegen(rest)?;
    let query = join(rest);
    if query.is_empty() {
        return Err(Error::usage(format!("EXPLAIN CODEGEN takes a query: {FORMS}")));
    }
    Ok(Statement::ExplainCodegen(codegen, query))
}

/// The words between `EXPLAIN CODEGEN` and the query.
fn codegen(tokens: &[Token]) -> Result<(Codegen, &[Token]), Error> {
    let mut codegen = Codegen::default();
    let (next, behind) = word(tokens);
    let effort = [("ANALYZE", Effort::Analyze), ("PROFILE", Effort::Profile)].into_iter().find(|(name, _)| is(next, name));
    let rest = match effort {
        Some((_, effort)) => {
            codegen.effort = effort;
            behind
        }
        None => tokens,
    };
    let (next, behind) = word(rest);
    if let Some(dump) = Dump::ALL.iter().copied().find(|dump| is(next, dump.name())) {
        if let Some((name, _)) = effort {
            return Err(Error::usage(format!("{} is the same whether the query runs or not: leave {name} out", dump.name())));
        }
        return Ok((Codegen { form: Form::Dump(dump), ..codegen }, behind));
    }
    if is(next, "FORMAT") {
        let (format, behind) = word(behind);
        let known = [("TEXT", Form::Text), ("JSON", Form::Json), ("HTML", Form::Html)];
        let Some((_, form)) = known.into_iter().find(|(name, _)| is(format, name)) else {
            let format = format.map(|format| format!(", not {format}")).unwrap_or_default();
            return Err(Error::usage(format!("FORMAT takes TEXT, JSON or HTML{format}")));
        };
        return Ok((Codegen { form, ..codegen }, behind));
    }
    if let Some((_, form)) = [("HTML", Form::Html), ("VERBOSE", Form::Verbose)].into_iter().find(|(name, _)| is(next, name)) {
        return Ok((Codegen { form, ..codegen }, behind));
    }
    // What begins a statement that has a plan; a query may begin with a parenthesis, too.
    let begins = ["SELECT", "WITH", "VALUES", "TABLE", "FROM", "INSERT", "COPY", "CREATE", "DELETE", "UPDATE"];
    match next {
        Some(next) if !begins.iter().any(|known| next.eq_ignore_ascii_case(known)) => {
            Err(Error::usage(format!("{next} is no form of EXPLAIN CODEGEN: {FORMS}")))
        }
        _ => Ok((codegen, rest)),
    }
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
        let shown = |effort, form| [Statement::ExplainCodegen(Codegen { effort, form }, "SELECT 1".to_string())];
        for (words, effort, form) in [
            ("", Effort::Plan, Form::Text),
            ("CLIF", Effort::Plan, Form::Dump(Dump::Clif)),
            ("analyze", Effort::Analyze, Form::Text),
            ("ANALYZE VERBOSE", Effort::Analyze, Form::Verbose),
            ("PROFILE FORMAT HTML", Effort::Profile, Form::Html),
            ("FORMAT JSON", Effort::Plan, Form::Json),
            ("FORMAT TEXT", Effort::Plan, Form::Text),
            ("html", Effort::Plan, Form::Html),
        ] {
            assert_eq!(parse(&format!("explain codegen {words} SELECT 1")).unwrap(), shown(effort, form), "{words}");
        }
        assert!(matches!(&parse("EXPLAIN CODEGEN (SELECT 1)").unwrap()[0], Statement::ExplainCodegen(_, query) if query == "(SELECT 1)"));
        for other in ["EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN FORMAT TREE SELECT 1", "EXPLAIN VERBOSE SELECT 1"] {
            assert_eq!(parse(other).unwrap(), [plain(other)]);
        }
        for (wrong, said) in [
            ("EXPLAIN CODEGEN FORMAT XML SELECT 1", "TEXT, JSON or HTML, not XML"),
            ("EXPLAIN CODEGEN FORMAT", "TEXT, JSON or HTML"),
            ("EXPLAIN CODEGEN JSON SELECT 1", "JSON is no form of EXPLAIN CODEGEN"),
            ("EXPLAIN CODEGEN ANALYZE ASM SELECT 1", "leave ANALYZE out"),
            ("EXPLAIN ANALYZE CODEGEN SELECT 1", "EXPLAIN CODEGEN [ANALYZE"),
            ("EXPLAIN CODEGEN PROFILE HTML", "takes a query"),
            ("EXPLAIN CODEGEN EXPLAIN SELECT 1", "EXPLAIN is no form"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(said), "{wrong}: {error}");
        }
        assert_eq!(parse("cache table a.\"b c\"").unwrap(), [Statement::Cache("a.\"b c\"".to_string())]);
        assert_eq!(parse("UNCACHE TABLE t").unwrap(), [Statement::Uncache("t".to_string())]);
        assert!(parse("CACHE TABLE").unwrap_err().is_usage());
        assert!(parse("EXPLAIN CODEGEN ASM").unwrap_err().is_usage());
        assert!(parse("SELECT 'open").unwrap_err().is_usage());
    }
}
