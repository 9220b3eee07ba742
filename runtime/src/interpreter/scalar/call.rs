//! Calls of functions, row by row.

use std::rc::Rc;

use stagefuse_ir::abi::StrRef;
use stagefuse_ir::{Function, Repr, Type, Value};

use crate::error::Error;
use crate::functions::{self, Words};
use crate::interpreter::level::Frame;
use crate::interpreter::vector::{Buf, Data, Prim, Vector};

pub(super) fn eval(frame: &mut Frame<'_>, value: Value, function: Function, args: &[Value], ty: Type) -> Result<Rc<Vector>, Error> {
    let unsigned: Vec<bool> = args.iter().map(|arg| frame.plan.ty(*arg).sql.is_unsigned()).collect();
    let args = args.iter().map(|arg| frame.get(*arg)).collect::<Result<Vec<_>, _>>()?;
    let constant = args.iter().all(|arg| arg.constant);
    let rows = if constant { 1 } else { frame.rows() };
    let nullable = function.can_be_null() || args.iter().any(|arg| arg.valid.is_some());
    let mut valid = nullable.then(|| Buf::<u8>::filled(1, rows));
    let mut operands: Vec<Words> = vec![[0, 0]; args.len()];
    let mut results = Buf::<StrRef>::new();
    for row in 0..rows {
        let mut result = None;
        if args.iter().all(|arg| arg.is_valid(row)) {
            for ((operand, arg), unsigned) in operands.iter_mut().zip(&args).zip(&unsigned) {
                *operand = words(arg, row, *unsigned);
            }
            // SAFETY: the verifier holds operands to the kinds that the function takes; text of vectors is alive.
            let called = unsafe { functions::call(function, &operands, &mut frame.worker.scratch) };
            result = called.map_err(|code| Error::Arithmetic { code, value })?;
        }
        if let (None, Some(valid)) = (result, &mut valid) {
            valid[row] = 0;
        }
        let [lo, hi] = result.unwrap_or_default();
        results.push(StrRef { lo, hi });
    }
    macro_rules! held {
        ($($repr:ident, $held:ty;)*) => {
            match ty.repr {
                $(Repr::$repr => <$held>::wrap(results.iter().map(|result| result.lo as $held).collect()),)*
                Repr::I128 => i128::wrap(results.iter().map(|result| ((u128::from(result.hi) << 64) | u128::from(result.lo)) as i128).collect()),
                Repr::F32 => f32::wrap(results.iter().map(|result| f64::from_bits(result.lo) as f32).collect()),
                Repr::F64 => f64::wrap(results.iter().map(|result| f64::from_bits(result.lo)).collect()),
                Repr::Str => StrRef::wrap(results),
            }
        };
    }
    let data = held!(Bool, u8; I8, i8; I16, i16; I32, i32; I64, i64;);
    let valid = valid.filter(|valid| valid.contains(&0)).map(Rc::new);
    Ok(Rc::new(Vector { data, valid, constant }))
}

/// A value as functions take it.
fn words(vector: &Vector, row: usize, unsigned: bool) -> Words {
    let row = if vector.constant { 0 } else { row };
    let whole = |number: i64| [number as u64, (number >> 63) as u64];
    match &vector.data {
        Data::Bool(values) => [values[row].into(), 0],
        Data::I8(values) => whole(if unsigned { i64::from(values[row] as u8) } else { values[row].into() }),
        Data::I16(values) => whole(if unsigned { i64::from(values[row] as u16) } else { values[row].into() }),
        Data::I32(values) => whole(if unsigned { i64::from(values[row] as u32) } else { values[row].into() }),
        Data::I64(values) => whole(values[row]),
        Data::I128(values) => [values[row] as u64, (values[row] >> 64) as u64],
        Data::F32(values) => [f64::from(values[row]).to_bits(), 0],
        Data::F64(values) => [values[row].to_bits(), 0],
        Data::Str(values) => [values[row].lo, values[row].hi],
    }
}
