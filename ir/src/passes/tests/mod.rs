mod codes;
mod dce;
mod lift;
mod widths;

use super::{eliminate_dead, narrow};
use crate::parser::parse;
use crate::program::Program;
use crate::verifier::verify;

/// The program after a pass; before and after it obeys the laws.
#[track_caller]
fn after(pass: fn(&mut Program), text: &str) -> String {
    let mut program = parse(text).unwrap();
    assert_eq!(verify(&program), Ok(()));
    pass(&mut program);
    let printed = program.to_string();
    assert_eq!(verify(&program), Ok(()), "{printed}");
    pass(&mut program);
    assert_eq!(program.to_string(), printed, "a second time, the pass finds nothing to do");
    printed
}

/// Lines of a text without indentation, empty ones dropped.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Checks the declarations and stages that a pass makes of others.
#[track_caller]
fn becomes(pass: fn(&mut Program), from: &str, to: &str) {
    let got = after(pass, &format!("program {{\n{from}\n}}"));
    assert_eq!(lines(&got), lines(&format!("program {{\n{to}\n}}")), "{got}");
}

#[test]
fn sorts() {
    let stages = |narrow: &str, payload: &str, types: &str, wide: &str| {
        format!(
            "output (int64)
            s0 \"scan\" {{
                source input0 (v0: decimal(15,2){narrow}, v1: decimal(30,2), v2: int64)
                {wide}
                sort sort0 keys(v0, v1) payload({payload})
            }}
            s1 \"rows\" {{
                source sort0 (v0: decimal(15,2){narrow}?, v1: decimal(30,2), {types})
                emit (v2)
            }}"
        )
    };
    becomes(
        narrow,
        &format!(
            "input0 \"a\" (decimal(15,2), decimal(30,2), int64)
            sort0 keys(decimal(15,2)? desc, decimal(30,2)) payload(int64, decimal(20,2)) skip 1 fetch 2
            {}",
            stages("", "v2, v3", "v2: int64, v3: decimal(20,2)", "v3: decimal(20,2) = convert v0")
        ),
        &format!(
            "input0 \"a\" (decimal(15,2):i64, decimal(30,2), int64)
            sort0 keys(decimal(15,2):i64? desc, decimal(30,2)) payload(int64, decimal(20,2):i64) skip 1 fetch 2
            {}",
            stages(":i64", "v2, v3", "v2: int64, v3: decimal(20,2):i64", "v3: decimal(20,2):i64 = convert v0")
        ),
    );
    // Keys stay, whether they are read or not.
    becomes(
        eliminate_dead,
        &format!(
            "input0 \"a\" (decimal(15,2), decimal(30,2), int64)
            sort0 keys(decimal(15,2)?, decimal(30,2)) payload(int64, decimal(15,2)) skip 0 fetch all
            {}",
            stages("", "v2, v3", "v2: int64, v3: decimal(15,2)", "v3: decimal(15,2) = neg v0")
        ),
        &format!(
            "input0 \"a\" (decimal(15,2), decimal(30,2), int64)
            sort0 keys(decimal(15,2)?, decimal(30,2)) payload(int64) skip 0 fetch all
            {}",
            stages("", "v2", "v2: int64", "")
        ),
    );
}
