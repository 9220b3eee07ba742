//! `bench --report DIR`: one page that needs nothing but itself, and its charts as files of their own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::machine::{self, Facts};
use super::pictures::theme::{escape, name_of};
use super::pictures::{self, Figure, Measurements, capital, is_slower};
use super::record::{Record, geomean};
use crate::cli::arguments::{BenchArguments, Mode, Tables};
use crate::cli::failure::Failure;

/// What the page holds beside measurements.
pub struct Page<'a> {
    pub suite: &'a str,
    pub arguments: &'a BenchArguments,
    /// The load before the first query.
    pub load: Option<f64>,
    /// Settings of the sessions, by name.
    pub settings: Vec<(String, String)>,
    /// Failed queries and wrong answers.
    pub wrong: &'a [String],
}

impl Page<'_> {
    /// Writes the page and the charts.
    pub fn write(&self, folder: &Path, records: &[Record]) -> Result<(), Failure> {
        std::fs::create_dir_all(folder).map_err(|error| Failure::at(folder, error))?;
        let mut charts = String::new();
        let mut contents = vec![];
        let mut files = vec![];
        if let Some(figure) = pictures::over_sizes(records)? {
            charts.push_str(&section(&figure));
            contents.push((figure.name.clone(), figure.title.clone()));
            files.push(figure);
        }
        let sizes = by_size(records);
        for (size, of_size) in &sizes {
            let suffix = if sizes.len() > 1 { format!("-{}", size.replace(' ', "-")) } else { String::new() };
            if sizes.len() > 1 {
                let _ = writeln!(charts, "<h2 id=\"size{suffix}\">{}</h2>", escape(&capital(size)));
                contents.push((format!("size{suffix}"), capital(size)));
            }
            for mut figure in pictures::of_size(&Measurements::of(of_size), &suffix)? {
                if sizes.len() > 1 {
                    figure.title = format!("{}, {size}", figure.title);
                } else {
                    contents.push((figure.name.clone(), figure.title.clone()));
                }
                charts.push_str(&section(&figure));
                files.push(figure);
            }
        }
        for figure in files {
            let file = folder.join(format!("{}.svg", figure.name));
            std::fs::write(&file, figure.wide).map_err(|error| Failure::at(&file, error))?;
        }
        let file = folder.join("index.html");
        std::fs::write(&file, self.html(records, &charts, &contents)).map_err(|error| Failure::at(&file, error))
    }

    fn html(&self, records: &[Record], charts: &str, contents: &[(String, String)]) -> String {
        let links: String = contents.iter().map(|(id, title)| format!("<li><a href=\"#{id}\">{}</a></li>", escape(title))).collect();
        let facts: String = [machine::machine(self.load), machine::versions(), self.settings()].iter().map(table_of).collect();
        let parts = [
            ("{title}", escape(&format!("Benchmark of {}", self.suite))),
            ("{subtitle}", escape(&self.subtitle(records))),
            ("{warnings}", self.warnings()),
            ("{tiles}", tiles(records)),
            ("{contents}", format!("<nav aria-label=\"Charts\"><ul>{links}<li><a href=\"#repeat\">To repeat it</a></li></ul></nav>")),
            ("{charts}", charts.to_owned()),
            ("{reasons}", reasons(records)),
            ("{command}", escape(&machine::command())),
            ("{facts}", facts),
        ];
        // One pass, so that no text that is put in is searched.
        let mut html = String::new();
        let mut rest = include_str!("page.html");
        while let Some((at, (name, value))) = parts.iter().filter_map(|part| Some((rest.find(part.0)?, part))).min_by_key(|(at, _)| *at) {
            html.push_str(&rest[..at]);
            html.push_str(value);
            rest = &rest[at + name.len()..];
        }
        html + rest
    }

    fn subtitle(&self, records: &[Record]) -> String {
        let modes: Vec<&str> = self.arguments.modes.iter().map(|mode| name_of(*mode)).collect();
        let sizes: Vec<String> = by_size(records).into_iter().map(|(size, _)| size).filter(|size| !size.is_empty()).collect();
        let sizes = if sizes.is_empty() { String::new() } else { format!("{}; ", sizes.join(", ")) };
        format!(
            "{}, the same answers checked; {sizes}{} threads; {} of each query after a warm-up, in turn; {}",
            modes.join(" against "),
            self.threads(),
            self.runs(),
            machine::processor()
        )
    }

    fn threads(&self) -> String {
        let threads: Vec<String> = self.arguments.threads.iter().map(u16::to_string).collect();
        threads.join(", ")
    }

    fn runs(&self) -> String {
        if self.arguments.runs == 1 { "1 run".to_owned() } else { format!("{} runs", self.arguments.runs) }
    }

    /// What makes the numbers worth less, or wrong.
    fn warnings(&self) -> String {
        let mut warnings = vec![];
        if machine::build() == "debug" {
            warnings.push("This is a debug build: the times say nothing about a release build.".to_owned());
        }
        if let Some(load) = self.load.filter(|load| *load > 0.5) {
            warnings.push(format!(
                "The machine was busy when it began: a load of {load:.2} on {} cores. What ran beside took part of the time.",
                machine::cores()
            ));
        }
        if self.arguments.runs < 5 {
            warnings.push(format!("Only {} of each query: the spread says little.", self.runs()));
        }
        warnings.extend(self.wrong.iter().cloned());
        if warnings.is_empty() {
            return String::new();
        }
        let items: String = warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))).collect();
        format!("<div class=\"warn\" role=\"note\"><ul>{items}</ul></div>")
    }

    fn settings(&self) -> Facts {
        let of = self.arguments;
        let tables = match of.tables {
            Tables::Compact => "compact (plain DataFusion: Arrow arrays)",
            Tables::Arrow => "Arrow arrays",
        };
        let mut facts = vec![
            ("Threads and partitions".to_owned(), self.threads()),
            ("Runs".to_owned(), of.runs.to_string()),
            ("Storage".to_owned(), of.storage.to_string()),
            ("Tables in memory".to_owned(), tables.to_owned()),
        ];
        facts.extend(self.settings.iter().cloned());
        Facts { title: "Settings", facts }
    }
}

/// The measurements of each size, in the order that they were made in.
fn by_size(records: &[Record]) -> Vec<(String, Vec<&Record>)> {
    let mut sizes: Vec<(String, Vec<&Record>)> = vec![];
    for record in records {
        let size = record.subject.size().unwrap_or_default();
        match sizes.iter_mut().find(|(known, _)| *known == size) {
            Some((_, of_size)) => of_size.push(record),
            None => sizes.push((size, vec![record])),
        }
    }
    sizes
}

/// The geometric means in large letters: of the largest size.
fn tiles(records: &[Record]) -> String {
    let largest = records.iter().filter_map(|record| record.subject.amount()).max_by(f64::total_cmp);
    let of_size: Vec<&Record> = records.iter().filter(|record| record.subject.amount() == largest).collect();
    let of = Measurements::of(&of_size);
    let Some(mode) = of.subject() else { return String::new() };
    let mut tiles = String::new();
    let mut tile = |number: String, about: String| {
        let _ = write!(tiles, "<li><b>{}</b>{}</li>", escape(&number), escape(&about));
    };
    let mut others: Vec<Mode> = of.modes.iter().copied().filter(|other| *other != mode).collect();
    others.sort_by_key(|other| *other != Mode::Off);
    for other in others {
        let ratios = of.ratios(mode, other);
        if let Some(mean) = geomean(ratios.iter().map(|(_, ratio)| *ratio)) {
            tile(format!("{mean:.2}x"), format!("{} against {}, geometric mean", name_of(mode), name_of(other)));
        }
    }
    let ratios = if of.modes.contains(&Mode::Off) { of.ratios(mode, Mode::Off) } else { vec![] };
    if !ratios.is_empty() {
        let slower = ratios.iter().filter(|(_, ratio)| is_slower(*ratio)).count();
        tile(format!("{slower} of {}", ratios.len()), "queries slower than plain DataFusion".to_owned());
    }
    let all = of.queries.iter().filter_map(|query| of.find(query, mode));
    let (native, stages) = all.fold((0, 0), |(native, stages), record| (native + record.native_stages, stages + record.stages));
    if stages > 0 {
        tile(format!("{native} of {stages}"), "stages native".to_owned());
    }
    format!("<ul class=\"tiles\">{tiles}</ul>")
}

fn section(figure: &Figure) -> String {
    let (name, title) = (&figure.name, escape(&figure.title));
    let class = |svg: &str, which: &str| svg.replacen("class=\"sf-chart\"", &format!("class=\"sf-chart {which}\""), 1);
    let cells = |tag: &str, cells: &[String]| {
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let head = figure.head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escape(cell))).collect::<String>();
    let lines: String = figure.lines.iter().map(|line| cells("td", line)).collect();
    format!(
        "<figure id=\"{name}\"><figcaption><h3>{title}</h3><p>{}</p></figcaption>\n{}\n{}\n\
         <details><summary>The numbers<span class=\"skip\"> of {title}</span></summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Numbers: {title}\">\
         <table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></details></figure>\n",
        escape(&figure.about),
        class(&figure.wide, "wide"),
        class(&figure.narrow, "narrow"),
    )
}

/// Why stages did not run native, with the queries of each reason.
fn reasons(records: &[Record]) -> String {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.mode == Mode::Compiled) {
        for reason in &record.fallbacks {
            let queries = reasons.entry(reason).or_default();
            if !queries.contains(&record.query.as_str()) {
                queries.push(&record.query);
            }
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let items: String =
        reasons.iter().map(|(reason, queries)| format!("<li>{}: {}</li>", escape(&queries.join(", ")), escape(reason))).collect();
    format!("<h2 id=\"reasons\">Stages that did not run native</h2><ul>{items}</ul>")
}

fn table_of(facts: &Facts) -> String {
    let rows: String = facts
        .facts
        .iter()
        .map(|(name, value)| format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value)))
        .collect();
    format!("<div class=\"facts\"><h3>{}</h3><table>{rows}</table></div>", facts.title)
}
