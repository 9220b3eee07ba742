//! Leaves: plans that stay DataFusion's, and tables in memory.

use std::sync::Arc;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::object_store::path::Path;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::memory::LazyMemoryExec;
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{Source, Stored, Type};

use super::{Branch, Lowering, Memory, Pipe, Result};

impl Lowering {
    /// A stage that reads what a DataFusion plan yields.
    pub(crate) fn scan(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Pipe> {
        let schema = plan.schema();
        let mut types: Vec<Type> = schema.fields().iter().map(|field| self.any_type(field.data_type(), field.is_nullable())).collect();
        let projection: Vec<usize> = (0..types.len()).collect();
        let memory = Memory::of(plan, &projection);
        let mut stored = vec![Stored::Arrow; types.len()];
        if let Some(memory) = &memory {
            for (column, (ty, stored)) in types.iter_mut().zip(&mut stored).enumerate() {
                *stored = memory.stored(column);
                // Validity need not be looked at where there is nothing but valid values.
                ty.nullable &= !memory.has_no_nulls(column);
            }
        }
        // Rows in memory stay there: the program's host holds them.
        let pinned = memory.as_ref().is_some_and(Memory::is_pinned);
        let table = file_of(plan).or_else(|| self.names.of(plan)).or_else(|| series_of(plan));
        let input = self.p.stored_input(table.as_deref().unwrap_or(plan.name()), types.clone(), stored, pinned);
        let name = match table {
            Some(table) => format!("scan {table}"),
            None if plan.children().is_empty() => format!("scan {input}"),
            None => format!("rows of {}", plan.name()),
        };
        let s = StageBuilder::new(name, Source::Input { input, partitioned: true }, &types);
        let columns = s.params().iter().copied().map(Some).collect();
        self.children.push(Arc::clone(plan));
        self.projections.push(projection);
        self.memory.push(memory);
        Ok(Branch { s, columns, exchanged: false }.into())
    }
}

/// The function that makes rows without a table, such as `generate_series`.
fn series_of(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let first = plan.downcast_ref::<LazyMemoryExec>()?.generators().first()?.read().to_string();
    let name = first.split(':').next().unwrap_or_default();
    (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then(|| name.to_string())
}

/// What a table of files is called: the stem of its file, or the folder of its files.
fn file_of(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let files = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let mut paths = files.file_groups.iter().flat_map(|group| group.files()).map(|file| &file.object_meta.location);
    let first = paths.next()?;
    let stem = first.filename()?.split('.').next()?.to_string();
    if paths.clone().all(|path| path == first) {
        return Some(stem);
    }
    let folder = |path: &Path| path.parts().rev().nth(1).map(|part| part.as_ref().to_string());
    let name = folder(first)?;
    paths.all(|path| folder(path).as_deref() == Some(name.as_str())).then_some(name)
}
