//! Levels: dense sets of rows on top of each other, and the values that belong to them.

use std::rc::Rc;

use arrow::array::ArrayRef;
use stagefuse_ir::abi::Morsel;
use stagefuse_ir::{EntityRef, Value};

use super::load;
use super::plan::StagePlan;
use super::vector::{Buf, Vector, gather, select};
use crate::arrays::Held;
use crate::error::Error;
use crate::run::shared::Shared;
use crate::worker::Worker;

/// A dense set of rows.
pub(crate) struct Level {
    rows: usize,
    /// For each row, the row of the level below that it comes from; the lowest level has none.
    map: Option<Rc<Buf<u32>>>,
    /// By level: the same into levels further below, where it was wanted.
    composed: Vec<Option<Rc<Buf<u32>>>>,
    /// By value: its vector, where it was wanted on this level.
    values: Vec<Option<Rc<Vector>>>,
}

/// The rows of a table that a level's rows are paired with.
struct Entries {
    level: usize,
    /// Addresses; 0 is a row of nulls.
    addresses: Rc<Buf<u64>>,
}

/// A chunk while it runs.
pub(crate) struct Frame<'a> {
    pub(crate) run: &'a Shared,
    pub(crate) plan: &'a StagePlan,
    pub(crate) worker: &'a mut Worker,
    morsel: &'a Morsel,
    /// The chunk's first row within the morsel.
    first: usize,
    levels: Vec<Level>,
    /// By value: number of its entries in `entries`, where it is a field.
    entries_of: Vec<u32>,
    entries: Vec<Entries>,
    /// Arrays that the host's expressions made, whose text vectors refer to.
    pub(crate) kept: Vec<ArrayRef>,
    /// Those of host types, whose rows are referred to.
    pub(crate) held: Held,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(run: &'a Shared, plan: &'a StagePlan, worker: &'a mut Worker, morsel: &'a Morsel) -> Self {
        let entries_of = vec![u32::MAX; plan.fields.len()];
        Frame {
            run,
            plan,
            worker,
            morsel,
            first: 0,
            levels: vec![],
            entries_of,
            entries: vec![],
            kept: vec![],
            held: Held::new(&run.arrays),
        }
    }

    /// Begins with the rows of the chunk.
    pub(crate) fn push_source(&mut self, first: usize, rows: usize) {
        self.first = first;
        self.push(rows, None);
        if self.plan.source_stride > 0 {
            let base = self.morsel.entries as u64;
            let stride = self.plan.source_stride as u64;
            let addresses = (first..first + rows).map(|row| base + row as u64 * stride).collect();
            let params = self.plan.decl.params.clone();
            self.add_entries(addresses, params.iter().copied());
        }
    }

    /// Whether rows of the source, a join table, were matched.
    pub(crate) fn matched_source(&self) -> Result<Vector, Error> {
        let field = self.plan.source_matched.ok_or_else(|| Error::Internal("the table is not tracked".into()))?;
        load::field(&field, field.ty, &self.entries[0].addresses)
    }

    fn push(&mut self, rows: usize, map: Option<Rc<Buf<u32>>>) {
        let mut values = Vec::new();
        values.resize_with(self.plan.fields.len(), || None);
        self.levels.push(Level { rows, map, composed: vec![], values });
    }

    /// Puts a level on top whose rows are these rows of the top level.
    pub(crate) fn push_map(&mut self, map: Buf<u32>) {
        self.push(map.len(), Some(Rc::new(map)));
    }

    /// Puts a level on top that pairs these rows of the top level with rows of a table; `values` are the table's columns.
    pub(crate) fn push_pairs(&mut self, map: Buf<u32>, addresses: Buf<u64>, values: impl Iterator<Item = Value>) {
        self.push_map(map);
        self.add_entries(addresses, values);
    }

    fn add_entries(&mut self, addresses: Buf<u64>, values: impl Iterator<Item = Value>) {
        for value in values {
            self.entries_of[value.index()] = self.entries.len() as u32;
        }
        self.entries.push(Entries { level: self.levels.len() - 1, addresses: Rc::new(addresses) });
    }

    /// Keeps the rows where a boolean of the top level is `wanted`.
    pub(crate) fn push_filter(&mut self, condition: &Vector, wanted: bool) -> Result<(), Error> {
        let rows = self.rows();
        let kept = select(condition, rows, wanted)?;
        if kept.len() < rows {
            self.push_map(kept);
        }
        Ok(())
    }

    /// Rows of the top level.
    pub(crate) fn rows(&self) -> usize {
        self.levels[self.levels.len() - 1].rows
    }

    /// Number of levels.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Takes levels off the top until `depth` are left.
    pub(crate) fn pop_to(&mut self, depth: usize) {
        self.levels.truncate(depth);
        while self.entries.last().is_some_and(|entries| entries.level >= depth) {
            self.entries.pop();
        }
    }

    /// Sets a value of the top level.
    pub(crate) fn define(&mut self, value: Value, vector: Rc<Vector>) {
        let top = self.levels.len() - 1;
        self.levels[top].values[value.index()] = Some(vector);
    }

    /// The value for the rows of the top level.
    pub(crate) fn get(&mut self, value: Value) -> Result<Rc<Vector>, Error> {
        let top = self.levels.len() - 1;
        let known = (0..=top).rev().find_map(|level| self.levels[level].values[value.index()].as_ref().map(|v| (level, Rc::clone(v))));
        let vector = match known {
            Some((level, vector)) if level == top || vector.constant => return Ok(vector),
            Some((level, vector)) => Rc::new(vector.gather(&self.map_to(top, level)?)),
            None => Rc::new(self.load(value, top)?),
        };
        self.levels[top].values[value.index()] = Some(Rc::clone(&vector));
        Ok(vector)
    }

    /// Loads a column of the morsel, or a field of table rows.
    fn load(&mut self, value: Value, top: usize) -> Result<Vector, Error> {
        let ty = self.plan.ty(value);
        if let Some(column) = self.plan.columns[value.index()] {
            // SAFETY: the morsel of a stage that reads an input has a view for each of its columns.
            let view = unsafe { &*self.morsel.columns.add(column) };
            let map = if top == 0 { None } else { Some(self.map_to(top, 0)?) };
            return load::column(view, ty, self.plan.stored[column], self.first, self.rows(), map.as_ref().map(|map| map.as_slice()));
        }
        let entries = self.entries.get(self.entries_of[value.index()] as usize);
        let (Some(entries), Some(field)) = (entries, self.plan.fields[value.index()]) else {
            return Err(Error::Internal(format!("{value} is used before it is defined")));
        };
        let (level, addresses) = (entries.level, Rc::clone(&entries.addresses));
        if level == top {
            return load::field(&field, ty, &addresses);
        }
        load::field(&field, ty, &gather(&addresses, &self.map_to(top, level)?))
    }

    /// For each row of level `from`, the row of level `to` below that it comes from.
    fn map_to(&mut self, from: usize, to: usize) -> Result<Rc<Buf<u32>>, Error> {
        let missing = || Error::Internal("a level without mapping".into());
        let map = Rc::clone(self.levels[from].map.as_ref().ok_or_else(missing)?);
        if to + 1 == from {
            return Ok(map);
        }
        if let Some(Some(known)) = self.levels[from].composed.get(to) {
            return Ok(Rc::clone(known));
        }
        let below = self.map_to(from - 1, to)?;
        let composed: Rc<Buf<u32>> = Rc::new(gather(&below, &map));
        let level = &mut self.levels[from];
        level.composed.resize(from, None);
        level.composed[to] = Some(Rc::clone(&composed));
        Ok(composed)
    }
}
