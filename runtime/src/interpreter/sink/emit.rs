//! Rows of the program's output, or of another stage's input.

use stagefuse_ir::abi::{OUT_ROWS, StrRef};
use stagefuse_ir::{Repr, Value};

use crate::error::Error;
use crate::interpreter::level::Frame;
use crate::interpreter::scalar::cast::resize;
use crate::interpreter::vector::{Data, Prim, Vector};

pub(super) fn run(frame: &mut Frame<'_>, columns: &[Value]) -> Result<(), Error> {
    let types = frame.run.program.out_columns(&frame.plan.decl.sink);
    let rows = frame.rows();
    let mut vectors = Vec::with_capacity(columns.len());
    for (value, ty) in columns.iter().zip(types) {
        let vector = frame.get(*value)?;
        vectors.push(if ty.sql.default_repr() == Repr::Str { vector } else { resize(&vector, ty.sql.default_repr())? });
    }
    let mut from = 0;
    while from < rows {
        let head = frame.worker.head.out;
        // SAFETY: the worker owns the head; no reference to it is held elsewhere while the stage runs.
        let buffered = unsafe { (*head).rows } as usize;
        let count = (rows - from).min(OUT_ROWS - buffered);
        for (column, (vector, ty)) in vectors.iter().zip(types).enumerate() {
            // SAFETY: there is an output column for each that the sink writes.
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
            frame.worker.flush()?;
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
