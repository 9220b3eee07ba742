//! Hashes of key vectors: [`stagefuse_ir::abi::hash_word`] over the keys in order.

use std::rc::Rc;

use stagefuse_ir::abi::{HASH_ALL, HASH_NULL, HASH_SEED, STR_INLINE, StrRef, fold_text, hash_word};

use super::vector::{Arg, Buf, Data, Prim, Vector};
use crate::builtins::strings;
use crate::error::Error;

/// The hash of each row, of which the bits of a mask count.
pub(crate) fn hash_keys(keys: &[Rc<Vector>], rows: usize, mask: u64) -> Result<Buf<u64>, Error> {
    let mut hashes = Buf::filled(HASH_SEED, rows);
    for key in keys {
        match &key.data {
            Data::Bool(_) => mix::<u8>(&mut hashes, key, |v| (u64::from(v), 0))?,
            Data::I8(_) => mix::<i8>(&mut hashes, key, |v| (v as u64, 0))?,
            Data::I16(_) => mix::<i16>(&mut hashes, key, |v| (v as u64, 0))?,
            Data::I32(_) => mix::<i32>(&mut hashes, key, |v| (v as u64, 0))?,
            Data::I64(_) => mix::<i64>(&mut hashes, key, |v| (v as u64, 0))?,
            Data::I128(_) => mix::<i128>(&mut hashes, key, |v| (v as u64, (v >> 64) as u64))?,
            Data::F32(_) => mix::<f32>(&mut hashes, key, |v| (u64::from(v.to_bits()), 0))?,
            Data::F64(_) => mix::<f64>(&mut hashes, key, |v| (v.to_bits(), 0))?,
            Data::Str(_) => mix::<StrRef>(&mut hashes, key, |v| {
                if v.lo as u32 <= STR_INLINE {
                    (v.lo, v.hi)
                } else {
                    // SAFETY: vectors hold text that is alive.
                    (v.lo, fold_text(unsafe { strings::bytes(&v) }))
                }
            })?,
        }
    }
    if mask != HASH_ALL {
        hashes.iter_mut().for_each(|hash| *hash &= mask);
    }
    Ok(hashes)
}

#[inline(always)]
fn mix<T: Prim>(hashes: &mut [u64], key: &Vector, words: impl Fn(T) -> (u64, u64)) -> Result<(), Error> {
    let word = |h: u64, value: T| {
        let (w0, w1) = words(value);
        hash_word(h, w0, w1)
    };
    match (key.arg::<T>()?, key.validity()) {
        (Arg::Slice(values), None) => hashes.iter_mut().zip(values).for_each(|(h, value)| *h = word(*h, *value)),
        (values, valid) => {
            for (row, h) in hashes.iter_mut().enumerate() {
                let is_valid = valid.is_none_or(|valid| valid.at(row) != 0);
                *h = if is_valid { word(*h, values.at(row)) } else { hash_word(*h, HASH_NULL, 0) };
            }
        }
    }
    Ok(())
}
