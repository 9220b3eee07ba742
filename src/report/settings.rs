//! The settings that were in force, with the names that Spark has for the same.

use datafusion::common::config::ExtensionOptions;
use serde_json::{Value, json};

use crate::config::StagefuseConfig;

pub(super) fn all(config: &StagefuseConfig) -> Vec<Value> {
    let entries = config.entries().into_iter();
    entries
        .map(|entry| {
            let own = entry.key.strip_prefix("stagefuse.").unwrap_or(&entry.key);
            json!({ "name": entry.key, "value": entry.value, "meaning": entry.description, "spark": spark(own) })
        })
        .collect()
}

/// Spark's name of a setting, below `spark.sql.codegen.`.
fn spark(name: &str) -> Option<&'static str> {
    Some(match name {
        "mode" => "spark.sql.codegen.wholeStage",
        "max_fields" => "spark.sql.codegen.maxFields",
        "max_code_bytes" => "spark.sql.codegen.hugeMethodLimit",
        "split_by_operator" => "spark.sql.codegen.splitConsumeFuncByOperator",
        "fallback" => "spark.sql.codegen.fallback",
        "comments" => "spark.sql.codegen.comments",
        "dump_max_lines" => "spark.sql.codegen.logging.maxLines",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_the_names_that_set_takes() {
        let all = all(&StagefuseConfig::default());
        let mode = &all[0];
        assert_eq!((&mode["name"], &mode["value"]), (&"stagefuse.mode".into(), &"auto".into()));
        assert_eq!(mode["spark"], "spark.sql.codegen.wholeStage");
        assert!(all.iter().any(|setting| setting["spark"].is_null()) && all.len() > 8);
    }
}
