//! A fingerprint of a result that does not depend on the order of its rows.

use std::fmt::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Rows and fingerprint of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub rows: usize,
    pub hash: u64,
}

/// The digest of a result: a hash of each row's text, summed up. Text and binary types of different layouts have the same text.
pub fn of(batches: &[RecordBatch]) -> Result<Digest, ArrowError> {
    let options = FormatOptions::default();
    let mut digest = Digest::default();
    let mut row_text = String::new();
    for batch in batches {
        let formatters =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            row_text.clear();
            for (column, formatter) in batch.columns().iter().zip(&formatters) {
                // A null is no text at all: not even the empty one.
                row_text.push(if column.is_null(row) { '\u{0}' } else { '\u{1}' });
                if column.is_null(row) {
                    continue;
                }
                let written = match column.data_type() {
                    DataType::Float64 => write!(row_text, "{}", rounded(column.as_primitive::<Float64Type>().value(row))),
                    DataType::Float32 => write!(row_text, "{}", rounded(f64::from(column.as_primitive::<Float32Type>().value(row)))),
                    _ => write!(row_text, "{}", formatter.value(row)),
                };
                written.map_err(|_| ArrowError::ComputeError("a value has no text".to_owned()))?;
            }
            digest.rows += 1;
            digest.hash = digest.hash.wrapping_add(hash(row_text.as_bytes()));
        }
    }
    Ok(digest)
}

/// Nine significant digits. Sums of prices have few decimals and often lie exactly between two such numbers, where the last bit
/// of the sum would decide; a factor near 1, far above a sum's error and far below the ninth digit, moves them off that border.
fn rounded(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{:.8e}", value * (1.0 + 1.3e-11))
}

/// FNV-1a, with splitmix64's last steps so that sums of hashes do not cancel.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray, StringViewArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("equal lengths")
    }

    #[test]
    fn order_batches_and_text_layout_do_not_show() {
        let one = batch(vec![("a", Arc::new(StringArray::from(vec![Some("x"), None, Some("")])))]);
        let two = batch(vec![("a", Arc::new(StringViewArray::from(vec![Some(""), Some("x"), None])))]);
        assert_eq!(of(std::slice::from_ref(&one)).unwrap(), of(&[two.slice(0, 1), two.slice(1, 2)]).unwrap());
        let other = batch(vec![("a", Arc::new(StringArray::from(vec![Some("x"), Some(""), Some("")])))]);
        assert_ne!(of(&[one]).unwrap(), of(&[other]).unwrap());
    }

    #[test]
    fn summation_order_does_not_show_but_a_cent_does() {
        let digest = |value: f64| of(&[batch(vec![("a", Arc::new(Float64Array::from(vec![value])))])]).unwrap();
        let tie = 12_345_678.95_f64;
        assert_eq!(digest(tie), digest(tie * (1.0 + 4.0 * f64::EPSILON)));
        assert_eq!(digest(tie), digest(tie * (1.0 - 4.0 * f64::EPSILON)));
        assert_ne!(digest(1_234_567.01), digest(1_234_567.02));
    }
}
