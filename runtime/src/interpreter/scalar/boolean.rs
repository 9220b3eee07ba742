//! Boolean logic and tests for null.

use std::rc::Rc;

use crate::error::Error;
use crate::interpreter::vector::{Arg, Buf, Vector, each_repr, map, zip};

pub(super) fn not(a: &Vector) -> Result<Rc<Vector>, Error> {
    map::<u8, u8>(a, |a| a ^ 1).map(Rc::new)
}

pub(super) fn is_null(a: &Vector, wanted: bool) -> Rc<Vector> {
    Rc::new(match a.validity() {
        None => Vector::constant(u8::from(!wanted), true),
        Some(Arg::Const(valid)) => Vector::constant(u8::from((valid == 0) == wanted), true),
        Some(Arg::Slice(valid)) => Vector::new::<u8>(valid.iter().map(|valid| valid ^ u8::from(wanted)).collect(), None),
    })
}

pub(super) fn is_true(a: &Rc<Vector>) -> Result<Rc<Vector>, Error> {
    Ok(match (a.arg::<u8>()?, a.validity()) {
        (_, None) => Rc::clone(a),
        (Arg::Slice(bits), Some(valid)) => {
            Rc::new(Vector::new::<u8>(bits.iter().enumerate().map(|(row, bit)| bit & valid.at(row)).collect(), None))
        }
        (Arg::Const(bit), Some(valid)) => Rc::new(Vector::constant(bit & valid.at(0), true)),
    })
}

/// Three-valued and, or or.
pub(super) fn and_or(and: bool, a: &Vector, b: &Vector) -> Result<Rc<Vector>, Error> {
    if a.valid.is_none() && b.valid.is_none() {
        let result = if and { zip::<u8, u8, u8>(a, b, |a, b| a & b) } else { zip::<u8, u8, u8>(a, b, |a, b| a | b) };
        return result.map(Rc::new);
    }
    let constant = a.constant && b.constant;
    let rows = if a.constant { b } else { a };
    let rows = each_repr!(&rows.data, buf => buf.len());
    let (av, bv) = (a.validity().unwrap_or(Arg::Const(1)), b.validity().unwrap_or(Arg::Const(1)));
    let (a, b) = (a.arg::<u8>()?, b.arg::<u8>()?);
    let (mut values, mut valid) = (Buf::<u8>::filled(0, rows), Buf::<u8>::filled(0, rows));
    for row in 0..rows {
        let (a, b, av, bv) = (a.at(row), b.at(row), av.at(row), bv.at(row));
        let (a_true, b_true, a_false, b_false) = (a & av, b & bv, (a ^ 1) & av, (b ^ 1) & bv);
        let (is_true, is_false) = if and { (a_true & b_true, a_false | b_false) } else { (a_true | b_true, a_false & b_false) };
        values[row] = is_true;
        valid[row] = is_true | is_false;
    }
    let valid = valid.contains(&0).then(|| Rc::new(valid));
    Ok(Rc::new(Vector { data: crate::interpreter::vector::Data::Bool(values), valid, constant }))
}
