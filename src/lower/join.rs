//! Joins: the left side becomes a join table, the right side looks its rows up.
//!
//! | type | the right side's stage | a second stage over the table |
//! |---|---|---|
//! | inner | probe inner | |
//! | left | probe inner, marks | unmatched rows, with nulls |
//! | right | probe outer | |
//! | full | probe outer, marks | unmatched rows, with nulls |
//! | right semi, anti, mark | probe semi, anti, mark | |
//! | left semi, anti, mark | marks only | matched, unmatched, all rows |
//! | left anti, aware of nulls (`NOT IN`) | probe mark, marks; counts rows and keys | unmatched rows, if the counts allow: see [`super::null_aware`] |
//!
//! Floats are equal if their bits are, but 0.0 equals -0.0: keys of either side have no -0.0.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{Datum, JoinDecl, JoinRows, Op, Probe, ProbeKind, Sink, Source, Type, Value};

use super::pipe::{Branch, common_types};
use super::sort::Unordered;
use super::{Lowering, Pipe, Result, declined};

/// What lowering a join takes, of whatever operator.
pub(super) struct Join<'a> {
    pub(super) note: String,
    pub(super) left: &'a Arc<dyn ExecutionPlan>,
    pub(super) right: &'a Arc<dyn ExecutionPlan>,
    pub(super) on: Vec<(PhysicalExprRef, PhysicalExprRef)>,
    pub(super) filter: Option<JoinFilter>,
    pub(super) join_type: JoinType,
    pub(super) null_equal: bool,
    /// Of a left anti join on one key: whether a null on the right side leaves nothing, as `NOT IN` does.
    pub(super) null_aware: bool,
    /// Whether the sides are sorted for nobody but the join.
    pub(super) sorted: bool,
    pub(super) projection: Option<Vec<usize>>,
}

impl Join<'_> {
    /// The condition on a pair of rows.
    pub(super) fn condition(&self, lowering: &mut Lowering, right: &mut Branch, left: &[Option<Value>]) -> Result<Option<Value>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        // DataFusion 55 loses count of the columns below some sort-merge joins, whose filters then name one that is not there.
        let sides = filter.column_indices().iter().map(|column| match column.side {
            JoinSide::Left => left.get(column.index).copied().flatten(),
            JoinSide::Right => right.columns.get(column.index).copied().flatten(),
            JoinSide::None => None,
        });
        let sides: Vec<_> = sides.collect();
        lowering.expr(&mut right.s, &sides, filter.schema(), filter.expression()).map(Some)
    }

    /// The same join with its sides changed over: the right side builds.
    pub(super) fn swapped(self) -> Self {
        let (left, right) = (self.left.schema().fields().len(), self.right.schema().fields().len());
        let projection = match self.join_type {
            // The columns of both sides come out, now in the other order.
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let columns = self.projection.unwrap_or_else(|| (0..left + right).collect());
                Some(columns.into_iter().map(|column| if column < left { column + right } else { column - left }).collect())
            }
            _ => self.projection,
        };
        Join {
            note: format!("{}, sides changed over", self.note),
            left: self.right,
            right: self.left,
            on: self.on.into_iter().map(|(left, right)| (right, left)).collect(),
            filter: self.filter.as_ref().map(JoinFilter::swap),
            join_type: self.join_type.swap(),
            null_equal: self.null_equal,
            null_aware: self.null_aware,
            sorted: self.sorted,
            projection,
        }
    }
}

/// The table that a left side became.
#[derive(Clone)]
pub(crate) struct Table {
    pub(super) join: stagefuse_ir::Join,
    pub(super) keys: Vec<Type>,
    /// Numbers of the left side's columns that are in the payload, and their types.
    payload: Vec<(usize, Type)>,
    /// Columns of the left side.
    width: usize,
}

/// Yields the keys of a branch.
type Keys<'a> = dyn FnMut(&mut Lowering, &mut Branch) -> Result<Vec<Value>> + 'a;
/// Yields the condition on a pair of rows, if there is one, given the table's columns.
type Residual<'a> = dyn FnMut(&mut Lowering, &mut Branch, &[Option<Value>]) -> Result<Option<Value>> + 'a;

impl Lowering {
    pub(super) fn join(&mut self, join: &Join<'_>) -> Result<Pipe> {
        let kind = match join.join_type {
            JoinType::Inner | JoinType::Left => ProbeKind::Inner,
            JoinType::Right | JoinType::Full => ProbeKind::Outer,
            JoinType::RightSemi | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => ProbeKind::Semi,
            JoinType::RightAnti => ProbeKind::Anti,
            JoinType::RightMark => ProbeKind::Mark,
        };
        let rows = match join.join_type {
            JoinType::Left | JoinType::Full | JoinType::LeftAnti => Some(JoinRows::Unmatched),
            JoinType::LeftSemi => Some(JoinRows::Matched),
            JoinType::LeftMark => Some(JoinRows::All),
            _ => None,
        };
        let only_marks = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark);
        self.unordered = join.sorted.then_some(Unordered { fetch: None });
        let left = self.below(join.left)?;
        let schema = join.left.schema();
        let mut left_keys = |lowering: &mut Lowering, branch: &mut Branch| {
            let keys = join.on.iter().map(|(key, _)| lowering.expr(&mut branch.s, &branch.columns, &schema, key));
            keys.collect::<Result<Vec<Value>>>()
        };
        let table = self.build_table(&join.note, left, &mut left_keys, join.null_equal, rows.is_some())?;
        self.unordered = join.sorted.then_some(Unordered { fetch: None });
        let right = self.below(join.right)?;
        let mut pipe = Pipe { branches: vec![] };
        if join.null_aware {
            let mut branch = self.table_rows(join, &table, JoinRows::Unmatched)?;
            self.keep_not_in(join, &table, right, &mut branch)?;
            pipe.branches.push(branch);
            pipe.project(join.projection.as_deref());
            return Ok(pipe);
        }
        for branch in right.branches {
            pipe.branches.extend(self.probe(join, &table, kind, rows.is_some(), only_marks, branch)?);
        }
        if let Some(rows) = rows {
            pipe.branches.push(self.table_rows(join, &table, rows)?);
        }
        pipe.project(join.projection.as_deref());
        Ok(pipe)
    }

    /// The stages of a side that builds: they end in the table.
    pub(super) fn build_table(
        &mut self,
        note: &str,
        mut side: Pipe,
        keys_of: &mut Keys<'_>,
        null_equal: bool,
        tracked: bool,
    ) -> Result<Table> {
        side.note(note);
        let columns = side.known_columns();
        let width = side.branches.iter().map(|branch| branch.columns.len()).max().unwrap_or(0);
        let (mut keys, mut payloads) = (vec![], vec![]);
        for branch in &mut side.branches {
            let of_branch = keys_of(self, branch)?;
            keys.push(of_branch.into_iter().map(|key| self.unsigned_zero(&mut branch.s, key)).collect());
            payloads.push(columns.iter().filter_map(|column| branch.columns[*column]).collect::<Vec<Value>>());
        }
        let types_of = |values: &[Vec<Value>]| {
            let types = side.branches.iter().zip(values).map(|(branch, values)| values.iter().map(|value| branch.s.ty(*value)).collect());
            common_types(&types.collect::<Vec<Vec<Type>>>())
        };
        let (Some(key_types), Some(payload_types)) = (types_of(&keys), types_of(&payloads)) else {
            return declined("a join whose build side has several types in one column");
        };
        if let Some(ty) = key_types.iter().find(|ty| ty.sql.is_host()) {
            return declined(format!("a join on {ty}"));
        }
        let table = self.p.join(JoinDecl { keys: key_types.clone(), payload: payload_types.clone(), null_equal, tracked });
        for ((branch, keys), payload) in side.branches.into_iter().zip(keys).zip(payloads) {
            self.p.stage(branch.sink(Sink::Build { join: table, keys, payload }));
        }
        Ok(Table { join: table, keys: key_types, payload: columns.into_iter().zip(payload_types).collect(), width })
    }

    /// A stage of the right side: goes on with its matches, or ends where it only marks.
    fn probe(
        &mut self,
        join: &Join<'_>,
        table: &Table,
        kind: ProbeKind,
        marks_build: bool,
        only_marks: bool,
        mut right: Branch,
    ) -> Result<Option<Branch>> {
        let schema = join.right.schema();
        right.s.note(join.note.as_str());
        let mut keys = vec![];
        for (_, key) in &join.on {
            keys.push(self.expr(&mut right.s, &right.columns, &schema, key)?);
        }
        let mut residual = |lowering: &mut Lowering, right: &mut Branch, left: &[Option<Value>]| join.condition(lowering, right, left);
        if only_marks {
            let (probe, _) = self.probe_of(&mut right, table, kind, marks_build, keys, &mut residual)?;
            self.p.stage(right.sink(Sink::Mark { probe }));
            return Ok(None);
        }
        let left_columns = self.look_up(&mut right, table, kind, marks_build, keys, &mut residual)?;
        if matches!(kind, ProbeKind::Inner | ProbeKind::Outer) {
            right.columns = left_columns.into_iter().chain(right.columns).collect();
        } else if kind == ProbeKind::Mark {
            right.columns.extend(left_columns);
        }
        Ok(Some(right))
    }

    /// Looks the rows of a branch up. Yields the table's columns; for [`ProbeKind::Mark`] the mark alone.
    pub(super) fn look_up(
        &mut self,
        branch: &mut Branch,
        table: &Table,
        kind: ProbeKind,
        marks_build: bool,
        keys: Vec<Value>,
        residual: &mut Residual<'_>,
    ) -> Result<Vec<Option<Value>>> {
        let (mut probe, columns) = self.probe_of(branch, table, kind, marks_build, keys, residual)?;
        let mark = probe.mark;
        // Behind a probe, an opaque expression can be lifted out of the stage.
        let behind = kind == ProbeKind::Inner && !marks_build;
        let condition = probe.residual.take_if(|region| behind && region.body.iter().any(|(_, op)| op.has_opaque()));
        branch.s.probe(probe);
        if let Some(region) = condition {
            let condition = region.result;
            branch.s.adopt(region);
            branch.s.filter(condition);
        }
        Ok(if mark.is_some() { vec![mark] } else { columns })
    }

    /// Ends a branch that only marks the rows of the table that it matches.
    pub(super) fn mark_matches(&mut self, mut branch: Branch, table: &Table, keys: Vec<Value>, residual: &mut Residual<'_>) -> Result<()> {
        let (probe, _) = self.probe_of(&mut branch, table, ProbeKind::Semi, true, keys, residual)?;
        self.p.stage(branch.sink(Sink::Mark { probe }));
        Ok(())
    }

    pub(super) fn probe_of(
        &mut self,
        branch: &mut Branch,
        table: &Table,
        kind: ProbeKind,
        marks_build: bool,
        keys: Vec<Value>,
        residual: &mut Residual<'_>,
    ) -> Result<(Probe, Vec<Option<Value>>)> {
        if let Some((key, ty)) = keys.iter().zip(&table.keys).find(|(key, ty)| branch.s.ty(**key).sql != ty.sql) {
            return declined(format!("a join of {} with {ty}", branch.s.ty(*key)));
        }
        let keys = keys.into_iter().map(|key| self.unsigned_zero(&mut branch.s, key)).collect();
        let mut left_columns = vec![None; table.width];
        let mut columns = vec![None; table.keys.len()];
        for (index, ty) in &table.payload {
            let value = branch.s.value(ty.with_nullable(ty.nullable || kind == ProbeKind::Outer));
            left_columns[*index] = Some(value);
            columns.push(Some(value));
        }
        branch.s.begin_region();
        let condition = residual(self, branch, &left_columns)?;
        let residual = match condition {
            Some(condition) => Some(branch.s.end_region(condition)),
            None => {
                branch.s.drop_region();
                None
            }
        };
        let mark = (kind == ProbeKind::Mark).then(|| branch.s.value(Type::boolean(false)));
        Ok((Probe { join: table.join, kind, keys, columns, mark, residual, marks_build }, left_columns))
    }

    /// A stage over rows of the table, after all probes, with the columns of both sides.
    fn table_rows(&mut self, join: &Join<'_>, table: &Table, rows: JoinRows) -> Result<Branch> {
        let mut branch = self.rows_of_table(&join.note, table, rows);
        if matches!(join.join_type, JoinType::Left | JoinType::Full) {
            for field in join.right.schema().fields() {
                let ty = self.any_type(field.data_type(), true);
                let null = self.p.literal(ty, Datum::Null);
                branch.columns.push(Some(branch.s.op(Op::Literal(null), ty)));
            }
        }
        Ok(branch)
    }

    /// A stage over rows of a table, after all probes; for [`JoinRows::All`] one more column tells whether the row was matched.
    pub(super) fn rows_of_table(&mut self, note: &str, table: &Table, rows: JoinRows) -> Branch {
        let flag = (rows == JoinRows::All).then_some(Type::boolean(false));
        let types: Vec<Type> = table.keys.iter().copied().chain(table.payload.iter().map(|(_, ty)| *ty)).chain(flag).collect();
        let name = format!("{} rows of {}", rows.name(), table.join);
        let mut s = StageBuilder::new(name, Source::Join(table.join, rows), &types);
        s.note(note);
        let mut columns = vec![None; table.width];
        for ((index, _), value) in table.payload.iter().zip(&s.params()[table.keys.len()..]) {
            columns[*index] = Some(*value);
        }
        if flag.is_some() {
            columns.push(s.params().last().copied());
        }
        Branch { s, columns, exchanged: true }
    }
}
