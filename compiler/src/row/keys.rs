//! Keys of tables: hashing, comparison with an entry, writing into one.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{Builtin, HASH_ALL, HASH_K, HASH_NULL, HASH_SEED};
use stagefuse_ir::layout::Field;
use stagefuse_ir::{Repr, Type, Value};

use crate::error::Result;
use crate::stage::Gen;
use crate::value::{Val, clif_type};

impl Gen<'_> {
    /// The keys in registers; text with addresses.
    pub(crate) fn keys(&mut self, keys: &[Value]) -> Result<Vec<(Val, Type)>> {
        keys.iter().map(|key| Ok((self.get_text(*key)?, self.ty(*key)))).collect()
    }

    /// The hash of keys, as [`stagefuse_ir::abi::hash_word`] defines it.
    pub(crate) fn hash(&mut self, keys: &[(Val, Type)]) -> Result<ClifValue> {
        let mut hash = self.iconst(types::I64, i128::from(HASH_SEED));
        for (key, ty) in keys {
            let (mut w0, mut w1) = self.hash_words(key, ty)?;
            if let Some(valid) = key.valid {
                let null = self.iconst(types::I64, i128::from(HASH_NULL));
                let zero = self.iconst(types::I64, 0);
                w0 = self.b.ins().select(valid, w0, null);
                w1 = w1.map(|w1| self.b.ins().select(valid, w1, zero));
            }
            let factor = match w1 {
                Some(w1) => {
                    let k = self.iconst(types::I64, i128::from(HASH_K));
                    self.b.ins().bxor(w1, k)
                }
                None => self.iconst(types::I64, i128::from(HASH_K)),
            };
            let mixed = self.b.ins().bxor(hash, w0);
            let lo = self.b.ins().imul(mixed, factor);
            let hi = self.b.ins().umulhi(mixed, factor);
            hash = self.b.ins().bxor(lo, hi);
        }
        if self.hash_mask != HASH_ALL {
            let mask = self.iconst(types::I64, i128::from(self.hash_mask));
            hash = self.b.ins().band(hash, mask);
        }
        Ok(hash)
    }

    /// A numeric key as 64 bits.
    pub(crate) fn numeric_key(&mut self, key: &Val) -> ClifValue {
        if self.b.func.dfg.value_type(key.a) == types::I64 { key.a } else { self.b.ins().sextend(types::I64, key.a) }
    }

    fn hash_words(&mut self, key: &Val, ty: &Type) -> Result<(ClifValue, Option<ClifValue>)> {
        Ok(match ty.repr {
            Repr::I64 => (key.a, None),
            Repr::Bool | Repr::I8 | Repr::I16 | Repr::I32 => (self.b.ins().sextend(types::I64, key.a), None),
            Repr::I128 => {
                let (lo, hi) = self.b.ins().isplit(key.a);
                (lo, Some(hi))
            }
            Repr::F32 => {
                let bits = self.b.ins().bitcast(types::I32, cranelift_codegen::ir::MemFlagsData::new(), key.a);
                (self.b.ins().uextend(types::I64, bits), None)
            }
            Repr::F64 => (self.b.ins().bitcast(types::I64, cranelift_codegen::ir::MemFlagsData::new(), key.a), None),
            Repr::Str => {
                let hi = key.b.expect("text has two words");
                let short = self.is_short(key.a);
                let (long, done) = (self.block(), self.block());
                let word = self.b.append_block_param(done, types::I64);
                self.b.ins().brif(short, done, &[hi.into()], long, &[]);
                self.b.switch_to_block(long);
                let folded = self.folded_text(key.a, hi);
                self.jump(done, &[folded]);
                self.b.switch_to_block(done);
                (key.a, Some(word))
            }
        })
    }

    /// What stands for a long text's second word in a hash: see [`stagefuse_ir::abi::fold_text`].
    fn folded_text(&mut self, lo: ClifValue, address: ClifValue) -> ClifValue {
        let length = self.text_length(lo);
        let behind = self.b.ins().iadd_imm_s(length, -8);
        let half = self.b.ins().ushr_imm_s(behind, 1);
        let (middle_at, last_at) = (self.b.ins().iadd(address, half), self.b.ins().iadd(address, behind));
        let second = self.load(types::I64, address, 4);
        let middle = self.load(types::I64, middle_at, 0);
        let last = self.load(types::I64, last_at, 0);
        let middle = self.b.ins().rotl_imm_s(middle, 21);
        let last = self.b.ins().rotl_imm_s(last, 43);
        let folded = self.b.ins().bxor(second, middle);
        self.b.ins().bxor(folded, last)
    }

    /// Goes on where a key equals a field of an entry, else to `differs`. Nulls are equal to each other; where a null must not match, drop it before.
    pub(crate) fn match_key(&mut self, key: &Val, ty: &Type, entry: ClifValue, field: &Field, differs: Block) -> Result<()> {
        if let Some(offset) = field.valid.filter(|_| field.ty.nullable) {
            let theirs = self.load(types::I8, entry, offset as usize);
            let ours = self.validity(key.valid);
            let same = self.b.ins().icmp(IntCC::Equal, ours, theirs);
            self.go_on_if(same, differs);
        } else if let Some(valid) = key.valid {
            self.go_on_if(valid, differs);
        }
        // A null's value is arbitrary in a register, but zero in an entry.
        let a = match key.valid {
            Some(valid) if ty.repr != Repr::Str => {
                let zero = self.zero(ty.repr);
                self.b.ins().select(valid, key.a, zero)
            }
            _ => key.a,
        };
        let theirs = self.load(clif_type(ty.repr), entry, field.offset as usize);
        let same = match ty.repr {
            Repr::F32 | Repr::F64 => {
                let bits = if ty.repr == Repr::F32 { types::I32 } else { types::I64 };
                let a = self.b.ins().bitcast(bits, cranelift_codegen::ir::MemFlagsData::new(), a);
                let theirs = self.b.ins().bitcast(bits, cranelift_codegen::ir::MemFlagsData::new(), theirs);
                self.b.ins().icmp(IntCC::Equal, a, theirs)
            }
            _ => self.b.ins().icmp(IntCC::Equal, a, theirs),
        };
        self.go_on_if(same, differs);
        if ty.repr == Repr::Str {
            let theirs_b = self.load(types::I64, entry, field.offset as usize + 8);
            let same = self.same_tail(a, key.b.expect("text has two words"), theirs_b)?;
            self.go_on_if(same, differs);
        }
        Ok(())
    }

    /// Whether two texts with equal first words are equal, as a byte.
    pub(crate) fn same_tail(&mut self, lo: ClifValue, a: ClifValue, b: ClifValue) -> Result<ClifValue> {
        let short = self.is_short(lo);
        let (long, done) = (self.block(), self.block());
        let result = self.b.append_block_param(done, types::I8);
        let same = self.b.ins().icmp(IntCC::Equal, a, b);
        self.b.ins().brif(short, done, &[same.into()], long, &[]);
        self.b.set_cold_block(long);
        self.b.switch_to_block(long);
        let length = self.text_length(lo);
        let same = self.call(Builtin::bytes_equal, &[a, b, length])?;
        let same = self.b.ins().ireduce(types::I8, same);
        self.jump(done, &[same]);
        self.b.switch_to_block(done);
        Ok(result)
    }

    pub(crate) fn go_on_if(&mut self, condition: ClifValue, otherwise: Block) {
        let good = self.block();
        self.b.ins().brif(condition, good, &[], otherwise, &[]);
        self.b.switch_to_block(good);
    }

    /// Zero of a representation; of text a zero word.
    pub(crate) fn zero(&mut self, repr: Repr) -> ClifValue {
        match repr {
            Repr::F32 => self.b.ins().f32const(0.0),
            Repr::F64 => self.b.ins().f64const(0.0),
            other => self.iconst(clif_type(other), 0),
        }
    }

    /// Writes a value into a field of a new entry. Nulls are zero; long text is copied into the worker's arena.
    pub(crate) fn write_field(&mut self, val: &Val, ty: &Type, entry: ClifValue, field: &Field) -> Result<()> {
        if let Some(offset) = field.valid {
            let valid = self.validity(val.valid);
            self.store(valid, entry, offset as usize);
        }
        if ty.repr == Repr::Str {
            let hi = val.b.expect("text has two words");
            let hi = if val.pinned { hi } else { self.interned(val.a, hi)? };
            self.store(val.a, entry, field.offset as usize);
            self.store(hi, entry, field.offset as usize + 8);
            return Ok(());
        }
        let a = match val.valid {
            Some(valid) => {
                let zero = self.zero(ty.repr);
                self.b.ins().select(valid, val.a, zero)
            }
            None => val.a,
        };
        self.store(a, entry, field.offset as usize);
        Ok(())
    }

    /// The second word of a text that outlives the morsel.
    pub(crate) fn interned(&mut self, lo: ClifValue, hi: ClifValue) -> Result<ClifValue> {
        let short = self.is_short(lo);
        let (long, done) = (self.block(), self.block());
        let word = self.b.append_block_param(done, types::I64);
        self.b.ins().brif(short, done, &[hi.into()], long, &[]);
        self.b.set_cold_block(long);
        self.b.switch_to_block(long);
        let copy = self.call(Builtin::str_intern, &[self.worker, lo, hi])?;
        self.jump(done, &[copy]);
        self.b.switch_to_block(done);
        Ok(word)
    }
}
