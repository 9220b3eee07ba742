//! Every reason is shown, with what to do about it, wherever somebody may look.

use datafusion::physical_plan::displayable;

use super::{GROUPED, JOINED, session};
use crate::FallbackReason;
use crate::config::StagefuseConfig;
use crate::explain::{compiled_nodes, overview, stage_table};
use crate::report::{Report, Times};

/// Lines are broken anywhere between words.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_reason_is_shown_everywhere() {
    for reason in FallbackReason::examples() {
        for sql in [GROUPED, JOINED] {
            let session = session("compiled", 2).await;
            let plan = session.sql(sql).await.unwrap().physical().await.unwrap();
            let nodes = compiled_nodes(&plan);
            nodes.iter().for_each(|node| node.pretend(reason.clone()));
            let (cause, remedy) = (reason.cause(), reason.remedy());
            assert!(!cause.is_empty() && !remedy.is_empty() && reason.to_string() == format!("{cause}: {remedy}"));
            // EXPLAIN and EXPLAIN ANALYZE of DataFusion, EXPLAIN CODEGEN, and what is added to EXPLAIN ANALYZE.
            let plain = displayable(plan.as_ref()).indent(false).to_string();
            for shown in [plain, overview(&plan, false), overview(&plan, true), stage_table(&plan).unwrap()] {
                assert!(flat(&shown).contains(&flat(&cause)) && flat(&shown).contains(remedy), "{reason:?} in\n{shown}");
            }
            let tree = displayable(plan.as_ref()).tree_render().to_string();
            assert!(tree.contains("s0 datafusion"), "{tree}");
            // Metrics, ours and DataFusion's.
            for node in &nodes {
                assert!(node.stages().iter().all(|stage| stage.fallback.as_ref() == Some(&reason)));
                let set = datafusion::physical_plan::ExecutionPlan::metrics(*node).unwrap();
                let labels = |number: usize| {
                    let of_stage = set.iter().find(|metric| metric.value().name() == format!("s{number}_rows_in")).unwrap();
                    of_stage.labels().iter().map(|label| (label.name().to_string(), label.value().to_string())).collect::<Vec<_>>()
                };
                for number in 0..node.stages().len() {
                    assert!(labels(number).contains(&("fallback".to_string(), reason.to_string())), "{:?}", labels(number));
                }
            }
            // The report as data, and the data in the page.
            let report = Report::new(sql, &plan, &StagefuseConfig::default(), Times::default(), None);
            let html = report.html();
            let data = html.split("<script type=\"application/json\" id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
            let in_page: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
            for data in [report.json(), &in_page] {
                let stages: Vec<_> = data["nodes"].as_array().unwrap().iter().flat_map(|node| node["stages"].as_array().unwrap()).collect();
                assert!(!stages.is_empty());
                for stage in stages {
                    let fallback = &stage["fallback"];
                    assert_eq!(fallback["reason"], reason.to_string());
                    assert_eq!((fallback["cause"].as_str(), fallback["remedy"].as_str()), (Some(cause.as_str()), Some(remedy)));
                }
            }
        }
    }
}
