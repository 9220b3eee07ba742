//! A chart with a row for each query: labels on the left, an axis below, a legend on top.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, Circle, DrawingArea, EmptyElement, IntoDrawingArea, IntoFont, PathElement, Polygon, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, TextStyle};

use super::theme::{Colour, DIM, GRID, PAPER, STRIPE, Shape, TEXT};
use crate::cli::failure::Failure;

const FONT: &str = "system-ui, sans-serif";
/// The backend's unit of a letter's size: 15 of them are 12 pixels.
const LETTERS: i32 = 16;
/// About how wide one is, in pixels.
const LETTER: u32 = 8;
const ROW: u32 = 23;
const LEGEND: u32 = 26;
/// Room for the half of a number at the axis's end.
const RIGHT: u32 = 26;
const AXIS: u32 = 42;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What is drawn in a chart, in values of its axis and numbers of its rows.
pub enum Mark {
    /// A shape at a value.
    Point { row: usize, at: f64, colour: Colour, shape: Shape },
    /// A line between two values, with a small bar at each end.
    Range { row: usize, from: f64, to: f64, colour: Colour },
    /// A filled bar between two values.
    Bar { row: usize, from: f64, to: f64, colour: Colour },
    /// A text right of a value.
    Label { row: usize, at: f64, text: String, colour: Colour },
    /// A line across all rows.
    Border { at: f64, colour: Colour },
}

/// An axis.
#[derive(Clone, Copy)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    pub logarithmic: bool,
    pub unit: Unit,
}

/// How numbers of an axis are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Times,
    Percent,
}

impl Unit {
    pub fn text(self, value: f64) -> String {
        match self {
            Unit::Milliseconds if value >= 10_000.0 => format!("{} s", short(value / 1000.0)),
            Unit::Milliseconds => format!("{} ms", short(value)),
            Unit::Times => format!("{}x", short(value)),
            Unit::Percent => format!("{} %", short(value)),
        }
    }
}

/// Three digits that count, and no zeros behind.
pub fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 0.1 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Axis {
    /// A logarithmic axis that holds all values, with some room at both ends.
    pub fn logarithmic(values: impl Iterator<Item = f64>, unit: Unit) -> Axis {
        let (from, to) = values.filter(|value| *value > 0.0).fold((f64::MAX, f64::MIN), |(from, to), v| (from.min(v), to.max(v)));
        let (from, to) = if from > to { (1.0, 10.0) } else { (from, to) };
        Axis { from: from / 1.25, to: to * 1.25, logarithmic: true, unit }
    }

    /// A logarithmic axis long enough that texts behind values are not cut off, on so many pixels.
    fn with_room(mut self, pixels: u32, marks: &[Mark]) -> Axis {
        if !self.logarithmic {
            return self;
        }
        let from = self.from;
        for mark in marks {
            if let Mark::Label { at, text, .. } = mark {
                let pixels = f64::from(pixels);
                // What lies right of the value, less than the margin that the last number of the axis has.
                let behind = (text.chars().count() as u32 * LETTER + 8) as f64 - f64::from(RIGHT) + 4.0;
                let before = (pixels - behind).max(pixels / 4.0);
                self.to = self.to.max(from * ((at / from).ln() * pixels / before).exp());
            }
        }
        self
    }

    /// Where lines are drawn and numbers are written: at powers of ten, and at 2 and 5 times those where there is room.
    pub fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return (0..=4).map(|part| self.from + (self.to - self.from) * f64::from(part) / 4.0).collect();
        }
        let decades = (self.to / self.from).log10();
        let steps: &[f64] = if decades < 0.7 {
            &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]
        } else if decades < 1.2 {
            &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]
        } else if decades < 3.2 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let powers = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.from..=self.to).contains(tick)).collect()
    }
}

/// The frame: what is the same in all charts of this kind.
pub struct Rows<'a> {
    pub labels: &'a [String],
    pub axis: Axis,
    /// What the axis shows.
    pub caption: &'a str,
    pub legend: Vec<(Colour, Shape, &'a str)>,
}

impl Rows<'_> {
    /// Draws all marks into an SVG of this width.
    pub fn draw(&self, width: u32, marks: &[Mark]) -> Result<String, Failure> {
        let longest = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0) as u32;
        let margin = (longest * LETTER + 16).clamp(36, width / 3);
        let height = self.labels.len() as u32 * ROW + LEGEND + AXIS;
        let axis = self.axis.with_room(width.saturating_sub(margin + RIGHT), marks);
        let rows = Rows { axis, legend: self.legend.clone(), ..*self };
        rows.draw_on(width, height, margin, marks)
    }

    fn draw_on(&self, width: u32, height: u32, margin: u32, marks: &[Mark]) -> Result<String, Failure> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let drawn = root.fill(&PAPER.light).map_err(Failure::new);
        let drawn =
            drawn.and_then(|()| if self.axis.logarithmic { self.on_log(&root, margin, marks) } else { self.on_line(&root, margin, marks) });
        let drawn = drawn.and_then(|()| self.legend(&root, margin)).and_then(|()| root.present().map_err(Failure::new));
        drop(root);
        drawn.map(|()| svg)
    }

    fn on_log(&self, root: &Area<'_>, margin: u32, marks: &[Mark]) -> Result<(), Failure> {
        let range = (self.axis.from..self.axis.to).log_scale();
        let chart = builder(root, margin).build_cartesian_2d(range, self.rows()).map_err(Failure::new)?;
        let chart: ChartContext<'_, _, Cartesian2d<LogCoord<f64>, RangedCoordf64>> = chart;
        self.frame(root, |at, row| chart.backend_coord(&(at, row)))?;
        marks.iter().try_for_each(|mark| draw(root, mark, &|at, row| chart.backend_coord(&(at, row)), self.labels.len()))
    }

    fn on_line(&self, root: &Area<'_>, margin: u32, marks: &[Mark]) -> Result<(), Failure> {
        let chart = builder(root, margin).build_cartesian_2d(self.axis.from..self.axis.to, self.rows()).map_err(Failure::new)?;
        self.frame(root, |at, row| chart.backend_coord(&(at, row)))?;
        marks.iter().try_for_each(|mark| draw(root, mark, &|at, row| chart.backend_coord(&(at, row)), self.labels.len()))
    }

    /// The first row is on top.
    fn rows(&self) -> std::ops::Range<f64> {
        self.labels.len().max(1) as f64..0.0
    }

    fn frame(&self, root: &Area<'_>, place: impl Fn(f64, f64) -> (i32, i32)) -> Result<(), Failure> {
        let rows = self.labels.len();
        for row in (1..rows).step_by(2) {
            let corners = [place(self.axis.from, row as f64), place(self.axis.to, row as f64 + 1.0)];
            root.draw(&Rectangle::new(corners, STRIPE.light.filled())).map_err(Failure::new)?;
        }
        let mut taken = i32::MIN;
        for tick in self.axis.ticks() {
            let (x, bottom) = place(tick, rows as f64);
            let (_, top) = place(tick, 0.0);
            root.draw(&PathElement::new([(x, top), (x, bottom)], GRID.light)).map_err(Failure::new)?;
            let text = self.axis.unit.text(tick);
            // Numbers that would run into each other are left out; their lines stay.
            let half = text.chars().count() as i32 * LETTER as i32 / 2 + 3;
            if x - half > taken {
                taken = x + half;
                root.draw(&Text::new(text, (x, bottom + 12), style(LETTERS - 1, DIM, HPos::Center))).map_err(Failure::new)?;
            }
        }
        let (middle, bottom) = place(
            if self.axis.logarithmic { (self.axis.from * self.axis.to).sqrt() } else { (self.axis.from + self.axis.to) / 2.0 },
            rows as f64,
        );
        root.draw(&Text::new(self.caption, (middle, bottom + 29), style(LETTERS, DIM, HPos::Center))).map_err(Failure::new)?;
        for (row, label) in self.labels.iter().enumerate() {
            let (x, y) = place(self.axis.from, row as f64 + 0.5);
            let room = ((x - 8) / LETTER as i32).max(4) as usize;
            let label = if label.chars().count() > room {
                format!("{}…", label.chars().take(room - 1).collect::<String>())
            } else {
                label.clone()
            };
            root.draw(&Text::new(label, (x - 8, y), style(LETTERS, TEXT, HPos::Right))).map_err(Failure::new)?;
        }
        Ok(())
    }

    fn legend(&self, root: &Area<'_>, margin: u32) -> Result<(), Failure> {
        legend(root, margin as i32 + 8, &self.legend)
    }
}

/// Shapes with their meanings, in a line.
pub fn legend(root: &Area<'_>, mut x: i32, entries: &[(Colour, Shape, &str)]) -> Result<(), Failure> {
    let wide = |name: &str| 9 + name.chars().count() as i32 * (LETTER as i32 - 1) + 14;
    // Where labels take much room, the legend begins further left.
    let all: i32 = entries.iter().map(|(_, _, name)| wide(name)).sum();
    x = x.min(root.dim_in_pixel().0 as i32 - all).max(8);
    for (colour, shape, name) in entries {
        point(root, (x, LEGEND as i32 / 2), *colour, *shape)?;
        root.draw(&Text::new((*name).to_owned(), (x + 9, LEGEND as i32 / 2), style(LETTERS, TEXT, HPos::Left))).map_err(Failure::new)?;
        x += wide(name);
    }
    Ok(())
}

fn builder<'a, 'b>(root: &'a Area<'b>, margin: u32) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(root);
    builder.margin_top(LEGEND).margin_right(RIGHT).x_label_area_size(AXIS).y_label_area_size(margin);
    builder
}

/// A text in a colour, centred on its line.
pub fn style<'a>(size: i32, colour: Colour, at: HPos) -> TextStyle<'a> {
    (FONT, size).into_font().color(&colour.light).pos(Pos::new(at, VPos::Center))
}

fn draw(root: &Area<'_>, mark: &Mark, place: &dyn Fn(f64, f64) -> (i32, i32), rows: usize) -> Result<(), Failure> {
    let middle = |at: f64, row: usize| place(at, row as f64 + 0.5);
    match mark {
        Mark::Point { row, at, colour, shape } => point(root, middle(*at, *row), *colour, *shape),
        Mark::Range { row, from, to, colour } => {
            let ((left, y), (right, _)) = (middle(*from, *row), middle(*to, *row));
            for line in [[(left, y), (right, y)], [(left, y - 3), (left, y + 3)], [(right, y - 3), (right, y + 3)]] {
                root.draw(&PathElement::new(line, colour.light.stroke_width(1))).map_err(Failure::new)?;
            }
            Ok(())
        }
        Mark::Bar { row, from, to, colour } => {
            let ((left, y), (right, _)) = (middle(*from, *row), middle(*to, *row));
            // What is there is seen, however small.
            let right = if right == left && from != to { left + 1 } else { right };
            root.draw(&Rectangle::new([(left, y - 8), (right, y + 8)], colour.light.filled())).map_err(Failure::new)
        }
        Mark::Label { row, at, text, colour } => {
            let (x, y) = middle(*at, *row);
            root.draw(&Text::new(text.clone(), (x + 6, y), style(LETTERS - 1, *colour, HPos::Left))).map_err(Failure::new)
        }
        Mark::Border { at, colour } => {
            let line = [place(*at, 0.0), place(*at, rows as f64)];
            root.draw(&PathElement::new(line, colour.light.stroke_width(1))).map_err(Failure::new)
        }
    }
}

/// A shape around a point.
pub fn point(root: &Area<'_>, at: (i32, i32), colour: Colour, shape: Shape) -> Result<(), Failure> {
    let fill = colour.light.filled();
    let around = |corners: &[(i32, i32)]| {
        let corners: Vec<(i32, i32)> = corners.iter().map(|(x, y)| (at.0 + x, at.1 + y)).collect();
        root.draw(&Polygon::new(corners, colour.light)).map_err(Failure::new)
    };
    match shape {
        Shape::Circle => root.draw(&(EmptyElement::at(at) + Circle::new((0, 0), 4, fill))).map_err(Failure::new),
        Shape::Triangle => around(&[(-5, 4), (5, 4), (0, -5)]),
        Shape::Square => around(&[(-4, -4), (4, -4), (4, 4), (-4, 4)]),
        Shape::Diamond => around(&[(-5, 0), (0, -5), (5, 0), (0, 5)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        for (from, to) in [(0.9, 1.3), (3.0, 40.0), (0.02, 9_000.0)] {
            let axis = Axis { from, to, logarithmic: true, unit: Unit::Times };
            let ticks = axis.ticks();
            assert!((2..15).contains(&ticks.len()), "{from} to {to}: {ticks:?}");
            assert!(ticks.iter().all(|tick| (from..=to).contains(tick)) && ticks.is_sorted(), "{ticks:?}");
        }
        assert_eq!(Unit::Milliseconds.text(0.05), "0.05 ms");
        assert_eq!(Unit::Milliseconds.text(20_000.0), "20 s");
        assert_eq!(short(1.0), "1");
        assert_eq!(short(100.0), "100");
    }
}
