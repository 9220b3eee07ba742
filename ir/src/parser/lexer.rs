//! Splits text into tokens with their places.

use super::ParseError;

/// A token of the text form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// Letters, digits and underscores, not beginning with a digit: keywords, names of entities and types, `_`.
    Word(&'a str),
    /// An integer, with its sign.
    Int(i128),
    /// `0x` and up to 16 hexadecimal digits.
    Hex(u64),
    /// A text in quotes.
    Text(String),
    /// `->`
    Arrow,
    /// Any of `{}()[]:,=?`
    Punct(char),
    /// The end of the text.
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{word}`"),
            Token::Int(value) => write!(f, "`{value}`"),
            Token::Hex(bits) => write!(f, "`0x{bits:x}`"),
            Token::Text(_) => f.write_str("a text"),
            Token::Arrow => f.write_str("`->`"),
            Token::Punct(c) => write!(f, "`{c}`"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// Where a token begins; both count from 1, columns in characters.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    pub(super) fn error(self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, message: message.into() }
    }
}

#[derive(Clone)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer { rest: text, place: Place { line: 1, column: 1 } }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let all = self.rest;
        while self.peek().is_some_and(&accept) {
            self.bump();
        }
        &all[..all.len() - self.rest.len()]
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Place), ParseError> {
        loop {
            match self.peek() {
                Some(';') => {
                    self.take_while(|c| c != '\n');
                }
                Some(c) if c.is_whitespace() => {
                    self.bump();
                }
                _ => break,
            }
        }
        let place = self.place;
        let token = match self.peek() {
            None => Token::End,
            Some('"') => self.text(place)?,
            Some('-') if self.rest.starts_with("->") => {
                self.bump();
                self.bump();
                Token::Arrow
            }
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(place)?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => Token::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')),
            Some(c) if "{}()[]:,=?".contains(c) => {
                self.bump();
                Token::Punct(c)
            }
            Some(c) => return Err(place.error(format!("unexpected character {c:?}"))),
        };
        Ok((token, place))
    }

    fn number(&mut self, place: Place) -> Result<Token<'a>, ParseError> {
        let minus = self.peek() == Some('-');
        if minus {
            self.bump();
        }
        let digits = self.take_while(|c| c.is_ascii_alphanumeric());
        if let Some(hex) = digits.strip_prefix("0x")
            && !minus
        {
            let valid = (1..=16).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit());
            return match u64::from_str_radix(hex, 16) {
                Ok(bits) if valid => Ok(Token::Hex(bits)),
                _ => Err(place.error("expected up to 16 hexadecimal digits")),
            };
        }
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
            return Err(place.error("expected a number"));
        }
        let signed = if minus { format!("-{digits}") } else { digits.to_string() };
        signed.parse().map(Token::Int).map_err(|_| place.error("the number does not fit in 128 bits"))
    }

    fn text(&mut self, place: Place) -> Result<Token<'a>, ParseError> {
        self.bump();
        let mut text = String::new();
        loop {
            let here = self.place;
            match self.bump() {
                None => return Err(place.error("the text does not end")),
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => text.push(self.escape(here)?),
                Some(c) => text.push(c),
            }
        }
    }

    /// What comes after a backslash.
    fn escape(&mut self, place: Place) -> Result<char, ParseError> {
        match self.bump() {
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') if self.bump() == Some('{') => {
                let digits = self.take_while(|c| c.is_ascii_hexdigit());
                let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                match (self.bump(), c) {
                    (Some('}'), Some(c)) => Ok(c),
                    _ => Err(place.error("expected a character's number, as in \\u{1}")),
                }
            }
            _ => Err(place.error("unknown escape")),
        }
    }
}
