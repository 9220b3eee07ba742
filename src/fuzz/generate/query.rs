//! Selects, joins and what is made of several queries.

use super::{Generator, Variable};
use crate::fuzz::ast::{Body, Expr, Join, Order, Part, Query, Relation, Select};
use crate::fuzz::kind::Kind;

/// Most rows that joins without an equality may multiply to.
const MOST_ROWS: usize = 40_000;

/// Most pairs that joins with one may have to look at: keys may all be equal.
const MOST_PAIRS: usize = 1_000_000;

impl Generator<'_> {
    /// A query that may hold others down to `depth`, and what it yields.
    pub(super) fn query(&mut self, depth: usize) -> (Query, Vec<Expr>) {
        let outer = std::mem::take(&mut self.scope);
        let (body, items) = if depth > 0 && self.random.chance(14) { self.set(depth) } else { self.select(depth, None) };
        self.scope = outer;
        let mut query = Query { body, order: vec![], limit: None, offset: None };
        let ordered = items.iter().all(|item| !item.loose && item.kind.is_comparable());
        if ordered && self.random.chance(if depth == 2 { 30 } else { 15 }) {
            let mut numbers: Vec<usize> = (0..items.len()).collect();
            self.random.shuffle(&mut numbers);
            for item in numbers {
                let nulls_first = [None, Some(true), Some(false)][self.random.below(3)];
                query.order.push(Order { item, descending: self.random.chance(40), nulls_first });
            }
            if self.random.chance(70) {
                query.limit = Some(*self.random.pick(&[0, 1, 2, 5, 10, 100]));
                query.offset = self.random.chance(20).then(|| self.random.below(8));
            }
        }
        (query, items)
    }

    fn set(&mut self, depth: usize) -> (Body, Vec<Expr>) {
        let (left, left_items) = self.select(depth - 1, None);
        let all_comparable = left_items.iter().all(|item| item.kind.is_comparable() && !item.loose);
        let operators = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"];
        let operator = if all_comparable { operators[self.random.weighted(&[40, 20, 12, 12, 4, 4])] } else { operators[0] };
        let kinds: Vec<Kind> = left_items.iter().map(|item| item.kind).collect();
        self.scope.clear();
        let (right, right_items) = self.select(depth - 1, Some(&kinds));
        let items = left_items.iter().zip(&right_items).map(|(left, right)| Expr {
            kind: left.kind,
            tame: left.tame && right.tame,
            loose: left.loose || right.loose,
            parts: vec![],
        });
        let items = items.collect();
        let query = |body| Box::new(Query { body, order: vec![], limit: None, offset: None });
        (Body::Set(operator, query(left), query(right)), items)
    }

    /// A select with items of these kinds, or of any.
    fn select(&mut self, depth: usize, kinds: Option<&[Kind]>) -> (Body, Vec<Expr>) {
        let mut select = Select { distinct: false, items: vec![], from: vec![], filter: vec![], group: None };
        self.from(&mut select, depth);
        for _ in 0..[0, 1, 2][self.random.weighted(&[50, 40, 10])] {
            let condition = match self.random.below(10) {
                0 if depth > 0 => self.asks_a_table(),
                1 if depth > 0 => self.asks_a_table(),
                _ => self.condition(2),
            };
            select.filter.push(condition);
        }
        let wanted: Vec<Option<Kind>> = match kinds {
            Some(kinds) => kinds.iter().copied().map(Some).collect(),
            None => vec![None; 1 + self.random.below(5)],
        };
        if self.random.chance(40) {
            self.grouped(&mut select, &wanted, 2);
        } else {
            for wanted in wanted {
                let item = self.item(wanted, depth);
                select.items.push(item);
            }
            let comparable = select.items.iter().all(|item| item.kind.is_comparable() && !item.loose);
            select.distinct = comparable && self.random.chance(10);
        }
        let items = select.items.clone();
        (Body::Select(Box::new(select)), items)
    }

    fn item(&mut self, wanted: Option<Kind>, depth: usize) -> Expr {
        let loose: Vec<&Variable> =
            self.scope.iter().filter(|variable| variable.loose && wanted.is_none_or(|kind| kind == variable.kind)).collect();
        if !loose.is_empty() && self.random.chance(40) {
            let variable = (*self.random.pick(&loose)).clone();
            return Expr { kind: variable.kind, tame: false, loose: true, parts: vec![Part::Text(variable.name.into())] };
        }
        let kind = wanted.unwrap_or_else(|| Kind::any(self.random));
        if self.random.chance(2)
            && let Some(window) = self.window(kind)
        {
            return window;
        }
        if depth > 0 && kind != Kind::Other && kind != Kind::Binary && self.random.chance(3) {
            return self.scalar_of_a_table(kind);
        }
        match wanted.is_none() && self.random.chance(40) {
            true => self.atom(kind),
            false => self.expr(kind, 3),
        }
    }

    /// The relations of a select; the scope holds their columns after it.
    fn from(&mut self, select: &mut Select, depth: usize) {
        let count = [1, 2, 3, 4][self.random.weighted(&[45, 35, 14, 6])];
        for number in 0..count {
            let before = self.scope.clone();
            let rows_before = self.rows;
            let (relation, alias) = if depth > 0 && self.random.chance(22) { self.derived(depth - 1) } else { self.table() };
            if number == 0 {
                self.rows = self.rows_of(&relation);
                select.from.push(Join { kind: "", relation, alias, on: vec![] });
                continue;
            }
            let new = self.scope[before.len()..].to_vec();
            let kind = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"]
                [self.random.weighted(&[40, 20, 12, 8, 4, 5, 5])];
            let product = rows_before.max(1).saturating_mul(self.rows_of(&relation).max(1));
            let mut on = vec![];
            if kind != "CROSS JOIN" {
                self.scope.truncate(before.len());
                for _ in 0..[0, 1, 2][self.random.weighted(&[8, 75, 17])] {
                    on.extend(self.equal_columns(&new));
                }
                self.scope.extend(new.clone());
                if self.random.chance(25) || on.is_empty() {
                    on.push(self.condition(1));
                }
            }
            let equal = on.iter().any(|condition| condition.tame);
            if product > if equal { MOST_PAIRS } else { MOST_ROWS } {
                // Too many pairs: the relation is left out.
                self.scope = before;
                self.rows = rows_before;
                continue;
            }
            self.rows = if equal { rows_before.max(product / 4) } else { product };
            if kind.contains("SEMI") || kind.contains("ANTI") {
                self.scope = before;
            }
            select.from.push(Join { kind, relation, alias, on });
        }
    }

    /// An equality of something in scope and one of these; marked as tame, which says that it is one.
    pub(super) fn equal_columns(&mut self, new: &[Variable]) -> Option<Expr> {
        let pairs: Vec<(&Variable, &Variable)> = self
            .scope
            .iter()
            .flat_map(|left| new.iter().map(move |right| (left, right)))
            .filter(|(left, right)| left.kind == right.kind && left.kind.is_comparable() && !left.loose && !right.loose)
            .collect();
        if pairs.is_empty() {
            return None;
        }
        // Integers are what most tables have in common.
        let numbers: Vec<_> = pairs.iter().filter(|(left, _)| left.kind == Kind::Int).copied().collect();
        let (left, right) =
            if !numbers.is_empty() && self.random.chance(50) { *self.random.pick(&numbers) } else { *self.random.pick(&pairs) };
        let (left, right) = (Expr::text(left.kind, left.name.clone()), Expr::text(right.kind, right.name.clone()));
        let template = match self.random.below(20) {
            0 => "{} IS NOT DISTINCT FROM {}",
            _ => "{} = {}",
        };
        Some(Expr::of(Kind::Bool, template, [left, right]).tame(true))
    }

    /// A table; its columns are added to the scope.
    pub(super) fn table(&mut self) -> (Relation, String) {
        let number = self.random.below(self.tables.len());
        let table = &self.tables[number];
        let alias = self.alias();
        self.scope.extend(table.columns.iter().map(|column| Variable {
            name: format!("{alias}.{}", column.name),
            kind: Kind::of(&column.data_type),
            tame: column.tame,
            loose: false,
        }));
        (Relation::Table(table.name.clone()), alias)
    }

    fn derived(&mut self, depth: usize) -> (Relation, String) {
        let rows = self.rows;
        let (query, items) = self.query(depth);
        self.rows = rows;
        let alias = self.alias();
        self.scope.extend(items.iter().enumerate().map(|(number, item)| Variable {
            name: format!("{alias}.c{number}"),
            kind: item.kind,
            tame: item.tame,
            loose: item.loose,
        }));
        (Relation::Query(Box::new(query)), alias)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn rows_of(&self, relation: &Relation) -> usize {
        match relation {
            Relation::Table(name) => self.tables.iter().find(|table| table.name == *name).map_or(0, |table| table.rows.len()),
            Relation::Query(_) => 2_000,
        }
    }
}
