//! Rows accumulate into groups.

use std::rc::Rc;

use stagefuse_ir::abi::{GroupsHead, SLOT_ADDRESS, StrRef};
use stagefuse_ir::layout::Field;
use stagefuse_ir::{AccOp, EntityRef, Groups, Repr, SqlType, Type, Value};

use super::{emit, store};
use crate::builtins::strings;
use crate::error::Error;
use crate::interpreter::hash::hash_keys;
use crate::interpreter::level::Frame;
use crate::interpreter::load::{read, write};
use crate::interpreter::row::probe::keep_equal;
use crate::interpreter::scalar::cast::resize;
use crate::interpreter::vector::{Arg, Buf, Prim, Vector};

pub(super) fn run(frame: &mut Frame<'_>, groups: Groups, keys: &[Value], args: &[Option<Value>], operands: &[Value]) -> Result<(), Error> {
    let run = frame.run;
    let layout = &run.group_layouts[groups.index()];
    let entries = if keys.is_empty() {
        // The one group is there from the start, one stride into the entries.
        Buf::filled(entries_base(frame, groups) + u64::from(layout.stride), frame.rows())
    } else {
        let keys = keys.iter().map(|key| frame.get(*key)).collect::<Result<Vec<_>, _>>()?;
        find_or_insert(frame, groups, &keys, &layout.fields[..layout.keys])?
    };
    let decl = &run.program.groups[groups];
    for ((acc, field), arg) in decl.accs.iter().zip(&layout.fields[layout.keys..]).zip(args) {
        let Some(arg) = arg else {
            entries.iter().for_each(|entry| write(*entry, field.offset, read::<i64>(*entry, field.offset).wrapping_add(1)));
            continue;
        };
        let vector = frame.get(*arg)?;
        accumulate(frame, acc.op, field, &vector, &entries)?;
    }
    if operands.is_empty() { Ok(()) } else { hand_over(frame, groups, operands, &entries) }
}

/// Buffers what the host's functions take.
fn hand_over(frame: &mut Frame<'_>, groups: Groups, operands: &[Value], entries: &[u64]) -> Result<(), Error> {
    let run = frame.run;
    let base = entries_base(frame, groups);
    let distances: Buf<i64> = entries.iter().map(|entry| (entry - base) as i64).collect();
    let types: Vec<Type> =
        std::iter::once(Type::new(SqlType::UInt64, false)).chain(run.program.groups[groups].operands.iter().copied()).collect();
    let mut vectors = vec![Rc::new(Vector::new::<i64>(distances, None))];
    for operand in operands {
        vectors.push(frame.get(*operand)?);
    }
    // SAFETY: the worker has entered the stage, so that the buffers of its table are in place.
    let head = unsafe { *frame.worker.head.operands.add(groups.index()) };
    // SAFETY: the head is that of the worker's buffers, which have a column of each of these types.
    unsafe { emit::write(head, &vectors, &types, entries.len(), || frame.worker.flush_operands(groups.index())) }
}

fn head<'h>(frame: &Frame<'_>, groups: Groups) -> &'h GroupsHead {
    // SAFETY: the worker has entered the stage, so that its table is in place; it is boxed, and no caller keeps the reference over an insertion.
    unsafe { &**frame.worker.head.groups.add(groups.index()) }
}

fn entries_base(frame: &Frame<'_>, groups: Groups) -> u64 {
    head(frame, groups).entries as u64
}

/// The offset of a number's entry, where the table is addressed directly: 0 where there is none; `None` where the number is out of range.
#[inline(always)]
fn direct_offset(head: &GroupsHead, number: i64, stride: u64) -> Option<u64> {
    let at = number.wrapping_sub(head.first) as u64;
    if at < head.range && head.direct.is_null() {
        return Some((at + 1) * stride);
    }
    // SAFETY: there are `range` elements.
    (at < head.range).then(|| u64::from(unsafe { *head.direct.add(at as usize) }) * stride)
}

/// Looks on from slot `at` for one with the tag of `hash`: that slot's number and its entry's offset, or 0 at an empty one.
#[inline(always)]
fn next_candidate(head: &GroupsHead, hash: u64, mut at: u64) -> (u64, u64) {
    loop {
        // SAFETY: `at` is masked into the slots.
        let slot = unsafe { *head.slots.add(at as usize) };
        if slot == 0 {
            return (at, 0);
        }
        if (slot ^ hash) & !SLOT_ADDRESS == 0 {
            return (at, slot & SLOT_ADDRESS);
        }
        at = (at + 1) & head.mask;
    }
}

/// The address of each row's group.
fn find_or_insert(frame: &mut Frame<'_>, groups: Groups, keys: &[Rc<Vector>], fields: &[Field]) -> Result<Buf<u64>, Error> {
    let rows = frame.rows();
    let layout = &frame.run.group_layouts[groups.index()];
    let (stride, hash_field) = (u64::from(layout.stride), layout.hash);
    let numbers = if layout.numeric { Some(resize(&keys[0], Repr::I64)?) } else { None };
    let numbers = match &numbers {
        Some(numbers) => Some((numbers.arg::<i64>()?, numbers.validity())),
        None => None,
    };
    let number_of = |row: usize| match &numbers {
        Some((numbers, valid)) if valid.is_none_or(|valid| valid.at(row) != 0) => Some(numbers.at(row)),
        _ => None,
    };
    let hashes = hash_keys(keys, rows, frame.run.memory.sizes.hash_mask)?;
    // Offsets, since entries move when the table grows.
    let mut offsets = Buf::<u64>::filled(0, rows);
    let mut slots = Buf::<u64>::filled(0, rows);
    let mut missing = Buf::<u32>::new();
    let mut todo = Buf::<u32>::new();
    {
        let head = head(frame, groups);
        let base = head.entries as u64;
        for (row, offset) in offsets.iter_mut().enumerate() {
            match number_of(row).and_then(|number| direct_offset(head, number, stride)) {
                None => todo.push(row as u32),
                Some(0) => missing.push(row as u32),
                Some(known) => *offset = known,
            }
        }
        if head.range > 0 && head.direct.is_null() {
            // The key tells that a row has come with it.
            let found = offsets.iter().enumerate().filter(|(_, offset)| **offset > 0).map(|(row, offset)| (row, base + offset));
            store::field(frame.worker, &keys[0], &fields[0], found)?;
        }
        slots.iter_mut().zip(hashes.iter()).for_each(|(slot, hash)| *slot = hash & head.mask);
        let (mut pair_rows, mut pair_entries) = (Buf::<u32>::new(), Buf::<u64>::new());
        while !todo.is_empty() {
            pair_rows.clear();
            pair_entries.clear();
            let mut candidates = 0;
            for at in 0..todo.len() {
                let row = todo[at] as usize;
                let (slot, offset) = next_candidate(head, hashes[row], slots[row]);
                if offset == 0 {
                    missing.push(row as u32);
                    continue;
                }
                slots[row] = (slot + 1) & head.mask;
                todo[candidates] = row as u32;
                candidates += 1;
                if hash_field.is_none_or(|at| read::<u64>(base + offset, at) == hashes[row]) {
                    pair_rows.push(row as u32);
                    pair_entries.push(base + offset);
                }
            }
            todo.truncate(candidates);
            for (key, field) in keys.iter().zip(fields) {
                keep_equal(key, field, &mut pair_rows, &mut pair_entries)?;
            }
            pair_rows.iter().zip(pair_entries.iter()).for_each(|(row, entry)| offsets[*row as usize] = entry - base);
            if pair_rows.len() == todo.len() {
                break;
            }
            todo.retain(|row| offsets[*row as usize] == 0);
        }
    }
    // New groups, one by one: a row may find the group that the row before it made.
    missing.sort_unstable();
    for row in missing.iter() {
        offsets[*row as usize] = insert_one(frame, groups, keys, fields, *row, hashes[*row as usize], number_of(*row as usize))?;
    }
    let base = entries_base(frame, groups);
    offsets.iter_mut().for_each(|offset| *offset += base);
    Ok(offsets)
}

fn insert_one(
    frame: &mut Frame<'_>,
    groups: Groups,
    keys: &[Rc<Vector>],
    fields: &[Field],
    row: u32,
    hash: u64,
    number: Option<i64>,
) -> Result<u64, Error> {
    let layout = &frame.run.group_layouts[groups.index()];
    let head = head(frame, groups);
    let base = head.entries as u64;
    let mut at = hash & head.mask;
    let direct = number.and_then(|number| direct_offset(head, number, u64::from(layout.stride)));
    if let Some(known) = direct.filter(|known| *known > 0) {
        return Ok(known);
    }
    while direct.is_none() {
        let (slot, offset) = next_candidate(head, hash, at);
        if offset == 0 {
            break;
        }
        if layout.hash.is_none_or(|at| read::<u64>(base + offset, at) == hash) {
            let (mut rows, mut entries) = (Buf::filled(row, 1), Buf::filled(base + offset, 1));
            for (key, field) in keys.iter().zip(fields) {
                keep_equal(key, field, &mut rows, &mut entries)?;
            }
            if !rows.is_empty() {
                return Ok(offset);
            }
        }
        at = (slot + 1) & head.mask;
    }
    let entry = frame.worker.insert_group(groups.index(), hash, number)? as u64;
    for (key, field) in keys.iter().zip(fields) {
        store::field(frame.worker, key, field, std::iter::once((row as usize, entry)))?;
    }
    Ok(entry - entries_base(frame, groups))
}

fn accumulate(frame: &mut Frame<'_>, op: AccOp, field: &Field, arg: &Rc<Vector>, entries: &[u64]) -> Result<(), Error> {
    match op {
        AccOp::CountRows => update::<u8, i64>(field, None, entries, |count, _| count.wrapping_add(1)),
        AccOp::Count => {
            match arg.validity() {
                None => entries.iter().for_each(|entry| write(*entry, field.offset, read::<i64>(*entry, field.offset).wrapping_add(1))),
                Some(valid) => {
                    for (row, entry) in entries.iter().enumerate() {
                        write(*entry, field.offset, read::<i64>(*entry, field.offset).wrapping_add(i64::from(valid.at(row))));
                    }
                }
            }
            Ok(())
        }
        AccOp::Sum => match (field.ty.repr, arg.repr()) {
            (Repr::I64, Repr::I64) => update::<i64, i64>(field, Some(arg), entries, i64::wrapping_add),
            (Repr::I128, Repr::I64) => update::<i64, i128>(field, Some(arg), entries, |sum, v| sum.wrapping_add(i128::from(v))),
            (Repr::I128, Repr::I128) => update::<i128, i128>(field, Some(arg), entries, i128::wrapping_add),
            (Repr::F64, Repr::F64) => update::<f64, f64>(field, Some(arg), entries, |sum, v| sum + v),
            (Repr::F64, Repr::F32) => update::<f32, f64>(field, Some(arg), entries, |sum, v| sum + f64::from(v)),
            (Repr::I64, repr) if repr.is_int() => update::<i64, i64>(field, Some(&*resize(arg, Repr::I64)?), entries, i64::wrapping_add),
            (Repr::I128, repr) if repr.is_int() => {
                update::<i128, i128>(field, Some(&*resize(arg, Repr::I128)?), entries, i128::wrapping_add)
            }
            (sum, arg) => Err(Error::Internal(format!("a sum in {sum:?} of {arg:?}"))),
        },
        AccOp::BitOr | AccOp::BitXor => {
            let or = op == AccOp::BitOr;
            match field.ty.repr {
                Repr::I8 => update::<i8, i8>(field, Some(arg), entries, |bits, v| if or { bits | v } else { bits ^ v }),
                Repr::I16 => update::<i16, i16>(field, Some(arg), entries, |bits, v| if or { bits | v } else { bits ^ v }),
                Repr::I32 => update::<i32, i32>(field, Some(arg), entries, |bits, v| if or { bits | v } else { bits ^ v }),
                Repr::I64 => update::<i64, i64>(field, Some(arg), entries, |bits, v| if or { bits | v } else { bits ^ v }),
                other => Err(Error::Internal(format!("bits of {other:?}"))),
            }
        }
        AccOp::Min | AccOp::Max => extreme(frame, op == AccOp::Min, field, arg, entries),
    }
}

/// Updates an accumulator for each argument that is not null. Without an argument: for each row.
#[inline(always)]
fn update<A: Prim, S: Copy>(field: &Field, arg: Option<&Vector>, entries: &[u64], f: impl Fn(S, A) -> S) -> Result<(), Error> {
    let ones = Vector::constant(A::ZERO, true);
    let arg = arg.unwrap_or(&ones);
    let values = arg.arg::<A>()?;
    match (arg.validity(), field.valid) {
        // One group without keys, or a run of rows of one: the accumulator stays in a register.
        (valid, seen) if entries.first() == entries.last() && entries.iter().all(|entry| *entry == entries[0]) => {
            let Some(entry) = entries.first() else { return Ok(()) };
            let start = read(*entry, field.offset);
            let (result, any) = match (valid, values) {
                (None, Arg::Slice(values)) => (values.iter().fold(start, |sum, value| f(sum, *value)), true),
                (valid, values) => (0..entries.len())
                    .filter(|row| valid.is_none_or(|valid| valid.at(*row) != 0))
                    .fold((start, false), |(sum, _), row| (f(sum, values.at(row)), true)),
            };
            write(*entry, field.offset, result);
            if let Some(seen) = seen.filter(|_| any) {
                write(*entry, seen, 1u8);
            }
        }
        (None, None) => {
            for (row, entry) in entries.iter().enumerate() {
                write(*entry, field.offset, f(read(*entry, field.offset), values.at(row)));
            }
        }
        (valid, seen) => {
            for (row, entry) in entries.iter().enumerate() {
                if valid.is_none_or(|valid| valid.at(row) != 0) {
                    write(*entry, field.offset, f(read(*entry, field.offset), values.at(row)));
                    if let Some(seen) = seen {
                        write(*entry, seen, 1u8);
                    }
                }
            }
        }
    }
    Ok(())
}

fn extreme(frame: &mut Frame<'_>, min: bool, field: &Field, arg: &Rc<Vector>, entries: &[u64]) -> Result<(), Error> {
    macro_rules! number {
        ($held:ty, $compared:ty) => {
            replace::<$held>(
                field,
                arg,
                entries,
                |new, old| {
                    if min { (new as $compared) < (old as $compared) } else { (new as $compared) > (old as $compared) }
                },
                |value| value,
            )
        };
        ($held:ty) => {
            replace::<$held>(
                field,
                arg,
                entries,
                |new, old| {
                    if min { new.total_cmp(&old).is_lt() } else { new.total_cmp(&old).is_gt() }
                },
                |value| value,
            )
        };
    }
    let resized;
    let arg = if arg.repr() != field.ty.repr && field.ty.repr.is_int() {
        resized = resize(arg, field.ty.repr)?;
        &resized
    } else {
        arg
    };
    match (field.ty.repr, field.ty.sql.is_unsigned()) {
        (Repr::Bool, _) => number!(u8, u8),
        (Repr::I8, true) => number!(i8, u8),
        (Repr::I8, false) => number!(i8, i8),
        (Repr::I16, true) => number!(i16, u16),
        (Repr::I16, false) => number!(i16, i16),
        (Repr::I32, true) => number!(i32, u32),
        (Repr::I32, false) => number!(i32, i32),
        (Repr::I64, true) => number!(i64, u64),
        (Repr::I64, false) => number!(i64, i64),
        (Repr::I128, _) => number!(i128, i128),
        (Repr::F32, _) => number!(f32),
        (Repr::F64, _) => number!(f64),
        (Repr::Str, _) => replace::<StrRef>(
            field,
            arg,
            entries,
            |new, old| {
                // SAFETY: both refer to text that is alive.
                let order = unsafe { strings::bytes(&new).cmp(strings::bytes(&old)) };
                if min { order.is_lt() } else { order.is_gt() }
            },
            |text| store::interned(frame.worker, text),
        ),
    }
}

#[inline(always)]
fn replace<T: Prim>(
    field: &Field,
    arg: &Vector,
    entries: &[u64],
    better: impl Fn(T, T) -> bool,
    mut keep: impl FnMut(T) -> T,
) -> Result<(), Error> {
    let seen = field.valid.ok_or_else(|| Error::Internal("min and max remember whether a value has come".into()))?;
    let values = arg.arg::<T>()?;
    let valid = arg.validity();
    for (row, entry) in entries.iter().enumerate() {
        if valid.is_some_and(|valid| valid.at(row) == 0) {
            continue;
        }
        let value = values.at(row);
        if read::<u8>(*entry, seen) == 0 || better(value, read(*entry, field.offset)) {
            write(*entry, field.offset, keep(value));
            write(*entry, seen, 1u8);
        }
    }
    Ok(())
}
