//! Text.

use super::Generator;
use crate::fuzz::ast::Expr;
use crate::fuzz::kind::Kind;
use crate::fuzz::value::WORDS;

impl Generator<'_> {
    pub(super) fn text_literal(&mut self) -> Expr {
        let word = self.random.pick(&WORDS);
        Expr::text(Kind::Text, format!("'{}'", if *word == "it''s" { "it''s" } else { word }))
    }

    pub(super) fn text(&mut self, depth: usize) -> Expr {
        let kind = Kind::Text;
        let depth = depth - 1;
        if self.exotic {
            return self.exotic_text(depth);
        }
        let value = self.expr(kind, depth);
        let (start, count) = (self.random.between(-2, 14), self.random.between(0, 15));
        let start = Expr::text(Kind::Int, start.to_string());
        match self.random.below(3) {
            0 => Expr::of(kind, "substr({}, {})", [value, start]),
            1 => Expr::of(kind, "substr({}, {}, {})", [value, start, Expr::text(Kind::Int, count.to_string())]),
            _ => value,
        }
    }

    fn exotic_text(&mut self, depth: usize) -> Expr {
        let kind = Kind::Text;
        let value = self.expr(kind, depth);
        let number = Expr::text(Kind::Int, self.random.between(-3, 15).to_string());
        match self.random.below(20) {
            0 => Expr::of(kind, "upper({})", [value]),
            1 => Expr::of(kind, "lower({})", [value]),
            2 => Expr::of(kind, "trim({})", [value]),
            3 => Expr::of(kind, "ltrim({}, 'a ')", [value]),
            4 => Expr::of(kind, "({} || {})", [value, self.expr(kind, depth)]),
            5 => Expr::of(kind, "concat({}, {})", [value, self.expr(kind, depth)]),
            6 => Expr::of(kind, "replace({}, 'e', {})", [value, self.text_literal()]),
            7 => Expr::of(kind, "left({}, {})", [value, number]),
            8 => Expr::of(kind, "right({}, {})", [value, number]),
            9 => Expr::of(kind, "reverse({})", [value]),
            10 => Expr::of(kind, "lpad({}, 9, 'xy')", [value]),
            11 => Expr::of(kind, "rpad({}, 14, '')", [value]),
            12 => Expr::of(kind, "repeat({}, 2)", [self.atom(kind)]),
            13 => Expr::of(kind, "initcap({})", [value]),
            14 => Expr::of(kind, "split_part({}, ' ', 2)", [value]),
            15 => Expr::of(kind, "translate({}, 'aeü', 'x')", [value]),
            16 => Expr::of(kind, "CAST({} AS VARCHAR)", [self.expr(Kind::Int, depth)]),
            17 => Expr::of(kind, "CAST({} AS VARCHAR)", [self.expr(Kind::Decimal, depth)]),
            18 => Expr::of(kind, "CAST({} AS VARCHAR)", [self.expr(Kind::Date, depth)]),
            _ => Expr::of(kind, "concat_ws('-', {}, {})", [value, self.expr(kind, depth)]),
        }
    }
}
