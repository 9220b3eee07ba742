//! Makes the tables of the suites in memory, by parts, in parallel.

mod hits;
mod tpcds;
mod tpch;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// As many rows as DataFusion puts into a batch when it reads files.
const BATCH_ROWS: usize = 8192;

/// One table: its schema, and its batches by partition.
pub struct Table {
    pub schema: SchemaRef,
    pub partitions: Vec<Vec<RecordBatch>>,
}

/// Whose tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Tpch,
    Tpcds,
    ClickBench,
}

/// A contiguous range of a table's rows.
struct Part {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>,
}

impl Source {
    /// How a folder of its files is called.
    pub fn name(self) -> &'static str {
        match self {
            Source::Tpch => "tpch",
            Source::Tpcds => "tpcds",
            Source::ClickBench => "clickbench",
        }
    }

    /// Names of the tables.
    pub fn tables(self) -> Vec<&'static str> {
        match self {
            Source::Tpch => tpch::TABLES.to_vec(),
            Source::Tpcds => tpcds::tables(),
            Source::ClickBench => hits::TABLES.to_vec(),
        }
    }

    /// Makes a table with one partition for each thread; a partition holds a contiguous range of keys.
    ///
    /// # Errors
    /// There is no such table, or the generator does not take the scale.
    pub fn table(self, name: &str, scale: f64, threads: usize) -> Result<Table, String> {
        let threads = threads.max(1);
        let schema = self.part(name, scale, 1, 1)?.schema;
        let cuts = if self.is_whole(name) { 1 } else { i32::try_from(threads).unwrap_or(1) };
        let made: Vec<Result<Vec<RecordBatch>, String>> = std::thread::scope(|scope| {
            let make = |index| {
                let part = self.part(name, scale, index, cuts)?;
                part.batches.collect::<Result<_, _>>().map_err(|error| error.to_string())
            };
            let workers: Vec<_> = (1..=cuts).map(|index| scope.spawn(move || make(index))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut partitions = made.into_iter().collect::<Result<Vec<_>, _>>()?;
        partitions.resize(threads, vec![]);
        Ok(Table { schema, partitions })
    }

    /// Whether a table is too small to be cut.
    fn is_whole(self, name: &str) -> bool {
        match self {
            Source::Tpch => matches!(name, "region" | "nation"),
            Source::Tpcds => tpcds::is_whole(name),
            Source::ClickBench => false,
        }
    }

    fn part(self, name: &str, scale: f64, index: i32, of: i32) -> Result<Part, String> {
        match self {
            Source::Tpch => tpch::part(name, scale, index, of).ok_or_else(|| format!("TPC-H has no table {name}")),
            Source::Tpcds => tpcds::part(name, scale, index, of),
            Source::ClickBench => hits::part(name, scale, index, of).ok_or_else(|| format!("ClickBench has no table {name}")),
        }
    }
}
