//! What the host computes ahead of a stage.

use super::super::lift_opaque;
use super::becomes;

/// Declarations of the programs that opaque expressions are lifted out of.
const OPAQUES: &str = "opaque0 \"f\" (int64) -> boolean?
    opaque1 \"g\" (int64) -> int64
    opaque2 \"h\" (int64, int64) -> utf8
    output (utf8, int64)";

#[track_caller]
fn lifts(input: &str, from: &str, inputs: &str, to: &str) {
    let program = |inputs: &str, stages: &str| format!("{inputs}\nlit0: int64 = 5\n{OPAQUES}\n{stages}");
    becomes(lift_opaque, &program(input, from), &program(inputs, to));
}

/// Every row of the scan reaches the expressions, whose operands are columns, or computed columns.
#[test]
fn opaque_expressions_of_columns_are_computed_ahead() {
    lifts(
        "input0 \"t\" (int64, int64) pinned",
        "s0 \"scan\" {
            source input0 partitioned (v0: int64, v1: int64)
            v2: int64 = add v0, v1
            v3: int64 = opaque1(v1)
            v4: utf8 = opaque2(v3, v0)
            v5: boolean? = opaque0(v3)
            filter v5
            emit (v4, v2)
        }",
        "input0 \"t\" (int64, int64) computed(int64 = opaque1(1), utf8 = opaque2(2, 0), boolean? = opaque0(2)) pinned",
        "s0 \"scan\" {
            source input0 partitioned (v0: int64, v1: int64, v3: int64, v4: utf8, v5: boolean?)
            v2: int64 = add v0, v1
            filter v5
            emit (v4, v2)
        }",
    );
}

/// What a filter leaves is handed over; a literal is said again, unless it is an operand; one cut does for both expressions.
#[test]
fn stages_are_cut_where_fewer_rows_reach_an_opaque_expression() {
    lifts(
        "input0 \"t\" (int64, int64)",
        "s0 \"scan\" {
            source input0 partitioned (v0: int64, v1: int64)
            v2: int64 = literal lit0
            v3: boolean = lt v0, v2
            filter v3
            v4: int64 = opaque1(v2)
            v5: int64 = add v0, v1
            v6: int64 = add v1, v2
            v7: utf8 = opaque2(v5, v4)
            v8: int64 = opaque1(v5)
            v9: int64 = add v8, v6
            emit (v7, v9)
        }",
        "input0 \"t\" (int64, int64)
        input1 \"scan\" (int64, int64, int64) computed(int64 = opaque1(0), int64 = opaque1(1), utf8 = opaque2(1, 3)) handed",
        "s0 \"scan\" {
            source input0 partitioned (v0: int64, v1: int64)
            v2: int64 = literal lit0
            v3: boolean = lt v0, v2
            filter v3
            v5: int64 = add v0, v1
            hand input1 (v2, v5, v1)
        }
        s1 \"scan\" {
            source input1 (v2: int64, v5: int64, v1: int64, v4: int64, v8: int64, v7: utf8)
            v6: int64 = add v1, v2
            v9: int64 = add v8, v6
            emit (v7, v9)
        }",
    );
}

/// A branch, and what several stages read, stay as they are; groups have no input to compute columns of.
#[test]
fn opaque_expressions_in_regions_stay() {
    let region = "s0 \"scan\" {
            source input0 (v0: int64, v1: boolean, v2: utf8)
            v3: int64 = if v1 {
              v4: int64 = opaque1(v0)
              yield v4
            } else {
              yield v0
            }
            emit (v2, v3)
        }";
    let input = "input0 \"t\" (int64, boolean, utf8)";
    lifts(input, region, input, region);
    let shared = "input0 \"t\" (int64, boolean, utf8)
        input1 \"scan\" (int64, utf8) computed(int64 = opaque1(0)) handed";
    let other = "{
            source input0 (v0: int64, v1: boolean, v2: utf8)
            emit (v2, v0)
        }";
    lifts(
        input,
        &format!(
            "s0 \"scan\" {{
            source input0 (v0: int64, v1: boolean, v2: utf8)
            v3: int64 = opaque1(v0)
            emit (v2, v3)
        }}
        s1 \"other\" {other}"
        ),
        shared,
        &format!(
            "s0 \"scan\" {{
            source input0 (v0: int64, v1: boolean, v2: utf8)
            hand input1 (v0, v2)
        }}
        s1 \"scan\" {{
            source input1 (v0: int64, v2: utf8, v3: int64)
            emit (v2, v3)
        }}
        s2 \"other\" {other}"
        ),
    );
}
