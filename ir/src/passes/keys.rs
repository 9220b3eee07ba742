//! Reads from a join table's keys what its payload has once more.
//!
//! A column that rows are joined by is mostly wanted above the join, too, so that it lies in the table twice: as a key, and in the payload. Whoever reads the latter may as well read the
//! key. [`super::eliminate_dead`] then drops the payload: rows are shorter, and whoever reads a key knows that it equals the probe's.

use crate::entities::{Join, Stage, Value};
use crate::program::{Probe, Program, Sink, Source, StageDecl, StmtKind};

/// Lets stages read join tables' keys in place of payload that is the same, in a program that obeys the verifier's laws.
///
/// A program that breaks a law is left as it is, for the verifier to report.
pub fn read_keys(program: &mut Program) {
    if crate::verifier::verify(program).is_err() {
        return;
    }
    for join in program.joins.keys().collect::<Vec<_>>() {
        let (keys, payload) = (program.joins[join].keys.len(), program.joins[join].payload.len());
        for column in 0..payload {
            if let Some(key) = (0..keys).find(|key| is_same(program, join, *key, column)) {
                for stage in program.stages.keys().collect::<Vec<Stage>>() {
                    read_key(&mut program.stages[stage], join, key, keys + column);
                }
            }
        }
    }
}

/// Whether a column of the payload is a key, in every row that is built.
fn is_same(program: &Program, join: Join, key: usize, column: usize) -> bool {
    let decl = &program.joins[join];
    decl.keys[key] == decl.payload[column]
        && program.stages.values().all(|stage| match &stage.sink {
            Sink::Build { join: built, keys, payload } if *built == join => keys[key] == payload[column],
            _ => true,
        })
}

/// Lets a stage read the column at `key` in place of that at `other`, where it does not read both.
fn read_key(stage: &mut StageDecl, join: Join, key: usize, other: usize) {
    if matches!(stage.source, Source::Join(read, _) if read == join) && !uses(stage, stage.params[key]) {
        stage.params.swap(key, other);
    }
    let of_probe = |probe: &mut Probe| {
        if probe.join == join && probe.columns[key].is_none() {
            probe.columns.swap(key, other);
        }
    };
    let probes = stage.body.iter_mut().filter_map(|stmt| match &mut stmt.kind {
        StmtKind::Probe(probe) => Some(probe),
        _ => None,
    });
    let sink = match &mut stage.sink {
        Sink::Mark { probe } => Some(probe),
        _ => None,
    };
    probes.chain(sink).for_each(of_probe);
}

fn uses(stage: &StageDecl, value: Value) -> bool {
    let mut found = false;
    let mut look = |operand: Value| found |= operand == value;
    stage.body.iter().for_each(|stmt| stmt.kind.for_each_operand(&mut look));
    stage.sink.for_each_operand(&mut look);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::eliminate_dead;
    use crate::{parser, verifier};

    /// A table with keys `v0`, `v1` and payload `v1`, `v0`, `v2`; one stage that probes it, and one that reads it.
    fn reduced(payload: &str, probed: &str, emitted: &str, read: &str) -> String {
        let text = format!(
            "program {{
            input0 \"a\" (int64, int64?, int64)
            join0 keys(int64, int64?) payload(int64?, int64, int64) tracked
            output (int64, int64?)
            s0 \"build\" {{ source input0 (v0: int64, v1: int64?, v2: int64) build join0 keys(v0, v1) payload({payload}) }}
            s1 \"probe\" {{ source input0 (v0: int64, v1: int64?, v2: int64)
                probe join0 inner keys(v0, v1) -> ({probed}) marks_build
                emit ({emitted}) }}
            s2 \"rest\" {{ source join0 unmatched (v0: int64, v1: int64?, v2: int64?, v3: int64, v4: int64) emit ({read}) }}
            }}"
        );
        let text =
            text.replace(" source", "\nsource").replace(" build join0", "\nbuild join0").replace(" emit", "\nemit").replace(" }", "\n}");
        let mut program = parser::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        read_keys(&mut program);
        verifier::verify(&program).unwrap();
        eliminate_dead(&mut program);
        verifier::verify(&program).unwrap();
        program.to_string()
    }

    #[test]
    fn payload_that_is_a_key_goes() {
        let program = reduced("v1, v0, v2", "_, _, v5: int64?, v6: int64, v7: int64", "v6, v5", "v3, v2");
        assert!(program.contains("payload()"), "{program}");
        assert!(program.contains("(v6: int64, v5: int64?)") && program.contains("(v3: int64, v2: int64?)"), "{program}");
    }

    #[test]
    fn what_is_no_key_stays() {
        // Other columns in the payload; and both read by somebody.
        assert!(reduced("v1, v2, v2", "_, _, v5: int64?, v6: int64, v7: int64", "v6, v5", "v3, v2").contains("payload(int64)"));
        let both = reduced("v1, v0, v2", "v4: int64, _, v5: int64?, v6: int64, v7: int64", "v6, v5", "v3, v2");
        assert!(!both.contains("payload()") && both.contains("payload(int64)"), "{both}");
        let both = reduced("v1, v0, v2", "v4: int64, v8: int64?, _, _, _", "v4, v8", "v3, v1");
        assert!(both.contains("payload()"), "{both}");
    }
}
