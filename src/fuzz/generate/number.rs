//! Integers, floats and decimals.

use super::Generator;
use crate::fuzz::ast::Expr;
use crate::fuzz::kind::Kind;

impl Generator<'_> {
    pub(super) fn integer_literal(&mut self) -> Expr {
        let kind = Kind::Int;
        match self.random.below(12) {
            0..=7 => Expr::text(kind, format!("{}", self.random.between(-3, 9))).tame(true),
            8 => Expr::text(kind, format!("{}", self.random.between(-70_000, 70_000))).tame(true),
            9 => Expr::text(kind, self.random.word(&["9223372036854775807", "2147483648", "-2147483648", "65536", "255", "-128"])),
            _ => {
                let types = ["INT", "SMALLINT", "TINYINT", "BIGINT", "INT UNSIGNED", "TINYINT UNSIGNED"];
                let to = self.random.word(&types);
                Expr::text(kind, format!("CAST({} AS {to})", self.random.between(0, 9))).tame(true)
            }
        }
    }

    pub(super) fn float_literal(&mut self) -> Expr {
        match self.random.below(10) {
            0..=6 => Expr::text(Kind::Float, format!("{:?}", self.random.between(-20, 40) as f64 / 4.0)).tame(true),
            7 => Expr::text(Kind::Float, self.random.word(&["0.1e0", "1e300", "-1e-300", "7e0"])),
            _ => Expr::text(Kind::Float, self.random.word(&["CAST('NaN' AS DOUBLE)", "CAST('-0.0' AS DOUBLE)", "CAST('inf' AS DOUBLE)"])),
        }
    }

    pub(super) fn decimal_literal(&mut self) -> Expr {
        let number = self.random.between(-400, 900);
        match self.random.below(6) {
            0 => Expr::text(Kind::Decimal, format!("CAST({number} AS DECIMAL(20,0))")).tame(true),
            1 => Expr::text(Kind::Decimal, format!("CAST({number}.5 AS DECIMAL(38,10))")).tame(true),
            _ => Expr::text(Kind::Decimal, format!("CAST('{number}.{}' AS DECIMAL(15,2))", self.random.below(100))).tame(true),
        }
    }

    pub(super) fn integer(&mut self, depth: usize) -> Expr {
        let kind = Kind::Int;
        let depth = depth - 1;
        if self.exotic && self.random.chance(40) {
            return self.exotic_integer(depth);
        }
        match self.random.below(14) {
            0..=5 => self.arithmetic(kind, depth, "5"),
            6 => Expr::of(kind, "(- {})", [self.expr(kind, depth)]),
            7 => Expr::of(kind, "character_length({})", [self.expr(Kind::Text, depth)]).tame(true),
            8 => {
                let parts = ["extract(year FROM {})", "extract(month FROM {})", "extract(day FROM {})"];
                Expr::of(kind, self.random.word(&parts), [self.expr(Kind::Date, depth)]).tame(true)
            }
            9 => Expr::of(kind, "CAST({} AS INT)", [self.expr(Kind::Bool, depth)]).tame(true),
            10 => {
                let arg = self.tame_expr(kind, depth);
                let to = ["CAST({} AS BIGINT)", "CAST({} AS INT)", "CAST({} AS SMALLINT)"];
                Expr::of(kind, self.random.word(&to), [arg]).tame(true)
            }
            11 => {
                let arg = self.expr(kind, depth);
                let tame = arg.tame;
                Expr::of(kind, "CAST({} AS BIGINT)", [arg]).tame(tame)
            }
            12 => {
                let from = if self.random.chance(50) { Kind::Decimal } else { Kind::Float };
                let arg = self.tame_expr(from, depth);
                Expr::of(kind, "CAST({} AS BIGINT)", [arg]).tame(true)
            }
            _ => {
                let templates = ["({} & {})", "({} | {})"];
                let (a, b) = (self.expr(kind, depth), self.expr(kind, depth));
                Expr::of(kind, self.random.word(&templates), [a, b])
            }
        }
    }

    fn exotic_integer(&mut self, depth: usize) -> Expr {
        let kind = Kind::Int;
        match self.random.below(16) {
            0 => Expr::of(kind, "abs({})", [self.tame_expr(kind, depth)]).tame(true),
            1 => Expr::of(kind, "octet_length({})", [self.expr(Kind::Text, depth)]).tame(true),
            2 => Expr::of(kind, "bit_length({})", [self.expr(Kind::Text, depth)]).tame(true),
            3 => Expr::of(kind, "strpos({}, {})", [self.expr(Kind::Text, depth), self.text_literal()]).tame(true),
            4 => Expr::of(kind, "ascii({})", [self.expr(Kind::Text, depth)]).tame(true),
            5 => Expr::of(kind, "TRY_CAST({} AS INT)", [self.expr(Kind::Text, depth)]),
            6 => {
                let parts = ["'dow'", "'doy'", "'week'", "'quarter'", "'epoch'"];
                let part = self.random.word(&parts);
                Expr::of(kind, "date_part({}, {})", [Expr::text(Kind::Text, part), self.expr(Kind::Date, depth)])
            }
            7 => {
                let parts = ["'hour'", "'minute'", "'second'", "'year'", "'month'"];
                let part = self.random.word(&parts);
                Expr::of(kind, "date_part({}, {})", [Expr::text(Kind::Text, part), self.expr(Kind::Timestamp, depth)])
            }
            8 => Expr::of(kind, "({} << 2)", [self.variable_or_literal(kind)]),
            9 => Expr::of(kind, "({} >> 1)", [self.variable_or_literal(kind)]),
            10 => Expr::of(kind, "greatest({}, {})", [self.expr(kind, depth), self.expr(kind, depth)]),
            11 => Expr::of(kind, "least({}, {})", [self.expr(kind, depth), self.expr(kind, depth)]),
            12 => Expr::of(kind, "levenshtein({}, {})", [self.expr(Kind::Text, depth), self.expr(Kind::Text, depth)]).tame(true),
            13 => Expr::of(kind, "nvl({}, {})", [self.expr(kind, depth), self.expr(kind, depth)]),
            14 => Expr::of(kind, "TRY_CAST({} AS TINYINT)", [self.expr(kind, depth)]).tame(true),
            _ => Expr::of(kind, "TRY_CAST({} AS INT)", [self.expr(Kind::Float, depth)]),
        }
    }

    fn variable_or_literal(&mut self, kind: Kind) -> Expr {
        self.atom(kind)
    }

    /// An expression that can be cast and added up without overflow, as far as that can be told.
    pub(super) fn tame_expr(&mut self, kind: Kind, depth: usize) -> Expr {
        for _ in 0..4 {
            let expr = self.expr(kind, depth);
            if expr.tame && !expr.loose {
                return expr;
            }
        }
        match kind {
            Kind::Int => Expr::text(kind, "3"),
            Kind::Float => Expr::text(kind, "2.5e0"),
            _ => Expr::text(kind, "CAST('1.25' AS DECIMAL(15,2))"),
        }
        .tame(true)
    }

    /// Arithmetic. Dividing by zero is an error, and seldom wanted.
    fn arithmetic(&mut self, kind: Kind, depth: usize, divisor: &'static str) -> Expr {
        let (a, b) = (self.expr(kind, depth), self.expr(kind, depth));
        let tame = a.tame && b.tame;
        match self.random.below(10) {
            0..=2 => Expr::of(kind, "({} + {})", [a, b]).tame(tame),
            3..=5 => Expr::of(kind, "({} - {})", [a, b]).tame(tame),
            6 => Expr::of(kind, "({} * {})", [a, b]),
            7 => Expr::of(kind, "({} / {})", [a, Expr::text(kind, divisor)]).tame(tame && kind == Kind::Int),
            8 => Expr::of(kind, "({} % {})", [a, Expr::text(kind, divisor)]).tame(kind == Kind::Int),
            _ => {
                let operator = if self.random.chance(50) { "({} / NULLIF({}, 0))" } else { "CASE WHEN {} <> 0 THEN {} % {} END" };
                if operator.starts_with("CASE") { Expr::of(kind, operator, [b.clone(), a, b]) } else { Expr::of(kind, operator, [a, b]) }
            }
        }
    }

    pub(super) fn float(&mut self, depth: usize) -> Expr {
        let kind = Kind::Float;
        let depth = depth - 1;
        if self.exotic && self.random.chance(40) {
            let arg = self.expr(kind, depth);
            let functions = [
                "abs({})",
                "ceil({})",
                "floor({})",
                "sqrt({})",
                "round({})",
                "trunc({})",
                "signum({})",
                "exp({})",
                "ln({})",
                "nanvl({}, 1e0)",
            ];
            return Expr::of(kind, self.random.word(&functions), [arg]);
        }
        match self.random.below(9) {
            0..=4 => self.arithmetic(kind, depth, "8e0"),
            5 => {
                let arg = self.expr(Kind::Int, depth);
                let tame = arg.tame;
                Expr::of(kind, "CAST({} AS DOUBLE)", [arg]).tame(tame)
            }
            6 => Expr::of(kind, "CAST({} AS DOUBLE)", [self.expr(Kind::Decimal, depth)]),
            7 => Expr::of(kind, "(- {})", [self.expr(kind, depth)]),
            _ => Expr::of(kind, "CAST({} AS REAL)", [self.expr(kind, depth)]),
        }
    }

    pub(super) fn decimal(&mut self, depth: usize) -> Expr {
        let kind = Kind::Decimal;
        let depth = depth - 1;
        if self.exotic && self.random.chance(30) {
            let arg = self.expr(kind, depth);
            // The type of `round(decimal, 1)` is another one before DataFusion 55.2 has folded constants than after it, and a CASE that was typed by it then
            // mistakes its branches' scales: `CASE WHEN b THEN round(d, 1) WHEN NOT b THEN 828.11 END` has 8281.1. So the type is always said.
            let round = "TRY_CAST(round({}, 1) AS DECIMAL(38,6))";
            let functions = ["abs({})", round, "ceil({})", "floor({})", "TRY_CAST({} AS DECIMAL(5,1))"];
            return Expr::of(kind, self.random.word(&functions), [arg]);
        }
        match self.random.below(10) {
            0..=5 => self.arithmetic(kind, depth, "CAST('2.50' AS DECIMAL(5,2))"),
            6 => Expr::of(kind, "CAST({} AS DECIMAL(20,4))", [self.tame_expr(Kind::Int, depth)]).tame(true),
            7 => {
                let to = ["CAST({} AS DECIMAL(20,1))", "CAST({} AS DECIMAL(38,6))", "CAST({} AS DECIMAL(12,0))"];
                let template = self.random.word(&to);
                Expr::of(kind, template, [self.tame_expr(kind, depth)]).tame(true)
            }
            8 => Expr::of(kind, "(- {})", [self.expr(kind, depth)]),
            _ => Expr::of(kind, "CAST({} AS DECIMAL(18,3))", [self.tame_expr(Kind::Float, depth)]).tame(true),
        }
    }
}
