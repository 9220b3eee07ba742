//! Grouping sets: rows are expanded, once for each set, and keys that a set does not have become null.

use std::collections::HashMap;

use datafusion::logical_expr::Aggregate;
use datafusion::physical_plan::aggregates::PhysicalGroupBy;
use stagefuse_ir::{BinaryOp, Datum, Lit, Op, Type, Value};

use crate::lower::{Branch, Lowering, Result, declined, types};

/// The grouping sets of an aggregation.
pub(super) struct Sets {
    /// Type of the grouping id.
    ty: Type,
    /// By set: its grouping id. A bit for each key that it does not have, the last key's lowest, then which of several such sets it is.
    ids: Vec<u64>,
    /// The ids as literals.
    literals: Vec<Lit>,
    groups: Vec<Vec<bool>>,
}

impl Sets {
    /// Number of keys, without the grouping id.
    fn width(&self) -> usize {
        self.groups.first().map_or(0, Vec::len)
    }

    /// Makes the types of keys those of masked keys, with the grouping id's behind.
    pub(super) fn add_to(&self, keys: &mut Vec<Type>) {
        keys.iter_mut().enumerate().for_each(|(key, ty)| ty.nullable |= self.masks(key));
        keys.push(self.ty);
    }

    /// Whether some set does not have this key.
    pub(super) fn masks(&self, key: usize) -> bool {
        self.groups.iter().any(|set| set[key])
    }
}

impl Lowering {
    /// The sets that an aggregation groups by; none where it groups by its keys.
    pub(super) fn sets(&mut self, by: &PhysicalGroupBy) -> Result<Option<Sets>> {
        if !by.has_grouping_set() {
            return match by.groups() {
                [] => Ok(None),
                [all] if all.iter().all(|masked| !masked) => Ok(None),
                _ => declined("keys that are masked"),
            };
        }
        let mut counts: HashMap<&[bool], u64> = HashMap::new();
        let mut ids = vec![];
        let width = by.expr().len();
        for set in by.groups() {
            let ordinal = counts.entry(set).or_insert(0);
            let mask = set.iter().fold(0u64, |mask, masked| (mask << 1) | u64::from(*masked));
            ids.push(if width < 64 { mask | (*ordinal << width) } else { mask });
            *ordinal += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0).saturating_sub(1);
        let bits = width + (u64::BITS - most.leading_zeros()) as usize;
        let ty = types::ir_type(&Aggregate::grouping_id_type(width, most as usize), false);
        let (Some(ty), true) = (ty, bits <= 64) else { return declined("grouping sets of too many keys") };
        let literals = self.p.literals_in_a_row(ty, ids.iter().map(|id| Datum::Int((*id).into())));
        Ok(Some(Sets { ty, ids, literals, groups: by.groups().to_vec() }))
    }

    /// Expands rows into one for each set; yields the keys as the set has them, the grouping id last.
    pub(super) fn expand(&mut self, branch: &mut Branch, sets: &Sets, keys: &[Value]) -> Vec<Value> {
        let id = branch.s.expand(sets.ty, sets.literals.clone());
        let mut masked = vec![];
        for (number, key) in keys.iter().enumerate() {
            masked.push(if sets.masks(number) { self.masked(branch, sets, id, number, *key) } else { *key });
        }
        masked.push(id);
        masked
    }

    /// A key, null where the set does not have it.
    fn masked(&mut self, branch: &mut Branch, sets: &Sets, id: Value, number: usize, key: Value) -> Value {
        let s = &mut branch.s;
        let bit = self.p.literal(sets.ty, Datum::Int(1 << (sets.width() - 1 - number)));
        let zero = self.p.literal(sets.ty, Datum::Int(0));
        let bit = s.op(Op::Literal(bit), sets.ty);
        let zero = s.op(Op::Literal(zero), sets.ty);
        let bit = s.binary(BinaryOp::BitAnd, id, bit, sets.ty);
        let has = s.binary(BinaryOp::Eq, bit, zero, Type::boolean(false));
        let ty = s.ty(key).with_nullable(true);
        s.begin_region();
        let then = s.end_region(key);
        s.begin_region();
        let null = self.p.literal(ty, Datum::Null);
        let null = s.op(Op::Literal(null), ty);
        let otherwise = s.end_region(null);
        s.op(Op::If(has, Box::new(then), Box::new(otherwise)), ty)
    }

    /// Keys of the groups that are there even of no rows: those of sets without keys.
    pub(super) fn empty_sets(&mut self, sets: &Sets, keys: &[Type]) -> Vec<Vec<Lit>> {
        let empty = sets.groups.iter().zip(&sets.ids).filter(|(set, _)| set.iter().all(|masked| *masked));
        let ids: Vec<u64> = empty.map(|(_, id)| *id).collect();
        let row = |id: u64| {
            let mut row: Vec<Lit> = keys[..sets.width()].iter().map(|ty| self.p.literal(ty.with_nullable(true), Datum::Null)).collect();
            row.push(self.p.literal(sets.ty, Datum::Int(id.into())));
            row
        };
        ids.into_iter().map(row).collect()
    }
}
