//! The tables of TPC-H.

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator, RegionGenerator,
    SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator, RegionArrow, SupplierArrow,
};

use super::{BATCH_ROWS, Part};

/// The tables, small ones first.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// A part of a table. `None`: there is no such table.
pub fn part(name: &str, scale: f64, index: i32, of: i32) -> Option<Part> {
    let batches = batches(name, scale, index, of)?;
    Some(Part { schema: batches.schema().clone(), batches: Box::new(batches.map(Ok)) })
}

fn batches(name: &str, scale: f64, index: i32, of: i32) -> Option<Box<dyn RecordBatchIterator>> {
    Some(match name {
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "part" => Box::new(PartArrow::new(PartGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        "lineitem" => Box::new(LineItemArrow::new(LineItemGenerator::new(scale, index, of)).with_batch_size(BATCH_ROWS)),
        _ => return None,
    })
}
