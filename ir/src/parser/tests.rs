use super::*;

/// Every construct of the text form once.
const EVERYTHING: &str = r#"program {
  host0 "List(Int64)"
  host1 ""
  input0 "line\"item\n\u{7}ü" (int64, decimal(15,2):i64, utf8?)
  input1 "" (date64, time_s?, time_ns, timestamp_ms, duration_us?, interval_months, decimal32(7,2), decimal64(18,-3), binary?, decimal(18,2)? word, decimal(3,1):i64 word)
  input2 "h" (host0?, int64) computed(boolean = opaque0(1), host1? = opaque0(2, 0)) handed
  input3 "" () computed(boolean = opaque0()) pinned
  lit0: decimal(15,-2) = -170141183460469231731687303715884105728
  lit1: utf8 = "BUILD\"ING;\\"
  lit2: int64? = null
  lit3: boolean = true
  lit4: float64 = 0x3ff0000000000000
  lit5: binary = bytes "00ff7f"
  lit6: binary = bytes ""
  lit7: timestamp_us = -1
  opaque0 "regexp_like(c, 'x')" (utf8) -> boolean
  aggregate0 "corr(a, b)"
  aggregate1 ""
  join0 keys(int64) payload(utf8) null_equal tracked
  join1 keys() payload()
  groups0 keys(utf8) accs(sum decimal(25,2)?, count_rows int64, count int64, min date32?, max float32?)
  groups1 keys() accs() operands(float64?, boolean) calls(aggregate0(0, 0) filter 1 -> float64?, aggregate1(1) -> utf8) always((), (lit0, lit2)) enough 7
  groups2 keys(int8) accs() always((lit0))
  groups3 keys(int8) accs() enough 0
  sort0 keys(int64) payload(utf8?) skip 0 fetch all
  sort1 keys(utf8? desc nulls_first, int64 nulls_first, float64 desc) payload() skip 3 fetch 10
  limit0 skip 0 fetch 10
  limit1 skip 18446744073709551615 fetch all
  output (utf8, int64)

  s0 "scan lineitem" {
    source input0 partitioned (v0: int64, v1: decimal(15,2):i64, v12: utf8?)
    v2: boolean = literal lit3
    v3: boolean = lt v0, v1
    filter v3
    probe join0 mark keys(v0) -> (_, v5: utf8) mark v6: boolean marks_build residual {
      v7: boolean = gt v1, v5
      yield v7
    }
    v9: int64 = if v3 {
      v8: int64 = add v1, v2
      v20: int64 = if v3 {
        yield v8
      } else {
        yield v8
      }
      yield v20
    } else {
      yield v1
    }
    v10: boolean = in v0 [lit0, lit1]
    v11: boolean = like v1 lit1
    v13: utf8 = substr v1, v2, v3
    v14: utf8 = substr v1, v2
    v15: boolean = opaque0(v1)
    v16: boolean = opaque0()
    v17: int64? = neg_checked v0
    v30: utf8 = call concat(v12, v12, v12)
    v33: int64? = call try_parse_whole(v12, v0)
    v32: int8? = try_cast v0
    v31: boolean = ilike v12 lit1
    limit limit0
    expand v18: int64 [lit0, lit2]
    expand v19: uint8 []
    group groups0 keys(v1) args(v2, _)
  }

  s1 "" {
    source groups0 (v0: utf8)
    probe join1 inner keys() -> ()
    mark join0 keys(v0) -> (_, _) residual {
      yield v0
    }
  }

  s2 "" {
    source join0 all (v0: utf8)
    build join1 keys() payload(v0)
  }

  s3 "" {
    source groups1 (v0: float64?, v1: utf8)
    group groups1 keys() args() operands(v0, v1)
  }

  s4 "" {
    source join0 unmatched ()
    sort sort1 keys(v0, v1) payload(v2)
  }

  s5 "" {
    source sort1 ()
    emit ()
  }

  s6 "" {
    source input2 (v0: host0?)
    hand input2 (v0, v0)
  }
}
"#;

#[test]
fn everything_survives() {
    let program = parse(EVERYTHING).unwrap();
    assert_eq!(program.to_string(), EVERYTHING);
    assert_eq!(parse(&program.to_string()).unwrap(), program);
    assert_eq!(parse(&crate::printer::annotated(&program)).unwrap(), program);
}

#[test]
fn layout_and_comments_do_not_matter() {
    let program = parse("program{;c\n output(int64)input0\"a\"(int64?)s0\"x\"{source input0(v0:int64?)emit(v0)};}\n}").unwrap();
    let want =
        "program {\n  input0 \"a\" (int64?)\n  output (int64)\n\n  s0 \"x\" {\n    source input0 (v0: int64?)\n    emit (v0)\n  }\n}\n";
    assert_eq!(program.to_string(), want);
}

/// A text that is rejected: where, and why.
#[track_caller]
fn rejects(text: &str, line: usize, column: usize, message: &str) {
    let error = parse(text).expect_err("the text is wrong");
    assert_eq!((error.line, error.column, error.message.as_str()), (line, column, message));
}

/// As [`rejects`], within a stage whose statements begin on line 2, column 1.
#[track_caller]
fn stage_rejects(text: &str, line: usize, column: usize, message: &str) {
    rejects(&format!("program {{ output () s0 \"\" {{ source input0 (v0: int64)\n{text}\n}} }}"), line, column, message);
}

#[test]
fn tokens() {
    rejects("", 1, 1, "expected `program`, found the end");
    rejects("programme", 1, 1, "expected `program`, found `programme`");
    rejects("program {\n  ü", 2, 3, "unexpected character 'ü'");
    rejects("program { } x", 1, 13, "expected the end, found `x`");
    rejects("program {", 1, 10, "expected a declaration or `}`, found the end");
    rejects("program { input0 \"a\nb", 1, 18, "the text does not end");
    rejects("program { input0 \"\\x\"", 1, 19, "unknown escape");
    rejects("program { input0 \"a\\u{d800}\"", 1, 20, "expected a character's number, as in \\u{1}");
    rejects("program { lit0: int64 = 1x", 1, 25, "expected a number");
    rejects("program { lit0: int64 = -", 1, 25, "expected a number");
    rejects("program { lit0: int64 = 170141183460469231731687303715884105728", 1, 25, "the number does not fit in 128 bits");
    rejects("program { lit0: float64 = 0x", 1, 27, "expected up to 16 hexadecimal digits");
    rejects("program { lit0: float64 = 0x11111111111111111", 1, 27, "expected up to 16 hexadecimal digits");
}

#[test]
fn declarations() {
    rejects("program { input1 \"a\" ()", 1, 11, "expected `input0`, found `input1`");
    rejects("program { input00 \"a\" ()", 1, 11, "expected `input0`, found `input00`");
    rejects("program { inputs", 1, 11, "expected a declaration or `}`, found `inputs`");
    rejects("program { input0 a", 1, 18, "expected a text in quotes, found `a`");
    rejects("program { input0 \"\" (int65)", 1, 22, "unknown type `int65`");
    rejects("program { input0 \"\" (int64:i65)", 1, 28, "unknown representation `i65`");
    rejects("program { input0 \"\" (decimal(256,0))", 1, 30, "256 is out of range here");
    rejects("program { input0 \"\" (decimal(10 2))", 1, 33, "expected `,`, found `2`");
    rejects("program { input0 \"\" (int64 int64)", 1, 28, "expected `,` or `)`, found `int64`");
    rejects("program { lit0: int64 = x", 1, 25, "expected a literal, found `x`");
    rejects("program { opaque0 \"\" () boolean", 1, 25, "expected `->`, found `boolean`");
    rejects("program { join0 payload()", 1, 17, "expected `keys`, found `payload`");
    rejects("program { groups0 keys() accs(avg int64)", 1, 31, "unknown accumulator `avg`");
    rejects("program { groups0 keys() accs() operands() accs()", 1, 44, "expected `calls`, found `accs`");
    rejects("program { groups0 keys() accs() operands() calls(aggregate0() int64)", 1, 63, "expected `->`, found `int64`");
    rejects("program { limit0 skip -1 fetch all", 1, 23, "-1 is out of range here");
    rejects("program { output () output ()", 1, 21, "the output is declared twice");
    rejects("program { s1", 1, 11, "expected `s0`, found `s1`");
}

#[test]
fn stages() {
    rejects("program { s0 \"\" { emit ()", 1, 19, "expected `source`, found `emit`");
    rejects("program { s0 \"\" { source x", 1, 26, "expected an input, a group table, a join table or a sort, found `x`");
    rejects("program { s0 \"\" { source join0 some", 1, 32, "expected `matched`, `unmatched` or `all`");
    stage_rejects("", 3, 1, "expected a row operation or a sink, found `}`");
    stage_rejects("emit (v0) filter v0", 2, 11, "expected `}`, found `filter`");
    stage_rejects("filter x0", 2, 8, "expected `v` and a number, found `x0`");
    stage_rejects("filter v4294967295", 2, 8, "expected `v` and a number, found `v4294967295`");
    stage_rejects("v1 = neg v0", 2, 4, "expected `:`, found `=`");
    stage_rejects("v1: int64 = negate v0", 2, 13, "unknown operation `negate`");
    stage_rejects("v1: int64 = add v0 v0", 2, 20, "expected `,`, found `v0`");
    stage_rejects("v0: int32 = neg v0", 2, 1, "v0 is defined before with type int64");
    stage_rejects("v1048576: int32 = neg v0", 2, 1, "values are numbered below 1048576");
    stage_rejects("v1: int32 = if v0 { filter v0", 2, 21, "expected an operation or `yield`, found `filter`");
    stage_rejects("v1: int32 = if v0 { yield v0 }", 3, 1, "expected `else`, found `}`");
    stage_rejects("v1: int32 = in v0 lit0", 2, 19, "expected `[`, found `lit0`");
    stage_rejects("v1: int32 = literal v0", 2, 21, "expected `lit` and a number, found `v0`");
    stage_rejects("probe join0 outermost keys()", 2, 13, "unknown kind of probe `outermost`");
    stage_rejects("probe join0 inner keys() ()", 2, 26, "expected `->`, found `(`");
    stage_rejects("probe join0 inner keys() -> (v1)", 2, 32, "expected `:`, found `)`");
    stage_rejects("probe join0 inner keys() -> () residual v0", 2, 41, "expected `{`, found `v0`");
    stage_rejects("build join0 keys() ()", 2, 20, "expected `payload`, found `(`");
    stage_rejects("group groups0 keys() args(*)", 2, 27, "unexpected character '*'");
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        let open = "v1: int64 = if v0 {\n".repeat(depth);
        let close = "yield v0\n} else { yield v0 }\n".repeat(depth);
        format!("program {{ s0 \"\" {{ source input0 (v0: int64)\n{open}{close}emit () }} }}")
    };
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    let error = parse(&nested(100_000)).unwrap_err();
    assert_eq!((error.line, error.message.as_str()), (2 + MAX_DEPTH, "more than 256 regions within one another"));
    assert_eq!(error.to_string(), "line 258, column 19: more than 256 regions within one another");
}

/// Whatever is cut from or put into a program's text: an answer, never a panic.
#[test]
fn no_text_panics() {
    let ends: Vec<usize> = EVERYTHING.char_indices().map(|(i, _)| i).collect();
    for end in &ends {
        let _ = parse(&EVERYTHING[..*end]);
    }
    for at in ends.iter().step_by(3) {
        for put in ["}", "\"", "v4294967294", "99999999999999999999", "(", ":", "\\", "\u{0}"] {
            let (before, after) = EVERYTHING.split_at(*at);
            if let Ok(program) = parse(&format!("{before}{put}{after}")) {
                let text = program.to_string();
                assert_eq!(parse(&text).map(|program| program.to_string()), Ok(text));
            }
        }
    }
}
