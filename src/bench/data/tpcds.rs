//! The tables of TPC-DS.

use tpcdsgen::config::{SessionBuilder, Table};
use tpcdsgen_arrow::{
    CallCenterArrow, CatalogPageArrow, CatalogReturnsArrow, CatalogSalesArrow, CustomerAddressArrow, CustomerArrow,
    CustomerDemographicsArrow, DateDimArrow, HouseholdDemographicsArrow, IncomeBandArrow, InventoryArrow, ItemArrow, PromotionArrow,
    ReasonArrow, ShipModeArrow, StoreArrow, StoreReturnsArrow, StoreSalesArrow, TimeDimArrow, WarehouseArrow, WebPageArrow,
    WebReturnsArrow, WebSalesArrow, WebSiteArrow,
};

use super::{BATCH_ROWS, Part};

/// Names of the tables that queries read.
pub fn tables() -> Vec<&'static str> {
    Table::values().iter().filter(|table| **table != Table::DbgenVersion).map(Table::get_name).collect()
}

/// Whether a table is too small to be cut.
pub fn is_whole(name: &str) -> bool {
    // The returns follow from the sales, which a part would make again.
    find(name).is_none_or(|table| table.is_small())
}

fn find(name: &str) -> Option<Table> {
    Table::values().iter().find(|table| table.get_name() == name).copied()
}

/// A part of a table.
pub fn part(name: &str, scale: f64, index: i32, of: i32) -> Result<Part, String> {
    let table = find(name).ok_or_else(|| format!("TPC-DS has no table {name}"))?;
    let builder = SessionBuilder::new().with_scale_factor(scale).with_chunk_number(index).with_total_chunks(of);
    let session = builder.build().map_err(|error| format!("TPC-DS at scale {scale}: {error}"))?;
    let rows = session.get_source_row_range(table);
    macro_rules! rows {
        ($generator:ty) => {
            Part {
                schema: <$generator>::schema_ref(),
                batches: Box::new(<$generator>::new(session).with_source_row_range(*rows.start(), *rows.end()).with_batch_size(BATCH_ROWS)),
            }
        };
    }
    Ok(match table {
        Table::CallCenter => rows!(CallCenterArrow),
        Table::CatalogPage => rows!(CatalogPageArrow),
        Table::CatalogReturns => rows!(CatalogReturnsArrow),
        Table::CatalogSales => rows!(CatalogSalesArrow),
        Table::Customer => rows!(CustomerArrow),
        Table::CustomerAddress => rows!(CustomerAddressArrow),
        Table::CustomerDemographics => rows!(CustomerDemographicsArrow),
        Table::DateDim => rows!(DateDimArrow),
        Table::HouseholdDemographics => rows!(HouseholdDemographicsArrow),
        Table::IncomeBand => rows!(IncomeBandArrow),
        Table::Inventory => rows!(InventoryArrow),
        Table::Item => rows!(ItemArrow),
        Table::Promotion => rows!(PromotionArrow),
        Table::Reason => rows!(ReasonArrow),
        Table::ShipMode => rows!(ShipModeArrow),
        Table::Store => rows!(StoreArrow),
        Table::StoreReturns => rows!(StoreReturnsArrow),
        Table::StoreSales => rows!(StoreSalesArrow),
        Table::TimeDim => rows!(TimeDimArrow),
        Table::Warehouse => rows!(WarehouseArrow),
        Table::WebPage => rows!(WebPageArrow),
        Table::WebReturns => rows!(WebReturnsArrow),
        Table::WebSales => rows!(WebSalesArrow),
        Table::WebSite => rows!(WebSiteArrow),
        Table::DbgenVersion => return Err("dbgen_version is not a table of queries".to_owned()),
    })
}
