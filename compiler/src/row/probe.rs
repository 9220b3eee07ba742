//! Look-ups in join tables.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{ENTRY_ROW_BITS, JoinHead, JoinSlot, SLOT_ADDRESS, WorkerHead};
use stagefuse_ir::layout::{JOIN_NEXT, RowLayout};
use stagefuse_ir::{EntityRef, Probe, ProbeKind, Repr, Type};

use crate::error::Result;
use crate::source::Origin;
use crate::stage::Gen;
use crate::value::Val;

/// Where a branch goes, and what it takes along.
type Target = (Block, Vec<ClifValue>);

impl Gen<'_> {
    /// A probe as a row operation: what follows is generated once, as the body of the loop over the matches or behind it.
    pub(crate) fn probe(&mut self, probe: &Probe) -> Result<()> {
        let outside = self.next;
        let kind = probe.kind;
        // The loop over the chain; `found` tells whether an earlier entry matched.
        let (chain, test, ended, advance) = (self.block(), self.block(), self.block(), self.block());
        let entry = self.b.append_block_param(chain, types::I64);
        let found = self.b.append_block_param(chain, types::I8);
        let advance_found = self.b.append_block_param(advance, types::I8);
        // Where the rest of the pipeline begins: with a match's entry (0: a row of nulls), or with the mark.
        let follow = self.block();
        let param = match kind {
            ProbeKind::Inner | ProbeKind::Outer => Some(self.b.append_block_param(follow, types::I64)),
            ProbeKind::Mark => Some(self.b.append_block_param(follow, types::I8)),
            ProbeKind::Semi | ProbeKind::Anti => None,
        };
        let missed = match kind {
            ProbeKind::Inner | ProbeKind::Semi => (outside, vec![]),
            ProbeKind::Anti => (follow, vec![]),
            ProbeKind::Outer => (follow, vec![self.iconst(types::I64, 0)]),
            ProbeKind::Mark => (follow, vec![self.iconst(types::I8, 0)]),
        };
        // Of a directly addressed table an element that is not 0 is a match, and nobody looks at the entry.
        let sure = (probe.residual.is_none() && !probe.marks_build).then_some(match kind {
            ProbeKind::Semi => Some((follow, vec![])),
            ProbeKind::Anti => Some((outside, vec![])),
            ProbeKind::Mark => Some((follow, vec![self.iconst(types::I8, 1)])),
            ProbeKind::Inner | ProbeKind::Outer => None,
        });
        let (first, hash) = self.chain_head(probe, &missed, sure.flatten().as_ref())?;
        let no = self.iconst(types::I8, 0);
        self.jump(chain, &[first, no]);

        self.b.switch_to_block(chain);
        self.b.ins().brif(entry, test, &[], ended, &[]);
        self.b.switch_to_block(ended);
        let missed = match kind {
            ProbeKind::Inner => None,
            ProbeKind::Outer => Some(vec![self.iconst(types::I64, 0)]),
            ProbeKind::Anti => Some(vec![]),
            ProbeKind::Mark | ProbeKind::Semi => None,
        };
        match (missed, kind) {
            (Some(args), _) => {
                let args: Vec<_> = args.into_iter().map(Into::into).collect();
                self.b.ins().brif(found, outside, &[], follow, &args);
            }
            (None, ProbeKind::Mark) => self.jump(follow, &[found]),
            // Only probes that mark the build side go through the whole chain of a match.
            (None, ProbeKind::Semi) => {
                self.b.ins().brif(found, follow, &[], outside, &[]);
            }
            (None, _) => self.jump(outside, &[]),
        }

        self.b.switch_to_block(advance);
        let following = self.load(types::I64, entry, JOIN_NEXT as usize);
        self.jump(chain, &[following, advance_found]);

        self.b.switch_to_block(test);
        let differs = self.block();
        self.enter_scope();
        self.match_entry(probe, entry, hash, differs)?;
        self.leave_scope();
        let yes = self.iconst(types::I8, 1);
        match kind {
            ProbeKind::Inner | ProbeKind::Outer => self.jump(follow, &[entry]),
            _ if probe.marks_build => self.jump(advance, &[yes]),
            ProbeKind::Semi => self.jump(follow, &[]),
            ProbeKind::Anti => self.jump(outside, &[]),
            ProbeKind::Mark => self.jump(follow, &[yes]),
        }
        self.b.switch_to_block(differs);
        self.jump(advance, &[found]);

        // The rest of the pipeline, and where its rows go when they are done.
        let layout = RowLayout::join(&self.program.joins[probe.join]);
        match (kind, param) {
            (ProbeKind::Inner, Some(matched)) => {
                let next = self.block();
                self.b.switch_to_block(next);
                let yes = self.iconst(types::I8, 1);
                self.jump(advance, &[yes]);
                self.next = next;
                self.b.switch_to_block(follow);
                self.join_columns(probe, &layout, matched, None);
            }
            (ProbeKind::Outer, Some(matched)) => {
                let (next, again) = (self.block(), self.block());
                self.b.switch_to_block(next);
                self.b.ins().brif(matched, again, &[], outside, &[]);
                self.b.switch_to_block(again);
                // Not `advance`: `entry` is that of the chain, which a row of nulls is behind.
                let following = self.load(types::I64, matched, JOIN_NEXT as usize);
                let yes = self.iconst(types::I8, 1);
                self.jump(chain, &[following, yes]);
                self.next = next;
                self.b.switch_to_block(follow);
                let present = self.b.ins().icmp_imm_s(IntCC::NotEqual, matched, 0);
                let nulls = self.stack(layout.stride);
                let readable = self.b.ins().select(present, matched, nulls);
                self.join_columns(probe, &layout, readable, Some(present));
            }
            (_, mark) => {
                self.b.switch_to_block(follow);
                if let (Some(value), Some(mark)) = (probe.mark, mark) {
                    self.define(value, Val::new(mark));
                }
            }
        }
        Ok(())
    }

    /// A probe as a sink: marks what matches.
    pub(crate) fn mark(&mut self, probe: &Probe) -> Result<()> {
        let outside = self.next;
        let (chain, test, differs) = (self.block(), self.block(), self.block());
        let entry = self.b.append_block_param(chain, types::I64);
        let (first, hash) = self.chain_head(probe, &(outside, vec![]), None)?;
        self.jump(chain, &[first]);
        self.b.switch_to_block(chain);
        self.b.ins().brif(entry, test, &[], outside, &[]);
        self.b.switch_to_block(test);
        self.enter_scope();
        self.match_entry(probe, entry, hash, differs)?;
        self.leave_scope();
        self.jump(differs, &[]);
        self.b.switch_to_block(differs);
        let following = self.load(types::I64, entry, JOIN_NEXT as usize);
        self.jump(chain, &[following]);
        Ok(())
    }

    /// The first entry of the chain that may hold matches, and the keys' hash (none where a numeric key makes it unneeded). A row that has
    /// no match for certain branches to `missed`; one that has a match for certain to `sure`, if that is given. Null keys
    /// that match nothing have none.
    fn chain_head(&mut self, probe: &Probe, missed: &Target, sure: Option<&Target>) -> Result<(ClifValue, Option<ClifValue>)> {
        let decl = &self.program.joins[probe.join];
        let layout = RowLayout::join(decl);
        let keys = self.keys(&probe.keys)?;
        // Ahead of every branch: entries compare it, whichever way led to them.
        let hash = if layout.numeric { None } else { Some(self.hash(&keys)?) };
        // Where the table's key is never null, a null is equal to none of its keys: an element that a number leads to would not tell.
        let sought = keys.iter().zip(&decl.keys).filter(|(_, field)| !(decl.null_equal && field.nullable));
        for valid in sought.filter_map(|((key, _), _)| key.valid).collect::<Vec<_>>() {
            self.go_on_or(valid, missed);
        }
        let slots = self.head(offset_of!(WorkerHead, joins));
        let table = self.load_fixed(types::I64, slots, probe.join.index() * size_of::<JoinSlot>() + offset_of!(JoinSlot, table));
        let (hashed, chained) = (self.block(), self.block());
        let entry = self.b.append_block_param(chained, types::I64);
        let word = if layout.numeric {
            let direct = self.block();
            let first = self.load_fixed(types::I64, table, offset_of!(JoinHead, first));
            let range = self.load_fixed(types::I64, table, offset_of!(JoinHead, range));
            let number = self.numeric_key(&keys[0].0);
            let at = self.b.ins().isub(number, first);
            let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, at, range);
            self.b.ins().brif(inside, direct, &[], hashed, &[]);
            self.b.switch_to_block(direct);
            let elements = self.load_fixed(types::I64, table, offset_of!(JoinHead, direct));
            let offset = self.b.ins().ishl_imm_s(at, 2);
            let element_at = self.b.ins().iadd(elements, offset);
            let element = self.load(types::I32, element_at, 0);
            self.go_on_or(element, missed);
            match sure {
                Some((block, args)) => self.jump(*block, args),
                None => {
                    let entry = self.entry_of_number(table, element, layout.stride);
                    self.jump(chained, &[entry]);
                }
            }
            self.b.switch_to_block(hashed);
            self.slot_word(table, at, &keys)?
        } else {
            self.jump(hashed, &[]);
            self.b.switch_to_block(hashed);
            match hash {
                Some(hash) => hash,
                None => self.hash(&keys)?,
            }
        };
        let directory = self.load_fixed(types::I64, table, offset_of!(JoinHead, directory));
        let mask = self.load_fixed(types::I64, table, offset_of!(JoinHead, mask));
        let at = self.b.ins().band(word, mask);
        let at = self.b.ins().ishl_imm_s(at, 3);
        let at = self.b.ins().iadd(directory, at);
        let slot = self.load(types::I64, at, 0);
        let tag = self.b.ins().ushr_imm_s(word, 60);
        let tag = self.b.ins().iadd_imm_s(tag, 48);
        let bit = self.b.ins().ushr(slot, tag);
        let maybe = self.b.ins().band_imm_s(bit, 1);
        // A row without a match ends here; this branch is the one that most probes take.
        self.go_on_or(maybe, missed);
        let address = self.iconst(types::I64, i128::from(SLOT_ADDRESS));
        let first = self.b.ins().band(slot, address);
        self.jump(chained, &[first]);
        self.b.switch_to_block(chained);
        Ok((entry, hash))
    }

    /// What finds the slot of a numeric key, which lies `at` behind the table's first: where it is in their order, or its hash.
    fn slot_word(&mut self, table: ClifValue, at: ClifValue, keys: &[(Val, Type)]) -> Result<ClifValue> {
        let (ordered, hashed, found) = (self.block(), self.block(), self.block());
        let word = self.b.append_block_param(found, types::I64);
        let turn = self.load_fixed(types::I64, table, offset_of!(JoinHead, turn));
        self.b.ins().brif(turn, ordered, &[], hashed, &[]);
        self.b.switch_to_block(ordered);
        let place = self.b.ins().rotr(at, turn);
        self.jump(found, &[place]);
        self.b.switch_to_block(hashed);
        let hash = self.hash(keys)?;
        self.jump(found, &[hash]);
        self.b.switch_to_block(found);
        Ok(word)
    }

    /// The address of an entry of a directly addressed table.
    fn entry_of_number(&mut self, table: ClifValue, element: ClifValue, stride: u32) -> ClifValue {
        let number = self.b.ins().iadd_imm_s(element, -1);
        let number = self.b.ins().uextend(types::I64, number);
        let buffer = self.b.ins().ushr_imm_s(number, i64::from(ENTRY_ROW_BITS));
        let bases = self.load_fixed(types::I64, table, offset_of!(JoinHead, bases));
        let base_at = self.b.ins().ishl_imm_s(buffer, 3);
        let base_at = self.b.ins().iadd(bases, base_at);
        let base = self.load(types::I64, base_at, 0);
        let row = self.b.ins().band_imm_s(number, (1 << ENTRY_ROW_BITS) - 1);
        let offset = self.b.ins().imul_imm_s(row, i64::from(stride));
        self.b.ins().iadd(base, offset)
    }

    /// Goes on where an integer is not 0, else branches.
    fn go_on_or(&mut self, condition: ClifValue, (block, args): &Target) {
        let good = self.block();
        let args: Vec<_> = args.iter().map(|arg| (*arg).into()).collect();
        self.b.ins().brif(condition, good, &[], *block, &args);
        self.b.switch_to_block(good);
    }

    /// Goes on where the entry matches, marked if it has to be, else to `differs`.
    fn match_entry(&mut self, probe: &Probe, entry: ClifValue, hash: Option<ClifValue>, differs: Block) -> Result<()> {
        let layout = RowLayout::join(&self.program.joins[probe.join]);
        let keys = self.keys(&probe.keys)?;
        if let (Some(hash), Some(offset)) = (hash, layout.hash)
            && keys.iter().any(|(_, ty)| ty.repr == Repr::Str)
        {
            // Long texts are often alike in length and beginning: the hash spares the call that compares the rest.
            let theirs = self.load_row(types::I64, entry, offset as usize);
            let same = self.b.ins().icmp(IntCC::Equal, theirs, hash);
            self.go_on_if(same, differs);
        }
        for ((key, ty), field) in keys.iter().zip(&layout.fields) {
            self.match_key(key, ty, entry, field, differs)?;
        }
        if let Some(region) = &probe.residual {
            self.join_columns(probe, &layout, entry, None);
            for (value, op) in &region.body {
                let val = self.op(*value, op)?;
                self.define(*value, val);
            }
            let condition = self.condition(region.result)?;
            self.go_on_if(condition, differs);
        }
        if probe.marks_build
            && let Some(offset) = layout.matched
        {
            // Reading first keeps the cache line shared between workers once it is marked.
            let (set, marked) = (self.block(), self.block());
            let matched = self.load(types::I8, entry, offset as usize);
            self.b.ins().brif(matched, marked, &[], set, &[]);
            self.b.switch_to_block(set);
            let yes = self.iconst(types::I8, 1);
            self.store(yes, entry, offset as usize);
            self.jump(marked, &[]);
            self.b.switch_to_block(marked);
        }
        Ok(())
    }

    fn join_columns(&mut self, probe: &Probe, layout: &RowLayout, entry: ClifValue, present: Option<ClifValue>) {
        for (value, field) in probe.columns.iter().zip(&layout.fields) {
            if let Some(value) = value {
                self.origins.insert(*value, Origin::Field { entry, field: *field, present });
            }
        }
    }
}
