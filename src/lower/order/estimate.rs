//! How many rows a plan has, and how many different values its columns: from samples of tables in memory, else from DataFusion's statistics.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::{JoinType, ScalarValue, Statistics};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::sample::Sample;
use crate::lower::exchange::below_exchange;

/// What a filter lets through, where nothing is known.
const UNKNOWN_FILTER: f64 = 0.2;
/// Rows of a plan of which nothing is known.
const UNKNOWN_ROWS: f64 = 1_000_000.0;

/// What is known of a plan's rows.
pub(super) struct Estimate {
    /// Rows.
    pub(super) rows: f64,
    /// Rows that have to be read for them.
    pub(super) read: f64,
    /// Where its columns' values are known from.
    source: Source,
}

enum Source {
    Sample(Sample),
    Statistics(Arc<Statistics>),
    /// Values of a group by are different from each other: the number of groups.
    Groups(f64),
    Unknown,
}

impl Estimate {
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Estimate {
        let plan = below_exchange(plan);
        if let Some(sample) = Sample::of(plan) {
            return Estimate { rows: sample.rows().max(1.0), read: sample.total(), source: Source::Sample(sample) };
        }
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            let (rows, read) = groups(aggregate);
            return Estimate { rows, read, source: Source::Groups(rows) };
        }
        let over = |input: &Arc<dyn ExecutionPlan>, share: f64| {
            let Estimate { rows, read, source } = Estimate::of(input);
            // Columns of the input are not those of the plan.
            let source = if let Source::Groups(groups) = source { Source::Groups(groups) } else { Source::Unknown };
            Estimate { rows: (rows * share).max(1.0), read, source }
        };
        if let Some(sort) = plan.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_none()) {
            return Estimate::of(sort.input());
        }
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok();
        if let Some(statistics) = statistics
            && let Some(rows) = known(&statistics.num_rows)
        {
            let rows = rows.max(1.0);
            return Estimate { rows, read: rows, source: Source::Statistics(statistics) };
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            return over(filter.input(), UNKNOWN_FILTER);
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            return over(projection.input(), 1.0);
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let (left, right) = (Estimate::of(&join.left), Estimate::of(&join.right));
            let read = left.read + right.read;
            let (left, right) = (left.rows, right.rows);
            let rows = match join.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => left * 0.5,
                JoinType::RightSemi | JoinType::RightAnti => right * 0.5,
                JoinType::LeftMark => left,
                JoinType::RightMark => right,
                _ => left.max(right),
            };
            return Estimate { rows: rows.max(1.0), read, source: Source::Unknown };
        }
        let rows = plan
            .children()
            .into_iter()
            .map(|child| Estimate::of(child).rows)
            .fold(None, |most: Option<f64>, rows| Some(most.map_or(rows, |most| most.max(rows))));
        let rows = rows.unwrap_or(UNKNOWN_ROWS);
        Estimate { rows, read: rows, source: Source::Unknown }
    }

    /// How many different values a column has, before filters.
    pub(super) fn distinct(&self, column: usize) -> f64 {
        match &self.source {
            Source::Sample(sample) => sample.distinct(column),
            Source::Groups(groups) => *groups,
            Source::Unknown => self.rows,
            Source::Statistics(statistics) => {
                let Some(of_column) = statistics.column_statistics.get(column) else { return self.rows };
                if let Some(distinct) = known(&of_column.distinct_count) {
                    return distinct.max(1.0);
                }
                let number = |value: &Precision<ScalarValue>| match value.get_value()?.cast_to(&arrow::datatypes::DataType::Int64).ok()? {
                    ScalarValue::Int64(Some(number)) => Some(number as f64),
                    _ => None,
                };
                match (number(&of_column.min_value), number(&of_column.max_value)) {
                    (Some(least), Some(greatest)) => (greatest - least + 1.0).clamp(1.0, self.rows.max(1.0)),
                    _ => self.rows,
                }
            }
        }
    }
}

/// Groups of an aggregation (the combinations of its keys' values, of which there are no more than rows), and rows that it reads.
fn groups(aggregate: &AggregateExec) -> (f64, f64) {
    let input = Estimate::of(aggregate.input());
    let mut groups = 1.0;
    for (key, _) in aggregate.group_expr().expr() {
        groups *= match key.downcast_ref::<Column>() {
            Some(column) => input.distinct(column.index()),
            None => input.rows.sqrt(),
        };
    }
    (groups.min(input.rows).max(1.0), input.read)
}

fn known(value: &Precision<usize>) -> Option<f64> {
    value.get_value().map(|value| *value as f64)
}
