//! The order of a sort's rows.

use std::cmp::Ordering;

use stagefuse_ir::abi::{STR_INLINE, SortWord, StrRef, sort_word};
use stagefuse_ir::layout::{Field, RowLayout};
use stagefuse_ir::{Repr, SortDecl};

use crate::builtins::strings;

/// A key of the rows.
#[derive(Debug)]
struct Key {
    field: Field,
    kind: SortWord,
    descending: bool,
    nulls_first: bool,
}

/// Compares rows of a sort: by their words, in which as much of the keys is packed as there is room for, then by the keys themselves.
#[derive(Debug)]
pub(crate) struct RowOrder {
    keys: Vec<Key>,
    /// Keys that the word holds some bits of.
    packed: usize,
    /// The first key that the word does not hold as a whole.
    unpacked: usize,
    pub(crate) stride: usize,
}

/// Some bits of a key that tell an order: `bits` of them, from the highest bit of the word on.
struct Top {
    word: u64,
    bits: u32,
    whole: bool,
}

impl RowOrder {
    pub(crate) fn new(decl: &SortDecl) -> Self {
        let layout = RowLayout::sort(decl);
        let keys = decl.keys.iter().zip(&layout.fields).map(|(key, field)| Key {
            field: *field,
            kind: SortWord::of(key.ty.sql),
            descending: key.descending,
            nulls_first: key.nulls_first,
        });
        let mut order = RowOrder { keys: keys.collect(), packed: 0, unpacked: 0, stride: layout.stride as usize };
        let mut left = 64;
        for key in &order.keys {
            if left == 0 {
                break;
            }
            order.packed += 1;
            let flag = u32::from(key.field.valid.is_some());
            let (bits, whole) = key.width();
            if !whole || bits + flag > left {
                break;
            }
            left -= bits + flag;
            order.unpacked += 1;
        }
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
            if key.field.valid.is_some() {
                word |= u64::from(valid == key.nulls_first) << (63 - used);
                used += 1;
            }
            // SAFETY: as above.
            let top = unsafe { key.top(row) };
            if used < 64 && valid {
                word |= top.word >> used;
            }
            used += top.bits;
            if used >= 64 || !top.whole {
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
    /// Bits that [`Key::top`] yields, and whether they are the whole value.
    fn width(&self) -> (u32, bool) {
        match self.field.ty.repr {
            Repr::Bool => (1, true),
            Repr::I128 | Repr::Str => (64, false),
            other => (other.bytes() * 8, true),
        }
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

    unsafe fn top(&self, row: *const u8) -> Top {
        let (bits, whole) = self.width();
        // SAFETY: the caller's promise.
        let mut own = unsafe { self.bits(row) };
        if self.field.ty.repr == Repr::Str {
            // SAFETY: the field is a text that is alive.
            own |= unsafe { second_half(self.get::<StrRef>(row)) };
        }
        let word = sort_word(own, self.kind, self.descending);
        let word = match self.field.ty.repr {
            Repr::I128 | Repr::Str => word,
            // The sign's bit has been turned at the top of 64 bits; of a narrower value it belongs to the top of that.
            _ if bits < 64 => {
                let narrow = match self.kind {
                    SortWord::Unsigned => word,
                    SortWord::Signed | SortWord::Float => (word >> 63) << (bits - 1) | (word & ((1 << (bits - 1)) - 1)),
                };
                narrow << (64 - bits)
            }
            _ => word,
        };
        Top { word, bits, whole }
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
