//! Filters and scalar operations.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use stagefuse_ir::abi::ErrorCode;
use stagefuse_runtime::{Error, OpaqueExpr};

use crate::rows::{Fact, INPUT, SOURCE, batches, facts, ints};
use crate::{Row, run, run_with, shown, sorted};

/// Runs `body` over facts and emits `columns` of types `types`.
fn scan(literals: &str, body: &str, columns: &str, types: &str) -> Vec<Row> {
    run(&program(literals, body, columns, types), &[batches(&facts(9_000))])
}

fn program(literals: &str, body: &str, columns: &str, types: &str) -> String {
    format!("program {{\n{INPUT}\n{literals}\noutput ({types})\ns0 \"s\" {{\n{SOURCE}\n{body}\nemit ({columns})\n}}\n}}")
}

fn expected(f: impl Fn(&Fact) -> Option<Row>) -> Vec<Row> {
    sorted(facts(9_000).iter().filter_map(f).collect())
}

fn error(literals: &str, body: &str, columns: &str, types: &str) -> ErrorCode {
    match run_with(&program(literals, body, columns, types), &[batches(&facts(9_000))], vec![]) {
        Err(Error::Arithmetic { code, .. }) => code,
        other => panic!("no error of an operation: {:?}", other.map(|rows| rows.len())),
    }
}

#[test]
fn columns_pass_through() {
    let got = scan("", "", "v0, v1, v2, v4, v6, v7", "int64?, int64, float64?, utf8?, boolean?, uint32");
    let want = expected(|x| {
        Some(vec![shown(x.a), x.b.to_string(), shown(x.f.map(|f| format!("{f:?}"))), shown(x.t.clone()), shown(x.flag), x.u.to_string()])
    });
    assert_eq!(got, want);
}

#[test]
fn filters_compact_and_drop_nulls() {
    let body =
        "v10: int64 = literal lit0\nv11: boolean? = lt v0, v10\nfilter v11\nv12: boolean? = not v6\nfilter v12\nv13: int64? = add v0, v1";
    let got = scan("lit0: int64 = 3", body, "v13, v4", "int64?, utf8?");
    let want = expected(|x| {
        let a = x.a?;
        (a < 3 && !x.flag?).then(|| vec![(a + x.b).to_string(), shown(x.t.clone())])
    });
    assert_eq!(got, want);
}

#[test]
fn three_valued_logic() {
    let body = "v10: int64 = literal lit0\nv11: boolean? = ge v0, v10\nv12: boolean? = and v11, v6\nv13: boolean? = or v11, v6\nv14: boolean = is_true v12\nv15: boolean = is_null v13\nv16: boolean = not_distinct v11, v6";
    let got = scan("lit0: int64 = 0", body, "v1, v12, v13, v14, v15, v16", "int64, boolean?, boolean?, boolean, boolean, boolean");
    let want = expected(|x| {
        let ge = x.a.map(|a| a >= 0);
        let and = if ge == Some(false) || x.flag == Some(false) { Some(false) } else { ge.and(x.flag) };
        let or = if ge == Some(true) || x.flag == Some(true) { Some(true) } else { ge.and(x.flag) };
        Some(vec![
            x.b.to_string(),
            shown(and),
            shown(or),
            (and == Some(true)).to_string(),
            or.is_none().to_string(),
            (ge == x.flag).to_string(),
        ])
    });
    assert_eq!(got, want);
}

#[test]
fn decimals_widen() {
    let body = "v10: decimal(20,4)? = mul v3, v3\nv11: decimal(21,4)? = add v10, v10\nv12: decimal(12,1)? = cast v3\nv13: int64? = cast v3\nv14: float64? = convert v3\nv15: decimal(12,2)? = cast v0";
    let got = scan("", body, "v1, v11, v12, v13, v14, v15", "int64, decimal(21,4)?, decimal(12,1)?, int64?, float64?, decimal(12,2)?");
    let decimal = |value: i128, scale: u32| {
        let unit = 10i128.pow(scale);
        let sign = if value < 0 { "-" } else { "" };
        format!("{sign}{}.{:0width$}", value.abs() / unit, value.abs() % unit, width = scale as usize)
    };
    let want = expected(|x| {
        Some(vec![
            x.b.to_string(),
            shown(x.d.map(|d| decimal(2 * d * d, 4))),
            shown(x.d.map(|d| decimal((d.abs() + 5) / 10 * d.signum(), 1))),
            shown(x.d.map(|d| d / 100)),
            shown(x.d.map(|d| format!("{:?}", d as f64 / 100.0))),
            shown(x.a.map(|a| decimal(i128::from(a) * 100, 2))),
        ])
    });
    assert_eq!(got, want);
}

#[test]
fn text_operations() {
    let literals = "lit0: utf8 = \"%long%5\"\nlit1: utf8 = \"k_\"\nlit2: utf8 = \"größe\"\nlit3: utf8 = \"k7\"\nlit4: int64 = 2\nlit5: int64 = 3\nlit6: utf8 = \"a rather long text, number 3\"";
    let body = "v10: boolean? = like v4 lit0\nv11: boolean? = like v4 lit1\nv12: boolean? = in v4 [lit2, lit3, lit6]\nv13: int64 = literal lit4\nv14: int64 = literal lit5\nv15: utf8? = substr v4, v13, v14\nv16: int32? = char_length v4\nv17: utf8 = literal lit6\nv18: boolean? = lt v4, v17\nv19: boolean? = eq v4, v17\nv20: utf8? = substr v4, v14";
    let types = "int64, boolean?, boolean?, boolean?, utf8?, int32?, boolean?, boolean?, utf8?";
    let got = scan(literals, body, "v1, v10, v11, v12, v15, v16, v18, v19, v20", types);
    let long = "a rather long text, number 3";
    let want = expected(|x| {
        let t = x.t.as_deref();
        Some(vec![
            x.b.to_string(),
            shown(t.map(|t| t.contains("long") && t.ends_with('5'))),
            shown(t.map(|t| t.starts_with('k') && t.chars().count() == 2)),
            shown(t.map(|t| t == "größe" || t == "k7" || t == long)),
            shown(t.map(|t| t.chars().skip(1).take(3).collect::<String>())),
            shown(t.map(|t| t.chars().count())),
            shown(t.map(|t| t < long)),
            shown(t.map(|t| t == long)),
            shown(t.map(|t| t.chars().skip(2).collect::<String>())),
        ])
    });
    assert_eq!(got, want);
}

#[test]
fn unsigned_numbers_and_dates() {
    let body = "v10: int64 = convert v7\nv11: uint32 = literal lit0\nv12: boolean = gt v7, v11\nv13: boolean = in v7 [lit1]\nv14: int32 = year v5\nv15: int32 = month v5\nv16: int32 = convert v5";
    let literals = "lit0: uint32 = 2147483648\nlit1: uint32 = 4294967295";
    let got = scan(literals, body, "v1, v10, v12, v13, v14, v15, v16", "int64, int64, boolean, boolean, int32, int32, int32");
    let want = expected(|x| {
        let date = arrow::datatypes::Date32Type::to_naive_date_opt(x.day).expect("in range").to_string();
        let (year, rest) = date.split_once('-').expect("a date");
        let month: i32 = rest[..2].parse().expect("a month");
        let row = [x.b.to_string(), x.u.to_string(), (x.u > 1 << 31).to_string(), (x.u == u32::MAX).to_string()];
        Some(row.into_iter().chain([year.to_string(), month.to_string(), x.day.to_string()]).collect())
    });
    assert_eq!(got, want);
}

#[test]
fn operations_fail() {
    assert_eq!(error("", "v10: int64? = div v1, v0", "v10", "int64?"), ErrorCode::DivideByZero);
    let big = "lit0: int64 = 9223372036854775807";
    assert_eq!(error(big, "v10: int64 = literal lit0\nv11: int64 = add_checked v1, v10", "v11", "int64"), ErrorCode::Overflow);
    assert_eq!(error("", "v10: uint8? = cast v0", "v10", "uint8?"), ErrorCode::Cast);
    assert_eq!(error("", "v10: decimal(3,2)? = cast v3", "v10", "decimal(3,2)?"), ErrorCode::Cast);
    assert_eq!(error("", "v10: utf8? = substr v4, v1, v0", "v10", "utf8?"), ErrorCode::NegativeSubstringLength);
}

#[test]
fn nulls_do_not_fail() {
    // The value under a null is 0.
    let program = "program {\ninput0 \"i\" (int64?)\nlit0: int64 = 100\noutput (int64?)\ns0 \"s\" {\nsource input0 (v0: int64?)\nv1: int64 = literal lit0\nv2: int64? = div v1, v0\nemit (v2)\n}\n}";
    assert_eq!(run(program, &[ints(&[vec![Some(7), None, Some(-3)]])]), [["-33"], ["14"], ["null"]]);
}

#[test]
fn branches_not_taken_do_not_fail() {
    let literals = "lit0: int64 = 0\nlit1: int64 = 1000\nlit2: int64? = null";
    let body = "v10: int64 = literal lit0\nv11: boolean? = ne v0, v10\nv12: int64? = if v11 {\nv13: int64 = literal lit1\nv14: int64? = div v13, v0\nv15: boolean = gt v1, v13\nv20: int64? = if v15 {\nv21: int64? = rem v1, v0\nyield v21\n} else {\nyield v14\n}\nyield v20\n} else {\nv16: int64? = literal lit2\nyield v16\n}\nv17: int64? = if v11 {\nyield v0\n} else {\nyield v1\n}";
    let got = scan(literals, body, "v1, v12, v17", "int64, int64?, int64?");
    let want = expected(|x| {
        let a = x.a.filter(|a| *a != 0);
        Some(vec![x.b.to_string(), shown(a.map(|a| if x.b > 1000 { x.b % a } else { 1000 / a })), a.unwrap_or(x.b).to_string()])
    });
    assert_eq!(got, want);
}

/// Appends an exclamation mark.
#[derive(Debug)]
struct Shout;

impl OpaqueExpr for Shout {
    fn evaluate(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, Box<dyn std::error::Error + Send + Sync>> {
        let texts = args[0].as_string_view();
        assert_eq!(texts.len(), rows);
        // As offset text: the interpreter casts it.
        Ok(Arc::new(texts.iter().map(|text| text.map(|text| format!("{text}!"))).collect::<StringArray>()))
    }
}

#[test]
fn opaque_expressions_see_their_rows() {
    let literals = "opaque0 \"shout\" (utf8?) -> utf8?";
    let text = program(literals, "filter v6\nv10: utf8? = opaque0(v4)", "v1, v10", "int64, utf8?");
    let got = run_with(&text, &[batches(&facts(9_000))], vec![Arc::new(Shout)]).expect("runs");
    let want = expected(|x| (x.flag == Some(true)).then(|| vec![x.b.to_string(), shown(x.t.as_ref().map(|t| format!("{t}!")))]));
    assert_eq!(sorted(got), want);
}

#[test]
fn limits_skip_and_stop() {
    for (skip, fetch, want) in [(0, 10, 10), (2_500, 3_000, 3_000), (8_990, 100, 10), (9_500, 1, 0)] {
        let text = program(&format!("limit0 skip {skip} fetch {fetch}"), "limit limit0", "v1", "int64");
        assert_eq!(run(&text, &[batches(&facts(9_000))]).len(), want, "skip {skip} fetch {fetch}");
    }
}

#[test]
fn deeply_nested_branches() {
    // One region short of the parser's bound; each level parts the rows once more.
    let depth = 255;
    let mut body = String::new();
    let mut literals = String::new();
    for level in 0..depth {
        literals += &format!("lit{level}: int64 = {level}\n");
        let (lit, condition, result) = (10 + level * 3, 11 + level * 3, 12 + level * 3);
        body +=
            &format!("v{lit}: int64 = literal lit{level}\nv{condition}: boolean = gt v1, v{lit}\nv{result}: int64 = if v{condition} {{\n");
    }
    body += "v5001: int64 = add v1, v1\nyield v5001\n";
    for level in (0..depth).rev() {
        body += "} else {\nyield v1\n}\n";
        if level > 0 {
            body += &format!("yield v{}\n", 12 + level * 3);
        }
    }
    let got = scan(&literals, &body, "v1, v12", "int64, int64");
    let doubled = |b: i64| if b >= depth { b * 2 } else { b };
    assert_eq!(got, expected(|x| Some(vec![x.b.to_string(), doubled(x.b).to_string()])));
}
