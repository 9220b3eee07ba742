//! Look-ups in join tables.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{JoinHead, JoinSlot, SLOT_ADDRESS, WorkerHead};
use stagefuse_ir::layout::{JOIN_HASH, JOIN_NEXT, RowLayout};
use stagefuse_ir::{EntityRef, Probe, ProbeKind, Repr};

use crate::error::Result;
use crate::source::Origin;
use crate::stage::Gen;
use crate::value::Val;

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
        let (first, hash) = self.chain_head(probe, kind, outside, follow)?;
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
        let (first, hash) = self.chain_head(probe, ProbeKind::Inner, outside, outside)?;
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

    /// The first entry of the chain that may hold matches, and the keys' hash; 0 where the filter says that none does. Null keys that match nothing count as such.
    fn chain_head(&mut self, probe: &Probe, kind: ProbeKind, outside: Block, follow: Block) -> Result<(ClifValue, ClifValue)> {
        let keys = self.keys(&probe.keys)?;
        let hash = self.hash(&keys)?;
        let slots = self.head(offset_of!(WorkerHead, joins));
        let table = self.load_fixed(types::I64, slots, probe.join.index() * size_of::<JoinSlot>() + offset_of!(JoinSlot, table));
        let directory = self.load_fixed(types::I64, table, offset_of!(JoinHead, directory));
        let mask = self.load_fixed(types::I64, table, offset_of!(JoinHead, mask));
        let at = self.b.ins().band(hash, mask);
        let at = self.b.ins().ishl_imm_s(at, 3);
        let at = self.b.ins().iadd(directory, at);
        let slot = self.load(types::I64, at, 0);
        let tag = self.b.ins().ushr_imm_s(hash, 60);
        let tag = self.b.ins().iadd_imm_s(tag, 48);
        let bit = self.b.ins().ushr(slot, tag);
        let mut maybe = self.b.ins().band_imm_s(bit, 1);
        if !self.program.joins[probe.join].null_equal {
            for valid in keys.iter().filter_map(|(key, _)| key.valid) {
                let valid = self.b.ins().uextend(types::I64, valid);
                maybe = self.b.ins().band(maybe, valid);
            }
        }
        match kind {
            // A row without a match ends here; this branch is the one that most probes take.
            ProbeKind::Inner | ProbeKind::Semi => self.go_on_if(maybe, outside),
            ProbeKind::Anti => self.go_on_if(maybe, follow),
            ProbeKind::Outer | ProbeKind::Mark => {
                let address = self.iconst(types::I64, i128::from(SLOT_ADDRESS));
                let entry = self.b.ins().band(slot, address);
                let zero = self.iconst(types::I64, 0);
                return Ok((self.b.ins().select(maybe, entry, zero), hash));
            }
        }
        let address = self.iconst(types::I64, i128::from(SLOT_ADDRESS));
        Ok((self.b.ins().band(slot, address), hash))
    }

    /// Goes on where the entry matches, marked if it has to be, else to `differs`.
    fn match_entry(&mut self, probe: &Probe, entry: ClifValue, hash: ClifValue, differs: Block) -> Result<()> {
        let layout = RowLayout::join(&self.program.joins[probe.join]);
        let keys = self.keys(&probe.keys)?;
        if keys.iter().any(|(_, ty)| ty.repr == Repr::Str) {
            // Long texts are often alike in length and beginning: the hash spares the call that compares the rest.
            let theirs = self.load_row(types::I64, entry, JOIN_HASH as usize);
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
