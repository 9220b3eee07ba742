//! Group tables.

use std::collections::HashMap;

use crate::rows::{INPUT, SOURCE, batches, facts, ints};
use crate::{Row, run, shown, sorted};

#[test]
fn groups_by_long_and_null_keys() {
    let text = format!(
        "program {{\n{INPUT}\ngroups0 keys(utf8?, boolean?) accs(count_rows int64, count int64, sum decimal(30,2)?, min date32, max utf8?, min float64?, max uint32)\noutput (utf8?, boolean?, int64, int64, decimal(30,2)?, date32, utf8?, float64?, uint32)\ns0 \"g\" {{\n{SOURCE}\ngroup groups0 keys(v4, v6) args(_, v0, v3, v5, v4, v2, v7)\n}}\ns1 \"e\" {{\nsource groups0 (v0: utf8?, v1: boolean?, v2: int64, v3: int64, v4: decimal(30,2)?, v5: date32, v6: utf8?, v7: float64?, v8: uint32)\nemit (v0, v1, v2, v3, v4, v5, v6, v7, v8)\n}}\n}}"
    );
    let facts = facts(9_000);
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    facts.iter().for_each(|x| groups.entry((x.t.clone(), x.flag)).or_default().push(x));
    let want: Vec<Row> = groups
        .into_iter()
        .map(|((t, flag), rows)| {
            let sum = rows.iter().filter_map(|x| x.d).reduce(|a, b| a + b);
            let sum = sum.map(|s| format!("{}{}.{:02}", if s < 0 { "-" } else { "" }, s.abs() / 100, s.abs() % 100));
            let day = rows.iter().map(|x| x.day).min().expect("a row");
            let min = rows.iter().filter_map(|x| x.f).min_by(f64::total_cmp);
            vec![
                shown(t.clone()),
                shown(flag),
                rows.len().to_string(),
                rows.iter().filter(|x| x.a.is_some()).count().to_string(),
                shown(sum),
                arrow::datatypes::Date32Type::to_naive_date_opt(day).expect("in range").to_string(),
                shown(t),
                shown(min.map(|f| format!("{f:?}"))),
                rows.iter().map(|x| x.u).max().expect("a row").to_string(),
            ]
        })
        .collect();
    assert_eq!(run(&text, &[batches(&facts)]), sorted(want));
}

#[test]
fn many_groups() {
    let text = "program {\ninput0 \"i\" (int64?, int64?)\ngroups0 keys(int64?) accs(sum int64?, max int64?)\noutput (int64?, int64?, int64?)\ns0 \"g\" {\nsource input0 (v0: int64?, v1: int64?)\ngroup groups0 keys(v0) args(v1, v1)\n}\ns1 \"e\" {\nsource groups0 (v0: int64?, v1: int64?, v2: int64?)\nemit (v0, v1, v2)\n}\n}";
    let keys: Vec<Option<i64>> = (0..60_000i64).map(|row| (row % 11 != 0).then(|| row * 7919 % 25_000)).collect();
    let values: Vec<Option<i64>> = (0..60_000i64).map(|row| (row % 5 != 0).then(|| row * row % 1000 - 500)).collect();
    let mut groups: HashMap<_, Vec<i64>> = HashMap::new();
    keys.iter().zip(&values).for_each(|(key, value)| groups.entry(*key).or_default().extend(value));
    let want: Vec<Row> = groups
        .into_iter()
        .map(|(key, values)| vec![shown(key), shown(values.iter().copied().reduce(|a, b| a + b)), shown(values.iter().max())])
        .collect();
    assert_eq!(run(text, &[ints(&[keys, values])]), sorted(want));
}

#[test]
fn one_group_without_keys() {
    let text = "program {\ninput0 \"i\" (int64?)\ngroups0 keys() accs(count_rows int64, count int64, sum int64?, min int64?)\noutput (int64, int64, int64?, int64?)\ns0 \"g\" {\nsource input0 (v0: int64?)\ngroup groups0 keys() args(_, v0, v0, v0)\n}\ns1 \"e\" {\nsource groups0 (v0: int64, v1: int64, v2: int64?, v3: int64?)\nemit (v0, v1, v2, v3)\n}\n}";
    assert_eq!(run(text, &[vec![]]), [["0", "0", "null", "null"]]);
    assert_eq!(run(text, &[ints(&[vec![]])]), [["0", "0", "null", "null"]]);
    assert_eq!(run(text, &[ints(&[vec![None, None]])]), [["2", "0", "null", "null"]]);
    assert_eq!(run(text, &[ints(&[(-5..5_000).map(Some).collect()])]), [["5005", "5005", "12497485", "-5"]]);
}
