//! The SQL text in tokens, each with the clause that it stands in.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// A clause of a query.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Clause {
    #[default]
    Other,
    Select,
    From,
    Where,
    GroupBy,
    Having,
    OrderBy,
    Limit,
}

/// A token of the text; spaces and comments are tokens, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SqlToken {
    pub(super) text: String,
    /// What it stands for in a plan: a name in lower case, a number, or a string without its quotes. None for operators and keywords.
    pub(super) meaning: Option<String>,
    pub(super) clause: Clause,
    /// Whether it is the word that begins its clause.
    pub(super) begins: bool,
    /// Whether it is more than space.
    pub(super) is_word: bool,
}

/// The tokens of a text; all of it as one where it has none.
pub(super) fn tokens(text: &str) -> Vec<SqlToken> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize() else {
        return vec![SqlToken { text: text.to_string(), meaning: None, clause: Clause::Other, begins: false, is_word: true }];
    };
    // By depth of parentheses: a subquery has clauses of its own.
    let mut clauses = vec![Clause::Other];
    let mut all = vec![];
    for token in tokens {
        let (mut meaning, mut begins_clause) = (None, false);
        match &token {
            Token::EOF => continue,
            Token::LParen => clauses.push(clauses.last().copied().unwrap_or_default()),
            Token::RParen if clauses.len() > 1 => drop(clauses.pop()),
            Token::Word(word) => {
                let begun = if word.quote_style.is_none() { begins(&word.value) } else { None };
                match begun {
                    Some(clause) => {
                        begins_clause = true;
                        if let Some(last) = clauses.last_mut() {
                            *last = clause;
                        }
                    }
                    None if word.keyword == datafusion::sql::sqlparser::keywords::Keyword::NoKeyword || word.quote_style.is_some() => {
                        meaning = Some(word.value.to_lowercase());
                    }
                    None => {
                        // Many names are keywords somewhere; those of the language's own words that plans use as well are not worth a link.
                        let plain = [
                            "AND", "OR", "NOT", "AS", "IN", "IS", "NULL", "ON", "BY", "INNER", "LEFT", "RIGHT", "FULL", "JOIN", "ASC",
                            "DESC",
                        ];
                        if !plain.iter().any(|known| word.value.eq_ignore_ascii_case(known)) {
                            meaning = Some(word.value.to_lowercase());
                        }
                    }
                }
            }
            Token::Number(number, _) => meaning = Some(number.clone()),
            Token::SingleQuotedString(text) => meaning = Some(text.to_lowercase()),
            _ => {}
        }
        let clause = clauses.last().copied().unwrap_or_default();
        let is_word = !matches!(token, Token::Whitespace(_));
        all.push(SqlToken { text: token.to_string(), meaning, clause, begins: begins_clause, is_word });
    }
    all
}

/// The clause that a word begins.
fn begins(word: &str) -> Option<Clause> {
    Some(match word.to_ascii_uppercase().as_str() {
        "SELECT" => Clause::Select,
        "FROM" | "JOIN" => Clause::From,
        "WHERE" => Clause::Where,
        "GROUP" => Clause::GroupBy,
        "HAVING" => Clause::Having,
        "ORDER" => Clause::OrderBy,
        "LIMIT" | "OFFSET" => Clause::Limit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_know_their_clause() {
        let text = "SELECT a, count(*) FROM t WHERE b > (SELECT max(c) FROM u WHERE d = 'X y') AND e < 5 GROUP BY a -- end\nLIMIT 3";
        let all = tokens(text);
        assert_eq!(all.iter().map(|token| token.text.as_str()).collect::<String>(), text);
        let of = |meaning: &str| all.iter().find(|token| token.meaning.as_deref() == Some(meaning)).map(|token| token.clause);
        assert_eq!(of("t"), Some(Clause::From));
        assert_eq!(of("b"), Some(Clause::Where));
        assert_eq!(of("c"), Some(Clause::Select));
        assert_eq!(of("x y"), Some(Clause::Where));
        assert_eq!(of("e"), Some(Clause::Where));
        assert_eq!(of("3"), Some(Clause::Limit));
        assert_eq!(of("and"), None);
        assert_eq!(tokens("'open").len(), 1);
    }
}
