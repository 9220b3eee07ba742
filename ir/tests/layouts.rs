//! Layouts and hashes that generated code has built in. A change here is a change of the ABI.

use std::mem::{offset_of, size_of};

use stagefuse_ir::abi::*;
use stagefuse_ir::layout::JOIN_NEXT;

/// Checks the offsets of all fields of a struct, and its size.
macro_rules! pins {
    ($ty:ident: $size:literal { $($field:ident: $offset:literal),* $(,)? }) => {
        // Names every field: one that is added must be pinned too.
        let _ = |value: &$ty| { let $ty { $($field: _),* } = value; };
        assert_eq!(size_of::<$ty>(), $size, stringify!($ty));
        $(assert_eq!(offset_of!($ty, $field), $offset, concat!(stringify!($ty), ".", stringify!($field)));)*
    };
}

#[test]
fn structs() {
    pins!(Morsel: 24 { rows: 0, columns: 8, entries: 16 });
    pins!(ColumnView: 40 { values: 0, validity: 8, buffers: 16, values_bit: 24, validity_bit: 32 });
    pins!(StrRef: 16 { lo: 0, hi: 8 });
    pins!(WorkerHead: 80 {
        joins: 0, groups: 8, limits: 16, literals: 24, matchers: 32, out: 40, operands: 48, selection: 56, compress: 64, sorts: 72
    });
    pins!(JoinSlot: 16 { rows: 0, table: 8 });
    pins!(RowsHead: 48 { base: 0, used: 8, capacity: 16, least: 24, greatest: 32, threshold: 40 });
    pins!(JoinHead: 88 { directory: 0, mask: 8, direct: 16, first: 24, range: 32, bases: 40, bits: 48, bits_first: 56, bits_range: 64, bytes: 72, turn: 80 });
    pins!(GroupsHead: 64 { slots: 0, mask: 8, entries: 16, rows: 24, direct: 32, first: 40, range: 48, front: 56 });
    pins!(LimitHead: 8 { seen: 0 });
    pins!(OutHead: 16 { columns: 0, rows: 8 });
    pins!(OutColumn: 16 { values: 0, valid: 8 });
}

#[test]
fn the_compress_table_lists_set_bits() {
    assert_eq!(COMPRESS[0], [0; 8]);
    assert_eq!(COMPRESS[0b1010_0100], [2, 5, 7, 0, 0, 0, 0, 0]);
    assert_eq!(COMPRESS[255], [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn numbers() {
    assert_eq!([Status::Ok as i32, Status::Error as i32, Status::Done as i32], [0, 1, 2]);
    let codes: Vec<i32> = ErrorCode::ALL.iter().map(|code| *code as i32).collect();
    assert_eq!(codes, [1, 2, 3, 4, 5]);
    assert!(ErrorCode::ALL.iter().all(|code| ErrorCode::from_i32(*code as i32) == Some(*code)));
    assert_eq!(ErrorCode::from_i32(0), None);
    assert_eq!(JOIN_NEXT, 0);
    assert_eq!((ENTRY_ROW_BITS, entry_number(0, 0), entry_number(3, 7)), (26, Some(1), Some((3 << 26) + 8)));
    assert_eq!((entry_number(63, (1 << 26) - 2), entry_number(64, 0), entry_number(0, (1 << 26) - 1)), (Some(u32::MAX), None, None));
    assert_eq!((MAX_MORSEL_ROWS, OUT_ROWS, STR_INLINE), (16_384, 8_192, 12));
    assert_eq!(SLOT_ADDRESS, 0x0000_ffff_ffff_ffff);
}

#[test]
fn hashes() {
    let of = |w0, w1| hash_word(HASH_SEED, w0, w1);
    let got = [of(0, 0), of(1, 0), of(u64::MAX, 0), of(1, u64::MAX), of(HASH_NULL, 0), hash_word(of(1, 0), 2, 0)];
    // Computed apart from this code.
    let wanted = [
        0xec0d_a830_c086_1664,
        0x4bc4_2e7b_41f3_8a49,
        0xe1ed_a4c4_c615_1784,
        0x73d0_2f7a_a1f3_cb8e,
        0x24af_7b2a_2a2a_838f,
        0xb6be_b69e_213d_1e4e,
    ];
    assert_eq!(got, wanted);
    // One of 16 by the hash's high four bits.
    assert_eq!(join_tag(0), 1 << 48);
    assert_eq!(join_tag(0x1fff_ffff_ffff_ffff), 1 << 49);
    assert_eq!(join_tag(u64::MAX), 1 << 63);
    // Numbers 16 to 31 from the first on have the second slot, each a filter bit of its own.
    assert_eq!(order_word(1016, 1000, 4), 1);
    assert_eq!(order_word(1031, 1000, 4), 1 | 15 << 60);
    assert_eq!(order_word(999, 1000, 4), u64::MAX);
}

#[test]
fn sort_words_are_in_the_order_of_their_keys() {
    let ascending = |kind, bits: &[u64]| {
        let words: Vec<u64> = bits.iter().map(|bits| sort_word(*bits, kind, false)).collect();
        assert!(words.is_sorted(), "{kind:?}: {words:x?}");
        let turned: Vec<u64> = bits.iter().rev().map(|bits| sort_word(*bits, kind, true)).collect();
        assert!(turned.is_sorted(), "{kind:?}, descending: {turned:x?}");
    };
    ascending(SortWord::Unsigned, &[0, 1, 1 << 63, u64::MAX]);
    ascending(SortWord::Signed, &[i64::MIN, -2, -1, 0, 1, i64::MAX].map(|number| number as u64));
    let floats = [-f64::NAN, f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, -0.0, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
    ascending(SortWord::Float, &floats.map(f64::to_bits));
    let singles = floats.map(|float| i64::from((float as f32).to_bits() as i32) as u64);
    ascending(SortWord::Float, &singles);
    assert_eq!(sort_word(5, SortWord::Signed, false), (1 << 63) + 5);
    for kind in [SortWord::Unsigned, SortWord::Signed, SortWord::Float] {
        for bits in [0, 1, 77, i64::MAX as u64, 1 << 63, u64::MAX - 5, u64::MAX] {
            let again = [false, true].map(|descending| sort_bits(sort_word(bits, kind, descending), kind, descending));
            assert_eq!(again, [bits; 2], "{kind:?}");
        }
    }
    assert_eq!(SortWord::of(stagefuse_ir::SqlType::UInt8), SortWord::Unsigned);
    assert_eq!(SortWord::of(stagefuse_ir::SqlType::Binary), SortWord::Unsigned);
    assert_eq!(SortWord::of(stagefuse_ir::SqlType::Date32), SortWord::Signed);
}

/// Builtins are linked by name; each has a signature.
#[test]
fn builtins() {
    let mut names: Vec<_> = Builtin::ALL.iter().map(|builtin| builtin.name()).collect();
    assert_eq!((Builtin::groups_insert.name(), Builtin::groups_insert as usize), ("groups_insert", 0));
    assert_eq!(Builtin::str_like.params(), [AbiType::Ptr, AbiType::I64, AbiType::I64]);
    assert_eq!(Builtin::i128_to_f64.result(), AbiType::F64);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Builtin::ALL.len());
    let addresses: Vec<*const u8> = (1..=Builtin::ALL.len()).map(std::ptr::without_provenance).collect();
    let table = BuiltinTable { addresses };
    assert!(Builtin::ALL.iter().enumerate().all(|(i, builtin)| table.address(*builtin).addr() == i + 1));
}
