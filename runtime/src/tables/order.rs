//! The order of a sort's rows.

use std::cmp::Ordering;

use stagefuse_ir::abi::{STR_INLINE, SortWord, StrRef, sort_word};
use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{Repr, SortDecl};

use crate::builtins::strings;

/// A key of the rows.
#[derive(Clone, Debug)]
struct Key {
    field: Field,
    kind: SortWord,
    descending: bool,
    nulls_first: bool,
    /// The least number that the key's values have in their order, and the bits that the others are greater by; of values that a number does not hold as a whole, 0 and 64.
    least: u64,
    bits: u32,
    /// Whether a bit tells nulls.
    flag: bool,
}

/// The numbers that some rows' values of a key have in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRange {
    least: u64,
    greatest: u64,
    nulls: bool,
}

/// Compares rows of a sort: by their words, in which as much of the keys is packed as there is room for, then by the keys themselves.
#[derive(Clone, Debug)]
pub(crate) struct RowOrder {
    keys: Vec<Key>,
    /// Keys that the word holds some bits of.
    packed: usize,
    /// The first key that the word does not hold as a whole.
    unpacked: usize,
    pub(crate) stride: usize,
}

impl RowOrder {
    pub(crate) fn new(decl: &SortDecl) -> Self {
        let layout = RowLayout::sort(decl);
        let keys = decl.keys.iter().zip(&layout.fields).map(|(key, field)| Key {
            field: *field,
            kind: SortWord::of(key.ty.sql),
            descending: key.descending,
            nulls_first: key.nulls_first,
            least: 0,
            bits: width(field.ty.repr).0,
            flag: field.valid.is_some(),
        });
        let mut order = RowOrder { keys: keys.collect(), packed: 0, unpacked: 0, stride: layout.stride as usize };
        order.pack();
        order
    }

    /// Notes which keys have room in the word.
    fn pack(&mut self) {
        (self.packed, self.unpacked) = (0, 0);
        let mut left = 64;
        for key in &self.keys {
            if left == 0 {
                break;
            }
            self.packed += 1;
            let bits = key.bits + u32::from(key.flag);
            if !key.is_whole() || bits > left {
                break;
            }
            left -= bits;
            self.unpacked += 1;
        }
    }

    /// Whether words would hold more if the keys' ranges were known.
    pub(crate) fn is_wide(&self) -> bool {
        self.unpacked < self.keys.len() && self.keys[0].is_whole()
    }

    /// The ranges of the first keys, as far as numbers hold them as a whole.
    ///
    /// # Safety
    /// These are rows of the sort's layout.
    pub(crate) unsafe fn ranges(&self, rows: impl Iterator<Item = *const u8> + Clone) -> Vec<KeyRange> {
        let keys = &self.keys[..self.keys.iter().take_while(|key| key.is_whole()).count()];
        let range = |key: &Key| {
            let mut range = KeyRange { least: u64::MAX, greatest: 0, nulls: false };
            for row in rows.clone() {
                // SAFETY: the caller's promise.
                if unsafe { key.is_valid(row) } {
                    // SAFETY: as above.
                    let number = unsafe { key.number(row) };
                    range.least = range.least.min(number);
                    range.greatest = range.greatest.max(number);
                } else {
                    range.nulls = true;
                }
            }
            range
        };
        keys.iter().map(range).collect()
    }

    /// The same order of rows that are within these ranges, each the ranges of some of them.
    pub(crate) fn narrowed<'r>(&self, all: impl Iterator<Item = &'r [KeyRange]>) -> Self {
        let mut order = self.clone();
        let both = |a: Vec<KeyRange>, b: &[KeyRange]| -> Vec<KeyRange> {
            let pair = |(a, b): (&KeyRange, &KeyRange)| KeyRange {
                least: a.least.min(b.least),
                greatest: a.greatest.max(b.greatest),
                nulls: a.nulls || b.nulls,
            };
            if a.is_empty() { b.to_vec() } else { a.iter().zip(b).map(pair).collect() }
        };
        for (key, range) in order.keys.iter_mut().zip(all.fold(vec![], both)) {
            // Where all is null, no value has to be told from another.
            key.least = range.least.min(range.greatest);
            key.bits = 64 - range.greatest.saturating_sub(key.least).leading_zeros();
            key.flag = range.nulls;
        }
        order.pack();
        order
    }

    /// The word of a row's first key: see [`sort_word`].
    ///
    /// # Safety
    /// `row` is a row of the sort's layout.
    pub(crate) unsafe fn first_word(&self, row: *const u8) -> u64 {
        let key = &self.keys[0];
        // SAFETY: the caller's promise.
        unsafe {
            if !key.is_valid(row) {
                return if key.nulls_first { 0 } else { u64::MAX };
            }
            sort_word(key.bits(row), key.kind, key.descending)
        }
    }

    /// A number that is not greater than that of any row which comes later.
    ///
    /// # Safety
    /// As above.
    pub(crate) unsafe fn word(&self, row: *const u8) -> u64 {
        let mut word = 0;
        let mut used = 0;
        for key in &self.keys[..self.packed] {
            // SAFETY: the caller's promise.
            let valid = unsafe { key.is_valid(row) };
            if key.flag {
                word |= u64::from(valid == key.nulls_first) << (63 - used);
                used += 1;
            }
            if used < 64 && valid {
                // SAFETY: as above.
                word |= unsafe { key.top(row) } >> used;
            }
            used += key.bits;
            if used >= 64 || !key.is_whole() {
                break;
            }
        }
        word
    }

    /// Compares two rows with equal words.
    ///
    /// # Safety
    /// Both are rows of the sort's layout, whose text is alive.
    pub(crate) unsafe fn compare(&self, a: *const u8, b: *const u8) -> Ordering {
        for key in &self.keys[self.unpacked..] {
            // SAFETY: the caller's promise.
            let order = unsafe { key.compare(a, b) };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl Key {
    /// Whether the key's number says all of a value.
    fn is_whole(&self) -> bool {
        width(self.field.ty.repr).1
    }

    unsafe fn is_valid(&self, row: *const u8) -> bool {
        // SAFETY: validity bytes lie within the row.
        self.field.valid.is_none_or(|valid| unsafe { *row.add(valid as usize) != 0 })
    }

    unsafe fn get<T: Copy>(&self, row: *const u8) -> T {
        // SAFETY: callers ask for the type that the field holds; 16-byte fields may be aligned to 8 only.
        unsafe { row.add(self.field.offset as usize).cast::<T>().read_unaligned() }
    }

    /// The bits that [`sort_word`] takes.
    #[inline(always)]
    unsafe fn bits(&self, row: *const u8) -> u64 {
        let signed = self.kind != SortWord::Unsigned;
        macro_rules! int {
            ($signed:ty, $unsigned:ty) => {
                // SAFETY: the field is of this width.
                unsafe { if signed { i64::from(self.get::<$signed>(row)) as u64 } else { u64::from(self.get::<$unsigned>(row)) } }
            };
        }
        match self.field.ty.repr {
            Repr::Bool | Repr::I8 => int!(i8, u8),
            Repr::I16 => int!(i16, u16),
            Repr::I32 | Repr::F32 => int!(i32, u32),
            Repr::I64 | Repr::F64 => int!(i64, u64),
            // SAFETY: the field is a 128-bit integer.
            Repr::I128 => (unsafe { self.get::<i128>(row) } >> 64) as u64,
            // SAFETY: the field is a text.
            Repr::Str => u64::from(((unsafe { self.get::<StrRef>(row) }.lo >> 32) as u32).swap_bytes()) << 32,
        }
    }

    /// The number in the key's order, from the highest bit of the word on.
    unsafe fn top(&self, row: *const u8) -> u64 {
        // SAFETY: the caller's promise.
        let number = unsafe { self.number(row) } - self.least;
        // Without bits, all values are one.
        number.checked_shl(64 - self.bits).unwrap_or(0)
    }

    /// A number that tells the order of values that are not null, or of a beginning of them.
    #[inline(always)]
    unsafe fn number(&self, row: *const u8) -> u64 {
        let (bits, _) = width(self.field.ty.repr);
        // SAFETY: the caller's promise.
        let mut own = unsafe { self.bits(row) };
        if self.field.ty.repr == Repr::Str {
            // SAFETY: the field is a text that is alive.
            own |= unsafe { second_half(self.get::<StrRef>(row)) };
        }
        let word = sort_word(own, self.kind, self.descending);
        match self.kind {
            // The sign's bit has been turned at the top of 64 bits; of a narrower value it belongs to the top of that.
            SortWord::Signed | SortWord::Float if bits < 64 => (word >> 63) << (bits - 1) | (word & ((1 << (bits - 1)) - 1)),
            // Turned around, it has ones above its width.
            _ if bits < 64 => word & ((1 << bits) - 1),
            _ => word,
        }
    }

    unsafe fn compare(&self, a: *const u8, b: *const u8) -> Ordering {
        macro_rules! compare {
            ($ty:ty, $compare:path) => {
                // SAFETY: the fields are of this type.
                unsafe { $compare(&self.get::<$ty>(a), &self.get::<$ty>(b)) }
            };
        }
        // SAFETY: the caller's promise.
        let order = match unsafe { (self.is_valid(a), self.is_valid(b)) } {
            (true, true) => match (self.field.ty.repr, self.kind) {
                (Repr::I8, SortWord::Signed) => compare!(i8, Ord::cmp),
                (Repr::I16, SortWord::Signed) => compare!(i16, Ord::cmp),
                (Repr::I32, SortWord::Signed) => compare!(i32, Ord::cmp),
                (Repr::I64, SortWord::Signed) => compare!(i64, Ord::cmp),
                (Repr::Bool | Repr::I8, _) => compare!(u8, Ord::cmp),
                (Repr::I16, _) => compare!(u16, Ord::cmp),
                (Repr::I32, _) => compare!(u32, Ord::cmp),
                (Repr::I64, _) => compare!(u64, Ord::cmp),
                (Repr::I128, _) => compare!(i128, Ord::cmp),
                (Repr::F32, _) => compare!(f32, f32::total_cmp),
                (Repr::F64, _) => compare!(f64, f64::total_cmp),
                (Repr::Str, _) => compare!(StrRef, compare_text),
            },
            (false, false) => return Ordering::Equal,
            (valid, _) => return if valid == self.nulls_first { Ordering::Greater } else { Ordering::Less },
        };
        if self.descending { order.reverse() } else { order }
    }
}

/// Bits of the number that tells the order of values of a representation, and whether it says all of them.
fn width(repr: Repr) -> (u32, bool) {
    match repr {
        Repr::Bool => (1, true),
        Repr::I8 => (8, true),
        Repr::I16 => (16, true),
        Repr::I32 | Repr::F32 => (32, true),
        Repr::I64 | Repr::F64 => (64, true),
        Repr::I128 | Repr::Str => (64, false),
    }
}

/// The fifth to eighth byte of a text, as the low half of a word, zeros behind its end.
unsafe fn second_half(text: StrRef) -> u64 {
    let word = if text.lo as u32 <= STR_INLINE {
        text.hi as u32
    } else {
        // SAFETY: a long text has more than eight bytes at its address.
        unsafe { ((text.hi + 4) as *const u32).read_unaligned() }
    };
    u64::from(word.swap_bytes())
}

fn compare_text(a: &StrRef, b: &StrRef) -> Ordering {
    // SAFETY: rows of a sort refer to text that lives as long as the run.
    unsafe { strings::bytes(a).cmp(strings::bytes(b)) }
}
