//! Decimals that come from Parquet files in 8 bytes in place of Arrow's 16.
//!
//! Files hold decimals of at most 18 digits in 4 or 8 bytes. The stage is made for those; `exec/files.rs` has them read so. The leaf itself stays as it is, for whoever
//! else runs it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::datasource::physical_plan::{FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use stagefuse_ir::{EntityRef, Program, Stored};

/// Most digits of a decimal that is read in 8 bytes.
pub(crate) const WORD_DIGITS: u8 = 18;

/// The scan of Parquet files that a leaf is.
pub(crate) fn parquet_scan(plan: &dyn ExecutionPlan) -> Option<(&FileScanConfig, &ParquetSource)> {
    let config = plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    Some((config, config.file_source().downcast_ref::<ParquetSource>()?))
}

/// Says of decimals of Parquet files that they lie in words. Operands of computed columns stay as the host knows them.
pub(super) fn choose(program: &mut Program, leaves: &[Arc<dyn ExecutionPlan>]) {
    for (input, decl) in program.inputs.iter_mut() {
        let Some(leaf) = leaves.get(input.index()).filter(|_| !decl.handed) else { continue };
        if parquet_scan(leaf.as_ref()).is_none() {
            continue;
        }
        let args: Vec<u32> = decl.computed.iter().flat_map(|computed| computed.args.iter().copied()).collect();
        for (column, field) in leaf.schema().fields().iter().enumerate().take(decl.given()) {
            let is_small = matches!(field.data_type(), DataType::Decimal128(precision, _) if *precision <= WORD_DIGITS);
            if is_small && !args.contains(&(column as u32)) && decl.stored[column] == Stored::Arrow {
                decl.stored[column] = Stored::Word;
            }
        }
    }
}
