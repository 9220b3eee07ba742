//! Tables and a query, as choices of `stagefuse fuzz`: all engines have DataFusion's answer.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use stagefuse::fuzz::{Case, Engines, Random, Verdict, examine, explain};
use tokio::runtime::Runtime;

fn runtime() -> &'static (Runtime, Engines) {
    static RUNTIME: OnceLock<(Runtime, Engines)> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(64 << 20).enable_all().build();
        (runtime.expect("a runtime"), Engines::default())
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (runtime, engines) = runtime();
    let case = Case::any(&mut Random::of_bytes(bytes));
    runtime.block_on(async {
        if let Verdict::Different(found) = examine(engines, &case).await.verdict {
            panic!("{}", explain(engines, 0, case, *found, Duration::from_secs(60)).await);
        }
    });
});
