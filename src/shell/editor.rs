//! Completion, highlighting, and when a text is complete.

use std::borrow::Cow;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use rustyline::Context;
use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};

use super::names::Names;

/// What the line editor asks.
#[derive(Default)]
pub(super) struct Helper {
    pub(super) names: Names,
}

impl rustyline::Helper for Helper {}

impl Hinter for Helper {
    type Hint = String;
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..at];
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '\\'))
            .map_or(0, |place| place + before[place..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        if word.is_empty() {
            return Ok((at, vec![]));
        }
        if is_setting(&before[..start]) {
            return Ok((start, self.names.settings_starting_with(word)));
        }
        let names = self.names.starting_with(word);
        if names.is_empty()
            && let Some((_, column)) = word.rsplit_once('.')
        {
            // `t.col`: what stands behind the dot.
            return Ok((at - column.len(), self.names.starting_with(column)));
        }
        Ok((start, names))
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if line.trim_start().starts_with('\\') { Cow::Borrowed(line) } else { Cow::Owned(highlighted(line)) }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        true
    }
}

/// Whether what follows a text is the name of a setting.
fn is_setting(before: &str) -> bool {
    let statement = before.rsplit(';').next().unwrap_or_default().trim();
    ["SET", "RESET", "SHOW"].iter().any(|word| statement.eq_ignore_ascii_case(word))
}

/// Whether a text can be run: a command, nothing, or statements up to a last semicolon.
fn is_complete(text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() || text.starts_with('\\') {
        return true;
    }
    match Tokenizer::new(&GenericDialect {}, text).tokenize() {
        Ok(tokens) => tokens.iter().rev().find(|token| !matches!(token, Token::Whitespace(_) | Token::EOF)) == Some(&Token::SemiColon),
        // A string that is still open.
        Err(_) => false,
    }
}

/// The text with colours: keywords, text, numbers, comments.
fn highlighted(text: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize() else { return text.to_owned() };
    let mut out = String::with_capacity(text.len() * 2);
    for token in tokens {
        let colour = match &token {
            Token::Word(word) if word.quote_style.is_none() && Names::is_keyword(&word.value) => "1;34",
            Token::SingleQuotedString(_) => "32",
            Token::Number(..) => "36",
            Token::Whitespace(space) if space.to_string().starts_with(['-', '/']) => "2",
            _ => "",
        };
        let token = token.to_string();
        if colour.is_empty() { out.push_str(&token) } else { out.push_str(&format!("\x1b[{colour}m{token}\x1b[0m")) }
    }
    // The cursor's place depends on it: the same characters, or none at all.
    let plain: usize = out
        .split('\x1b')
        .enumerate()
        .map(|(i, part)| if i == 0 { part.len() } else { part.len() - part.find('m').map_or(0, |m| m + 1) })
        .sum();
    if plain == text.len() { out } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon() {
        for text in ["", "\\d", "SELECT 1;", "SELECT ';' AS a; -- end", "SELECT 1;\n"] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';'", "SELECT 'open;", "SELECT 1; SELECT", "SELECT 1 -- ;"] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn settings_follow_set() {
        assert!(is_setting("SET ") && is_setting("select 1; show  ") && is_setting("reset\n"));
        assert!(!is_setting("SELECT ") && !is_setting("SET a = ") && !is_setting(""));
    }

    #[test]
    fn colours_change_no_character() {
        for text in ["SELECT a, 'x' FROM t WHERE b > 1.5 -- why", "select\n\t\"a b\", E'\\n'", "'open", "  ü ;"] {
            let mut plain = String::new();
            let mut rest = highlighted(text);
            while let Some(at) = rest.find('\x1b') {
                plain.push_str(&rest[..at]);
                rest = rest[at..].split_once('m').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            }
            plain.push_str(&rest);
            assert_eq!(plain, text);
        }
        assert!(highlighted("select 1").contains("\x1b[1;34mselect"));
    }
}
