use super::super::carry_codes;
use super::becomes;
use crate::program::Program;

fn carry(program: &mut Program) {
    carry_codes(program);
}

/// Payload, group keys, sort keys hold the number; text is read for a filter, and where rows leave.
#[test]
fn numbers_go_from_the_scan_to_the_output() {
    becomes(
        carry,
        "input0 \"part\" (int64, utf8? dictionary(300), utf8 dictionary(5))
        input1 \"sales\" (int64)
        lit0: utf8 = \"b\"
        join0 keys(int64) payload(utf8?, utf8)
        groups0 keys(utf8?, int64) accs(count_rows int64)
        sort0 keys(utf8? desc) payload(int64) skip 0 fetch 9
        output (utf8?, int64)
        s0 \"scan part\" {
            source input0 (v0: int64, v1: utf8?, v2: utf8)
            v3: boolean? = like v1 lit0
            filter v3
            build join0 keys(v0) payload(v1, v2)
        }
        s1 \"scan sales\" {
            source input1 (v0: int64)
            probe join0 outer keys(v0) -> (_, v1: utf8?, v2: utf8?)
            v3: boolean? = like v2 lit0
            filter v3
            group groups0 keys(v1, v0) args(_)
        }
        s2 \"groups\" {
            source groups0 (v0: utf8?, v1: int64, v2: int64)
            sort sort0 keys(v0) payload(v2)
        }
        s3 \"rows\" {
            source sort0 (v0: utf8?, v1: int64)
            emit (v0, v1)
        }",
        "input0 \"part\" (int64, utf8? dictionary(300), utf8 dictionary(5), uint16? offset(0, 299), uint8 offset(0, 4))
        input1 \"sales\" (int64)
        lit0: utf8 = \"b\"
        join0 keys(int64) payload(uint16?, uint8)
        groups0 keys(uint16?, int64) accs(count_rows int64)
        sort0 keys(uint16? desc) payload(int64) skip 0 fetch 9
        output (utf8?, int64)
        s0 \"scan part\" {
            source input0 (v0: int64, v1: utf8?, v2: utf8, v4: uint16?, v5: uint8)
            v3: boolean? = like v1 lit0
            filter v3
            build join0 keys(v0) payload(v4, v5)
        }
        s1 \"scan sales\" {
            source input1 (v0: int64)
            probe join0 outer keys(v0) -> (_, v4: uint16?, v5: uint8?)
            v2: utf8? = entry input0 2, v5
            v3: boolean? = like v2 lit0
            filter v3
            group groups0 keys(v4, v0) args(_)
        }
        s2 \"groups\" {
            source groups0 (v3: uint16?, v1: int64, v2: int64)
            sort sort0 keys(v3) payload(v2)
        }
        s3 \"rows\" {
            source sort0 (v2: uint16?, v1: int64)
            v0: utf8? = entry input0 1, v2
            emit (v0, v1)
        }",
    );
}

/// A field stays text that two dictionaries write, that is computed, or that a residual condition reads.
#[test]
fn what_is_of_no_one_dictionary_stays_text() {
    let text = "input0 \"a\" (int64, utf8 dictionary(3), utf8)
        input1 \"b\" (int64, utf8 dictionary(4))
        lit0: utf8 = \"b\"
        join0 keys(utf8) payload(utf8)
        groups0 keys(utf8) accs(count_rows int64)
        groups1 keys(utf8, utf8) accs(min utf8)
        output (int64)
        s0 \"a\" {
            source input0 (v0: int64, v1: utf8, v2: utf8)
            build join0 keys(v1) payload(v1)
        }
        s1 \"b\" {
            source input1 (v0: int64, v1: utf8)
            probe join0 inner keys(v1) -> (_, v2: utf8) residual {
                v3: boolean = like v2 lit0
                yield v3
            }
            group groups0 keys(v1) args(_)
        }
        s2 \"a\" {
            source input0 (v0: int64, v1: utf8, v2: utf8)
            group groups0 keys(v1) args(_)
        }
        s3 \"a\" {
            source input0 (v0: int64, v1: utf8, v2: utf8)
            v3: utf8 = call upper(v1)
            group groups1 keys(v2, v3) args(v1)
        }
        s4 \"groups\" {
            source groups0 (v0: utf8, v1: int64)
            emit (v1)
        }";
    becomes(carry, text, text);
}

/// Columns that the host computes stay the last ones, and know their operands.
#[test]
fn numbers_come_before_what_is_computed() {
    becomes(
        carry,
        "input0 \"a\" (int64, utf8 dictionary(3)) computed(int64 = opaque0(1), int64 = opaque1(0, 2))
        opaque0 \"f\" (utf8) -> int64
        opaque1 \"g\" (int64, int64) -> int64
        groups0 keys(utf8, int64) accs(count_rows int64)
        output (utf8)
        s0 \"a\" {
            source input0 (v0: int64, v1: utf8, v2: int64, v3: int64)
            group groups0 keys(v1, v3) args(_)
        }
        s1 \"groups\" {
            source groups0 (v0: utf8, v1: int64, v2: int64)
            emit (v0)
        }",
        "input0 \"a\" (int64, utf8 dictionary(3), uint8 offset(0, 2)) computed(int64 = opaque0(1), int64 = opaque1(0, 3))
        opaque0 \"f\" (utf8) -> int64
        opaque1 \"g\" (int64, int64) -> int64
        groups0 keys(uint8, int64) accs(count_rows int64)
        output (utf8)
        s0 \"a\" {
            source input0 (v0: int64, v1: utf8, v4: uint8, v2: int64, v3: int64)
            group groups0 keys(v4, v3) args(_)
        }
        s1 \"groups\" {
            source groups0 (v3: uint8, v1: int64, v2: int64)
            v0: utf8 = entry input0 1, v3
            emit (v0)
        }",
    );
}
