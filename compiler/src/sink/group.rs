//! Groups and their accumulators.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type as ClifType, Value as ClifValue, types};
use cranelift_frontend::Variable;
use stagefuse_ir::abi::{Builtin, GroupsHead, SLOT_ADDRESS, WorkerHead};
use stagefuse_ir::layout::{CodedKeys, Field, RowLayout, coded_keys, may_spread};
use stagefuse_ir::{AccDecl, AccOp, BinaryOp, EntityRef, Groups, Repr, Sink, SqlType, Type, Value};

use crate::error::{Result, unsupported};
use crate::stage::Gen;
use crate::value::{Val, clif_type};

/// Most registers that accumulators are held in; more would only be moved to the stack and back.
const HELD_WORDS: u32 = 8;

/// An accumulator of the only group, in registers while the function runs.
pub(crate) struct Held {
    field: Field,
    value: Variable,
    /// Whether a value has come that is not null.
    seen: Option<Variable>,
}

/// Where an accumulator is.
struct Place {
    entry: ClifValue,
    field: Field,
    /// Its variables, where it is held in registers.
    held: Option<(Variable, Option<Variable>)>,
}

impl Gen<'_> {
    /// Loads the accumulators of a sink without keys into registers ahead of the loops: in memory, each row would wait for the store of the
    /// one before. Not where they are many, and not least and greatest values, which are seldom stored.
    pub(crate) fn hold_accumulators(&mut self) {
        let Sink::Group { groups, keys, .. } = &self.decl.sink else { return };
        let decl = &self.program.groups[*groups];
        let words = |acc: &AccDecl| 1 + u32::from(acc.ty.repr == Repr::I128);
        let sums = |acc: &AccDecl| matches!(acc.op, AccOp::CountRows | AccOp::Count | AccOp::Sum | AccOp::BitOr | AccOp::BitXor);
        let held: u32 = decl.accs.iter().filter(|acc| sums(acc)).map(words).sum();
        if !keys.is_empty() || !self.parts.is_empty() || held > HELD_WORDS {
            return;
        }
        let layout = RowLayout::groups(decl);
        let entry = self.only_entry(*groups, &layout);
        for (acc, field) in decl.accs.iter().zip(&layout.fields) {
            let held = sums(acc).then(|| {
                let value = self.hold(clif_type(field.ty.repr), entry, field.offset);
                Held { field: *field, value, seen: field.valid.map(|offset| self.hold(types::I8, entry, offset)) }
            });
            self.held.push(held);
        }
    }

    fn hold(&mut self, ty: ClifType, entry: ClifValue, offset: u32) -> Variable {
        let variable = self.b.declare_var(ty);
        let value = self.load(ty, entry, offset as usize);
        self.b.def_var(variable, value);
        variable
    }

    /// Stores what is held, at the end of the function.
    pub(crate) fn store_held(&mut self) {
        let (Sink::Group { groups, .. }, false) = (&self.decl.sink, self.held.is_empty()) else { return };
        let layout = RowLayout::groups(&self.program.groups[*groups]);
        let entry = self.only_entry(*groups, &layout);
        for held in std::mem::take(&mut self.held).into_iter().flatten() {
            let value = self.b.use_var(held.value);
            self.store(value, entry, held.field.offset as usize);
            if let (Some(seen), Some(offset)) = (held.seen, held.field.valid) {
                let seen = self.b.use_var(seen);
                self.store(seen, entry, offset as usize);
            }
        }
    }

    /// The entry of the only group of a table without keys.
    fn only_entry(&mut self, groups: Groups, layout: &RowLayout) -> ClifValue {
        let head = self.head_element(offset_of!(WorkerHead, groups), groups.index());
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        self.b.ins().iadd_imm_s(entries, i64::from(layout.stride))
    }

    /// Accumulates the row into its group.
    pub(crate) fn group(&mut self, groups: Groups, keys: &[Value], args: &[Option<Value>], operands: &[Value]) -> Result<()> {
        let decl = &self.program.groups[groups];
        let layout = RowLayout::groups(decl);
        // A part behind the first has values, but no columns whose codes it could read.
        let coded = coded_keys(self.program, self.stage).filter(|_| !self.columns.is_empty());
        // Where codes find the group, the keys are read for new groups only.
        if coded.is_none() {
            self.keys(keys)?;
        }
        let mut arg_vals = vec![];
        for arg in args {
            arg_vals.push(match arg {
                Some(arg) => Some((self.get_text(*arg)?, self.ty(*arg))),
                None => None,
            });
        }
        // Ahead of the search for the group: its blocks must not be the only ones where they are computed.
        self.keys(operands)?;
        let entry = if keys.is_empty() {
            self.only_entry(groups, &layout)
        } else {
            let head = self.head_element(offset_of!(WorkerHead, groups), groups.index());
            match coded {
                Some(coded) => self.find_coded(groups, &layout, head, keys, &coded)?,
                None => {
                    let keys = self.keys(keys)?;
                    self.find_group(groups, &layout, head, &keys)?
                }
            }
        };
        for (number, ((acc, field), arg)) in decl.accs.iter().zip(&layout.fields[layout.keys..]).zip(arg_vals).enumerate() {
            let held = self.held.get(number).and_then(Option::as_ref).map(|held| (held.value, held.seen));
            let place = Place { entry, field: *field, held };
            self.accumulate(acc.op, &place, arg)?;
        }
        if operands.is_empty() { Ok(()) } else { self.hand_over(groups, entry, operands) }
    }

    /// The entry of the keys' group, by their codes: in the front table, or else found and noted there.
    fn find_coded(&mut self, groups: Groups, layout: &RowLayout, head: ClifValue, keys: &[Value], coded: &CodedKeys) -> Result<ClifValue> {
        let mut place = self.iconst(types::I64, 0);
        for (column, values) in &coded.columns {
            let code = self.load_code(*column);
            let before = self.b.ins().imul_imm_s(place, *values as i64);
            place = self.b.ins().iadd(before, code);
        }
        let front = self.load_fixed(types::I64, head, offset_of!(GroupsHead, front));
        let offset = self.b.ins().ishl_imm_s(place, 3);
        let at = self.b.ins().iadd(front, offset);
        let noted = self.load(types::I64, at, 0);
        let (known, unknown, found) = (self.block(), self.block(), self.block());
        let entry = self.b.append_block_param(found, types::I64);
        self.b.set_cold_block(unknown);
        self.b.ins().brif(noted, known, &[], unknown, &[]);
        self.b.switch_to_block(known);
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        let there = self.b.ins().iadd(entries, noted);
        self.jump(found, &[there]);
        self.b.switch_to_block(unknown);
        self.enter_scope();
        let keys = self.keys(keys)?;
        let looked_up = self.find_group(groups, layout, head, &keys)?;
        self.leave_scope();
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        let distance = self.b.ins().isub(looked_up, entries);
        self.store(distance, at, 0);
        self.jump(found, &[looked_up]);
        self.b.switch_to_block(found);
        Ok(entry)
    }

    /// The entry of the keys' group, added where it is new.
    fn find_group(&mut self, groups: Groups, layout: &RowLayout, head: ClifValue, keys: &[(Val, Type)]) -> Result<ClifValue> {
        let (hashed, insert, found) = (self.block(), self.block(), self.block());
        let entry = self.b.append_block_param(found, types::I64);
        let hash_of_new = self.b.append_block_param(insert, types::I64);
        let zero = self.iconst(types::I64, 0);
        let (number, valid) = if layout.numeric {
            let key = keys[0].0;
            let number = self.numeric_key(&key);
            let valid = self.validity(key.valid);
            let valid = self.b.ins().uextend(types::I32, valid);
            if let Some(valid) = key.valid {
                // A null has no number.
                self.go_on_if(valid, hashed);
            }
            let direct = self.block();
            let first = self.load(types::I64, head, offset_of!(GroupsHead, first));
            let range = self.load(types::I64, head, offset_of!(GroupsHead, range));
            let at = self.b.ins().isub(number, first);
            let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, at, range);
            self.b.ins().brif(inside, direct, &[], hashed, &[]);
            self.b.switch_to_block(direct);
            let elements = self.load(types::I64, head, offset_of!(GroupsHead, direct));
            if may_spread(&self.program.groups[groups]) {
                let (by_element, spread) = (self.block(), self.block());
                // Where groups are few, nothing else would wait for this way; where they are many, all wait for memory.
                self.b.set_cold_block(spread);
                self.b.ins().brif(elements, by_element, &[], spread, &[]);
                self.b.switch_to_block(spread);
                let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
                let entry_number = self.b.ins().iadd_imm_s(at, 1);
                let offset = self.b.ins().imul_imm_s(entry_number, i64::from(layout.stride));
                let there = self.b.ins().iadd(entries, offset);
                self.write_field(&key.with_valid(None), &keys[0].1, there, &layout.fields[0])?;
                self.jump(found, &[there]);
                self.b.switch_to_block(by_element);
            }
            let offset = self.b.ins().ishl_imm_s(at, 2);
            let element_at = self.b.ins().iadd(elements, offset);
            let element = self.load(types::I32, element_at, 0);
            let known = self.block();
            self.b.ins().brif(element, known, &[], insert, &[zero.into()]);
            self.b.switch_to_block(known);
            let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
            let element = self.b.ins().uextend(types::I64, element);
            let offset = self.b.ins().imul_imm_s(element, i64::from(layout.stride));
            let known = self.b.ins().iadd(entries, offset);
            self.jump(found, &[known]);
            (number, valid)
        } else {
            let none = self.iconst(types::I32, 0);
            self.jump(hashed, &[]);
            (zero, none)
        };
        self.b.switch_to_block(hashed);
        let hash = self.hash(keys)?;
        let slots = self.load(types::I64, head, offset_of!(GroupsHead, slots));
        let mask = self.load(types::I64, head, offset_of!(GroupsHead, mask));
        let address = self.iconst(types::I64, i128::from(SLOT_ADDRESS));
        let (probe, check, compare, differs) = (self.block(), self.block(), self.block(), self.block());
        let at = self.b.append_block_param(probe, types::I64);
        let first = self.b.ins().band(hash, mask);
        self.jump(probe, &[first]);

        self.b.switch_to_block(probe);
        let offset = self.b.ins().ishl_imm_s(at, 3);
        let slot_at = self.b.ins().iadd(slots, offset);
        let slot = self.load(types::I64, slot_at, 0);
        self.b.ins().brif(slot, check, &[], insert, &[hash.into()]);

        self.b.switch_to_block(check);
        let other = self.b.ins().bxor(slot, hash);
        let same_tag = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, other, address);
        self.b.ins().brif(same_tag, compare, &[], differs, &[]);

        self.b.switch_to_block(differs);
        let following = self.b.ins().iadd_imm_s(at, 1);
        let following = self.b.ins().band(following, mask);
        self.jump(probe, &[following]);

        self.b.switch_to_block(compare);
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        let offset = self.b.ins().band(slot, address);
        let known = self.b.ins().iadd(entries, offset);
        for ((key, ty), field) in keys.iter().zip(&layout.fields) {
            self.match_key(key, ty, known, field, differs)?;
        }
        self.jump(found, &[known]);

        self.b.set_cold_block(insert);
        self.b.switch_to_block(insert);
        let table = self.iconst(types::I32, groups.index() as i128);
        let new = self.call(Builtin::groups_insert, &[self.worker, table, hash_of_new, number, valid])?;
        self.fail_unless(new);
        for ((key, ty), field) in keys.iter().zip(&layout.fields) {
            self.write_field(key, ty, new, field)?;
        }
        self.jump(found, &[new]);
        self.b.switch_to_block(found);
        Ok(entry)
    }

    /// Buffers what the host's functions take.
    fn hand_over(&mut self, groups: Groups, entry: ClifValue, operands: &[Value]) -> Result<()> {
        let vals = self.keys(operands)?;
        // Adding a group may have moved the entries.
        let head = self.head_element(offset_of!(WorkerHead, groups), groups.index());
        let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
        let distance = self.b.ins().isub(entry, entries);
        let out = self.head_element(offset_of!(WorkerHead, operands), groups.index());
        let types = self.program.groups[groups].operands.clone();
        let columns =
            std::iter::once((Val::new(distance), Type::new(SqlType::UInt64, false))).chain(vals.into_iter().map(|(val, _)| val).zip(types));
        let number = self.iconst(types::I32, groups.index() as i128);
        self.append(out, columns.collect(), Builtin::operands_flush, &[number])
    }

    fn accumulate(&mut self, op: AccOp, place: &Place, arg: Option<(Val, Type)>) -> Result<()> {
        let Place { entry, field, .. } = place;
        let repr = field.ty.repr;
        match (op, arg) {
            (AccOp::CountRows, _) | (AccOp::Count, None) => {
                let count = self.read_acc(place);
                let count = self.b.ins().iadd_imm_s(count, 1);
                self.write_acc(place, count);
            }
            (AccOp::Count, Some((val, _))) => {
                let valid = self.validity(val.valid);
                let one = self.b.ins().uextend(types::I64, valid);
                let count = self.read_acc(place);
                let count = self.b.ins().iadd(count, one);
                self.write_acc(place, count);
            }
            (AccOp::BitOr | AccOp::BitXor, Some((val, _))) => {
                let bits = self.read_acc(place);
                let more = if op == AccOp::BitOr { self.b.ins().bor(bits, val.a) } else { self.b.ins().bxor(bits, val.a) };
                let new = match val.valid {
                    Some(valid) => self.b.ins().select(valid, more, bits),
                    None => more,
                };
                self.write_acc(place, new);
                self.see(place, val.valid);
            }
            (AccOp::Sum, Some((val, ty))) => {
                let sum = self.read_acc(place);
                let arg = if repr == Repr::I128 { self.wide(val.a) } else { val.a };
                if repr != Repr::I128 && ty.repr != repr {
                    return unsupported(format!("a sum of {ty} as {}", field.ty));
                }
                let is_float = repr == Repr::F64;
                let more = if is_float { self.b.ins().fadd(sum, arg) } else { self.b.ins().iadd(sum, arg) };
                let new = match val.valid {
                    Some(valid) => self.b.ins().select(valid, more, sum),
                    None => more,
                };
                self.write_acc(place, new);
                self.see(place, val.valid);
            }
            (AccOp::Min | AccOp::Max, Some((val, ty))) => self.extreme(op, *entry, field, val, ty)?,
            (AccOp::Sum | AccOp::BitOr | AccOp::BitXor | AccOp::Min | AccOp::Max, None) => {
                return unsupported(format!("{} without an argument", op.name()));
            }
        }
        Ok(())
    }

    fn read_acc(&mut self, place: &Place) -> ClifValue {
        match place.held {
            Some((value, _)) => self.b.use_var(value),
            None => self.load(clif_type(place.field.ty.repr), place.entry, place.field.offset as usize),
        }
    }

    fn write_acc(&mut self, place: &Place, new: ClifValue) {
        match place.held {
            Some((value, _)) => self.b.def_var(value, new),
            None => self.store(new, place.entry, place.field.offset as usize),
        }
    }

    /// Notes that a value that is not null has come.
    fn see(&mut self, place: &Place, valid: Option<ClifValue>) {
        let Some(offset) = place.field.valid else { return };
        let held = place.held.and_then(|(_, seen)| seen);
        let seen = match (valid, held) {
            (None, _) => self.iconst(types::I8, 1),
            (Some(valid), Some(held)) => {
                let before = self.b.use_var(held);
                self.b.ins().bor(before, valid)
            }
            (Some(valid), None) => {
                let before = self.load(types::I8, place.entry, offset as usize);
                self.b.ins().bor(before, valid)
            }
        };
        match held {
            Some(held) => self.b.def_var(held, seen),
            None => self.store(seen, place.entry, offset as usize),
        }
    }

    fn extreme(&mut self, op: AccOp, entry: ClifValue, field: &Field, val: Val, ty: Type) -> Result<()> {
        let (take, done, test) = (self.block(), self.block(), self.block());
        if let Some(valid) = val.valid {
            self.go_on_if(valid, done);
        }
        let offset = field.valid.expect("min and max have a validity byte") as usize;
        let seen = self.load(types::I8, entry, offset);
        self.b.ins().brif(seen, test, &[], take, &[]);
        self.b.switch_to_block(test);
        let a = self.load(clif_type(ty.repr), entry, field.offset as usize);
        let b = (ty.repr == Repr::Str).then(|| self.load(types::I64, entry, field.offset as usize + 8));
        let known = Val { a, b, valid: None, raw: None, pinned: true };
        let comparison = if op == AccOp::Min { BinaryOp::Lt } else { BinaryOp::Gt };
        let better = self.compare(comparison, val, ty, known, ty)?;
        self.b.ins().brif(better, take, &[], done, &[]);
        self.b.switch_to_block(take);
        self.write_field(&val.with_valid(None), &ty, entry, field)?;
        self.jump(done, &[]);
        self.b.switch_to_block(done);
        Ok(())
    }
}
