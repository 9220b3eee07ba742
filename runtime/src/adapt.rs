//! Arrays of one Arrow type as another that means the same: what stages read, and what their host wants back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, make_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// A value that the wanted type cannot hold is an error, not a null.
const CHECKED: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// The same values as an array of another type: text and bytes in another layout, dictionaries and run-end encoded values unpacked or packed,
/// timestamps with another time zone or none.
///
/// Unlike Arrow's cast, which reads a timestamp without a zone as one of local time, this never moves a timestamp.
///
/// # Errors
/// Where a value does not fit the wanted type, or there are more different ones than a dictionary has keys for
/// ([`ArrowError::DictionaryKeyOverflowError`]).
pub fn adapt(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    use DataType::{Dictionary, RunEndEncoded, Timestamp};
    if array.data_type() == wanted {
        return Ok(ArrayRef::clone(array));
    }
    let is_time = |data_type: &DataType| matches!(data_type, Timestamp(..));
    match (array.data_type(), wanted) {
        (Timestamp(unit, _), Timestamp(wanted_unit, _)) if unit == wanted_unit => retype(array, wanted),
        // Arrow's shortcut from a dictionary to views takes a null among the dictionary's values for an empty text.
        (Dictionary(_, value), _) if !matches!(wanted, Dictionary(..)) && (is_time(value) || has_null_values(array)) => {
            adapt(&cast_with_options(array, value, &CHECKED)?, wanted)
        }
        (RunEndEncoded(_, value), _) if !matches!(wanted, RunEndEncoded(..)) => {
            adapt(&cast_with_options(array, value.data_type(), &CHECKED)?, wanted)
        }
        (DataType::BinaryView, DataType::FixedSizeBinary(size)) => {
            let values = array.as_binary_view().iter();
            Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *size)?))
        }
        (DataType::BinaryView, Dictionary(_, value)) if matches!(**value, DataType::FixedSizeBinary(_)) => {
            cast_with_options(&adapt(array, value)?, wanted, &CHECKED)
        }
        (_, Dictionary(_, value)) if is_time(value) => retype(&cast_with_options(&adapt(array, value)?, wanted, &CHECKED)?, wanted),
        (_, RunEndEncoded(_, value)) => {
            let plain = adapt(array, value.data_type())?;
            // Arrow gives the fields of the result names of its own.
            retype(&cast_with_options(&plain, wanted, &CHECKED)?, wanted)
        }
        _ => cast_with_options(array, wanted, &CHECKED),
    }
}

fn has_null_values(array: &ArrayRef) -> bool {
    array.as_any_dictionary_opt().is_some_and(|dictionary| dictionary.values().null_count() > 0)
}

/// The same buffers under another name.
pub(crate) fn retype(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted {
        return Ok(ArrayRef::clone(array));
    }
    Ok(make_array(array.to_data().into_builder().data_type(wanted.clone()).build()?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int8Array, RunArray, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Int8Type, Int32Type, TimeUnit, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn timestamps_do_not_move() {
        let zoned: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(-5), None, Some(7)]).with_timezone("+02:00"));
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        for wanted in [plain.clone(), DataType::Timestamp(TimeUnit::Microsecond, Some("Asia/Tokyo".into()))] {
            let array = adapt(&zoned, &wanted).unwrap();
            assert_eq!(*array.data_type(), wanted);
            assert_eq!(array.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>(), [Some(-5), None, Some(7)]);
            let keys = Int8Array::from(vec![Some(2), Some(0), None, Some(1)]);
            let packed: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::clone(&zoned)));
            let array = adapt(&packed, &wanted).unwrap();
            assert_eq!(array.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>(), [Some(7), Some(-5), None, None]);
            let again = adapt(&array, packed.data_type()).unwrap();
            assert_eq!(again.data_type(), packed.data_type());
            assert_eq!(&adapt(&again, &wanted).unwrap(), &array);
        }
    }

    #[test]
    fn runs_keep_the_names_of_their_fields() {
        let values = StringArray::from(vec![Some("a"), None, Some("a text that is long enough")]);
        let ends = arrow::array::Int32Array::from(vec![2, 3, 5]);
        let runs: ArrayRef = Arc::new(RunArray::<Int32Type>::try_new(&ends, &values).unwrap());
        let plain = adapt(&runs, &DataType::Utf8View).unwrap();
        let wanted = [Some("a"), Some("a"), None, Some("a text that is long enough"), Some("a text that is long enough")];
        assert_eq!(plain.as_string_view().iter().collect::<Vec<_>>(), wanted);
        let own =
            DataType::RunEndEncoded(Arc::new(Field::new("ends", DataType::Int32, false)), Arc::new(Field::new("of", DataType::Utf8, true)));
        let again = adapt(&plain, &own).unwrap();
        assert_eq!(*again.data_type(), own);
        assert_eq!(&adapt(&again, &DataType::Utf8View).unwrap(), &plain);
    }

    #[test]
    fn null_values_of_a_dictionary_stay_null() {
        let keys = Int8Array::from(vec![Some(1), None, Some(0)]);
        let values = StringArray::from(vec![Some("a"), None]);
        let packed: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::new(values)));
        let plain = adapt(&packed, &DataType::Utf8View).unwrap();
        assert_eq!(plain.as_string_view().iter().collect::<Vec<_>>(), [None, None, Some("a")]);
    }

    #[test]
    fn keys_that_run_out_are_an_error() {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..300).map(|number| format!("{number}"))));
        let small = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        assert!(matches!(adapt(&texts, &small), Err(ArrowError::DictionaryKeyOverflowError)));
        assert!(adapt(&texts.slice(0, 128), &small).is_ok());
    }
}
