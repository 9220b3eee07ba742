//! The interpreter through [`stagefuse_runtime::Run`], against expectations computed row by row.

mod joins;
mod rows;
mod scalars;
mod tables;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use stagefuse_ir::{EntityRef, Source, parser, verifier};
use stagefuse_runtime::{Engine, Error, Flow, OpaqueExpr, Run, RunConfig, Unlimited, arrow_type};

/// One output row, printed.
pub type Row = Vec<String>;

/// Runs a program with two workers that take batches in turn, and two partitions; yields the printed output rows.
pub fn run_with(program: &str, inputs: &[Vec<RecordBatch>], opaques: Vec<Arc<dyn OpaqueExpr>>) -> Result<Vec<Row>, Error> {
    let program = Arc::new(parser::parse(program).unwrap_or_else(|error| panic!("{error}\n{program}")));
    if let Err(errors) = verifier::verify(&program) {
        panic!("{errors:#?}");
    }
    let fields: Vec<Field> =
        program.output.iter().enumerate().map(|(at, ty)| Field::new(format!("c{at}"), arrow_type(ty.sql), ty.nullable)).collect();
    let run = Run::new(RunConfig {
        host_types: vec![],
        program: Arc::clone(&program),
        engines: program.stages.keys().map(|_| Engine::Interpreted).collect(),
        opaques,
        aggregates: vec![],
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(fields)),
        partitions: 2,
        memory: Arc::new(Unlimited),
    })?;
    let mut rows = vec![];
    for (stage, decl) in program.stages.iter() {
        {
            let mut workers = [run.worker(), run.worker()];
            match decl.source {
                Source::Input { input, .. } => {
                    for (number, batch) in inputs[input.index()].iter().enumerate() {
                        let flow = run.run_batch(stage, &mut workers[number % 2], batch)?;
                        if flow == Flow::Done {
                            break;
                        }
                    }
                }
                Source::Groups(_) | Source::Join(..) | Source::Sort(_) => {
                    for (partition, worker) in workers.iter_mut().enumerate() {
                        let mut cursor = run.table_cursor(stage, partition)?;
                        while run.run_table(stage, worker, &mut cursor)? == Flow::More {}
                    }
                }
            }
            for worker in &mut workers {
                worker.take_output().iter().for_each(|batch| rows.extend(print(batch)));
            }
        }
        while let parts @ 1.. = run.finish_parts(stage)? {
            (0..parts).try_for_each(|part| run.finish_part(stage, part))?;
        }
    }
    Ok(rows)
}

/// As [`run_with`], where nothing fails; rows in order of their text.
pub fn run(program: &str, inputs: &[Vec<RecordBatch>]) -> Vec<Row> {
    sorted(run_with(program, inputs, vec![]).unwrap_or_else(|error| panic!("{error}\n{program}")))
}

/// Rows in order of their text.
pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

fn print(batch: &RecordBatch) -> Vec<Row> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<_> = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("printable")).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

/// Prints a value that may be null.
pub fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or("null".into(), |value| value.to_string())
}
