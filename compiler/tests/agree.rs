//! Native code and the interpreter give the same value, or the same error, for every operation over edge values and nulls.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    UInt32Array, make_array,
};
use arrow::datatypes::{Field, Schema};
use stagefuse_compiler::{CompiledStage, Options, compile};
use stagefuse_ir::builder::{ProgramBuilder, StageBuilder};
use stagefuse_ir::{
    AccDecl, AccOp, BinaryOp, Datum, Function, GroupsDecl, Kind, Op, Program, Repr, Sink, Source, SqlType, TimePart, TimeUnit, Type,
    UnaryOp, Value,
};
use stagefuse_runtime::{Engine, Flow, Run, RunConfig, Unlimited, arrow_type, builtins};

const INT64: Type = Type::new(SqlType::Int64, true);
const INT32: Type = Type::new(SqlType::Int32, true);
const UINT32: Type = Type::new(SqlType::UInt32, true);
const UINT64: Type = Type::new(SqlType::UInt64, true);
const SINGLE: Type = Type::new(SqlType::Float32, true);
const FLOAT: Type = Type::new(SqlType::Float64, true);
const TEXT: Type = Type::new(SqlType::Utf8, true);
const BOOL: Type = Type::boolean(true);

const fn decimal(precision: u8, scale: i8) -> Type {
    Type::new(SqlType::Decimal { precision, scale }, true)
}

/// Edge values of a type, with nulls.
fn edges(ty: Type) -> ArrayRef {
    let with_null = |values: &[i64]| values.iter().map(|v| Some(*v)).chain([None]).collect::<Vec<_>>();
    match ty.sql {
        SqlType::Int32 => Arc::new(Int32Array::from_iter(
            with_null(&[0, 1, -1, 7, i64::from(i32::MIN), i64::from(i32::MAX)]).into_iter().map(|v| v.map(|v| v as i32)),
        )),
        SqlType::UInt32 => {
            Arc::new(UInt32Array::from_iter(with_null(&[0, 1, 7, i64::from(u32::MAX)]).into_iter().map(|v| v.map(|v| v as u32))))
        }
        SqlType::Float64 => Arc::new(Float64Array::from(vec![
            Some(0.0),
            Some(-0.0),
            Some(1.5),
            Some(-2.5),
            Some(1e300),
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
            None,
        ])),
        SqlType::Float32 => Arc::new(Float32Array::from(vec![
            Some(0.0),
            Some(-0.0),
            Some(1.5),
            Some(-2.5),
            Some(f32::MAX),
            Some(f32::NAN),
            Some(f32::NEG_INFINITY),
            None,
        ])),
        SqlType::Decimal { precision, scale } => {
            let most = if ty.repr == Repr::I64 { 10i128.pow(15) - 1 } else { 10i128.pow(u32::from(precision)) - 1 };
            let mut values: Vec<Option<i128>> = [0, 1, -1, 100, 149, 150, -150, most, -most].map(Some).into();
            if ty.repr == Repr::I128 && precision == 38 {
                values.extend([Some(i128::from(i64::MIN)), Some(i128::from(i64::MAX) + 1), Some(1 << 64)]);
            }
            values.push(None);
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).expect("in range"))
        }
        SqlType::Utf8 => Arc::new(StringViewArray::from(vec![
            Some(""),
            Some("a"),
            Some("abcd"),
            Some("abcde"),
            Some("-12"),
            Some(" 2024-02-29"),
            Some("2024-02-29"),
            Some("1.5"),
            Some("twelve bytes"),
            Some("thirteen byte"),
            Some("thirteen bytf"),
            Some("日本語は長いテキスト"),
            None,
        ])),
        SqlType::Binary => Arc::new(BinaryViewArray::from_iter([
            Some(&b""[..]),
            Some(b"\x00"),
            Some(b"\xff\xfe"),
            Some(b"\xff\xfe\x00"),
            Some(b"thirteen byt\xf0"),
            Some(b"thirteen byt\x10"),
            None,
        ])),
        // Whatever counts something is a number of 32 or 64 bits.
        sql if ty.repr == Repr::I32 => {
            let numbers = Int32Array::from_iter([Some(0), Some(1), Some(-1), Some(86_399), Some(i32::MIN), Some(i32::MAX), None]);
            renamed(Arc::new(numbers), sql)
        }
        sql => renamed(Arc::new(Int64Array::from(with_null(&[0, 1, -1, 7, -86_400_001, i64::MIN, i64::MAX]))), sql),
    }
}

/// Numbers as an array of a type that counts something in as many bits.
fn renamed(numbers: ArrayRef, sql: SqlType) -> ArrayRef {
    make_array(numbers.to_data().into_builder().data_type(arrow_type(sql)).build().expect("numbers of the same width"))
}

fn native(program: &Program) -> Vec<CompiledStage> {
    let options = Options { verify: true, ..Options::default() };
    program
        .stages
        .keys()
        .map(|stage| compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}")))
        .collect()
}

fn run(program: &Arc<Program>, code: Option<&[CompiledStage]>, schema: &Arc<Schema>, batch: &RecordBatch) -> Result<Vec<String>, String> {
    let engine = |index: usize| match code {
        Some(code) => Engine::Native { function: code[index].function(), owner: Arc::new(code[index].clone()) },
        None => Engine::Interpreted,
    };
    let config = RunConfig {
        host_types: vec![],
        program: Arc::clone(program),
        engines: (0..program.stages.len()).map(engine).collect(),
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::clone(schema),
        partitions: 1,
        memory: Arc::new(Unlimited),
    };
    let execute = || {
        let run = Run::new(config)?;
        let mut out = vec![];
        for (stage, decl) in &program.stages {
            let mut worker = run.worker();
            if let Source::Input { .. } = decl.source {
                run.run_batch(stage, &mut worker, batch)?;
            } else {
                let mut cursor = run.table_cursor(stage, 0)?;
                while run.run_table(stage, &mut worker, &mut cursor)? == Flow::More {}
            }
            out.extend(worker.take_output());
            drop(worker);
            while let parts @ 1.. = run.finish_parts(stage)? {
                (0..parts).try_for_each(|part| run.finish_part(stage, part))?;
            }
        }
        Ok(out)
    };
    let batches = execute().map_err(|error: stagefuse_runtime::Error| error.to_string())?;
    let mut rows = vec![];
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| {
                if column.is_null(row) {
                    return "null".into();
                }
                arrow::util::display::array_value_to_string(column, row).expect("printable")
            };
            rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    Ok(rows)
}

fn batch_of(columns: Vec<ArrayRef>) -> RecordBatch {
    let field = |(i, column): (usize, &ArrayRef)| Field::new(format!("c{i}"), column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

/// Checks an operation on every combination of edge values, one row at a time where it can fail.
fn agree(what: &str, operands: &[Type], result: Type, make: impl Fn(&mut ProgramBuilder, &mut StageBuilder, &[Value]) -> Value) {
    let mut p = ProgramBuilder::new();
    let input = p.input("t", operands.to_vec());
    let mut s = StageBuilder::new("scan", Source::Input { input, partitioned: true }, operands);
    let params = s.params().to_vec();
    let value = make(&mut p, &mut s, &params);
    p.stage(s.sink(Sink::Emit { columns: vec![value] }));
    let output = result.with_repr(result.sql.default_repr());
    let program = Arc::new(p.finish(vec![output]));
    let schema = Arc::new(Schema::new(vec![Field::new("o", arrow_type(result.sql), result.nullable)]));
    let code = native(&program);

    let values: Vec<ArrayRef> = operands.iter().map(|ty| edges(*ty)).collect();
    let rows: usize = values.iter().map(|v| v.len()).product();
    for row in 0..rows {
        let mut rest = row;
        let columns: Vec<ArrayRef> = values
            .iter()
            .map(|v| {
                let at = rest % v.len();
                rest /= v.len();
                v.slice(at, 1)
            })
            .collect();
        let batch = batch_of(columns);
        let compiled = run(&program, Some(&code), &schema, &batch);
        let interpreted = run(&program, None, &schema, &batch);
        assert_eq!(compiled, interpreted, "{what} of {batch:?}\n{program}");
    }
}

fn agree_binary(op: BinaryOp, a: Type, b: Type, result: Type) {
    agree(op.name(), &[a, b], result, |_, s, v| s.binary(op, v[0], v[1], result));
}

#[test]
fn integers() {
    use BinaryOp::{Add, AddChecked, BitAnd, BitOr, BitXor, Div, Mul, MulChecked, Rem, ShiftLeft, ShiftRight, Sub, SubChecked};
    for ty in [INT64, INT32, UINT32] {
        for op in [Add, Sub, Mul, AddChecked, SubChecked, MulChecked, Div, Rem, BitAnd, BitOr, BitXor, ShiftLeft, ShiftRight] {
            agree_binary(op, ty, ty, ty);
        }
    }
    for ty in [INT64, INT32, UINT32] {
        for op in [UnaryOp::Neg, UnaryOp::NegChecked, UnaryOp::Abs] {
            agree(op.name(), &[ty], ty, |_, s, v| s.unary(op, v[0], ty));
        }
    }
}

#[test]
fn floats() {
    use BinaryOp::{Add, Div, Mul, Rem, Sub};
    for op in [Add, Sub, Mul, Div, Rem] {
        agree_binary(op, FLOAT, FLOAT, FLOAT);
    }
    for op in [UnaryOp::Neg, UnaryOp::Abs] {
        agree(op.name(), &[FLOAT], FLOAT, |_, s, v| s.unary(op, v[0], FLOAT));
    }
}

#[test]
fn decimals() {
    use BinaryOp::{Add, AddChecked, Div, Mul, MulChecked, Rem, Sub, SubChecked};
    let (narrow, wide) = (decimal(15, 2).with_repr(Repr::I64), decimal(38, 2));
    agree_binary(Mul, narrow, narrow, decimal(31, 4));
    agree_binary(Add, narrow, narrow, decimal(16, 2));
    agree_binary(Sub, narrow, narrow, decimal(16, 2).with_repr(Repr::I64));
    for op in [AddChecked, SubChecked] {
        agree_binary(op, wide, wide, wide);
        agree_binary(op, narrow, wide, wide);
    }
    agree_binary(MulChecked, wide, wide, decimal(38, 4));
    agree_binary(MulChecked, narrow, wide, decimal(38, 4));
    for (a, b) in [(wide, wide), (narrow, wide), (wide, narrow), (narrow, narrow)] {
        agree_binary(Div, a, b, decimal(38, 0));
        agree_binary(Rem, a, b, wide);
    }
    for op in [UnaryOp::NegChecked, UnaryOp::Abs] {
        agree(op.name(), &[wide], wide, |_, s, v| s.unary(op, v[0], wide));
    }
}

#[test]
fn comparisons() {
    use BinaryOp::{Distinct, Eq, Ge, Gt, Le, Lt, Ne, NotDistinct};
    let narrow = decimal(15, 2).with_repr(Repr::I64);
    let pairs =
        [(INT64, INT64), (INT32, INT32), (UINT32, UINT32), (FLOAT, FLOAT), (TEXT, TEXT), (narrow, narrow), (narrow, decimal(38, 2))];
    for (a, b) in pairs {
        for op in [Eq, Ne, Lt, Le, Gt, Ge] {
            agree_binary(op, a, b, BOOL);
        }
        for op in [Distinct, NotDistinct] {
            agree_binary(op, a, b, Type::boolean(false));
        }
    }
}

/// Types that are compared and handed on.
fn others() -> Vec<Type> {
    use SqlType::{Binary, Date32, Date64, Decimal32, Decimal64, Duration, IntervalMonths, Time, Timestamp};
    let units = TimeUnit::ALL.iter().flat_map(|unit| [Time(*unit), Timestamp(*unit), Duration(*unit)]);
    let decimals = [Decimal32 { precision: 9, scale: 2 }, Decimal64 { precision: 18, scale: 3 }];
    let all = [Binary, Date32, Date64, IntervalMonths].into_iter().chain(decimals).chain(units);
    all.map(|sql| Type::new(sql, true)).collect()
}

#[test]
fn comparisons_of_other_types() {
    use BinaryOp::{Distinct, Eq, Lt, Ne};
    for ty in others() {
        for op in [Eq, Ne, Lt] {
            agree_binary(op, ty, ty, BOOL);
        }
        agree_binary(Distinct, ty, ty, Type::boolean(false));
        agree(&format!("{ty}"), &[ty], ty, |_, s, v| s.unary(UnaryOp::Convert, v[0], ty));
    }
    for lits in [vec![&b"\xff\xfe"[..], b""], vec![b"thirteen byt\xf0", b"\x00"]] {
        let binary = Type::new(SqlType::Binary, true);
        agree("in", &[binary], BOOL, |p, s, v| {
            let lits = lits.iter().map(|l| p.literal(binary.with_nullable(false), Datum::Bytes(l.to_vec()))).collect();
            s.op(Op::In(v[0], lits), BOOL)
        });
    }
}

#[test]
fn casts() {
    let narrow = decimal(15, 2).with_repr(Repr::I64);
    for (from, to) in [
        (INT64, INT32),
        (INT64, UINT32),
        (INT32, UINT32),
        (UINT32, INT32),
        (INT32, INT64),
        (FLOAT, INT64),
        (FLOAT, INT32),
        (FLOAT, UINT32),
        (INT64, decimal(10, 2)),
        (INT32, decimal(38, 10)),
        (decimal(38, 2), decimal(10, 1)),
        (narrow, decimal(38, 10)),
        (narrow, decimal(5, 0)),
        (decimal(38, 2), INT64),
        (narrow, INT32),
        (FLOAT, decimal(20, 3)),
    ] {
        agree(&format!("cast {from} to {to}"), &[from], to, |_, s, v| s.unary(UnaryOp::Cast, v[0], to));
        agree(&format!("try_cast {from} to {to}"), &[from], to, |_, s, v| s.unary(UnaryOp::TryCast, v[0], to));
    }
    for (from, to) in [(INT32, INT64), (UINT32, INT64), (INT64, FLOAT), (narrow, FLOAT), (decimal(38, 2), FLOAT), (narrow, decimal(15, 2))]
    {
        agree(&format!("convert {from} to {to}"), &[from], to, |_, s, v| s.unary(UnaryOp::Convert, v[0], to));
    }
}

#[test]
fn logic_of_three_values() {
    let zero = |p: &mut ProgramBuilder, s: &mut StageBuilder, v: Value| {
        let zero = p.literal(INT64.with_nullable(false), Datum::Int(0));
        let zero = s.op(Op::Literal(zero), INT64.with_nullable(false));
        s.binary(BinaryOp::Lt, v, zero, BOOL)
    };
    for op in [BinaryOp::And, BinaryOp::Or] {
        agree(op.name(), &[INT64, INT64], BOOL, |p, s, v| {
            let (a, b) = (zero(p, s, v[0]), zero(p, s, v[1]));
            s.binary(op, a, b, BOOL)
        });
    }
    for (op, ty) in
        [UnaryOp::Not, UnaryOp::IsNull, UnaryOp::IsNotNull, UnaryOp::IsTrue].iter().zip([BOOL, BOOL, BOOL, BOOL.with_nullable(false)])
    {
        let ty = if *op == UnaryOp::Not { ty } else { Type::boolean(false) };
        agree(op.name(), &[INT64], ty, |p, s, v| {
            let a = zero(p, s, v[0]);
            s.unary(*op, a, ty)
        });
    }
}

#[test]
fn text() {
    for literals in [vec!["a", "abcd"], vec!["a", "thirteen byte"], vec!["1", "2", "3", "4", "5", "6", "7", "8", "twelve bytes"]] {
        agree("in", &[TEXT], BOOL, |p, s, v| {
            let lits = literals.iter().map(|l| p.literal(TEXT.with_nullable(false), Datum::Str((*l).into()))).collect();
            s.op(Op::In(v[0], lits), BOOL)
        });
    }
    for pattern in ["a%", "%byte", "%een%", "abcd", "_", "日%", "%"] {
        agree("like", &[TEXT], BOOL, |p, s, v| {
            let pattern = p.literal(TEXT.with_nullable(false), Datum::Str(pattern.into()));
            s.op(Op::Like(v[0], pattern), BOOL)
        });
    }
    agree("substr", &[TEXT, INT64], TEXT, |_, s, v| s.op(Op::Substr(v[0], v[1], None), TEXT));
    agree("char_length", &[TEXT], INT32, |_, s, v| s.unary(UnaryOp::CharLength, v[0], INT32));
    for literal in ["abcd", "thirteen byte", ""] {
        for op in [BinaryOp::Eq, BinaryOp::Ne, BinaryOp::Lt] {
            agree(op.name(), &[TEXT], BOOL, |p, s, v| {
                let lit = p.literal(TEXT.with_nullable(false), Datum::Str(literal.into()));
                let lit = s.op(Op::Literal(lit), TEXT.with_nullable(false));
                s.binary(op, v[0], lit, BOOL)
            });
        }
    }
}

/// What functions that parse or show may be told: bits of an integer, parts of a second, a precision and a scale.
const PARAMETERS: &[&[i64]] = &[&[], &[-64], &[8], &[1], &[1_000_000], &[2], &[38, 2], &[5, 5]];

/// A decimal that is held in 64 bits goes to a function whole.
#[test]
fn narrowed_operands() {
    let narrow = decimal(15, 2).with_repr(Repr::I64);
    agree("decimal_text", &[narrow], TEXT, |p, s, v| {
        let lit = p.literal(INT64.with_nullable(false), Datum::Int(2));
        let scale = s.op(Op::Literal(lit), INT64.with_nullable(false));
        s.op(Op::Call(Function::DecimalText, vec![v[0], scale]), TEXT)
    });
}

/// Every function, over edge values of the kinds that it takes.
#[test]
fn functions() {
    let types = |kind: Kind| match kind {
        Kind::Boolean => BOOL,
        Kind::Whole => INT64,
        Kind::Unsigned => UINT64,
        Kind::Exact => decimal(38, 2),
        Kind::Float => FLOAT,
        Kind::Single => SINGLE,
        Kind::Text => TEXT,
    };
    let number = |p: &mut ProgramBuilder, s: &mut StageBuilder, number: i64| {
        let lit = p.literal(INT64.with_nullable(false), Datum::Int(number.into()));
        s.op(Op::Literal(lit), INT64.with_nullable(false))
    };
    for function in Function::ALL.iter().copied() {
        let result = types(function.result());
        let operands: Vec<Type> = function.operands().iter().map(|kind| types(*kind)).collect();
        match function {
            Function::TruncDecimal | Function::RoundDecimal | Function::TruncDigits => {
                for digits in [[-1, 0], [0, 3], [2, 0], [3, 3], [39, 1]] {
                    agree(function.name(), &operands[..1], result, |p, s, v| {
                        let rest = digits.map(|n| number(p, s, n));
                        let args = [v[0]].into_iter().chain(rest).take(operands.len()).collect();
                        s.op(Op::Call(function, args), result)
                    });
                }
            }
            Function::TimeBin => {
                for (per_second, width, months, origin) in [(1, 60_000_000_000, 0, 7), (1_000_000, 5, 1, -1), (0, 1, 0, 0)] {
                    agree(function.name(), &[INT64], result, |p, s, v| {
                        let rest = [per_second, width, months, origin].map(|n| number(p, s, n));
                        s.op(Op::Call(function, [v[0]].into_iter().chain(rest).collect()), result)
                    });
                }
            }
            Function::RegexReplace | Function::Overlay => {
                for last in [0, 1, 2] {
                    agree(function.name(), &[TEXT, TEXT], result, |p, s, v| {
                        let mut args = vec![v[0], v[1]];
                        args.push(if function == Function::Overlay { number(p, s, 2) } else { v[1] });
                        args.push(number(p, s, last));
                        s.op(Op::Call(function, args), result)
                    });
                }
            }
            // A text repeated for the greatest number of times does not fit; nor does what is padded to that.
            Function::Repeat | Function::PadStart | Function::PadEnd => {
                for count in [-1, 0, 1, 5, 20] {
                    agree(function.name(), &[TEXT, TEXT], result, |p, s, v| {
                        let mut args = vec![v[0], number(p, s, count), v[1]];
                        args.truncate(operands.len());
                        s.op(Op::Call(function, args), result)
                    });
                }
            }
            Function::TimePart | Function::TimeTrunc => {
                for per_second in [0, 1, 1_000, 1_000_000, 1_000_000_000] {
                    let parts = [TimePart::Year, TimePart::Week, TimePart::Quarter, TimePart::Microseconds];
                    for part in parts.iter().filter(|part| function == Function::TimePart || **part != TimePart::Microseconds) {
                        if function == Function::TimeTrunc && per_second == 0 {
                            continue;
                        }
                        agree(function.name(), &[INT64], result, |p, s, v| {
                            let args = vec![v[0], number(p, s, per_second), number(p, s, *part as i64)];
                            s.op(Op::Call(function, args), result)
                        });
                    }
                }
            }
            Function::TimeAdd => {
                for (per_second, back) in [(0, 0), (1_000, 1), (1_000_000_000, 0)] {
                    agree(function.name(), &[INT64], result, |p, s, v| {
                        let rest = [per_second, 1, -2, 3, back].map(|n| number(p, s, n));
                        s.op(Op::Call(function, [v[0]].into_iter().chain(rest).collect()), result)
                    });
                }
            }
            Function::Day => {
                agree(function.name(), &[INT64], result, |p, s, v| {
                    let unit = number(p, s, 1_000_000);
                    s.op(Op::Call(function, vec![v[0], unit]), result)
                });
            }
            // Of parameters, only few have a meaning.
            _ if (function.name().contains("parse_") || function.name().ends_with("_text"))
                && operands[1..].iter().all(|ty| *ty == INT64) =>
            {
                for parameters in PARAMETERS.iter().filter(|parameters| parameters.len() == operands.len() - 1) {
                    agree(function.name(), &operands[..1], result, |p, s, v| {
                        let rest: Vec<Value> = parameters.iter().map(|n| number(p, s, *n)).collect();
                        s.op(Op::Call(function, [v[0]].into_iter().chain(rest).collect()), result)
                    });
                }
            }
            _ => agree(function.name(), &operands, result, |_, s, v| s.op(Op::Call(function, v.to_vec()), result)),
        }
    }
    agree("concat", &[TEXT, TEXT, TEXT], TEXT, |_, s, v| s.op(Op::Call(Function::Concat, v.to_vec()), TEXT));
    for pattern in ["A%", "%BYTE", "日%", "%een_BYT_", "K%"] {
        agree("ilike", &[TEXT], BOOL, |p, s, v| {
            let pattern = p.literal(TEXT.with_nullable(false), Datum::Str(pattern.into()));
            s.op(Op::Ilike(v[0], pattern), BOOL)
        });
    }
}

/// Every accumulator over nullable arguments, by nullable keys of every type and without keys.
#[test]
fn accumulators() {
    let narrow = decimal(15, 2).with_repr(Repr::I64);
    let columns = [INT64, FLOAT, narrow, TEXT, INT32];
    for key in [None, Some(0), Some(1), Some(2), Some(3)] {
        let mut p = ProgramBuilder::new();
        let input = p.input("t", columns.to_vec());
        let acc = |op, ty| AccDecl { op, ty };
        let not_null = INT64.with_nullable(false);
        let accs = vec![
            (acc(AccOp::CountRows, not_null), None),
            (acc(AccOp::Count, not_null), Some(3)),
            (acc(AccOp::Sum, INT64), Some(0)),
            (acc(AccOp::Sum, decimal(25, 2)), Some(2)),
            (acc(AccOp::BitOr, INT64), Some(0)),
            (acc(AccOp::BitXor, INT64), Some(0)),
            (acc(AccOp::BitXor, INT32), Some(4)),
            (acc(AccOp::BitOr, INT32), Some(4)),
            (acc(AccOp::Min, FLOAT), Some(1)),
            (acc(AccOp::Max, TEXT), Some(3)),
            (acc(AccOp::Min, TEXT), Some(3)),
            (acc(AccOp::Max, narrow), Some(2)),
            (acc(AccOp::Min, INT32), Some(4)),
        ];
        let keys: Vec<Type> = key.iter().map(|key| columns[*key]).collect();
        let groups = p.groups(GroupsDecl::new(keys.clone(), accs.iter().map(|(acc, _)| *acc).collect()));
        let s = StageBuilder::new("scan", Source::Input { input, partitioned: false }, &columns);
        let params = s.params().to_vec();
        let args = accs.iter().map(|(_, arg)| arg.map(|arg: usize| params[arg])).collect();
        p.stage(s.sink(Sink::Group { groups, keys: key.iter().map(|key| params[*key]).collect(), args, operands: vec![] }));
        let types: Vec<Type> = keys.into_iter().chain(accs.iter().map(|(acc, _)| acc.ty)).collect();
        let s = StageBuilder::new("groups", Source::Groups(groups), &types);
        let out = s.params().to_vec();
        p.stage(s.sink(Sink::Emit { columns: out }));
        let output: Vec<Type> = types.iter().map(|ty| ty.with_repr(ty.sql.default_repr())).collect();
        let fields: Vec<Field> =
            output.iter().enumerate().map(|(i, ty)| Field::new(format!("o{i}"), arrow_type(ty.sql), ty.nullable)).collect();
        let program = Arc::new(p.finish(output));
        let code = native(&program);
        // Runs through the edge values at different speeds.
        let repeated = |ty: &Type, by: usize| {
            let values = edges(*ty);
            let at: arrow::array::UInt64Array = (0..200).map(|i| Some((i / by % values.len()) as u64)).collect();
            arrow::compute::take(&values, &at, None).expect("in range")
        };
        let batch = batch_of(columns.iter().zip([1, 2, 3, 5, 7]).map(|(ty, by)| repeated(ty, by)).collect());
        let schema = Arc::new(Schema::new(fields));
        for batch in [batch.clone(), batch.slice(0, 0), batch.slice(17, 100)] {
            let compiled = run(&program, Some(&code), &schema, &batch).expect("runs");
            assert_eq!(compiled, run(&program, None, &schema, &batch).expect("runs"), "key {key:?}\n{program}");
        }
    }
}
