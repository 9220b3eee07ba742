//! Cuts a text of SQL into statements, at the semicolons that are not inside a string, a name or a comment.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::failure::Failure;

/// The statements of `text`, in order, as they are written; empty ones are left out.
pub fn split(text: &str) -> Result<Vec<String>, Failure> {
    let mut statements = vec![];
    let mut statement = String::new();
    let mut empty = true;
    for token in tokens(text)? {
        match token {
            Token::SemiColon => {
                if !empty {
                    statements.push(statement.trim().to_owned());
                }
                statement.clear();
                empty = true;
            }
            token => {
                empty &= matches!(token, Token::Whitespace(_));
                statement.push_str(&token.to_string());
            }
        }
    }
    if !empty {
        statements.push(statement.trim().to_owned());
    }
    if statements.is_empty() {
        return Err(Failure::new("the SQL text holds no statement"));
    }
    Ok(statements)
}

/// Whether a statement answers with rows of its own, so that it can be explained.
pub fn is_query(statement: &str) -> bool {
    let Ok(tokens) = tokens(statement) else { return false };
    match tokens.iter().find(|token| !matches!(token, Token::Whitespace(_) | Token::LParen)) {
        Some(Token::Word(word)) => {
            matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE | Keyword::FROM)
        }
        _ => false,
    }
}

/// The statement without its outermost LIMIT, OFFSET and FETCH. `None`: it has none.
pub fn without_limit(statement: &str) -> Option<String> {
    let mut parsed = Parser::parse_sql(&GenericDialect {}, statement).ok()?;
    let [Statement::Query(query)] = parsed.as_mut_slice() else { return None };
    let (limit, fetch) = (query.limit_clause.take(), query.fetch.take());
    (limit.is_some() || fetch.is_some()).then(|| query.to_string())
}

/// Tokens that print as they were written: escapes in strings are kept.
fn tokens(text: &str) -> Result<Vec<Token>, Failure> {
    Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize().map_err(|error| Failure::new(format!("SQL error: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{is_query, split, without_limit};

    #[test]
    fn only_the_outermost_limit_goes() {
        let limited = "SELECT a FROM (SELECT a FROM t LIMIT 5) ORDER BY a LIMIT 10 OFFSET 3";
        assert_eq!(without_limit(limited).as_deref(), Some("SELECT a FROM (SELECT a FROM t LIMIT 5) ORDER BY a"));
        assert_eq!(without_limit("SELECT a FROM (SELECT a FROM t LIMIT 5)"), None);
        assert_eq!(without_limit("SET a = 1"), None);
    }

    #[test]
    fn semicolons_in_strings_and_comments_do_not_cut() {
        let text = "SET a = 1; -- not; here\nSELECT 'it''s; ' AS \"x;y\" ;; /* ; */ ";
        let statements = split(text).expect("the text is well formed");
        assert_eq!(statements.len(), 2, "{statements:?}");
        assert_eq!(statements[0], "SET a = 1");
        assert!(statements[1].ends_with("SELECT 'it''s; ' AS \"x;y\""), "{statements:?}");
        assert!(is_query(&statements[1]) && !is_query(&statements[0]));
    }

    #[test]
    fn a_text_without_statements_is_an_error() {
        assert!(split(" ; -- nothing\n").is_err());
        assert!(split("SELECT 'open").is_err());
    }
}
