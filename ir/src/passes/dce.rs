//! Removes what nobody reads: operations, columns of probes, payload of join tables and sorts, accumulators, calls and operands of group tables.
//!
//! Keys stay, for they decide which rows there are; so do columns of inputs, for the host hands them over. An operation that can fail
//! stays too: whether a query fails is part of its meaning.

use cranelift_entity::{EntitySet, SecondaryMap};

use crate::entities::{Groups, Join, Sort, Stage, Value};
use crate::op::{Op, Region};
use crate::program::{Probe, Program, Sink, Source, Stmt, StmtKind};
use crate::states::GroupsDecl;

/// Removes what nobody reads from a program that obeys the verifier's laws. See the module's documentation.
///
/// A program that breaks a law is left as it is, for the verifier to report.
pub fn eliminate_dead(program: &mut Program) {
    if crate::verifier::verify(program).is_err() {
        return;
    }
    let mut read = ReadFields::new(program);
    // Readers come after writers: backwards, all readers of a state are known when its writers come.
    let stages: Vec<Stage> = program.stages.keys().collect();
    for stage in stages.into_iter().rev() {
        eliminate_in_stage(program, stage, &mut read);
    }
    read.remove_unread(program);
}

/// Which operands some call takes that is read.
fn live_operands(decl: &GroupsDecl, calls: &[bool]) -> Vec<bool> {
    let mut live = vec![false; decl.operands.len()];
    for (call, _) in decl.calls.iter().zip(calls).filter(|(_, read)| **read) {
        call.args.iter().chain(&call.filter).for_each(|operand| live[*operand] = true);
    }
    live
}

/// Which fields of states some stage reads: payload by join and by sort, accumulators and calls by group table.
struct ReadFields {
    joins: SecondaryMap<Join, Vec<bool>>,
    groups: SecondaryMap<Groups, Vec<bool>>,
    sorts: SecondaryMap<Sort, Vec<bool>>,
}

impl ReadFields {
    fn new(program: &Program) -> Self {
        let mut read = ReadFields { joins: SecondaryMap::new(), groups: SecondaryMap::new(), sorts: SecondaryMap::new() };
        for (join, decl) in program.joins.iter() {
            read.joins[join] = vec![false; decl.payload.len()];
        }
        for (groups, decl) in program.groups.iter() {
            read.groups[groups] = vec![false; decl.accs.len() + decl.calls.len()];
        }
        for (sort, decl) in program.sorts.iter() {
            read.sorts[sort] = vec![false; decl.payload.len()];
        }
        read
    }

    /// Drops unread fields from declarations, from the sinks that write them, and from what reads keep in their place.
    fn remove_unread(&self, program: &mut Program) {
        let keys_of = |program: &Program, join: Join| program.joins[join].keys.len();
        for stage in program.stages.keys().collect::<Vec<_>>() {
            let mut decl = program.stages[stage].clone();
            match decl.source {
                Source::Join(join, _) => retain_after(&mut decl.params, keys_of(program, join), &self.joins[join]),
                Source::Groups(groups) => retain_after(&mut decl.params, program.groups[groups].keys.len(), &self.groups[groups]),
                Source::Sort(sort) => retain_after(&mut decl.params, program.sorts[sort].keys.len(), &self.sorts[sort]),
                Source::Input { .. } => {}
            }
            for stmt in &mut decl.body {
                if let StmtKind::Probe(probe) = &mut stmt.kind {
                    retain_after(&mut probe.columns, keys_of(program, probe.join), &self.joins[probe.join]);
                }
            }
            match &mut decl.sink {
                Sink::Build { join, payload, .. } => retain_after(payload, 0, &self.joins[*join]),
                Sink::Group { groups, args, operands, .. } => {
                    let (accs, calls) = self.groups[*groups].split_at(args.len());
                    retain_after(operands, 0, &live_operands(&program.groups[*groups], calls));
                    retain_after(args, 0, accs);
                }
                Sink::Mark { probe } => retain_after(&mut probe.columns, keys_of(program, probe.join), &self.joins[probe.join]),
                Sink::Sort { sort, payload, .. } => retain_after(payload, 0, &self.sorts[*sort]),
                Sink::Hand { .. } | Sink::Emit { .. } => {}
            }
            program.stages[stage] = decl;
        }
        for (join, decl) in program.joins.iter_mut() {
            retain_after(&mut decl.payload, 0, &self.joins[join]);
        }
        for (sort, decl) in program.sorts.iter_mut() {
            retain_after(&mut decl.payload, 0, &self.sorts[sort]);
        }
        for (groups, decl) in program.groups.iter_mut() {
            let (accs, calls) = self.groups[groups].split_at(decl.accs.len());
            let live = live_operands(decl, calls);
            retain_after(&mut decl.operands, 0, &live);
            retain_after(&mut decl.calls, 0, calls);
            for operand in decl.calls.iter_mut().flat_map(|call| call.args.iter_mut().chain(&mut call.filter)) {
                *operand = live[..*operand].iter().filter(|live| **live).count();
            }
            retain_after(&mut decl.accs, 0, accs);
        }
    }
}

/// Keeps the items before `start`, of those from `start` on the ones that `keep` says, and all that come after them.
fn retain_after<T>(items: &mut Vec<T>, start: usize, keep: &[bool]) {
    let mut i: usize = 0;
    items.retain(|_| {
        i += 1;
        (i - 1).checked_sub(start).and_then(|i| keep.get(i)).copied().unwrap_or(true)
    });
}

fn eliminate_in_stage(program: &mut Program, stage: Stage, read: &mut ReadFields) {
    let mut live = EntitySet::new();
    let mut decl = program.stages[stage].clone();
    match &mut decl.sink {
        Sink::Build { join, keys, payload } => {
            live.extend(keys.iter().copied());
            let used = payload.iter().zip(&read.joins[*join]).filter(|(_, read)| **read);
            live.extend(used.map(|(value, _)| *value));
        }
        Sink::Mark { probe } => eliminate_in_probe(probe, program.joins[probe.join].keys.len(), &mut live, read),
        Sink::Group { groups, keys, args, operands } => {
            live.extend(keys.iter().copied());
            let used = args.iter().zip(&read.groups[*groups]).filter(|(_, read)| **read);
            live.extend(used.filter_map(|(value, _)| *value));
            let (_, calls) = read.groups[*groups].split_at(args.len());
            let used = operands.iter().zip(live_operands(&program.groups[*groups], calls)).filter(|(_, live)| *live);
            live.extend(used.map(|(value, _)| *value));
        }
        Sink::Sort { sort, keys, payload } => {
            live.extend(keys.iter().copied());
            let used = payload.iter().zip(&read.sorts[*sort]).filter(|(_, read)| **read);
            live.extend(used.map(|(value, _)| *value));
        }
        Sink::Hand { columns, .. } | Sink::Emit { columns } => live.extend(columns.iter().copied()),
    }
    let mut body: Vec<Stmt> = Vec::with_capacity(decl.body.len());
    for mut stmt in decl.body.drain(..).rev() {
        let keep = match &mut stmt.kind {
            StmtKind::Let(value, op) => keep_op(*value, op, &mut live),
            StmtKind::Filter(condition) => {
                live.insert(*condition);
                true
            }
            StmtKind::Probe(probe) => {
                eliminate_in_probe(probe, program.joins[probe.join].keys.len(), &mut live, read);
                true
            }
            StmtKind::Limit(_) | StmtKind::Expand(_) => true,
        };
        if keep {
            body.push(stmt);
        }
    }
    body.reverse();
    decl.body = body;
    // Columns of a table that the stage reads.
    match decl.source {
        Source::Join(join, _) => {
            let payload = decl.params.iter().skip(program.joins[join].keys.len());
            mark_read(&mut read.joins[join], payload.map(|value| live.contains(*value)));
        }
        Source::Groups(groups) => {
            let accs = decl.params.iter().skip(program.groups[groups].keys.len());
            mark_read(&mut read.groups[groups], accs.map(|value| live.contains(*value)));
        }
        Source::Sort(sort) => {
            let payload = decl.params.iter().skip(program.sorts[sort].keys.len());
            mark_read(&mut read.sorts[sort], payload.map(|value| live.contains(*value)));
        }
        Source::Input { .. } => {}
    }
    program.stages[stage] = decl;
}

fn mark_read(read: &mut [bool], live: impl Iterator<Item = bool>) {
    for (read, live) in read.iter_mut().zip(live) {
        *read |= live;
    }
}

fn eliminate_in_probe(probe: &mut Probe, keys: usize, live: &mut EntitySet<Value>, read: &mut ReadFields) {
    if let Some(region) = &mut probe.residual {
        eliminate_in_region(region, live);
    }
    for column in &mut probe.columns {
        *column = column.filter(|value| live.contains(*value));
    }
    mark_read(&mut read.joins[probe.join], probe.columns.iter().skip(keys).map(Option::is_some));
    live.extend(probe.keys.iter().copied());
}

fn eliminate_in_region(region: &mut Region, live: &mut EntitySet<Value>) {
    live.insert(region.result);
    let mut body = Vec::with_capacity(region.body.len());
    for (value, mut op) in region.body.drain(..).rev() {
        if keep_op(value, &mut op, live) {
            body.push((value, op));
        }
    }
    body.reverse();
    region.body = body;
}

/// Whether an operation is needed. If so, what it takes is live; what its regions do not need is removed.
fn keep_op(value: Value, op: &mut Op, live: &mut EntitySet<Value>) -> bool {
    if !live.contains(value) && !op.can_fail() {
        return false;
    }
    if let Op::If(condition, then, otherwise) = op {
        eliminate_in_region(then, live);
        eliminate_in_region(otherwise, live);
        live.insert(*condition);
    } else {
        op.for_each_operand(&mut |operand| {
            live.insert(operand);
        });
    }
    true
}
