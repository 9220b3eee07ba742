//! Dates and timestamps.

use super::Generator;
use crate::fuzz::ast::Expr;
use crate::fuzz::kind::Kind;

impl Generator<'_> {
    pub(super) fn date_literal(&mut self) -> Expr {
        let days =
            ["1970-01-01", "1970-01-03", "1969-12-31", "2000-02-29", "1995-06-17", "2038-01-19", "0001-01-01", "9999-12-31", "1900-02-28"];
        Expr::text(Kind::Date, format!("DATE '{}'", self.random.pick(&days)))
    }

    pub(super) fn timestamp_literal(&mut self) -> Expr {
        let times = ["1970-01-01 00:00:00", "1970-01-02 00:00:00", "1995-06-17 23:59:59.999", "2020-02-29 12:00:00", "1969-12-31 23:59:59"];
        Expr::text(Kind::Timestamp, format!("TIMESTAMP '{}'", self.random.pick(&times)))
    }

    pub(super) fn date(&mut self, depth: usize) -> Expr {
        let kind = Kind::Date;
        let depth = depth - 1;
        match self.random.below(if self.exotic { 7 } else { 2 }) {
            0 => self.atom(kind),
            1 => Expr::of(kind, "CAST({} AS DATE)", [self.expr(Kind::Timestamp, depth)]),
            2 | 3 => {
                let units =
                    ["({} + INTERVAL '1 day')", "({} - INTERVAL '1 month')", "({} + INTERVAL '1 year')", "({} - INTERVAL '40 days')"];
                let template = self.random.word(&units);
                Expr::of(kind, template, [self.middle_date()])
            }
            4 => Expr::of(kind, "CAST(date_trunc('month', {}) AS DATE)", [self.expr(kind, 0)]),
            5 => Expr::of(kind, "greatest({}, {})", [self.expr(kind, depth), self.expr(kind, depth)]),
            _ => Expr::of(kind, "CAST(date_trunc('year', {}) AS DATE)", [self.expr(Kind::Timestamp, depth)]),
        }
    }

    /// A date that leaves room for intervals.
    fn middle_date(&mut self) -> Expr {
        let date = self.atom(Kind::Date);
        Expr::of(Kind::Date, "CASE WHEN {} BETWEEN DATE '1800-01-01' AND DATE '2200-01-01' THEN {} END", [date.clone(), date])
    }

    pub(super) fn timestamp(&mut self, depth: usize) -> Expr {
        let kind = Kind::Timestamp;
        let depth = depth - 1;
        match self.random.below(if self.exotic { 6 } else { 2 }) {
            0 => self.atom(kind),
            1 => Expr::of(kind, "CAST({} AS TIMESTAMP)", [self.middle_date()]),
            2 => {
                let units = ["date_trunc('day', {})", "date_trunc('hour', {})", "date_trunc('month', {})", "date_trunc('week', {})"];
                let template = self.random.word(&units);
                Expr::of(kind, template, [self.expr(kind, depth)])
            }
            3 => {
                let units = ["({} + INTERVAL '1 day')", "({} - INTERVAL '90 minutes')", "({} + INTERVAL '1 month')"];
                let template = self.random.word(&units);
                Expr::of(kind, template, [self.expr(kind, depth)])
            }
            4 => Expr::of(kind, "date_bin(INTERVAL '15 minutes', {}, TIMESTAMP '2001-01-01 00:00:00')", [self.expr(kind, 0)]),
            _ => Expr::of(kind, "to_timestamp({})", [self.tame_expr(Kind::Int, 0)]),
        }
    }
}
