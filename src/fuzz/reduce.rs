//! Queries that are one step smaller than a query. Some are no queries any more; whoever tries them finds out.

use super::ast::{Body, Expr, Group, Part, Query, Relation, Select};
use super::kind::Kind;

/// What is one step smaller.
pub(super) fn queries(query: &Query) -> Vec<Query> {
    let mut smaller = vec![];
    inner_queries(query, &mut smaller);
    if query.limit.is_some() || query.offset.is_some() {
        smaller.push(Query { limit: None, offset: None, ..query.clone() });
        smaller.push(Query { offset: None, ..query.clone() });
    } else if !query.order.is_empty() {
        smaller.push(Query { order: vec![], ..query.clone() });
    }
    for item in 0..items(query) {
        smaller.extend(without_item(query, item));
    }
    let with = |body: Body| Query { body, ..query.clone() };
    match &query.body {
        Body::Select(select) => smaller.extend(selects(select).into_iter().map(|select| with(Body::Select(Box::new(select))))),
        Body::Set(operator, left, right) => {
            if *operator != "UNION ALL" {
                smaller.push(with(Body::Set("UNION ALL", left.clone(), right.clone())));
            }
            smaller.extend(queries(left).into_iter().map(|left| with(Body::Set(operator, Box::new(left), right.clone()))));
            smaller.extend(queries(right).into_iter().map(|right| with(Body::Set(operator, left.clone(), Box::new(right)))));
        }
    }
    smaller
}

/// The queries that a query holds.
fn inner_queries(query: &Query, found: &mut Vec<Query>) {
    match &query.body {
        Body::Set(_, left, right) => found.extend([(**left).clone(), (**right).clone()]),
        Body::Select(select) => {
            for join in &select.from {
                if let Relation::Query(query) = &join.relation {
                    found.push((**query).clone());
                }
            }
        }
    }
}

fn items(query: &Query) -> usize {
    match &query.body {
        Body::Select(select) => select.items.len(),
        Body::Set(_, left, _) => items(left),
    }
}

fn without_item(query: &Query, item: usize) -> Option<Query> {
    let mut query = query.clone();
    query.order.retain(|order| order.item != item);
    query.order.iter_mut().filter(|order| order.item > item).for_each(|order| order.item -= 1);
    match &mut query.body {
        Body::Select(select) => {
            if select.items.len() < 2 {
                return None;
            }
            select.items.remove(item);
        }
        Body::Set(_, left, right) => {
            **left = without_item(left, item)?;
            **right = without_item(right, item)?;
        }
    }
    Some(query)
}

fn selects(select: &Select) -> Vec<Select> {
    let mut smaller = vec![];
    let mut push = |change: &dyn Fn(&mut Select)| {
        let mut changed = select.clone();
        change(&mut changed);
        smaller.push(changed);
    };
    for number in 0..select.from.len() {
        push(&|select| drop(select.from.remove(number)));
    }
    for number in 0..select.filter.len() {
        push(&|select| drop(select.filter.remove(number)));
    }
    if select.distinct {
        push(&|select| select.distinct = false);
    }
    for (number, join) in select.from.iter().enumerate().skip(1) {
        if !matches!(join.kind, "JOIN" | "CROSS JOIN") {
            push(&|select| select.from[number].kind = "JOIN");
        }
        for condition in 0..join.on.len() {
            push(&|select| drop(select.from[number].on.remove(condition)));
        }
    }
    if let Some(group) = &select.group {
        let with = |select: &mut Select, change: &dyn Fn(&mut Group)| select.group.iter_mut().for_each(change);
        if !group.sets.is_empty() {
            push(&|select| with(select, &|group| group.sets = ""));
        }
        for number in 0..group.having.len() {
            push(&|select| with(select, &|group| drop(group.having.remove(number))));
        }
        for number in 0..group.keys.len() {
            push(&|select| {
                with(select, &|group| drop(group.keys.remove(number)));
                select.items.retain(|item| !has_key(item, number));
                select.items.iter_mut().for_each(|item| renumber(item, number));
                with(select, &|group| group.having.retain(|item| !has_key(item, number)));
                with(select, &|group| group.having.iter_mut().for_each(|item| renumber(item, number)));
            });
        }
    }
    for (number, join) in select.from.iter().enumerate() {
        if let Relation::Query(query) = &join.relation {
            for query in queries(query) {
                push(&|select| select.from[number].relation = Relation::Query(Box::new(query.clone())));
            }
        }
    }
    for slot in 0..slots(select).len() {
        let mut all = select.clone();
        let Some(expr) = slots_mut(&mut all).into_iter().nth(slot).map(|expr| expr.clone()) else { continue };
        for expr in exprs(&expr) {
            push(&|select| {
                if let Some(place) = slots_mut(select).into_iter().nth(slot) {
                    *place = expr.clone();
                }
            });
        }
    }
    smaller.retain(|select| !select.items.is_empty());
    smaller
}

fn slots(select: &Select) -> Vec<&Expr> {
    let groups = select.group.iter().flat_map(|group| group.keys.iter().chain(&group.having));
    select.items.iter().chain(&select.filter).chain(select.from.iter().flat_map(|join| &join.on)).chain(groups).collect()
}

fn slots_mut(select: &mut Select) -> Vec<&mut Expr> {
    let groups = select.group.iter_mut().flat_map(|group| group.keys.iter_mut().chain(&mut group.having));
    select.items.iter_mut().chain(&mut select.filter).chain(select.from.iter_mut().flat_map(|join| &mut join.on)).chain(groups).collect()
}

/// Smaller expressions of the same kind.
fn exprs(expr: &Expr) -> Vec<Expr> {
    let mut smaller = vec![];
    let children = || expr.parts.iter().filter_map(|part| if let Part::Expr(child) = part { Some(child) } else { None });
    // Depending on the order of rows is for the result alone.
    let fits = |child: &&Expr| child.kind == expr.kind && (!child.loose || expr.loose);
    smaller.extend(children().filter(fits).cloned());
    if children().next().is_some() || expr.parts.iter().any(|part| matches!(part, Part::Query(_))) {
        smaller.extend(constants(expr.kind).map(|text| Expr { loose: expr.loose, ..Expr::text(expr.kind, text) }));
    }
    for grandchild in children().filter(|child| child.kind != expr.kind).flat_map(|child| &child.parts) {
        if let Part::Expr(grandchild) = grandchild {
            smaller.extend(Some(grandchild).filter(fits).cloned());
        }
    }
    for (number, part) in expr.parts.iter().enumerate() {
        let with = |part: Part| {
            let mut changed = expr.clone();
            changed.parts[number] = part;
            changed
        };
        match part {
            Part::Expr(child) => smaller.extend(exprs(child).into_iter().map(|child| with(Part::Expr(child)))),
            Part::Query(query) => smaller.extend(queries(query).into_iter().map(|query| with(Part::Query(Box::new(query))))),
            Part::Text(_) | Part::Key(_) => {}
        }
    }
    smaller
}

fn constants(kind: Kind) -> impl Iterator<Item = &'static str> {
    let texts: &[&str] = match kind {
        Kind::Bool => &["true", "false"],
        Kind::Int => &["1"],
        Kind::Float => &["1e0"],
        Kind::Decimal => &["CAST(1 AS DECIMAL(15,2))"],
        Kind::Date => &["DATE '1970-01-01'"],
        Kind::Timestamp => &["TIMESTAMP '1970-01-01 00:00:00'"],
        Kind::Text => &["'a'"],
        Kind::Time => &["TIME '00:00:00'"],
        Kind::Binary => &["X'61'"],
        Kind::Other => &[],
    };
    texts.iter().copied()
}

fn has_key(expr: &Expr, number: usize) -> bool {
    expr.parts.iter().any(|part| match part {
        Part::Key(key) => *key == number,
        Part::Expr(expr) => has_key(expr, number),
        _ => false,
    })
}

/// The keys behind one that is gone move up.
fn renumber(expr: &mut Expr, gone: usize) {
    for part in &mut expr.parts {
        match part {
            Part::Key(key) if *key > gone => *key -= 1,
            Part::Expr(expr) => renumber(expr, gone),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::Case;

    #[test]
    fn whoever_takes_every_step_arrives() {
        for seed in 0..40 {
            let mut query = Case::of_seed(seed).query;
            let mut steps = 0;
            while let Some(smaller) = queries(&query).into_iter().next() {
                assert_ne!(smaller.to_string(), query.to_string());
                query = smaller;
                steps += 1;
                assert!(steps < 2_000, "{query}");
            }
        }
    }

    #[test]
    fn keys_that_go_take_their_items_with_them() {
        let key = |number: usize| Expr { parts: vec![Part::Key(number)], ..Expr::text(Kind::Int, "") };
        let group = Group { keys: vec![Expr::text(Kind::Int, "a"), Expr::text(Kind::Int, "b")], sets: "", having: vec![] };
        let select = Select { distinct: false, items: vec![key(0), key(1)], from: vec![], filter: vec![], group: Some(group) };
        let texts: Vec<String> = selects(&select).iter().map(ToString::to_string).collect();
        assert!(texts.contains(&"SELECT b AS c0 GROUP BY b".to_owned()), "{texts:?}");
    }
}
