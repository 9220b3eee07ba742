//! Reads the text form of programs, which [`crate::printer`] describes. Comments are not kept.
//!
//! What the text form cannot say wrongly is checked here; whether the program makes sense is up to the [`crate::verifier`]. In
//! particular a value may be used that is nowhere defined.

mod lexer;
mod stage;
#[cfg(test)]
mod tests;

use cranelift_entity::{EntityRef, PrimaryMap};

use self::lexer::{Lexer, Place, Token};
use crate::entities::{Aggregate, Groups, HostType, Input, Join, Limit, Lit, Opaque, Param, Sort, Stage};
use crate::program::{AggregateDecl, Computed, Datum, InputDecl, Literal, OpaqueDecl, ParamDecl, Program};
use crate::states::{AccDecl, AccOp, CallDecl, GroupsDecl, JoinDecl, LimitDecl, SortDecl, SortKey};
use crate::types::{Repr, SqlType, Stored, TimeUnit, Type};

/// Regions within regions, at most.
pub const MAX_DEPTH: usize = 256;

/// Values are numbered below this.
pub const MAX_VALUES: u32 = 1 << 20;

/// Why a text is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads a program. Does not verify it.
///
/// ```
/// use stagefuse_ir::parser;
///
/// let text = "program {
///   input0 \"t\" (int64)
///   output (int64)
///
///   s0 \"scan t\" {
///     source input0 (v0: int64)
///     emit (v0)
///   }
/// }";
/// assert_eq!(parser::parse(text).expect("a program").stages.len(), 1);
/// let error = parser::parse(&text.replace("emit", "omit")).expect_err("no sink is called so");
/// assert_eq!((error.line, error.column), (7, 5));
/// ```
///
/// # Errors
/// Where the text does not follow the text form: the first place that does not, and why.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    let mut parser = Parser::new(text)?;
    let program = parser.program()?;
    match parser.token {
        Token::End => Ok(program),
        _ => Err(parser.expected("the end")),
    }
}

/// A recursive-descent parser that looks one token ahead.
struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    place: Place,
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let mut lexer = Lexer::new(text);
        let (token, place) = lexer.next()?;
        Ok(Parser { lexer, token, place })
    }

    fn advance(&mut self) -> Result<Token<'a>> {
        let (token, place) = self.lexer.next()?;
        self.place = place;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn expected(&self, what: impl std::fmt::Display) -> ParseError {
        self.place.error(format!("expected {what}, found {}", self.token))
    }

    fn at(&self, c: char) -> bool {
        self.token == Token::Punct(c)
    }

    fn at_word(&self, word: &str) -> bool {
        self.token == Token::Word(word)
    }

    /// Takes the character if it comes next.
    fn eat(&mut self, c: char) -> Result<bool> {
        let found = self.at(c);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes the word if it comes next.
    fn eat_word(&mut self, word: &str) -> Result<bool> {
        let found = self.at_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.eat(c)? { Ok(()) } else { Err(self.expected(format_args!("`{c}`"))) }
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word)? { Ok(()) } else { Err(self.expected(format_args!("`{word}`"))) }
    }

    fn expect_arrow(&mut self) -> Result<()> {
        if self.token != Token::Arrow {
            return Err(self.expected("`->`"));
        }
        self.advance().map(drop)
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        let Token::Word(word) = self.token else { return Err(self.expected(what)) };
        self.advance()?;
        Ok(word)
    }

    fn text(&mut self) -> Result<String> {
        if !matches!(self.token, Token::Text(_)) {
            return Err(self.expected("a text in quotes"));
        }
        match self.advance()? {
            Token::Text(text) => Ok(text),
            _ => Ok(String::new()),
        }
    }

    fn number<T: TryFrom<i128>>(&mut self) -> Result<T> {
        let Token::Int(value) = self.token else { return Err(self.expected("a number")) };
        let value = T::try_from(value).map_err(|_| self.place.error(format!("{value} is out of range here")))?;
        self.advance()?;
        Ok(value)
    }

    /// Items in parentheses or brackets with commas between them.
    fn list<T>(&mut self, open: char, close: char, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect(open)?;
        let mut items = vec![];
        if self.eat(close)? {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.end_of_list(close)? {
                return Ok(items);
            }
        }
    }

    /// After an item of a list: whether the list ends; else takes the comma.
    fn end_of_list(&mut self, close: char) -> Result<bool> {
        if self.eat(close)? {
            return Ok(true);
        }
        if self.eat(',')? { Ok(false) } else { Err(self.expected(format_args!("`,` or `{close}`"))) }
    }

    /// The number in the name of an entity, if that is what comes next.
    fn peek_entity(&self, prefix: &str) -> Option<u32> {
        Self::entity_number(&self.token, prefix)
    }

    /// Whether the name of an entity comes after the next token.
    fn entity_comes_second(&self, prefix: &str) -> bool {
        let second = self.lexer.clone().next();
        second.is_ok_and(|(token, _)| Self::entity_number(&token, prefix).is_some())
    }

    fn entity_number(token: &Token<'_>, prefix: &str) -> Option<u32> {
        let Token::Word(word) = token else { return None };
        let digits = word.strip_prefix(prefix)?;
        // One name for each entity: no leading zeros.
        let canonical = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|number| canonical && *number < u32::MAX)
    }

    /// A reference to an entity.
    fn entity<E: EntityRef>(&mut self, prefix: &str) -> Result<E> {
        let Some(number) = self.peek_entity(prefix) else { return Err(self.expected(format_args!("`{prefix}` and a number"))) };
        self.advance()?;
        Ok(E::new(number as usize))
    }

    /// The name of an entity that is declared here: entities are declared in order.
    fn declare<E: EntityRef, T>(&mut self, prefix: &str, known: &PrimaryMap<E, T>) -> Result<()> {
        if self.peek_entity(prefix) != Some(known.len() as u32) {
            return Err(self.expected(format_args!("`{prefix}{}`", known.len())));
        }
        self.advance().map(drop)
    }

    fn program(&mut self) -> Result<Program> {
        let mut program = Program::default();
        self.expect_word("program")?;
        self.expect('{')?;
        let mut output = None;
        while !self.eat('}')? {
            let Token::Word(word) = self.token else { return Err(self.expected("a declaration or `}`")) };
            match word.trim_end_matches(|c: char| c.is_ascii_digit()) {
                "input" => {
                    self.declare::<Input, _>("input", &program.inputs)?;
                    let name = self.text()?;
                    let columns = self.list('(', ')', |p| Ok((p.ty()?, p.stored()?)))?;
                    let (mut columns, mut stored): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
                    let mut computed = vec![];
                    if self.eat_word("computed")? {
                        for (ty, column) in self.list('(', ')', Self::computed)? {
                            columns.push(ty);
                            stored.push(Stored::Arrow);
                            computed.push(column);
                        }
                    }
                    let pinned = self.eat_word("pinned")?;
                    let handed = self.eat_word("handed")?;
                    program.inputs.push(InputDecl { name, columns, stored, pinned, computed, handed });
                }
                "host" => {
                    self.declare::<HostType, _>("host", &program.host_types)?;
                    let name = self.text()?;
                    program.host_types.push(name);
                }
                "lit" => {
                    self.declare::<Lit, _>("lit", &program.literals)?;
                    self.expect(':')?;
                    let ty = self.ty()?;
                    self.expect('=')?;
                    let value = self.datum()?;
                    program.literals.push(Literal { ty, value });
                }
                "param" => {
                    self.declare::<Param, _>("param", &program.params)?;
                    let name = self.text()?;
                    program.params.push(ParamDecl { name, ty: self.ty()? });
                }
                "opaque" => {
                    self.declare::<Opaque, _>("opaque", &program.opaques)?;
                    let name = self.text()?;
                    let args = self.types()?;
                    self.expect_arrow()?;
                    let result = self.ty()?;
                    program.opaques.push(OpaqueDecl { name, args, result });
                }
                "aggregate" => {
                    self.declare::<Aggregate, _>("aggregate", &program.aggregates)?;
                    program.aggregates.push(AggregateDecl { name: self.text()? });
                }
                "join" => {
                    self.declare::<Join, _>("join", &program.joins)?;
                    self.expect_word("keys")?;
                    let keys = self.types()?;
                    self.expect_word("payload")?;
                    let payload = self.types()?;
                    let null_equal = self.eat_word("null_equal")?;
                    let tracked = self.eat_word("tracked")?;
                    program.joins.push(JoinDecl { keys, payload, null_equal, tracked });
                }
                "groups" => {
                    self.declare::<Groups, _>("groups", &program.groups)?;
                    self.expect_word("keys")?;
                    let keys = self.types()?;
                    self.expect_word("accs")?;
                    let accs = self.list('(', ')', Self::acc)?;
                    let (mut operands, mut calls) = (vec![], vec![]);
                    if self.eat_word("operands")? {
                        operands = self.types()?;
                        self.expect_word("calls")?;
                        calls = self.list('(', ')', Self::call)?;
                    }
                    let always = if self.eat_word("always")? {
                        self.list('(', ')', |p| p.list('(', ')', |p| p.entity::<Lit>("lit")))?
                    } else {
                        vec![]
                    };
                    let enough = if self.eat_word("enough")? { Some(self.number()?) } else { None };
                    program.groups.push(GroupsDecl { keys, accs, operands, calls, always, enough });
                }
                "sort" => {
                    self.declare::<Sort, _>("sort", &program.sorts)?;
                    self.expect_word("keys")?;
                    let keys = self.list('(', ')', Self::sort_key)?;
                    self.expect_word("payload")?;
                    let payload = self.types()?;
                    self.expect_word("skip")?;
                    let skip = self.number()?;
                    self.expect_word("fetch")?;
                    let fetch = if self.eat_word("all")? { None } else { Some(self.number()?) };
                    program.sorts.push(SortDecl { keys, payload, skip, fetch });
                }
                "limit" => {
                    self.declare::<Limit, _>("limit", &program.limits)?;
                    self.expect_word("skip")?;
                    let skip = self.number()?;
                    self.expect_word("fetch")?;
                    let fetch = if self.eat_word("all")? { u64::MAX } else { self.number()? };
                    program.limits.push(LimitDecl { skip, fetch });
                }
                "output" if word == "output" => {
                    if output.is_some() {
                        return Err(self.place.error("the output is declared twice"));
                    }
                    self.advance()?;
                    output = Some(self.types()?);
                }
                "s" => {
                    self.declare::<Stage, _>("s", &program.stages)?;
                    let stage = stage::parse(self)?;
                    program.stages.push(stage);
                }
                _ => return Err(self.expected("a declaration or `}`")),
            }
        }
        program.output = output.unwrap_or_default();
        Ok(program)
    }

    fn computed(&mut self) -> Result<(Type, Computed)> {
        let ty = self.ty()?;
        self.expect('=')?;
        let opaque = self.entity("opaque")?;
        Ok((ty, Computed { opaque, args: self.list('(', ')', Self::number)? }))
    }

    fn acc(&mut self) -> Result<AccDecl> {
        let place = self.place;
        let name = self.word("an accumulator")?;
        let op = AccOp::ALL.iter().copied().find(|op| op.name() == name);
        let op = op.ok_or_else(|| place.error(format!("unknown accumulator `{name}`")))?;
        Ok(AccDecl { op, ty: self.ty()? })
    }

    fn sort_key(&mut self) -> Result<SortKey> {
        let ty = self.ty()?;
        let descending = self.eat_word("desc")?;
        let nulls_first = self.eat_word("nulls_first")?;
        Ok(SortKey { ty, descending, nulls_first })
    }

    fn call(&mut self) -> Result<CallDecl> {
        let aggregate = self.entity("aggregate")?;
        let args = self.list('(', ')', Self::number)?;
        let filter = if self.eat_word("filter")? { Some(self.number()?) } else { None };
        self.expect_arrow()?;
        Ok(CallDecl { aggregate, args, filter, result: self.ty()? })
    }

    fn types(&mut self) -> Result<Vec<Type>> {
        self.list('(', ')', Self::ty)
    }

    fn stored(&mut self) -> Result<Stored> {
        if self.eat_word("offset")? {
            self.expect('(')?;
            let base = self.number()?;
            self.expect(',')?;
            let span = self.number()?;
            self.expect(')')?;
            return Ok(Stored::Offset { base, span });
        }
        if self.eat_word("dictionary")? {
            self.expect('(')?;
            let entries = self.number()?;
            self.expect(')')?;
            return Ok(Stored::Dictionary { entries });
        }
        if self.eat_word("word")? {
            return Ok(Stored::Word);
        }
        Ok(Stored::Arrow)
    }

    fn ty(&mut self) -> Result<Type> {
        let place = self.place;
        if self.peek_entity("host").is_some() {
            let sql = SqlType::Host(self.entity("host")?);
            return self.register(Type::new(sql, false));
        }
        let sql = match self.word("a type")? {
            "boolean" => SqlType::Boolean,
            "int8" => SqlType::Int8,
            "int16" => SqlType::Int16,
            "int32" => SqlType::Int32,
            "int64" => SqlType::Int64,
            "uint8" => SqlType::UInt8,
            "uint16" => SqlType::UInt16,
            "uint32" => SqlType::UInt32,
            "uint64" => SqlType::UInt64,
            "float32" => SqlType::Float32,
            "float64" => SqlType::Float64,
            "date32" => SqlType::Date32,
            "date64" => SqlType::Date64,
            "interval_months" => SqlType::IntervalMonths,
            "utf8" => SqlType::Utf8,
            "binary" => SqlType::Binary,
            name @ ("decimal" | "decimal32" | "decimal64") => {
                self.expect('(')?;
                let precision = self.number()?;
                self.expect(',')?;
                let scale = self.number()?;
                self.expect(')')?;
                match name {
                    "decimal32" => SqlType::Decimal32 { precision, scale },
                    "decimal64" => SqlType::Decimal64 { precision, scale },
                    _ => SqlType::Decimal { precision, scale },
                }
            }
            name => timed(name).ok_or_else(|| place.error(format!("unknown type `{name}`")))?,
        };
        self.register(Type::new(sql, false))
    }

    /// A type from its representation on.
    fn register(&mut self, mut ty: Type) -> Result<Type> {
        if self.eat(':')? {
            let place = self.place;
            let name = self.word("a representation")?;
            let repr = Repr::ALL.iter().copied().find(|repr| repr.name() == name);
            ty.repr = repr.ok_or_else(|| place.error(format!("unknown representation `{name}`")))?;
        }
        ty.nullable = self.eat('?')?;
        Ok(ty)
    }

    fn datum(&mut self) -> Result<Datum> {
        let datum = match &mut self.token {
            Token::Word("null") => Datum::Null,
            Token::Word("true") => Datum::Bool(true),
            Token::Word("false") => Datum::Bool(false),
            Token::Int(value) => Datum::Int(*value),
            Token::Hex(bits) => Datum::Float(*bits),
            Token::Text(text) => Datum::Str(std::mem::take(text)),
            Token::Word("bytes") => {
                self.advance()?;
                let place = self.place;
                let Token::Text(text) = &self.token else { return Err(self.expected("a text of hexadecimal digits")) };
                Datum::Bytes(bytes(text).ok_or_else(|| place.error("expected two hexadecimal digits for each byte"))?)
            }
            _ => return Err(self.expected("a literal")),
        };
        self.advance()?;
        Ok(datum)
    }
}

/// The type of this name that has a unit of time.
fn timed(name: &str) -> Option<SqlType> {
    let (kind, unit) = name.split_once('_')?;
    let unit = TimeUnit::ALL.iter().copied().find(|known| known.name() == unit)?;
    match kind {
        "time" => Some(SqlType::Time(unit)),
        "timestamp" => Some(SqlType::Timestamp(unit)),
        "duration" => Some(SqlType::Duration(unit)),
        _ => None,
    }
}

/// The bytes that a text of hexadecimal digits writes.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
    pairs.collect()
}
