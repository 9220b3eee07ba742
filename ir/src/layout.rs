//! Layouts of table rows, computed from a table's declaration: the one place where offsets come from.

use crate::program::{AccOp, GroupsDecl, JoinDecl};
use crate::types::Type;

/// Offset of the hash in a group table's entry.
pub const GROUP_HASH: u32 = 0;
/// Offset of the next entry's address in a join table's entry.
pub const JOIN_NEXT: u32 = 0;
/// Offset of the hash in a join table's entry.
pub const JOIN_HASH: u32 = 8;

/// One field of a row.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its type; takes `ty.repr.bytes()` bytes.
    pub ty: Type,
    /// Where its value lies.
    pub offset: u32,
    /// Where its validity byte lies (1 is valid; the value of a null is zero), if it has one.
    pub valid: Option<u32>,
}

/// The layout of a row: a header, fields by falling width, then single bytes. Rows lie next to each other, `stride` bytes apart, and
/// begin at multiples of 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// Keys and payload, or keys and accumulators, in order of declaration.
    pub fields: Vec<Field>,
    /// Number of keys among the fields.
    pub keys: usize,
    /// Where the byte lies that is 1 once the row was matched, if the table is tracked.
    pub matched: Option<u32>,
    /// Bytes from one row to the next; a multiple of 8.
    pub stride: u32,
}

impl RowLayout {
    /// Layout of a join table's entries: address of the next entry, hash, keys, payload, validity bytes, matched byte.
    pub fn join(decl: &JoinDecl) -> Self {
        let fields: Vec<_> = decl.keys.iter().chain(&decl.payload).map(|ty| (*ty, ty.nullable)).collect();
        Self::new(16, &fields, decl.keys.len(), decl.tracked)
    }

    /// Layout of a group table's entries: hash, keys, accumulators, validity bytes.
    ///
    /// `min` and `max` have a validity byte even where they cannot be null: it tells whether a first value has come.
    pub fn groups(decl: &GroupsDecl) -> Self {
        let accs = decl.accs.iter().map(|acc| (acc.ty, acc.ty.nullable || matches!(acc.op, AccOp::Min | AccOp::Max)));
        let fields: Vec<_> = decl.keys.iter().map(|ty| (*ty, ty.nullable)).chain(accs).collect();
        Self::new(8, &fields, decl.keys.len(), false)
    }

    fn new(header: u32, types: &[(Type, bool)], keys: usize, tracked: bool) -> Self {
        let mut fields: Vec<Field> = types.iter().map(|(ty, _)| Field { ty: *ty, offset: 0, valid: None }).collect();
        let mut end = header;
        // By falling width, so that no padding comes between and everything is aligned to its width, up to 8.
        for width in [16, 8, 4, 2, 1] {
            for field in fields.iter_mut().filter(|field| field.ty.repr.bytes() == width) {
                field.offset = end;
                end += width;
            }
        }
        let mut byte = |wanted: bool| {
            wanted.then(|| {
                end += 1;
                end - 1
            })
        };
        for (field, (_, has_validity)) in fields.iter_mut().zip(types) {
            field.valid = byte(*has_validity);
        }
        let matched = byte(tracked);
        RowLayout { fields, keys, matched, stride: end.next_multiple_of(8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::AccDecl;
    use crate::types::{Repr, SqlType};

    #[test]
    fn fields_do_not_overlap_and_are_aligned() {
        let decl = GroupsDecl {
            keys: vec![Type::new(SqlType::Boolean, true), Type::new(SqlType::Utf8, false)],
            accs: vec![
                AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) },
                AccDecl { op: AccOp::Min, ty: Type::new(SqlType::Date32, false) },
            ],
        };
        let layout = RowLayout::groups(&decl);
        let got: Vec<_> = layout.fields.iter().map(|f| (f.ty.repr, f.offset, f.valid)).collect();
        assert_eq!(got, [(Repr::Bool, 36, Some(37)), (Repr::Str, 8, None), (Repr::I64, 24, None), (Repr::I32, 32, Some(38)),]);
        assert_eq!((layout.stride, layout.keys, layout.matched), (40, 2, None));
    }
}
