//! Vectors: dense columns of at most [`super::CHUNK`] values in one representation, and the buffers that they lie in.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use stagefuse_ir::Repr;
use stagefuse_ir::abi::StrRef;

use super::CHUNK;
use crate::error::Error;

/// Buffers that a thread keeps of each type; more are given back to the allocator.
const KEPT: usize = 48;

/// What may lie in a [`Buf`].
pub(crate) trait Pooled: Copy + 'static {
    /// Runs `f` on this thread's unused buffers; `None` while the thread ends.
    fn with_pool<R>(f: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> Option<R>;
}

macro_rules! pooled {
    ($($ty:ty)*) => {$(
        impl Pooled for $ty {
            fn with_pool<R>(f: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> Option<R> {
                thread_local! { static POOL: RefCell<Vec<Vec<$ty>>> = const { RefCell::new(vec![]) } }
                POOL.try_with(|pool| f(&mut pool.borrow_mut())).ok()
            }
        }
    )*};
}
pooled!(u8 i8 i16 i32 i64 i128 u32 u64 f32 f64 StrRef);

/// A buffer that comes from, and goes back to, its thread's pool: chunks follow each other without a call of the allocator.
#[derive(Debug)]
pub(crate) struct Buf<T: Pooled>(Vec<T>);

impl<T: Pooled> Buf<T> {
    /// An empty buffer.
    pub(crate) fn new() -> Self {
        let buf = T::with_pool(Vec::pop).flatten();
        Buf(buf.unwrap_or_else(|| Vec::with_capacity(CHUNK)))
    }

    /// A buffer of `len` equal values.
    pub(crate) fn filled(value: T, len: usize) -> Self {
        let mut buf = Self::new();
        buf.resize(len, value);
        buf
    }
}

impl<T: Pooled> Drop for Buf<T> {
    fn drop(&mut self) {
        let mut buf = std::mem::take(&mut self.0);
        buf.clear();
        T::with_pool(|pool| {
            if pool.len() < KEPT {
                pool.push(buf);
            }
        });
    }
}

impl<T: Pooled> Deref for Buf<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Pooled> DerefMut for Buf<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Pooled> FromIterator<T> for Buf<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        let mut buf = Self::new();
        buf.extend(iter);
        buf
    }
}

/// Values of one representation. Booleans are bytes, 0 or 1.
#[derive(Debug)]
pub(crate) enum Data {
    Bool(Buf<u8>),
    I8(Buf<i8>),
    I16(Buf<i16>),
    I32(Buf<i32>),
    I64(Buf<i64>),
    I128(Buf<i128>),
    F32(Buf<f32>),
    F64(Buf<f64>),
    Str(Buf<StrRef>),
}

/// Runs the same code on the buffer of whatever representation.
macro_rules! each_repr {
    ($data:expr, $buf:ident => $body:expr) => {
        match $data {
            $crate::interpreter::vector::Data::Bool($buf) => $body,
            $crate::interpreter::vector::Data::I8($buf) => $body,
            $crate::interpreter::vector::Data::I16($buf) => $body,
            $crate::interpreter::vector::Data::I32($buf) => $body,
            $crate::interpreter::vector::Data::I64($buf) => $body,
            $crate::interpreter::vector::Data::I128($buf) => $body,
            $crate::interpreter::vector::Data::F32($buf) => $body,
            $crate::interpreter::vector::Data::F64($buf) => $body,
            $crate::interpreter::vector::Data::Str($buf) => $body,
        }
    };
}
pub(crate) use each_repr;

/// A Rust type that holds one representation.
pub(crate) trait Prim: Pooled {
    /// The value of nulls in tables.
    const ZERO: Self;
    fn wrap(buf: Buf<Self>) -> Data;
    fn slice(data: &Data) -> Option<&[Self]>;
}

macro_rules! prim {
    ($($ty:ty, $variant:ident, $zero:expr;)*) => {$(
        impl Prim for $ty {
            const ZERO: Self = $zero;
            fn wrap(buf: Buf<Self>) -> Data {
                Data::$variant(buf)
            }
            fn slice(data: &Data) -> Option<&[Self]> {
                match data { Data::$variant(buf) => Some(buf), _ => None }
            }
        }
    )*};
}
prim! {
    u8, Bool, 0;
    i8, I8, 0;
    i16, I16, 0;
    i32, I32, 0;
    i64, I64, 0;
    i128, I128, 0;
    f32, F32, 0.0;
    f64, F64, 0.0;
    StrRef, Str, StrRef { lo: 0, hi: 0 };
}

/// Validity bytes: 1 is valid.
pub(crate) type Valid = Rc<Buf<u8>>;

/// A vector: values and, where some are null, validity. A constant holds one value that stands for every row.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) data: Data,
    pub(crate) valid: Option<Valid>,
    pub(crate) constant: bool,
}

/// An operand of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a, T> {
    Slice(&'a [T]),
    Const(T),
}

impl<T: Copy> Arg<'_, T> {
    #[inline(always)]
    pub(crate) fn at(&self, row: usize) -> T {
        match self {
            Arg::Slice(slice) => slice[row],
            Arg::Const(value) => *value,
        }
    }
}

impl Vector {
    pub(crate) fn new<T: Prim>(buf: Buf<T>, valid: Option<Valid>) -> Self {
        Vector { data: T::wrap(buf), valid, constant: false }
    }

    pub(crate) fn constant<T: Prim>(value: T, valid: bool) -> Self {
        let valid = (!valid).then(|| Rc::new(Buf::filled(0, 1)));
        Vector { data: T::wrap(Buf::filled(value, 1)), valid, constant: true }
    }

    pub(crate) fn repr(&self) -> Repr {
        match self.data {
            Data::Bool(_) => Repr::Bool,
            Data::I8(_) => Repr::I8,
            Data::I16(_) => Repr::I16,
            Data::I32(_) => Repr::I32,
            Data::I64(_) => Repr::I64,
            Data::I128(_) => Repr::I128,
            Data::F32(_) => Repr::F32,
            Data::F64(_) => Repr::F64,
            Data::Str(_) => Repr::Str,
        }
    }

    /// The values, which must be held in `T`.
    pub(crate) fn arg<T: Prim>(&self) -> Result<Arg<'_, T>, Error> {
        let slice = T::slice(&self.data)
            .ok_or_else(|| Error::Internal(format!("the interpreter met a value in {:?} where it expected another", self.repr())))?;
        Ok(if self.constant { Arg::Const(slice[0]) } else { Arg::Slice(slice) })
    }

    /// The validity, if some row may be null.
    pub(crate) fn validity(&self) -> Option<Arg<'_, u8>> {
        self.valid.as_ref().map(|valid| if self.constant { Arg::Const(valid[0]) } else { Arg::Slice(valid) })
    }

    /// Whether row `row` is not null.
    #[inline(always)]
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.validity().is_none_or(|valid| valid.at(row) != 0)
    }

    /// The values at these rows.
    pub(crate) fn gather(&self, rows: &[u32]) -> Self {
        if self.constant {
            return self.expand(1, true);
        }
        let data = each_repr!(&self.data, buf => Prim::wrap(gather(buf, rows)));
        Vector { data, valid: self.valid.as_ref().map(|valid| Rc::new(gather(valid, rows))), constant: false }
    }

    /// A constant as `len` rows, or a copy.
    pub(crate) fn expand(&self, len: usize, constant: bool) -> Self {
        if !self.constant {
            let data = each_repr!(&self.data, buf => Prim::wrap(buf.iter().copied().collect()));
            return Vector { data, valid: self.valid.clone(), constant: false };
        }
        let data = each_repr!(&self.data, buf => Prim::wrap(Buf::filled(buf[0], len)));
        let valid = self.valid.as_ref().map(|valid| Rc::new(Buf::filled(valid[0], len)));
        Vector { data, valid, constant }
    }
}

/// The values at these rows.
pub(crate) fn gather<T: Pooled>(values: &[T], rows: &[u32]) -> Buf<T> {
    debug_assert!(rows.iter().all(|row| (*row as usize) < values.len()), "a mapping refers to rows of the level that it maps into");
    // SAFETY: mappings are made by `select` and by probes, from row numbers of the very level that `values` has a value for each row of.
    rows.iter().map(|row| unsafe { *values.get_unchecked(*row as usize) }).collect()
}

/// Applies a function to each value.
pub(crate) fn map<A: Prim, R: Prim>(a: &Vector, f: impl Fn(A) -> R) -> Result<Vector, Error> {
    let constant = a.constant;
    let buf: Buf<R> = match a.arg::<A>()? {
        Arg::Const(a) => Buf::filled(f(a), 1),
        Arg::Slice(a) => a.iter().map(|a| f(*a)).collect(),
    };
    Ok(Vector { data: R::wrap(buf), valid: a.valid.clone(), constant })
}

/// Applies a function to each pair of values.
#[inline(always)]
pub(crate) fn zip<A: Prim, B: Prim, R: Prim>(a: &Vector, b: &Vector, f: impl Fn(A, B) -> R) -> Result<Vector, Error> {
    let buf: Buf<R> = match (a.arg::<A>()?, b.arg::<B>()?) {
        (Arg::Const(a), Arg::Const(b)) => Buf::filled(f(a, b), 1),
        (Arg::Slice(a), Arg::Const(b)) => a.iter().map(|a| f(*a, b)).collect(),
        (Arg::Const(a), Arg::Slice(b)) => b.iter().map(|b| f(a, *b)).collect(),
        (Arg::Slice(a), Arg::Slice(b)) => a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect(),
    };
    Ok(Vector { data: R::wrap(buf), valid: both_valid(a, b), constant: a.constant && b.constant })
}

/// The validity of a strict operation's result.
pub(crate) fn both_valid(a: &Vector, b: &Vector) -> Option<Valid> {
    // A constant that is null makes the whole result null; where it is the only constant, its one byte must become a row each.
    let rows = if a.constant { b } else { a };
    let len = each_repr!(&rows.data, buf => buf.len());
    match (a.validity(), b.validity()) {
        (None, None) => None,
        (Some(Arg::Const(v)), None) | (None, Some(Arg::Const(v))) => Some(Rc::new(Buf::filled(v, len))),
        (Some(_), None) => a.valid.clone(),
        (None, Some(_)) => b.valid.clone(),
        (Some(Arg::Const(a)), Some(Arg::Const(b))) => Some(Rc::new(Buf::filled(a & b, len))),
        (Some(Arg::Slice(a)), Some(Arg::Const(b))) | (Some(Arg::Const(b)), Some(Arg::Slice(a))) => {
            Some(Rc::new(a.iter().map(|a| a & b).collect()))
        }
        (Some(Arg::Slice(a)), Some(Arg::Slice(b))) => Some(Rc::new(a.iter().zip(b).map(|(a, b)| a & b).collect())),
    }
}

/// Numbers of the rows for which the boolean is true, not false and not null.
pub(crate) fn select(condition: &Vector, rows: usize, wanted: bool) -> Result<Buf<u32>, Error> {
    let bits = condition.arg::<u8>()?;
    let mut out = Buf::<u32>::filled(0, rows);
    let wanted = u8::from(wanted);
    let mut count = 0;
    // Without a branch: which rows pass cannot be predicted.
    let mut take = |row: usize, bit: u8| {
        out[count] = row as u32;
        count += usize::from(bit == wanted);
    };
    match (bits, condition.validity()) {
        (Arg::Const(bit), valid) => {
            let bit = bit & valid.map_or(1, |valid| valid.at(0));
            (0..rows).for_each(|row| take(row, bit));
        }
        (Arg::Slice(bits), Some(Arg::Slice(valid))) => bits.iter().zip(valid).enumerate().for_each(|(row, (bit, v))| take(row, bit & v)),
        (Arg::Slice(bits), _) => bits.iter().enumerate().for_each(|(row, bit)| take(row, *bit)),
    }
    out.truncate(count);
    Ok(out)
}
