//! Brings a suite's tables to where the queries read them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::SessionContext;
use stagefuse::CachedTable;

use super::data::{Source, Table};
use crate::cli::failure::Failure;
use crate::cli::{output, tables};

/// Files that live as long as this does.
pub struct MadeFolder(PathBuf);

impl Drop for MadeFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes the tables in memory.
pub fn made_memory(context: &SessionContext, source: Source, scale: f64, threads: usize) -> Result<(), Failure> {
    for name in source.tables() {
        let table = make(source, name, scale, threads)?;
        register(context, name, table.schema, table.partitions)?;
    }
    Ok(())
}

/// Makes the tables as Parquet files, unless the folder has them already, and registers those.
pub async fn made_parquet(
    context: &SessionContext,
    source: Source,
    folder: Option<&Path>,
    scale: f64,
    threads: usize,
) -> Result<Option<MadeFolder>, Failure> {
    let (folder, made) = match folder {
        Some(folder) => (folder.to_owned(), None),
        None => {
            let folder = std::env::temp_dir().join(format!("stagefuse-{}-{}", source.name(), std::process::id()));
            (folder.clone(), Some(MadeFolder(folder)))
        }
    };
    std::fs::create_dir_all(&folder).map_err(|error| Failure::at(&folder, error))?;
    for name in source.tables() {
        let path = folder.join(format!("{name}.parquet"));
        if !path.exists() {
            write(&path, &make(source, name, scale, threads)?)?;
        }
        tables::register_file(context, name, &path).await?;
    }
    Ok(made)
}

/// Reads files into memory, each a table, cut into `threads` partitions of about the same number of rows.
pub async fn into_memory(context: &SessionContext, files: Vec<(String, PathBuf)>, threads: usize) -> Result<(), Failure> {
    let reader = SessionContext::new();
    for (name, file) in files {
        let start = Instant::now();
        tables::register_file(&reader, &name, &file).await?;
        let frame = reader.table(datafusion::common::TableReference::bare(name.as_str())).await?;
        let schema = Arc::clone(frame.schema().inner());
        // Partition by partition: rows keep the order of the file.
        let batches = frame.collect_partitioned().await.map_err(|error| Failure::from(error).within(file.display()))?.concat();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut partitions = vec![vec![]; threads];
        let mut seen = 0;
        for batch in batches {
            let partition = (seen * threads / rows.max(1)).min(threads - 1);
            seen += batch.num_rows();
            partitions[partition].push(batch);
        }
        register(context, &name, schema, partitions)?;
        output::complain(&format!("loaded {name}: {rows} rows, {:.1} s", start.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn make(source: Source, name: &str, scale: f64, threads: usize) -> Result<Table, Failure> {
    let start = Instant::now();
    let table = source.table(name, scale, threads).map_err(Failure::new)?;
    let rows: usize = table.partitions.iter().flatten().map(RecordBatch::num_rows).sum();
    output::complain(&format!("made {name}: {rows} rows, {:.1} s", start.elapsed().as_secs_f64()));
    Ok(table)
}

/// Registers batches as a table of memory.
pub fn register(context: &SessionContext, name: &str, schema: SchemaRef, partitions: Vec<Vec<RecordBatch>>) -> Result<(), Failure> {
    let table = MemTable::try_new(schema, partitions)?;
    context.register_table(datafusion::common::TableReference::bare(name), Arc::new(table))?;
    Ok(())
}

/// Names of all tables.
pub async fn tables(context: &SessionContext) -> Result<Vec<String>, Failure> {
    let names = context.catalog("datafusion").and_then(|catalog| catalog.schema("public")).map(|schema| schema.table_names());
    Ok(names.unwrap_or_default())
}

/// Makes a table of one session one of another, too.
pub async fn copy(from: &SessionContext, to: &SessionContext, table: &str) -> Result<(), Failure> {
    let name = datafusion::common::TableReference::bare(table);
    to.register_table(name.clone(), from.table_provider(name).await?)?;
    Ok(())
}

/// Registers a table that another session holds.
pub fn register_cached(context: &SessionContext, table: &str, cached: &CachedTable) -> Result<(), Failure> {
    context.register_table(datafusion::common::TableReference::bare(table), Arc::new(cached.clone()))?;
    Ok(())
}

/// Writes a table beside its place first: a run that was stopped leaves no half file behind that the next one would take.
fn write(path: &Path, table: &Table) -> Result<(), Failure> {
    let half = path.with_extension("parquet.part");
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let written = File::create(&half).map_err(|error| error.to_string()).and_then(|file| {
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&table.schema), Some(properties)).map_err(|error| error.to_string())?;
        for batch in table.partitions.iter().flatten() {
            writer.write(batch).map_err(|error| error.to_string())?;
        }
        writer.close().map_err(|error| error.to_string())
    });
    written.map_err(|error| Failure::at(&half, error))?;
    std::fs::rename(&half, path).map_err(|error| Failure::at(path, error))
}
