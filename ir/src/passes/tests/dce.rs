//! What nobody reads goes.

use super::super::eliminate_dead;
use super::becomes;

#[test]
fn dead_operations() {
    becomes(
        eliminate_dead,
        "input0 \"a\" (int64, boolean)
        output (int64)
        s0 \"scan\" {
            source input0 (v0: int64, v1: boolean)
            v2: int64 = neg v0
            v3: int64 = neg v2
            v4: int64 = neg v0
            v5: int64 = div v4, v0
            v6: int64 = neg v0
            v7: int64 = if v1 {
                v8: int64 = neg v0
                v9: int64 = neg v0
                yield v8
            } else {
                yield v6
            }
            v10: int64 = if v1 {
                yield v0
            } else {
                yield v7
            }
            filter v1
            emit (v7)
        }",
        "input0 \"a\" (int64, boolean)
        output (int64)
        s0 \"scan\" {
            source input0 (v0: int64, v1: boolean)
            v4: int64 = neg v0
            v5: int64 = div v4, v0
            v6: int64 = neg v0
            v7: int64 = if v1 {
                v8: int64 = neg v0
                yield v8
            } else {
                yield v6
            }
            filter v1
            emit (v7)
        }",
    );
}

/// The first payload field is read by nobody, the second by a residual condition, the third through a source.
#[test]
fn dead_fields() {
    becomes(
        eliminate_dead,
        "input0 \"a\" (int64)
        join0 keys(int64) payload(int64, int64, int64) tracked
        groups0 keys(int64) accs(sum int64?, count_rows int64, max int64?)
        output (int64, int64?)
        s0 \"build\" {
            source input0 (v0: int64)
            v1: int64 = neg v0
            build join0 keys(v0) payload(v1, v0, v0)
        }
        s1 \"probe\" {
            source input0 (v0: int64)
            probe join0 inner keys(v0) -> (v1: int64, v2: int64, v3: int64, v4: int64) marks_build residual {
                v5: boolean = lt v3, v0
                yield v5
            }
            v6: int64 = neg v1
            v7: int64 = neg v2
            group groups0 keys(v0) args(v6, _, v4)
        }
        s2 \"rest\" {
            source join0 unmatched (v0: int64, v1: int64, v2: int64, v3: int64)
            group groups0 keys(v3) args(v3, _, v3)
        }
        s3 \"groups\" {
            source groups0 (v0: int64, v1: int64?, v2: int64, v3: int64?)
            emit (v2, v3)
        }",
        "input0 \"a\" (int64)
        join0 keys(int64) payload(int64, int64) tracked
        groups0 keys(int64) accs(count_rows int64, max int64?)
        output (int64, int64?)
        s0 \"build\" {
            source input0 (v0: int64)
            build join0 keys(v0) payload(v0, v0)
        }
        s1 \"probe\" {
            source input0 (v0: int64)
            probe join0 inner keys(v0) -> (_, v3: int64, v4: int64) marks_build residual {
                v5: boolean = lt v3, v0
                yield v5
            }
            group groups0 keys(v0) args(_, v4)
        }
        s2 \"rest\" {
            source join0 unmatched (v0: int64, v2: int64, v3: int64)
            group groups0 keys(v3) args(_, v3)
        }
        s3 \"groups\" {
            source groups0 (v0: int64, v2: int64, v3: int64?)
            emit (v2, v3)
        }",
    );
}

/// A call that nobody reads goes, and with it the operands that only it takes; the others are counted anew.
#[test]
fn dead_calls() {
    becomes(
        eliminate_dead,
        "input0 \"a\" (int64, int64, boolean)
        aggregate0 \"f\"
        aggregate1 \"g\"
        groups0 keys(int64) accs(count_rows int64) operands(int64, int64, boolean) calls(aggregate0(0, 1) -> int64, aggregate1(1) filter 2 -> int64)
        output (int64)
        s0 \"scan\" {
            source input0 (v0: int64, v1: int64, v2: boolean)
            v3: int64 = neg v0
            v4: int64 = neg v1
            group groups0 keys(v0) args(_) operands(v3, v4, v2)
        }
        s1 \"groups\" {
            source groups0 (v0: int64, v1: int64, v2: int64, v3: int64)
            emit (v3)
        }",
        "input0 \"a\" (int64, int64, boolean)
        aggregate0 \"f\"
        aggregate1 \"g\"
        groups0 keys(int64) accs() operands(int64, boolean) calls(aggregate1(0) filter 1 -> int64)
        output (int64)
        s0 \"scan\" {
            source input0 (v0: int64, v1: int64, v2: boolean)
            v4: int64 = neg v1
            group groups0 keys(v0) args() operands(v4, v2)
        }
        s1 \"groups\" {
            source groups0 (v0: int64, v3: int64)
            emit (v3)
        }",
    );
}
