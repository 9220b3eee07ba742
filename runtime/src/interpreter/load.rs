//! Loading: columns of a morsel and fields of table rows become vectors.

use std::rc::Rc;

use stagefuse_ir::abi::{ColumnView, STR_INLINE, StrRef};
use stagefuse_ir::layout::Field;
use stagefuse_ir::{Repr, SqlType, Storage, Stored, Type};

use super::vector::{Buf, Prim, Valid, Vector};
use crate::error::Error;

/// The rows `first + map[i]` of a column, or `first + i` for `rows` rows where there is no mapping.
pub(crate) fn column(view: &ColumnView, ty: Type, stored: Stored, first: usize, rows: usize, map: Option<&[u32]>) -> Result<Vector, Error> {
    let valid = if ty.nullable { validity(view, first, rows, map) } else { None };
    macro_rules! fixed {
        ($stored:ty) => {
            match ty.repr {
                Repr::I8 => fixed!($stored, i8),
                Repr::I16 => fixed!($stored, i16),
                Repr::I32 => fixed!($stored, i32),
                Repr::I64 => fixed!($stored, i64),
                Repr::I128 => fixed!($stored, i128),
                _ => Err(unsupported(ty)),
            }
        };
        ($stored:ty, $held:ty) => {
            Ok(Vector::new::<$held>(values::<$stored, $held>(view, first, rows, map, |value| value as $held), valid))
        };
    }
    match stored {
        Stored::Arrow => {}
        Stored::Offset { base, .. } => return offsets(view, ty, stored.bytes(ty.sql), base, valid, (first, rows, map)),
        Stored::Dictionary { .. } => return dictionary(view, stored.bytes(ty.sql), valid, (first, rows, map)),
        Stored::Word => return fixed!(i64),
    }
    match ty.sql.storage() {
        Storage::Bits => {
            let base = view.values_bit as usize + first;
            let bits = match map {
                None => (0..rows).map(|row| bit(view.values, base + row)).collect(),
                Some(map) => map.iter().map(|row| bit(view.values, base + *row as usize)).collect(),
            };
            Ok(Vector::new::<u8>(bits, valid))
        }
        Storage::View => {
            let mut texts = values::<StrRef, StrRef>(view, first, rows, map, |text| text);
            if let Some(valid) = &valid {
                // Kernels look at the text of nulls too: it must be one.
                texts.iter_mut().zip(valid.iter()).filter(|(_, valid)| **valid == 0).for_each(|(text, _)| *text = StrRef::ZERO);
            }
            for text in texts.iter_mut().filter(|text| text.lo as u32 > STR_INLINE) {
                // SAFETY: a view of a long text names one of the column's buffers, and an offset within it.
                text.hi = unsafe { (*view.buffers.add(text.hi as u32 as usize)).add((text.hi >> 32) as usize) } as u64;
            }
            Ok(Vector::new::<StrRef>(texts, valid))
        }
        Storage::Rows => {
            let first = (view.values as u64).wrapping_add(first as u64);
            let row = |row: u64| (first + row) as i64;
            let rows: Buf<i64> = match map {
                None => (0..rows as u64).map(row).collect(),
                Some(map) => map.iter().map(|at| row(u64::from(*at))).collect(),
            };
            Ok(Vector::new::<i64>(rows, valid))
        }
        Storage::Fixed(_) => match (ty.sql, ty.sql.default_repr()) {
            (SqlType::Float32, _) => fixed!(f32, f32),
            (SqlType::Float64, _) => fixed!(f64, f64),
            (_, Repr::I8) => fixed!(i8),
            (_, Repr::I16) => fixed!(i16),
            (_, Repr::I32) => fixed!(i32),
            (_, Repr::I64) => fixed!(i64),
            (_, Repr::I128) => fixed!(i128),
            _ => Err(unsupported(ty)),
        },
    }
}

/// The rows of a column that are wanted.
type Wanted<'a> = (usize, usize, Option<&'a [u32]>);

/// A column that lies as offsets from `base`, in `bytes` bytes without sign.
fn offsets(
    view: &ColumnView,
    ty: Type,
    bytes: u32,
    base: i64,
    valid: Option<Valid>,
    (first, rows, map): Wanted<'_>,
) -> Result<Vector, Error> {
    macro_rules! held {
        ($stored:ty) => {
            match ty.repr {
                Repr::I8 => held!($stored, i8),
                Repr::I16 => held!($stored, i16),
                Repr::I32 => held!($stored, i32),
                Repr::I64 => held!($stored, i64),
                Repr::I128 => held!($stored, i128),
                _ => Err(unsupported(ty)),
            }
        };
        ($stored:ty, $held:ty) => {{
            // Wraps where the base and the offset do, as in generated code.
            let value = |offset: $stored| base.wrapping_add(offset as i64) as $held;
            Ok(Vector::new::<$held>(values::<$stored, $held>(view, first, rows, map, value), valid))
        }};
    }
    match bytes {
        1 => held!(u8),
        2 => held!(u16),
        4 => held!(u32),
        _ => held!(u64),
    }
}

/// A column of text that lies as numbers of dictionary entries.
fn dictionary(view: &ColumnView, bytes: u32, valid: Option<Valid>, (first, rows, map): Wanted<'_>) -> Result<Vector, Error> {
    let entries = view.buffers.cast::<StrRef>();
    // SAFETY: a number is that of one of the entries; where a null lies, the first.
    let entry = |number: usize| unsafe { *entries.add(number) };
    let mut texts = match bytes {
        1 => values::<u8, StrRef>(view, first, rows, map, |number| entry(number as usize)),
        2 => values::<u16, StrRef>(view, first, rows, map, |number| entry(number as usize)),
        _ => values::<u32, StrRef>(view, first, rows, map, |number| entry(number as usize)),
    };
    if let Some(valid) = &valid {
        texts.iter_mut().zip(valid.iter()).filter(|(_, valid)| **valid == 0).for_each(|(text, _)| *text = StrRef::ZERO);
    }
    Ok(Vector::new::<StrRef>(texts, valid))
}

fn unsupported(ty: Type) -> Error {
    Error::Internal(format!("a column of {ty} cannot be loaded"))
}

fn values<S: Copy, T: Prim>(view: &ColumnView, first: usize, rows: usize, map: Option<&[u32]>, f: impl Fn(S) -> T) -> Buf<T> {
    let base = view.values.cast::<S>().wrapping_add(first);
    match map {
        // SAFETY: the column holds a value of this width for each row of the morsel; it need not be aligned.
        None => (0..rows).map(|row| f(unsafe { base.add(row).read_unaligned() })).collect(),
        // SAFETY: as above; mappings hold rows of the chunk.
        Some(map) => map.iter().map(|row| f(unsafe { base.add(*row as usize).read_unaligned() })).collect(),
    }
}

#[inline(always)]
fn bit(bits: *const u8, at: usize) -> u8 {
    // SAFETY: a bitmap has a bit for each row of the morsel.
    unsafe { (*bits.add(at / 8) >> (at % 8)) & 1 }
}

fn validity(view: &ColumnView, first: usize, rows: usize, map: Option<&[u32]>) -> Option<Valid> {
    let base = view.validity_bit as usize + first;
    // Most chunks of most columns have no null: the bytes in question are all ones.
    let span = match map {
        None => rows,
        Some(map) => map.iter().max().map_or(0, |row| *row as usize + 1),
    };
    // SAFETY: the bitmap reaches to the last row's bit.
    let bytes = unsafe { std::slice::from_raw_parts(view.validity.add(base / 8), (base % 8 + span) / 8) };
    let tail = base / 8 * 8 + bytes.len() * 8;
    if bytes.split_first().is_none_or(|(head, rest)| head >> (base % 8) == 0xFF >> (base % 8) && rest.iter().all(|byte| *byte == 0xFF))
        && (tail.max(base)..base + span).all(|at| bit(view.validity, at) == 1)
    {
        return None;
    }
    let valid: Buf<u8> = match map {
        None => (0..rows).map(|row| bit(view.validity, base + row)).collect(),
        Some(map) => map.iter().map(|row| bit(view.validity, base + *row as usize)).collect(),
    };
    Some(Rc::new(valid))
}

/// A field of the rows at these addresses; address 0 is a row of nulls.
pub(crate) fn field(field: &Field, ty: Type, addresses: &[u64]) -> Result<Vector, Error> {
    let outer = ty.nullable && addresses.contains(&0);
    let valid = match field.valid.filter(|_| ty.nullable) {
        Some(offset) => Some(addresses.iter().map(|a| if *a == 0 { 0 } else { read::<u8>(*a, offset) }).collect()),
        None if outer => Some(addresses.iter().map(|a| u8::from(*a != 0)).collect::<Buf<u8>>()),
        None => None,
    };
    let valid = valid.filter(|valid| valid.contains(&0)).map(Rc::new);
    macro_rules! load {
        ($held:ty) => {
            Ok(Vector::new::<$held>(
                addresses.iter().map(|a| if *a == 0 { <$held>::ZERO } else { read::<$held>(*a, field.offset) }).collect(),
                valid,
            ))
        };
    }
    match field.ty.repr {
        Repr::Bool => load!(u8),
        Repr::I8 => load!(i8),
        Repr::I16 => load!(i16),
        Repr::I32 => load!(i32),
        Repr::I64 => load!(i64),
        Repr::I128 => load!(i128),
        Repr::F32 => load!(f32),
        Repr::F64 => load!(f64),
        Repr::Str => load!(StrRef),
    }
}

/// Reads from a table's row.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64, offset: u32) -> T {
    // SAFETY: callers pass the address of a row and an offset of its layout; 16-byte fields may be aligned to 8 only.
    unsafe { ((address + u64::from(offset)) as *const T).read_unaligned() }
}

/// Writes into a table's row.
#[inline(always)]
pub(crate) fn write<T>(address: u64, offset: u32, value: T) {
    // SAFETY: as in `read`; the row belongs to this worker.
    unsafe { ((address + u64::from(offset)) as *mut T).write_unaligned(value) }
}
