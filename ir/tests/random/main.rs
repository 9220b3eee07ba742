//! Properties of random programs: the text form loses nothing, passes keep the laws, and narrowing changes no result.

mod evaluate;
mod generate;

use proptest::prelude::*;
use stagefuse_ir::passes::{eliminate_dead, narrow};
use stagefuse_ir::{Program, SqlType, Stage, parser::parse, printer::annotated, verifier::verify};

use crate::evaluate::{assert_fits, evaluate};
use crate::generate::{Choices, EVERY_TYPE, Generator};

/// Types that the evaluator knows.
const NUMBERS: &[SqlType] = &[
    SqlType::Boolean,
    SqlType::Int16,
    SqlType::Int64,
    SqlType::UInt32,
    SqlType::Decimal { precision: 5, scale: 2 },
    SqlType::Decimal { precision: 9, scale: 0 },
    SqlType::Decimal { precision: 15, scale: 2 },
    SqlType::Decimal { precision: 18, scale: 4 },
    SqlType::Decimal { precision: 20, scale: 0 },
    SqlType::Decimal { precision: 37, scale: 2 },
    SqlType::Decimal { precision: 38, scale: 4 },
];

fn choices() -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u64>(), 20..400).prop_map(Choices::new)
}

fn assert_round_trip(program: &Program) {
    let text = program.to_string();
    assert_eq!(parse(&text).unwrap().to_string(), text);
    assert_eq!(parse(&annotated(program)).unwrap().to_string(), text);
}

fn assert_lawful(program: &Program) {
    if let Err(errors) = verify(program) {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!("{}\n{program}", errors.join("\n"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Programs with all kinds of stages survive printing and parsing, and each pass yields a program that obeys the laws.
    #[test]
    fn text_and_laws(choices in choices()) {
        let mut program = Generator::new(choices, EVERY_TYPE).stages();
        assert_lawful(&program);
        assert_round_trip(&program);
        for pass in [eliminate_dead, narrow, eliminate_dead] {
            pass(&mut program);
            assert_lawful(&program);
            assert_round_trip(&program);
            let once = program.clone();
            pass(&mut program);
            prop_assert_eq!(program.to_string(), once.to_string());
        }
    }

    /// A narrowed stage yields what it yielded before, errors too, and no value is beyond its representation.
    #[test]
    fn narrowing_changes_no_result(choices in choices()) {
        let mut generator = Generator::new(choices, NUMBERS);
        let before = generator.scan_and_emit();
        assert_lawful(&before);
        let mut after = before.clone();
        narrow(&mut after);
        assert_lawful(&after);
        let mut lean = after.clone();
        eliminate_dead(&mut lean);
        assert_lawful(&lean);
        let stage = Stage::from_u32(0);
        for _ in 0..16 {
            let row = generator.row(&before);
            let wanted = evaluate(&before, stage, &row);
            let (got, values) = (evaluate(&after, stage, &row), evaluate(&lean, stage, &row));
            prop_assert_eq!(&got.columns, &wanted.columns, "{}\n{}\n{:?}", &before, &after, &row);
            prop_assert_eq!(&values.columns, &wanted.columns, "{}\n{}\n{:?}", &before, &lean, &row);
            assert_fits(&after, stage, &got);
        }
    }

    /// Any text is answered without a panic.
    #[test]
    fn any_text(text in "\\PC*") {
        let _ = parse(&text);
    }

    /// As is a program's text with anything in it changed.
    #[test]
    fn changed_text(choices in choices(), at in any::<prop::sample::Index>(), put in "[a-z0-9{}()_:,; \"\\-]{0,4}", cut in 0usize..9) {
        let mut text: Vec<char> = Generator::new(choices, EVERY_TYPE).stages().to_string().chars().collect();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, put.chars());
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(program) => {
                assert_round_trip(&program);
                let _ = verify(&program);
            }
            Err(error) => {
                let lines: Vec<_> = text.split('\n').collect();
                prop_assert!((1..=lines.len()).contains(&error.line) && !error.message.is_empty());
                prop_assert!((1..=lines[error.line - 1].chars().count() + 1).contains(&error.column));
            }
        }
    }
}
