//! Colour as a signal: a role says what a piece of text means, this module says how that looks.
//! Everything is drawn in Unicode and colour; [`Theme::settle`] takes away what the terminal or its
//! user will not have. Knows nothing of what is drawn.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    #[default]
    Text,
    /// Labels, units, hints: there when looked for.
    Quiet,
    Strong,
    /// The name of the program and of the view in front.
    Title,
    /// A key that can be pressed.
    Key,
    /// Where the reader is: marker, cursor line, sort mark.
    Here,
    /// What the reader typed.
    Typed,
    Good,
    Warn,
    Bad,
    /// The row under the marker.
    Selected,
    /// What has ended and is shown for a while yet.
    Ended,
    /// The view in front, on the line of tabs.
    Tab,
}

/// How a role looks. Only the sixteen colours that every palette defines, never as a background.
pub fn style(role: Role) -> Style {
    let plain = Style::new();
    match role {
        Role::Text => plain,
        Role::Quiet | Role::Ended => plain.add_modifier(Modifier::DIM),
        Role::Strong | Role::Key => plain.add_modifier(Modifier::BOLD),
        Role::Title => plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
        Role::Here | Role::Typed => plain.fg(Color::Cyan),
        Role::Good => plain.fg(Color::Green),
        Role::Warn => plain.fg(Color::Yellow),
        Role::Bad => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
        Role::Selected | Role::Tab => plain.add_modifier(Modifier::REVERSED),
    }
}

/// `theme` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThemeChoice {
    /// As the terminal's background is.
    #[default]
    Auto,
    Fixed(Palette),
}

/// Which colours stand for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Palette {
    #[default]
    Dark,
    Light,
    /// None: bold, dim and reversed must do.
    Mono,
    /// Nothing dim, every signal bold.
    Contrast,
}

impl ThemeChoice {
    pub const ALL: [Self; 5] = [
        Self::Auto,
        Self::Fixed(Palette::Dark),
        Self::Fixed(Palette::Light),
        Self::Fixed(Palette::Mono),
        Self::Fixed(Palette::Contrast),
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fixed(Palette::Dark) => "dark",
            Self::Fixed(Palette::Light) => "light",
            Self::Fixed(Palette::Mono) => "mono",
            Self::Fixed(Palette::Contrast) => "contrast",
        }
    }
}

impl Palette {
    /// For a background as a terminal reports it: `rgb:ffff/ffff/dddd`.
    pub fn for_background(report: &str) -> Option<Self> {
        let parts = report.strip_prefix("rgb:").or_else(|| report.strip_prefix("rgba:"))?;
        let mut shares = parts.split('/').map(|part| {
            let value = u32::from_str_radix(part, 16).ok()?;
            let most = 16_u32.checked_pow(part.len() as u32).filter(|most| *most > 1)? - 1;
            Some(f64::from(value) / f64::from(most))
        });
        let (red, green, blue) = (shares.next()??, shares.next()??, shares.next()??);
        // How bright the eye finds the three.
        let bright = 0.299 * red + 0.587 * green + 0.114 * blue;
        Some(if bright > 0.5 { Self::Light } else { Self::Dark })
    }

    fn settle(self, cell: &mut ratatui::buffer::Cell) {
        match self {
            Self::Dark | Self::Mono => {}
            Self::Light => {
                cell.fg = match cell.fg {
                    Color::Cyan => Color::Blue,
                    Color::Yellow => Color::Magenta,
                    other => other,
                };
            }
            Self::Contrast => {
                cell.modifier.remove(Modifier::DIM);
                if cell.fg != Color::Reset {
                    cell.modifier.insert(Modifier::BOLD);
                }
            }
        }
    }
}

/// What this terminal and its user will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    pub color: bool,
    pub unicode: bool,
    pub palette: Palette,
}

impl Theme {
    /// Decides from `--color` and the environment, looked up through `env`.
    pub fn choose(choice: ColorChoice, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|v| !v.is_empty());
        let color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            // https://no-color.org: present and not empty, whatever its value.
            ColorChoice::Auto => set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "vt100"),
        };
        // The first of these that is set decides, as in setlocale(3).
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { color, unicode, palette: Palette::Dark }
    }

    /// Takes from a finished picture what will not be had: colours, or characters beyond ASCII.
    pub fn settle(self, picture: &mut Buffer) {
        let color = self.color && self.palette != Palette::Mono;
        if color && self.unicode && self.palette == Palette::Dark {
            return;
        }
        for cell in &mut picture.content {
            self.palette.settle(cell);
            if !color {
                cell.fg = Color::Reset;
                cell.bg = Color::Reset;
            }
            if !self.unicode && !cell.symbol().is_ascii() {
                cell.set_symbol(ascii(cell.symbol()));
            }
        }
    }
}

/// The nearest ASCII mark; `?` for text from outside.
fn ascii(symbol: &str) -> &'static str {
    match symbol {
        "▸" | "›" | "→" => ">",
        "┃" | "│" => "|",
        "↓" | "▾" => "v",
        "↑" | "▴" => "^",
        "…" => "~",
        "·" => ".",
        "─" | "−" => "-",
        "µ" => "u",
        "▁" | "▂" => "_",
        "▃" | "▄" => "=",
        "▅" | "▆" => "*",
        "▇" | "█" => "#",
        "←" => "<",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn no_color_is_obeyed_unless_the_command_line_says_always() {
        let env = environment(&[("NO_COLOR", "1"), ("LANG", "C.UTF-8")]);
        assert!(!Theme::choose(ColorChoice::Auto, &env).color);
        assert!(Theme::choose(ColorChoice::Always, &env).color);
        assert!(Theme::choose(ColorChoice::Auto, environment(&[("NO_COLOR", "")])).color);
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        assert!(
            !Theme::choose(ColorChoice::Auto, environment(&[("LC_ALL", "C"), ("LANG", "C.UTF-8")])).unicode
        );
        assert!(
            Theme::choose(ColorChoice::Auto, environment(&[("LC_ALL", ""), ("LANG", "de_DE.utf8")])).unicode
        );
        assert!(!Theme::choose(ColorChoice::Auto, environment(&[])).unicode);
    }

    #[test]
    fn without_unicode_every_cell_is_ascii_and_the_layout_stays() {
        let mut picture = Buffer::empty(Rect::new(0, 0, 12, 1));
        picture.set_string(0, 0, "▸ 日本 x…│é", style(Role::Bad));
        Theme { color: false, unicode: false, palette: Palette::Dark }.settle(&mut picture);
        let text: String = picture.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        assert_eq!(text, "> ? ?  x~|? ");
        assert!(picture.content.iter().all(|c| c.fg == Color::Reset));
    }
}
