//! Groups and their accumulators.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, GroupsHead, SLOT_ADDRESS, WorkerHead};
use stagefuse_ir::layout::{CodedKeys, Field, RowLayout, coded_keys};
use stagefuse_ir::{AccOp, BinaryOp, EntityRef, Groups, Repr, Type, Value};

use crate::error::{Result, unsupported};
use crate::stage::Gen;
use crate::value::{Val, clif_type};

impl Gen<'_> {
    /// Accumulates the row into its group.
    pub(crate) fn group(&mut self, groups: Groups, keys: &[Value], args: &[Option<Value>]) -> Result<()> {
        let decl = &self.program.groups[groups];
        let layout = RowLayout::groups(decl);
        let coded = coded_keys(self.program, self.stage);
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
        let head = self.head_element(offset_of!(WorkerHead, groups), groups.index());
        let entry = if keys.is_empty() {
            let entries = self.load(types::I64, head, offset_of!(GroupsHead, entries));
            self.b.ins().iadd_imm_s(entries, i64::from(layout.stride))
        } else {
            match coded {
                Some(coded) => self.find_coded(groups, &layout, head, keys, &coded)?,
                None => {
                    let keys = self.keys(keys)?;
                    self.find_group(groups, &layout, head, &keys)?
                }
            }
        };
        for ((acc, field), arg) in decl.accs.iter().zip(&layout.fields[layout.keys..]).zip(arg_vals) {
            self.accumulate(acc.op, entry, field, arg)?;
        }
        Ok(())
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

    fn accumulate(&mut self, op: AccOp, entry: ClifValue, field: &Field, arg: Option<(Val, Type)>) -> Result<()> {
        let at = field.offset as usize;
        let repr = field.ty.repr;
        match (op, arg) {
            (AccOp::CountRows, _) | (AccOp::Count, None) => {
                let count = self.load(types::I64, entry, at);
                let count = self.b.ins().iadd_imm_s(count, 1);
                self.store(count, entry, at);
            }
            (AccOp::Count, Some((val, _))) => {
                let valid = self.validity(val.valid);
                let one = self.b.ins().uextend(types::I64, valid);
                let count = self.load(types::I64, entry, at);
                let count = self.b.ins().iadd(count, one);
                self.store(count, entry, at);
            }
            (AccOp::Sum, Some((val, ty))) => {
                let sum = self.load(clif_type(repr), entry, at);
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
                self.store(new, entry, at);
                self.see(entry, field, val.valid);
            }
            (AccOp::Min | AccOp::Max, Some((val, ty))) => self.extreme(op, entry, field, val, ty)?,
            (AccOp::Sum | AccOp::Min | AccOp::Max, None) => return unsupported(format!("{} without an argument", op.name())),
        }
        Ok(())
    }

    /// Notes that a value that is not null has come.
    fn see(&mut self, entry: ClifValue, field: &Field, valid: Option<ClifValue>) {
        let Some(offset) = field.valid else { return };
        let seen = match valid {
            None => self.iconst(types::I8, 1),
            Some(valid) => {
                let before = self.load(types::I8, entry, offset as usize);
                self.b.ins().bor(before, valid)
            }
        };
        self.store(seen, entry, offset as usize);
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
