//! Decimals that lie in 8 bytes are those of 128 bits to both engines, however wide they are held, and however wide they come.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal64Array, Decimal128Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Stage, parser::parse, verifier::verify};
use stagefuse_runtime::{Engine, Error, Run, RunConfig, Unlimited, builtins};

/// Decimals held in 64 and in 128 bits; the filter looks at one ahead of the row loop.
fn program() -> Arc<Program> {
    let text = r#"program {
  input0 "t" (decimal(18,2):i64 word, decimal(18,2)? word)
  lit0: decimal(18,2):i64 = 0
  output (decimal(18,2), decimal(18,2)?)

  s0 "scan" {
    source input0 partitioned (v0: decimal(18,2):i64, v1: decimal(18,2)?)
    v2: decimal(18,2):i64 = literal lit0
    v3: boolean = gt v0, v2
    filter v3
    emit (v0, v1)
  }
}
"#;
    let program = parse(text).expect("it parses");
    verify(&program).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(program.to_string(), text);
    Arc::new(program)
}

fn run(native: bool, columns: Vec<ArrayRef>) -> Result<Vec<(i128, Option<i128>)>, Error> {
    let program = program();
    let stage: Stage = program.stages.keys().next().expect("a stage");
    let engine = if native {
        let options = Options { verify: true, ..Options::default() };
        let code = compile(&program, stage, &builtins(), &options).expect("it compiles");
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    } else {
        Engine::Interpreted
    };
    let decimal = DataType::Decimal128(18, 2);
    let schema = Schema::new(vec![Field::new("a", decimal.clone(), false), Field::new("b", decimal, true)]);
    let fields: Vec<Field> =
        ["a", "b"].iter().zip(&columns).map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let run = Run::new(RunConfig {
        host_types: vec![],
        program: Arc::clone(&program),
        engines: vec![engine],
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(schema),
        partitions: 1,
        memory: Arc::new(Unlimited),
    })?;
    let mut worker = run.worker();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length");
    run.run_batch(stage, &mut worker, &batch)?;
    let mut rows = vec![];
    for batch in worker.take_output() {
        let column = |i: usize| batch.column(i).as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>();
        rows.extend(column(0).into_iter().zip(column(1)).map(|(a, b)| (a.expect("no nulls"), b)));
    }
    Ok(rows)
}

#[test]
fn words_are_decimals() {
    let most = 10i64.pow(18) - 1;
    let first: Vec<i64> = (0..5000).map(|row| [most, 1, 0, -1, -most, 123_456][row % 6]).collect();
    let second: Vec<Option<i64>> = (0..5000).map(|row| [Some(-1), Some(most), None, Some(-most), Some(0)][row % 5]).collect();
    let all = first.iter().zip(&second).filter(|(a, _)| **a > 0);
    let expected: Vec<(i128, Option<i128>)> = all.map(|(a, b)| (i128::from(*a), b.map(i128::from))).collect();
    let narrow: [ArrayRef; 2] = [
        Arc::new(Decimal64Array::from(first).with_precision_and_scale(18, 2).expect("it fits")),
        Arc::new(Decimal64Array::from(second).with_precision_and_scale(18, 2).expect("it fits")),
    ];
    let wide = narrow.each_ref().map(|array| cast(array, &DataType::Decimal128(18, 2)).expect("it fits"));
    for native in [true, false] {
        assert_eq!(run(native, narrow.to_vec()).unwrap(), expected);
        assert_eq!(run(native, wide.to_vec()).unwrap(), expected);
        // Odd offsets.
        let slices = narrow.each_ref().map(|array| array.slice(6, 4994 - 7));
        assert_eq!(run(native, slices.to_vec()).unwrap().first(), expected[2..].first().map(|_| &expected[3]), "native {native}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let wide: ArrayRef = Arc::new(Decimal128Array::from(vec![1i128 << 80]).with_precision_and_scale(38, 2).expect("it fits"));
    let wide = arrow::array::make_array(
        wide.to_data().into_builder().data_type(DataType::Decimal128(18, 2)).build().expect("the digits are not looked at"),
    );
    for native in [true, false] {
        assert!(matches!(run(native, vec![Arc::clone(&wide), Arc::clone(&wide)]), Err(Error::Arrow(_))));
    }
}
