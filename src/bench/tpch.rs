//! The queries of TPC-H, the same files that the tests run.

use super::measure::Query;

const TEXTS: [&str; 22] = [
    include_str!("../../tests/tpch/q1.sql"),
    include_str!("../../tests/tpch/q2.sql"),
    include_str!("../../tests/tpch/q3.sql"),
    include_str!("../../tests/tpch/q4.sql"),
    include_str!("../../tests/tpch/q5.sql"),
    include_str!("../../tests/tpch/q6.sql"),
    include_str!("../../tests/tpch/q7.sql"),
    include_str!("../../tests/tpch/q8.sql"),
    include_str!("../../tests/tpch/q9.sql"),
    include_str!("../../tests/tpch/q10.sql"),
    include_str!("../../tests/tpch/q11.sql"),
    include_str!("../../tests/tpch/q12.sql"),
    include_str!("../../tests/tpch/q13.sql"),
    include_str!("../../tests/tpch/q14.sql"),
    include_str!("../../tests/tpch/q15.sql"),
    include_str!("../../tests/tpch/q16.sql"),
    include_str!("../../tests/tpch/q17.sql"),
    include_str!("../../tests/tpch/q18.sql"),
    include_str!("../../tests/tpch/q19.sql"),
    include_str!("../../tests/tpch/q20.sql"),
    include_str!("../../tests/tpch/q21.sql"),
    include_str!("../../tests/tpch/q22.sql"),
];

/// The 22 queries, `q1` to `q22`.
pub fn queries() -> Vec<Query> {
    TEXTS.iter().enumerate().map(|(index, text)| Query { name: format!("q{}", index + 1), text: (*text).to_owned() }).collect()
}
