//! Expressions that the IR has no words for: DataFusion evaluates them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::Volatility;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use stagefuse_ir::{Op, OpaqueDecl, Value};
use stagefuse_runtime::{OpaqueExpr, adapt};

use super::Scope;
use crate::lower::{Lowering, Result, declined};

impl Lowering {
    pub(super) fn opaque(&mut self, scope: &mut Scope<'_>, expr: &Arc<dyn PhysicalExpr>) -> Result<Value> {
        let Some(result) = self.any_result_type(scope, expr) else { return declined(format!("the type of {expr}")) };
        if is_volatile(expr) {
            return declined(format!("{expr} is volatile"));
        }
        let mut used: Vec<Column> = collect_columns(expr).into_iter().collect();
        used.sort_by_key(Column::index);
        let mut args = vec![];
        let mut fields = vec![];
        for column in &used {
            let Some(value) = scope.columns.get(column.index()).copied().flatten() else {
                return declined(format!("column {} is of a type that the IR does not have", column.name()));
            };
            args.push(value);
            // `arrow_field(x)` tells what a field says of itself; an outer join may have made it say too much.
            let field = scope.schema.field(column.index());
            fields.push(Field::clone(field).with_nullable(field.is_nullable() || scope.s.ty(value).nullable));
        }
        let renumbered = Arc::clone(expr).transform(|node| {
            Ok(match node.downcast_ref::<Column>() {
                Some(column) => {
                    let index = used.iter().position(|used| used.index() == column.index()).unwrap_or_default();
                    Transformed::yes(Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>)
                }
                None => Transformed::no(node),
            })
        });
        let Ok(renumbered) = renumbered.data() else { return declined(format!("{expr}")) };
        let decl = OpaqueDecl { name: expr.to_string(), args: args.iter().map(|arg| scope.s.ty(*arg)).collect(), result };
        let opaque = self.p.opaque(decl);
        self.opaques.push(Arc::new(HostExpr { expr: renumbered, schema: Arc::new(Schema::new(fields)) }));
        Ok(scope.s.op(Op::Opaque(opaque, args), result))
    }
}

fn is_volatile(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let own =
        expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|function| function.fun().signature().volatility == Volatility::Volatile);
    own || expr.children().into_iter().any(is_volatile)
}

/// A DataFusion expression over columns numbered as its operands.
#[derive(Debug)]
struct HostExpr {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

impl OpaqueExpr for HostExpr {
    fn evaluate(&self, args: &[ArrayRef], rows: usize) -> std::result::Result<ArrayRef, Box<dyn std::error::Error + Send + Sync>> {
        let columns = args.iter().zip(self.schema.fields()).map(|(arg, field)| adapt(arg, field.data_type()));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(self.expr.evaluate(&batch)?.into_array(rows)?)
    }
}
