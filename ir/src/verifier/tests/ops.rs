//! The laws of operations.

use super::*;

/// Definitions that lead up to an operation: a value of most types.
const VALUES: &str = "
    v20: int32? = convert v5
    v21: decimal(20,3) = cast v0
    v22: decimal(15,2) = convert v1
    v23: float32 = convert v0
    v24: boolean = is_null v3
    v25: int32 = convert v5
    v26: uint64 = convert v6
    v27: int64? = literal lit2";

#[track_caller]
fn accepts(op: &str) {
    keeps(";BODY", &format!("{VALUES}\n{op}"));
}

#[track_caller]
fn rejects(law: Law, op: &str) {
    let found = errors(&changed(";BODY", &format!("{VALUES}\n{op}")));
    assert_eq!(found.iter().map(|error| error.law).collect::<Vec<_>>(), [law], "{op}: {found:?}");
}

#[test]
fn law_6_unary_operations() {
    let bad = |op: &str| rejects(Law::OperationTypes, op);
    accepts("v10: boolean? = not v3");
    bad("v10: int64 = not v0");
    bad("v10: boolean = not v0");
    accepts("v10: boolean = is_true v3");
    bad("v10: boolean = is_true v0");
    accepts("v10: boolean = is_null v2");
    bad("v10: int64 = is_null v2");
    accepts("v10: boolean = is_not_null v0");
    bad("v10: utf8? = is_not_null v2");
    accepts("v10: int64 = neg v0");
    accepts("v10: float64 = neg v4");
    accepts("v10: decimal(38,2) = neg v1");
    accepts("v10: decimal(16,2):i64 = neg v1");
    bad("v10: decimal(38,3) = neg v1");
    bad("v10: decimal(16,2):i64 = neg v7");
    bad("v10: int32 = neg v0");
    bad("v10: utf8? = neg v2");
    bad("v10: boolean? = neg v3");
    accepts("v10: decimal(20,2) = neg_checked v7");
    bad("v10: float64 = neg_checked v4");
    accepts("v10: int64 = abs v0");
    accepts("v10: float64 = abs v4");
    bad("v10: date32 = abs v5");
    accepts("v10: int32 = year v5");
    accepts("v10: int32 = month v5");
    accepts("v10: int32 = day v5");
    bad("v10: int32 = year v0");
    bad("v10: int64 = day v5");
    accepts("v10: int32? = char_length v2");
    bad("v10: int64? = char_length v2");
    bad("v10: int32 = char_length v0");
    accepts("v10: utf8 = assume_valid v2");
    bad("v10: utf8? = assume_valid v2");
    bad("v10: decimal(15,2) = assume_valid v1");
    bad("v10: int64 = assume_valid v2");
}

#[test]
fn law_6_conversions() {
    let bad = |op: &str| rejects(Law::OperationTypes, op);
    accepts("v10: utf8? = convert v2");
    accepts("v10: int64? = convert v0");
    accepts("v10: int64 = convert v6");
    accepts("v10: uint64 = convert v6");
    bad("v10: int32 = convert v6");
    bad("v10: uint64 = convert v0");
    bad("v10: int32 = convert v0");
    bad("v10: int64 = convert v26");
    accepts("v10: float32 = convert v4");
    accepts("v10: float32 = convert v0");
    accepts("v10: float64 = convert v7");
    bad("v10: int64 = convert v4");
    accepts("v10: decimal(20,0) = convert v0");
    accepts("v10: decimal(19,0):i64 = convert v0");
    bad("v10: decimal(20,-1) = convert v0");
    accepts("v10: decimal(10,2):i64 = convert v7");
    bad("v10: decimal(20,3) = convert v7");
    bad("v10: int64 = convert v7");
    accepts("v10: int32 = convert v5");
    accepts("v10: date32 = convert v25");
    bad("v10: int64 = convert v5");
    accepts("v10: timestamp_us = convert v0");
    bad("v10: timestamp_us = convert v5");
    bad("v10: time_s = convert v0");
    bad("v10: date32 = convert v0");
    accepts("v10: uint8? = convert v3");
    bad("v10: float64? = convert v3");
    bad("v10: utf8 = convert v0");
    bad("v10: boolean = convert v0");
    accepts("v10: int8 = cast v0");
    accepts("v10: uint64 = cast v4");
    accepts("v10: decimal(20,-1) = cast v0");
    accepts("v10: decimal(5,3):i64 = cast v7");
    accepts("v10: int64 = cast v7");
    accepts("v10: decimal(5,3) = cast v4");
    bad("v10: float32 = cast v4");
    bad("v10: int64? = cast v2");
    bad("v10: int64? = cast v3");
    bad("v10: int64 = cast v5");
    accepts("v10: int8? = try_cast v0");
    accepts("v10: decimal(5,3):i64? = try_cast v4");
    bad("v10: int8 = try_cast v0");
    bad("v10: float32? = try_cast v4");
    bad("v10: int64? = try_cast v2");
    bad("v10: date32 = cast v0");
}

#[test]
fn law_6_binary_operations() {
    let bad = |op: &str| rejects(Law::OperationTypes, op);
    for op in ["add", "sub"] {
        accepts(&format!("v10: int64 = {op} v0, v0"));
        accepts(&format!("v10: float64 = {op} v4, v4"));
        accepts(&format!("v10: decimal(16,2):i64 = {op} v1, v1"));
        accepts(&format!("v10: decimal(21,2) = {op} v1, v7"));
        accepts(&format!("v10: int64 = {op}_checked v0, v0"));
        accepts(&format!("v10: decimal(21,2) = {op}_checked v1, v7"));
        bad(&format!("v10: decimal(21,2):i64 = {op} v1, v7"));
        bad(&format!("v10: decimal(21,2):i64 = {op}_checked v7, v1"));
        bad(&format!("v10: decimal(21,3) = {op} v21, v7"));
        bad(&format!("v10: decimal(21,3) = {op} v7, v7"));
        bad(&format!("v10: int64 = {op} v0, v25"));
        bad(&format!("v10: int32 = {op} v0, v0"));
        bad(&format!("v10: float64 = {op}_checked v4, v4"));
        bad(&format!("v10: date32 = {op} v5, v5"));
        bad(&format!("v10: utf8? = {op} v2, v2"));
    }
    for op in ["mul", "mul_checked"] {
        accepts(&format!("v10: int64 = {op} v0, v0"));
        accepts(&format!("v10: decimal(30,4) = {op} v1, v1"));
        accepts(&format!("v10: decimal(30,4):i64 = {op} v1, v1"));
        accepts(&format!("v10: decimal(38,4) = {op} v7, v1"));
        bad(&format!("v10: decimal(38,4):i64 = {op} v7, v1"));
        bad(&format!("v10: decimal(30,2) = {op} v1, v1"));
        bad(&format!("v10: decimal(30,2) = {op} v1, v0"));
        bad(&format!("v10: int64 = {op} v0, v4"));
        bad(&format!("v10: boolean? = {op} v3, v3"));
    }
    accepts("v10: float64 = mul v4, v4");
    bad("v10: float64 = mul_checked v4, v4");
    accepts("v10: int64 = div v0, v0");
    accepts("v10: float64 = div v4, v4");
    accepts("v10: decimal(30,1):i64 = div v21, v7");
    accepts("v10: decimal(30,-1) = div v7, v21");
    bad("v10: decimal(30,2) = div v7, v7");
    bad("v10: int64 = div v0, v25");
    accepts("v10: int64 = rem v0, v0");
    accepts("v10: float64 = rem v4, v4");
    accepts("v10: decimal(15,2):i64 = rem v7, v1");
    bad("v10: decimal(15,2) = rem v7, v21");
    bad("v10: date32 = rem v5, v5");
    for op in ["bit_and", "bit_or", "bit_xor"] {
        accepts(&format!("v10: int64 = {op} v0, v0"));
        bad(&format!("v10: int64 = {op} v0, v25"));
        bad(&format!("v10: boolean? = {op} v3, v3"));
        bad(&format!("v10: decimal(15,2) = {op} v1, v1"));
    }
    for op in ["eq", "ne", "lt", "le", "gt", "ge", "not_distinct", "distinct"] {
        accepts(&format!("v10: boolean = {op} v0, v0"));
        accepts(&format!("v10: boolean = {op} v1, v7"));
        accepts(&format!("v10: boolean? = {op} v2, v2"));
        bad(&format!("v10: boolean = {op} v0, v25"));
        bad(&format!("v10: boolean = {op} v7, v21"));
        bad(&format!("v10: int64 = {op} v0, v0"));
    }
    for op in ["and", "or"] {
        accepts(&format!("v10: boolean? = {op} v3, v24"));
        bad(&format!("v10: boolean? = {op} v3, v0"));
        bad(&format!("v10: int64? = {op} v3, v3"));
    }
}

#[test]
fn law_6_other_operations() {
    let bad = |op: &str| rejects(Law::OperationTypes, op);
    accepts("v10: int64 = literal lit0");
    bad("v10: int32 = literal lit0");
    accepts("v10: decimal(15,2):i64 = literal lit3");
    accepts("v10: decimal(38,2) = literal lit4");
    bad("v10: decimal(38,2):i64 = literal lit4");
    accepts("v10: boolean = in v0 [lit0, lit0]");
    accepts("v10: boolean = in v1 [lit3]");
    accepts("v10: boolean = in v0 []");
    bad("v10: boolean = in v0 [lit2]");
    bad("v10: boolean = in v0 [lit1]");
    bad("v10: boolean = in v7 [lit3]");
    bad("v10: int64 = in v0 [lit0]");
    accepts("v10: boolean? = like v2 lit1");
    bad("v10: boolean? = like v2 lit0");
    bad("v10: boolean = like v0 lit1");
    bad("v10: utf8? = like v2 lit1");
    accepts("v10: boolean? = ilike v2 lit1");
    bad("v10: boolean? = ilike v2 lit0");
    bad("v10: int64? = ilike v2 lit1");
    accepts("v10: utf8? = call upper(v2)");
    accepts("v10: utf8? = call concat(v2, v2, v2)");
    accepts("v10: int32? = call position(v2, v2)");
    accepts("v10: utf8? = call left(v2, v25)");
    accepts("v10: int32? = call time_part(v5, v0, v0)");
    accepts("v10: utf8 = call decimal_text(v1, v0)");
    accepts("v10: decimal(9,3)? = call parse_decimal(v2, v0, v0)");
    accepts("v10: uint64? = call try_parse_unsigned(v2)");
    accepts("v10: utf8 = call single_text(v23)");
    bad("v10: utf8 = call decimal_text(v0, v0)");
    bad("v10: utf8 = call float_text(v23)");
    bad("v10: int64? = call parse_unsigned(v2)");
    bad("v10: utf8? = call upper(v2, v2)");
    bad("v10: utf8? = call concat(v2, v0)");
    bad("v10: utf8? = call concat()");
    bad("v10: utf8 = call upper(v0)");
    bad("v10: boolean? = call upper(v2)");
    bad("v10: utf8? = call left(v2, v26)");
    bad("v10: float64 = call sqrt(v23)");
    accepts("v10: int64 = shift_left v0, v0");
    bad("v10: float64 = shift_right v4, v4");
    accepts("v10: utf8? = substr v2, v0, v0");
    accepts("v10: utf8? = substr v2, v0");
    bad("v10: utf8? = substr v2, v25");
    bad("v10: utf8? = substr v2, v0, v25");
    bad("v10: utf8 = substr v0, v0");
    bad("v10: int64? = substr v2, v0");
    accepts("v10: int64 = if v3 { yield v0 } else { yield v0 }");
    bad("v10: int64 = if v0 { yield v0 } else { yield v0 }");
    bad("v10: int64 = if v3 { yield v0 } else { yield v25 }");
    bad("v10: decimal(15,2) = if v3 { yield v22 } else { yield v1 }");
    accepts("v10: int64? = opaque0(v2, v0)");
    bad("v10: int64? = opaque0(v2)");
    bad("v10: int64? = opaque0(v2, v25)");
    bad("v10: int32? = opaque0(v2, v0)");
}

#[test]
fn law_7_nullability() {
    // A function may know no answer.
    rejects(Law::Nullability, "v10: int32 = call time_part(v5, v0, v0)");
    rejects(Law::Nullability, "v10: utf8 = call upper(v2)");
    rejects(Law::Nullability, "v10: int64 = call parse_whole(v2, v0)");
    let bad = |op: &str| rejects(Law::Nullability, op);
    bad("v10: boolean = not v3");
    bad("v10: boolean = and v3, v24");
    bad("v10: boolean = or v24, v3");
    bad("v10: boolean = eq v2, v2");
    accepts("v10: boolean = distinct v2, v2");
    bad("v10: int32 = char_length v2");
    bad("v10: int64 = literal lit2");
    bad("v10: boolean = in v27 [lit0]");
    bad("v10: boolean = like v2 lit1");
    bad("v10: utf8 = substr v2, v0");
    bad("v10: int64 = if v3 { yield v0 } else { yield v27 }");
    bad("v10: int64 = if v3 { yield v27 } else { yield v0 }");
    bad("v10: int64 = opaque0(v2, v0)");
    bad("v10: int64? = opaque0(v2, v27)");
    accepts("v10: int64? = neg v0");
}

/// A value without a type also only comes from a builder; nothing panics.
#[test]
fn values_without_type() {
    let mut program = parse(GOOD).unwrap();
    program.stages[Stage::from_u32(2)].values.clear();
    assert!(verify(&program).unwrap_err().iter().all(|error| error.law == Law::DefinitionBeforeUse));
    assert!(program.to_string().contains("v0: unknown"));
}
