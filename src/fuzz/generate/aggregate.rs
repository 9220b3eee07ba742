//! Aggregate functions.

use super::Generator;
use crate::fuzz::ast::{Expr, Group, Part, Select};
use crate::fuzz::kind::Kind;

impl Generator<'_> {
    /// Makes a select one of groups; its items are made here.
    pub(super) fn grouped(&mut self, select: &mut Select, items: &[Option<Kind>], depth: usize) {
        let mut keys = vec![];
        for _ in 0..[0, 1, 2, 3][self.random.weighted(&[25, 45, 22, 8])] {
            let kind = self.comparable();
            // A constant in GROUP BY is the number of an item.
            let key = match self.variable(kind) {
                Some(variable) if self.random.chance(70) => Some(variable),
                Some(_) => Some(self.expr(kind, 2)).filter(has_a_variable),
                None => None,
            };
            keys.extend(key);
        }
        let sets = if keys.len() < 2 { "" } else { ["", "ROLLUP", "CUBE"][self.random.weighted(&[80, 12, 8])] };
        for wanted in items {
            let usable: Vec<usize> = (0..keys.len()).filter(|key| wanted.is_none_or(|kind| keys[*key].kind == kind)).collect();
            let item = if !usable.is_empty() && self.random.chance(45) {
                let key = *self.random.pick(&usable);
                let of: &Expr = &keys[key];
                Expr { kind: of.kind, tame: of.tame, loose: false, parts: vec![Part::Key(key)] }
            } else {
                let kind = wanted.unwrap_or_else(|| {
                    [Kind::Int, Kind::Decimal, Kind::Float, Kind::Text, Kind::Date, Kind::Bool][self.random.weighted(&[9, 5, 4, 3, 2, 1])]
                });
                self.over_groups(kind, depth)
            };
            select.items.push(item);
        }
        let mut having = vec![];
        if self.random.chance(20) {
            let kind = [Kind::Int, Kind::Decimal, Kind::Text][self.random.below(3)];
            let (a, b) = (self.exact_aggregate(kind, 1), self.literal(kind));
            having.push(Expr::of(Kind::Bool, self.random.word(&["({} > {})", "({} <= {})", "({} <> {})"]), [a, b]));
        }
        select.group = Some(Group { keys, sets, having });
    }

    /// An aggregate, or arithmetic with aggregates.
    fn over_groups(&mut self, kind: Kind, depth: usize) -> Expr {
        if matches!(kind, Kind::Int | Kind::Decimal) && self.random.chance(20) {
            let (a, b) = (self.exact_aggregate(kind, depth), self.exact_aggregate(kind, depth));
            let template = self.random.word(&["({} + {})", "({} - {})", "COALESCE({}, {})"]);
            return Expr::of(kind, template, [a, b]);
        }
        self.aggregate(kind, depth)
    }

    fn exact_aggregate(&mut self, kind: Kind, depth: usize) -> Expr {
        loop {
            let aggregate = self.aggregate(kind, depth);
            if !aggregate.loose {
                return aggregate;
            }
        }
    }

    /// An aggregate function that yields a kind.
    fn aggregate(&mut self, kind: Kind, depth: usize) -> Expr {
        let call = self.plain_aggregate(kind, depth);
        if self.random.chance(12) {
            let condition = self.expr(Kind::Bool, 1);
            let (tame, loose) = (call.tame, call.loose);
            let filtered = Expr::of(kind, "{} FILTER (WHERE {})", [call, condition]).tame(tame);
            return if loose { filtered.loose() } else { filtered };
        }
        call
    }

    fn plain_aggregate(&mut self, kind: Kind, depth: usize) -> Expr {
        match kind {
            Kind::Int => match self.random.below(if self.exotic { 16 } else { 11 }) {
                0 | 1 => Expr::text(kind, "count(*)").tame(true),
                2 | 3 => {
                    let of = Kind::any(self.random);
                    Expr::of(kind, "count({})", [self.expr(of, depth)]).tame(true)
                }
                4..=6 => Expr::of(kind, "sum({})", [self.expr(kind, depth)]),
                7 | 8 => self.extreme(kind, depth),
                9 | 10 => {
                    let of = self.comparable();
                    Expr::of(kind, "count(DISTINCT {})", [self.expr(of, depth)]).tame(true)
                }
                11 => Expr::of(kind, "sum(DISTINCT {})", [self.tame_expr(kind, depth)]),
                12 => Expr::of(kind, "bit_and({})", [self.expr(kind, depth)]),
                13 => Expr::of(kind, "bit_or({})", [self.expr(kind, depth)]),
                14 => Expr::of(kind, "median({})", [self.tame_expr(kind, depth)]),
                _ => Expr::of(kind, "bit_xor({})", [self.expr(kind, depth)]),
            },
            Kind::Decimal => match self.random.below(8) {
                0..=3 => Expr::of(kind, "sum({})", [self.tame_expr(kind, depth)]).tame(true),
                4 | 5 => Expr::of(kind, "avg({})", [self.tame_expr(kind, depth)]).tame(true),
                _ => self.extreme(kind, depth),
            },
            Kind::Float => match self.random.below(if self.exotic { 12 } else { 8 }) {
                0..=2 => Expr::of(kind, "sum({})", [self.tame_expr(kind, depth)]),
                3 | 4 => Expr::of(kind, "avg({})", [self.tame_expr(kind, depth)]),
                5 | 6 => Expr::of(kind, "avg({})", [self.tame_expr(Kind::Int, depth)]),
                7 => self.tame_extreme(depth),
                8 => Expr::of(kind, "stddev({})", [self.tame_expr(kind, depth)]).loose(),
                9 => Expr::of(kind, "var_pop({})", [self.tame_expr(Kind::Int, depth)]).loose(),
                10 => Expr::of(kind, "corr({}, {})", [self.tame_expr(kind, depth), self.tame_expr(kind, depth)]).loose(),
                _ => Expr::of(kind, "covar_samp({}, {})", [self.tame_expr(kind, depth), self.tame_expr(kind, depth)]).loose(),
            },
            Kind::Bool => {
                let functions = ["bool_and({})", "bool_or({})", "min({})", "max({})"];
                let template = self.random.word(&functions);
                Expr::of(kind, template, [self.expr(kind, depth)])
            }
            Kind::Text if self.exotic && self.random.chance(20) => {
                let value = self.atom(kind);
                Expr::of(kind, "string_agg({}, ',' ORDER BY {})", [value.clone(), value])
            }
            Kind::Other => Expr::text(kind, "make_array(count(*))"),
            _ => self.extreme(kind, depth),
        }
    }

    fn extreme(&mut self, kind: Kind, depth: usize) -> Expr {
        let arg = self.expr(kind, depth);
        let tame = arg.tame;
        Expr::of(kind, if self.random.chance(50) { "min({})" } else { "max({})" }, [arg]).tame(tame)
    }

    /// With a NaN among the values, DataFusion's result depends on their order.
    fn tame_extreme(&mut self, depth: usize) -> Expr {
        Expr::of(Kind::Float, if self.random.chance(50) { "min({})" } else { "max({})" }, [self.tame_expr(Kind::Float, depth)])
    }
}

fn has_a_variable(expr: &Expr) -> bool {
    expr.parts.iter().any(|part| match part {
        Part::Text(text) => text.starts_with("r") && text.contains('.'),
        Part::Expr(expr) => has_a_variable(expr),
        Part::Query(_) | Part::Key(_) => false,
    })
}
