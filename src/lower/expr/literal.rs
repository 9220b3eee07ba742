//! Literals.

use datafusion::common::ScalarValue;
use stagefuse_ir::{Datum, Op, SqlType, Type, Value};

use super::Scope;
use crate::lower::{Lowering, types};

impl Lowering {
    pub(super) fn literal(&mut self, scope: &mut Scope<'_>, value: &ScalarValue) -> Option<Value> {
        let (sql, datum) = datum(value)?;
        let ty = Type::new(sql, datum == Datum::Null);
        let lit = self.p.literal(ty, datum);
        Some(scope.s.op(Op::Literal(lit), ty))
    }
}

/// A scalar of an IR type.
pub(crate) fn datum(value: &ScalarValue) -> Option<(SqlType, Datum)> {
    let sql = types::ir_type(&value.data_type(), true)?.sql;
    if value.is_null() {
        return Some((sql, Datum::Null));
    }
    let datum = match value {
        ScalarValue::Dictionary(_, inner) => return self::datum(inner),
        ScalarValue::RunEndEncoded(_, _, inner) => return self::datum(inner),
        ScalarValue::Boolean(Some(b)) => Datum::Bool(*b),
        ScalarValue::Int8(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::Int16(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::Int32(Some(i)) | ScalarValue::Date32(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::Int64(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::UInt8(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::UInt16(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::UInt32(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::UInt64(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::Decimal128(Some(i), _, _) => Datum::Int(*i),
        ScalarValue::Decimal32(Some(i), _, _) => Datum::Int((*i).into()),
        ScalarValue::Decimal64(Some(i), _, _) => Datum::Int((*i).into()),
        ScalarValue::Time32Second(Some(i)) | ScalarValue::Time32Millisecond(Some(i)) | ScalarValue::IntervalYearMonth(Some(i)) => {
            Datum::Int((*i).into())
        }
        ScalarValue::Date64(Some(i))
        | ScalarValue::Time64Microsecond(Some(i))
        | ScalarValue::Time64Nanosecond(Some(i))
        | ScalarValue::TimestampSecond(Some(i), _)
        | ScalarValue::TimestampMillisecond(Some(i), _)
        | ScalarValue::TimestampMicrosecond(Some(i), _)
        | ScalarValue::TimestampNanosecond(Some(i), _)
        | ScalarValue::DurationSecond(Some(i))
        | ScalarValue::DurationMillisecond(Some(i))
        | ScalarValue::DurationMicrosecond(Some(i))
        | ScalarValue::DurationNanosecond(Some(i)) => Datum::Int((*i).into()),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::FixedSizeBinary(_, Some(bytes)) => Datum::Bytes(bytes.clone()),
        ScalarValue::Float32(Some(f)) => Datum::Float(f64::from(*f).to_bits()),
        ScalarValue::Float64(Some(f)) => Datum::Float(f.to_bits()),
        ScalarValue::Utf8(Some(s)) | ScalarValue::LargeUtf8(Some(s)) | ScalarValue::Utf8View(Some(s)) => Datum::Str(s.clone()),
        _ => return None,
    };
    Some((sql, datum))
}
