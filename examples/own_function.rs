//! A function of one's own in a query whose stages stay native: DataFusion calls it, batch by batch, as an opaque expression.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::cast::as_int64_array;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use stagefuse::{EngineKind, Mode, Session};

#[tokio::main]
async fn main() -> Result<(), stagefuse::Error> {
    let session = Session::builder().target_partitions(2).mode(Mode::Compiled).build();

    // An ordinary function of DataFusion's, on columns.
    let digits = create_udf(
        "digit_sum",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let sums: Int64Array = as_int64_array(&arrays[0])?.iter().map(|number| number.map(digit_sum)).collect();
            Ok(ColumnarValue::Array(Arc::new(sums) as ArrayRef))
        }),
    );
    session.context().register_udf(digits);

    let query =
        session.sql("SELECT digit_sum(value) AS digits, count(*) AS n FROM generate_series(1, 99999) GROUP BY 1 ORDER BY 1").await?;
    let batches = query.collect().await?;
    let stages = query.metrics()?;
    for stage in &stages {
        println!("{}: {}, {} opaque expressions", stage.name, stage.engine, stage.opaque_expressions);
    }
    // Filters, groups and sums around it are compiled all the same.
    assert!(stages.iter().all(|stage| stage.engine == EngineKind::Native && stage.fallback.is_none()), "{stages:?}");
    assert_eq!(stages.iter().map(|stage| stage.opaque_expressions).sum::<usize>(), 1);

    let rows = |batch: &RecordBatch| -> Vec<(i64, i64)> {
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
        column(0).into_iter().zip(column(1)).collect()
    };
    let found: Vec<(i64, i64)> = batches.iter().flat_map(rows).collect();
    // The sum of the digits of at most five digits is between 1 and 45; only 99,999 reaches 45.
    assert_eq!((found.len(), found[0], found[44]), (45, (1, 5), (45, 1)));
    assert_eq!(found.iter().map(|(_, count)| count).sum::<i64>(), 99_999);
    println!("{} different sums, the most frequent {:?}", found.len(), found.iter().max_by_key(|(_, count)| count));
    Ok(())
}

fn digit_sum(mut number: i64) -> i64 {
    let mut sum = 0;
    while number > 0 {
        sum += number % 10;
        number /= 10;
    }
    sum
}
