//! Rows of a join table.

use stagefuse_ir::layout::JOIN_NEXT;
use stagefuse_ir::{EntityRef, Join, Repr, Value};

use super::store;
use crate::error::Error;
use crate::interpreter::hash::hash_keys;
use crate::interpreter::level::Frame;
use crate::interpreter::load::write;
use crate::interpreter::scalar::cast::resize;
use crate::interpreter::vector::{Buf, Vector};

pub(super) fn run(frame: &mut Frame<'_>, join: Join, keys: &[Value], payload: &[Value]) -> Result<(), Error> {
    let run = frame.run;
    let decl = &run.program.joins[join];
    if !decl.null_equal && !decl.tracked {
        for key in keys {
            let vector = frame.get(*key)?;
            if vector.valid.is_some() {
                let valid: Buf<u8> = (0..frame.rows()).map(|row| u8::from(vector.is_valid(row))).collect();
                frame.push_filter(&Vector::new::<u8>(valid, None), true)?;
            }
        }
    }
    let rows = frame.rows();
    if rows == 0 {
        return Ok(());
    }
    let key_vectors = keys.iter().map(|key| frame.get(*key)).collect::<Result<Vec<_>, _>>()?;
    let layout = &run.join_layouts[join.index()];
    let bytes = rows as u64 * u64::from(layout.stride);
    // SAFETY: the worker has entered the stage, so that its rows are in place; they are boxed and do not move.
    let head = unsafe { (*frame.worker.head.joins.add(join.index())).rows };
    let base = loop {
        // SAFETY: as above; nobody holds a reference to the head meanwhile.
        let (base, used, capacity) = unsafe { ((*head).base as u64, (*head).used, (*head).capacity) };
        if capacity - used >= bytes {
            break base + used;
        }
        frame.worker.grow_rows(join.index())?;
    };
    let addresses = (0..rows).map(|row| (row, base + row as u64 * u64::from(layout.stride)));
    addresses.clone().for_each(|(_, address)| write(address, JOIN_NEXT, 0u64));
    if let Some(offset) = layout.hash {
        let hashes = hash_keys(&key_vectors, rows, frame.run.memory.sizes.hash_mask)?;
        addresses.clone().for_each(|(row, address)| write(address, offset, hashes[row]));
    }
    if layout.numeric {
        let numbers = resize(&key_vectors[0], Repr::I64)?;
        let values = numbers.arg::<i64>()?;
        let valid = (0..rows).filter(|row| numbers.is_valid(*row)).map(|row| values.at(row));
        let (least, greatest) = valid.fold((i64::MAX, i64::MIN), |(least, greatest), key| (least.min(key), greatest.max(key)));
        // SAFETY: as above.
        unsafe {
            (*head).least = (*head).least.min(least);
            (*head).greatest = (*head).greatest.max(greatest);
        }
    }
    for (value, field) in keys.iter().chain(payload).zip(&layout.fields) {
        let vector = frame.get(*value)?;
        store::field(frame.worker, &vector, field, addresses.clone())?;
    }
    if let Some(offset) = layout.matched {
        addresses.for_each(|(_, address)| write(address, offset, 0u8));
    }
    // SAFETY: as above. Only now, when the rows are whole.
    unsafe { (*head).used += bytes };
    Ok(())
}
