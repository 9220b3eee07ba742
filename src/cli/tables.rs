//! Registers files as tables.

use std::path::{Path, PathBuf};

use datafusion::common::TableReference;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionContext};

use super::failure::Failure;

/// The file types that a table can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    Parquet,
    Csv,
    Json,
}

impl FileType {
    pub fn of(path: &Path) -> Option<FileType> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" => Some(FileType::Parquet),
            "csv" => Some(FileType::Csv),
            "json" => Some(FileType::Json),
            _ => None,
        }
    }
}

/// Registers the tables of `--data` and `--table`.
pub async fn register(context: &SessionContext, data: Option<&Path>, tables: &[String]) -> Result<(), Failure> {
    for (name, file) in named(data, tables)? {
        register_file(context, &name, &file).await?;
    }
    Ok(())
}

/// Name and path of the tables of `--data` and `--table`.
pub fn named(data: Option<&Path>, tables: &[String]) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut named = data.map(list).transpose()?.unwrap_or_default();
    for table in tables {
        match table.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => named.push((name.to_owned(), PathBuf::from(file))),
            _ => return Err(Failure::new(format!("--table {table}: write NAME=FILE"))),
        }
    }
    Ok(named)
}

/// Name and path of every file of a folder that can be a table, by name.
pub fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut tables = vec![];
    for entry in std::fs::read_dir(folder).map_err(|error| Failure::at(folder, error))? {
        let path = entry.map_err(|error| Failure::at(folder, error))?.path();
        if let (Some(_), Some(stem), true) = (FileType::of(&path), path.file_stem().and_then(|stem| stem.to_str()), path.is_file()) {
            tables.push((stem.to_owned(), path));
        }
    }
    if tables.is_empty() {
        return Err(Failure::at(folder, "no .parquet, .csv or .json file here"));
    }
    tables.sort();
    Ok(tables)
}

/// Registers one file. DataFusion takes a path that does not exist for an empty table, so that is looked at first.
pub async fn register_file(context: &SessionContext, name: &str, file: &Path) -> Result<(), Failure> {
    let metadata = std::fs::metadata(file).map_err(|error| Failure::at(file, error))?;
    if !metadata.is_file() {
        return Err(Failure::at(file, "not a file"));
    }
    if metadata.len() == 0 && FileType::of(file) == Some(FileType::Parquet) {
        return Err(Failure::at(file, "the file is empty: a Parquet file has a footer at least"));
    }
    let Some(file_type) = FileType::of(file) else {
        return Err(Failure::at(file, "a table's file ends in .parquet, .csv or .json"));
    };
    let path = std::path::absolute(file).map_err(|error| Failure::at(file, error))?;
    let path = path.to_str().ok_or_else(|| Failure::at(file, "the path is not UTF-8"))?;
    // As it is written: `FILE.CSV` is taken too.
    let extension = file.extension().and_then(|extension| extension.to_str()).map(|extension| format!(".{extension}")).unwrap_or_default();
    let table = TableReference::bare(name);
    let registered = match file_type {
        FileType::Parquet => {
            context.register_parquet(table, path, ParquetReadOptions { file_extension: &extension, ..ParquetReadOptions::default() }).await
        }
        FileType::Csv => context.register_csv(table, path, CsvReadOptions::new().file_extension(&extension)).await,
        FileType::Json => context.register_json(table, path, JsonReadOptions::default().file_extension(&extension)).await,
    };
    registered.map_err(|error| Failure::from(error).within(file.display()))
}
