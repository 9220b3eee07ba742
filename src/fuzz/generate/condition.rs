//! Conditions.

use super::Generator;
use crate::fuzz::ast::Expr;
use crate::fuzz::kind::Kind;

impl Generator<'_> {
    pub(super) fn condition(&mut self, depth: usize) -> Expr {
        let kind = Kind::Bool;
        let below = depth - 1;
        match self.random.below(24) {
            0..=8 => self.comparison(below),
            9 | 10 => Expr::of(kind, "({} AND {})", [self.expr(kind, below), self.expr(kind, below)]),
            11 | 12 => Expr::of(kind, "({} OR {})", [self.expr(kind, below), self.expr(kind, below)]),
            13 => Expr::of(kind, "(NOT {})", [self.expr(kind, below)]),
            14 | 15 => {
                let of = Kind::any(self.random);
                let templates = ["({} IS NULL)", "({} IS NOT NULL)"];
                let template = self.random.word(&templates);
                Expr::of(kind, template, [self.expr(of, below)])
            }
            16 => {
                let templates =
                    ["({} IS TRUE)", "({} IS NOT TRUE)", "({} IS FALSE)", "({} IS NOT FALSE)", "({} IS UNKNOWN)", "({} IS NOT UNKNOWN)"];
                let template = self.random.word(&templates);
                Expr::of(kind, template, [self.expr(kind, below)])
            }
            17 => {
                let of = self.comparable();
                let (value, least, most) = (self.expr(of, below), self.expr(of, 0), self.expr(of, 0));
                Expr::of(
                    kind,
                    if self.random.chance(75) { "({} BETWEEN {} AND {})" } else { "({} NOT BETWEEN {} AND {})" },
                    [value, least, most],
                )
            }
            18..=20 => self.list(below),
            21 | 22 => self.pattern(below),
            _ => self.text_condition(below),
        }
    }

    /// A kind of values that can be compared.
    pub(super) fn comparable(&mut self) -> Kind {
        loop {
            let kind = Kind::any(self.random);
            if kind.is_comparable() {
                return kind;
            }
        }
    }

    fn comparison(&mut self, depth: usize) -> Expr {
        let of = self.comparable();
        let templates = [
            "({} = {})",
            "({} <> {})",
            "({} < {})",
            "({} <= {})",
            "({} > {})",
            "({} >= {})",
            "({} IS DISTINCT FROM {})",
            "({} IS NOT DISTINCT FROM {})",
        ];
        let template = templates[self.random.weighted(&[5, 3, 4, 3, 4, 3, 1, 1])];
        let a = self.expr(of, depth);
        // Most conditions are on a constant, and some between numbers of several kinds.
        let b = match (of, self.random.below(10)) {
            (_, 0..=4) => self.literal(of),
            (Kind::Int, 5) => self.expr(Kind::Decimal, 0),
            (Kind::Int | Kind::Decimal, 6) => self.expr(Kind::Float, 0),
            _ => self.expr(of, depth),
        };
        Expr::of(Kind::Bool, template, [a, b])
    }

    fn list(&mut self, depth: usize) -> Expr {
        let of = [Kind::Int, Kind::Text, Kind::Decimal, Kind::Date, Kind::Float][self.random.weighted(&[6, 6, 2, 2, 1])];
        let value = self.expr(of, depth);
        let (a, b, c) = (self.literal(of), self.literal(of), self.literal(of));
        match self.random.below(5) {
            0 => Expr::of(Kind::Bool, "({} IN ({}))", [value, a]),
            1 => Expr::of(Kind::Bool, "({} NOT IN ({}, {}))", [value, a, b]),
            2 => Expr::of(Kind::Bool, "({} IN ({}, {}))", [value, a, self.expr(of, 0)]),
            3 => {
                let (d, e) = (self.literal(of), self.literal(of));
                Expr::of(Kind::Bool, "({} IN ({}, {}, {}, {}, {}))", [value, a, b, c, d, e])
            }
            _ => Expr::of(Kind::Bool, "({} IN ({}, {}, {}))", [value, a, b, c]),
        }
    }

    fn pattern(&mut self, depth: usize) -> Expr {
        let patterns = [
            "'%'",
            "''",
            "'a%'",
            "'%e%'",
            "'%b'",
            "'tw_lve%'",
            "'%green%fox%'",
            "'%\\_b\\%%'",
            "'_'",
            "'%本語%'",
            "'ünï%'",
            "'the quick%'",
            "'a'",
            "'%e%e%'",
        ];
        let pattern = Expr::text(Kind::Text, self.random.word(&patterns));
        let template = match self.random.below(10) {
            0..=5 => "({} LIKE {})",
            6..=8 => "({} NOT LIKE {})",
            _ => "({} ILIKE {})",
        };
        let value = self.expr(Kind::Text, depth);
        Expr::of(Kind::Bool, template, [value, pattern])
    }

    fn text_condition(&mut self, depth: usize) -> Expr {
        if !self.exotic {
            return self.comparison(depth);
        }
        let templates = ["starts_with({}, {})", "contains({}, {})", "ends_with({}, {})", "({} ~ {})", "regexp_like({}, {})"];
        let number = self.random.below(templates.len());
        let pattern =
            if number < 3 { self.expr(Kind::Text, 0) } else { Expr::text(Kind::Text, self.random.word(&["'^a'", "'e{2}'", "'[0-9]+'"])) };
        let value = self.expr(Kind::Text, depth);
        Expr::of(Kind::Bool, templates[number], [value, pattern])
    }
}
