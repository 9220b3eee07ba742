//! Probes of every kind, against a hash map.

use std::collections::{HashMap, HashSet};

use arrow::array::RecordBatch;

use crate::rows::ints;
use crate::{Row, run, shown, sorted};

type Pairs = Vec<(Option<i64>, i64)>;

/// Key 3 comes 5,000 times; some keys are null.
fn build() -> Pairs {
    let duplicates = (0..5_000).map(|row| (Some(3), row));
    let others = (0..300).map(|row| ((row % 9 != 0).then_some(row % 40 + 10), row * 3));
    duplicates.chain(others).collect()
}

fn probe() -> Pairs {
    (0..2_600)
        .map(|row| {
            (
                if row % 13 == 0 {
                    None
                } else if row % 800 == 5 {
                    Some(3)
                } else {
                    Some(row % 60 + 4)
                },
                row,
            )
        })
        .collect()
}

fn batches(pairs: &Pairs) -> Vec<RecordBatch> {
    let whole = ints(&[pairs.iter().map(|pair| pair.0).collect(), pairs.iter().map(|pair| Some(pair.1)).collect()]).remove(0);
    let half = whole.num_rows() / 2;
    vec![whole.slice(0, half), whole.slice(half, whole.num_rows() - half)]
}

const RESIDUAL: &str = " residual {\nv10: boolean = lt v1, v4\nyield v10\n}";

/// A program that builds and probes, and emits `columns`.
fn program(decl: &str, probe: &str, columns: &str, types: &str, more: &str) -> String {
    format!(
        "program {{\ninput0 \"build\" (int64?, int64)\ninput1 \"probe\" (int64?, int64)\njoin0 keys(int64?) payload(int64) {decl}\noutput ({types})\ns0 \"b\" {{\nsource input0 (v0: int64?, v1: int64)\nbuild join0 keys(v0) payload(v1)\n}}\ns1 \"p\" {{\nsource input1 (v0: int64?, v1: int64)\n{probe}\nemit ({columns})\n}}\n{more}\n}}"
    )
}

/// All pairs that match: probing row, building row.
fn matches(null_equal: bool, residual: bool) -> Vec<Vec<(Option<i64>, i64)>> {
    let mut by_key: HashMap<_, Pairs> = HashMap::new();
    build().into_iter().for_each(|b| by_key.entry(b.0).or_default().push(b));
    let found = |p: (Option<i64>, i64)| {
        let same = by_key.get(&p.0).filter(|_| null_equal || p.0.is_some());
        same.into_iter().flatten().filter(|b| !residual || p.1 < b.1).copied().collect()
    };
    probe().into_iter().map(found).collect()
}

fn inputs() -> [Vec<RecordBatch>; 2] {
    [batches(&build()), batches(&probe())]
}

/// Every combination of null equality and a residual.
fn each(f: impl Fn(&str, bool, &str, bool)) {
    for (decl, null_equal) in [("", false), ("null_equal", true)] {
        for (text, residual) in [("", false), (RESIDUAL, true)] {
            f(decl, null_equal, text, residual);
        }
    }
}

#[test]
fn inner_and_outer() {
    each(|decl, null_equal, text, residual| {
        let all = matches(null_equal, residual);
        let rows = |outer: bool| -> Vec<Row> {
            let of = |(p, found): (&(Option<i64>, i64), &Pairs)| {
                let none = (outer && found.is_empty()).then(|| vec![shown(p.0), p.1.to_string(), "null".into(), "null".into()]);
                let found = found.iter().map(|b| vec![shown(p.0), p.1.to_string(), shown(b.0), b.1.to_string()]);
                found.chain(none).collect::<Vec<_>>()
            };
            sorted(probe().iter().zip(&all).flat_map(of).collect())
        };
        let inner = format!("probe join0 inner keys(v0) -> (v3: int64?, v4: int64){text}");
        let text_of = |probe: &str, types: &str| program(decl, probe, "v0, v1, v3, v4", types, "");
        assert!(run(&text_of(&inner, "int64?, int64, int64?, int64"), &inputs()) == rows(false), "inner {decl} {text}");
        let outer = format!("probe join0 outer keys(v0) -> (v3: int64?, v4: int64?){}", text.replace("boolean =", "boolean? ="));
        assert!(run(&text_of(&outer, "int64?, int64, int64?, int64?"), &inputs()) == rows(true), "outer {decl} {text}");
    });
}

#[test]
fn semi_anti_and_mark() {
    each(|decl, null_equal, text, residual| {
        let all = matches(null_equal, residual);
        let rows = |f: &dyn Fn(bool) -> Option<Option<bool>>| -> Vec<Row> {
            let of = |(p, found): (&(Option<i64>, i64), &Pairs)| {
                f(!found.is_empty()).map(|mark| [Some(p.1.to_string()), mark.map(|m| m.to_string())].into_iter().flatten().collect())
            };
            sorted(probe().iter().zip(&all).filter_map(of).collect())
        };
        for kind in ["semi", "anti"] {
            let probe = format!("probe join0 {kind} keys(v0) -> (_, v4: int64){text}");
            let got = run(&program(decl, &probe, "v1", "int64", ""), &inputs());
            assert!(got == rows(&|found| (found == (kind == "semi")).then_some(None)), "{kind} {decl} {text}");
        }
        let probe = format!("probe join0 mark keys(v0) -> (_, v4: int64) mark v5: boolean{text}");
        let got = run(&program(decl, &probe, "v1, v5", "int64, boolean", ""), &inputs());
        assert!(got == rows(&|found| Some(Some(found))), "mark {decl} {text}");
    });
}

#[test]
fn build_side_is_marked() {
    for (text, residual) in [("", false), (RESIDUAL, true)] {
        let all: HashSet<_> = matches(false, residual).into_iter().flatten().collect();
        let (matched, unmatched): (Pairs, Pairs) = build().into_iter().partition(|b| all.contains(b));
        for (which, wanted) in [("unmatched", unmatched), ("matched", matched)] {
            let stages = format!(
                "program {{\ninput0 \"build\" (int64?, int64)\ninput1 \"probe\" (int64?, int64)\njoin0 keys(int64?) payload(int64) tracked\noutput (int64?, int64)\ns0 \"b\" {{\nsource input0 (v0: int64?, v1: int64)\nbuild join0 keys(v0) payload(v1)\n}}\ns1 \"m\" {{\nsource input1 (v0: int64?, v1: int64)\nmark join0 keys(v0) -> (_, v4: int64){text}\n}}\ns2 \"e\" {{\nsource join0 {which} (v0: int64?, v1: int64)\nemit (v0, v1)\n}}\n}}"
            );
            let want: Vec<Row> = wanted.iter().map(|b| vec![shown(b.0), b.1.to_string()]).collect();
            assert!(run(&stages, &inputs()) == sorted(want), "{which} {text}");
        }
    }
}

#[test]
fn all_rows_with_their_mark_after_an_outer_probe() {
    let probe = "probe join0 semi keys(v0) -> (_, _) marks_build\nv9: int64? = convert v0\nv8: boolean? = literal lit0";
    let more = "s2 \"a\" {\nsource join0 all (v0: int64?, v1: int64, v2: boolean)\nv3: boolean? = convert v2\nemit (v0, v1, v3)\n}";
    let text = program("tracked\nlit0: boolean? = null", probe, "v9, v1, v8", "int64?, int64, boolean?", more);
    let keys: Vec<_> = probe_keys();
    let mut want: Vec<Row> =
        build().iter().map(|b| vec![shown(b.0), b.1.to_string(), b.0.is_some_and(|k| keys.contains(&k)).to_string()]).collect();
    let built: Vec<_> = build().iter().filter_map(|b| b.0).collect();
    let found =
        |p: &(Option<i64>, i64)| p.0.is_some_and(|key| built.contains(&key)).then(|| vec![shown(p.0), p.1.to_string(), "null".into()]);
    want.extend(self::probe().iter().filter_map(found));
    assert!(run(&text, &inputs()) == sorted(want));
}

fn probe_keys() -> Vec<i64> {
    probe().iter().filter_map(|p| p.0).collect()
}

#[test]
fn cross_join() {
    let text = "program {\ninput0 \"b\" (int64?)\ninput1 \"p\" (int64?)\njoin0 keys() payload(int64?)\ngroups0 keys() accs(count_rows int64, sum int64?)\noutput (int64, int64?)\ns0 \"b\" {\nsource input0 (v0: int64?)\nbuild join0 keys() payload(v0)\n}\ns1 \"p\" {\nsource input1 (v0: int64?)\nprobe join0 inner keys() -> (v1: int64?)\nv2: int64? = mul v0, v1\ngroup groups0 keys() args(_, v2)\n}\ns2 \"e\" {\nsource groups0 (v0: int64, v1: int64?)\nemit (v0, v1)\n}\n}";
    let column = |rows: i64| ints(&[(0..rows).map(Some).collect()]);
    let sum = (0..3_000i64).sum::<i64>() * (0..50i64).sum::<i64>();
    assert_eq!(run(text, &[column(50), column(3_000)]), [["150000".to_string(), sum.to_string()]]);
    assert_eq!(run(text, &[column(0), column(3_000)]), [["0", "null"]]);
}
