//! What belongs to what: notes of the IR to lines of the plan, lines of the plan to tokens of the text.

use super::plan::PlanLine;
use super::sql::{Clause, SqlToken};

/// The lines of a node's operators that a note of its IR names: those of the operator that say most of what the note says.
pub(super) fn lines_of(note: &str, node: usize, plan: &[PlanLine]) -> Vec<usize> {
    let (operator, rest) = note.split_once(':').unwrap_or((note, ""));
    let operator = operator.split([' ', ',']).next().unwrap_or_default();
    let words = words(rest);
    let of_node = plan.iter().enumerate().filter(|(_, line)| line.node == Some(node));
    let named: Vec<(usize, &PlanLine)> = of_node.filter(|(_, line)| line.operator() == operator).collect();
    let score = |line: &PlanLine| {
        let known = self::words(&line.text);
        words.iter().filter(|word| known.contains(word)).count()
    };
    let best = named.iter().map(|(_, line)| score(line)).max().unwrap_or(0);
    named.into_iter().filter(|(_, line)| score(line) == best).map(|(number, _)| number).collect()
}

/// The tokens of the text that a line of the plan comes from: names, numbers and strings that it holds, in clauses that its operator can come from;
/// where there are none, the words that begin those clauses.
pub(super) fn tokens_of(line: &PlanLine, tokens: &[SqlToken]) -> Vec<usize> {
    let known = words(&line.text);
    let clauses = clauses_of(line.operator());
    let belongs = |token: &SqlToken| {
        let meaning = token.meaning.as_deref().unwrap_or_default();
        // `l_quantity@4` and `lineitem.l_quantity` are both the column that the text names.
        !meaning.is_empty() && (clauses.is_empty() || clauses.contains(&token.clause)) && known.iter().any(|word| word == meaning)
    };
    let number_of = |tells: &dyn Fn(&SqlToken) -> bool| -> Vec<usize> {
        tokens.iter().enumerate().filter(|(_, token)| tells(token)).map(|(number, _)| number).collect()
    };
    let named = number_of(&belongs);
    if named.is_empty() { number_of(&|token| token.begins && clauses.contains(&token.clause)) } else { named }
}

/// The tokens of the text that an operation comes from: of those of its lines of the plan, the ones that its note names; all, where it names none.
pub(super) fn tokens_of_note(note: Option<&str>, lines: &[usize], plan: &[PlanLine], tokens: &[SqlToken]) -> Vec<usize> {
    let mut all: Vec<usize> = lines.iter().filter_map(|line| plan.get(*line)).flat_map(|line| tokens_of(line, tokens)).collect();
    all.sort_unstable();
    all.dedup();
    let words = words(note.and_then(|note| note.split_once(':')).map_or("", |(_, rest)| rest));
    let is_named = |token: &&usize| tokens[**token].meaning.as_ref().is_some_and(|meaning| words.contains(meaning));
    let named: Vec<usize> = all.iter().filter(is_named).copied().collect();
    if named.is_empty() { all } else { named }
}

/// Clauses that an operator comes from; empty: all.
fn clauses_of(operator: &str) -> &'static [Clause] {
    match operator {
        "FilterExec" => &[Clause::Where, Clause::Having, Clause::From],
        "AggregateExec" => &[Clause::GroupBy, Clause::Select, Clause::Having],
        "ProjectionExec" => &[Clause::Select, Clause::GroupBy],
        "HashJoinExec" | "NestedLoopJoinExec" | "CrossJoinExec" | "SortMergeJoinExec" => &[Clause::From, Clause::Where],
        "SortExec" | "SortPreservingMergeExec" => &[Clause::OrderBy, Clause::Select, Clause::Limit],
        "GlobalLimitExec" | "LocalLimitExec" => &[Clause::Limit],
        _ => &[],
    }
}

/// Names, numbers and text of a line, in lower case; of `a.b@3` the parts `a` and `b`.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut words = vec![];
    for part in lower.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '@' || c == '\'')) {
        let name = part.split('@').next().unwrap_or_default().trim_matches('\'');
        if !name.is_empty() && !words.iter().any(|known| known == name) {
            words.push(name.to_string());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::sql;
    use super::*;

    #[test]
    fn words_of_plans_and_texts_meet() {
        assert_eq!(
            words("FilterExec: l_quantity@4 < Some(2400),15,2 AND t.b = 'X'"),
            ["filterexec", "l_quantity", "some", "2400", "15", "2", "and", "t", "b", "x"]
        );
        let tokens = sql::tokens("SELECT b FROM t WHERE b = 'X'");
        assert!(tokens.iter().any(|token| token.meaning.as_deref() == Some("x")));
    }
}
