//! Puts the times of a profile to the lines that they belong to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::profile::{INTERVAL, Profile, StageProfile};

/// Adds times to the stages, the lines of the plan, and the tokens of the text; yields what is said of the profile as a whole. Times are milliseconds of processor
/// time of one run, on average.
pub(super) fn add(profile: &Profile, nodes: &mut [Value], plan: &mut [Value], sql: &mut [Value]) -> Value {
    let mut heat = Heat { plan: vec![0.0; plan.len()], sql: vec![0.0; sql.len()] };
    let mut sums = StageTimes::default();
    let none = StageProfile::default();
    for (node, value) in nodes.iter_mut().enumerate() {
        for (number, stage) in list(value, "stages").iter_mut().enumerate() {
            let of_stage = profile.stages.get(&(node, number)).unwrap_or(&none);
            let times = StageTimes::of(profile, of_stage);
            of_code(profile, of_stage, stage, times.finish, &mut heat);
            stage["profile"] = times.json();
            sums.add(&times);
        }
    }
    for (lines, times) in [(plan, &heat.plan), (sql, &heat.sql)] {
        for (line, time) in lines.iter_mut().zip(times).filter(|(_, time)| **time > 0.0) {
            line["self_ms"] = json!(rounded(*time));
        }
    }
    let (plain, sampled) = profile.medians();
    let cost = sampled.as_secs_f64() / plain.as_secs_f64().max(1e-9) - 1.0;
    let mut value = sums.json();
    value["method"] = json!("the instruction pointer of each thread, by a timer; weighted by processor time");
    value["interval_us"] = json!(INTERVAL.as_micros() as u64);
    value["runs"] = json!(profile.sampled.len());
    value["samples"] = json!(profile.samples);
    value["lost"] = json!(profile.lost);
    value["cpu_ms"] = json!(rounded(profile.per_run(profile.total())));
    value["outside_ms"] = json!(rounded(profile.per_run(profile.outside)));
    value["unsampled_ms"] = json!(rounded(profile.per_run(profile.unsampled)));
    value["plain_ms"] = json!(rounded(plain.as_secs_f64() * 1e3));
    value["sampled_ms"] = json!(rounded(sampled.as_secs_f64() * 1e3));
    value["cost"] = json!(rounded(cost));
    value
}

struct Heat {
    plan: Vec<f64>,
    sql: Vec<f64>,
}

#[derive(Default)]
struct StageTimes {
    code: f64,
    calls: f64,
    around: f64,
    finish: f64,
}

impl StageTimes {
    fn of(profile: &Profile, stage: &StageProfile) -> StageTimes {
        let (code, calls) = stage.in_code();
        let ms = |nanos| profile.per_run(nanos);
        StageTimes { code: ms(code), calls: ms(calls), around: ms(stage.around), finish: ms(stage.finish) }
    }

    fn add(&mut self, other: &StageTimes) {
        self.code += other.code;
        self.calls += other.calls;
        self.around += other.around;
        self.finish += other.finish;
    }

    fn json(&self) -> Value {
        json!({
            "code_ms": rounded(self.code), "calls_ms": rounded(self.calls),
            "around_ms": rounded(self.around), "finish_ms": rounded(self.finish),
        })
    }
}

/// Times of instructions, of the operations that they come from, and of what those come from.
fn of_code(profile: &Profile, times: &StageProfile, stage: &mut Value, finish: f64, heat: &mut Heat) {
    let mut places: BTreeMap<String, f64> = BTreeMap::new();
    let mut clif: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for (line, (own, calls)) in by_line(list(stage, "asm"), times) {
        let line = &mut list(stage, "asm")[line];
        put(profile, line, own, calls);
        let place = line["place"].as_str().unwrap_or_default().to_string();
        *places.entry(place).or_default() += profile.per_run(own + calls);
        if let Some(from) = line["clif"].as_u64() {
            let sums: &mut (u64, u64) = clif.entry(from as usize).or_default();
            *sums = (sums.0 + own, sums.1 + calls);
        }
    }
    for (line, (own, calls)) in clif {
        if let Some(line) = list(stage, "clif").get_mut(line) {
            put(profile, line, own, calls);
        }
    }
    let mut finish = Some(finish).filter(|finish| *finish > 0.0);
    for line in list(stage, "ir") {
        let place = line["place"].as_str().unwrap_or_default().to_string();
        // Of several lines of one place the first has its time.
        let mut time = places.remove(&place).unwrap_or(0.0);
        if time > 0.0 {
            line["self_ms"] = json!(rounded(time));
        }
        if place == "sink" {
            // Putting rows in order and merging groups is what the sink is there for.
            time += finish.take().unwrap_or(0.0);
        }
        for (name, times) in [("plan", &mut heat.plan), ("sql", &mut heat.sql)] {
            let to: Vec<usize> = line[name].as_array().into_iter().flatten().filter_map(|at| Some(at.as_u64()? as usize)).collect();
            for at in &to {
                if let Some(sum) = times.get_mut(*at) {
                    *sum += time / to.len() as f64;
                }
            }
        }
    }
}

/// Says in a line of code what it took.
fn put(profile: &Profile, line: &mut Value, own: u64, calls: u64) {
    for (field, nanos) in [("self_ms", own), ("calls_ms", calls)] {
        if nanos > 0 {
            line[field] = json!(rounded(profile.per_run(nanos)));
        }
    }
}

/// Times by number of the line: that of the instruction which the offset falls into. Each function begins at offset 0 again.
fn by_line(lines: &[Value], times: &StageProfile) -> BTreeMap<usize, (u64, u64)> {
    let (mut function, mut last) = (0, None);
    let mut starts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(offset) = line["offset"].as_u64().map(|offset| offset as usize) else { continue };
        if last.is_some_and(|last| offset <= last) {
            function += 1;
        }
        last = Some(offset);
        starts.insert((function, offset), number);
    }
    let mut found = BTreeMap::new();
    for (at, (own, calls)) in &times.code {
        let line = starts.range(..=*at).next_back().filter(|((function, _), _)| *function == at.0);
        if let Some((_, line)) = line {
            let sum: &mut (u64, u64) = found.entry(*line).or_default();
            sum.0 += own;
            sum.1 += calls;
        }
    }
    found
}

fn list<'a>(value: &'a mut Value, field: &str) -> &'a mut [Value] {
    value[field].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default()
}

/// To a tenth of a microsecond: more is noise, and takes room.
fn rounded(ms: f64) -> f64 {
    (ms * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_the_lines_of_their_function() {
        let lines: Vec<Value> = [0, 4, 9, 0, 3].iter().map(|offset| json!({ "offset": offset })).collect();
        let code = BTreeMap::from([((0, 5), (1, 0)), ((0, 4), (10, 0)), ((0, 50), (100, 0)), ((1, 2), (1000, 7)), ((2, 0), (9, 9))]);
        let stage = StageProfile { code, ..StageProfile::default() };
        assert_eq!(by_line(&lines, &stage), BTreeMap::from([(1, (11, 0)), (2, (100, 0)), (3, (1000, 7))]));
    }
}
