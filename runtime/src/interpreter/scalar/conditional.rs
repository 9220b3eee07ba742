//! `if`: each region is evaluated for its rows only.

use std::rc::Rc;

use stagefuse_ir::{Op, Region, Type, Value};

use super::cast::resize;
use crate::error::Error;
use crate::interpreter::level::Frame;
use crate::interpreter::scalar;
use crate::interpreter::vector::{Arg, Buf, Data, Prim, Vector, each_repr, select};

/// Longest region that is evaluated for all rows, if it cannot fail: that is cheaper than to part the rows and bring them together.
const CHEAP_OPS: usize = 3;

pub(super) fn eval(frame: &mut Frame<'_>, condition: Value, then: &Region, otherwise: &Region, ty: Type) -> Result<Rc<Vector>, Error> {
    let condition = frame.get(condition)?;
    let rows = frame.rows();
    let chosen = select(&condition, rows, true)?;
    if chosen.len() == rows {
        return held(region(frame, then)?, ty);
    }
    if chosen.is_empty() {
        return held(region(frame, otherwise)?, ty);
    }
    let (mut picks, mut others) = (Buf::<u8>::filled(0, rows), Buf::<u32>::new());
    chosen.iter().for_each(|row| picks[*row as usize] = 1);
    let picks = picks;
    if is_cheap(then) && is_cheap(otherwise) {
        let (a, b) = (held(region(frame, then)?, ty)?, held(region(frame, otherwise)?, ty)?);
        return blend(&picks, &a, &b).map(Rc::new);
    }
    others.extend((0..rows as u32).filter(|row| picks[*row as usize] == 0));
    let a = for_rows(frame, &chosen, then, ty)?;
    let b = for_rows(frame, &others, otherwise, ty)?;
    merge(rows, [(&chosen, &a), (&others, &b)]).map(Rc::new)
}

/// Evaluates a region for the rows of the top level. Its values stay defined there.
pub(crate) fn region(frame: &mut Frame<'_>, region: &Region) -> Result<Rc<Vector>, Error> {
    for (value, op) in &region.body {
        let vector = scalar::eval(frame, *value, op)?;
        frame.define(*value, vector);
    }
    frame.get(region.result)
}

fn is_cheap(region: &Region) -> bool {
    region.body.len() <= CHEAP_OPS
        && region.body.iter().all(|(_, op)| matches!(op, Op::Literal(_) | Op::Param(_) | Op::Unary(..) | Op::Binary(..)) && !op.can_fail())
}

/// A region's result in the representation of the whole.
fn held(vector: Rc<Vector>, ty: Type) -> Result<Rc<Vector>, Error> {
    if vector.repr().is_int() { resize(&vector, ty.repr) } else { Ok(vector) }
}

fn for_rows(frame: &mut Frame<'_>, rows: &[u32], body: &Region, ty: Type) -> Result<Rc<Vector>, Error> {
    let base = frame.depth();
    frame.push_map(rows.iter().copied().collect());
    let vector = region(frame, body)?;
    frame.pop_to(base);
    held(vector, ty)
}

/// For each row the value of the first vector where `picks` is 1, else of the second.
fn blend(picks: &[u8], a: &Vector, b: &Vector) -> Result<Vector, Error> {
    fn values<T: Prim>(picks: &[u8], a: &Vector, b: &Vector) -> Result<Data, Error> {
        let pick = |(row, pick): (usize, &u8), a: Arg<'_, T>, b: Arg<'_, T>| if *pick != 0 { a.at(row) } else { b.at(row) };
        let picks = picks.iter().enumerate();
        // One loop for each combination, so that the test for constants is outside.
        Ok(T::wrap(match (a.arg::<T>()?, b.arg::<T>()?) {
            (Arg::Slice(a), Arg::Const(b)) => picks.zip(a).map(|((_, pick), a)| if *pick != 0 { *a } else { b }).collect(),
            (Arg::Const(a), Arg::Slice(b)) => picks.zip(b).map(|((_, pick), b)| if *pick != 0 { a } else { *b }).collect(),
            (a, b) => picks.map(|at| pick(at, a, b)).collect(),
        }))
    }
    macro_rules! typed {
        ($($variant:ident)*) => {
            match &a.data { $(Data::$variant(buf) => values_like(buf, picks, a, b),)* }
        };
    }
    fn values_like<T: Prim>(_: &Buf<T>, picks: &[u8], a: &Vector, b: &Vector) -> Result<Data, Error> {
        values::<T>(picks, a, b)
    }
    let data = typed!(Bool I8 I16 I32 I64 I128 F32 F64 Str)?;
    let valid = (a.valid.is_some() || b.valid.is_some()).then(|| {
        let (a, b) = (a.validity().unwrap_or(Arg::Const(1)), b.validity().unwrap_or(Arg::Const(1)));
        Rc::new(picks.iter().enumerate().map(|(row, pick)| if *pick != 0 { a.at(row) } else { b.at(row) }).collect())
    });
    Ok(Vector { data, valid, constant: false })
}

/// Brings the results of both regions together.
fn merge(rows: usize, parts: [(&Buf<u32>, &Rc<Vector>); 2]) -> Result<Vector, Error> {
    fn scatter<T: Prim>(_: &Buf<T>, rows: usize, parts: [(&Buf<u32>, &Rc<Vector>); 2]) -> Result<Data, Error> {
        let mut out = Buf::<T>::filled(T::ZERO, rows);
        for (map, vector) in parts {
            let values = vector.arg::<T>()?;
            map.iter().enumerate().for_each(|(at, row)| out[*row as usize] = values.at(at));
        }
        Ok(T::wrap(out))
    }
    let data = each_repr!(&parts[0].1.data, buf => scatter(buf, rows, parts))?;
    let mut valid = None;
    if parts.iter().any(|(_, vector)| vector.valid.is_some()) {
        let mut bytes = Buf::<u8>::filled(1, rows);
        for (map, vector) in parts {
            map.iter().enumerate().for_each(|(at, row)| bytes[*row as usize] = u8::from(vector.is_valid(at)));
        }
        valid = Some(Rc::new(bytes));
    }
    Ok(Vector { data, valid, constant: false })
}
