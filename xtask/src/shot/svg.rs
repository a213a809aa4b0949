//! Shots as SVG, the same bytes for the same cells: text stands at its cell whatever font the reader has, blocks are
//! rectangles.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Look, Shot, Span};

/// Of one cell, in units of the picture.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
/// From the top of a line to the foot of its letters.
const BASE: f64 = 13.5;
const MARGIN: f64 = 14.0;

const GROUND: &str = "#11151c";
const TEXT: &str = "#d4dae3";
const DIM: &str = "#7b8696";
/// The sixteen colours of the dark theme.
const COLORS: [&str; 16] = [
    "#2a313c", "#ef6b73", "#7fcf86", "#e5c265", "#6ca8f0", "#c792ea", "#56c7d6", "#d4dae3", "#7b8696",
    "#ff8b92", "#a2e3a8", "#f2d88a", "#93c1fa", "#ddb4f5", "#86e0eb", "#ffffff",
];

const HEAD: &str = "text{white-space:pre;font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}";

/// One screen.
pub fn still(shot: &Shot) -> String {
    let mut out = open(shot, &format!("<style>{HEAD}</style>"));
    for (row, line) in shot.lines.iter().enumerate() {
        draw(line, row, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

/// Screens of one size, each for so many seconds, over and over. Lines that several screens share are there once.
pub fn moving(shots: &[Shot], seconds: f64) -> String {
    let Some(first) = shots.first() else { return String::new() };
    let whole = seconds * shots.len() as f64;
    let share = 100.0 / shots.len() as f64;
    // A reader who wants no motion sees the last screen.
    let style = format!(
        "<style>{HEAD}.f{{visibility:hidden;animation:f {whole}s step-end infinite}}\
         @keyframes f{{0%{{visibility:visible}}{share:.4}%{{visibility:hidden}}}}\
         @media (prefers-reduced-motion:reduce){{.f{{animation:none}}.f:last-child{{visibility:visible}}}}</style>"
    );
    let mut out = open(first, &style);
    let mut known: HashMap<(usize, &[Span]), usize> = HashMap::new();
    let mut lines = String::new();
    let mut frames = String::new();
    for (turn, shot) in shots.iter().enumerate() {
        let _ = write!(frames, "<g class=\"f\" style=\"animation-delay:{}s\">", seconds * turn as f64);
        for (row, line) in shot.lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
            let next = known.len();
            let id = *known.entry((row, line)).or_insert_with(|| {
                let _ = write!(lines, "<g id=\"l{next}\">");
                draw(line, row, &mut lines);
                lines.push_str("</g>");
                next
            });
            let _ = write!(frames, "<use href=\"#l{id}\"/>");
        }
        frames.push_str("</g>\n");
    }
    let _ = write!(out, "<defs>\n{lines}</defs>\n{frames}</svg>\n");
    out
}

fn open(shot: &Shot, style: &str) -> String {
    let width = f64::from(shot.columns) * WIDTH + 2.0 * MARGIN;
    let height = shot.lines.len() as f64 * HEIGHT + 2.0 * MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" width=\"{width:.0}\">\n\
         {style}\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    )
}

fn draw(line: &[Span], row: usize, out: &mut String) {
    let top = MARGIN + row as f64 * HEIGHT;
    for span in line {
        let (fill, behind) = colors(span.look);
        let left = MARGIN + f64::from(span.at) * WIDTH;
        if let Some(behind) = behind {
            let width = f64::from(span.width) * WIDTH;
            let _ = write!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{HEIGHT:.1}\" fill=\"{behind}\"/>"
            );
        }
        for piece in pieces(span) {
            piece.draw(top, fill, span.look.bold, out);
        }
    }
    out.push('\n');
}

/// Of the letters, and of what is behind them where that is not the ground.
fn colors(look: Look) -> (&'static str, Option<&'static str>) {
    let named = look.color.and_then(|color| COLORS.get(usize::from(color)).copied());
    let own = named.unwrap_or(if look.dim { DIM } else { TEXT });
    if look.reversed { (GROUND, Some(own)) } else { (own, None) }
}

/// A part of a span that is drawn in one go.
enum Piece {
    Text {
        at: f64,
        width: f64,
        text: String,
    },
    /// Eighths of a cell's height, from its foot.
    Bar {
        at: f64,
        eighths: u32,
    },
}

/// Words with single blanks between them stay together; blocks are each for themselves.
fn pieces(span: &Span) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut began = 0;
    let mut cell = 0_u16;
    let left = |cell: u16| MARGIN + f64::from(span.at + cell) * WIDTH;
    let flush = |text: &mut String, from: u16, to: u16, pieces: &mut Vec<Piece>| {
        let cut = text.trim_end();
        let blanks = text.chars().count() - cut.chars().count();
        if !cut.is_empty() {
            let width = (f64::from(to - from) - blanks as f64) * WIDTH;
            pieces.push(Piece::Text { at: left(from), width, text: cut.to_owned() });
        }
        text.clear();
    };
    let wide = usize::from(span.width) > span.text.chars().count();
    for c in span.text.chars() {
        let eighths = u32::from(c).wrapping_sub(u32::from('▁'));
        let is_block = eighths < 8;
        if is_block || (c == ' ' && (text.is_empty() || text.ends_with(' '))) {
            flush(&mut text, began, cell, &mut pieces);
            if is_block {
                pieces.push(Piece::Bar { at: left(cell), eighths: eighths + 1 });
            }
            began = cell + 1;
        } else {
            text.push(c);
        }
        // Which of several characters is the wide one does not matter: such a span is drawn in one piece.
        cell += if wide { span.width / span.text.chars().count().max(1) as u16 } else { 1 };
    }
    flush(&mut text, began, span.width.max(began), &mut pieces);
    pieces
}

impl Piece {
    fn draw(&self, top: f64, fill: &str, bold: bool, out: &mut String) {
        match self {
            Self::Text { at, width, text } => {
                let weight = if bold { " font-weight=\"600\"" } else { "" };
                let y = top + BASE;
                let _ = write!(
                    out,
                    "<text x=\"{at:.1}\" y=\"{y:.1}\" fill=\"{fill}\"{weight} textLength=\"{width:.1}\" \
                     lengthAdjust=\"spacingAndGlyphs\">{}</text>",
                    escaped(text)
                );
            }
            Self::Bar { at, eighths } => {
                let height = HEIGHT * f64::from(*eighths) / 8.0;
                let y = top + HEIGHT - height;
                let _ = write!(
                    out,
                    "<rect x=\"{at:.1}\" y=\"{y:.1}\" width=\"{WIDTH:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
                );
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(text: &str) -> Shot {
        let mut emulator = vt100::Parser::new(2, 20, 0);
        emulator.process(text.as_bytes());
        Shot::of("a", emulator.screen())
    }

    #[test]
    fn text_is_escaped_and_stands_at_its_cell() {
        let svg = still(&shot("\x1b[31ma<b>&c\x1b[0m   tx"));
        assert!(svg.contains(">a&lt;b&gt;&amp;c</text>"), "{svg}");
        let at = MARGIN + 9.0 * WIDTH;
        assert!(svg.contains(&format!("x=\"{at:.1}\" y=\"27.5\" fill=\"{TEXT}\"")), "{svg}");
    }

    #[test]
    fn blocks_are_rectangles_as_high_as_they_say() {
        let svg = still(&shot("x ▁█"));
        assert!(svg.contains("height=\"2.2\"") && svg.contains("height=\"18.0\""), "{svg}");
        assert!(!svg.contains('█'));
    }

    #[test]
    fn lines_that_screens_share_are_there_once() {
        let svg = moving(&[shot("same\r\none"), shot("same\r\ntwo")], 2.0);
        assert_eq!(svg.matches(">same<").count(), 1);
        assert_eq!(svg.matches("<use ").count(), 4);
        assert_eq!(svg.matches("class=\"f\"").count(), 2);
    }
}
