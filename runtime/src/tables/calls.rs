//! What the host computes for the groups of a table: operands go to its functions by number of the group; when tables are merged so are the functions'
//! states; results are put into the rows of the merged table, where stages read them as any other field.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::take;
use stagefuse_ir::abi::{STR_INLINE, StrRef};
use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{CallDecl, EntityRef, GroupsDecl, SqlType, Storage, Type};

use super::groups::GroupTable;
use super::merge::Merging;
use crate::adapt::adapt;
use crate::arrays::{Arrays, Held};
use crate::buffers::Buffers;
use crate::columns::{view_buffers, views};
use crate::config::{HostAccumulator, HostAggregate};
use crate::error::Error;
use crate::memory::Memory;

/// The state of one call: arrays with a row for each group.
pub(crate) type State = Vec<ArrayRef>;

/// One worker's part of the calls of a group table.
pub(crate) struct Calls {
    /// First the distance of a row's entry from the table's `entries`, then the operands.
    pub(crate) buffers: Buffers,
    accumulators: Vec<Box<dyn HostAccumulator>>,
    /// Groups of the buffered rows.
    groups: Vec<usize>,
    /// Groups that the host has had rows of: it takes one that it is told of, and gets no row of, for one that has a value.
    told: usize,
    /// Bytes of the accumulators that have been counted.
    held: usize,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("buffers", &self.buffers).field("held", &self.held).finish_non_exhaustive()
    }
}

impl Calls {
    pub(crate) fn new(decl: &GroupsDecl, hosts: &[Arc<dyn HostAggregate>]) -> Result<Self, Error> {
        let types: Vec<Type> = std::iter::once(Type::new(SqlType::UInt64, false)).chain(decl.operands.iter().copied()).collect();
        let accumulators = decl.calls.iter().map(|call| start(call, hosts)).collect::<Result<_, _>>()?;
        Ok(Calls { buffers: Buffers::new(&types), accumulators, groups: vec![], told: 0, held: 0 })
    }

    /// Hands the buffered rows to the host, of a table whose groups are `stride` bytes apart. The last group may have no row yet.
    pub(crate) fn flush(&mut self, decl: &GroupsDecl, stride: u32, memory: &Memory, arrays: &Arrays) -> Result<(), Error> {
        let rows = self.buffers.take_rows();
        if rows == 0 {
            return Ok(());
        }
        self.groups.clear();
        // The first entry lies one stride into the table.
        self.groups.extend(self.buffers.words(0, rows).iter().map(|distance| (distance / u64::from(stride)) as usize - 1));
        self.told = self.groups.iter().fold(self.told, |told, group| told.max(group + 1));
        let operands =
            decl.operands.iter().enumerate().map(|(i, ty)| self.buffers.array(i + 1, 0..rows, &arrays.arrow_type(ty.sql), arrays));
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        for (call, accumulator) in decl.calls.iter().zip(&mut self.accumulators) {
            let args: Vec<ArrayRef> = call.args.iter().map(|arg| Arc::clone(&operands[*arg])).collect();
            let filter: Option<&BooleanArray> = call.filter.map(|filter| operands[filter].as_boolean());
            accumulator.update(&args, filter, &self.groups, self.told).map_err(Error::Opaque)?;
        }
        self.count(memory)
    }

    /// Tells the budget how much the accumulators hold.
    fn count(&mut self, memory: &Memory) -> Result<(), Error> {
        let size = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        let before = std::mem::replace(&mut self.held, size);
        if size < before {
            memory.shrink(before - size);
            return Ok(());
        }
        memory.grow(size - before)
    }

    /// The states of all calls, and the bytes that they hold from now on.
    fn into_states(mut self, memory: &Memory) -> Result<(Vec<State>, usize), Error> {
        let states = self.accumulators.iter_mut().map(|accumulator| accumulator.state().map_err(Error::Opaque));
        let states = states.collect::<Result<Vec<State>, Error>>()?;
        let bytes = states.iter().flatten().map(|array| array.get_array_memory_size()).sum();
        memory.shrink(self.held);
        memory.grow(bytes)?;
        Ok((states, bytes))
    }

    /// The values of all calls.
    fn into_values(mut self, memory: &Memory) -> Result<Vec<ArrayRef>, Error> {
        let values = self.accumulators.iter_mut().map(|accumulator| accumulator.evaluate().map_err(Error::Opaque)).collect();
        memory.shrink(self.held);
        values
    }
}

fn start(call: &CallDecl, hosts: &[Arc<dyn HostAggregate>]) -> Result<Box<dyn HostAccumulator>, Error> {
    let host = hosts.get(call.aggregate.index());
    let host = host.ok_or_else(|| Error::Internal(format!("{} is not there", call.aggregate)))?;
    host.start().map_err(Error::Opaque)
}

/// Gives a table whose groups no row has come for the state of its calls.
pub(crate) fn without_rows(of: Merging<'_>, table: &mut GroupTable) -> Result<(), Error> {
    if of.decl.calls.is_empty() {
        return Ok(());
    }
    let mut calls = Calls::new(of.decl, of.hosts)?;
    // A row that does not count: functions learn from it how many groups there are, and that none has a value.
    let operands: Vec<ArrayRef> = of.decl.operands.iter().map(|ty| new_null_array(&of.arrays.arrow_type(ty.sql), 1)).collect();
    let none = BooleanArray::from(vec![false]);
    for (call, accumulator) in of.decl.calls.iter().zip(&mut calls.accumulators) {
        let args: Vec<ArrayRef> = call.args.iter().map(|arg| Arc::clone(&operands[*arg])).collect();
        accumulator.update(&args, Some(&none), &[0], table.rows()).map_err(Error::Opaque)?;
    }
    table.calls = Some(Box::new(calls));
    Ok(())
}

/// Takes the states of a worker's calls out of its table; yields the bytes that they hold, too.
pub(crate) fn take_states(table: &mut GroupTable, memory: &Memory) -> Result<(Vec<State>, usize), Error> {
    table.calls.take().map_or(Ok((vec![], 0)), |calls| calls.into_states(memory))
}

/// Puts the results of a worker's calls into its table, which no other is merged with.
pub(crate) fn finish(of: Merging<'_>, table: &mut GroupTable) -> Result<(), Error> {
    let Some(calls) = table.calls.take() else { return Ok(()) };
    let values = calls.into_values(of.memory)?;
    for ((call, field), value) in of.decl.calls.iter().zip(call_fields(of.decl, of.layout)).zip(values) {
        put(of, table, call, field, value)?;
    }
    Ok(())
}

/// Which rows of a worker's table went to which rows of a merged one.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    pub(crate) rows: Vec<u32>,
    pub(crate) targets: Vec<usize>,
}

/// Puts the results of calls into a merged table: `parts` are the states of the workers' tables, and which rows of them belong here.
pub(crate) fn merge(of: Merging<'_>, target: &mut GroupTable, parts: &[(&[State], Moves)]) -> Result<(), Error> {
    let Merging { decl, layout, hosts, memory, .. } = of;
    for (number, (call, field)) in decl.calls.iter().zip(call_fields(decl, layout)).enumerate() {
        let mut accumulator = start(call, hosts)?;
        // Groups are numbered as they came; as in `Calls::told`.
        let mut total = 0;
        for (states, moves) in parts.iter().filter(|(_, moves)| !moves.rows.is_empty()) {
            let state = states.get(number).ok_or_else(|| Error::Internal(format!("{call} has left no state")))?;
            let state = rows_of(state, &moves.rows)?;
            total = moves.targets.iter().fold(total, |total, target| total.max(target + 1));
            accumulator.merge(&state, &moves.targets, total).map_err(Error::Opaque)?;
        }
        // The states are let go with the accumulator, at once; meanwhile they count.
        let size = accumulator.size();
        memory.grow(size)?;
        let value = accumulator.evaluate().map_err(Error::Opaque)?;
        drop(accumulator);
        memory.shrink(size);
        put(of, target, call, field, value)?;
    }
    Ok(())
}

fn rows_of(state: &[ArrayRef], rows: &[u32]) -> Result<State, Error> {
    let all = state.first().is_some_and(|array| array.len() == rows.len()) && rows.iter().enumerate().all(|(i, row)| i == *row as usize);
    if all {
        return Ok(state.to_vec());
    }
    let rows = UInt32Array::from(rows.to_vec());
    Ok(state.iter().map(|array| take(array, &rows, None)).collect::<Result<_, _>>()?)
}

/// Where the results of calls lie in a row.
fn call_fields<'l>(decl: &GroupsDecl, layout: &'l RowLayout) -> &'l [Field] {
    &layout.fields[decl.keys.len() + decl.accs.len()..]
}

/// Writes a value for each group into a field of the table's rows.
fn put(of: Merging<'_>, table: &mut GroupTable, call: &CallDecl, field: &Field, value: ArrayRef) -> Result<(), Error> {
    let (rows, ty) = (table.rows(), field.ty);
    if value.len() != rows {
        return Err(Error::Internal(format!("{call} yielded {} values for {rows} groups", value.len())));
    }
    let value = if ty.sql.is_host() { value } else { adapt(&value, &of.arrays.arrow_type(ty.sql))? };
    if !ty.nullable && value.null_count() > 0 {
        return Err(Error::Internal(format!("{call} yielded a null")));
    }
    let valid = (0..rows).filter(|row| value.is_valid(*row));
    if let Some(offset) = field.valid {
        valid.clone().for_each(|row| set(table, row, offset, 1u8));
    }
    match ty.sql.storage() {
        Storage::Bits => {
            let bits = value.as_boolean();
            valid.for_each(|row| set(table, row, field.offset, u8::from(bits.value(row))));
        }
        Storage::Fixed(width) => {
            let data = value.to_data();
            let width = width as usize;
            let values = &data.buffers()[0].as_slice()[data.offset() * width..];
            for row in valid {
                let from = &values[row * width..(row + 1) * width];
                // SAFETY: the field lies within the row's entry and takes as many bytes; entries are no part of the array.
                unsafe { table.entry(row).add(field.offset as usize).copy_from_nonoverlapping(from.as_ptr(), width) }
            }
        }
        Storage::View => {
            let (views, buffers) = (views(&value), view_buffers(&value));
            for row in valid {
                let (lo, mut hi) = (views[row] as u64, (views[row] >> 64) as u64);
                if lo as u32 > STR_INLINE {
                    // A view of a long text names one of the buffers, and an offset within it.
                    hi = buffers[hi as u32 as usize].wrapping_add((hi >> 32) as usize) as u64;
                }
                set(table, row, field.offset, StrRef { lo, hi });
            }
            // Rows refer to its text.
            table.keep(value, of.memory)?;
        }
        Storage::Rows => {
            let mut held = Held::new(of.arrays);
            let first = held.add(&value);
            valid.for_each(|row| set(table, row, field.offset, first + row as u64));
            held.keep(of.memory)?;
        }
    }
    Ok(())
}

fn set<T>(table: &GroupTable, row: usize, offset: u32, value: T) {
    // SAFETY: the field lies within the row's entry, and `T` is as wide as it; 16-byte fields may be aligned to 8 only.
    unsafe { table.entry(row).add(offset as usize).cast::<T>().write_unaligned(value) }
}
