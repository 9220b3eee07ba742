//! Conditions and values from subqueries, correlated or not.

use super::Generator;
use crate::fuzz::ast::{Body, Expr, Join, Part, Query, Relation, Select};
use crate::fuzz::kind::Kind;

impl Generator<'_> {
    /// A condition that asks another table.
    pub(super) fn asks_a_table(&mut self) -> Expr {
        let kind = Kind::Bool;
        let outer = self.scope.clone();
        let form = self.random.below(6);
        let of = self.comparable();
        let value = self.expr(of, 1);
        let mut query = self.over_a_table();
        let inner = self.scope.split_off(outer.len());
        // What is selected names the inner table alone.
        self.scope = inner.clone();
        let item = if form < 2 { Expr::text(Kind::Int, "1") } else { self.expr(of, 1) };
        let condition = self.random.chance(40).then(|| self.expr(kind, 1));
        self.scope = outer;
        let Body::Select(select) = &mut query.body else { return Expr::text(kind, "true") };
        select.items.push(item);
        select.filter.extend(condition);
        if form < 2 || self.random.chance(25) {
            let equal = self.equal_columns(&inner);
            select.filter.extend(equal);
            if self.random.chance(30) {
                let mut scope = std::mem::take(&mut self.scope);
                scope.extend(inner);
                let outer = std::mem::replace(&mut self.scope, scope);
                select.filter.push(self.expr(kind, 1));
                self.scope = outer;
            }
        }
        let text = |text: &'static str| Part::Text(text.into());
        let query = Part::Query(Box::new(query));
        let parts = match form {
            0 => vec![text("EXISTS ("), query, text(")")],
            1 => vec![text("NOT EXISTS ("), query, text(")")],
            2 | 3 => vec![text("("), Part::Expr(value), text(" IN ("), query, text("))")],
            4 => vec![text("("), Part::Expr(value), text(" NOT IN ("), query, text("))")],
            _ => {
                let scalar = self.scalar_of_a_table(of);
                vec![text("("), Part::Expr(value), text(" >= "), Part::Expr(scalar), text(")")]
            }
        };
        Expr { kind, tame: false, loose: false, parts }
    }

    /// The one value of an aggregation over a table; perhaps of the rows that go with the outer row.
    pub(super) fn scalar_of_a_table(&mut self, kind: Kind) -> Expr {
        let outer = self.scope.clone();
        let mut query = self.over_a_table();
        let inner = self.scope.split_off(outer.len());
        self.scope = inner.clone();
        let value = match kind {
            Kind::Float => self.tame_expr(kind, 1),
            _ => self.expr(kind, 1),
        };
        self.scope = outer;
        let item = match kind {
            Kind::Int if self.random.chance(40) => Expr::text(kind, "count(*)"),
            _ => Expr::of(kind, if self.random.chance(50) { "max({})" } else { "min({})" }, [value]),
        };
        let equal = if self.random.chance(40) { self.equal_columns(&inner) } else { None };
        if let Body::Select(select) = &mut query.body {
            select.items.push(item);
            select.filter.extend(equal);
        }
        Expr { kind, tame: false, loose: false, parts: vec![Part::Text("(".into()), Part::Query(Box::new(query)), Part::Text(")".into())] }
    }

    /// A select from one table, without items; its columns are added to the scope.
    fn over_a_table(&mut self) -> Query {
        let (relation, alias) = self.table();
        let Relation::Table(name) = relation else { return self.empty() };
        let join = Join { kind: "", relation: Relation::Table(name), alias, on: vec![] };
        let mut query = self.empty();
        query.body = Body::Select(Box::new(Select { distinct: false, items: vec![], from: vec![join], filter: vec![], group: None }));
        query
    }

    fn empty(&self) -> Query {
        let select = Select { distinct: false, items: vec![], from: vec![], filter: vec![], group: None };
        Query { body: Body::Select(Box::new(select)), order: vec![], limit: None, offset: None }
    }
}
