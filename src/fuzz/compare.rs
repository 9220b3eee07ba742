//! Answers, and when two are the same.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Sums of floats in another order may differ by this much of their size.
const TOLERANCE: f64 = 1e-9;

/// A value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// None.
    Null,
    /// A float whose last digits do not count.
    Loose(f64),
    /// The text of anything else. A float's is exact; there is but one NaN.
    Exact(String),
}

/// Rows of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Types of the columns.
    pub types: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// The rows of batches, of which some columns do not count in the last digits.
    ///
    /// # Errors
    /// Where a value has no text.
    pub fn of(types: Vec<String>, batches: &[RecordBatch], loose: &[bool]) -> Result<Rows, ArrowError> {
        let options = FormatOptions::default();
        let mut rows = vec![];
        for batch in batches {
            let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().zip(&columns).enumerate().map(|(number, (column, text))| {
                    let float = match column.data_type() {
                        _ if column.is_null(row) => return Ok(Cell::Null),
                        DataType::Float64 => column.as_primitive::<Float64Type>().value(row),
                        DataType::Float32 => f64::from(column.as_primitive::<Float32Type>().value(row)),
                        // A dictionary's row may stand for an entry that is null.
                        DataType::Dictionary(..) if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) => {
                            return Ok(Cell::Null);
                        }
                        _ => return text.value(row).try_to_string().map(Cell::Exact),
                    };
                    Ok(match (float.is_nan(), loose.get(number) == Some(&true)) {
                        (true, _) => Cell::Exact("NaN".to_owned()),
                        (false, true) => Cell::Loose(float),
                        (false, false) => Cell::Exact(format!("{float:?}")),
                    })
                });
                rows.push(cells.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(Rows { types, rows })
    }

    /// Why other rows are not the same, if they are not. Without `ordered`, in any order.
    pub fn difference(&self, other: &Rows, ordered: bool) -> Option<String> {
        if self.types != other.types {
            return Some(format!("types {:?} became {:?}", self.types, other.types));
        }
        if self.rows.len() != other.rows.len() {
            return Some(format!("{} rows became {}", self.rows.len(), other.rows.len()));
        }
        let (mine, theirs) = if ordered { (self.rows.clone(), other.rows.clone()) } else { (sorted(&self.rows), sorted(&other.rows)) };
        let pair = mine.iter().zip(&theirs).find(|(mine, theirs)| !same_row(mine, theirs))?;
        Some(format!("row {} became {}", text(pair.0), text(pair.1)))
    }

    /// Some of the rows, as text.
    pub fn show(&self, most: usize) -> String {
        let mut lines: Vec<String> = sorted(&self.rows).iter().take(most).map(|row| text(row)).collect();
        if self.rows.len() > most {
            lines.push(format!(".. {} rows in all", self.rows.len()));
        }
        lines.join("\n")
    }
}

fn text(row: &[Cell]) -> String {
    let cells = row.iter().map(|cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Loose(float) => format!("{float:?}"),
        Cell::Exact(text) => format!("[{text}]"),
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// By what is exact, and then by the rest.
fn sorted(rows: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| compare(a, b, false).then_with(|| compare(a, b, true)));
    rows
}

fn compare(a: &[Cell], b: &[Cell], loose: bool) -> Ordering {
    let cells = a.iter().zip(b).map(|(a, b)| match (a, b) {
        (Cell::Exact(a), Cell::Exact(b)) => a.cmp(b),
        (Cell::Loose(a), Cell::Loose(b)) if loose => a.total_cmp(b),
        (Cell::Loose(_), Cell::Loose(_)) => Ordering::Equal,
        _ => rank(a).cmp(&rank(b)),
    });
    cells.fold(Ordering::Equal, Ordering::then)
}

fn rank(cell: &Cell) -> u8 {
    match cell {
        Cell::Null => 0,
        Cell::Loose(_) => 1,
        Cell::Exact(_) => 2,
    }
}

fn same_row(a: &[Cell], b: &[Cell]) -> bool {
    a.iter().zip(b).all(|(a, b)| match (a, b) {
        (Cell::Loose(a), Cell::Loose(b)) => a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0),
        // What is a rounding error away from zero may be the one's NaN.
        (a, b) => a == b,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[Cell]]) -> Rows {
        Rows { types: vec![], rows: rows.iter().map(|row| row.to_vec()).collect() }
    }

    #[test]
    fn order_counts_only_where_it_is_said_to() {
        let (a, b) = (Cell::Exact("a".into()), Cell::Null);
        let (one, two) = (Rows { types: vec![], rows: vec![vec![a.clone()], vec![b.clone()]] }, rows(&[&[b], &[a]]));
        assert_eq!(one.difference(&two, false), None);
        assert!(one.difference(&two, true).is_some());
    }

    #[test]
    fn last_digits_count_only_where_they_are_exact() {
        let row = |cell: Cell| rows(&[&[cell]]);
        assert_eq!(row(Cell::Loose(0.1 + 0.2)).difference(&row(Cell::Loose(0.3)), false), None);
        assert!(row(Cell::Loose(0.3)).difference(&row(Cell::Loose(0.3001)), false).is_some());
        assert!(row(Cell::Exact("0.0".into())).difference(&row(Cell::Exact("-0.0".into())), false).is_some());
        assert!(row(Cell::Null).difference(&row(Cell::Exact(String::new())), false).is_some());
    }
}
