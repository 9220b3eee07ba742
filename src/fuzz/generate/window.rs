//! Window functions that do not tell equal rows apart.

use super::Generator;
use crate::fuzz::ast::Expr;
use crate::fuzz::kind::Kind;

impl Generator<'_> {
    /// A window function of a row's peers.
    pub(super) fn window(&mut self, kind: Kind) -> Option<Expr> {
        let (partition, order) = (self.comparable(), self.comparable());
        let (by, order) = (self.variable(partition)?, self.variable(order)?);
        let expr = match (kind, self.random.below(4)) {
            (Kind::Int, 0) => Expr::of(kind, "rank() OVER (PARTITION BY {} ORDER BY {})", [by, order]),
            (Kind::Int, 1) => Expr::of(kind, "dense_rank() OVER (ORDER BY {} DESC, {})", [order, by]),
            (Kind::Int, 2) => Expr::of(kind, "count(*) OVER (PARTITION BY {} ORDER BY {})", [by, order]),
            (Kind::Int, _) => Expr::of(kind, "sum({}) OVER (PARTITION BY {})", [self.expr(kind, 1), by]),
            (Kind::Decimal, _) => Expr::of(kind, "sum({}) OVER (PARTITION BY {} ORDER BY {})", [self.tame_expr(kind, 1), by, order]),
            (Kind::Text | Kind::Date, _) => Expr::of(kind, "max({}) OVER (PARTITION BY {} ORDER BY {})", [self.atom(kind), by, order]),
            _ => return None,
        };
        Some(expr)
    }
}
