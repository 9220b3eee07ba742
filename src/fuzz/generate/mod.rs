//! Random queries that DataFusion accepts: every expression is typed, and every answer is determined.
//!
//! An answer is determined where rows are cut off (`LIMIT`) in an order that covers all columns, window functions do not tell equal rows
//! apart, and sums of floats are over values whose sums are exact, or else go nowhere but into the result.

mod aggregate;
mod condition;
mod number;
mod query;
mod subquery;
mod text;
mod time;
mod window;

use super::ast::{Expr, Part, Query};
use super::kind::Kind;
use super::random::Random;
use super::table::Table;

/// Something that an expression can name.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    name: String,
    kind: Kind,
    tame: bool,
    loose: bool,
}

/// What makes a query.
pub(super) struct Generator<'a> {
    random: &'a mut Random,
    tables: &'a [Table],
    /// What expressions can name, innermost last.
    scope: Vec<Variable>,
    aliases: usize,
    /// Whether functions may be called that stages seldom have.
    exotic: bool,
    /// Rows that cross joins may still multiply to.
    rows: usize,
}

/// A query over these tables.
pub(super) fn query(tables: &[Table], random: &mut Random) -> Query {
    let exotic = random.chance(45);
    let mut generator = Generator { random, tables, scope: vec![], aliases: 0, exotic, rows: 0 };
    generator.query(2).0
}

impl Generator<'_> {
    /// An expression of a kind.
    fn expr(&mut self, kind: Kind, depth: usize) -> Expr {
        if depth == 0 || self.random.chance(25) {
            return self.atom(kind);
        }
        if kind != Kind::Other && self.random.chance(18) {
            return self.conditional(kind, depth);
        }
        match kind {
            Kind::Bool => self.condition(depth),
            Kind::Int => self.integer(depth),
            Kind::Float => self.float(depth),
            Kind::Decimal => self.decimal(depth),
            Kind::Date => self.date(depth),
            Kind::Timestamp => self.timestamp(depth),
            Kind::Text => self.text(depth),
            Kind::Time | Kind::Binary | Kind::Other => self.atom(kind),
        }
    }

    /// A variable, or a literal.
    fn atom(&mut self, kind: Kind) -> Expr {
        match self.variable(kind) {
            Some(variable) if !self.random.chance(15) => variable,
            _ => self.literal(kind),
        }
    }

    /// A variable of a kind that does not depend on the order of rows.
    fn variable(&mut self, kind: Kind) -> Option<Expr> {
        let fitting: Vec<&Variable> = self.scope.iter().filter(|variable| variable.kind == kind && !variable.loose).collect();
        if fitting.is_empty() {
            return None;
        }
        let variable = *self.random.pick(&fitting);
        Some(Expr { kind, tame: variable.tame, loose: false, parts: vec![Part::Text(variable.name.clone().into())] })
    }

    /// A literal; seldom a null.
    fn literal(&mut self, kind: Kind) -> Expr {
        if self.random.chance(5) {
            let null = match kind {
                Kind::Bool => "CAST(NULL AS BOOLEAN)",
                Kind::Int => "CAST(NULL AS INT)",
                Kind::Float => "CAST(NULL AS DOUBLE)",
                Kind::Decimal => "CAST(NULL AS DECIMAL(15,2))",
                Kind::Date => "CAST(NULL AS DATE)",
                Kind::Timestamp => "CAST(NULL AS TIMESTAMP)",
                Kind::Text => "CAST(NULL AS VARCHAR)",
                Kind::Time => "CAST(NULL AS TIME)",
                Kind::Binary | Kind::Other => "NULL",
            };
            return Expr::text(kind, null).tame(true);
        }
        match kind {
            Kind::Bool => Expr::text(kind, if self.random.chance(50) { "true" } else { "false" }),
            Kind::Int => self.integer_literal(),
            Kind::Float => self.float_literal(),
            Kind::Decimal => self.decimal_literal(),
            Kind::Date => self.date_literal(),
            Kind::Timestamp => self.timestamp_literal(),
            Kind::Text => self.text_literal(),
            Kind::Time => Expr::text(kind, self.random.word(&["TIME '00:00:00'", "TIME '12:30:59.5'", "TIME '23:59:59'"])),
            Kind::Binary => Expr::text(kind, "X'61'"),
            Kind::Other => Expr::text(kind, "make_array(1, 2)"),
        }
    }

    /// One of several values of a kind, by conditions.
    fn conditional(&mut self, kind: Kind, depth: usize) -> Expr {
        let depth = depth - 1;
        let (a, b) = (self.expr(kind, depth), self.expr(kind, depth));
        let tame = a.tame && b.tame;
        let expr = match self.random.below(7) {
            0..=2 => Expr::of(kind, "CASE WHEN {} THEN {} ELSE {} END", [self.expr(Kind::Bool, depth), a, b]),
            3 => Expr::of(
                kind,
                "CASE WHEN {} THEN {} WHEN {} THEN {} END",
                [self.expr(Kind::Bool, depth), a, self.expr(Kind::Bool, depth), b],
            ),
            4 => {
                let of = if self.random.chance(50) { Kind::Int } else { Kind::Text };
                let (on, first, second) = (self.expr(of, depth), self.literal(of), self.literal(of));
                Expr::of(kind, "CASE {} WHEN {} THEN {} WHEN {} THEN {} END", [on, first, a, second, b])
            }
            5 if kind.is_comparable() => Expr::of(kind, "NULLIF({}, {})", [a, b]),
            _ => Expr::of(kind, "COALESCE({}, {})", [a, b]),
        };
        expr.tame(tame)
    }
}
