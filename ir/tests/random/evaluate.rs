//! A plain evaluator of stages over booleans, integers and decimals: the meaning that the operations' documentation states, in 128 bits.

use std::collections::HashMap;

use stagefuse_ir::{BinaryOp, Datum, Op, Program, Region, Repr, Sink, SqlType, Stage, StageDecl, StmtKind, Type, UnaryOp, Value};

use crate::generate::bounds;

/// What a stage makes of a row.
#[derive(Debug)]
pub struct Evaluated {
    /// The emitted columns, or that an operation failed.
    pub columns: Result<Vec<Option<i128>>, Failed>,
    /// Every value that was computed.
    values: HashMap<Value, Option<i128>>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Failed;

/// Runs one row through a stage.
pub fn evaluate(program: &Program, stage: Stage, row: &[Option<i128>]) -> Evaluated {
    let decl = &program.stages[stage];
    let values = decl.params.iter().copied().zip(row.iter().copied()).collect();
    let mut evaluator = Evaluator { program, decl, values };
    let columns = evaluator.run();
    Evaluated { columns, values: evaluator.values }
}

/// Checks that every value that was computed fits its representation.
pub fn assert_fits(program: &Program, stage: Stage, evaluated: &Evaluated) {
    for (value, found) in &evaluated.values {
        let ty = program.stages[stage].values[*value];
        if let (Some(found), Repr::I64, SqlType::Decimal { .. }) = (found, ty.repr, ty.sql) {
            assert!(i64::try_from(*found).is_ok(), "{value}: {ty} is {found}\n{program}");
        }
    }
}

struct Evaluator<'a> {
    program: &'a Program,
    decl: &'a StageDecl,
    values: HashMap<Value, Option<i128>>,
}

/// What a type holds before it overflows: decimals have 128 bits.
fn whole(sql: SqlType) -> (i128, i128) {
    if sql.scale().is_some() { (i128::MIN, i128::MAX) } else { bounds(sql) }
}

fn within(value: Option<i128>, (lo, hi): (i128, i128)) -> Result<i128, Failed> {
    value.filter(|value| (lo..=hi).contains(value)).ok_or(Failed)
}

impl Evaluator<'_> {
    fn run(&mut self) -> Result<Vec<Option<i128>>, Failed> {
        for stmt in &self.decl.body {
            match &stmt.kind {
                StmtKind::Let(value, op) => self.define(*value, op)?,
                other => unreachable!("{other:?}"),
            }
        }
        let Sink::Emit { columns } = &self.decl.sink else { unreachable!("the stage emits") };
        Ok(columns.iter().map(|column| self.values[column]).collect())
    }

    fn define(&mut self, value: Value, op: &Op) -> Result<(), Failed> {
        let result = self.operation(op, self.decl.values[value])?;
        self.values.insert(value, result);
        Ok(())
    }

    fn region(&mut self, region: &Region) -> Result<Option<i128>, Failed> {
        for (value, op) in &region.body {
            self.define(*value, op)?;
        }
        Ok(self.values[&region.result])
    }

    fn operation(&mut self, op: &Op, ty: Type) -> Result<Option<i128>, Failed> {
        match op {
            Op::Literal(lit) => Ok(match self.program.literals[*lit].value {
                Datum::Int(value) => Some(value),
                Datum::Bool(value) => Some(value.into()),
                _ => None,
            }),
            Op::If(condition, then, otherwise) => self.region(if self.values[condition] == Some(1) { then } else { otherwise }),
            Op::In(a, list) => {
                let listed = |value: i128| list.iter().any(|lit| self.program.literals[*lit].value == Datum::Int(value));
                Ok(self.values[a].map(|value| listed(value).into()))
            }
            Op::Unary(op, a) => {
                let from = self.decl.values[*a].sql;
                match (op, self.values[a]) {
                    (UnaryOp::IsNull, a) => Ok(Some(a.is_none().into())),
                    (_, None) => Ok(None),
                    (op, Some(a)) => unary(*op, a, from, ty.sql).map(Some),
                }
            }
            Op::Binary(op, a, b) => match (op, self.values[a], self.values[b]) {
                (BinaryOp::Distinct, a, b) => Ok(Some((a != b).into())),
                (BinaryOp::And, Some(0), _) | (BinaryOp::And, _, Some(0)) => Ok(Some(0)),
                (BinaryOp::Or, Some(1), _) | (BinaryOp::Or, _, Some(1)) => Ok(Some(1)),
                (op, Some(a), Some(b)) => binary(*op, a, b, ty.sql).map(Some),
                _ => Ok(None),
            },
            other => unreachable!("{other:?}"),
        }
    }
}

/// The bits of an integer that its width holds. Plain arithmetic on decimals was proved to fit.
fn wrap(exact: Option<i128>, sql: SqlType) -> i128 {
    let exact = exact.expect("plain arithmetic fits in 128 bits");
    if sql.scale().is_some() {
        return exact;
    }
    let (lo, hi) = bounds(sql);
    (exact - lo).rem_euclid(hi - lo + 1) + lo
}

fn unary(op: UnaryOp, a: i128, from: SqlType, to: SqlType) -> Result<i128, Failed> {
    match op {
        UnaryOp::Not => Ok(1 - a),
        UnaryOp::Neg => Ok(wrap(a.checked_neg(), to)),
        UnaryOp::NegChecked => within(a.checked_neg(), whole(to)),
        UnaryOp::Abs => within(a.checked_abs(), whole(to)),
        UnaryOp::Convert if from.scale() == to.scale() => Ok(a),
        UnaryOp::Convert => Ok(a * 10i128.pow(to.scale().expect("an integer becomes a decimal") as u32)),
        UnaryOp::Cast => {
            let shift = i32::from(to.scale().unwrap_or(0)) - i32::from(from.scale().unwrap_or(0));
            let power = 10i128.checked_pow(shift.unsigned_abs()).expect("scales are small here");
            let exact = match to.scale() {
                _ if shift >= 0 => a.checked_mul(power),
                None => Some(a / power),
                Some(_) => {
                    let (quotient, rest) = (a / power, a % power);
                    Some(if rest.abs() >= power - rest.abs() { quotient + a.signum() } else { quotient })
                }
            };
            within(exact, bounds(to))
        }
        other => unreachable!("{other:?}"),
    }
}

fn binary(op: BinaryOp, a: i128, b: i128, to: SqlType) -> Result<i128, Failed> {
    match op {
        BinaryOp::Add => Ok(wrap(a.checked_add(b), to)),
        BinaryOp::Sub => Ok(wrap(a.checked_sub(b), to)),
        BinaryOp::Mul => Ok(wrap(a.checked_mul(b), to)),
        BinaryOp::AddChecked => within(a.checked_add(b), whole(to)),
        BinaryOp::SubChecked => within(a.checked_sub(b), whole(to)),
        BinaryOp::MulChecked => within(a.checked_mul(b), whole(to)),
        BinaryOp::Div => within(a.checked_div(b), whole(to)),
        BinaryOp::Rem if b == -1 => Ok(0),
        BinaryOp::Rem => within(a.checked_rem(b), whole(to)),
        BinaryOp::Eq => Ok((a == b).into()),
        BinaryOp::Lt => Ok((a < b).into()),
        BinaryOp::Ge => Ok((a >= b).into()),
        BinaryOp::And | BinaryOp::Or => Ok(if op == BinaryOp::And { a & b } else { a | b }),
        other => unreachable!("{other:?}"),
    }
}
