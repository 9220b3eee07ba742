//! Text that stages carry as numbers of dictionary entries is the same text to both engines, nulls and all.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Source, SqlType, parser::parse, passes::carry_codes, verifier::verify};
use stagefuse_runtime::{CompactTable, Dictionary, Engine, Error, Flow, Run, RunConfig, Unlimited, builtins};

const ROWS: i64 = 3000;

fn text(row: i64) -> Option<String> {
    match row % 11 {
        0 => None,
        1 => Some(String::new()),
        2 => Some(format!("a text that is longer than twelve bytes, number {}", row % 3)),
        n => Some(format!("t{n}")),
    }
}

/// Rows of a number and a text.
fn table() -> CompactTable {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row % 200)));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter((0..ROWS).map(text)));
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("t", DataType::Utf8View, true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![numbers, texts]).expect("columns fit");
    CompactTable::new(schema, &[Some(SqlType::Int64), Some(SqlType::Utf8)], &[vec![batch]]).expect("one schema")
}

/// A run of a program that emits a text and a number.
fn start(program: &Arc<Program>, native: bool, dictionaries: Vec<Arc<Dictionary>>) -> Result<Arc<Run>, Error> {
    let engine = |stage| {
        if !native {
            return Engine::Interpreted;
        }
        let options = Options { verify: true, ..Options::default() };
        let code = compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let fields = [Field::new("t", DataType::Utf8View, true), Field::new("n", DataType::Int64, true)];
    Run::new(RunConfig {
        host_types: vec![],
        engines: program.stages.keys().map(engine).collect(),
        program: Arc::clone(program),
        opaques: vec![],
        aggregates: vec![],
        params: vec![],
        dictionaries,
        schema: Arc::new(Schema::new(fields.to_vec())),
        partitions: 1,
        memory: Arc::new(Unlimited),
    })
}

/// The dictionary of the table's text.
fn dictionaries(table: &CompactTable) -> Vec<Arc<Dictionary>> {
    table.dictionary(1).into_iter().cloned().collect()
}

/// What comes out of a program over columns of the table.
fn run(program: &Program, native: bool, table: &CompactTable, columns: &[usize]) -> Vec<String> {
    let program = Arc::new(program.clone());
    let run = start(&program, native, dictionaries(table)).expect("the parts fit");
    let mut lines = vec![];
    for (stage, decl) in program.stages.iter() {
        let mut worker = run.worker();
        match decl.source {
            Source::Input { .. } => drop(run.run_block(stage, &mut worker, (table, 0), columns, 0, ROWS as usize).expect("it runs")),
            _ => {
                let mut cursor = run.table_cursor(stage, 0).expect("the table is there");
                while run.run_table(stage, &mut worker, &mut cursor).expect("it runs") == Flow::More {}
            }
        }
        for batch in worker.take_output() {
            let numbers = batch.column(1).as_primitive::<Int64Type>().iter();
            lines.extend(batch.column(0).as_string_view().iter().zip(numbers).map(|(text, number)| format!("{text:?} {number:?}")));
        }
        drop(worker);
        while let parts @ 1.. = run.finish_parts(stage).expect("it finishes") {
            (0..parts).for_each(|part| run.finish_part(stage, part).expect("it finishes"));
        }
    }
    lines
}

/// The program with text, and with numbers, in both engines; how many lines each yields.
#[track_caller]
fn agree(inner: &str, entries: usize, is_ordered: bool) -> usize {
    let input = format!("input0 \"t\" (int64 offset(0, 199), utf8? dictionary({entries}))");
    let plain = parse(&format!("program {{\n{input}\n{inner}\n}}")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verify(&plain), Ok(()));
    let mut carried = plain.clone();
    assert_eq!(carry_codes(&mut carried).len(), 1);
    assert_eq!(verify(&carried), Ok(()), "{carried}");
    let table = table();
    let mut answers = vec![];
    for (program, columns) in [(&plain, &[0, 1][..]), (&carried, &[0, 1, 1])] {
        for native in [false, true] {
            let mut lines = run(program, native, &table, columns);
            if !is_ordered {
                lines.sort();
            }
            answers.push(lines);
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{carried}\n{answers:?}");
    answers[0].len()
}

/// Different texts of the table.
fn entries() -> usize {
    (0..ROWS).filter_map(text).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn groups_and_sorts_by_number_are_those_by_text() {
    let stages = |nulls: &str| {
        format!(
            "groups0 keys(utf8?, int64) accs(count_rows int64)
            sort0 keys(utf8? {nulls}) payload(int64) skip 0 fetch 1000000
            output (utf8?, int64)
            s0 \"scan\" {{
                source input0 (v0: int64, v1: utf8?)
                v2: int64 = bit_and v0, v0
                group groups0 keys(v1, v2) args(_)
            }}
            s1 \"groups\" {{
                source groups0 (v0: utf8?, v1: int64, v2: int64)
                sort sort0 keys(v0) payload(v2)
            }}
            s2 \"rows\" {{
                source sort0 (v0: utf8?, v1: int64)
                emit (v0, v1)
            }}"
        )
    };
    let groups = (0..ROWS).map(|row| (text(row), row % 200)).collect::<std::collections::BTreeSet<_>>().len();
    for nulls in ["", "desc", "nulls_first", "desc nulls_first"] {
        assert_eq!(agree(&stages(nulls), entries(), true), groups);
    }
}

#[test]
fn rows_without_a_match_have_no_text() {
    let inner = "lit0: int64 = 100
        join0 keys(int64) payload(utf8?)
        groups0 keys(utf8?) accs(count_rows int64)
        output (utf8?, int64)
        s0 \"build\" {
            source input0 (v0: int64, v1: utf8?)
            v2: int64 = literal lit0
            v3: boolean = lt v0, v2
            filter v3
            build join0 keys(v0) payload(v1)
        }
        s1 \"probe\" {
            source input0 (v0: int64, v1: utf8?)
            probe join0 outer keys(v0) -> (_, v2: utf8?)
            group groups0 keys(v2) args(_)
        }
        s2 \"groups\" {
            source groups0 (v0: utf8?, v1: int64)
            emit (v0, v1)
        }";
    assert_eq!(agree(inner, entries(), false), entries() + 1);
}

/// Whatever number comes, it is that of some text.
#[test]
fn numbers_beyond_the_last_are_the_last() {
    let program = format!(
        "program {{
        input0 \"t\" (int64 offset(0, 199), utf8? dictionary({}))
        input1 \"numbers\" (uint8?)
        output (utf8?, int64)
        lit0: int64 = 7
        s0 \"scan\" {{ source input1 (v0: uint8?) v1: utf8? = entry input0 1, v0 v2: int64 = literal lit0 emit (v1, v2) }}
        }}",
        entries()
    );
    let program = program.replace(") v", ")\nv").replace("v0 v2", "v0\nv2").replace(" emit", "\nemit").replace("{ source", "{\nsource");
    let program = Arc::new(parse(&program.replace(" }\n", "\n}\n")).unwrap_or_else(|error| panic!("{error}\n{program}")));
    assert_eq!(verify(&program), Ok(()));
    let table = table();
    let (stage, _) = program.stages.iter().next().expect("a stage");
    let last = (0..ROWS).filter_map(text).max();
    for native in [true, false] {
        assert!(start(&program, native, vec![]).is_err(), "no dictionary");
        let run = start(&program, native, dictionaries(&table)).expect("the parts fit");
        let numbers: ArrayRef = Arc::new(UInt8Array::from(vec![Some(0), None, Some(200), Some(255)]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
        let mut worker = run.worker();
        run.run_batch(stage, &mut worker, &batch).expect("it runs");
        let batches = worker.take_output();
        let texts: Vec<_> = batches[0].column(0).as_string_view().iter().map(|text| text.map(str::to_owned)).collect();
        assert_eq!(texts, [Some(String::new()), None, last.clone(), last.clone()]);
    }
}
