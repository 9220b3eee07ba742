//! The names that can be completed.

use stagefuse::Session;

use super::command::COMMANDS;

/// Words of SQL, and the commands; the session's own names come on top.
const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "ANALYZE",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CACHE TABLE",
    "CASE",
    "CAST",
    "CODEGEN",
    "CREATE TABLE",
    "CROSS JOIN",
    "DATE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP TABLE",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXPLAIN CODEGEN",
    "EXPLAIN CODEGEN ANALYZE",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL JOIN",
    "GROUP BY",
    "HAVING",
    "IN",
    "INNER JOIN",
    "INSERT INTO",
    "INTERSECT",
    "INTERVAL",
    "IS NOT NULL",
    "IS NULL",
    "JOIN",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS FIRST",
    "NULLS LAST",
    "OFFSET",
    "ON",
    "OR",
    "ORDER BY",
    "OVER",
    "PARTITION BY",
    "RIGHT JOIN",
    "ROLLUP",
    "SELECT",
    "SET",
    "SHOW",
    "SHOW TABLES",
    "THEN",
    "TRUE",
    "UNCACHE TABLE",
    "UNION",
    "UNION ALL",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// What a word can become.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    all: Vec<String>,
    settings: Vec<String>,
}

impl Names {
    /// The names of a session: keywords, tables, columns, settings, functions.
    pub(super) fn of(session: &Session, runtime: &tokio::runtime::Runtime) -> Names {
        let mut names: Vec<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
        names.extend(COMMANDS.iter().map(|(word, _)| (*word).to_owned()));
        let context = session.context();
        let mut tables = vec![];
        for catalog in context.catalog_names().iter().filter_map(|name| context.catalog(name)) {
            for schema in catalog.schema_names().iter().filter(|name| *name != "information_schema").filter_map(|name| catalog.schema(name))
            {
                tables.extend(schema.table_names());
            }
        }
        for table in &tables {
            if let Ok(provider) = runtime.block_on(context.table_provider(table.as_str())) {
                names.extend(provider.schema().fields().iter().map(|field| field.name().clone()));
            }
        }
        names.extend(tables);
        let mut settings: Vec<String> = context.state().config_options().entries().into_iter().map(|entry| entry.key).collect();
        settings.sort();
        names.extend(settings.iter().cloned());
        names.extend(context.state().scalar_functions().keys().cloned());
        names.extend(context.state().aggregate_functions().keys().cloned());
        names.sort();
        names.dedup();
        Names { all: names, settings }
    }

    /// The settings that begin with a word.
    pub(super) fn settings_starting_with(&self, word: &str) -> Vec<String> {
        self.settings.iter().filter(|name| begins(name, word)).cloned().collect()
    }

    /// The names that begin with a word, whatever the case.
    pub(super) fn starting_with(&self, word: &str) -> Vec<String> {
        let lower = word.chars().any(char::is_lowercase);
        // A keyword is written as the word was begun.
        let written = |name: &String| if lower && KEYWORDS.contains(&name.as_str()) { name.to_lowercase() } else { name.clone() };
        self.all.iter().filter(|name| begins(name, word)).map(written).collect()
    }

    /// Whether a word is one of SQL's.
    pub(super) fn is_keyword(word: &str) -> bool {
        KEYWORDS.iter().flat_map(|keywords| keywords.split(' ')).any(|known| known.eq_ignore_ascii_case(word))
    }
}

fn begins(name: &str, word: &str) -> bool {
    name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_in_their_own_case() {
        let names = Names { all: vec!["SELECT".into(), "SET".into(), "Segment".into(), "l_shipdate".into()], settings: vec![] };
        assert_eq!(names.starting_with("se"), ["select", "set", "Segment"]);
        assert_eq!(names.starting_with("SEL"), ["SELECT"]);
        assert_eq!(names.starting_with("l_"), ["l_shipdate"]);
        assert_eq!(names.starting_with("ü"), [""; 0]);
        assert!(Names::is_keyword("group") && Names::is_keyword("by") && !Names::is_keyword("groups"));
    }
}
