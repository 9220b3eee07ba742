//! Where rows come from: columns of a batch, entries of a table.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as ClifValue, types};
use stagefuse_ir::abi::{ColumnView, Morsel, STR_INLINE};
use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{EntityRef, Input, JoinRows, Op, Repr, Source, StmtKind, Storage, Stored, Type, Value};

use crate::error::{Result, unsupported};
use crate::stage::Gen;
use crate::value::{Val, clif_type};

/// The addresses of a column, loaded once ahead of the loops.
#[derive(Copy, Clone)]
pub(crate) struct Column {
    values: ClifValue,
    validity: Option<(ClifValue, ClifValue)>,
    buffers: Option<ClifValue>,
    values_bit: Option<ClifValue>,
}

/// Where a value can be loaded from.
#[derive(Copy, Clone)]
pub(crate) enum Origin {
    /// A column of the batch, at the current row.
    Column(usize),
    /// A field of an entry. `maybe_null`: the entry's address may stand for a row of nulls, if this byte is 0.
    Field { entry: ClifValue, field: Field, present: Option<ClifValue> },
    /// A byte of an entry.
    Byte { entry: ClifValue, offset: u32 },
}

impl Gen<'_> {
    /// Layout of the table that the stage reads.
    pub(crate) fn source_layout(&self) -> Option<RowLayout> {
        match self.decl.source {
            Source::Input { .. } => None,
            Source::Groups(groups) => Some(RowLayout::groups(&self.program.groups[groups])),
            Source::Join(join, _) => Some(RowLayout::join(&self.program.joins[join])),
            Source::Sort(sort) => Some(RowLayout::sort(&self.program.sorts[sort])),
        }
    }

    /// Loads the addresses of columns that the stage uses.
    pub(crate) fn prepare_source(&mut self, morsel: ClifValue) {
        let Source::Input { .. } = self.decl.source else { return };
        let used = self.used_values();
        let views = self.load(types::I64, morsel, offset_of!(Morsel, columns));
        for (index, value) in self.decl.params.iter().enumerate() {
            self.origins.insert(*value, Origin::Column(index));
            if !used[value.index()] {
                self.columns.push(None);
                continue;
            }
            let ty = self.ty(*value);
            let at = index * size_of::<ColumnView>();
            let storage = ty.sql.storage();
            let values = self.load(types::I64, views, at + offset_of!(ColumnView, values));
            let buffers = (storage == Storage::View).then(|| self.load(types::I64, views, at + offset_of!(ColumnView, buffers)));
            let values_bit = (storage == Storage::Bits).then(|| self.load(types::I64, views, at + offset_of!(ColumnView, values_bit)));
            let validity = ty.nullable.then(|| {
                let bits = self.load(types::I64, views, at + offset_of!(ColumnView, validity));
                (bits, self.load(types::I64, views, at + offset_of!(ColumnView, validity_bit)))
            });
            self.columns.push(Some(Column { values, validity, buffers, values_bit }));
        }
    }

    fn used_values(&self) -> Vec<bool> {
        let mut used = vec![false; self.decl.values.len()];
        let mut mark = |value: Value| used[value.index()] = true;
        self.decl.body.iter().for_each(|stmt| stmt.kind.for_each_operand(&mut mark));
        self.decl.sink.for_each_operand(&mut mark);
        used
    }

    /// For sources that read entries: says where fields lie, and drops rows whose matched byte is not the wanted one.
    pub(crate) fn filter_matched(&mut self) -> Result<()> {
        let Some(layout) = self.source_layout() else { return Ok(()) };
        let entry = self.row;
        for (value, field) in self.decl.params.iter().zip(&layout.fields) {
            self.origins.insert(*value, Origin::Field { entry, field: *field, present: None });
        }
        if let (Source::Join(_, rows), Some(offset)) = (self.decl.source, layout.matched) {
            let wanted = match rows {
                JoinRows::All => {
                    self.origins.insert(self.decl.params[layout.fields.len()], Origin::Byte { entry, offset });
                    return Ok(());
                }
                JoinRows::Matched => true,
                JoinRows::Unmatched => false,
            };
            let matched = self.load(types::I8, entry, offset as usize);
            let keep = self.block();
            if wanted {
                self.b.ins().brif(matched, keep, &[], self.next, &[]);
            } else {
                self.b.ins().brif(matched, self.next, &[], keep, &[]);
            }
            self.b.switch_to_block(keep);
        }
        Ok(())
    }

    /// Number of statements at the start of the body that only filter on columns, by operations that neither fail nor call.
    pub(crate) fn leading_filters(&self) -> usize {
        let mut end = 0;
        for (index, stmt) in self.decl.body.iter().enumerate() {
            match &stmt.kind {
                StmtKind::Let(_, op) if self.is_inline(op) => {}
                StmtKind::Filter(_) => end = index + 1,
                _ => break,
            }
        }
        end
    }

    fn is_inline(&self, op: &Op) -> bool {
        let no_text = |values: &[&Value]| values.iter().all(|value| self.ty(**value).repr != Repr::Str);
        match op {
            Op::Literal(lit) => self.program.literals[*lit].ty.repr != Repr::Str || self.short_literal(*lit).is_some(),
            Op::Param(_) => true,
            Op::Unary(unary, a) => !unary.can_fail() && no_text(&[a]) && self.ty(*a).repr != Repr::I128,
            Op::Binary(binary, a, b) => !binary.can_fail() && (no_text(&[a, b]) || self.short_text_equality(*binary, *a, *b).is_some()),
            Op::In(a, lits) => lits.len() <= 8 && (no_text(&[a]) || lits.iter().all(|lit| self.short_literal(*lit).is_some())),
            Op::If(..) | Op::Like(..) | Op::Ilike(..) | Op::Substr(..) | Op::Call(..) | Op::Entry(..) | Op::Opaque(..) => false,
        }
    }

    /// Loads a value of the current row.
    pub(crate) fn load_origin(&mut self, origin: Origin, ty: Type) -> Result<Val> {
        Ok(match origin {
            Origin::Column(index) => self.load_column(index, ty),
            Origin::Byte { entry, offset } => Val::new(self.load(types::I8, entry, offset as usize)),
            Origin::Field { entry, field, present } => {
                let valid = ty.nullable.then_some(field.valid).flatten();
                let valid = valid.map(|offset| self.load_row(types::I8, entry, offset as usize));
                let valid = self.both(valid, present);
                let a = self.load_row(clif_type(ty.repr), entry, field.offset as usize);
                let b = (ty.repr == Repr::Str).then(|| self.load_row(types::I64, entry, field.offset as usize + 8));
                // Text of tables lies in arenas of the run.
                let val = Val { a, b, valid, raw: None, pinned: true };
                if present.is_some() { self.zero_null_text(val) } else { val }
            }
        })
    }

    /// Whether the host keeps a column's text until the run ends.
    fn is_pinned(&self, column: usize) -> bool {
        matches!(self.decl.source, Source::Input { input, .. } if self.program.inputs[input].is_pinned(column))
    }

    /// How a source column lies in the morsel.
    pub(crate) fn stored(&self, index: usize) -> Stored {
        match self.decl.source {
            Source::Input { input, .. } => self.program.inputs[input].stored[index],
            _ => Stored::Arrow,
        }
    }

    /// The address of a source column's first value.
    pub(crate) fn column_values(&self, index: usize) -> ClifValue {
        self.columns[index].expect("a column that is read counts as used").values
    }

    /// What is stored of a column that is no Arrow array, at the current row, as 64 bits.
    pub(crate) fn load_code(&mut self, index: usize) -> ClifValue {
        let bytes = self.stored(index).bytes(self.ty(self.decl.params[index]).sql);
        let (values, row) = (self.column_values(index), self.row);
        self.load_number(values, row, bytes)
    }

    fn load_column(&mut self, index: usize, ty: Type) -> Val {
        let column = self.columns[index].expect("a column that is read counts as used");
        let row = self.row;
        let valid = column.validity.map(|(bits, first)| self.load_bit(bits, first, row));
        match self.stored(index) {
            Stored::Arrow => {}
            Stored::Offset { base, span } => {
                let bytes = Stored::Offset { base, span }.bytes(ty.sql);
                let offset = self.load_number(column.values, row, bytes);
                let value = self.b.ins().iadd_imm_s(offset, base);
                let value = match clif_type(ty.repr) {
                    types::I128 => self.b.ins().sextend(types::I128, value),
                    types::I64 => value,
                    narrower => self.b.ins().ireduce(narrower, value),
                };
                return Val::new(value).with_valid(valid);
            }
            Stored::Word => {
                let value = self.load_number(column.values, row, 8);
                let value = if clif_type(ty.repr) == types::I128 { self.b.ins().sextend(types::I128, value) } else { value };
                return Val::new(value).with_valid(valid);
            }
            Stored::Dictionary { .. } => {
                let number = self.load_number(column.values, row, self.stored(index).bytes(ty.sql));
                let entries = column.buffers.expect("a dictionary has entries");
                return self.load_entry(entries, number, valid, self.is_pinned(index));
            }
        }
        match ty.sql.storage() {
            Storage::Bits => {
                let first = column.values_bit.expect("a column of bits has a bit number");
                Val::new(self.load_bit(column.values, first, row)).with_valid(valid)
            }
            // What stands for the address is the reference to the first row.
            Storage::Rows => Val::new(self.b.ins().iadd(column.values, row)).with_valid(valid),
            // A decimal held narrow is the low half of what lies there.
            Storage::Fixed(width) => {
                let offset = self.b.ins().imul_imm_s(row, i64::from(width));
                let at = self.b.ins().iadd(column.values, offset);
                Val::new(self.load_row(clif_type(ty.repr), at, 0)).with_valid(valid)
            }
            Storage::View => {
                let offset = self.b.ins().ishl_imm_s(row, 4);
                let at = self.b.ins().iadd(column.values, offset);
                let a = self.load_row(types::I64, at, 0);
                let b = self.load_row(types::I64, at, 8);
                self.zero_null_text(Val { a, b: Some(b), valid, raw: Some(index), pinned: self.is_pinned(index) })
            }
        }
    }

    /// The entry of a dictionary that has this number.
    fn load_entry(&mut self, entries: ClifValue, number: ClifValue, valid: Option<ClifValue>, pinned: bool) -> Val {
        let at = self.b.ins().ishl_imm_s(number, 4);
        let at = self.b.ins().iadd(entries, at);
        let a = self.load_row(types::I64, at, 0);
        let b = self.load_row(types::I64, at, 8);
        self.zero_null_text(Val { a, b: Some(b), valid, raw: None, pinned })
    }

    /// The text of a number, by the literal table, which says where a column's dictionary lies and which entry is the last.
    pub(crate) fn entry(&mut self, input: Input, column: u32, number: Value) -> Result<Val> {
        let number = self.get(number)?;
        let Some(place) = self.program.entries_at(input, column) else { return unsupported(format!("the dictionary of {input} {column}")) };
        let table = self.head(offset_of!(stagefuse_ir::abi::WorkerHead, literals));
        let entries = self.load_fixed(types::I64, table, place * 16);
        let last = self.load_fixed(types::I64, table, place * 16 + 8);
        let wide = self.b.ins().uextend(types::I64, number.a);
        let within = self.b.ins().umin(wide, last);
        Ok(self.load_entry(entries, within, number.valid, true))
    }

    /// A number without sign of row `row`, as 64 bits.
    fn load_number(&mut self, values: ClifValue, row: ClifValue, bytes: u32) -> ClifValue {
        let offset = if bytes == 1 { row } else { self.b.ins().ishl_imm_s(row, i64::from(bytes.trailing_zeros())) };
        let at = self.b.ins().iadd(values, offset);
        let ty = match bytes {
            1 => types::I8,
            2 => types::I16,
            4 => types::I32,
            _ => return self.load_row(types::I64, at, 0),
        };
        let number = self.load_row(ty, at, 0);
        self.b.ins().uextend(types::I64, number)
    }

    fn zero_null_text(&mut self, val: Val) -> Val {
        let (Some(b), Some(valid)) = (val.b, val.valid) else { return val };
        let zero = self.iconst(types::I64, 0);
        let a = self.b.ins().select(valid, val.a, zero);
        let b = self.b.ins().select(valid, b, zero);
        Val { a, b: Some(b), ..val }
    }

    fn load_bit(&mut self, bits: ClifValue, first: ClifValue, row: ClifValue) -> ClifValue {
        let bit = self.b.ins().iadd(first, row);
        let byte = self.b.ins().ushr_imm_s(bit, 3);
        let at = self.b.ins().iadd(bits, byte);
        let byte = self.load_row(types::I8, at, 0);
        let shift = self.b.ins().band_imm_s(bit, 7);
        let shift = self.b.ins().ireduce(types::I8, shift);
        let byte = self.b.ins().ushr(byte, shift);
        self.b.ins().band_imm_s(byte, 1)
    }

    /// Length of a text: the low half of its first word.
    pub(crate) fn text_length(&mut self, lo: ClifValue) -> ClifValue {
        let length = self.b.ins().ireduce(types::I32, lo);
        self.b.ins().uextend(types::I64, length)
    }

    /// Whether a text is held within its reference.
    pub(crate) fn is_short(&mut self, lo: ClifValue) -> ClifValue {
        let length = self.b.ins().ireduce(types::I32, lo);
        self.b.ins().icmp_imm_s(IntCC::UnsignedLessThanOrEqual, length, i64::from(STR_INLINE))
    }

    /// Turns the second word of a long view into an address.
    pub(crate) fn resolve(&mut self, val: Val) -> Val {
        let (Some(index), Some(hi)) = (val.raw, val.b) else { return val };
        let buffers = self.columns[index].and_then(|column| column.buffers).expect("a column of views has buffers");
        let short = self.is_short(val.a);
        let (long, done) = (self.block(), self.block());
        let b = self.b.append_block_param(done, types::I64);
        self.b.ins().brif(short, done, &[hi.into()], long, &[]);
        self.b.switch_to_block(long);
        let buffer = self.text_length(hi);
        let at = self.b.ins().ishl_imm_s(buffer, 3);
        let at = self.b.ins().iadd(buffers, at);
        // Not `load_row`: the view of a short text names no buffer.
        let base = self.load(types::I64, at, 0);
        let offset = self.b.ins().ushr_imm_s(hi, 32);
        let address = self.b.ins().iadd(base, offset);
        self.jump(done, &[address]);
        self.b.switch_to_block(done);
        Val { b: Some(b), raw: None, ..val }
    }
}
