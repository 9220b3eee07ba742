//! Rows of a sort.

use stagefuse_ir::abi::{SortWord, sort_word};
use stagefuse_ir::layout::RowLayout;
use stagefuse_ir::{EntityRef, Sort, SortKey, Value};

use super::store;
use crate::error::Error;
use crate::interpreter::level::Frame;
use crate::interpreter::vector::{Buf, Data, Vector};

pub(super) fn run(frame: &mut Frame<'_>, sort: Sort, keys: &[Value], payload: &[Value]) -> Result<(), Error> {
    let run = frame.run;
    let decl = &run.program.sorts[sort];
    // SAFETY: the worker has entered the stage, so that its rows are in place; they are boxed and do not move.
    let head = unsafe { *frame.worker.head.sorts.add(sort.index()) };
    // SAFETY: as above; nobody holds a reference to the head meanwhile.
    let threshold = unsafe { (*head).threshold };
    if decl.fetch.is_some() && threshold < u64::MAX {
        let first = frame.get(keys[0])?;
        let wanted = words(&first, decl.keys[0], frame.rows())?.iter().map(|word| u8::from(*word <= threshold)).collect();
        frame.push_filter(&Vector::new::<u8>(wanted, None), true)?;
    }
    let rows = frame.rows();
    if rows == 0 {
        return Ok(());
    }
    let layout = RowLayout::sort(decl);
    let bytes = rows as u64 * u64::from(layout.stride);
    let base = loop {
        // SAFETY: as above.
        let (base, used, capacity) = unsafe { ((*head).base as u64, (*head).used, (*head).capacity) };
        if capacity - used >= bytes {
            break base + used;
        }
        frame.worker.grow_sorted(sort.index())?;
    };
    let addresses = (0..rows).map(|row| (row, base + row as u64 * u64::from(layout.stride)));
    for (value, field) in keys.iter().chain(payload).zip(&layout.fields) {
        let vector = frame.get(*value)?;
        store::field(frame.worker, &vector, field, addresses.clone())?;
    }
    // SAFETY: as above. Only now, when the rows are whole.
    unsafe { (*head).used += bytes };
    Ok(())
}

/// The words of a first key.
fn words(vector: &Vector, key: SortKey, rows: usize) -> Result<Buf<u64>, Error> {
    let kind = SortWord::of(key.ty.sql);
    macro_rules! words {
        ($ty:ty, $bits:expr) => {{
            let values = vector.arg::<$ty>()?;
            let bits = $bits;
            Ok((0..rows)
                .map(|row| match vector.is_valid(row) {
                    true => sort_word(bits(values.at(row)), kind, key.descending),
                    false if key.nulls_first => 0,
                    false => u64::MAX,
                })
                .collect())
        }};
    }
    let signed = kind == SortWord::Signed;
    match &vector.data {
        Data::Bool(_) => words!(u8, u64::from),
        Data::I8(_) => words!(i8, |value: i8| if signed { value as u64 } else { value as u8 as u64 }),
        Data::I16(_) => words!(i16, |value: i16| if signed { value as u64 } else { value as u16 as u64 }),
        Data::I32(_) => words!(i32, |value: i32| if signed { value as u64 } else { value as u32 as u64 }),
        Data::I64(_) => words!(i64, |value: i64| value as u64),
        Data::I128(_) => words!(i128, |value: i128| (value >> 64) as u64),
        Data::F32(_) => words!(f32, |value: f32| value.to_bits() as i32 as u64),
        Data::F64(_) => words!(f64, f64::to_bits),
        Data::Str(_) => {
            words!(stagefuse_ir::abi::StrRef, |text: stagefuse_ir::abi::StrRef| u64::from(((text.lo >> 32) as u32).swap_bytes()) << 32)
        }
    }
}
