//! What becomes of operations and columns whose values fit fewer bits.

use super::super::{eliminate_dead, narrow};
use super::becomes;
use crate::parser::parse;

/// Checks what narrowing makes of a stage's operations. The stage has columns v0: decimal(15,2), v1: decimal(15,2), v2: int64,
/// v3: decimal(38,2), v4: boolean, v5: int32, v6: decimal(30,2)?, v7: float64.
#[track_caller]
fn narrows(from: &str, to: &str) {
    let columns = |narrow: &str| {
        format!("decimal(15,2){narrow}, decimal(15,2){narrow}, int64, decimal(38,2), boolean, int32, decimal(30,2)?, float64")
    };
    let params = |narrow: &str| {
        let columns = columns(narrow);
        let types: Vec<_> = columns.split(", ").enumerate().map(|(i, ty)| format!("v{i}: {ty}")).collect();
        types.join(", ")
    };
    let literals = "lit0: decimal(20,0) = 1
        lit1: decimal(3,2) = 100
        lit2: decimal(30,0) = 100000000000000000000
        lit3: int64 = 5
        lit4: int64? = null
        lit5: decimal(3,2) = 25";
    let program = |narrow: &str, literals: &str, body: &str| {
        let (columns, params) = (columns(narrow), params(narrow));
        format!("input0 \"t\" ({columns})\n{literals}\noutput ()\ns0 \"t\" {{\nsource input0 ({params})\n{body}\nemit ()\n}}")
    };
    let (added, to) = to.split_once("---").unwrap_or(("", to));
    becomes(narrow, &program("", literals, from), &program(":i64", &format!("{literals}\n{added}"), to));
}

/// `sum(extendedprice * (1 - discount) * (1 + tax))` as it is lowered: the literal has 20 digits and no scale.
#[test]
fn q1() {
    becomes(
        narrow,
        "input0 \"lineitem\" (decimal(15,2), decimal(15,2), decimal(15,2), utf8)
        lit0: decimal(20,0) = 1
        lit1: decimal(3,2) = 100
        groups0 keys(utf8) accs(sum decimal(38,4)?, sum decimal(38,6)?, sum decimal(25,2)?)
        output (utf8, decimal(38,4)?, decimal(38,6)?, decimal(25,2)?)
        s0 \"scan\" {
            source input0 (v0: decimal(15,2), v1: decimal(15,2), v2: decimal(15,2), v3: utf8)
            v4: decimal(20,0) = literal lit0
            v5: decimal(3,2) = literal lit1
            v6: decimal(23,2) = mul_checked v4, v5
            v7: decimal(23,2) = sub_checked v6, v1
            v8: decimal(38,4) = mul_checked v0, v7
            v9: decimal(23,2) = add_checked v6, v2
            v10: decimal(38,6) = mul_checked v8, v9
            group groups0 keys(v3) args(v8, v10, v0)
        }
        s1 \"groups\" {
            source groups0 (v0: utf8, v1: decimal(38,4)?, v2: decimal(38,6)?, v3: decimal(25,2)?)
            emit (v0, v1, v2, v3)
        }",
        "input0 \"lineitem\" (decimal(15,2):i64, decimal(15,2):i64, decimal(15,2):i64, utf8)
        lit0: decimal(20,0) = 1
        lit1: decimal(3,2) = 100
        lit2: decimal(23,2) = 100
        groups0 keys(utf8) accs(sum decimal(38,4)?, sum decimal(38,6)?, sum decimal(25,2)?)
        output (utf8, decimal(38,4)?, decimal(38,6)?, decimal(25,2)?)
        s0 \"scan\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(15,2):i64, v2: decimal(15,2):i64, v3: utf8)
            v4: decimal(20,0):i64 = literal lit0
            v5: decimal(3,2):i64 = literal lit1
            v6: decimal(23,2):i64 = literal lit2
            v7: decimal(23,2):i64 = sub v6, v1
            v8: decimal(38,4) = mul v0, v7
            v9: decimal(23,2):i64 = add v6, v2
            v10: decimal(38,6) = mul_checked v8, v9
            group groups0 keys(v3) args(v8, v10, v0)
        }
        s1 \"groups\" {
            source groups0 (v0: utf8, v1: decimal(38,4)?, v2: decimal(38,6)?, v3: decimal(25,2)?)
            emit (v0, v1, v2, v3)
        }",
    );
}

#[test]
fn arithmetic() {
    narrows("v10: decimal(16,2) = add_checked v0, v1", "v10: decimal(16,2):i64 = add v0, v1");
    narrows("v10: decimal(16,2) = neg_checked v0", "v10: decimal(16,2):i64 = neg v0");
    narrows("v10: decimal(30,4) = mul_checked v0, v1", "v10: decimal(30,4) = mul v0, v1");
    narrows("v10: decimal(31,2)? = sub_checked v0, v6", "v10: decimal(31,2)? = sub v0, v6");
}

#[test]
fn arithmetic_that_may_overflow() {
    // 2 * 10^38 is beyond 128 bits, as is 10^38 * 10^15.
    narrows("v10: decimal(38,2) = add_checked v3, v3", "v10: decimal(38,2) = add_checked v3, v3");
    narrows("v10: decimal(38,4) = mul_checked v3, v0", "v10: decimal(38,4) = mul_checked v3, v0");
    narrows("v10: decimal(38,2) = neg_checked v3", "v10: decimal(38,2) = neg v3");
    // What a checked operation let through may have more digits than its type: negating it may overflow.
    let sum = "v10: decimal(38,2) = add_checked v3, v3\n";
    narrows(&format!("{sum}v11: decimal(38,2) = neg_checked v10"), &format!("{sum}v11: decimal(38,2) = neg_checked v10"));
}

#[test]
fn integers_lose_their_checks_where_they_fit() {
    narrows(
        "v10: int64 = convert v5
        v11: int64 = add_checked v10, v10
        v12: int64 = add_checked v11, v2
        v13: int64 = mul_checked v10, v10
        v14: int64 = neg_checked v2",
        "v10: int64 = convert v5
        v11: int64 = add v10, v10
        v12: int64 = add_checked v11, v2
        v13: int64 = mul v10, v10
        v14: int64 = neg_checked v2",
    );
}

#[test]
fn what_wraps_can_be_anything() {
    narrows(
        "v10: int64 = add v2, v2
        v11: int64 = add_checked v10, v10",
        "v10: int64 = add v2, v2
        v11: int64 = add_checked v10, v10",
    );
}

#[test]
fn literals_and_what_comes_of_them() {
    narrows(
        "v10: decimal(30,0) = literal lit2
        v11: decimal(3,2) = literal lit5
        v12: decimal(33,2) = mul_checked v10, v11
        v13: decimal(3,2) = neg_checked v11
        v14: decimal(20,0) = literal lit0
        v15: decimal(23,2) = mul_checked v14, v13
        v16: decimal(24,2) = add_checked v0, v15",
        "lit6: decimal(33,2) = 2500000000000000000000
        lit7: decimal(3,2) = -25
        lit8: decimal(23,2) = -25
        ---
        v10: decimal(30,0) = literal lit2
        v11: decimal(3,2):i64 = literal lit5
        v12: decimal(33,2) = literal lit6
        v13: decimal(3,2):i64 = literal lit7
        v14: decimal(20,0):i64 = literal lit0
        v15: decimal(23,2):i64 = literal lit8
        v16: decimal(24,2):i64 = add v0, v15",
    );
    // A null stays one.
    narrows("v10: int64? = literal lit4\nv11: int64? = neg v10", "v10: int64? = literal lit4\nv11: int64? = neg v10");
}

#[test]
fn conversions_and_casts() {
    narrows(
        "v10: decimal(20,0) = convert v2
        v11: decimal(10,0) = convert v5
        v12: decimal(22,2) = convert v2
        v13: decimal(20,2) = cast v0
        v14: decimal(14,2) = cast v0
        v15: decimal(12,0) = cast v0
        v16: decimal(38,6) = cast v0
        v17: decimal(20,0) = cast v2
        v18: decimal(10,0) = cast v2
        v19: decimal(10,2) = cast v7
        v20: decimal(30,2) = cast v7
        v21: int64 = cast v0
        v22: decimal(20,2)? = try_cast v0
        v23: decimal(14,2)? = try_cast v0",
        "v10: decimal(20,0):i64 = convert v2
        v11: decimal(10,0):i64 = convert v5
        v12: decimal(22,2) = convert v2
        v13: decimal(20,2):i64 = convert v0
        v14: decimal(14,2):i64 = cast v0
        v15: decimal(12,0):i64 = cast v0
        v16: decimal(38,6) = cast v0
        v17: decimal(20,0):i64 = convert v2
        v18: decimal(10,0):i64 = cast v2
        v19: decimal(10,2):i64 = cast v7
        v20: decimal(30,2) = cast v7
        v21: int64 = cast v0
        v22: decimal(20,2):i64? = convert v0
        v23: decimal(14,2):i64? = try_cast v0",
    );
}

#[test]
fn quotients_and_remainders() {
    narrows(
        "v10: decimal(21,0) = div v0, v1
        v11: decimal(38,0) = div v3, v1
        v12: decimal(15,2) = rem v3, v0
        v13: decimal(15,2) = rem v0, v3
        v14: decimal(38,2)? = rem v3, v6",
        "v10: decimal(21,0):i64 = div v0, v1
        v11: decimal(38,0) = div v3, v1
        v12: decimal(15,2):i64 = rem v3, v0
        v13: decimal(15,2):i64 = rem v0, v3
        v14: decimal(38,2)? = rem v3, v6",
    );
}

#[test]
fn both_regions_yield_the_result_s_representation() {
    narrows(
        "v10: decimal(38,2) = if v4 {
            yield v3
        } else {
            v11: decimal(38,2) = convert v0
            yield v11
        }
        v12: decimal(15,2) = if v4 {
            v13: decimal(15,2) = rem v3, v0
            yield v13
        } else {
            v14: decimal(15,2) = add_checked v0, v1
            yield v14
        }",
        "v10: decimal(38,2) = if v4 {
            yield v3
        } else {
            v11: decimal(38,2):i64 = convert v0
            v15: decimal(38,2) = convert v11
            yield v15
        }
        v12: decimal(15,2):i64 = if v4 {
            v13: decimal(15,2):i64 = rem v3, v0
            yield v13
        } else {
            v14: decimal(15,2):i64 = add v0, v1
            yield v14
        }",
    );
}

/// Columns of 15 digits on both sides, and a payload that needs 128 bits.
#[test]
fn join_keys_that_fit_everywhere() {
    becomes(
        narrow,
        "input0 \"a\" (decimal(15,2), decimal(30,2))
        join0 keys(decimal(15,2)) payload(decimal(30,2), decimal(15,2))
        output (decimal(30,2), decimal(15,2))
        s0 \"build\" {
            source input0 (v0: decimal(15,2), v1: decimal(30,2))
            build join0 keys(v0) payload(v1, v0)
        }
        s1 \"probe\" {
            source input0 (v0: decimal(15,2), v1: decimal(30,2))
            probe join0 inner keys(v0) -> (_, v2: decimal(30,2), v3: decimal(15,2))
            emit (v2, v3)
        }",
        "input0 \"a\" (decimal(15,2):i64, decimal(30,2))
        join0 keys(decimal(15,2):i64) payload(decimal(30,2), decimal(15,2):i64)
        output (decimal(30,2), decimal(15,2))
        s0 \"build\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(30,2))
            build join0 keys(v0) payload(v1, v0)
        }
        s1 \"probe\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(30,2))
            probe join0 inner keys(v0) -> (_, v2: decimal(30,2), v3: decimal(15,2):i64)
            emit (v2, v3)
        }",
    );
}

/// One probe has wide keys: the table keeps 128 bits, the others convert.
#[test]
fn join_keys_that_do_not_fit_everywhere() {
    becomes(
        narrow,
        "input0 \"a\" (decimal(15,2), decimal(30,2))
        join0 keys(decimal(30,2)) payload()
        output (decimal(30,2)?)
        s0 \"build\" {
            source input0 (v0: decimal(15,2), v1: decimal(30,2))
            v2: decimal(30,2) = convert v0
            build join0 keys(v2) payload()
        }
        s1 \"probe\" {
            source input0 (v0: decimal(15,2), v1: decimal(30,2))
            v2: decimal(30,2) = convert v0
            probe join0 outer keys(v1) -> (v3: decimal(30,2)?)
            probe join0 outer keys(v2) -> (_)
            emit (v3)
        }",
        "input0 \"a\" (decimal(15,2):i64, decimal(30,2))
        join0 keys(decimal(30,2)) payload()
        output (decimal(30,2)?)
        s0 \"build\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(30,2))
            v2: decimal(30,2):i64 = convert v0
            v3: decimal(30,2) = convert v2
            build join0 keys(v3) payload()
        }
        s1 \"probe\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(30,2))
            v2: decimal(30,2):i64 = convert v0
            probe join0 outer keys(v1) -> (v3: decimal(30,2)?)
            v4: decimal(30,2) = convert v2
            probe join0 outer keys(v4) -> (_)
            emit (v3)
        }",
    );
}

/// Two stages fill one group table. A sum keeps 128 bits and its range is known; `min` is as wide as its widest argument.
#[test]
fn groups_of_two_stages() {
    becomes(
        narrow,
        "input0 \"a\" (decimal(15,2), decimal(30,2))
        groups0 keys(decimal(30,2)) accs(sum decimal(25,2)?, min decimal(30,2)?, max decimal(15,2)?, count int64)
        output (decimal(26,2)?, decimal(15,2)?, decimal(20,0))
        s0 \"first\" {
            source input0 (v0: decimal(15,2), v1: decimal(30,2))
            v2: decimal(30,2) = convert v0
            group groups0 keys(v2) args(v0, v2, v0, v0)
        }
        s1 \"second\" {
            source input0 (v0: decimal(15,2), v1: decimal(30,2))
            group groups0 keys(v1) args(v0, v1, v0, v0)
        }
        s2 \"groups\" {
            source groups0 (v0: decimal(30,2), v1: decimal(25,2)?, v2: decimal(30,2)?, v3: decimal(15,2)?, v4: int64)
            v5: decimal(26,2)? = add_checked v1, v1
            v6: decimal(20,0) = cast v4
            emit (v5, v3, v6)
        }",
        "input0 \"a\" (decimal(15,2):i64, decimal(30,2))
        groups0 keys(decimal(30,2)) accs(sum decimal(25,2)?, min decimal(30,2)?, max decimal(15,2):i64?, count int64)
        output (decimal(26,2)?, decimal(15,2)?, decimal(20,0))
        s0 \"first\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(30,2))
            v2: decimal(30,2):i64 = convert v0
            v3: decimal(30,2) = convert v2
            v4: decimal(30,2) = convert v2
            group groups0 keys(v3) args(v0, v4, v0, v0)
        }
        s1 \"second\" {
            source input0 (v0: decimal(15,2):i64, v1: decimal(30,2))
            group groups0 keys(v1) args(v0, v1, v0, v0)
        }
        s2 \"groups\" {
            source groups0 (v0: decimal(30,2), v1: decimal(25,2)?, v2: decimal(30,2)?, v3: decimal(15,2):i64?, v4: int64)
            v5: decimal(26,2)? = add v1, v1
            v6: decimal(20,0):i64 = convert v4
            emit (v5, v3, v6)
        }",
    );
}

#[test]
fn opaque_expressions_and_marking_sinks() {
    becomes(
        narrow,
        "input0 \"a\" (decimal(15,2))
        opaque0 \"f\" (decimal(15,2)) -> decimal(15,2)
        join0 keys(decimal(15,2)) payload() tracked
        output (decimal(15,2), boolean)
        s0 \"build\" {
            source input0 (v0: decimal(15,2))
            v1: decimal(15,2) = opaque0(v0)
            build join0 keys(v1) payload()
        }
        s1 \"mark\" {
            source input0 (v0: decimal(15,2))
            mark join0 keys(v0) -> (v1: decimal(15,2)) residual {
                v2: boolean = lt v1, v0
                yield v2
            }
        }
        s2 \"rest\" {
            source join0 all (v0: decimal(15,2), v1: boolean)
            emit (v0, v1)
        }",
        "input0 \"a\" (decimal(15,2):i64)
        opaque0 \"f\" (decimal(15,2)) -> decimal(15,2)
        join0 keys(decimal(15,2)) payload() tracked
        output (decimal(15,2), boolean)
        s0 \"build\" {
            source input0 (v0: decimal(15,2):i64)
            v2: decimal(15,2) = convert v0
            v1: decimal(15,2) = opaque0(v2)
            build join0 keys(v1) payload()
        }
        s1 \"mark\" {
            source input0 (v0: decimal(15,2):i64)
            v3: decimal(15,2) = convert v0
            mark join0 keys(v3) -> (v1: decimal(15,2)) residual {
                v2: boolean = lt v1, v0
                yield v2
            }
        }
        s2 \"rest\" {
            source join0 all (v0: decimal(15,2), v1: boolean)
            emit (v0, v1)
        }",
    );
}

#[test]
fn a_program_that_breaks_a_law_is_left_alone() {
    let text = "program { input0 \"a\" (decimal(15,2)) output (int64) s0 \"\" { source input0 (v0: decimal(15,2)) emit (v9) } }";
    for pass in [narrow, eliminate_dead] {
        let mut program = parse(text).unwrap();
        pass(&mut program);
        assert_eq!(program, parse(text).unwrap());
    }
}

/// A part of a date is asked for without a guard where all dates lie within the calendar.
#[test]
fn parts_of_dates_within_the_calendar() {
    let stage = |stored: &str, body: &str| {
        format!(
            "input0 \"t\" (date32?{stored})
            lit0: date32 = -96465292
            lit1: int32? = null
            output (int32?)
            s0 \"t\" {{
            source input0 (v0: date32?)
            {body}
            emit (v5)
            }}"
        )
    };
    let guarded = "v1: date32 = literal lit0
        v2: boolean? = ge v0, v1
        v5: int32? = if v2 {
        v3: int32? = year v0
        yield v3
        } else {
        v4: int32? = literal lit1
        yield v4
        }";
    becomes(narrow, &stage("", guarded), &stage("", guarded));
    let plain = "v1: date32 = literal lit0
        v2: boolean? = ge v0, v1
        v5: int32? = year v0";
    becomes(narrow, &stage(" offset(-3000, 70000)", guarded), &stage(" offset(-3000, 70000)", plain));
}
