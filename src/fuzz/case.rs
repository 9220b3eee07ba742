//! A case: tables, settings, a query.

use std::fmt::Write as _;

use super::ast::Query;
use super::generate;
use super::random::Random;
use super::table::Table;

/// Tables, settings and a query over them.
#[derive(Clone, Debug)]
pub struct Case {
    /// The tables.
    pub tables: Vec<Table>,
    /// Settings of DataFusion, for all engines, and of Stagefuse.
    pub settings: Vec<(&'static str, String)>,
    /// The query.
    pub query: Query,
}

impl Case {
    /// The case that a seed stands for.
    pub fn of_seed(seed: u64) -> Case {
        Case::any(&mut Random::new(seed))
    }

    /// The case that choices lead to.
    pub fn any(random: &mut Random) -> Case {
        let (count, common) = (1 + random.below(3), random.number());
        let tables = (0..count).map(|number| {
            let rows = match random.weighted(&[3, 4, 18, 42, 30, 3]) {
                0 => 0,
                1 => 1,
                2 => 2 + random.below(8),
                3 => 10 + random.below(60),
                4 => 70 + random.below(300),
                _ => 2_000 + random.below(4_000),
            };
            Table::any(&format!("t{number}"), rows, common, random)
        });
        let tables: Vec<Table> = tables.collect();
        let mut settings = settings(random);
        let query = generate::query(&tables, random);
        if random.chance(20) {
            settings.push(("stagefuse.test_collisions", "true".to_owned()));
        }
        Case { tables, settings, query }
    }

    /// The case as SQL: tables, settings, query.
    pub fn script(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{};", table.script());
        }
        for (name, value) in &self.settings {
            let _ = writeln!(text, "SET {name} = {value};");
        }
        let _ = writeln!(text, "{};", self.query);
        text
    }
}

fn settings(random: &mut Random) -> Vec<(&'static str, String)> {
    let mut settings = vec![("datafusion.execution.target_partitions", (1 + random.below(4)).to_string())];
    if random.chance(40) {
        settings.push(("datafusion.execution.batch_size", random.pick(&[1, 3, 10, 100]).to_string()));
    }
    let mut maybe = |percent: usize, name: &'static str, values: &[&str]| {
        if random.chance(percent) {
            settings.push((name, (*random.pick(values)).to_owned()));
        }
    };
    maybe(35, "stagefuse.test_paths", &["1", "2", "3", "7", "64"]);
    maybe(10, "datafusion.optimizer.prefer_hash_join", &["false"]);
    maybe(10, "datafusion.optimizer.repartition_aggregations", &["false"]);
    maybe(10, "datafusion.optimizer.repartition_joins", &["false"]);
    maybe(10, "datafusion.optimizer.hash_join_single_partition_threshold", &["0"]);
    maybe(20, "stagefuse.reorder_joins", &["false"]);
    maybe(10, "stagefuse.opt_level", &["none"]);
    maybe(10, "stagefuse.max_code_bytes", &["300", "1000", "4000"]);
    maybe(5, "stagefuse.split_by_operator", &["false"]);
    maybe(3, "stagefuse.max_fields", &["3"]);
    settings
}
