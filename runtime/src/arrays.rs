//! Arrays of types that only the host knows: stages carry references to their rows.

use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use stagefuse_ir::SqlType;

use crate::columns::arrow_type;
use crate::error::Error;
use crate::memory::Memory;

/// The arrays that rows refer to, of all workers of a run.
#[derive(Debug, Default)]
pub(crate) struct Arrays {
    /// By number of the host type: Arrow's type.
    types: Vec<DataType>,
    slots: RwLock<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    arrays: Vec<Option<ArrayRef>>,
    free: Vec<u32>,
}

impl Arrays {
    pub(crate) fn new(types: Vec<DataType>) -> Self {
        Arrays { types, slots: RwLock::default() }
    }

    /// Arrow's type of what the IR has as this.
    pub(crate) fn arrow_type(&self, sql: SqlType) -> DataType {
        match sql {
            // `Shared::new` has looked at how many types there are.
            SqlType::Host(host) => self.types.get(host.as_u32() as usize).cloned().unwrap_or(DataType::Null),
            sql => arrow_type(sql),
        }
    }

    /// Takes an array; yields the reference to its first row.
    fn add(&self, array: ArrayRef) -> u64 {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let number = match slots.free.pop() {
            Some(number) => {
                slots.arrays[number as usize] = Some(array);
                number
            }
            None => {
                slots.arrays.push(Some(array));
                (slots.arrays.len() - 1) as u32
            }
        };
        u64::from(number) << 32
    }

    fn remove(&self, reference: u64) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let number = (reference >> 32) as u32;
        slots.arrays[number as usize] = None;
        slots.free.push(number);
    }

    /// The rows that are referred to, as one array; null where `valid` says so, whatever the reference.
    pub(crate) fn gather(&self, sql: SqlType, references: &[u64], valid: impl Fn(usize) -> bool) -> Result<ArrayRef, Error> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let array = |number: u32| -> Result<&ArrayRef, Error> {
            let array = slots.arrays.get(number as usize).and_then(Option::as_ref);
            array.ok_or_else(|| Error::Internal(format!("array {number}, which rows refer to, is gone")))
        };
        let Some(first) = (0..references.len()).find(|row| valid(*row)) else {
            return Ok(new_null_array(&self.arrow_type(sql), references.len()));
        };
        let number = (references[first] >> 32) as u32;
        if (first..references.len()).all(|row| !valid(row) || (references[row] >> 32) as u32 == number) {
            let rows: UInt32Array = references.iter().enumerate().map(|(row, at)| valid(row).then_some(*at as u32)).collect();
            return Ok(take(array(number)?, &rows, None)?);
        }
        let null = new_null_array(&self.arrow_type(sql), 1);
        let mut numbers: Vec<u32> = vec![];
        let mut sources: Vec<&dyn Array> = vec![null.as_ref()];
        let mut places = Vec::with_capacity(references.len());
        for (row, reference) in references.iter().enumerate() {
            if !valid(row) {
                places.push((0, 0));
                continue;
            }
            let number = (reference >> 32) as u32;
            // Neighbours mostly come from the same array.
            let source = match numbers.iter().rposition(|known| *known == number) {
                Some(source) => source,
                None => {
                    numbers.push(number);
                    sources.push(array(number)?.as_ref());
                    numbers.len() - 1
                }
            };
            places.push((source + 1, *reference as u32 as usize));
        }
        Ok(interleave(&sources, &places)?)
    }
}

/// Arrays that rows may refer to while this lives.
#[derive(Debug)]
pub(crate) struct Held {
    arrays: Arc<Arrays>,
    references: Vec<u64>,
    bytes: usize,
}

impl Held {
    pub(crate) fn new(arrays: &Arc<Arrays>) -> Self {
        Held { arrays: Arc::clone(arrays), references: vec![], bytes: 0 }
    }

    /// Takes an array; yields the reference to its first row.
    pub(crate) fn add(&mut self, array: &ArrayRef) -> u64 {
        let reference = self.arrays.add(Arc::clone(array));
        self.references.push(reference);
        self.bytes += array.to_data().get_slice_memory_size().unwrap_or_default();
        reference
    }

    /// The arrays stay until the run ends: rows that refer to them have been stored.
    pub(crate) fn keep(&mut self, memory: &Memory) -> Result<(), Error> {
        self.references.clear();
        memory.grow(std::mem::take(&mut self.bytes))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.references.iter().for_each(|reference| self.arrays.remove(*reference));
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray};
    use arrow::datatypes::Int32Type;
    use stagefuse_ir::{EntityRef, HostType};

    use super::*;
    use crate::config::Unlimited;

    fn lists(rows: std::ops::Range<i32>) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.map(|row| (row % 4 != 0).then(|| vec![Some(row), None]))))
    }

    #[test]
    fn rows_are_found_again_in_any_order_and_from_any_array() {
        let (a, b) = (lists(0..10), lists(100..110));
        let arrays = Arc::new(Arrays::new(vec![a.data_type().clone()]));
        let mut held = Held::new(&arrays);
        let (first, second) = (held.add(&a), held.add(&b));
        let host = SqlType::Host(HostType::new(0));
        let references = [first + 3, first + 3, second + 9, first, second + 4, 77 << 32];
        let gathered = arrays.gather(host, &references, |row| row < 5).unwrap();
        let sources: [&dyn Array; 3] = [a.as_ref(), b.as_ref(), &new_null_array(a.data_type(), 1)];
        assert_eq!(&gathered, &interleave(&sources, &[(0, 3), (0, 3), (1, 9), (0, 0), (1, 4), (2, 0)]).unwrap());
        let of_one = arrays.gather(host, &references[..2], |row| row == 1).unwrap();
        assert_eq!((of_one.is_null(0), of_one.slice(1, 1)), (true, a.slice(3, 1)));
        assert_eq!(arrays.gather(host, &[5, 6], |_| false).unwrap().null_count(), 2);
        assert!(matches!(arrays.gather(host, &references, |_| true), Err(Error::Internal(_))));
    }

    #[test]
    fn numbers_are_used_again_unless_arrays_are_kept() {
        let arrays = Arc::new(Arrays::new(vec![]));
        let array: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let mut held = Held::new(&arrays);
        assert_eq!(held.add(&array), 0);
        held.keep(&Memory::new(Arc::new(Unlimited))).unwrap();
        for _ in 0..3 {
            let mut held = Held::new(&arrays);
            let mut numbers = [held.add(&array) >> 32, held.add(&array) >> 32];
            numbers.sort_unstable();
            assert_eq!(numbers, [1, 2]);
            drop(held);
        }
    }
}
