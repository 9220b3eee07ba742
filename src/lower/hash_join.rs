//! Hash joins: the left side builds, the right side probes.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use stagefuse_ir::builder::StageBuilder;
use stagefuse_ir::{JoinDecl, JoinRows, Probe, ProbeKind, Sink, Source, Type, Value};

use super::exchange::below_exchange;
use super::{Declined, Lowering, Pipe, Result, declined};

impl Lowering {
    pub(crate) fn hash_join(&mut self, join: &HashJoinExec) -> Result<Pipe> {
        if join.null_aware || join.fetch().is_some() {
            return declined("a null-aware join, or one with a limit");
        }
        let (kind, kept) = match join.join_type {
            JoinType::Inner => (ProbeKind::Inner, None),
            JoinType::Right => (ProbeKind::Outer, None),
            JoinType::RightSemi => (ProbeKind::Semi, None),
            JoinType::RightAnti => (ProbeKind::Anti, None),
            JoinType::LeftSemi => (ProbeKind::Semi, Some(JoinRows::Matched)),
            JoinType::LeftAnti => (ProbeKind::Semi, Some(JoinRows::Unmatched)),
            other => return declined(format!("a {other} join")),
        };

        let mut left = self.node(below_exchange(&join.left))?;
        let left_schema = join.left.schema();
        left.s.note(format!("HashJoinExec: {} on {}", join.join_type, display_keys(join)));
        let mut keys = vec![];
        for (key, _) in &join.on {
            keys.push(self.expr(&mut left.s, &left.columns, &left_schema, key)?);
        }
        let payload: Vec<(usize, Value)> = left.columns.iter().enumerate().filter_map(|(i, value)| Some((i, (*value)?))).collect();
        let key_types: Vec<Type> = keys.iter().map(|key| left.s.ty(*key)).collect();
        let payload_types: Vec<Type> = payload.iter().map(|(_, value)| left.s.ty(*value)).collect();
        let table = self.p.join(JoinDecl {
            keys: key_types.clone(),
            payload: payload_types.clone(),
            null_equal: join.null_equality == NullEquality::NullEqualsNull,
            tracked: kept.is_some(),
        });
        let values = payload.iter().map(|(_, value)| *value).collect();
        self.p.stage(left.s.sink(Sink::Build { join: table, keys, payload: values }));

        let mut right = self.node(below_exchange(&join.right))?;
        let right_schema = join.right.schema();
        right.s.note(format!("HashJoinExec: {} on {}", join.join_type, display_keys(join)));
        let mut keys = vec![];
        for ((_, key), ty) in join.on.iter().zip(&key_types) {
            let value = self.expr(&mut right.s, &right.columns, &right_schema, key)?;
            if right.s.ty(value).sql != ty.sql {
                return Err(Declined::Unsupported(format!("a join of {} with {ty}", right.s.ty(value))));
            }
            keys.push(value);
        }
        if key_types.iter().any(|ty| ty.sql.is_float()) {
            return declined("a join on a float");
        }
        let mut left_columns = vec![None; left.columns.len()];
        let mut columns = vec![None; key_types.len()];
        for ((index, _), ty) in payload.iter().zip(&payload_types) {
            let value = right.s.value(ty.with_nullable(ty.nullable || kind == ProbeKind::Outer));
            left_columns[*index] = Some(value);
            columns.push(Some(value));
        }
        let residual = match &join.filter {
            None => None,
            Some(filter) => {
                let sides = filter.column_indices().iter().map(|column| match column.side {
                    JoinSide::Left => left_columns[column.index],
                    JoinSide::Right => right.columns[column.index],
                    JoinSide::None => None,
                });
                let sides: Vec<_> = sides.collect();
                right.s.begin_region();
                let condition = self.expr(&mut right.s, &sides, filter.schema(), filter.expression())?;
                Some(right.s.end_region(condition))
            }
        };
        let probe = Probe { join: table, kind, keys, columns, mark: None, residual, marks_build: kept.is_some() };
        let mut pipe = match kept {
            None => {
                right.s.probe(probe);
                let columns = match kind {
                    ProbeKind::Inner | ProbeKind::Outer => left_columns.into_iter().chain(right.columns).collect(),
                    _ => right.columns,
                };
                Pipe { s: right.s, columns }
            }
            Some(rows) => {
                self.p.stage(right.s.sink(Sink::Mark { probe }));
                let types: Vec<Type> = key_types.iter().chain(&payload_types).copied().collect();
                let s = StageBuilder::new(format!("rows of {table}"), Source::Join(table, rows), &types);
                let mut columns = vec![None; left_columns.len()];
                for ((index, _), value) in payload.iter().zip(&s.params()[key_types.len()..]) {
                    columns[*index] = Some(*value);
                }
                Pipe { s, columns }
            }
        };
        if let Some(projection) = &join.projection {
            pipe.columns = projection.iter().map(|index| pipe.columns[*index]).collect();
        }
        Ok(pipe)
    }
}

fn display_keys(join: &HashJoinExec) -> String {
    let pairs = join.on.iter().map(|(left, right)| format!("{left} = {right}"));
    Arc::<str>::from(pairs.collect::<Vec<_>>().join(", ")).to_string()
}
