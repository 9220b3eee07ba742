//! Where measurements go: a file of JSON lines, and the page with the charts.

use std::fs::File;
use std::io::{BufWriter, Write};

use stagefuse::Session;

use super::machine;
use super::page::Page;
use super::record::{Record, Subject};
use crate::cli::arguments::BenchArguments;
use crate::cli::engine;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Takes records as they come.
pub struct Sink<'a> {
    arguments: &'a BenchArguments,
    json: Option<BufWriter<File>>,
    records: Vec<Record>,
    wrong: Vec<String>,
    load: Option<f64>,
    settings: Vec<(String, String)>,
}

impl<'a> Sink<'a> {
    /// Before anything is measured or made: what cannot be written to is an error at once.
    pub fn open(arguments: &'a BenchArguments) -> Result<Sink<'a>, Failure> {
        let json = match &arguments.json {
            Some(path) => Some(BufWriter::new(File::create(path).map_err(|error| Failure::at(path, error))?)),
            None => None,
        };
        if let Some(folder) = &arguments.report {
            std::fs::create_dir_all(folder).map_err(|error| Failure::at(folder, error))?;
        }
        Ok(Sink { arguments, json, records: vec![], wrong: vec![], load: machine::load(), settings: vec![] })
    }

    /// What measurements of a suite have in common, without its size and its threads.
    pub fn subject(&self, suite: &str) -> Subject {
        Subject { suite: suite.to_owned(), scale: None, table_rows: None, storage: self.arguments.storage.to_string(), threads: None }
    }

    /// Notes the settings of the sessions; the mode is that of each measurement.
    pub async fn settings(&mut self, session: &Session) -> Result<(), Failure> {
        let sql = "SELECT name, value FROM information_schema.df_settings WHERE name LIKE 'stagefuse.%' AND name <> 'stagefuse.mode' ORDER BY name";
        self.settings = output::pairs(&engine::run(session, sql).await?.batches)?;
        Ok(())
    }

    pub fn take(&mut self, records: Vec<Record>) -> Result<(), Failure> {
        if let Some(json) = &mut self.json {
            for record in &records {
                writeln!(json, "{}", record.json())?;
            }
            json.flush()?;
        }
        self.records.extend(records);
        Ok(())
    }

    /// Adds what is wrong with answers.
    pub fn wrong(&mut self, wrong: &[String]) {
        self.wrong.extend_from_slice(wrong);
    }

    /// Writes the page. `Ok(false)`: some answer was wrong.
    pub fn close(self, suite: &str) -> Result<bool, Failure> {
        if let Some(folder) = &self.arguments.report {
            let page = Page { suite, arguments: self.arguments, load: self.load, settings: self.settings, wrong: &self.wrong };
            page.write(folder, &self.records)?;
            output::complain(&format!("charts: {}", folder.join("index.html").display()));
        }
        Ok(self.wrong.is_empty())
    }
}
