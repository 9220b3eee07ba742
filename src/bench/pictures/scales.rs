//! What queries cost as the data grows: a small chart for each query, and one for the geometric mean of all.

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::{DrawingArea, IntoDrawingArea, PathElement, SVGBackend, Text};
use plotters::style::Color;
use plotters::style::text_anchor::HPos;

use super::rows::{Axis, Unit, legend, point, short, style};
use super::theme::{self, DIM, GRID, PAPER, TEXT, name_of, of_mode};
use super::{Figure, NARROW, WIDE};
use crate::bench::record::{Record, geomean};
use crate::cli::arguments::Mode;
use crate::cli::failure::Failure;

const CELL: u32 = 160;
const LEGEND: u32 = 26;

/// A query's medians in a mode, from the smallest size to the largest.
struct Line {
    mode: Mode,
    points: Vec<(f64, f64)>,
}

struct Cell<'a> {
    name: &'a str,
    lines: Vec<Line>,
}

/// The chart of the cost over sizes; `None` where there is but one size.
pub fn over_sizes(records: &[Record]) -> Result<Option<Figure>, Failure> {
    let mut sizes: Vec<f64> = records.iter().filter_map(|record| record.subject.amount()).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    if sizes.len() < 2 {
        return Ok(None);
    }
    let (mut queries, mut modes): (Vec<&str>, Vec<Mode>) = (vec![], vec![]);
    for record in records {
        if !queries.contains(&record.query.as_str()) {
            queries.push(&record.query);
        }
        if !modes.contains(&record.mode) {
            modes.push(record.mode);
        }
    }
    let median = |query: &str, mode: Mode, size: f64| {
        let mut found = records.iter().filter(|record| record.query == query && record.mode == mode);
        found.find(|record| record.subject.amount() == Some(size)).map(|record| record.spread.median)
    };
    let line = |mode: Mode, at: &dyn Fn(f64) -> Option<f64>| Line {
        mode,
        points: sizes.iter().filter_map(|size| Some((*size, at(*size)?))).collect(),
    };
    let mean = |mode: Mode, size: f64| geomean(queries.iter().filter_map(|query| median(query, mode, size)));
    let mut cells = vec![Cell { name: "geomean", lines: modes.iter().map(|mode| line(*mode, &|size| mean(*mode, size))).collect() }];
    for query in &queries {
        cells.push(Cell { name: query, lines: modes.iter().map(|mode| line(*mode, &|size| median(query, *mode, size))).collect() });
    }
    let unit = if records.iter().any(|record| record.subject.scale.is_some()) { "scale" } else { "rows" };
    let name = "over-size";
    let title = format!("Time over {unit}");
    let grown = modes.iter().filter_map(|mode| {
        let (from, to) = (mean(*mode, sizes[0])?, mean(*mode, *sizes.last()?)?);
        Some(format!("{} {}x", name_of(*mode), short(to / from.max(1e-6))))
    });
    let about = format!(
        "Median times against the size of the data, both logarithmic, each chart with its own range of times. From {unit} {} to {} the data grows {} times, and geometric means grow: {}.",
        sizes[0],
        sizes[sizes.len() - 1],
        short(sizes[sizes.len() - 1] / sizes[0]),
        grown.collect::<Vec<_>>().join(", ")
    );
    let draw = |width: u32, columns: usize, which: &str| {
        let svg = grid(&cells, &sizes, &modes, width, columns)?;
        Ok::<_, Failure>(theme::finish(&svg, &format!("{name}-{which}"), &title, &about))
    };
    let (wide, narrow) = (draw(WIDE, 4, "wide")?, draw(NARROW, 2, "narrow")?);
    let mut head = vec!["query".to_owned(), "mode".to_owned()];
    head.extend(sizes.iter().map(|size| format!("{unit} {size}: ms")));
    let mut lines = vec![];
    for cell in &cells {
        for of in &cell.lines {
            let at = |size: &f64| of.points.iter().find(|(at, _)| at == size).map_or("-".to_owned(), |(_, time)| short(*time));
            lines.push([vec![cell.name.to_owned(), name_of(of.mode).to_owned()], sizes.iter().map(at).collect()].concat());
        }
    }
    Ok(Some(Figure { name: name.to_owned(), title, about, wide, narrow, head, lines }))
}

fn grid(cells: &[Cell<'_>], sizes: &[f64], modes: &[Mode], width: u32, columns: usize) -> Result<String, Failure> {
    let rows = cells.len().div_ceil(columns);
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (width, rows as u32 * CELL + LEGEND)).into_drawing_area();
    root.fill(&PAPER.light).map_err(Failure::new)?;
    let entries: Vec<_> = modes.iter().map(|mode| (of_mode(*mode).0, of_mode(*mode).1, name_of(*mode))).collect();
    legend(&root, 14, &entries)?;
    let (_, below) = root.split_vertically(LEGEND);
    for (cell, area) in cells.iter().zip(below.split_evenly((rows, columns))) {
        draw_cell(&root, &area, cell, sizes)?;
    }
    root.present().map_err(Failure::new)?;
    drop((root, below));
    Ok(svg)
}

fn draw_cell(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    cell: &Cell<'_>,
    sizes: &[f64],
) -> Result<(), Failure> {
    let times = Axis::logarithmic(cell.lines.iter().flat_map(|line| line.points.iter().map(|(_, time)| *time)), Unit::Milliseconds);
    let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
    let edge = (last / first).powf(0.06);
    let mut builder = ChartBuilder::on(area);
    builder.margin_top(20).margin_right(10).x_label_area_size(20).y_label_area_size(54);
    let chart =
        builder.build_cartesian_2d((first / edge..last * edge).log_scale(), (times.from..times.to).log_scale()).map_err(Failure::new)?;
    let place = |size: f64, time: f64| chart.backend_coord(&(size, time));
    let (left, top) = place(first / edge, times.to);
    root.draw(&Text::new(cell.name.to_owned(), (left, top - 9), style(16, TEXT, HPos::Left))).map_err(Failure::new)?;
    let ticks = times.ticks();
    // Not more numbers than lines of text fit.
    let every = ticks.len().div_ceil(6).max(1);
    for tick in ticks.iter().step_by(every) {
        let line = [place(first / edge, *tick), place(last * edge, *tick)];
        root.draw(&PathElement::new(line, GRID.light)).map_err(Failure::new)?;
        let text = Text::new(Unit::Milliseconds.text(*tick), (line[0].0 - 5, line[0].1), style(14, DIM, HPos::Right));
        root.draw(&text).map_err(Failure::new)?;
    }
    let mut taken = i32::MIN;
    for size in sizes {
        let (x, y) = place(*size, times.from);
        let text = amount(*size);
        let half = text.chars().count() as i32 * 4 + 2;
        if x - half > taken {
            taken = x + half;
            root.draw(&Text::new(text, (x, y + 10), style(14, DIM, HPos::Center))).map_err(Failure::new)?;
        }
    }
    for line in &cell.lines {
        let (colour, shape) = of_mode(line.mode);
        let points: Vec<(i32, i32)> = line.points.iter().map(|(size, time)| place(*size, *time)).collect();
        root.draw(&PathElement::new(points.clone(), colour.light.stroke_width(2))).map_err(Failure::new)?;
        points.into_iter().try_for_each(|at| point(root, at, colour, shape))?;
    }
    Ok(())
}

/// A size in few letters: `0.1`, `4M`.
fn amount(size: f64) -> String {
    match size {
        size if size >= 1e6 => format!("{}M", short(size / 1e6)),
        size if size >= 1e4 => format!("{}k", short(size / 1e3)),
        size => size.to_string(),
    }
}
