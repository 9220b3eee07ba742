//! What a top-k knows of its first rows goes to the scans below it, which can skip files, row groups or rows that hold none of them.
//!
//! DataFusion has pushed a dynamic filter of the sort's into those scans; here it gets its condition: that the first key is no greater than
//! the threshold that the stages have found. Rows with that very key are let through, as any of them may be wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, DynamicFilterPhysicalExpr, IsNullExpr, lit};
use stagefuse_ir::abi::{SortWord, sort_bits};
use stagefuse_ir::{Program, Repr, Sort};

/// A dynamic filter that a sort of a program feeds.
#[derive(Debug)]
pub(crate) struct TopK {
    pub(crate) sort: Sort,
    /// A `DynamicFilterPhysicalExpr`.
    filter: Arc<dyn PhysicalExpr>,
    /// The sort's first key, over the columns of the operator that has made the filter, and its type.
    key: Arc<dyn PhysicalExpr>,
    data_type: DataType,
    /// Whether an execution has fed it.
    fed: AtomicBool,
}

impl TopK {
    pub(crate) fn new(sort: Sort, filter: Arc<dyn PhysicalExpr>, key: Arc<dyn PhysicalExpr>, data_type: DataType) -> Self {
        TopK { sort, filter, key, data_type, fed: AtomicBool::new(false) }
    }

    /// Forgets what an earlier execution has found.
    pub(crate) fn reset(&self) -> Result<()> {
        if self.fed.swap(false, Ordering::AcqRel) { self.update(lit(true)) } else { Ok(()) }
    }

    /// Tells the filter that rows are not wanted whose first key has a greater word than this.
    pub(crate) fn feed(&self, program: &Program, threshold: u64) -> Result<()> {
        let Some(condition) = self.condition(program, threshold) else { return Ok(()) };
        self.fed.store(true, Ordering::Release);
        self.update(condition)
    }

    fn update(&self, condition: Arc<dyn PhysicalExpr>) -> Result<()> {
        self.filter.downcast_ref::<DynamicFilterPhysicalExpr>().map_or(Ok(()), |filter| filter.update(condition))
    }

    /// The condition that a threshold stands for. `None` where a value of the key's type does not follow from it.
    fn condition(&self, program: &Program, threshold: u64) -> Option<Arc<dyn PhysicalExpr>> {
        let decl = &program.sorts[self.sort].keys[0];
        let bits = sort_bits(threshold, SortWord::of(decl.ty.sql), decl.descending);
        let bound = match self.data_type {
            DataType::Int8 => ScalarValue::from(bits as i8),
            DataType::Int16 => ScalarValue::from(bits as i16),
            DataType::Int32 => ScalarValue::from(bits as i32),
            DataType::Int64 => ScalarValue::from(bits as i64),
            DataType::UInt8 => ScalarValue::from(bits as u8),
            DataType::UInt16 => ScalarValue::from(bits as u16),
            DataType::UInt32 => ScalarValue::from(bits as u32),
            DataType::UInt64 => ScalarValue::from(bits),
            DataType::Date32 => ScalarValue::Date32(Some(bits as i32)),
            DataType::Decimal128(precision, scale) if decl.ty.repr == Repr::I64 => {
                ScalarValue::Decimal128(Some(i128::from(bits as i64)), precision, scale)
            }
            DataType::Date64 => ScalarValue::Date64(Some(bits as i64)),
            DataType::Timestamp(TimeUnit::Second, ref zone) => ScalarValue::TimestampSecond(Some(bits as i64), zone.clone()),
            DataType::Timestamp(TimeUnit::Millisecond, ref zone) => ScalarValue::TimestampMillisecond(Some(bits as i64), zone.clone()),
            DataType::Timestamp(TimeUnit::Microsecond, ref zone) => ScalarValue::TimestampMicrosecond(Some(bits as i64), zone.clone()),
            DataType::Timestamp(TimeUnit::Nanosecond, ref zone) => ScalarValue::TimestampNanosecond(Some(bits as i64), zone.clone()),
            // Of text and wide decimals a threshold has only the beginning; statistics of floats know nothing of NaN.
            _ => return None,
        };
        let operator = if decl.descending { Operator::GtEq } else { Operator::LtEq };
        let within: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(Arc::clone(&self.key), operator, lit(bound)));
        if !(decl.ty.nullable && decl.nulls_first) {
            return Some(within);
        }
        let null = Arc::new(IsNullExpr::new(Arc::clone(&self.key)));
        Some(Arc::new(BinaryExpr::new(null, Operator::Or, within)))
    }
}
