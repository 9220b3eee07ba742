//! Rows of the program's output, or of another stage's input.

use std::rc::Rc;

use stagefuse_ir::abi::{OUT_ROWS, OutHead, StrRef};
use stagefuse_ir::{Repr, Type, Value};

use crate::error::Error;
use crate::interpreter::level::Frame;
use crate::interpreter::scalar::cast::resize;
use crate::interpreter::vector::{Data, Prim, Vector};

pub(super) fn run(frame: &mut Frame<'_>, columns: &[Value]) -> Result<(), Error> {
    let types = frame.run.program.out_columns(&frame.plan.decl.sink);
    let vectors = columns.iter().map(|value| frame.get(*value)).collect::<Result<Vec<_>, _>>()?;
    let (head, rows) = (frame.worker.head.out, frame.rows());
    // SAFETY: the head is that of the worker's buffers, which have a column for each that the sink writes.
    unsafe { write(head, &vectors, types, rows, || frame.worker.flush()) }
}

/// Appends rows to buffers, which `flush` empties where they are full.
///
/// # Safety
/// `head` is that of buffers with a column for each of `types`; nobody else holds a reference to it, and `flush` sets its rows to 0.
pub(super) unsafe fn write(
    head: *mut OutHead,
    vectors: &[Rc<Vector>],
    types: &[Type],
    rows: usize,
    mut flush: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let wide = |(vector, ty): (&Rc<Vector>, &Type)| match ty.sql.default_repr() {
        Repr::Str => Ok(Rc::clone(vector)),
        repr => resize(vector, repr),
    };
    let vectors = vectors.iter().zip(types).map(wide).collect::<Result<Vec<_>, Error>>()?;
    let mut from = 0;
    while from < rows {
        // SAFETY: the caller's promise.
        let buffered = unsafe { (*head).rows } as usize;
        let count = (rows - from).min(OUT_ROWS - buffered);
        for (column, (vector, ty)) in vectors.iter().zip(types).enumerate() {
            // SAFETY: the caller's promise.
            let out = unsafe { *(*head).columns.add(column) };
            match &vector.data {
                Data::Bool(_) => put::<u8>(vector, from, count, out.values, buffered),
                Data::I8(_) => put::<i8>(vector, from, count, out.values, buffered),
                Data::I16(_) => put::<i16>(vector, from, count, out.values, buffered),
                Data::I32(_) => put::<i32>(vector, from, count, out.values, buffered),
                Data::I64(_) => put::<i64>(vector, from, count, out.values, buffered),
                Data::I128(_) => put::<i128>(vector, from, count, out.values, buffered),
                Data::F32(_) => put::<f32>(vector, from, count, out.values, buffered),
                Data::F64(_) => put::<f64>(vector, from, count, out.values, buffered),
                Data::Str(_) => put::<StrRef>(vector, from, count, out.values, buffered),
            }?;
            if ty.nullable {
                for row in 0..count {
                    // SAFETY: a nullable column has room for `OUT_ROWS` bytes.
                    unsafe { *out.valid.add(buffered + row) = u8::from(vector.is_valid(from + row)) };
                }
            }
        }
        from += count;
        // SAFETY: as above.
        unsafe { (*head).rows = (buffered + count) as u64 };
        if buffered + count == OUT_ROWS {
            flush()?;
        }
    }
    Ok(())
}

fn put<T: Prim>(vector: &Vector, from: usize, count: usize, out: *mut u8, at: usize) -> Result<(), Error> {
    let values = vector.arg::<T>()?;
    let out = out.cast::<T>().wrapping_add(at);
    for row in 0..count {
        // SAFETY: the buffer has room for `OUT_ROWS` values in the default representation, and `at + count` is not beyond.
        unsafe { out.add(row).write_unaligned(values.at(from + row)) };
    }
    Ok(())
}
