//! Sorts and top-ks: all rows are collected, put in order by the runtime, and read by a stage of one partition.
//!
//! DataFusion sorts each partition and merges them; here both become one sort. What is sorted already and only has to be merged stays DataFusion's, and
//! so does a sort of partitions that nobody merges.

use std::sync::Arc;

use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{Sink, SortDecl, SortKey, Source, Type, Value};

use super::pipe::common_types;
use super::projection::below_projections;
use super::{Branch, Lowering, Pipe, Result, TopK, declined};

/// Says of the plan that is lowered next that the order of its rows does not matter: they are put in order further up.
#[derive(Clone, Copy)]
pub(crate) struct Unordered {
    /// How many of its first rows matter, of each partition.
    pub(crate) fetch: Option<usize>,
}

impl Unordered {
    /// Whether a sort that ends after so many rows can be left out.
    fn covers(self, fetch: Option<usize>) -> bool {
        fetch.is_none_or(|fetch| self.fetch.is_some_and(|wanted| wanted <= fetch))
    }
}

impl Lowering {
    /// A sort of one partition; or one whose order nobody needs, which is left out.
    pub(crate) fn sort(&mut self, sort: &SortExec, unordered: Option<Unordered>) -> Result<Pipe> {
        if unordered.is_some_and(|unordered| unordered.covers(sort.fetch())) {
            return self.below(sort.input());
        }
        if sort.properties().output_partitioning().partition_count() > 1 {
            return declined("a sort of partitions that are not merged");
        }
        let pipe = self.below(sort.input())?;
        let pipe = self.sorted(pipe, sort.input().as_ref(), sort.expr(), sort.fetch(), "SortExec")?;
        self.feed_filter(sort, &sort.expr()[0]);
        Ok(pipe)
    }

    /// A merge of partitions that were sorted just before, or that come in order from a join or an aggregation that is lowered without: one sort of all
    /// rows.
    pub(crate) fn merged_sort(&mut self, merge: &SortPreservingMergeExec) -> Result<Pipe> {
        let below = below_projections(merge.input());
        let unordered = Unordered { fetch: merge.fetch() };
        let keys = match (below.downcast_ref::<SortExec>(), below.output_ordering()) {
            (Some(sort), _) if unordered.covers(sort.fetch()) => sort.expr().len(),
            (Some(_), _) => return declined("a merge of more rows than were sorted"),
            (None, Some(ordering)) if below.is::<SortMergeJoinExec>() || below.is::<AggregateExec>() => ordering.len(),
            (None, _) => return declined("a merge of what was sorted before"),
        };
        // The rows may be promised to be in the order of all keys that they were sorted by.
        if keys != merge.expr().len() {
            return declined("a merge by other keys than those of the sort");
        }
        self.unordered = Some(unordered);
        let pipe = self.node(merge.input())?;
        let pipe = self.sorted(pipe, merge.input().as_ref(), merge.expr(), merge.fetch(), "SortPreservingMergeExec")?;
        if let Some(sort) = below.downcast_ref::<SortExec>() {
            self.feed_filter(sort, &merge.expr()[0]);
        }
        Ok(pipe)
    }

    /// The sort that was declared last, whose first key is `key`, feeds the filter that DataFusion has made for it.
    fn feed_filter(&mut self, sort: &SortExec, key: &PhysicalSortExpr) {
        let own = &sort.expr()[0];
        let data_type = own.expr.data_type(&sort.input().schema());
        let filter = sort.dynamic_expressions_produced().into_iter().next();
        if let (Some(filter), Ok(data_type), Some((number, decl))) = (filter, data_type, self.p.program().sorts.iter().next_back())
            && decl.fetch.is_some()
            && own.options == key.options
        {
            self.top_ks.push(TopK::new(number, filter, Arc::clone(&own.expr), data_type));
        }
    }

    /// Puts the rows of a pipe in order.
    pub(crate) fn sorted(
        &mut self,
        mut pipe: Pipe,
        input: &dyn ExecutionPlan,
        exprs: &[PhysicalSortExpr],
        fetch: Option<usize>,
        note: &str,
    ) -> Result<Pipe> {
        let schema = input.schema();
        let by: Vec<String> = exprs.iter().map(ToString::to_string).collect();
        let note = format!("{note}: {}{}", by.join(", "), fetch.map_or(String::new(), |fetch| format!(", fetch {fetch}")));
        pipe.note(&note);
        let mut keys = vec![];
        for branch in &mut pipe.branches {
            let of_branch = exprs.iter().map(|key| self.expr(&mut branch.s, &branch.columns, &schema, &key.expr));
            keys.push(of_branch.collect::<Result<Vec<Value>>>()?);
        }
        // A column that is a key need not be stored twice.
        let key_of = |column: usize| {
            (0..exprs.len()).find(|key| pipe.branches.iter().zip(&keys).all(|(branch, keys)| branch.columns[column] == Some(keys[*key])))
        };
        let known = pipe.known_columns();
        let as_keys: Vec<(usize, usize)> = known.iter().filter_map(|column| Some((*column, key_of(*column)?))).collect();
        let stored: Vec<usize> = known.into_iter().filter(|column| as_keys.iter().all(|(other, _)| other != column)).collect();
        let payloads: Vec<Vec<Value>> =
            pipe.branches.iter().map(|branch| stored.iter().filter_map(|column| branch.columns[*column]).collect()).collect();
        let types_of = |values: &[Vec<Value>]| {
            let types = pipe.branches.iter().zip(values).map(|(branch, values)| values.iter().map(|value| branch.s.ty(*value)).collect());
            common_types(&types.collect::<Vec<Vec<Type>>>())
        };
        let (Some(key_types), Some(payload)) = (types_of(&keys), types_of(&payloads)) else {
            return declined("a sort of several types in one column");
        };
        if let Some(ty) = key_types.iter().find(|ty| ty.sql.is_host()) {
            return declined(format!("a sort by {ty}"));
        }
        let decls = key_types.iter().zip(exprs).map(|(ty, key)| SortKey {
            ty: *ty,
            descending: key.options.descending,
            nulls_first: key.options.nulls_first,
        });
        let decl = SortDecl { keys: decls.collect(), payload, skip: 0, fetch: fetch.map(|fetch| fetch as u64) };
        let types: Vec<Type> = key_types.iter().chain(&decl.payload).copied().collect();
        let width = pipe.branches.iter().map(|branch| branch.columns.len()).max().unwrap_or(0);
        let sort = self.p.sort(decl);
        for ((branch, keys), payload) in pipe.branches.into_iter().zip(keys).zip(payloads) {
            self.p.stage(branch.sink(Sink::Sort { sort, keys, payload }));
        }
        let mut s = StageBuilder::new(format!("rows of {sort}"), Source::Sort(sort), &types);
        s.note(note);
        let mut columns = vec![None; width];
        let stored = stored.into_iter().enumerate().map(|(at, column)| (column, key_types.len() + at));
        for (column, param) in as_keys.into_iter().chain(stored) {
            columns[column] = Some(s.params()[param]);
        }
        Ok(Branch { s, columns, exchanged: true }.into())
    }

    /// Takes the first rows of a pipe that a sort puts in order, where it is one.
    pub(crate) fn first_of_sorted(&mut self, pipe: &Pipe, skip: usize, fetch: Option<usize>) -> Result<bool> {
        let [branch] = pipe.branches.as_slice() else { return Ok(false) };
        let Source::Sort(sort) = branch.s.source() else { return Ok(false) };
        if !branch.s.only_computes() {
            return declined("a limit of sorted rows of which some are dropped");
        }
        let decl = &mut self.p.program_mut().sorts[sort];
        let left = decl.fetch.map(|fetch| fetch.saturating_sub(skip as u64));
        decl.skip = decl.skip.saturating_add(skip as u64);
        decl.fetch = match (left, fetch) {
            (Some(left), Some(fetch)) => Some(left.min(fetch as u64)),
            (left, fetch) => left.or(fetch.map(|fetch| fetch as u64)),
        };
        Ok(true)
    }
}
