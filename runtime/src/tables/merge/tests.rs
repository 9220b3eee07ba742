use std::collections::HashMap;

use stagefuse_ir::abi::{HASH_ALL, HASH_COLLIDING, fold_text};
use stagefuse_ir::{AccDecl, AccOp, SqlType, Type};

use super::*;
use crate::builtins::strings;
use crate::config::{Sizes, Unlimited};

fn decl(keys: Vec<Type>) -> GroupsDecl {
    let acc = |op, sql, nullable| AccDecl { op, ty: Type::new(sql, nullable) };
    let accs = vec![
        acc(AccOp::CountRows, SqlType::Int64, false),
        acc(AccOp::Sum, SqlType::Decimal { precision: 38, scale: 0 }, true),
        acc(AccOp::Sum, SqlType::Float64, false),
        acc(AccOp::Min, SqlType::Int32, false),
        acc(AccOp::Max, SqlType::UInt8, true),
        acc(AccOp::Max, SqlType::Utf8, true),
    ];
    GroupsDecl::new(keys, accs)
}

/// A row: its keys, and the argument of all accumulators.
type Row = (Option<String>, i32, Option<i32>);

/// What the accumulators hold: rows, sum, sum as a float, least, greatest byte, greatest text.
#[derive(Clone, Debug, Default, PartialEq)]
struct Expected(i64, Option<i128>, f64, Option<i32>, Option<u8>, Option<String>);

impl Expected {
    fn add(&mut self, arg: Option<i32>) {
        self.0 += 1;
        let Some(arg) = arg else { return };
        self.1 = Some(self.1.unwrap_or(0) + i128::from(arg));
        self.2 += f64::from(arg);
        self.3 = Some(self.3.map_or(arg, |old| old.min(arg)));
        self.4 = Some(self.4.map_or(arg as u8, |old| old.max(arg as u8)));
        let text = format!("a long text with number {arg}");
        self.5 = Some(self.5.clone().map_or(text.clone(), |old| old.max(text)));
    }
}

fn string(text: &str) -> StrRef {
    // Leaked: tables refer to text in arenas, which tests have none of.
    strings::make(Box::leak(text.to_owned().into_boxed_str()).as_bytes())
}

fn hash(key: &(Option<String>, i32), mask: u64) -> u64 {
    let h = match &key.0 {
        None => hash_word(HASH_SEED, HASH_NULL, 0),
        Some(text) => {
            let StrRef { lo, hi } = strings::make(text.as_bytes());
            hash_word(HASH_SEED, lo, if text.len() > STR_INLINE as usize { fold_text(text.as_bytes()) } else { hi })
        }
    };
    hash_word(h, i64::from(key.1) as u64, 0) & mask
}

fn write(layout: &RowLayout, entry: *mut u8, held: &Expected) {
    let fields = &layout.fields[layout.keys..];
    let valid = |field: &Field, is: bool| field.valid.iter().for_each(|at| set(entry, *at, u8::from(is)));
    set(entry, fields[0].offset, held.0);
    set(entry, fields[1].offset, held.1.unwrap_or(0));
    valid(&fields[1], held.1.is_some());
    set(entry, fields[2].offset, held.2);
    set(entry, fields[3].offset, held.3.unwrap_or(0));
    valid(&fields[3], held.3.is_some());
    set(entry, fields[4].offset, held.4.unwrap_or(0));
    valid(&fields[4], held.4.is_some());
    set(entry, fields[5].offset, held.5.as_deref().map_or(StrRef { lo: 0, hi: 0 }, string));
    valid(&fields[5], held.5.is_some());
}

fn read(layout: &RowLayout, entry: *const u8) -> Expected {
    let fields = &layout.fields[layout.keys..];
    let some = |field: &Field| field.valid.is_none_or(|at| byte(entry, at) != 0);
    let text_of = |field: &Field| String::from_utf8(text(&get(entry, field.offset)).to_vec()).unwrap();
    Expected(
        get(entry, fields[0].offset),
        some(&fields[1]).then(|| get(entry, fields[1].offset)),
        get(entry, fields[2].offset),
        some(&fields[3]).then(|| get(entry, fields[3].offset)),
        some(&fields[4]).then(|| get(entry, fields[4].offset)),
        some(&fields[5]).then(|| text_of(&fields[5])),
    )
}

/// A worker's table over these rows.
fn table(layout: &RowLayout, rows: &[Row], memory: &Memory) -> GroupTable {
    let mut held: HashMap<(Option<String>, i32), Expected> = HashMap::new();
    for (text, number, arg) in rows {
        held.entry((text.clone(), *number)).or_default().add(*arg);
    }
    let mut table = GroupTable::new(layout, memory).unwrap();
    for (key, held) in &held {
        let entry = if layout.keys == 0 { table.entry(0) } else { table.insert(hash(key, memory.sizes.hash_mask), None, memory).unwrap() };
        if layout.keys > 0 {
            let field = &layout.fields[0];
            set(entry, field.offset, key.0.as_deref().map_or(StrRef { lo: 0, hi: 0 }, string));
            set(entry, field.valid.unwrap(), u8::from(key.0.is_some()));
            set(entry, layout.fields[1].offset, key.1);
        }
        write(layout, entry, held);
    }
    table
}

fn rows(seed: u64, groups: u64) -> Vec<Row> {
    let mut state = seed;
    let mut next = |below: u64| {
        state = hash_word(state, below, 7).wrapping_add(1);
        state % below
    };
    let mut row = || {
        let text = match next(4) {
            0 => None,
            1 => Some("short".to_owned()),
            // These have one length and one prefix: only the bytes behind tell them apart.
            _ => Some(format!("text number {:04}", next(groups))),
        };
        (text, next(3) as i32 - 1, (next(5) > 0).then(|| next(1000) as i32 - 500))
    };
    (0..20_000).map(|_| row()).collect()
}

#[test]
fn merged_tables_hold_what_a_hash_map_holds() {
    let decl = decl(vec![Type::new(SqlType::Utf8, true), Type::new(SqlType::Int32, false)]);
    let layout = RowLayout::groups(&decl);
    let cases = [(1, 1, 10), (1, 3, 1000), (2, 1, 5000), (3, 4, 9), (4, 7, 3000), (0, 2, 1)].map(|case| (case, HASH_ALL));
    for ((workers, partitions, groups), hash_mask) in cases.into_iter().chain([((3, 2, 200), HASH_COLLIDING)]) {
        let memory = Memory::with_sizes(Arc::new(Unlimited), Sizes { hash_mask, ..Sizes::default() });
        let inputs: Vec<Vec<Row>> = (0..workers).map(|worker| rows(worker + 1, groups)).collect();
        let mut expected: HashMap<(Option<String>, i32), Expected> = HashMap::new();
        for (text, number, arg) in inputs.iter().flatten() {
            expected.entry((text.clone(), *number)).or_default().add(*arg);
        }
        let mut tables: Vec<_> = inputs.iter().map(|rows| table(&layout, rows, &memory)).collect();
        // A worker that came too late for any row.
        tables.push(table(&layout, &[], &memory));
        let of =
            Merging { decl: &decl, literals: &PrimaryMap::new(), layout: &layout, hosts: &[], memory: &memory, arrays: &Arc::default() };
        let tables = Tables::new(of, tables, partitions).unwrap();
        let mut filled = 0;
        for partition in 0..partitions {
            let merged = tables.merge(of, partition).unwrap();
            filled += usize::from(merged.rows() > 0);
            for row in 0..merged.rows() {
                let entry = merged.entry(row);
                let field = &layout.fields[0];
                let valid = byte(entry, field.valid.unwrap()) != 0;
                let key = valid.then(|| String::from_utf8(text(&get(entry, field.offset)).to_vec()).unwrap());
                let key = (key, get::<i32>(entry, layout.fields[1].offset));
                assert_eq!(get::<u64>(entry, layout.hash.unwrap()), hash(&key, hash_mask), "{key:?}");
                let held = expected.remove(&key).unwrap_or_else(|| panic!("{key:?} is there twice, or never came"));
                assert_eq!(read(&layout, entry), held, "{key:?}");
            }
        }
        assert_eq!(expected.len(), 0, "{workers} workers, {partitions} partitions");
        assert!(groups < 100 || filled == partitions, "hashes spread over all partitions");
    }
}

#[test]
fn without_keys_there_is_one_group_even_of_nothing() {
    let memory = Memory::new(Arc::new(Unlimited));
    let decl = decl(vec![]);
    let layout = RowLayout::groups(&decl);
    for workers in 0..4 {
        let inputs: Vec<Vec<Row>> = (0..workers).map(|worker| vec![(None, 0, Some(worker)), (None, 0, None)]).collect();
        let mut expected = Expected::default();
        inputs.iter().flatten().for_each(|row| expected.add(row.2));
        let tables: Vec<_> = inputs.iter().map(|rows| table(&layout, rows, &memory)).collect();
        let of =
            Merging { decl: &decl, literals: &PrimaryMap::new(), layout: &layout, hosts: &[], memory: &memory, arrays: &Arc::default() };
        let tables = Tables::new(of, tables, 3).unwrap();
        let merged = tables.merge(of, 0).unwrap();
        assert_eq!(merged.rows(), 1);
        assert_eq!(read(&layout, merged.entry(0)), expected);
        assert_eq!(tables.merge(of, 1).unwrap().rows(), 0);
    }
}

#[test]
fn numeric_keys_close_together_or_far_apart() {
    let memory = Memory::new(Arc::new(Unlimited));
    let accs = vec![AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) }];
    let decl = GroupsDecl::new(vec![Type::new(SqlType::Int32, true)], accs);
    let layout = RowLayout::groups(&decl);
    let (key_field, count_field) = (&layout.fields[0], &layout.fields[1]);
    for (spread, dense) in [(1, true), (9, true), (100_000, false)] {
        let mut expected: HashMap<Option<i32>, i64> = HashMap::new();
        let fill = |worker: i32, expected: &mut HashMap<Option<i32>, i64>| {
            let mut table = GroupTable::new(&layout, &memory).unwrap();
            // Down from zero for one worker, up for the other; half of the keys come to both.
            for row in 0..9_000i32 {
                let key = (row % 1000 != 999).then_some((if worker == 0 { 20 - row } else { row - 4_500 }) * spread);
                let number = key.map(i64::from);
                let mut probe = vec![0u64; layout.stride as usize / 8];
                let probe = probe.as_mut_ptr().cast::<u8>();
                set(probe, key_field.offset, key.unwrap_or(0));
                set(probe, key_field.valid.unwrap(), u8::from(key.is_some()));
                let entry = match look(&layout, &table, hash_of(number, HASH_ALL), number, probe) {
                    Look::Known(entry) => entry,
                    Look::Free(_) => {
                        let entry = table.insert(hash_of(number, HASH_ALL), number, &memory).unwrap();
                        set(entry, key_field.offset, key.unwrap_or(0));
                        set(entry, key_field.valid.unwrap(), u8::from(key.is_some()));
                        entry
                    }
                };
                set(entry, count_field.offset, get::<i64>(entry, count_field.offset) + 1);
                *expected.entry(key).or_default() += 1;
            }
            table
        };
        let tables = vec![fill(0, &mut expected), fill(1, &mut expected)];
        assert!(tables.iter().all(|table| (table.head.range > 0) == dense), "spread {spread}");
        let of =
            Merging { decl: &decl, literals: &PrimaryMap::new(), layout: &layout, hosts: &[], memory: &memory, arrays: &Arc::default() };
        let tables = Tables::new(of, tables, 3).unwrap();
        assert_eq!(tables.span.is_some(), dense);
        for partition in 0..3 {
            let merged = tables.merge(of, partition).unwrap();
            for row in 0..merged.rows() {
                let entry = merged.entry(row);
                let key = (byte(entry, key_field.valid.unwrap()) != 0).then(|| get::<i32>(entry, key_field.offset));
                assert_eq!(Some(get::<i64>(entry, count_field.offset)), expected.remove(&key), "{key:?}");
            }
        }
        assert_eq!(expected.len(), 0);
    }
}

#[test]
fn tables_whose_keys_lie_apart_become_partitions() {
    let memory = Memory::new(Arc::new(Unlimited));
    let accs = vec![AccDecl { op: AccOp::CountRows, ty: Type::new(SqlType::Int64, false) }];
    let decl = GroupsDecl::new(vec![Type::new(SqlType::Int64, true)], accs);
    let layout = RowLayout::groups(&decl);
    let (key_field, count_field) = (&layout.fields[0], &layout.fields[1]);
    let of = Merging { decl: &decl, literals: &PrimaryMap::new(), layout: &layout, hosts: &[], memory: &memory, arrays: &Arc::default() };
    // Two workers' rows: how many of the first's have keys of the second's, and the other way round. Nulls come to the second.
    for (strays, apart) in [(0, true), (1, true), (700, true), (3_000, false)] {
        let mut expected: HashMap<Option<i64>, i64> = HashMap::new();
        let mut fill = |worker: i64| {
            let mut table = GroupTable::new(&layout, &memory).unwrap();
            let own = (0..10_000).map(|row| worker * 40_000 + row * 4);
            let others = (0..strays).map(|row| (1 - worker) * 40_000 + row * 12 + worker);
            let nulls = (0..worker).map(|_| None);
            for key in own.chain(others).map(Some).chain(nulls) {
                let entry = table.insert(hash_of(key, HASH_ALL), key, &memory).unwrap();
                set(entry, key_field.offset, key.unwrap_or(0));
                set(entry, key_field.valid.unwrap(), u8::from(key.is_some()));
                set(entry, count_field.offset, worker + 1);
                *expected.entry(key).or_default() += worker + 1;
            }
            table
        };
        // The one with the greater keys first.
        let tables = vec![fill(1), fill(0)];
        let tables = Tables::new(of, tables, 3).unwrap();
        assert_eq!(tables.apart.is_some(), apart, "{strays} strays");
        for partition in [2, 0, 1] {
            let merged = tables.merge(of, partition).unwrap();
            for row in 0..merged.rows() {
                let entry = merged.entry(row);
                let key = (byte(entry, key_field.valid.unwrap()) != 0).then(|| get::<i64>(entry, key_field.offset));
                assert_eq!(Some(get::<i64>(entry, count_field.offset)), expected.remove(&key), "{key:?} of {strays} strays");
            }
        }
        assert_eq!(expected.len(), 0, "{strays} strays");
    }
}
