//! Aggregate functions of the host on group tables: compiled and interpreted stages hand over the same rows of the same groups, states of several
//! workers are merged, and what comes back is what was computed here by other means.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{Program, Source, parser, verifier};
use stagefuse_runtime::{
    Engine, Error, Flow, HostAccumulator, HostAggregate, HostError, MemoryBudget, Run, RunConfig, Unlimited, builtins,
};

/// The product of two arguments, summed; null where no row counted.
#[derive(Debug)]
struct Weighted;

/// All texts in order, one after the other; null where there was none.
#[derive(Debug)]
struct Concat;

/// Fails where an argument is 13.
#[derive(Debug)]
struct Superstitious;

/// Adds a row to a group's state.
type Add<T> = fn(&mut Option<T>, &[ArrayRef], usize) -> Result<(), HostError>;

struct State<T> {
    values: Vec<Option<T>>,
    add: Add<T>,
    array: fn(Vec<Option<T>>) -> ArrayRef,
    merge: fn(&mut Option<T>, &ArrayRef, usize),
}

impl<T> State<T> {
    /// DataFusion's accumulators rely on it that each new group has a row in the call that tells of it.
    fn tell(&mut self, groups: &[usize], total: usize) {
        let new = self.values.len()..total;
        assert!(new.into_iter().all(|group| groups.contains(&group)), "a group without a row is told of");
        self.values.resize_with(total, || None);
    }
}

impl<T: Send> HostAccumulator for State<T> {
    fn update(&mut self, args: &[ArrayRef], filter: Option<&BooleanArray>, groups: &[usize], total: usize) -> Result<(), HostError> {
        self.tell(groups, total);
        assert!(args.iter().all(|arg| arg.len() == groups.len()));
        for (row, group) in groups.iter().enumerate() {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) && args.iter().all(|arg| arg.is_valid(row)) {
                (self.add)(&mut self.values[*group], args, row)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, HostError> {
        Ok(vec![self.evaluate()?])
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<(), HostError> {
        self.tell(groups, total);
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| states[0].is_valid(*row)) {
            (self.merge)(&mut self.values[*group], &states[0], row);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ArrayRef, HostError> {
        if self.values.is_empty() {
            // The only group of a table without keys; tables with keys have none or are asked for all.
            self.values.push(None);
        }
        Ok((self.array)(std::mem::take(&mut self.values)))
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<Option<T>>()
    }
}

fn number(array: &ArrayRef, row: usize) -> i64 {
    array.as_primitive::<Int64Type>().value(row)
}

impl HostAggregate for Weighted {
    fn start(&self) -> Result<Box<dyn HostAccumulator>, HostError> {
        Ok(Box::new(State::<i64> {
            values: vec![],
            add: |sum, args, row| {
                *sum = Some(sum.unwrap_or(0) + number(&args[0], row) * number(&args[1], row));
                Ok(())
            },
            array: |values| Arc::new(Int64Array::from(values)),
            merge: |sum, other, row| *sum = Some(sum.unwrap_or(0) + number(other, row)),
        }))
    }
}

impl HostAggregate for Concat {
    fn start(&self) -> Result<Box<dyn HostAccumulator>, HostError> {
        Ok(Box::new(State::<String> {
            values: vec![],
            add: |all, args, row| {
                all.get_or_insert_default().push_str(args[0].as_string_view().value(row));
                Ok(())
            },
            // Offset text: what comes back need not lie as stages read it.
            array: |values| Arc::new(StringArray::from(values)),
            merge: |all, other, row| all.get_or_insert_default().push_str(other.as_string::<i32>().value(row)),
        }))
    }
}

impl HostAggregate for Superstitious {
    fn start(&self) -> Result<Box<dyn HostAccumulator>, HostError> {
        Ok(Box::new(State::<i64> {
            values: vec![],
            add: |_, args, row| if number(&args[0], row) == 13 { Err("13 came".into()) } else { Ok(()) },
            array: |values| Arc::new(Int64Array::from(values)),
            merge: |_, _, _| {},
        }))
    }
}

/// A program over rows of a key, two numbers, a boolean and a text. `group`: types of the keys, `keys`: their values.
fn program(group: &str, keys: &str, columns: &str, emitted: &str) -> Program {
    let text = format!(
        r#"program {{
  input0 "t" (int64?, utf8?, int64?, int64, boolean?, utf8?)
  aggregate0 "weighted"
  aggregate1 "concat"
  groups0 keys({group}) accs(count_rows int64, sum int64?) operands(int64?, int64, boolean?, utf8?) calls(aggregate0(0, 1) filter 2 -> int64?, aggregate1(3) -> utf8?, aggregate0(1, 1) -> int64?)
  output ({emitted})

  s0 "scan" {{
    source input0 (v0: int64?, v1: utf8?, v2: int64?, v3: int64, v4: boolean?, v5: utf8?)
    v6: boolean = lt v3, v3
    v7: boolean = not v6
    filter v7
    group groups0 keys({keys}) args(_, v2) operands(v2, v3, v4, v5)
  }}

  s1 "groups" {{
    source groups0 ({columns})
    emit ({})
  }}
}}
"#,
        columns.split(", ").map(|column| column.split(':').next().unwrap()).collect::<Vec<_>>().join(", ")
    );
    let program = parser::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    verifier::verify(&program).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(parser::parse(&program.to_string()).unwrap(), program, "printed and parsed");
    program
}

/// Runs all stages, batches in turn on two workers.
fn run(
    program: &Arc<Program>,
    native: bool,
    split: bool,
    partitions: usize,
    aggregates: Vec<Arc<dyn HostAggregate>>,
    batches: &[RecordBatch],
    memory: Arc<dyn MemoryBudget>,
) -> Result<Vec<RecordBatch>, Error> {
    let options = Options { verify: true, always_split: split, ..Options::default() };
    let engine = |stage| {
        if !native {
            return Engine::Interpreted;
        }
        let code = compile(program, stage, &builtins(), &options).unwrap_or_else(|error| panic!("{error}\n{program}"));
        Engine::Native { function: code.function(), owner: Arc::new(code) }
    };
    let fields: Vec<Field> = program
        .output
        .iter()
        .map(|ty| Field::new("c", if ty.sql == stagefuse_ir::SqlType::Utf8 { DataType::Utf8View } else { DataType::Int64 }, ty.nullable))
        .collect();
    let run = Run::new(RunConfig {
        program: Arc::clone(program),
        engines: program.stages.keys().map(engine).collect(),
        host_types: vec![],
        opaques: vec![],
        aggregates,
        params: vec![],
        dictionaries: vec![],
        schema: Arc::new(Schema::new(fields)),
        partitions,
        memory,
    })?;
    let mut out = vec![];
    for (stage, decl) in &program.stages {
        let mut workers = [run.worker(), run.worker()];
        match decl.source {
            Source::Input { .. } => {
                for (number, batch) in batches.iter().enumerate() {
                    run.run_batch(stage, &mut workers[number % 2], batch)?;
                }
            }
            _ => {
                for partition in 0..partitions {
                    let mut cursor = run.table_cursor(stage, partition)?;
                    while run.run_table(stage, &mut workers[0], &mut cursor)? == Flow::More {}
                    out.extend(workers[0].take_output());
                }
            }
        }
        drop(workers);
        while let parts @ 1.. = run.finish_parts(stage)? {
            for part in 0..parts {
                run.finish_part(stage, part)?;
            }
        }
    }
    Ok(out)
}

/// One row: number key, text key, two arguments, condition, text.
type Row = (Option<i64>, Option<String>, Option<i64>, i64, Option<bool>, Option<String>);

fn rows(count: usize, groups: i64) -> Vec<Row> {
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let row = |number: usize| {
        let key = next(groups as u64) as i64;
        let some = |value: i64, by: u64| (!(value as u64).is_multiple_of(by)).then_some(value);
        let long = format!("a key that is no short text: {key}");
        (
            some(key, 11),
            (key % 7 != 0).then(|| if key % 2 == 0 { format!("k{key}") } else { long }),
            some(next(50) as i64, 5),
            next(9) as i64 - 4,
            [Some(true), Some(false), None][next(3) as usize],
            (!number.is_multiple_of(3))
                .then(|| if number.is_multiple_of(2) { format!("{number};") } else { format!("row number {number} of many;") }),
        )
    };
    (0..count).map(row).collect()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.3)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.4).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.5.as_deref()).collect::<StringViewArray>()),
    ];
    let fields: Vec<Field> = columns.iter().map(|column| Field::new("c", column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Rows, sum, weighted sum, squares; texts by worker.
type Expected = (i64, Option<i64>, Option<i64>, Option<i64>, [String; 2], bool);

/// What comes out, as text: keys, rows, sum, weighted, texts, squares.
fn expected(batches: &[Vec<Row>], key: impl Fn(&Row) -> Vec<String>) -> Vec<String> {
    let mut groups: BTreeMap<Vec<String>, Expected> = BTreeMap::new();
    for (worker, row) in batches.iter().enumerate().flat_map(|(number, rows)| rows.iter().map(move |row| (number % 2, row))) {
        let group = groups.entry(key(row)).or_default();
        group.0 += 1;
        if let Some(value) = row.2 {
            group.1 = Some(group.1.unwrap_or(0) + value);
            if row.4 == Some(true) {
                group.2 = Some(group.2.unwrap_or(0) + value * row.3);
            }
        }
        group.3 = Some(group.3.unwrap_or(0) + row.3 * row.3);
        if let Some(text) = &row.5 {
            group.4[worker].push_str(text);
            group.5 = true;
        }
    }
    let mut lines: Vec<String> = groups
        .into_iter()
        .map(|(keys, (count, sum, weighted, squares, texts, any))| {
            let show = |value: Option<i64>| value.map_or("null".to_string(), |value| value.to_string());
            let texts = if any { texts.concat() } else { "null".to_string() };
            let mut cells = keys;
            cells.extend([count.to_string(), show(sum), show(weighted), texts, show(squares)]);
            cells.join("|")
        })
        .collect();
    lines.sort();
    lines
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = vec![];
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| {
                if column.is_null(row) { "null".into() } else { arrow::util::display::array_value_to_string(column, row).unwrap() }
            };
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    lines
}

fn hosts() -> Vec<Arc<dyn HostAggregate>> {
    vec![Arc::new(Weighted), Arc::new(Concat)]
}

const RESULTS: &str = "v10: int64, v11: int64?, v12: int64?, v13: utf8?, v14: int64?";
const OUTPUT: &str = "int64, int64?, int64?, utf8?, int64?";

#[test]
fn both_engines_compute_what_rows_say() {
    let show = |value: Option<i64>| value.map_or("null".to_string(), |value| value.to_string());
    let text = |value: &Option<String>| value.clone().unwrap_or("null".into());
    type Key<'a> = Box<dyn Fn(&Row) -> Vec<String> + 'a>;
    let shapes: [(&str, &str, String, Key<'_>); 4] = [
        ("", "", String::new(), Box::new(|_| vec![])),
        ("int64?", "v0", "v8: int64?, ".into(), Box::new(|row| vec![show(row.0)])),
        ("utf8?", "v1", "v8: utf8?, ".into(), Box::new(|row| vec![text(&row.1)])),
        ("utf8?, int64?", "v1, v0", "v8: utf8?, v9: int64?, ".into(), Box::new(|row| vec![text(&row.1), show(row.0)])),
    ];
    for (group, keys, columns, key) in &shapes {
        let output = if group.is_empty() { OUTPUT.to_string() } else { format!("{group}, {OUTPUT}") };
        let program = Arc::new(program(group, keys, &format!("{columns}{RESULTS}"), &output));
        // One worker; two; none that found a row; more rows than buffers take; many groups.
        for (sizes, groups) in
            [(vec![50], 5), (vec![300, 7, 1000], 40), (vec![0, 0], 1), (vec![20_000, 9_000], 12), (vec![9_000; 3], 5_000)]
        {
            let all: Vec<Vec<Row>> = sizes.iter().map(|size| rows(*size, groups)).collect();
            let mut wanted = expected(&all, key);
            if wanted.is_empty() && group.is_empty() {
                wanted = vec!["0|null|null|null|null".into()];
            }
            let batches: Vec<RecordBatch> = all.iter().map(|rows| batch(rows)).collect();
            for partitions in [1, 3] {
                for (native, split) in [(false, false), (true, false), (true, true)] {
                    let got = run(&program, native, split, partitions, hosts(), &batches, Arc::new(Unlimited)).expect("runs");
                    assert_eq!(
                        lines(&got),
                        wanted,
                        "keys ({group}), {sizes:?} rows, {partitions} partitions, native {native}, split {split}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_error_of_the_host_ends_the_run() {
    let program = Arc::new(program("", "", RESULTS, OUTPUT));
    let batch = batch(&[(None, None, Some(13), 1, Some(true), None)]);
    for native in [false, true] {
        let hosts: Vec<Arc<dyn HostAggregate>> = vec![Arc::new(Superstitious), Arc::new(Concat)];
        let error = run(&program, native, false, 1, hosts, std::slice::from_ref(&batch), Arc::new(Unlimited)).unwrap_err();
        assert_eq!(error.to_string(), "13 came");
    }
}

/// A budget that notes what is held, and has an end.
#[derive(Debug)]
struct Limited {
    most: usize,
    held: AtomicUsize,
    peak: Mutex<usize>,
}

impl MemoryBudget for Limited {
    fn resize(&self, bytes: usize) -> Result<(), HostError> {
        self.held.store(bytes, Ordering::Relaxed);
        let mut peak = self.peak.lock().unwrap();
        *peak = (*peak).max(bytes);
        if bytes > self.most { Err("no more".into()) } else { Ok(()) }
    }
}

#[test]
fn states_count_towards_the_budget() {
    let program = Arc::new(program("int64?", "v0", &format!("v8: int64?, {RESULTS}"), &format!("int64?, {OUTPUT}")));
    let batches = [batch(&rows(60_000, 50_000)), batch(&rows(60_000, 50_000))];
    for native in [false, true] {
        let budget = |most| Arc::new(Limited { most, held: AtomicUsize::new(0), peak: Mutex::new(0) });
        let wide = budget(usize::MAX);
        run(&program, native, false, 2, hosts(), &batches, Arc::clone(&wide) as Arc<dyn MemoryBudget>).expect("runs");
        assert_eq!(wide.held.load(Ordering::Relaxed), 0, "all is given back");
        // Rows of two tables with some 40 bytes of states each, beside the tables themselves.
        let peak = *wide.peak.lock().unwrap();
        assert!(peak > 12 << 20, "{peak}");
        let narrow = budget(peak / 2);
        let error = run(&program, native, false, 2, hosts(), &batches, narrow as Arc<dyn MemoryBudget>).unwrap_err();
        assert!(matches!(error, Error::Memory(_)), "{error}");
    }
}
