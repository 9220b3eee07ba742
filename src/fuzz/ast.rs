//! Queries, as far as they are made and made smaller: expressions are text around other expressions.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::kind::Kind;

/// A typed expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it yields.
    pub kind: Kind,
    /// Whether sums of it are exact in any order.
    pub tame: bool,
    /// Whether its value depends on the order of rows a little, as sums of floats do: nothing else may depend on it.
    pub loose: bool,
    /// Its text.
    pub parts: Vec<Part>,
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text.
    Text(Cow<'static, str>),
    /// Another expression.
    Expr(Expr),
    /// A subquery.
    Query(Box<Query>),
    /// The grouping key with this number.
    Key(usize),
}

impl Expr {
    /// Text that stands for itself.
    pub fn text(kind: Kind, text: impl Into<Cow<'static, str>>) -> Expr {
        Expr { kind, tame: false, loose: false, parts: vec![Part::Text(text.into())] }
    }

    /// An expression of others: each stands for a `{}` of the template.
    pub fn of<const N: usize>(kind: Kind, template: &'static str, args: [Expr; N]) -> Expr {
        let mut parts = vec![];
        let loose = args.iter().any(|arg| arg.loose);
        let mut args = args.into_iter();
        for (number, text) in template.split("{}").enumerate() {
            if number > 0 {
                parts.extend(args.next().map(Part::Expr));
            }
            parts.push(Part::Text(text.into()));
        }
        debug_assert!(args.next().is_none(), "{template} has a place for every argument");
        Expr { kind, tame: false, loose, parts }
    }

    /// The same, as something that can be added up.
    pub fn tame(self, tame: bool) -> Expr {
        Expr { tame, ..self }
    }

    /// The same, as something that depends on the order of rows.
    pub fn loose(self) -> Expr {
        Expr { loose: true, ..self }
    }

    /// Its text, given the grouping keys.
    pub fn write(&self, keys: &[Expr], out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expr(expr) => expr.write(keys, out),
                Part::Query(query) => out.push_str(&query.to_string()),
                Part::Key(number) => match keys.get(*number) {
                    Some(key) => key.write(&[], out),
                    None => out.push_str("NULL"),
                },
            }
        }
    }
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// What it selects.
    pub body: Body,
    /// By which of its items, in which order; all of them, so that it is determined.
    pub order: Vec<Order>,
    /// `LIMIT`.
    pub limit: Option<usize>,
    /// `OFFSET`.
    pub offset: Option<usize>,
}

impl Query {
    /// Which of its items depend on the order of rows a little.
    pub fn loose_items(&self) -> Vec<bool> {
        match &self.body {
            Body::Select(select) => select.items.iter().map(|item| item.loose).collect(),
            Body::Set(_, left, right) => left.loose_items().iter().zip(right.loose_items()).map(|(left, right)| *left || right).collect(),
        }
    }

    /// Whether the order of its rows is determined.
    pub fn is_ordered(&self) -> bool {
        !self.order.is_empty()
    }
}

/// A key of an order.
#[derive(Copy, Clone, Debug)]
pub struct Order {
    /// The item's number.
    pub item: usize,
    /// From the greatest.
    pub descending: bool,
    /// Where nulls are; none: where they are anyway.
    pub nulls_first: Option<bool>,
}

/// A select, or several.
#[derive(Clone, Debug)]
pub enum Body {
    /// One.
    Select(Box<Select>),
    /// Two, and how they become one: `UNION ALL` and the like.
    Set(&'static str, Box<Query>, Box<Query>),
}

/// A select.
#[derive(Clone, Debug)]
pub struct Select {
    /// Whether equal rows become one.
    pub distinct: bool,
    /// What it yields, named `c0`, `c1` and so on.
    pub items: Vec<Expr>,
    /// The relations that it reads; the first one's join does not count.
    pub from: Vec<Join>,
    /// Conditions.
    pub filter: Vec<Expr>,
    /// Grouping; none: rows as they are.
    pub group: Option<Group>,
}

/// Grouping.
#[derive(Clone, Debug)]
pub struct Group {
    /// Keys.
    pub keys: Vec<Expr>,
    /// `ROLLUP`, `CUBE`, or nothing.
    pub sets: &'static str,
    /// Conditions on groups.
    pub having: Vec<Expr>,
}

/// A relation with the way it is joined.
#[derive(Clone, Debug)]
pub struct Join {
    /// `JOIN` and the like.
    pub kind: &'static str,
    /// What is joined.
    pub relation: Relation,
    /// Its name.
    pub alias: String,
    /// Conditions.
    pub on: Vec<Expr>,
}

/// A relation.
#[derive(Clone, Debug)]
pub enum Relation {
    /// A table.
    Table(String),
    /// A subquery.
    Query(Box<Query>),
}

fn joined(exprs: &[Expr], keys: &[Expr], between: &str) -> String {
    let mut text = String::new();
    for (number, expr) in exprs.iter().enumerate() {
        if number > 0 {
            text.push_str(between);
        }
        expr.write(keys, &mut text);
    }
    text
}

impl Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Select(select) => write!(f, "{select}")?,
            Body::Set(operator, left, right) => {
                for (number, side) in [left, right].into_iter().enumerate() {
                    if number > 0 {
                        write!(f, " {operator} ")?;
                    }
                    let simple = matches!(side.body, Body::Select(_)) && side.order.is_empty() && side.limit.is_none();
                    if simple { write!(f, "{side}")? } else { write!(f, "({side})")? }
                }
            }
        }
        for (number, order) in self.order.iter().enumerate() {
            f.write_str(if number == 0 { " ORDER BY " } else { ", " })?;
            write!(f, "{}{}", order.item + 1, if order.descending { " DESC" } else { "" })?;
            if let Some(first) = order.nulls_first {
                f.write_str(if first { " NULLS FIRST" } else { " NULLS LAST" })?;
            }
        }
        if let Some(limit) = self.limit {
            write!(f, " LIMIT {limit}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " OFFSET {offset}")?;
        }
        Ok(())
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no_keys = vec![];
        let keys = self.group.as_ref().map_or(&no_keys, |group| &group.keys);
        f.write_str(if self.distinct { "SELECT DISTINCT " } else { "SELECT " })?;
        for (number, item) in self.items.iter().enumerate() {
            write!(f, "{}{} AS c{number}", if number > 0 { ", " } else { "" }, joined(std::slice::from_ref(item), keys, ""))?;
        }
        for (number, join) in self.from.iter().enumerate() {
            match number {
                0 => f.write_str(" FROM ")?,
                _ => write!(f, " {} ", join.kind)?,
            }
            match &join.relation {
                Relation::Table(table) => write!(f, "{table} AS {}", join.alias)?,
                Relation::Query(query) => write!(f, "({query}) AS {}", join.alias)?,
            }
            if number > 0 && join.kind != "CROSS JOIN" {
                let on = if join.on.is_empty() { "true".to_owned() } else { joined(&join.on, &[], " AND ") };
                write!(f, " ON {on}")?;
            }
        }
        if !self.filter.is_empty() {
            write!(f, " WHERE {}", joined(&self.filter, &[], " AND "))?;
        }
        if let Some(group) = &self.group {
            if !group.keys.is_empty() {
                let keys = joined(&group.keys, &[], ", ");
                if group.sets.is_empty() { write!(f, " GROUP BY {keys}")? } else { write!(f, " GROUP BY {}({keys})", group.sets)? }
            }
            if !group.having.is_empty() {
                write!(f, " HAVING {}", joined(&group.having, &group.keys, " AND "))?;
            }
        }
        Ok(())
    }
}
