//! The arguments of every command.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::failure::Failure;

/// A whole-stage query compiler for Apache DataFusion.
///
/// Without a command: a shell.
#[derive(Parser, Debug)]
#[command(name = "stagefuse", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub shell: SessionArguments,
}

/// What a session begins with.
#[derive(Args, Debug)]
pub struct SessionArguments {
    /// Register every .parquet, .csv and .json file of this folder under its stem.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Register one file as a table; may be given several times.
    #[arg(long = "table", value_name = "NAME=FILE")]
    pub tables: Vec<String>,
    /// Which engine runs the stages.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub mode: Mode,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run SQL; several statements are separated by `;`.
    Sql(QueryArguments),
    /// Show what a query becomes: its stages, the engine of each, and the code.
    Explain {
        #[command(flatten)]
        query: QueryArguments,
        /// What to show of each stage.
        #[arg(long, value_enum, default_value_t = Dump::Text)]
        dump: Dump,
        /// Write to this file instead of standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// For html and json: do not run the query, so that there are no rows and times.
        #[arg(long, conflicts_with_all = ["analyze", "profile"])]
        plan_only: bool,
        /// For text: run the query, and show rows and times.
        #[arg(long)]
        analyze: bool,
        /// For text, html and json: run the query again and again for about two seconds, and show where the time goes, down to instructions.
        #[arg(long)]
        profile: bool,
    },
    /// Measure the engines against each other, and check that they agree; or compare two such measurements.
    Bench(BenchArguments),
    /// Search for wrong results: random tables and queries, in every engine.
    Fuzz(FuzzArguments),
}

#[derive(Args, Debug)]
pub struct QueryArguments {
    #[command(flatten)]
    pub session: SessionArguments,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Read the SQL from this file; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "sql", required_unless_present = "sql")]
    pub file: Option<PathBuf>,
    /// The SQL text.
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
}

impl QueryArguments {
    /// The SQL text, wherever it comes from.
    pub fn text(&self) -> Result<String, Failure> {
        match (&self.sql, &self.file) {
            (Some(sql), _) => Ok(sql.clone()),
            (None, Some(file)) if file.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::new(format!("standard input: {error}")))?;
                Ok(text)
            }
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| Failure::at(file, error)),
            (None, None) => Err(Failure::new("give the SQL text, or --file FILE")),
        }
    }
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// A built-in suite.
    #[arg(value_enum, required_unless_present = "queries")]
    pub suite: Option<Suite>,
    /// A .sql file, or a folder with one .sql file a query. Without a suite, its name is the suite's, and --data or --table have the tables.
    #[arg(long, value_name = "DIR")]
    pub queries: Option<PathBuf>,
    /// The scale factor of TPC-H, TPC-DS or ClickBench, for data that is made; several are measured one after the other.
    #[arg(long, default_value = "1", value_delimiter = ',', value_name = "SCALE,..", value_parser = scale)]
    pub scale: Vec<f64>,
    /// A folder with the tables as .parquet, .csv or .json files.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// One file as a table; may be given several times.
    #[arg(long = "table", value_name = "NAME=FILE", conflicts_with = "suite")]
    pub table: Vec<String>,
    /// Only these queries.
    #[arg(long, value_delimiter = ',', value_name = "QUERY,..")]
    pub only: Vec<String>,
    /// The modes to measure, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "compiled,interpreted,off")]
    pub modes: Vec<Mode>,
    /// Measured runs of each query and mode, after a warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Worker threads, and partitions of the plans; several are measured in turn, side by side.
    #[arg(long, default_value = "2", value_delimiter = ',', value_name = "THREADS,..", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Vec<u16>,
    /// Where the tables are while the queries run.
    #[arg(long, value_enum, default_value_t = Storage::Memory)]
    pub storage: Storage,
    /// How tables in memory are held for all modes but `off`, which always reads Arrow arrays.
    #[arg(long, value_enum, default_value_t = Tables::Compact)]
    pub tables: Tables,
    /// Write one JSON object a line, for each query and mode.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Write a page with charts and all that is needed to repeat the measurement, and each chart as an SVG file.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Show what every stage did in the last run of each query and mode.
    #[arg(long)]
    pub stages: bool,
    /// A setting of every mode, such as stagefuse.plan_cache=0 (plans are made for every run, as plain DataFusion does); may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
    /// Rows of the generated data of `bench micro`; several are measured one after the other.
    #[arg(long, default_value = "4000000", value_delimiter = ',', value_name = "ROWS,..", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rows: Vec<u64>,
}

#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// What became slower or faster between two files of `bench --json`, beyond noise.
    Compare(CompareArguments),
}

#[derive(Args, Debug)]
pub struct CompareArguments {
    /// The file of before.
    pub a: PathBuf,
    /// The file of after.
    pub b: PathBuf,
    /// How many percent the medians must differ by, at least, to count.
    #[arg(long, default_value_t = 5.0, value_parser = percent)]
    pub threshold: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Exit with 1 if a query or a geometric mean became slower.
    #[arg(long)]
    pub fail_on_regression: bool,
}

#[derive(Args, Debug)]
pub struct FuzzArguments {
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seconds: u64,
    /// Stop after so many cases.
    #[arg(long)]
    pub cases: Option<u64>,
    /// Another seed makes other cases.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Run one case again; its seed is printed with a difference.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seed", "cases", "seconds"])]
    pub replay: Option<u64>,
    /// Cases that run at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Seconds that making a difference smaller may take; 0 shows it as it was found.
    #[arg(long, default_value_t = 60)]
    pub minimise: u64,
    /// Print the seed of each case before it runs, in case it ends the process.
    #[arg(long)]
    pub trace: bool,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 100_000.0 => Ok(scale),
        _ => Err("the scale is a number above 0".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=10_000.0).contains(&percent) => Ok(percent),
        _ => Err("a number of percent, 0 or more".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// The 22 queries of TPC-H.
    Tpch,
    /// The tables of TPC-DS; its 99 queries are brought with --queries.
    Tpcds,
    /// The table of ClickBench with made-up values, a million rows at scale 1; its 43 queries are brought with --queries.
    Clickbench,
    /// Small comparisons of single operators.
    Micro,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Compiled, unless the input is known to be tiny.
    Auto,
    /// One native function for each stage.
    Compiled,
    /// The vectorised interpreter.
    Interpreted,
    /// Plain DataFusion.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Auto => "auto",
            Mode::Compiled => "compiled",
            Mode::Interpreted => "interpreted",
            Mode::Off => "off",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with borders.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dump {
    /// What becomes of the query, on one screen.
    Text,
    /// The program that the query was lowered to.
    Ir,
    /// Cranelift's intermediate code.
    Clif,
    /// Machine code.
    Asm,
    /// One page with all of that, linked, and what every stage did: the query is run.
    Html,
    /// What the page shows, as JSON; docs/report.md has the schema.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tables {
    /// As `CACHE TABLE` does: in the fewest bytes.
    Compact,
    /// As Arrow arrays.
    Arrow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    /// Loaded before the first query.
    Memory,
    /// Read from Parquet files by every query.
    Parquet,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Storage::Memory => "memory",
            Storage::Parquet => "parquet",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
