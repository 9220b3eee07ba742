//! Reading Parquet files as narrow as they are.
//!
//! A stage that takes decimals in 8 bytes ([`Stored::Word`]) reads a scan of its own in place of the leaf: the same files, predicate and reader, with such columns cast to
//! `Decimal64` by the scan's projection. The reader is told to hand such columns over as they are, in 4 or 8 bytes, and the casts fall away. DataFusion adapts the projection to
//! each file, so it is right for a table's other files, too: a missing column is null, another type is cast.
//!
//! A file tells by its footer, which DataFusion has in its cache. Where that is not there, or a file holds these decimals in more bytes, the leaf is read as it is, and the
//! stage's input makes its columns narrow: DataFusion does not look whether values have the digits that their type allows, so nothing is cast here that may have more.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::TaskContext;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::basic::Type as Physical;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr_adapter::{DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::physical_plan::ExecutionPlan;
use stagefuse_ir::{InputDecl, Stored};

use super::{local, tails};
use crate::lower::parquet_scan;

/// Columns of a table that are read narrow, by name, with their types there.
type Words = HashMap<String, DataType>;

/// The scan that an input of stages reads in place of a leaf. `None`: the leaf itself.
pub(super) fn scan(leaf: &Arc<dyn ExecutionPlan>, input: &InputDecl, context: &TaskContext) -> Option<Arc<dyn ExecutionPlan>> {
    let (whole, source) = parquet_scan(leaf.as_ref())?;
    let cut = tails::cut(whole, context);
    let config = cut.as_ref().unwrap_or(whole);
    let direct = local::source(config, source, context)
        .map(|source| FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build());
    let scan = match narrow(direct.as_ref().unwrap_or(config), source, leaf, input, context) {
        Some(narrow) => narrow,
        None => Arc::new(direct.or(cut)?),
    };
    Some(Arc::new(DataSourceExec::new(scan)))
}

/// A scan with decimals in 8 bytes; none where there are no such columns, or not all files are known to hold them so.
fn narrow(
    config: &FileScanConfig,
    source: &ParquetSource,
    leaf: &Arc<dyn ExecutionPlan>,
    input: &InputDecl,
    context: &TaskContext,
) -> Option<Arc<dyn DataSource>> {
    let schema = leaf.schema();
    let table = source.table_schema();
    let mut words = Words::new();
    let mut columns = vec![];
    for (index, field) in schema.fields().iter().enumerate() {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        let expr = match (input.stored.get(index)?, field.data_type()) {
            (Stored::Word, DataType::Decimal128(precision, scale)) => {
                if let Some(name) = read_column(source, index) {
                    words.insert(name, field.data_type().clone());
                }
                Arc::new(CastExpr::new(column, DataType::Decimal64(*precision, *scale), None))
            }
            _ => column,
        };
        columns.push(ProjectionExpr::new(expr, field.name()));
    }
    // Columns that the reader adds to those of the files have no place in a schema of the files.
    if words.is_empty() || !table.virtual_columns().is_empty() {
        return None;
    }
    let mut schemas = HashMap::new();
    let groups = config.file_groups.iter().map(|group| {
        let files = group.files().iter().map(|file| with_schema(file, &words, &mut schemas, context));
        files.collect::<Option<_>>().map(FileGroup::new)
    });
    let groups = groups.collect::<Option<Vec<_>>>()?;
    let adapter = config.expr_adapter_factory.clone().unwrap_or_else(|| Arc::new(DefaultPhysicalExprAdapterFactory));
    let config = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(groups)
        .with_expr_adapter(Some(Arc::new(WordAdapters(adapter))))
        .build();
    config.try_swapping_with_projection(&ProjectionExprs::from(columns)).ok()?
}

/// The name of the table's column that a column of the scan is.
fn read_column(source: &ParquetSource, index: usize) -> Option<String> {
    let name = match source.projection() {
        Some(projection) => projection.as_ref().get(index)?.expr.downcast_ref::<Column>()?.name(),
        None => source.table_schema().table_schema().fields().get(index)?.name(),
    };
    Some(name.to_string())
}

/// A file, with the schema that its columns are read in; `None` where some of them cannot be read narrow.
fn with_schema(
    file: &PartitionedFile,
    words: &Words,
    schemas: &mut HashMap<String, Option<SchemaRef>>,
    context: &TaskContext,
) -> Option<PartitionedFile> {
    // Else somebody has chosen already.
    if file.arrow_schema.is_some() {
        return None;
    }
    let location = file.object_meta.location.to_string();
    let schema = schemas.entry(location).or_insert_with(|| narrow_schema(file, words, context)).clone()?;
    Some(file.clone().with_arrow_schema(schema))
}

/// The schema of a file with decimals as narrow as they are there; `None` where nobody has read its footer yet, or one of them is not narrow there.
fn narrow_schema(file: &PartitionedFile, words: &Words, context: &TaskContext) -> Option<SchemaRef> {
    let metadata = tails::footer(file, context)?;
    let described = metadata.file_metadata();
    let schema = parquet_to_arrow_schema(described.schema_descr(), described.key_value_metadata()).ok()?;
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Decimal128(precision, scale) if words.get(field.name()) == Some(field.data_type()) => {
            let narrow = field.as_ref().clone().with_data_type(DataType::Decimal64(*precision, *scale));
            is_narrow(&metadata, field).then(|| Arc::new(narrow))
        }
        _ => Some(Arc::clone(field)),
    });
    let fields = fields.collect::<Option<Vec<_>>>()?;
    Some(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// Whether a file has one column of that name, whose values take 8 bytes at most.
fn is_narrow(metadata: &ParquetMetaData, field: &Field) -> bool {
    let columns = metadata.file_metadata().schema_descr().columns();
    let mut named = columns.iter().filter(|column| column.path().parts().first() == Some(field.name()));
    let (Some(column), None) = (named.next(), named.next()) else { return false };
    match column.physical_type() {
        Physical::INT32 | Physical::INT64 => true,
        Physical::FIXED_LEN_BYTE_ARRAY => column.type_length() <= 8,
        _ => false,
    }
}

/// Lets casts fall away that make a column wide to make it narrow again.
#[derive(Debug)]
struct WordAdapters(Arc<dyn PhysicalExprAdapterFactory>);

impl PhysicalExprAdapterFactory for WordAdapters {
    fn create(&self, logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(WordAdapter { inner: self.0.create(logical, Arc::clone(&physical))?, physical }))
    }
}

#[derive(Debug)]
struct WordAdapter {
    inner: Arc<dyn PhysicalExprAdapter>,
    /// The schema of the file.
    physical: SchemaRef,
}

impl PhysicalExprAdapter for WordAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let narrow = |expr: Arc<dyn PhysicalExpr>| match self.cast_twice(&expr) {
            Some(column) => Ok(Transformed::yes(column)),
            None => Ok(Transformed::no(expr)),
        };
        self.inner.rewrite(expr)?.transform_down(narrow).data()
    }
}

impl WordAdapter {
    /// The column of a decimal of 64 bits that is cast to one of 128 bits and back, with the same digits.
    fn cast_twice(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let outer = expr.downcast_ref::<CastExpr>()?;
        let inner = outer.expr().downcast_ref::<CastExpr>()?;
        let column = inner.expr().downcast_ref::<Column>()?;
        let DataType::Decimal64(precision, scale) = outer.cast_type() else { return None };
        let is_same = *inner.cast_type() == DataType::Decimal128(*precision, *scale)
            && self.physical.fields().get(column.index())?.data_type() == outer.cast_type();
        is_same.then(|| Arc::clone(inner.expr()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Decimal64Type;
    use arrow::util::pretty::pretty_format_batches;
    use stagefuse_ir::EntityRef;

    use super::*;
    use crate::{CompiledExec, Session};

    /// Files of one table that hold its columns in every way that DataFusion reads, one of them not at all.
    const FILES: [&str; 7] = [
        "SELECT v AS id, arrow_cast(v * 3 - 500, 'Decimal128(15, 2)') AS d, arrow_cast(v, 'Decimal128(7, 1)') AS e",
        "SELECT v AS id, arrow_cast(v * 5 - 900, 'Decimal128(20, 2)') AS d, CASE WHEN v % 3 = 0 THEN arrow_cast(v, 'Decimal128(7, 1)') END AS e",
        "SELECT arrow_cast(v, 'Decimal128(7, 1)') AS e, v AS id",
        "SELECT v AS id, CAST(v - 7 AS INT) AS d, arrow_cast(v, 'Decimal128(5, 0)') AS e",
        "SELECT v AS id, arrow_cast(v, 'Decimal128(9, 3)') / 7 AS d, CAST(v AS DOUBLE) / 3 AS e",
        "SELECT arrow_cast(v * 2, 'Decimal128(15, 2)') AS d, v AS id, 'more' AS text, arrow_cast(v, 'Decimal64(7, 1)') AS e",
        "SELECT v AS id, arrow_cast(77, 'Decimal128(15, 2)') AS d, arrow_cast(v % 1, 'Decimal32(7, 1)') AS e",
    ];

    async fn table(name: &str, threads: usize) -> (Session, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("stagefuse-{name}-{}", std::process::id()));
        let session = Session::builder().target_partitions(threads).build();
        for (number, columns) in FILES.iter().enumerate() {
            let path = folder.join(format!("{number}.parquet"));
            let copy = format!("COPY ({columns} FROM generate_series(1, 5000) AS s(v)) TO '{}'", path.display());
            session.sql(&copy).await.unwrap().collect().await.unwrap();
        }
        let columns = "id BIGINT, d DECIMAL(15,2), e DECIMAL(7,1)";
        let table = format!("CREATE EXTERNAL TABLE t ({columns}) STORED AS PARQUET LOCATION '{}/'", folder.display());
        session.sql(&table).await.unwrap().collect().await.unwrap();
        (session, folder)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_file_is_read_right() {
        let (session, folder) = table("words", 3).await;
        let queries = [
            "SELECT count(*) AS n, sum(d) AS d, sum(e) AS e, min(d) AS low, max(e) AS high, count(d) AS nd, count(e) AS ne FROM t",
            "SELECT id, d, e FROM t WHERE d > 12000 OR e < 2 ORDER BY id, d, e",
            "SELECT d, count(*) AS n, max(e) AS e FROM t WHERE d < 100 OR d IS NULL GROUP BY d ORDER BY d",
            "SELECT a.id, a.d, b.e FROM t AS a JOIN t AS b ON a.d = b.e WHERE a.id < 60 ORDER BY a.id, a.d, b.e",
        ];
        for sql in queries {
            let mut answers = vec![];
            for mode in ["off", "compiled", "interpreted"] {
                session.sql(&format!("SET stagefuse.mode = '{mode}'")).await.unwrap().collect().await.unwrap();
                let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
                answers.push(pretty_format_batches(&batches).unwrap().to_string());
            }
            assert_eq!(answers[0], answers[1], "{sql}");
            assert_eq!(answers[0], answers[2], "{sql}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// What a scan in place of a leaf yields is narrow, and was so from the reader on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_hand_decimals_over_as_they_are() {
        let (session, folder) = table("narrow", 1).await;
        session.sql("SET stagefuse.mode = 'compiled'").await.unwrap().collect().await.unwrap();
        let frame = session.context().sql("SELECT sum(d) AS d, sum(e) AS e FROM t WHERE d > 5").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let node = plan.downcast_ref::<CompiledExec>().expect("all of the plan is lowered");
        let context = session.context().task_ctx();
        let input = &node.program().inputs[stagefuse_ir::Input::new(0)];
        let leaf = node.children()[0];
        let narrow = scan(leaf, input, &context).expect("decimals are read narrow");
        let types: Vec<DataType> = narrow.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [DataType::Decimal64(15, 2), DataType::Decimal64(7, 1)]);
        let (config, _) = parquet_scan(narrow.as_ref()).unwrap();
        // By file, which of its columns the reader hands over narrow: those that are of the table's type, however few bytes they take.
        let narrow_there = |file: &PartitionedFile| {
            let fields = file.arrow_schema.as_ref().unwrap().fields().clone();
            let narrow = fields.iter().filter(|field| matches!(field.data_type(), DataType::Decimal64(..)));
            narrow.map(|field| field.name().to_string()).collect::<Vec<_>>().join(" ")
        };
        let known: Vec<String> = config.file_groups[0].files().iter().map(narrow_there).collect();
        assert_eq!(known, ["d e", "e", "e", "", "", "d e", "d"]);
        let batches = datafusion::physical_plan::collect(narrow, context).await.unwrap();
        let sum: i64 = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Decimal64Type>().iter().flatten()).sum();
        assert!(sum > 0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
