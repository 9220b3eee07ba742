//! Colours and shapes of charts, and what an SVG needs to be read in the dark and by a screen reader.

use std::fmt::Write;

use plotters::style::RGBColor;

use crate::cli::arguments::Mode;

/// A colour in light, and what it becomes where the reader asked for dark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    pub light: RGBColor,
    dark: RGBColor,
}

const fn colour(light: u32, dark: u32) -> Colour {
    const fn rgb(hex: u32) -> RGBColor {
        RGBColor((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
    }
    Colour { light: rgb(light), dark: rgb(dark) }
}

pub const PAPER: Colour = colour(0xFF_FF_FF, 0x1C_1F_23);
pub const TEXT: Colour = colour(0x1D_1F_21, 0xE4_E6_E8);
pub const DIM: Colour = colour(0x66_6A_6E, 0x9A_A0_A6);
pub const GRID: Colour = colour(0xE4_E4_E0, 0x34_38_3E);
pub const STRIPE: Colour = colour(0xF7_F7_F5, 0x21_25_2A);
pub const NATIVE: Colour = colour(0x1A_7F_4B, 0x4C_C3_8A);
pub const INTERPRETED: Colour = colour(0xB2_5B_00, 0xF0_A0_4B);
pub const DATAFUSION: Colour = colour(0x7A_4F_C0, 0xB7_9B_F0);
pub const AUTO: Colour = colour(0x0B_62_C4, 0x6F_B1_FF);
pub const LOSS: Colour = colour(0xB3_26_1E, 0xFF_8A_80);
/// Text on a bar.
pub const ON_BAR: Colour = colour(0xFF_FF_FE, 0x10_12_14);

const ALL: [Colour; 11] = [PAPER, TEXT, DIM, GRID, STRIPE, NATIVE, INTERPRETED, DATAFUSION, AUTO, LOSS, ON_BAR];

/// What a mode is drawn with: never the colour alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Circle,
    Triangle,
    Square,
    Diamond,
}

/// A mode's colour and shape.
pub fn of_mode(mode: Mode) -> (Colour, Shape) {
    match mode {
        Mode::Compiled => (NATIVE, Shape::Circle),
        Mode::Interpreted => (INTERPRETED, Shape::Triangle),
        Mode::Off => (DATAFUSION, Shape::Square),
        Mode::Auto => (AUTO, Shape::Diamond),
    }
}

/// What a mode is called where there is room.
pub fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Compiled => "compiled",
        Mode::Interpreted => "interpreted",
        Mode::Off => "plain DataFusion",
        Mode::Auto => "auto",
    }
}

/// Puts a title, a description and the dark colours into an SVG. They apply by the light colours' values, so that a viewer that
/// knows no style sheets still shows those.
pub fn finish(svg: &str, id: &str, title: &str, description: &str) -> String {
    let mut style = String::from("@media (prefers-color-scheme: dark) {");
    for of in ALL {
        let (RGBColor(r, g, b), RGBColor(dark_r, dark_g, dark_b)) = (of.light, of.dark);
        for property in ["fill", "stroke"] {
            let _ = write!(style, ".sf-chart [{property}=\"#{r:02X}{g:02X}{b:02X}\"]{{{property}:#{dark_r:02x}{dark_g:02x}{dark_b:02x}}}");
        }
    }
    style.push('}');
    let head = format!(
        " class=\"sf-chart\" role=\"img\" aria-labelledby=\"{id}-title {id}-about\"><title id=\"{id}-title\">{}</title>\
         <desc id=\"{id}-about\">{}</desc><style>{style}</style>",
        escape(title),
        escape(description)
    );
    svg.trim_end().replacen('>', &head, 1)
}

/// Text as HTML and SVG take it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
