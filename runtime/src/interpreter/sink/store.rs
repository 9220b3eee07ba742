//! Writing vectors into the rows of tables.

use stagefuse_ir::abi::{STR_INLINE, StrRef};
use stagefuse_ir::layout::Field;

use crate::error::Error;
use crate::interpreter::load::write;
use crate::interpreter::vector::{Data, Prim, Vector};
use crate::worker::Worker;

/// Writes the values at `rows` of a vector into a field of the table rows at `addresses`. Long text is copied into the worker's arena.
pub(crate) fn field(
    worker: &mut Worker,
    vector: &Vector,
    field: &Field,
    pairs: impl Iterator<Item = (usize, u64)> + Clone,
) -> Result<(), Error> {
    if let Some(offset) = field.valid {
        pairs.clone().for_each(|(row, address)| write(address, offset, u8::from(vector.is_valid(row))));
    }
    match &vector.data {
        Data::Bool(_) => put::<u8>(vector, field, pairs),
        Data::I8(_) => put::<i8>(vector, field, pairs),
        Data::I16(_) => put::<i16>(vector, field, pairs),
        Data::I32(_) => put::<i32>(vector, field, pairs),
        Data::I64(_) => put::<i64>(vector, field, pairs),
        Data::I128(_) => put::<i128>(vector, field, pairs),
        Data::F32(_) => put::<f32>(vector, field, pairs),
        Data::F64(_) => put::<f64>(vector, field, pairs),
        Data::Str(_) => {
            let texts = vector.arg::<StrRef>()?;
            for (row, address) in pairs {
                let text = if vector.is_valid(row) { texts.at(row) } else { StrRef::ZERO };
                write(address, field.offset, interned(worker, text));
            }
            Ok(())
        }
    }
}

fn put<T: Prim>(vector: &Vector, field: &Field, pairs: impl Iterator<Item = (usize, u64)>) -> Result<(), Error> {
    let values = vector.arg::<T>()?;
    match vector.validity() {
        None => pairs.for_each(|(row, address)| write(address, field.offset, values.at(row))),
        Some(valid) => {
            for (row, address) in pairs {
                write(address, field.offset, if valid.at(row) != 0 { values.at(row) } else { T::ZERO });
            }
        }
    }
    Ok(())
}

/// A text that lives as long as the run.
pub(crate) fn interned(worker: &mut Worker, text: StrRef) -> StrRef {
    if text.lo as u32 <= STR_INLINE { text } else { StrRef { lo: text.lo, hi: worker.intern(text.lo, text.hi) } }
}
