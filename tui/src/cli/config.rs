//! `config.toml`: what it may say, and what it says by default. What it does not know it refuses, with the nearest
//! name that it knows.

mod file;

use std::collections::HashMap;

use toml_edit::{Document, Item, TableLike};

use crate::app::{self, Action, Mode, Wish, actions, parse_key, remap, suggest};
use crate::columns::Info;
use crate::families::Family;
use crate::model::View;
use crate::theme::ThemeChoice;
use crate::views::FACES;

pub use file::{Place, keep_columns};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub view: View,
    pub theme: ThemeChoice,
    pub mouse: bool,
    pub ascii: bool,
    pub history_mib: usize,
    pub columns: HashMap<View, Vec<String>>,
    pub keys: Vec<Wish>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            view: View::default(),
            theme: ThemeChoice::Auto,
            mouse: true,
            ascii: false,
            history_mib: 64,
            columns: HashMap::new(),
            keys: vec![],
        }
    }
}

/// Names that the file begins with, and what they mean.
const SETTINGS: [(&str, &str); 7] = [
    ("view", "The view that opens first"),
    ("theme", "auto asks the terminal for its background; dark, light, mono, contrast"),
    ("mouse", "The mouse selects; false leaves it to the terminal"),
    ("ascii", "Only plain ASCII; true where the locale is not UTF-8 in any case"),
    ("history_mib", "Memory for the moments that can be looked at again while paused, MiB"),
    ("columns", "Columns by view, from left to right"),
    ("keys", "Keys by action; what is named here replaces all keys of that action"),
];

impl Config {
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document<String> = text.parse().map_err(|error: toml_edit::TomlError| {
            // The message points at the place; its first line says where.
            error.to_string().trim_end().to_owned()
        })?;
        let mut config = Self::default();
        for (name, item) in document.as_table() {
            match name {
                "view" => config.view = view(name, item)?,
                "theme" => {
                    let known = ThemeChoice::ALL;
                    let word = text_of(name, item)?;
                    let found = known.into_iter().find(|choice| choice.word() == word);
                    config.theme = found.ok_or_else(|| {
                        let words: Vec<&str> = known.iter().map(|choice| choice.word()).collect();
                        format!("theme: {word} is none of {}", words.join(", "))
                    })?;
                }
                "mouse" => config.mouse = truth(name, item)?,
                "ascii" => config.ascii = truth(name, item)?,
                "history_mib" => {
                    let number = item.as_integer().filter(|n| (1..=4096).contains(n));
                    config.history_mib =
                        number.ok_or("history_mib: a whole number from 1 to 4096 is wanted")? as usize;
                }
                "columns" => config.columns = columns(table(name, item)?)?,
                "keys" => config.keys = keys(table(name, item)?)?,
                other => {
                    let known = SETTINGS.iter().map(|(name, _)| *name);
                    return Err(format!("unknown setting {other}{}", suggest(other, known)));
                }
            }
        }
        config.actions()?;
        Ok(config)
    }

    /// The table of actions with the reader's keys.
    pub fn actions(&self) -> Result<Vec<Action>, String> {
        remap(actions(), self.keys.clone())
    }

    /// A file that says what is so without one, with every name that it may have.
    pub fn default_text() -> String {
        use std::fmt::Write as _;
        let default = Self::default();
        let about =
            |name: &str| SETTINGS.iter().find(|(known, _)| *known == name).map_or("", |(_, about)| about);
        let mut text = String::from(
            "# fluoro's configuration: $XDG_CONFIG_HOME/fluoro/config.toml. This is what holds without one.\n\n",
        );
        let views: Vec<String> = FACES.iter().map(|face| word(face.title)).collect();
        let _ = writeln!(text, "# {}: {}", about("view"), views.join(", "));
        let _ = writeln!(text, "view = \"{}\"", word(crate::views::face(default.view).title));
        let _ = writeln!(text, "# {}\ntheme = \"{}\"", about("theme"), default.theme.word());
        let _ = writeln!(text, "# {}\nmouse = {}", about("mouse"), default.mouse);
        let _ = writeln!(text, "# {}\nascii = {}", about("ascii"), default.ascii);
        let _ = writeln!(text, "# {}\nhistory_mib = {}", about("history_mib"), default.history_mib);
        let _ = writeln!(text, "\n# {}\n[columns]", about("columns"));
        for face in &FACES {
            let ids = infos(face.view).iter().filter(|info| info.cell.is_some());
            let ids: Vec<String> = ids.map(|info| format!("\"{}\"", info.id)).collect();
            if !ids.is_empty() {
                let _ = writeln!(text, "# {} = [{}]", word(face.title), ids.join(", "));
            }
        }
        let _ = write!(text, "\n# {}", about("keys"));
        for mode in Mode::ALL {
            let _ = writeln!(text, "\n[keys.{}]", mode.word());
            for action in actions().iter().filter(|action| action.mode == mode) {
                let keys: Vec<String> = action.keys.iter().map(|key| quoted(&key.to_string())).collect();
                let _ = writeln!(text, "{} = [{}]", app::name_of(action), keys.join(", "));
            }
        }
        text
    }
}

/// The name of a view or of a mode as the file has it.
fn word(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

fn quoted(text: &str) -> String {
    if text == "\\" || text == "\"" { format!("'{text}'") } else { format!("\"{text}\"") }
}

/// Columns of a view's own rows; those of the overview cannot be chosen.
fn infos(view: View) -> &'static [Info] {
    match view {
        View::Overview => &[],
        View::Events => crate::columns::infos::<crate::model::EventRow>(),
        View::Probes => crate::columns::infos::<crate::model::ProbeRow>(),
        view => {
            let shown = Family::ALL.iter().find(|family| view.shows(**family));
            shown.map_or(&[], |family| family.infos())
        }
    }
}

fn table<'a>(name: &str, item: &'a Item) -> Result<&'a dyn TableLike, String> {
    item.as_table_like().ok_or_else(|| format!("{name}: a table is wanted, [{name}]"))
}

fn text_of<'a>(name: &str, item: &'a Item) -> Result<&'a str, String> {
    item.as_str().ok_or_else(|| format!("{name}: a text in quotes is wanted"))
}

fn truth(name: &str, item: &Item) -> Result<bool, String> {
    item.as_bool().ok_or_else(|| format!("{name}: true or false is wanted"))
}

fn texts(name: &str, item: &Item) -> Result<Vec<String>, String> {
    let wrong = || format!("{name}: a list of texts is wanted, [\"..\", \"..\"]");
    let list = item.as_array().ok_or_else(wrong)?;
    list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

fn view(name: &str, item: &Item) -> Result<View, String> {
    view_of(text_of(name, item)?).map_err(|error| format!("{name}: {error}"))
}

fn view_of(text: &str) -> Result<View, String> {
    let titles: Vec<String> = FACES.iter().map(|face| word(face.title)).collect();
    FACES.iter().find(|face| word(face.title) == text).map(|face| face.view).ok_or_else(|| {
        format!("no view is called {text}{}", suggest(text, titles.iter().map(String::as_str)))
    })
}

fn columns(table: &dyn TableLike) -> Result<HashMap<View, Vec<String>>, String> {
    let mut columns = HashMap::new();
    for (name, item) in table.iter() {
        let view = view_of(name).map_err(|error| format!("columns: {error}"))?;
        let ids = texts(&format!("columns.{name}"), item)?;
        for id in &ids {
            let known = || infos(view).iter().map(|info| info.id);
            if !known().any(|known| known == id) {
                return Err(format!("columns.{name}: no column {id}{}", suggest(id, known())));
            }
        }
        if !ids.is_empty() {
            columns.insert(view, ids);
        }
    }
    Ok(columns)
}

fn keys(table: &dyn TableLike) -> Result<Vec<Wish>, String> {
    let mut wishes = vec![];
    for (name, item) in table.iter() {
        let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.word() == name) else {
            let known = Mode::ALL.iter().map(|mode| mode.word());
            return Err(format!("keys: no part is called {name}{}", suggest(name, known)));
        };
        let path = format!("keys.{name}");
        for (action, item) in self::table(&path, item)?.iter() {
            let path = format!("{path}.{action}");
            let keys = texts(&path, item)?;
            let keys = keys.iter().map(|key| {
                parse_key(key)
                    .ok_or_else(|| format!("{path}: no key is called {key}; as in ? : g, ctrl-D, PgUp"))
            });
            wishes.push(Wish { mode, action: action.to_owned(), keys: keys.collect::<Result<_, _>>()? });
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_default_file_says_what_holds_without_one() {
        let text = Config::default_text();
        let config = Config::parse(&text).unwrap();
        assert_eq!(Config { keys: vec![], ..config.clone() }, Config::default());
        let keys = |actions: &[Action]| -> Vec<_> { actions.iter().map(|a| a.keys.clone()).collect() };
        assert_eq!(keys(&config.actions().unwrap()), keys(actions()));
        let uncommented = text.replace("# flows = ", "flows = ");
        assert!(Config::parse(&uncommented).unwrap().columns.contains_key(&View::Flows));
    }

    #[test]
    fn a_name_is_of_one_column_of_a_table() {
        let views = [View::Events, View::Probes].map(infos);
        let tables = views.into_iter().chain(Family::ALL.iter().map(|family| family.infos()));
        for infos in tables {
            for (at, info) in infos.iter().enumerate() {
                assert!(infos.iter().take(at).all(|before| before.id != info.id), "{}", info.id);
            }
        }
    }

    #[test]
    fn what_is_unknown_is_refused_with_the_nearest_name() {
        for (text, message) in [
            ("thene = \"dark\"", "unknown setting thene; did you mean theme?"),
            ("theme = \"blue\"", "theme: blue is none of auto, dark, light, mono, contrast"),
            ("view = \"flow\"", "view: no view is called flow; did you mean flows?"),
            ("mouse = 1", "mouse: true or false is wanted"),
            ("history_mib = 0", "history_mib: a whole number from 1 to 4096 is wanted"),
            ("[columns]\nflows = [\"pere\"]", "columns.flows: no column pere; did you mean peer?"),
            ("[keys.table]\npuase = [\"p\"]", "keys.table has no action puase; did you mean pause?"),
            (
                "[keys.table]\npause = [\"hyper\"]",
                "keys.table.pause: no key is called hyper; as in ? : g, ctrl-D, PgUp",
            ),
            ("[keys.tabel]\npause = [\"p\"]", "keys: no part is called tabel; did you mean table?"),
            ("[keys.table]\npause = [\"q\"]", "q is given to both keys.table.pause and keys.table.quit"),
        ] {
            assert_eq!(Config::parse(text).unwrap_err(), message, "{text}");
        }
        assert!(Config::parse("mouse = ").unwrap_err().contains("line 1"));
    }
}
