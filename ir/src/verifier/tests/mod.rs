mod ops;

use super::*;
use crate::parser::parse;
use crate::program::{ProbeKind, Sink};

/// A program with two join tables, a group table and an emitting stage; breaks no law.
const GOOD: &str = r#"program {
  input0 "t" (int64, decimal(15,2):i64, utf8?, boolean?, float64, date32, uint32, decimal(20,2))
  lit0: int64 = 7
  lit1: utf8 = "a%"
  lit2: int64? = null
  lit3: decimal(15,2) = 100000000000000
  lit4: decimal(38,2) = 10000000000000000000000
  opaque0 "f" (utf8?, int64) -> int64?
  join0 keys(int64) payload(utf8?) tracked
  groups0 keys(utf8?) accs(sum decimal(25,2)?, count_rows int64, min decimal(15,2):i64)
  limit0 skip 0 fetch 10
  output (utf8?, decimal(25,2)?)

  s0 "build" {
    source input0 (v0: int64, v1: decimal(15,2):i64, v2: utf8?, v3: boolean?, v4: float64, v5: date32, v6: uint32, v7: decimal(20,2))
    ;BUILD
    filter v3
    build join0 keys(v0) payload(v2)
  }

  s1 "probe" {
    source input0 (v0: int64, v1: decimal(15,2):i64, v2: utf8?, v3: boolean?, v4: float64, v5: date32, v6: uint32, v7: decimal(20,2))
    ;BODY
    probe join0 inner keys(v0) -> (_, v100: utf8?) marks_build residual {
      v101: boolean? = eq v100, v2
      yield v101
    }
    group groups0 keys(v100) args(v1, _, v1)
  }

  s2 "groups" {
    source groups0 (v0: utf8?, v1: decimal(25,2)?, v2: int64, v3: decimal(15,2):i64)
    limit limit0
    emit (v0, v1)
  }

  s3 "rest" {
    source join0 unmatched (v0: int64, v1: utf8?)
    v2: decimal(25,2)? = convert v0
    emit (v1, v2)
  }
}
"#;

fn errors(text: &str) -> Vec<VerifierError> {
    verify(&parse(text).unwrap()).err().unwrap_or_default()
}

/// The good program with `from` replaced.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "`{from}` names one place");
    GOOD.replace(from, to)
}

/// The change breaks this law, and no other.
#[track_caller]
fn breaks(from: &str, to: &str, law: Law, messages: &[&str]) {
    let found = errors(&changed(from, to));
    let texts: Vec<_> = found.iter().map(|error| error.to_string()).collect();
    let wanted: Vec<_> = messages.iter().map(|message| format!("{message} (law {})", law.number())).collect();
    assert_eq!(texts, wanted);
}

/// The change breaks no law.
#[track_caller]
fn keeps(from: &str, to: &str) {
    assert_eq!(errors(&changed(from, to)), []);
}

#[test]
fn good() {
    assert_eq!(errors(GOOD), []);
}

#[test]
fn law_1_declared() {
    breaks(";BODY", "\nlimit limit3", Law::Declared, &["s1: statement 0: limit3 is not declared"]);
    breaks(";BODY", "\nv10: int64 = literal lit9", Law::Declared, &["s1: v10: lit9 is not declared"]);
    breaks(";BODY", "\nv10: boolean? = like v2 lit9", Law::Declared, &["s1: v10: lit9 is not declared"]);
    breaks(";BODY", "\nv10: boolean = in v0 [lit9]", Law::Declared, &["s1: v10: a literal of the list is not declared"]);
    breaks(";BODY", "\nv10: boolean = opaque1(v0)", Law::Declared, &["s1: v10: opaque1 is not declared"]);
    let unwritten = "s1: statement 0: reads join7, which no stage writes";
    let found = errors(&changed(";BODY", "\nprobe join7 semi keys(v0) -> ()"));
    assert_eq!(found[0].to_string(), "s1: statement 0: join7 is not declared (law 1)");
    assert_eq!(found[1].to_string(), format!("{unwritten} (law 16)"));
    assert_eq!(errors(&changed("source join0 unmatched", "source join7 unmatched"))[0].law, Law::Declared);
    assert_eq!(errors(&changed("source groups0", "source groups7"))[0].law, Law::Declared);
    let found = errors(&GOOD.replacen("source input0 (", "source input7 (", 1));
    assert_eq!(found[0].to_string(), "s0: source: input7 is not declared (law 1)");
    assert!(errors(&changed("build join0", "build join7")).iter().any(|error| error.law == Law::Declared));
    assert!(errors(&changed("group groups0", "group groups7")).iter().any(|error| error.law == Law::Declared));
}

#[test]
fn law_2_types() {
    let cast = |ty: &str| format!("\nv10: {ty} = cast v0");
    breaks(";BODY", &cast("decimal(39,2)"), Law::Types, &["s1: v10: there is no type decimal(39,2)"]);
    breaks(";BODY", &cast("decimal(0,0)"), Law::Types, &["s1: v10: there is no type decimal(0,0)"]);
    breaks(";BODY", &cast("decimal(5,39)"), Law::Types, &["s1: v10: there is no type decimal(5,39)"]);
    breaks(";BODY", &cast("int32:i64"), Law::Types, &["s1: v10: int32 cannot be held as i64"]);
    breaks(";BODY", &cast("decimal(5,2):i32"), Law::Types, &["s1: v10: decimal(5,2) cannot be held as i32"]);
    breaks("lit0: int64 =", "lit0: int64:i32 =", Law::Types, &["int64 cannot be held as i32"]);
    breaks("lit0: int64 =", "lit0: decimal32(10,2) =", Law::Types, &["there is no type decimal32(10,2)"]);
    breaks("lit0: int64 =", "lit0: decimal64(19,2) =", Law::Types, &["there is no type decimal64(19,2)"]);
    breaks("lit0: int64 =", "lit0: time_s:i64 =", Law::Types, &["time_s cannot be held as i64"]);
    breaks("lit0: int64 =", "lit0: timestamp_ns:i32 =", Law::Types, &["timestamp_ns cannot be held as i32"]);
    keeps(";BODY", &cast("decimal(38,-38)"));
}

#[test]
fn law_3_literals() {
    breaks("lit0: int64 = 7", "lit0: int64? = 7", Law::Literals, &["lit0 = 7 is nullable"]);
    breaks("lit2: int64? = null", "lit2: int64 = null", Law::Literals, &["lit2 = null is not nullable"]);
    breaks("lit0: int64 = 7", "lit0: int64 = true", Law::Literals, &["lit0 = true is no int64"]);
    breaks("lit0: int64 = 7", "lit0: int64 = 9223372036854775808", Law::Literals, &["lit0 = 9223372036854775808 is no int64"]);
    breaks("lit0: int64 = 7", "lit0: int8 = -129", Law::Literals, &["lit0 = -129 is no int8"]);
    breaks("lit0: int64 = 7", "lit0: uint64 = -1", Law::Literals, &["lit0 = -1 is no uint64"]);
    breaks("lit0: int64 = 7", "lit0: float64 = 7", Law::Literals, &["lit0 = 7 is no float64"]);
    breaks("lit0: int64 = 7", "lit0: float32 = 0x3fb999999999999a", Law::Literals, &["lit0 = 0x3fb999999999999a is no float32"]);
    breaks(
        "decimal(15,2) = 100000000000000",
        "decimal(14,2) = 100000000000000",
        Law::Literals,
        &["lit3 = 100000000000000 is no decimal(14,2)"],
    );
    keeps("lit0: int64 = 7", "lit0: float32 = 0x3ff8000000000000");
    keeps("lit0: int64 = 7", "lit0: float32 = 0x7ff8000000000001");
    keeps("lit0: int64 = 7", "lit0: uint64 = 18446744073709551615");
    breaks("lit0: int64 = 7", "lit0: binary = \"\"", Law::Literals, &["lit0 = \"\" is no binary"]);
    breaks("lit0: int64 = 7", "lit0: utf8 = bytes \"ff\"", Law::Literals, &["lit0 = bytes \"ff\" is no utf8"]);
    breaks("lit0: int64 = 7", "lit0: time_ms = 2147483648", Law::Literals, &["lit0 = 2147483648 is no time_ms"]);
    breaks("lit0: int64 = 7", "lit0: decimal32(3,1) = 1000", Law::Literals, &["lit0 = 1000 is no decimal32(3,1)"]);
    keeps("lit0: int64 = 7", "lit0: duration_ns = 9223372036854775807");
    keeps("lit0: int64 = 7", "lit0: utf8 = \"\"");
}

#[test]
fn law_4_single_definition() {
    breaks(";BODY", "\nv0: int64 = literal lit0", Law::SingleDefinition, &["s1: v0: v0 is defined twice"]);
    let arms = "\nv10: int64 = if v3 { v11: int64 = neg v0 yield v11 } else { v11: int64 = neg v0 yield v11 }";
    breaks(";BODY", arms, Law::SingleDefinition, &["s1: v11: v11 is defined twice"]);
}

#[test]
fn law_5_definition_before_use() {
    let law = Law::DefinitionBeforeUse;
    breaks(";BODY", "\nv10: int64 = neg v11\nv11: int64 = neg v0", law, &["s1: v10: v11 is used before it is defined"]);
    breaks(";BODY", "\nv10: int64 = neg v10", law, &["s1: v10: v10 is used before it is defined"]);
    breaks(";BODY", "\nfilter v999", law, &["s1: statement 0: v999 is nowhere defined"]);
    let arm = "\nv10: int64 = if v3 { v11: int64 = neg v0 yield v11 } else { yield v0 }\nv12: int64 = neg v11";
    breaks(";BODY", arm, law, &["s1: v12: v11 is not visible here"]);
    let other = "\nv10: int64 = if v3 { v11: int64 = neg v0 yield v11 } else { yield v11 }";
    breaks(";BODY", other, law, &["s1: v10: v11 is not visible here"]);
    for kind in ["semi", "anti", "mark"] {
        let mark = if kind == "mark" { "mark v12: boolean" } else { "" };
        let residual = "residual { v13: boolean? = eq v11, v2 yield v13 }";
        let probe = format!("\nprobe join0 {kind} keys(v0) -> (v10: int64, v11: utf8?) {mark} {residual}");
        keeps(";BODY", &probe);
        breaks(";BODY", &format!("{probe}\nv20: int64 = neg v10"), law, &["s1: v20: v10 is not visible here"]);
    }
    let residual = "\nprobe join0 inner keys(v0) -> (_, _) residual { v13: boolean = eq v0, v0 yield v13 } filter v13";
    breaks(";BODY", residual, law, &["s1: statement 1: v13 is not visible here"]);
    breaks("emit (v0, v1)", "emit (v0, v9)", law, &["s2: sink: v9 is nowhere defined"]);
    keeps(
        ";BODY",
        "\nv10: int64 = if v3 { v11: int64 = neg v0 v12: int64 = if v3 { yield v11 } else { yield v0 } yield v12 } else { yield v0 }",
    );
}

#[test]
fn law_8_source_columns() {
    let groups = "source groups0 (v0: utf8?, v1: decimal(25,2)?, v2: int64, v3: decimal(15,2):i64)";
    let law = Law::SourceColumns;
    breaks(groups, &groups.replace(", v2: int64, v3: decimal(15,2):i64", ""), law, &["s2: source: 2 values for 4 columns"]);
    breaks(groups, &groups.replace("v2: int64", "v2: int32"), law, &["s2: source: v2 is int32, the column int64"]);
    breaks(groups, &groups.replace(":i64", ""), law, &["s2: source: v3 is decimal(15,2), the column decimal(15,2):i64"]);
    keeps(groups, &groups.replace("v2: int64", "v2: int64?"));
    let join = "source join0 unmatched (v0: int64, v1: utf8?)";
    breaks(join, "source join0 all (v0: int64, v1: utf8?)", law, &["s3: source: 2 values for 3 columns"]);
    keeps(join, "source join0 all (v0: int64, v1: utf8?, v9: boolean)");
    let input = GOOD.replacen("v3: boolean?", "v3: boolean", 1);
    assert_eq!(errors(&input)[0].to_string(), "s0: source: v3 is boolean, the column boolean? (law 8)");
}

#[test]
fn law_9_probe_keys() {
    let law = Law::ProbeKeys;
    breaks(";BODY", "\nprobe join0 semi keys() -> (_, _)", law, &["s1: statement 0: 0 keys for the 1 of join0"]);
    breaks(";BODY", "\nprobe join0 semi keys(v5) -> (_, _)", law, &["s1: statement 0: a key is date32, the table's int64"]);
    keeps(";BODY", "\nv10: int64? = literal lit2\nprobe join0 semi keys(v10) -> (_, _)");
    let text = GOOD.replace("join0 keys(int64)", "join0 keys(decimal(15,2))").replace("keys(v0) payload", "keys(v8) payload");
    let text = text.replace(";BUILD", "\nv8: decimal(15,2) = convert v1").replace("inner keys(v0)", "inner keys(v1)");
    let found = errors(&text);
    assert_eq!(found[0].to_string(), "s1: statement 0: a key is decimal(15,2):i64, the table's decimal(15,2) (law 9)");
}

#[test]
fn law_10_probe_columns() {
    let law = Law::ProbeColumns;
    breaks(";BODY", "\nprobe join0 semi keys(v0) -> (_)", law, &["s1: statement 0: 1 columns for the 2 of join0"]);
    let probe = |kind: &str, columns: &str| format!("\nprobe join0 {kind} keys(v0) -> ({columns})");
    let key = "s1: statement 0: v10 is int32, the table's field int64";
    breaks(";BODY", &probe("inner", "v10: int32, _"), law, &[key]);
    let payload = "s1: statement 0: v10 is utf8, the table's field utf8?";
    breaks(";BODY", &probe("inner", "_, v10: utf8"), law, &[payload]);
    let outer = "s1: statement 0: v10 is int64, the table's field int64";
    breaks(";BODY", &probe("outer", "v10: int64, _"), law, &[outer]);
    keeps(";BODY", &probe("outer", "v10: int64?, v11: utf8?"));
    breaks(";BODY", &probe("mark", "_, _"), law, &["s1: statement 0: a probe of kind mark has no mark"]);
    let marked = |kind: &str, ty: &str| format!("{} mark v10: {ty}", probe(kind, "_, _"));
    breaks(";BODY", &marked("semi", "boolean"), law, &["s1: statement 0: a probe of kind semi has a mark"]);
    breaks(";BODY", &marked("mark", "int64"), law, &["s1: statement 0: the mark v10 is int64"]);
    keeps(";BODY", &marked("mark", "boolean?"));
}

#[test]
fn law_11_conditions() {
    breaks(";BODY", "\nfilter v0", Law::Conditions, &["s1: statement 0: the filter's condition is int64"]);
    let probe = "\nprobe join0 semi keys(v0) -> (_, _) residual { yield v0 }";
    breaks(";BODY", probe, Law::Conditions, &["s1: statement 0: the residual condition is int64"]);
}

#[test]
fn law_12_build() {
    let build = "build join0 keys(v0) payload(v2)";
    let law = Law::Build;
    breaks(build, "build join0 keys(v0) payload()", law, &["s0: sink: 1 keys and 0 payload values for join0"]);
    breaks(build, "build join0 keys(v5) payload(v2)", law, &["s0: sink: a value is date32, the table's field int64"]);
    let nullable = "v9: int64? = literal lit2\nbuild join0 keys(v9) payload(v2)";
    breaks(build, nullable, law, &["s0: sink: a value is int64?, the table's field int64"]);
}

#[test]
fn law_13_group() {
    let group = "group groups0 keys(v100) args(v1, _, v1)";
    let law = Law::Group;
    let with = |keys: &str, args: &str| format!("group groups0 keys({keys}) args({args})");
    breaks(group, &with("v100", "v1, _"), law, &["s1: sink: 1 keys and 2 arguments for groups0"]);
    breaks(group, &with("v0", "v1, _, v1"), law, &["s1: sink: a value is int64, the table's field utf8?"]);
    breaks(group, &with("v2", "v1, v0, v1"), law, &["s1: sink: count_rows takes no argument"]);
    breaks(group, &with("v2", "_, _, v1"), law, &["s1: sink: sum needs an argument"]);
    breaks(group, &with("v2", "v0, _, v1"), law, &["s1: sink: sum as decimal(25,2)? does not take int64"]);
    breaks(group, &with("v2", "v1, _, v7"), law, &["s1: sink: min as decimal(15,2):i64 does not take decimal(20,2)"]);
    keeps(group, &with("v2", "v7, _, v1"));
    let nullable = format!("v110: decimal(15,2):i64? = convert v1\n{}", with("v2", "v1, _, v110"));
    breaks(group, &nullable, law, &["s1: sink: min as decimal(15,2):i64 does not take decimal(15,2):i64?"]);
    let no_keys = GOOD.replace("groups0 keys(utf8?)", "groups0 keys()").replace("keys(v100)", "keys()");
    let no_keys = no_keys.replace("groups0 (v0: utf8?, ", "groups0 (").replace("emit (v0, v1)", "v9: utf8? = literal lit1\nemit (v9, v1)");
    assert_eq!(errors(&no_keys)[0].to_string(), "s1: sink: min as decimal(15,2):i64 does not take decimal(15,2):i64 (law 13)");
}

#[test]
fn law_14_accumulators() {
    let count = errors(&changed("count_rows int64", "count_rows int64?"));
    assert_eq!(count[0].to_string(), "groups0: count_rows cannot be int64? (law 14)");
    let sum = |ty: &str| errors(&changed("sum decimal(25,2)?", &format!("sum {ty}")))[0].to_string();
    assert_eq!(sum("int32?"), "groups0: sum cannot be int32? (law 14)");
    assert_eq!(sum("decimal(25,2):i64?"), "groups0: sum cannot be decimal(25,2):i64? (law 14)");
    let bits = errors(&changed("min decimal(15,2):i64", "bit_or decimal(15,2):i64"));
    assert_eq!(bits[0].to_string(), "groups0: bit_or cannot be decimal(15,2):i64 (law 14)");
}

#[test]
fn law_15_emit() {
    let law = Law::Emit;
    breaks("emit (v0, v1)", "emit (v0)", law, &["s2: sink: 1 values for 2 output columns"]);
    breaks("emit (v0, v1)", "emit (v0, v3)", law, &["s2: sink: a value is decimal(15,2):i64, the output column decimal(25,2)?"]);
    let found = errors(&changed("output (utf8?, ", "output (utf8, "));
    assert_eq!(found[0].to_string(), "s2: sink: a value is utf8?, the output column utf8 (law 15)");
    let output = "output (utf8?, decimal(25,2)?)";
    let narrow = "the output column decimal(25,2):i64? is not in its default representation";
    breaks(output, "output (utf8?, decimal(25,2):i64?)", law, &[narrow]);
    keeps("emit (v0, v1)", "v9: decimal(25,2):i64 = convert v3\nemit (v0, v9)");
}

#[test]
fn law_16_order_of_stages() {
    let law = Law::StageOrder;
    let found =
        errors(&changed("build join0 keys(v0) payload(v2)", "probe join0 semi keys(v0) -> (_, _)\nbuild join0 keys(v0) payload(v2)"));
    assert_eq!(found.iter().map(|error| error.to_string()).collect::<Vec<_>>(), ["s0: statement 1: reads join0, which s0 writes (law 16)"]);
    let unwritten = errors(&changed("group groups0 keys(v100) args(v1, _, v1)", "mark join0 keys(v0) -> (_, _)"));
    assert_eq!(
        unwritten.iter().map(|error| error.to_string()).collect::<Vec<_>>(),
        ["s2: source: reads groups0, which no stage writes (law 16)"]
    );
    let probe = "limit limit0\nprobe join0 semi keys(v2) -> (_, _)";
    keeps("limit limit0", probe);
    let later = "emit (v1, v2)\n}\n s4 \"\" { source groups0 (v0: utf8?, v1: decimal(25,2)?, v2: int64, v3: decimal(15,2):i64)
        probe join0 semi keys(v2) -> (_, _) emit (v0, v1)";
    breaks("emit (v1, v2)", later, law, &["s3: source: the rows of join0 are read before s4 probes it"]);
}

#[test]
fn law_17_emitting_stages() {
    let law = Law::EmittingStages;
    let group = "build join0 keys(v0) payload(v1)";
    let found = errors(&changed("emit (v1, v2)", group));
    assert!(found.iter().any(|error| error.to_string() == "s3: sink: comes after a stage that emits, and does not emit (law 17)"));
    let none = parse("program { output () }").unwrap();
    let found = verify(&none).unwrap_err();
    assert_eq!((found.len(), found[0].law, found[0].to_string().as_str()), (1, law, "no stage emits (law 17)"));
}

#[test]
fn law_18_tracked_tables() {
    let law = Law::Tracked;
    breaks("payload(utf8?) tracked", "payload(utf8?)", law, &["join0 is not tracked, but a probe marks its rows"]);
    let unmarked = changed(" marks_build residual", " residual").replace(" tracked", "");
    assert_eq!(errors(&unmarked)[0].to_string(), "join0 is not tracked, but a stage reads its rows (law 18)");
    let unused = "limit0 skip";
    breaks(unused, "join1 keys() payload() tracked\nlimit0 skip", law, &["join1 is tracked, but no stage marks or reads its rows"]);
}

#[test]
fn law_19_marking_sinks() {
    // The text form has no word for it: such a sink only comes from a builder.
    let text = changed("group groups0 keys(v100) args(v1, _, v1)", "mark join0 keys(v0) -> (_, _)");
    let mut program = parse(&text).unwrap();
    let Sink::Mark { probe } = &mut program.stages[Stage::from_u32(1)].sink else { panic!("the sink marks") };
    probe.kind = ProbeKind::Anti;
    let found = verify(&program).unwrap_err();
    assert_eq!(found[0].to_string(), "s1: sink: a marking sink is a semi join that marks (law 19)");
}

#[test]
fn law_24_sorts() {
    const SORTED: &str = r#"program {
  input0 "t" (int64?, decimal(15,2):i64, utf8)
  sort0 keys(int64? desc) payload(utf8, decimal(15,2):i64) skip 0 fetch 3
  output (utf8)
  s0 "scan" {
    source input0 (v0: int64?, v1: decimal(15,2):i64, v2: utf8)
    sort sort0 keys(v0) payload(v2, v1)
  }
  s1 "rows" {
    source sort0 (v0: int64?, v1: utf8, v2: decimal(15,2):i64)
    emit (v1)
  }
}
"#;
    assert_eq!(errors(SORTED), []);
    let with = |from: &str, to: &str| {
        assert_eq!(SORTED.matches(from).count(), 1, "`{from}` names one place");
        errors(&SORTED.replace(from, to)).iter().map(|error| error.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(with("keys(int64? desc)", "keys()")[0], "sort0 has no key (law 24)");
    assert_eq!(with("keys(int64? desc)", "keys(int64 desc)"), ["s0: sink: a value is int64?, the table's field int64 (law 24)"]);
    assert_eq!(with("payload(v2, v1)", "payload(v2)"), ["s0: sink: 1 keys and 1 payload values for sort0 (law 24)"]);
    assert_eq!(with("payload(v2, v1)", "payload(v2, v0)"), ["s0: sink: a value is int64?, the table's field decimal(15,2):i64 (law 24)"]);
    assert_eq!(
        with("source sort0 (v0: int64?, v1: utf8, v2: decimal(15,2):i64)", "source sort0 (v1: utf8)")[0],
        "s1: source: 1 values for 3 columns (law 8)"
    );
    let twice = "emit (v1)\n}\ns2 \"again\" { source sort0 (v0: int64?, v1: utf8, v2: decimal(15,2):i64) emit (v1)";
    assert_eq!(with("emit (v1)", twice), ["2 stages read sort0 (law 24)"]);
    assert_eq!(with("sort sort0 keys(v0) payload(v2, v1)", "emit (v2)"), ["s1: source: reads sort0, which no stage writes (law 16)"]);
    assert!(with("sort sort0 keys", "sort sort1 keys").contains(&"s0: sink: sort1 is not declared (law 1)".to_string()));
}

#[test]
fn law_25_calls() {
    let law = Law::Calls;
    let table = "groups0 keys(utf8?) accs(sum decimal(25,2)?, count_rows int64, min decimal(15,2):i64)";
    let text = GOOD
        .replace(table, &format!("aggregate0 \"f\"\n{table} operands(utf8?, boolean) calls(aggregate0(0) filter 1 -> int64?)"))
        .replace("args(v1, _, v1)", "args(v1, _, v1) operands(v100, v200)")
        .replace(";BODY", "v200: boolean = lt v0, v0")
        .replace("v2: int64, v3: decimal(15,2):i64)\n    limit", "v2: int64, v3: decimal(15,2):i64, v4: int64?)\n    limit");
    assert_eq!(errors(&text), []);
    let breaks = |from: &str, to: &str, law: Law, message: &str| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` names one place");
        let found: Vec<_> = errors(&text.replace(from, to)).iter().map(|error| error.to_string()).collect();
        assert_eq!(found, [format!("{message} (law {})", law.number())]);
    };
    breaks("calls(aggregate0(0)", "calls(aggregate1(0)", Law::Declared, "aggregate1 is not declared");
    breaks(
        "aggregate0(0) filter",
        "aggregate0(2) filter",
        law,
        "groups0: aggregate0(2) filter 1 -> int64? takes what is no operand, or nothing",
    );
    breaks(
        "aggregate0(0) filter",
        "aggregate0() filter",
        law,
        "groups0: aggregate0() filter 1 -> int64? takes what is no operand, or nothing",
    );
    breaks("filter 1", "filter 0", law, "groups0: aggregate0(0) filter 0 -> int64? filters by what is no boolean");
    breaks("operands(v100, v200)", "operands(v100)", law, "s1: sink: 1 operands for the 2 of groups0");
    breaks("operands(utf8?,", "operands(utf8,", law, "s1: sink: an operand is utf8?, groups0 declares utf8");
    breaks("operands(v100, v200)", "operands(v0, v200)", law, "s1: sink: an operand is int64, groups0 declares utf8?");
    let narrow =
        text.replace("operands(utf8?, boolean)", "operands(utf8?, boolean, decimal(15,2):i64)").replace("v100, v200)", "v100, v200, v1)");
    let found: Vec<_> = errors(&narrow).iter().map(|error| error.to_string()).collect();
    assert_eq!(found, ["groups0: decimal(15,2):i64 is not in its default representation (law 25)"]);
    breaks(", v4: int64?)", ")", Law::SourceColumns, "s2: source: 4 values for 5 columns");
}

#[test]
fn law_26_expansions() {
    let law = Law::Expansions;
    let lits = "lit5: uint8 = 0\n  lit6: uint8 = 7\n  lit7: int64? = null\n  opaque0";
    let text = changed("opaque0 \"f\"", &format!("{lits} \"f\"")).replace(";BODY", "expand v300: uint8 [lit5, lit6]");
    assert_eq!(errors(&text), []);
    let breaks = |from: &str, to: &str, messages: &[&str]| {
        let found: Vec<_> = errors(&text.replace(from, to)).iter().map(|error| error.to_string()).collect();
        let wanted: Vec<_> = messages.iter().map(|message| format!("s1: statement 0: {message} (law {})", law.number())).collect();
        assert_eq!(found, wanted);
    };
    let types = "v300 is uint8, which its literals are not";
    let order = "the numbers of the literals do not follow one another";
    breaks("[lit5, lit6]", "[]", &[types]);
    breaks("[lit5, lit6]", "[lit6, lit5]", &[order]);
    breaks("[lit5, lit6]", "[lit6, lit7]", &[types]);
    breaks("[lit5, lit6]", "[lit6, lit99]", &[types, order]);
    breaks("v300: uint8", "v300: int64", &["v300 is int64, which its literals are not"]);
    breaks("v300: uint8 [lit5, lit6]", "v300: utf8 [lit1]", &["v300 is utf8, which its literals are not"]);
}

#[test]
fn law_27_groups_that_are_always_there() {
    let law = Law::GroupsAlways;
    let table = "min decimal(15,2):i64)";
    let with = |always: &str| changed(table, &format!("{table} always({always})"));
    let message = "groups0 cannot always have such a group";
    let fails = |text: &str| assert_eq!(errors(text)[0].to_string(), format!("{message} (law {})", law.number()));
    fails(&with("(lit1)"));
    fails(&with("(lit2)"));
    fails(&with("()"));
    fails(&with("(lit99)"));
    let null = with("(lit5)").replace("opaque0 \"f\"", "lit5: utf8? = null\n  opaque0 \"f\"");
    assert_eq!(errors(&null), []);
    fails(&null.replace("(lit5)", "(lit5, lit5)"));
}

/// A program with a host type, a stage that hands its rows over, and a computed column; breaks no law.
const HANDS: &str = r#"program {
  host0 "List(Int64)"
  input0 "t" (host0?, int64) computed(host0? = opaque0(0, 1))
  input1 "t" (host0?, int64) computed(boolean = opaque1(0)) handed
  opaque0 "f" (host0?, int64) -> host0?
  opaque1 "g" (host0?) -> boolean
  join0 keys(int64) payload(host0?)
  groups0 keys(int64) accs(count int64)
  output (host0?)

  s0 "build" {
    source input0 (v0: host0?, v1: int64, v2: host0?)
    build join0 keys(v1) payload(v0)
  }

  s1 "t" {
    source groups0 (v0: int64, v1: int64)
    probe join0 inner keys(v1) -> (_, v2: host0?)
    ;BODY
    hand input1 (v2, v0)
  }

  s2 "t" {
    source input1 (v0: host0?, v1: int64, v2: boolean)
    filter v2
    emit (v0)
  }
}
"#;

/// The program that hands over with `from` replaced, its groups filled by a stage of their own.
fn handed(from: &str, to: &str) -> Vec<String> {
    let text = HANDS
        .replace("  s0 ", "  input2 \"g\" (int64)\n  s0 \"fill\" {\n source input2 (v0: int64)\n group groups0 keys(v0) args(v0)\n}\n s1 ");
    let text = text.replace("s2 \"t\"", "s3 \"t\"").replace("s1 \"t\"", "s2 \"t\"");
    assert!(from.is_empty() || text.matches(from).count() == 1, "`{from}` names one place");
    let text = if from.is_empty() { text } else { text.replace(from, to) };
    errors(&text).iter().map(VerifierError::to_string).collect()
}

#[test]
fn law_20_words() {
    let (column, law) = ("decimal(20,2))\n  lit0", Law::StoredColumns);
    keeps("input0 \"t\" (int64, decimal(15,2):i64,", "input0 \"t\" (int64, decimal(15,2):i64 word,");
    breaks(column, "decimal(20,2) word)\n  lit0", law, &["input0: a column of decimal(20,2) cannot lie as word"]);
    breaks(
        "(int64, decimal(15,2):i64, utf8?, boolean?, float64, date32, uint32, decimal(20,2))\n  lit0",
        "(int64 word, decimal(15,2):i64, utf8?, boolean?, float64, date32, uint32, decimal(20,2))\n  lit0",
        law,
        &["input0: a column of int64 cannot lie as word"],
    );
}

#[test]
fn law_21_computed_columns() {
    assert_eq!(handed("", ""), [""; 0]);
    let breaks = |from: &str, to: &str, message: &str| assert_eq!(handed(from, to), [format!("{message} (law 21)")], "{from} -> {to}");
    breaks("opaque1(0)", "opaque1(1)", "input1: the operands of column 2 are not those of opaque1");
    breaks("opaque1(0)", "opaque1(2)", "input1: the operands of column 2 are not those of opaque1");
    breaks("opaque1(0)", "opaque1()", "input1: the operands of column 2 are not those of opaque1");
    breaks("(host0?) -> boolean", "(host0) -> boolean", "input1: the operands of column 2 are not those of opaque1");
    breaks("(host0?) -> boolean", "(host0?) -> boolean?", "input1: column 2 is boolean, opaque1 yields boolean?");
    assert!(handed("opaque1(0)", "opaque7(0)").iter().any(|error| error.contains("opaque7 is not declared (law 1)")));
}

#[test]
fn law_22_handing_over() {
    let breaks = |from: &str, to: &str, message: &str| assert_eq!(handed(from, to), [format!("{message} (law 22)")], "{from} -> {to}");
    let one = "input1 does not have one stage that hands it over and one, later, that reads it";
    breaks("hand input1 (v2, v0)", "hand input1 (v2)", "s2: sink: 1 values for 2 columns of input1");
    breaks("hand input1 (v2, v0)", "hand input1 (v0, v0)", "s2: sink: a value is int64, the column of input1 host0?");
    breaks("boolean = opaque1(0)) handed", "boolean = opaque1(0)) pinned handed", "input1 is handed over, but lies as only the host's do");
    breaks("opaque1(0)) handed", "opaque1(0))", "input1 is the host's, but a stage hands rows to it");
    breaks("opaque0(0, 1))", "opaque0(0, 1)) handed", "input0 does not have one stage that hands it over and one, later, that reads it");
    assert_eq!(handed("emit (v0)", "hand input1 (v0, v1)")[0], format!("{one} (law 22)"));
}

#[test]
fn law_23_host_types() {
    let found = |from: &str, to: &str| handed(from, to);
    assert!(found("join0 keys(int64) payload", "join0 keys(host0?) payload").contains(&"a key is host0? (law 23)".to_string()));
    assert!(found("groups0 keys(int64)", "groups0 keys(host0)").contains(&"a key is host0 (law 23)".to_string()));
    assert!(found("accs(count int64)", "accs(min host0?)").iter().any(|error| error.contains("min cannot be host0?")));
    let law_6 = |op: &str| found(";BODY", op).iter().any(|error| error.ends_with("(law 6)"));
    assert!(law_6("\nv10: boolean? = eq v2, v2"));
    assert!(law_6("\nv10: boolean? = in v2 []"));
    assert_eq!(found(";BODY", "\nv10: boolean = is_null v2"), [""; 0]);
    assert!(found("opaque1 \"g\" (host0?)", "opaque1 \"g\" (host7?)").contains(&"host7 is not declared (law 2)".to_string()));
}
