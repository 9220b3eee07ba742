//! Makes the tables of TPC-H in memory, by parts, in parallel.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator, RegionGenerator,
    SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator, RegionArrow, SupplierArrow,
};

/// The tables, small ones first.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// As many rows as DataFusion puts into a batch when it reads files.
const BATCH_ROWS: usize = 8192;

/// One table: its schema, and its batches by partition.
pub struct Table {
    pub schema: SchemaRef,
    pub partitions: Vec<Vec<RecordBatch>>,
}

/// Makes a table with one partition for each thread; a partition holds a contiguous range of keys. `None`: there is no such table.
pub fn table(name: &str, scale: f64, threads: usize) -> Option<Table> {
    let schema = part(name, scale, 1, 1)?.schema().clone();
    // The two tiny tables cannot be cut.
    let cuts = if matches!(name, "region" | "nation") { 1 } else { threads.max(1) };
    let cuts = i32::try_from(cuts).unwrap_or(1);
    let mut partitions: Vec<Vec<RecordBatch>> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (1..=cuts).map(|index| scope.spawn(move || part(name, scale, index, cuts).into_iter().flatten().collect())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    partitions.resize(threads.max(1), vec![]);
    Some(Table { schema, partitions })
}

fn part(name: &str, scale: f64, index: i32, of: i32) -> Option<Box<dyn RecordBatchIterator>> {
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
