//! What generated code looks like: no calls in hot loops, dumps that say what they show, limits that hold.

use std::collections::HashSet;

use stagefuse_compiler::{CompileError, OptLevel, Options, compile};
use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
use stagefuse_ir::verifier::Place;
use stagefuse_ir::{
    AccDecl, AccOp, BinaryOp, Datum, GroupsDecl, JoinDecl, Op, OpaqueDecl, Probe, ProbeKind, Program, Repr, Sink, Source, SqlType, Stage,
    Type,
};
use stagefuse_runtime::builtins;

const INT64: Type = Type::new(SqlType::Int64, false);
const DATE: Type = Type::new(SqlType::Date32, false);
const TEXT: Type = Type::new(SqlType::Utf8, false);
const MONEY: Type = decimal(15, 2).with_repr(Repr::I64);

const fn decimal(precision: u8, scale: i8) -> Type {
    Type::new(SqlType::Decimal { precision, scale }, false)
}

fn dumping() -> Options {
    Options { verify: true, dump: true, ..Options::default() }
}

/// TPC-H's first query up to its groups: a filter on a date, two text keys, sums of products.
fn q1() -> (Program, Stage) {
    let mut p = ProgramBuilder::new();
    let columns = [MONEY, MONEY, MONEY, MONEY, TEXT, TEXT, DATE];
    let input = p.input("lineitem", columns.to_vec());
    let sum = |precision, scale| AccDecl { op: AccOp::Sum, ty: decimal(precision, scale) };
    let accs = vec![sum(25, 2), sum(25, 2), sum(38, 4), sum(38, 6), AccDecl { op: AccOp::CountRows, ty: INT64 }];
    let groups = p.groups(GroupsDecl::new(vec![TEXT, TEXT], accs));
    let (day, one) = (p.literal(DATE, Datum::Int(10_471)), p.literal(MONEY, Datum::Int(100)));
    let mut s = StageBuilder::new("scan lineitem", Source::Input { input, partitioned: false }, &columns);
    let [quantity, price, discount, tax, flag, status, shipped] = s.params().to_vec().try_into().expect("seven columns");
    s.note("FilterExec: l_shipdate <= 1998-09-02");
    let day = s.op(Op::Literal(day), DATE);
    let early = s.binary(BinaryOp::Le, shipped, day, Type::boolean(false));
    s.filter(early);
    s.note("AggregateExec: mode=Partial");
    let one = s.op(Op::Literal(one), MONEY);
    let narrow = decimal(16, 2).with_repr(Repr::I64);
    let rest = s.binary(BinaryOp::Sub, one, discount, narrow);
    let discounted = s.binary(BinaryOp::Mul, price, rest, decimal(32, 4).with_repr(Repr::I64));
    let taxed = s.binary(BinaryOp::Add, one, tax, narrow);
    let charge = s.binary(BinaryOp::Mul, discounted, taxed, decimal(38, 6));
    let args = vec![Some(quantity), Some(price), Some(discounted), Some(charge), None];
    let stage = p.stage(s.sink(Sink::Group { groups, keys: vec![flag, status], args, operands: vec![] }));
    (p.finish(vec![]), stage)
}

/// Names of the blocks of a function that call something, cold ones left out.
fn hot_calls(clif: &str) -> Vec<String> {
    let mut calls = vec![];
    let mut block = String::new();
    for line in clif.lines().map(str::trim) {
        if line.starts_with("block") && line.ends_with(':') {
            block = line.to_string();
        }
        let is_call = line.contains("call fn") || line.contains("call_indirect");
        if is_call && !block.contains("cold") {
            calls.push(format!("{block} {line}"));
        }
    }
    calls
}

#[test]
fn a_scan_with_groups_calls_nothing_but_for_new_groups_and_long_text() {
    let (program, stage) = q1();
    let code = compile(&program, stage, &builtins(), &dumping()).expect("compiles");
    let clif = code.clif().expect("dumped");
    assert_eq!(hot_calls(clif), Vec::<String>::new(), "{clif}");
    assert!(code.code_bytes() < 2_000, "{} bytes", code.code_bytes());
}

#[test]
fn dumps_name_operators_and_operations() {
    let (program, stage) = q1();
    let code = compile(&program, stage, &builtins(), &dumping()).expect("compiles");
    let (clif, asm) = (code.clif().expect("dumped"), code.asm().expect("dumped"));
    for text in [clif, asm] {
        assert!(text.contains("mul v1, v11") || text.contains("= mul "), "no operation in\n{text}");
        assert!(text.contains("AggregateExec: mode=Partial"), "no operator in\n{text}");
    }
    assert!(asm.contains("imul"), "{asm}");
    let plain = compile(&program, stage, &builtins(), &Options { comments: false, ..dumping() }).expect("compiles");
    assert!(!plain.clif().expect("dumped").contains("AggregateExec"));
    let quiet = compile(&program, stage, &builtins(), &Options { dump: false, ..dumping() }).expect("compiles");
    assert_eq!((quiet.clif(), quiet.asm()), (None, None));
}

#[test]
fn every_instruction_has_a_place_in_the_stage() {
    for (program, stage) in [q1(), lookups(6)] {
        for always_split in [false, true] {
            let code = compile(&program, stage, &builtins(), &Options { always_split, ..dumping() }).expect("compiles");
            let listing = code.listing().expect("dumped");
            assert!(listing.asm.iter().all(|line| line.place.is_some() && line.offset.is_some()));
            let declares = |text: &str| {
                let word = text.trim_start();
                let heads = ["function", "block", "sig", "fn", "ss", "}"];
                word.is_empty() || word.contains(" -> v") || heads.iter().any(|head| word.starts_with(head))
            };
            let lost: Vec<_> = listing.clif.iter().filter(|line| line.place.is_none() && !declares(&line.text)).collect();
            assert!(lost.is_empty(), "{lost:?}");
            let places: HashSet<Place> = listing.asm.iter().filter_map(|line| line.place).collect();
            assert!(places.contains(&Place::Source) && places.contains(&Place::Sink) && places.len() > 4, "{places:?}");
        }
    }
}

#[test]
fn both_optimisation_levels_compile() {
    let (program, stage) = q1();
    for opt_level in [OptLevel::None, OptLevel::Speed] {
        compile(&program, stage, &builtins(), &Options { opt_level, ..dumping() }).expect("compiles");
    }
}

#[test]
fn code_beyond_the_limit_is_refused() {
    let (program, stage) = q1();
    let error = compile(&program, stage, &builtins(), &Options { max_code_bytes: 100, ..dumping() }).err().expect("too large");
    assert!(matches!(error, CompileError::CodeTooLarge { limit: 100, .. }), "{error}");
}

#[test]
fn code_beyond_the_limit_is_split_by_operator() {
    let (program, stage) = lookups(6);
    let whole = compile(&program, stage, &builtins(), &dumping()).expect("compiles");
    assert_eq!(whole.functions(), 1);
    let limit = whole.code_bytes() - 1;
    let split = compile(&program, stage, &builtins(), &Options { max_code_bytes: limit, ..dumping() }).expect("compiles in parts");
    // The scan, six look-ups, the sink.
    assert!(split.functions() > 6, "{} functions", split.functions());
    assert!(split.clif().expect("dumped").matches("function ").count() == split.functions());
    let options = Options { max_code_bytes: limit, split_by_operator: false, ..dumping() };
    let error = compile(&program, stage, &builtins(), &options).err().expect("too large");
    assert!(matches!(error, CompileError::CodeTooLarge { bytes, .. } if bytes == whole.code_bytes()), "{error}");
}

/// A scan that looks every row up in so many tables.
fn lookups(tables: usize) -> (Program, Stage) {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![TEXT]);
    let joins: Vec<_> =
        (0..tables).map(|_| p.join(JoinDecl { keys: vec![TEXT], payload: vec![TEXT], null_equal: false, tracked: false })).collect();
    for join in &joins {
        let s = StageBuilder::new("build", Source::Input { input, partitioned: false }, &[TEXT]);
        let key = s.params()[0];
        p.stage(s.sink(Sink::Build { join: *join, keys: vec![key], payload: vec![key] }));
    }
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[TEXT]);
    let mut key = s.params()[0];
    for join in joins {
        let found = s.value(TEXT);
        let columns = vec![None, Some(found)];
        s.probe(Probe { join, kind: ProbeKind::Inner, keys: vec![key], columns, mark: None, residual: None, marks_build: false });
        key = found;
    }
    let stage = p.stage(s.sink(Sink::Emit { columns: vec![key] }));
    (p.finish(vec![TEXT]), stage)
}

/// Code memory has one owner, and goes with it. `STAGEFUSE_CYCLES=100000` makes it the long run that the results tell of.
#[test]
fn code_that_is_dropped_is_freed() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        statm.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
    };
    let cycles = std::env::var("STAGEFUSE_CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(1_000);
    let (program, stage) = q1();
    let options = Options { verify: false, ..Options::default() };
    let compile_once = || drop(compile(&program, stage, &builtins(), &options).expect("compiles"));
    (0..cycles / 10).for_each(|_| compile_once());
    // Elsewhere than on Linux nobody tells.
    let Some(before) = resident() else { return };
    (0..cycles).for_each(|_| compile_once());
    let grown = resident().unwrap_or(before).saturating_sub(before);
    assert!(grown < 50 << 20, "{cycles} cycles took {} KB", grown >> 10);
    println!("{cycles} cycles: resident memory grew by {} KB to {} KB", grown >> 10, (before + grown) >> 10);
}

#[test]
fn an_opaque_expression_is_refused_by_name() {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![TEXT]);
    let opaque = p.opaque(OpaqueDecl { name: "soundex(c)".into(), args: vec![TEXT], result: TEXT });
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[TEXT]);
    let a = s.params()[0];
    let b = s.op(Op::Opaque(opaque, vec![a]), TEXT);
    let stage = p.stage(s.sink(Sink::Emit { columns: vec![b] }));
    let error = compile(&p.finish(vec![TEXT]), stage, &builtins(), &dumping()).err().expect("opaque");
    assert_eq!(error, CompileError::Unsupported("the expression soundex(c)".into()));
}

/// `depth` conditionals, each in a branch of the one around it.
fn nested(depth: usize) -> (Program, Stage) {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![INT64]);
    let one = p.literal(INT64, Datum::Int(1));
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[INT64]);
    let a = s.params()[0];
    let one = s.op(Op::Literal(one), INT64);
    let is_one = s.binary(BinaryOp::Eq, a, one, Type::boolean(false));
    let mut regions = vec![];
    for _ in 0..depth {
        s.begin_region();
        let then = s.end_region(one);
        regions.push(then);
        s.begin_region();
    }
    let mut result = s.binary(BinaryOp::Add, a, one, INT64);
    while let Some(then) = regions.pop() {
        let otherwise = s.end_region(result);
        result = s.op(Op::If(is_one, Box::new(then), Box::new(otherwise)), INT64);
    }
    let stage = p.stage(s.sink(Sink::Emit { columns: vec![result] }));
    (p.finish(vec![INT64]), stage)
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let (program, stage) = nested(500);
    compile(&program, stage, &builtins(), &Options { verify: true, ..Options::default() }).expect("compiles");

    let mut p = ProgramBuilder::new();
    let input = p.input("t", vec![INT64]);
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, &[INT64]);
    let a = s.params()[0];
    let mut sum = a;
    for _ in 0..500 {
        sum = s.binary(BinaryOp::AddChecked, sum, a, INT64);
    }
    let stage = p.stage(s.sink(Sink::Emit { columns: vec![sum] }));
    compile(&p.finish(vec![INT64]), stage, &builtins(), &Options { verify: true, ..Options::default() }).expect("compiles");
}
