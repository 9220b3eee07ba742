//! A bounded search for wrong results, with fixed seeds: `stagefuse fuzz` searches longer.

use std::sync::Mutex;
use std::time::Duration;

use stagefuse::fuzz::{Case, Search};

#[test]
fn engines_agree() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).thread_stack_size(8 << 20).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let search = Search {
        seed: 20_261_124,
        cases: 120,
        time: Duration::from_secs(3600),
        threads: 2,
        minimise: Duration::from_secs(20),
        ..Search::default()
    };
    let differences = Mutex::new(vec![]);
    let summary = runtime.block_on(search.run(|text| differences.lock().expect("no panic").push(text.to_owned())));
    let differences = differences.into_inner().expect("no panic");
    assert_eq!(summary.different, 0, "{}\n{summary}", differences.join("\n"));
    // The search would find nothing if its queries failed, had no rows, or did not reach the compiler.
    assert_eq!(summary.cases, 120);
    assert!(summary.failed * 5 < summary.cases, "{summary}");
    assert!(summary.with_rows * 3 > summary.cases, "{summary}");
    assert!(summary.with_stages * 2 > summary.cases, "{summary}");
    assert!(summary.native * 10 > summary.stages * 8, "{summary}");
}

#[test]
fn a_seed_is_always_the_same_case() {
    for seed in 0..50 {
        assert_eq!(Case::of_seed(seed).script(), Case::of_seed(seed).script());
    }
    assert_ne!(Case::of_seed(1).script(), Case::of_seed(2).script());
}
