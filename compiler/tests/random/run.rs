//! Runs a program in every way that there is, and compares.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::compute::kernels::numeric::add_wrapping;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use stagefuse_compiler::{CompileError, Options, compile};
use stagefuse_ir::abi::HASH_COLLIDING;
use stagefuse_ir::passes::{eliminate_dead, lift_opaque, narrow, read_keys};
use stagefuse_ir::{AccOp, LimitDecl, Program, Repr, Source, SqlType, Type, verifier::verify};
use stagefuse_runtime::{Engine, Flow, OpaqueExpr, Run, RunConfig, Sizes, Unlimited, builtins};

use crate::generate::bounds;

/// The generator's `f(x, y)`.
#[derive(Debug)]
struct Sum;

impl OpaqueExpr for Sum {
    fn evaluate(&self, args: &[ArrayRef], _rows: usize) -> Result<ArrayRef, Box<dyn std::error::Error + Send + Sync>> {
        Ok(add_wrapping(&args[0], &args[1])?)
    }
}

fn arrow_type(ty: &Type) -> Option<DataType> {
    (!matches!(ty.sql, SqlType::Host(_))).then(|| stagefuse_runtime::arrow_type(ty.sql))
}

fn schema(types: &[Type]) -> Arc<Schema> {
    Arc::new(Schema::new(
        types.iter().map(|ty| Field::new("c", arrow_type(ty).expect("a type of Arrow's"), ty.nullable)).collect::<Vec<_>>(),
    ))
}

/// Rows for an input: few different values, so that keys meet, extreme ones among them.
fn rows(types: &[Type], numbers: &[u64]) -> RecordBatch {
    let mut at = 0;
    let mut next = || {
        at += 1;
        numbers[at % numbers.len()].wrapping_mul(at as u64 | 1) >> 7
    };
    let rows = 1 + next() as usize % 40;
    let mut column = |ty: &Type| {
        let texts = (0..rows).map(|_| {
            let number = next();
            if ty.nullable && number.is_multiple_of(5) {
                return None;
            }
            let small = (number / 8 % 4) as i128;
            Some(match ty.sql {
                SqlType::Boolean => (small % 2 == 0).to_string(),
                SqlType::Utf8 | SqlType::Binary => {
                    ["", "a", "twelve bytes", "a text that is longer than twelve bytes: ü"][small as usize].into()
                }
                SqlType::Float32 | SqlType::Float64 => ["0", "-0.0", "1.5", "NaN"][small as usize].into(),
                SqlType::Decimal { scale, .. } | SqlType::Decimal32 { scale, .. } | SqlType::Decimal64 { scale, .. } => {
                    decimal(if number.is_multiple_of(3) { bounds(ty.sql).1 - small } else { small - 2 }, scale)
                }
                sql if number.is_multiple_of(3) => (bounds(sql).1 - small).to_string(),
                _ => small.to_string(),
            })
        });
        let texts: arrow::array::StringArray = texts.collect();
        let data_type = arrow_type(ty).expect("a type of Arrow's");
        // What dates and times count is a number here, as everywhere in stages.
        let through = match ty.sql {
            sql if sql.is_temporal() => {
                if sql.default_repr() == Repr::I32 {
                    DataType::Int32
                } else {
                    DataType::Int64
                }
            }
            SqlType::Binary => DataType::Utf8View,
            _ => data_type.clone(),
        };
        let array = arrow::compute::cast(&texts, &through).expect("a cast");
        // Not by a cast: it would not take every number for a time of day.
        let array = if ty.sql.is_temporal() {
            make_array(array.to_data().into_builder().data_type(data_type).build().expect("numbers of the same width"))
        } else {
            arrow::compute::cast(&array, &data_type).expect("a cast")
        };
        assert_eq!(array.null_count(), texts.null_count(), "{ty}: {texts:?}");
        array
    };
    let columns = types.iter().map(&mut column).collect();
    RecordBatch::try_new(schema(types), columns).expect("columns of one length")
}

fn decimal(unscaled: i128, scale: i8) -> String {
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    let digits = format!("{digits:0>width$}", width = scale as usize + 1);
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// How a program runs.
#[derive(Clone, Debug)]
struct Way {
    native: bool,
    split: bool,
    sizes: Sizes,
}

/// Runs a program; the rows in an order of their own, or an error.
fn run(program: &Arc<Program>, way: &Way, inputs: &[RecordBatch]) -> Result<Vec<String>, String> {
    let engine = |stage| {
        if !way.native {
            return Engine::Interpreted;
        }
        // Tiny morsels ask for whatever they can.
        let cached_bytes = if way.sizes.morsel_rows < 8 { 0 } else { Options::default().cached_bytes };
        let options = Options { verify: true, always_split: way.split, hash_mask: way.sizes.hash_mask, cached_bytes, ..Options::default() };
        match compile(program, stage, &builtins(), &options) {
            Ok(code) => Engine::Native { function: code.function(), owner: Arc::new(code) },
            // A stage with an opaque expression in the midst is for the interpreter.
            Err(CompileError::Unsupported(_)) => Engine::Interpreted,
            Err(error) => panic!("{error}\n{program}"),
        }
    };
    let config = RunConfig {
        host_types: vec![],
        program: Arc::clone(program),
        engines: program.stages.keys().map(engine).collect(),
        opaques: program.opaques.values().map(|_| Arc::new(Sum) as Arc<dyn OpaqueExpr>).collect(),
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: schema(&program.output),
        partitions: 2,
        memory: Arc::new(Unlimited),
    };
    let execute = || {
        let run = Run::with_sizes(config, way.sizes.clone())?;
        let mut out = vec![];
        for (stage, decl) in &program.stages {
            if program.is_handed(stage) {
                // It runs amid the stage that hands it rows.
            } else if let Source::Input { input, .. } = decl.source {
                let (batch, half) = (&inputs[input.as_u32() as usize], inputs[input.as_u32() as usize].num_rows() / 2);
                // Two workers, that hold tables of their own.
                let (mut one, mut two) = (run.worker(), run.worker());
                if run.run_batch(stage, &mut one, &batch.slice(0, half))? == Flow::More {
                    run.run_batch(stage, &mut two, &batch.slice(half, batch.num_rows() - half))?;
                }
                out.extend(one.take_output());
                out.extend(two.take_output());
            } else {
                let mut worker = run.worker();
                for partition in 0..2 {
                    let mut cursor = run.table_cursor(stage, partition)?;
                    while run.run_table(stage, &mut worker, &mut cursor)? == Flow::More {}
                }
                out.extend(worker.take_output());
            }
            while let parts @ 1.. = run.finish_parts(stage)? {
                for part in 0..parts {
                    run.finish_part(stage, part)?;
                }
            }
        }
        Ok(out)
    };
    let batches = execute().map_err(|error: stagefuse_runtime::Error| error.to_string())?;
    let mut rows = vec![];
    for batch in &batches {
        batch.columns().iter().for_each(|column| column.to_data().validate_full().expect("a sound array"));
        rows.extend((0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|")));
    }
    rows.sort();
    Ok(rows)
}

fn cell(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        _ if column.is_null(row) => "null".into(),
        // There is but one NaN.
        DataType::Float64 if column.as_primitive::<Float64Type>().value(row).is_nan() => "NaN".into(),
        _ => arrow::util::display::array_value_to_string(column, row).unwrap_or_else(|error| error.to_string()),
    }
}

/// Whether the program adds floats up, or orders them by signs of zero and NaN: then the order of rows shows in its results.
fn depends_on_order(program: &Program) -> bool {
    let float = |ty: &Type| ty.sql.is_float();
    program.groups.values().any(|groups| groups.accs.iter().any(|acc| matches!(acc.op, AccOp::Sum) && float(&acc.ty)))
}

fn ways() -> Vec<Way> {
    let usual = Sizes::default();
    let mut ways = vec![
        Way { native: false, split: false, sizes: usual.clone() },
        Way { native: true, split: false, sizes: usual.clone() },
        Way { native: true, split: true, sizes: usual },
    ];
    ways.extend([1, 3, 7].map(|rows| Way { native: true, split: rows == 3, sizes: Sizes::least(rows) }));
    ways.push(Way { native: false, split: false, sizes: Sizes::least(2) });
    ways.extend([true, false].map(|native| Way { native, split: false, sizes: Sizes { hash_mask: HASH_COLLIDING, ..Sizes::least(5) } }));
    ways
}

/// Whether all that a program needs of a host is there: columns of types that have an arrow array, and the one opaque expression.
pub fn is_plain(program: &Program) -> bool {
    let given = program.inputs.values().flat_map(|input| &input.columns).chain(&program.output);
    let float = Type::new(SqlType::Float64, true);
    let sums = program
        .opaques
        .values()
        .all(|opaque| opaque.args.len() == 2 && opaque.args.iter().chain([&opaque.result]).all(|ty| ty.sql == float.sql));
    given.into_iter().all(|ty| ty.repr == ty.sql.default_repr() && arrow_type(ty).is_some())
        && sums
        && !program.inputs.values().any(|input| input.handed)
        && program.params.is_empty()
        && program.host_types.is_empty()
        && program.aggregates.is_empty()
}

/// Runs a program that obeys the laws in every way, over rows that numbers decide.
///
/// # Panics
/// Where two ways differ.
pub fn check(mut program: Program, numbers: &[u64]) {
    // Which rows a limit lets through depends on their order.
    program.limits.values_mut().for_each(|limit| *limit = LimitDecl { skip: 0, fetch: u64::MAX });
    verify(&program).unwrap_or_else(|errors| panic!("{errors:?}\n{program}"));
    let inputs: Vec<RecordBatch> =
        program.inputs.values().filter(|input| !input.handed).map(|input| rows(&input.columns[..input.given()], numbers)).collect();
    let mut lean = program.clone();
    narrow(&mut lean);
    read_keys(&mut lean);
    eliminate_dead(&mut lean);
    verify(&lean).unwrap_or_else(|errors| panic!("{errors:?}\n{lean}"));
    // As the front end does it: expressions of the host are computed ahead of stages, which may be cut in two for it.
    let mut lifted = program.clone();
    eliminate_dead(&mut lifted);
    lift_opaque(&mut lifted);
    narrow(&mut lifted);
    eliminate_dead(&mut lifted);
    verify(&lifted).unwrap_or_else(|errors| panic!("{errors:?}\n{lifted}"));
    let loose = depends_on_order(&program);
    let mut rows: Option<Vec<String>> = None;
    for (program, lean) in [(Arc::new(program), false), (Arc::new(lean), true), (Arc::new(lifted), true)] {
        let mut fails = None;
        for way in ways() {
            let got = run(&program, &way, &inputs);
            // What nobody needs may be computed or not, with its errors, until it has been eliminated. Which of several errors comes first depends on
            // the order of evaluation.
            assert!(!lean || *fails.get_or_insert(got.is_err()) == got.is_err(), "{way:?}: {got:?}\n{program}\n{inputs:?}");
            let Ok(got) = got else { continue };
            let wanted = rows.get_or_insert_with(|| got.clone());
            if loose {
                assert_eq!(wanted.len(), got.len(), "{way:?}\n{program}\n{inputs:?}");
            } else {
                assert_eq!(*wanted, got, "{way:?}\n{program}\n{inputs:?}");
            }
        }
    }
}
