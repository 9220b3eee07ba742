//! Expressions of the host: vectors go out as Arrow arrays and come back.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, BooleanArray, StringViewArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use stagefuse_ir::abi::ColumnView;
use stagefuse_ir::{EntityRef, Opaque, SqlType, Storage, Stored, Type, Value};

use super::level::Frame;
use super::load;
use super::scalar::cast::resize;
use super::vector::{Data, Vector};
use crate::adapt::adapt;
use crate::arrays::Arrays;
use crate::builtins::strings;
use crate::columns::{arrow_type, view_buffers, views};
use crate::error::Error;

pub(crate) fn eval(frame: &mut Frame<'_>, opaque: Opaque, args: &[Value]) -> Result<Rc<Vector>, Error> {
    let run = frame.run;
    let rows = frame.rows();
    let mut arrays = Vec::with_capacity(args.len());
    for arg in args {
        let vector = frame.get(*arg)?;
        arrays.push(to_array(&vector, frame.plan.ty(*arg), rows, &run.arrays)?);
    }
    let result = run.opaques[opaque.index()].evaluate(&arrays, rows).map_err(Error::Opaque)?;
    if result.len() != rows {
        return Err(Error::Internal(format!("an expression yielded {} values for {rows} rows", result.len())));
    }
    let ty = run.program.opaques[opaque].result;
    if ty.sql.is_host() {
        let nulls = result.logical_nulls();
        let valid = nulls.map(|nulls| Rc::new((0..rows).map(|row| u8::from(nulls.is_valid(row))).collect()));
        let first = frame.held.add(&result) as i64;
        frame.kept.push(result);
        return Ok(Rc::new(Vector::new::<i64>((0..rows as i64).map(|row| first + row).collect(), valid)));
    }
    let result = adapt(&result, &arrow_type(ty.sql))?;
    let vector = from_array(&result, ty, rows)?;
    if ty.sql.storage() == Storage::View {
        // Vectors and the output buffers refer to its text; operands may be what it refers to in turn.
        frame.kept.push(result);
    }
    Ok(Rc::new(vector))
}

fn to_array(vector: &Rc<Vector>, ty: Type, rows: usize, arrays: &Arrays) -> Result<ArrayRef, Error> {
    let vector = if vector.repr().is_int() { resize(vector, ty.sql.default_repr())? } else { Rc::clone(vector) };
    let expanded;
    let vector = if vector.constant {
        expanded = vector.expand(rows, false);
        &expanded
    } else {
        &*vector
    };
    let nulls = vector.valid.as_ref().map(|valid| NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| valid[row] != 0)));
    Ok(match &vector.data {
        Data::I64(values) if ty.sql.is_host() => {
            let references: Vec<u64> = values.iter().map(|reference| *reference as u64).collect();
            arrays.gather(ty.sql, &references, |row| vector.is_valid(row))?
        }
        Data::Bool(values) => Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| values[row] != 0), nulls)),
        Data::Str(values) => {
            // SAFETY: vectors hold text that is alive.
            let bytes = |row: usize| unsafe { strings::bytes(&values[row]) };
            let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            if ty.sql == SqlType::Binary {
                let array: BinaryViewArray = (0..rows).map(|row| valid(row).then(|| bytes(row))).collect();
                return Ok(Arc::new(array));
            }
            // SAFETY: text of vectors is UTF-8, and bytes that need not be are of another type.
            let text = |row: usize| unsafe { std::str::from_utf8_unchecked(bytes(row)) };
            let array: StringViewArray = (0..rows).map(|row| valid(row).then(|| text(row))).collect();
            Arc::new(array)
        }
        Data::I8(values) => fixed(ty, bytes(values), rows, nulls)?,
        Data::I16(values) => fixed(ty, bytes(values), rows, nulls)?,
        Data::I32(values) => fixed(ty, bytes(values), rows, nulls)?,
        Data::I64(values) => fixed(ty, bytes(values), rows, nulls)?,
        Data::I128(values) => fixed(ty, bytes(values), rows, nulls)?,
        Data::F32(values) => fixed(ty, bytes(values), rows, nulls)?,
        Data::F64(values) => fixed(ty, bytes(values), rows, nulls)?,
    })
}

fn fixed(ty: Type, bytes: &[u8], rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef, Error> {
    let data = ArrayData::builder(arrow_type(ty.sql)).len(rows).nulls(nulls).add_buffer(Buffer::from(bytes)).align_buffers(true).build()?;
    Ok(make_array(data))
}

fn bytes<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: numbers have no padding, so that their bytes are all set.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn from_array(array: &ArrayRef, ty: Type, rows: usize) -> Result<Vector, Error> {
    if !ty.nullable && array.logical_null_count() > 0 {
        return Err(Error::Internal("an expression that yields no nulls yielded one".into()));
    }
    let ones;
    let (validity, validity_bit) = match array.nulls() {
        Some(nulls) => (nulls.buffer().as_ptr(), nulls.offset() as u64),
        None => {
            ones = vec![0xFFu8; rows.div_ceil(8)];
            (ones.as_ptr(), 0)
        }
    };
    let data = array.to_data();
    let mut view = ColumnView { values: std::ptr::null(), validity, buffers: std::ptr::null(), values_bit: 0, validity_bit };
    let mut buffers = vec![];
    match ty.sql.storage() {
        Storage::Bits => {
            let bits = array.as_boolean().values();
            view.values = bits.inner().as_ptr();
            view.values_bit = bits.offset() as u64;
        }
        Storage::View => {
            buffers = view_buffers(array);
            view.values = views(array).as_ptr().cast();
        }
        // Rows of host types have been looked after.
        Storage::Rows => return Err(Error::Internal("an array of a host type".into())),
        // SAFETY: the buffer holds `offset + len` values of this width.
        Storage::Fixed(width) => view.values = unsafe { data.buffers()[0].as_ptr().add(data.offset() * width as usize) },
    }
    view.buffers = buffers.as_ptr();
    load::column(&view, ty, Stored::Arrow, 0, rows, None)
}
