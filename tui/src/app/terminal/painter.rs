//! Pictures into bytes: only what differs from what the terminal shows, in the sixteen colours that every
//! palette defines. Pure.

use std::io::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Position;
use ratatui::style::{Color, Modifier};

use crate::app::screen::Picture;
use crate::widgets::width;

/// What the terminal shows, as far as is known.
#[derive(Default)]
pub struct Painter {
    shown: Option<Buffer>,
    cursor: Option<Position>,
    mouse: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

const PLAIN: Look = Look { fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() };

impl Painter {
    /// Nothing is known: the next picture is painted whole.
    pub fn forget(&mut self) {
        self.shown = None;
        self.cursor = None;
    }

    /// Turns reports of presses and wheel on or off. Motion is never asked for: it would be bytes for nothing.
    pub fn mouse(&mut self, on: bool, bytes: &mut Vec<u8>) {
        if on != self.mouse {
            bytes.extend_from_slice(if on { b"\x1b[?1000h\x1b[?1006h" } else { b"\x1b[?1006l\x1b[?1000l" });
            self.mouse = on;
        }
    }

    /// Appends what turns the screen into this picture; nothing if it already is. The cells that were shown before.
    pub fn paint(&mut self, picture: Picture, bytes: &mut Vec<u8>) -> Buffer {
        let before = bytes.len();
        // Terminals that know synchronized output show the change at once, others ignore the marks.
        bytes.extend_from_slice(b"\x1b[?2026h");
        let start = bytes.len();
        let known = self.shown.take().filter(|shown| shown.area == picture.cells.area);
        if known.is_none() {
            bytes.extend_from_slice(b"\x1b[0m\x1b[2J");
        }
        if self.cursor.is_some() && picture.cursor.is_none() {
            bytes.extend_from_slice(b"\x1b[?25l");
        }
        let mut shown = known.unwrap_or_else(|| Buffer::empty(picture.cells.area));
        distrust(&mut shown, &picture.cells);
        let moved = draw(&shown, &picture.cells, bytes);
        if let Some(at) = picture.cursor {
            if moved || self.cursor != picture.cursor {
                move_to(at.x, at.y, bytes);
            }
            if self.cursor.is_none() {
                bytes.extend_from_slice(b"\x1b[?25h");
            }
        }
        self.cursor = picture.cursor;
        self.shown = Some(picture.cells);
        if bytes.len() == start {
            bytes.truncate(before);
        } else {
            bytes.extend_from_slice(b"\x1b[?2026l");
        }
        shown
    }
}

fn draw(shown: &Buffer, wanted: &Buffer, bytes: &mut Vec<u8>) -> bool {
    let mut look = PLAIN;
    // Where the terminal's cursor is, as long as that is sure.
    let mut pen: Option<(u16, u16)> = None;
    let mut any = false;
    for (x, y, cell) in shown.diff_iter(wanted) {
        any = true;
        if pen != Some((x, y)) {
            move_to(x, y, bytes);
        }
        let wished = Look { fg: cell.fg, bg: cell.bg, modifier: cell.modifier };
        if wished != look {
            set_look(wished, bytes);
            look = wished;
        }
        bytes.extend_from_slice(cell.symbol().as_bytes());
        pen = sure(cell).then(|| (x + 1, y));
    }
    if look != PLAIN {
        set_look(PLAIN, bytes);
    }
    any
}

/// Whether every terminal agrees that this takes one cell. About wide and combined characters they do not,
/// so after one of them the cursor is placed anew.
fn sure(cell: &Cell) -> bool {
    let symbol = cell.symbol();
    symbol.is_ascii() || (symbol.chars().count() == 1 && width(symbol) == 1)
}

/// Makes lines that change, and hold a character whose width is disputed, be painted whole: what a terminal
/// leaves when half of such a character is overwritten is its own affair.
fn distrust(shown: &mut Buffer, wanted: &Buffer) {
    let columns = usize::from(wanted.area.width).max(1);
    for (line, new) in shown.content.chunks_mut(columns).zip(wanted.content.chunks(columns)) {
        if line.iter().any(|cell| !sure(cell)) && line != new {
            // A private character, which nothing draws, differs from every cell.
            for cell in line {
                cell.set_symbol("\u{e000}");
            }
        }
    }
}

fn move_to(x: u16, y: u16, bytes: &mut Vec<u8>) {
    let _ = write!(bytes, "\x1b[{};{}H", y + 1, x + 1);
}

fn set_look(look: Look, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"\x1b[0");
    let modifiers = [
        (Modifier::BOLD, "1"),
        (Modifier::DIM, "2"),
        (Modifier::ITALIC, "3"),
        (Modifier::UNDERLINED, "4"),
        (Modifier::REVERSED, "7"),
    ];
    for (modifier, code) in modifiers {
        if look.modifier.contains(modifier) {
            let _ = write!(bytes, ";{code}");
        }
    }
    if let Some(code) = ansi(look.fg) {
        let _ = write!(bytes, ";{}", if code < 8 { 30 + code } else { 82 + code });
    }
    if let Some(code) = ansi(look.bg) {
        let _ = write!(bytes, ";{}", if code < 8 { 40 + code } else { 92 + code });
    }
    bytes.push(b'm');
}

/// The number of a colour of the palette; anything else is left to the terminal's default.
const fn ansi(color: Color) -> Option<u8> {
    Some(match color {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
        Color::Reset | Color::Rgb(..) | Color::Indexed(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    fn picture(text: &str, style: Style) -> Picture {
        let mut cells = Buffer::empty(Rect::new(0, 0, 20, 2));
        cells.set_string(0, 0, text, style);
        Picture { cells, cursor: None }
    }

    fn screen_after(pictures: impl IntoIterator<Item = Picture>) -> (vt100::Parser, usize) {
        let mut terminal = vt100::Parser::new(2, 20, 0);
        let mut painter = Painter::default();
        let mut last = 0;
        for picture in pictures {
            let mut bytes = vec![];
            painter.paint(picture, &mut bytes);
            terminal.process(&bytes);
            last = bytes.len();
        }
        (terminal, last)
    }

    /// Character and look of every cell; a blank that was written is a blank.
    fn cells(terminal: &vt100::Parser) -> Vec<(String, vt100::Color, bool)> {
        let screen = terminal.screen();
        let places = (0..2).flat_map(|y| (0..20).map(move |x| (y, x)));
        places
            .filter_map(|(y, x)| screen.cell(y, x))
            .map(|cell| (cell.contents().trim().to_owned(), cell.fgcolor(), cell.bold()))
            .collect()
    }

    #[test]
    fn a_terminal_shows_what_was_drawn_whatever_stood_there_before() {
        let red = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let pictures = ["日本語 names", "plain", "a日b", "x"].map(|t| picture(t, red));
        for take in 1..=4 {
            let (terminal, _) = screen_after(pictures.iter().take(take).cloned());
            let fresh = screen_after(pictures.get(take - 1).cloned()).0;
            assert_eq!(cells(&terminal), cells(&fresh), "{take}");
        }
        let (terminal, _) = screen_after([picture("lost", red)]);
        let look = terminal.screen().cell(0, 0).map(|cell| (cell.fgcolor(), cell.bold()));
        assert_eq!(look, Some((vt100::Color::Idx(1), true)));
    }

    #[test]
    fn an_unchanged_picture_costs_no_byte_and_a_changed_digit_few() {
        let (_, same) = screen_after([picture("lost 0", Style::new()), picture("lost 0", Style::new())]);
        assert_eq!(same, 0);
        let (_, digit) = screen_after([picture("lost 0", Style::new()), picture("lost 1", Style::new())]);
        assert!(digit <= 24, "{digit} bytes");
    }

    #[test]
    fn after_a_name_whose_width_terminals_dispute_the_cursor_is_placed_anew() {
        let mut bytes = vec![];
        Painter::default().paint(picture("e\u{301}x", Style::new()), &mut bytes);
        assert!(String::from_utf8_lossy(&bytes).contains("e\u{301}\x1b[1;2Hx"));
    }
}
