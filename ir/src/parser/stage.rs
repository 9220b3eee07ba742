//! Stages: source, row operations, sink.

use cranelift_entity::{EntityRef, PrimaryMap};

use super::lexer::Token;
use super::{MAX_DEPTH, MAX_VALUES, Parser, Result};
use crate::entities::{Join, Lit, Value};
use crate::function::Function;
use crate::op::{BinaryOp, Op, Region, UnaryOp};
use crate::program::{Expand, JoinRows, Probe, ProbeKind, Sink, Source, StageDecl, Stmt, StmtKind};
use crate::types::Type;

/// A stage, from after its number on.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<StageDecl> {
    StageParser { p: parser, values: vec![], depth: 0 }.stage()
}

struct StageParser<'p, 'a> {
    p: &'p mut Parser<'a>,
    /// Types of the values that have been defined, by number.
    values: Vec<Option<Type>>,
    /// Number of regions that are open.
    depth: usize,
}

impl StageParser<'_, '_> {
    fn stage(mut self) -> Result<StageDecl> {
        let name = self.p.text()?;
        self.p.expect('{')?;
        self.p.expect_word("source")?;
        let source = self.source()?;
        let params = self.list(Self::definition)?;
        let mut body = vec![];
        let sink = loop {
            let Token::Word(word) = self.p.token else { return Err(self.p.expected("a row operation or a sink")) };
            let kind = match word {
                "filter" => {
                    self.p.advance()?;
                    StmtKind::Filter(self.value()?)
                }
                "probe" => StmtKind::Probe(self.probe()?),
                "limit" => {
                    self.p.advance()?;
                    StmtKind::Limit(self.p.entity("limit")?)
                }
                "expand" => {
                    self.p.advance()?;
                    let value = self.definition()?;
                    StmtKind::Expand(Expand { value, literals: self.p.list('[', ']', |p| p.entity::<Lit>("lit"))? })
                }
                "build" | "mark" | "group" | "sort" | "hand" | "emit" => break self.sink()?,
                _ if self.p.peek_entity("v").is_some() => {
                    let (value, op) = self.let_op()?;
                    StmtKind::Let(value, op)
                }
                _ => return Err(self.p.expected("a row operation or a sink")),
            };
            body.push(Stmt { kind, note: None });
        };
        self.p.expect('}')?;
        // Numbers that the text leaves out stand for values that nobody uses.
        let values: PrimaryMap<Value, Type> = self.values.iter().map(|ty| ty.unwrap_or(Type::boolean(false))).collect();
        Ok(StageDecl { name, source, params, body, sink, sink_note: None, values })
    }

    fn source(&mut self) -> Result<Source> {
        if self.p.peek_entity("input").is_some() {
            let input = self.p.entity("input")?;
            let partitioned = self.p.eat_word("partitioned")?;
            return Ok(Source::Input { input, partitioned });
        }
        if self.p.peek_entity("groups").is_some() {
            return Ok(Source::Groups(self.p.entity("groups")?));
        }
        if self.p.peek_entity("join").is_some() {
            let join = self.p.entity("join")?;
            let place = self.p.place;
            let name = self.p.word("`matched`, `unmatched` or `all`")?;
            let rows = JoinRows::ALL.iter().copied().find(|rows| rows.name() == name);
            let rows = rows.ok_or_else(|| place.error("expected `matched`, `unmatched` or `all`"))?;
            return Ok(Source::Join(join, rows));
        }
        if self.p.peek_entity("sort").is_some() {
            return Ok(Source::Sort(self.p.entity("sort")?));
        }
        Err(self.p.expected("an input, a group table, a join table or a sort"))
    }

    fn sink(&mut self) -> Result<Sink> {
        match self.p.word("a sink")? {
            "build" => {
                let join = self.p.entity("join")?;
                let keys = self.keys()?;
                self.p.expect_word("payload")?;
                Ok(Sink::Build { join, keys, payload: self.list(Self::value)? })
            }
            "mark" => {
                let join = self.p.entity("join")?;
                let mut probe = self.look_up(join, ProbeKind::Semi)?;
                // The text need not say what is so of every marking sink.
                probe.marks_build = true;
                Ok(Sink::Mark { probe })
            }
            "group" => {
                let groups = self.p.entity("groups")?;
                let keys = self.keys()?;
                self.p.expect_word("args")?;
                let args = self.list(|s| s.or_hole(Self::value))?;
                let operands = if self.p.eat_word("operands")? { self.list(Self::value)? } else { vec![] };
                Ok(Sink::Group { groups, keys, args, operands })
            }
            "hand" => {
                let input = self.p.entity("input")?;
                Ok(Sink::Hand { input, columns: self.list(Self::value)? })
            }
            "sort" => {
                let sort = self.p.entity("sort")?;
                let keys = self.keys()?;
                self.p.expect_word("payload")?;
                Ok(Sink::Sort { sort, keys, payload: self.list(Self::value)? })
            }
            _ => Ok(Sink::Emit { columns: self.list(Self::value)? }),
        }
    }

    fn probe(&mut self) -> Result<Probe> {
        self.p.expect_word("probe")?;
        let join = self.p.entity("join")?;
        let place = self.p.place;
        let name = self.p.word("a kind of probe")?;
        let kind = ProbeKind::ALL.iter().copied().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| place.error(format!("unknown kind of probe `{name}`")))?;
        self.look_up(join, kind)
    }

    /// A look-up from its keys on.
    fn look_up(&mut self, join: Join, kind: ProbeKind) -> Result<Probe> {
        let keys = self.keys()?;
        self.p.expect_arrow()?;
        let columns = self.list(|s| s.or_hole(Self::definition))?;
        // `mark` may also begin the sink that comes next.
        let marks = self.p.at_word("mark") && self.p.entity_comes_second("v");
        let mark = if marks {
            self.p.advance()?;
            Some(self.definition()?)
        } else {
            None
        };
        let marks_build = self.p.eat_word("marks_build")?;
        let residual = if self.p.eat_word("residual")? { Some(self.region()?) } else { None };
        Ok(Probe { join, kind, keys, columns, mark, residual, marks_build })
    }

    fn keys(&mut self) -> Result<Vec<Value>> {
        self.p.expect_word("keys")?;
        self.list(Self::value)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.p.expect('(')?;
        let mut items = vec![];
        if self.p.eat(')')? {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.p.end_of_list(')')? {
                return Ok(items);
            }
        }
    }

    fn or_hole<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.p.eat_word("_")? { Ok(None) } else { item(self).map(Some) }
    }

    fn value(&mut self) -> Result<Value> {
        self.p.entity("v")
    }

    /// A value with its type, where it is defined.
    fn definition(&mut self) -> Result<Value> {
        let place = self.p.place;
        let value = self.value()?;
        if value.as_u32() >= MAX_VALUES {
            return Err(place.error(format!("values are numbered below {MAX_VALUES}")));
        }
        self.p.expect(':')?;
        let ty = self.p.ty()?;
        if self.values.len() <= value.index() {
            self.values.resize(value.index() + 1, None);
        }
        match self.values[value.index()] {
            Some(known) if known != ty => Err(place.error(format!("{value} is defined before with type {known}"))),
            _ => {
                self.values[value.index()] = Some(ty);
                Ok(value)
            }
        }
    }

    fn let_op(&mut self) -> Result<(Value, Op)> {
        let value = self.definition()?;
        self.p.expect('=')?;
        let place = self.p.place;
        if self.p.peek_entity("opaque").is_some() {
            let opaque = self.p.entity("opaque")?;
            return Ok((value, Op::Opaque(opaque, self.list(Self::value)?)));
        }
        let name = self.p.word("an operation")?;
        let op = match name {
            "literal" => Op::Literal(self.p.entity("lit")?),
            "param" => Op::Param(self.p.entity("param")?),
            "if" => {
                let condition = self.value()?;
                let then = self.region()?;
                self.p.expect_word("else")?;
                Op::If(condition, Box::new(then), Box::new(self.region()?))
            }
            "in" => {
                let value = self.value()?;
                Op::In(value, self.p.list('[', ']', |p| p.entity::<Lit>("lit"))?)
            }
            "like" => Op::Like(self.value()?, self.p.entity("lit")?),
            "ilike" => Op::Ilike(self.value()?, self.p.entity("lit")?),
            "call" => {
                let place = self.p.place;
                let name = self.p.word("a function")?;
                let function = Function::from_name(name).ok_or_else(|| place.error(format!("unknown function `{name}`")))?;
                Op::Call(function, self.list(Self::value)?)
            }
            "substr" => {
                let text = self.value()?;
                self.p.expect(',')?;
                let start = self.value()?;
                let count = if self.p.eat(',')? { Some(self.value()?) } else { None };
                Op::Substr(text, start, count)
            }
            "entry" => {
                let (input, column) = (self.p.entity("input")?, self.p.number()?);
                self.p.expect(',')?;
                Op::Entry(input, column, self.value()?)
            }
            _ => {
                if let Some(op) = UnaryOp::from_name(name) {
                    Op::Unary(op, self.value()?)
                } else if let Some(op) = BinaryOp::from_name(name) {
                    let a = self.value()?;
                    self.p.expect(',')?;
                    Op::Binary(op, a, self.value()?)
                } else {
                    return Err(place.error(format!("unknown operation `{name}`")));
                }
            }
        };
        Ok((value, op))
    }

    /// A region in its braces.
    fn region(&mut self) -> Result<Region> {
        if self.depth == MAX_DEPTH {
            return Err(self.p.place.error(format!("more than {MAX_DEPTH} regions within one another")));
        }
        self.depth += 1;
        self.p.expect('{')?;
        let mut body = vec![];
        while !self.p.eat_word("yield")? {
            if self.p.peek_entity("v").is_none() {
                return Err(self.p.expected("an operation or `yield`"));
            }
            body.push(self.let_op()?);
        }
        let result = self.value()?;
        self.p.expect('}')?;
        self.depth -= 1;
        Ok(Region { body, result })
    }
}
