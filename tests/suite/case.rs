//! The text form of a case.
//!
//! ```text
//! # A comment.
//! query                      -- or: `query ordered` where the order of rows is part of the answer, `query exact` where the last bit of floats is
//! SELECT k, count(*) FROM facts GROUP BY k
//! set stagefuse.max_fields = 2
//! stages native native       -- engine of each stage in mode `compiled` (`datafusion`: it gave up); `none`: nothing was taken over
//! rows 50                    -- optional: number of rows
//! opaque 1                   -- optional: expressions that DataFusion evaluates beside the stages; under `cases/functions` there are none unless it says so
//! fallback max_fields        -- optional: text that a fallback reason must hold
//! error Divide by zero       -- instead of all others: every engine fails, and its message holds this text
//! ```
//!
//! Under `cases/parquet` the tables `facts` and `dim` are Parquet files.
//!
//! A case is one or more such blocks; an SQL text ends where a line begins with one of the words above.

/// One query of a case file.
#[derive(Debug, Default, Clone)]
pub struct Case {
    pub line: usize,
    pub sql: String,
    pub ordered: bool,
    pub exact: bool,
    pub settings: Vec<String>,
    pub stages: Option<Vec<String>>,
    pub rows: Option<usize>,
    pub opaque: Option<usize>,
    pub fallback: Vec<String>,
    pub error: Option<String>,
    /// Whether the tables are Parquet files, as they are under `cases/parquet`.
    pub files: bool,
}

/// Reads a case file.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = vec![];
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let line = line.trim_end();
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        if word == "query" {
            let is = |wanted| rest.split_whitespace().any(|word| word == wanted);
            cases.push(Case { line: number, ordered: is("ordered"), exact: is("exact"), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| format!("line {number}: `query` must come first"))?;
        match word {
            "set" => case.settings.push(format!("SET {rest}")),
            "stages" => case.stages = Some(rest.split_whitespace().map(str::to_string).collect()),
            "rows" => case.rows = Some(rest.parse().map_err(|_| format!("line {number}: `rows` takes a number"))?),
            "opaque" => case.opaque = Some(rest.parse().map_err(|_| format!("line {number}: `opaque` takes a number"))?),
            "fallback" => case.fallback.push(rest.to_string()),
            "error" => case.error = Some(rest.to_string()),
            _ => {
                case.sql.push_str(line);
                case.sql.push('\n');
            }
        }
    }
    match cases.iter().find(|case| case.sql.is_empty() || (case.stages.is_none() && case.error.is_none())) {
        Some(case) => Err(format!("line {}: a query needs SQL and `stages` or `error`", case.line)),
        None => Ok(cases),
    }
}
