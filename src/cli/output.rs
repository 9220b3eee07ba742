//! Prints rows and messages. A reader that goes away (`| head`) ends the printing, not the program with a panic.

use std::io::{self, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvWriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{LineDelimited, WriterBuilder as JsonWriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_schema;

use super::arguments::Format;
use super::failure::Failure;

/// Prints text to stdout as it is.
pub fn print(text: &str) -> Result<(), Failure> {
    ignore_closed(io::stdout().lock().write_all(text.as_bytes()))
}

/// Writes text to a file, or prints it where there is none.
pub fn write(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    match file {
        Some(file) => std::fs::write(file, text).map_err(|error| Failure::at(file, error)),
        None => print(text),
    }
}

/// Prints a line to stdout.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints a line to stderr; there is nobody to tell when that fails.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a result. `again`: something was printed before, which a CSV reader must be able to tell apart.
pub fn answer(schema: &SchemaRef, batches: &[RecordBatch], format: Format, again: bool) -> Result<bool, Failure> {
    let mut bytes = vec![];
    match format {
        Format::Table => writeln!(bytes, "{}", pretty_format_batches_with_schema(schema.clone(), batches)?)?,
        Format::Csv => {
            if again {
                bytes.push(b'\n');
            }
            let mut writer = CsvWriterBuilder::new().with_header(true).build(&mut bytes);
            // The header comes with the first batch, so there has to be one.
            writer.write(&RecordBatch::new_empty(schema.clone()))?;
            for batch in batches {
                writer.write(batch)?;
            }
        }
        Format::Json => {
            let mut writer = JsonWriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut bytes);
            for batch in batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
    }
    ignore_closed(io::stdout().lock().write_all(&bytes))?;
    Ok(true)
}

/// Whether rows are those of an `EXPLAIN`.
pub fn is_plan(schema: &SchemaRef) -> bool {
    schema.fields().len() == 2 && schema.field(0).name() == "plan_type"
}

/// The last column of a result as plain text: a plan or a dump, which a table's borders would only hide.
pub fn text(batches: &[RecordBatch]) -> Result<String, Failure> {
    let options = FormatOptions::default();
    let mut text = String::new();
    for batch in batches {
        let Some(column) = batch.columns().last() else { continue };
        let column = ArrayFormatter::try_new(column.as_ref(), &options)?;
        for row in 0..batch.num_rows() {
            text.push_str(column.value(row).to_string().trim_end());
            text.push('\n');
        }
    }
    Ok(text)
}

/// The first two columns of a result as texts.
pub fn pairs(batches: &[RecordBatch]) -> Result<Vec<(String, String)>, Failure> {
    let options = FormatOptions::default();
    let mut pairs = vec![];
    for batch in batches {
        let [name, value, ..] = batch.columns() else { continue };
        let (name, value) = (ArrayFormatter::try_new(name.as_ref(), &options)?, ArrayFormatter::try_new(value.as_ref(), &options)?);
        pairs.extend((0..batch.num_rows()).map(|row| (name.value(row).to_string(), value.value(row).to_string())));
    }
    Ok(pairs)
}

fn ignore_closed(result: io::Result<()>) -> Result<(), Failure> {
    match result.and_then(|()| io::stdout().lock().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!("standard output: {error}"))),
        _ => Ok(()),
    }
}
