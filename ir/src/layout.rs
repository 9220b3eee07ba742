//! Layouts of table rows, computed from a table's declaration: the one place where offsets come from.

use crate::entities::Stage;
use crate::program::{Program, Sink, Source, StageDecl};
use crate::states::{AccOp, GroupsDecl, JoinDecl, SortDecl};
use crate::types::{Repr, Stored, Type};

/// Offset of the next entry's address in a join table's entry.
pub const JOIN_NEXT: u32 = 0;

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

/// The layout of a row: a header (the next entry of a join table, the hash), fields by falling width, then single bytes. Rows lie next to each other, `stride` bytes apart, and
/// begin at multiples of 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// Keys and payload, or keys, accumulators and results of calls, in order of declaration.
    pub fields: Vec<Field>,
    /// Number of keys among the fields.
    pub keys: usize,
    /// Where the hash of the keys lies; none where a numeric key says as much, or nobody looks rows up.
    pub hash: Option<u32>,
    /// Whether the only key is an integer of at most 64 bits, which can address the table directly.
    pub numeric: bool,
    /// Where the byte lies that is 1 once the row was matched, if the table is tracked.
    pub matched: Option<u32>,
    /// Bytes from one row to the next; a multiple of 8.
    pub stride: u32,
}

impl RowLayout {
    /// Layout of a join table's entries: address of the next entry, hash, keys, payload, validity bytes, matched byte.
    pub fn join(decl: &JoinDecl) -> Self {
        let fields: Vec<_> = decl.keys.iter().chain(&decl.payload).map(|ty| (*ty, ty.nullable)).collect();
        // A null key that matches nulls has no number.
        let numeric = is_numeric(&decl.keys) && !(decl.null_equal && decl.keys[0].nullable);
        Self::new(8, &fields, decl.keys.len(), numeric, true, decl.tracked)
    }

    /// Layout of a group table's entries: hash, keys, accumulators, results of the host's functions (zero until the table is merged), validity bytes.
    ///
    /// `min` and `max` have a validity byte even where they cannot be null: it tells whether a first value has come.
    pub fn groups(decl: &GroupsDecl) -> Self {
        let accs = decl.accs.iter().map(|acc| (acc.ty, acc.ty.nullable || matches!(acc.op, AccOp::Min | AccOp::Max)));
        let calls = decl.calls.iter().map(|call| (call.result, call.result.nullable));
        let fields: Vec<_> = decl.keys.iter().map(|ty| (*ty, ty.nullable)).chain(accs).chain(calls).collect();
        Self::new(0, &fields, decl.keys.len(), is_numeric(&decl.keys), true, false)
    }

    /// Layout of a sort's rows: keys, payload, validity bytes.
    pub fn sort(decl: &SortDecl) -> Self {
        let fields: Vec<_> = decl.keys.iter().map(|key| &key.ty).chain(&decl.payload).map(|ty| (*ty, ty.nullable)).collect();
        Self::new(0, &fields, decl.keys.len(), false, false, false)
    }

    fn new(header: u32, types: &[(Type, bool)], keys: usize, numeric: bool, looked_up: bool, tracked: bool) -> Self {
        let mut fields: Vec<Field> = types.iter().map(|(ty, _)| Field { ty: *ty, offset: 0, valid: None }).collect();
        let hash = (looked_up && !numeric).then_some(header);
        let mut end = header + if hash.is_some() { 8 } else { 0 };
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
        RowLayout { fields, keys, hash, numeric, matched, stride: end.next_multiple_of(8) }
    }
}

/// Most places of a front table: it fits the first-level cache.
const MOST_PLACES: u64 = 4096;

/// Group keys that are source columns of few different stored numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedKeys {
    /// By key: the column of the source, and how many different numbers lie there.
    pub columns: Vec<(usize, u64)>,
    /// The product of those: places of [`crate::abi::GroupsHead::front`].
    pub places: usize,
}

/// The codes of a stage's group keys, where it can find groups by them. Only one stage can write the table then: codes of other columns mean
/// something else.
pub fn coded_keys(program: &Program, stage: Stage) -> Option<CodedKeys> {
    let decl = program.stages.get(stage)?;
    let (Sink::Group { groups, keys, .. }, Source::Input { input, .. }) = (&decl.sink, decl.source) else { return None };
    let writes = |decl: &StageDecl| matches!(decl.sink, Sink::Group { groups: other, .. } if other == *groups);
    // One numeric key addresses the table itself.
    if keys.is_empty() || is_numeric(&program.groups[*groups].keys) || program.stages.values().filter(|decl| writes(decl)).count() > 1 {
        return None;
    }
    let mut columns = vec![];
    let mut places = 1u64;
    for key in keys {
        let column = decl.params.iter().position(|param| param == key)?;
        let values = match program.inputs[input].stored[column] {
            Stored::Offset { span, .. } => span.checked_add(1)?,
            Stored::Dictionary { entries } => entries.into(),
            Stored::Arrow | Stored::Word => return None,
        };
        if decl.values[*key].nullable {
            return None;
        }
        places = places.checked_mul(values).filter(|places| *places <= MOST_PLACES)?;
        columns.push((column, values));
    }
    Some(CodedKeys { columns, places: places as usize })
}

/// Whether the runtime may spread a table of groups: see [`crate::abi::GroupsHead`]. Not where somebody holds the distance of entries, or counts groups as they come.
pub fn may_spread(decl: &GroupsDecl) -> bool {
    is_numeric(&decl.keys) && decl.calls.is_empty() && decl.enough.is_none()
}

/// Whether these keys are one integer in a register of at most 64 bits.
fn is_numeric(keys: &[Type]) -> bool {
    matches!(keys, [key] if matches!(key.repr, Repr::I8 | Repr::I16 | Repr::I32 | Repr::I64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::AccDecl;
    use crate::types::SqlType;

    #[test]
    fn fields_do_not_overlap_and_are_aligned() {
        let decl = GroupsDecl {
            keys: vec![Type::new(SqlType::Boolean, true), Type::new(SqlType::Utf8, false)],
            accs: vec![
                AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) },
                AccDecl { op: AccOp::Min, ty: Type::new(SqlType::Date32, false) },
            ],
            ..GroupsDecl::default()
        };
        let layout = RowLayout::groups(&decl);
        let got: Vec<_> = layout.fields.iter().map(|f| (f.ty.repr, f.offset, f.valid)).collect();
        assert_eq!(got, [(Repr::Bool, 36, Some(37)), (Repr::Str, 8, None), (Repr::I64, 24, None), (Repr::I32, 32, Some(38)),]);
        assert_eq!((layout.stride, layout.keys, layout.hash, layout.numeric, layout.matched), (40, 2, Some(0), false, None));
    }

    #[test]
    fn a_numeric_key_stands_for_its_hash() {
        let mut decl = JoinDecl {
            keys: vec![Type::new(SqlType::Int32, true)],
            payload: vec![Type::new(SqlType::Int64, false)],
            null_equal: false,
            tracked: true,
        };
        let layout = RowLayout::join(&decl);
        assert_eq!((layout.hash, layout.numeric, layout.fields[1].offset, layout.fields[0].offset, layout.stride), (None, true, 8, 16, 24));
        decl.null_equal = true;
        let layout = RowLayout::join(&decl);
        assert_eq!((layout.hash, layout.numeric, layout.fields[1].offset), (Some(8), false, 16));
    }
}
