//! Random programs: what the verifier accepts runs native and interpreted, with the same rows or an error in both, however rows are cut into morsels,
//! whichever engine takes the next one, and whether or not a stage is narrowed or split.

#[path = "../../../ir/tests/random/generate.rs"]
#[expect(dead_code, reason = "the tests of `ir` use the rest")]
mod generate;
mod run;

use generate::{Choices, EVERY_TYPE, Generator};
use proptest::prelude::*;
use run::{check, is_plain};
use stagefuse_compiler::{Options, compile};
use stagefuse_ir::{parser::parse, verifier::verify};
use stagefuse_runtime::builtins;

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 20..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 80, ..ProptestConfig::with_cases(12) })]

    /// One stage with all kinds of operations.
    #[test]
    fn scans(choices in numbers(), data in numbers()) {
        check(Generator::new(Choices::new(choices), EVERY_TYPE).scan_and_emit(), &data);
    }

    /// Join and group tables.
    #[test]
    fn tables(choices in numbers(), data in numbers()) {
        check(Generator::new(Choices::new(choices), EVERY_TYPE).stages(), &data);
    }

    /// The text of a program with anything in it changed: if it parses and verifies, it can be compiled, or is refused.
    #[test]
    fn changed_text(choices in numbers(), at in any::<prop::sample::Index>(), put in "[a-z0-9{}()_:,; ?\\-]{0,3}", cut in 0usize..4) {
        let mut text: Vec<char> = Generator::new(Choices::new(choices.clone()), EVERY_TYPE).stages().to_string().chars().collect();
        let at = at.index(text.len());
        text.splice(at..(at + cut).min(text.len()), put.chars());
        if let Ok(program) = parse(&text.into_iter().collect::<String>()) && verify(&program).is_ok() {
            for stage in program.stages.keys() {
                let _ = compile(&program, stage, &builtins(), &Options { verify: true, ..Options::default() });
            }
            if is_plain(&program) {
                check(program, &choices);
            }
        }
    }
}
