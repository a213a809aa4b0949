//! The filter language: one parser for the console, `-f` and tests. Pure; knows columns, not families.
//!
//! Words are joined by AND; `or`, `not`/`!` and parentheses combine; `key:value`, `key~regex` and comparisons look at
//! the columns that carry the key. A missing value compares false.

mod parse;
mod push;
mod test;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

pub use push::PushDown;

use crate::columns::{Facts, Info, Kind, Unit};
use crate::records::Outside;
use test::{Test, Word};

/// The keys that an expression may use, from the columns in play.
#[derive(Debug, Clone)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    name: &'static str,
    kinds: Vec<Kind>,
    unit: Unit,
}

/// The key that looks at an event's name.
const EVENT: &str = "event";

impl Keys {
    /// Each column's keys, and of numeric columns the id too.
    pub fn of(infos: &[Info]) -> Self {
        let mut keys: Vec<Key> = vec![Key { name: EVENT, kinds: vec![Kind::Word], unit: Unit::Plain }];
        for info in infos {
            let id = (info.kind == Kind::Number).then_some(info.id);
            for name in info.keys.iter().copied().chain(id) {
                match keys.iter_mut().find(|key| key.name == name) {
                    Some(key) if !key.kinds.contains(&info.kind) => key.kinds.push(info.kind),
                    Some(_) => {}
                    None => keys.push(Key { name, kinds: vec![info.kind], unit: info.unit }),
                }
            }
        }
        keys.sort_by_key(|key| key.name);
        Self(keys)
    }

    /// Their names in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|key| key.name)
    }

    fn get(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.name == name)
    }

    /// The known key most like `name`, if any is.
    fn like(&self, name: &str) -> Option<&'static str> {
        self.names()
            .map(|known| (strsim::damerau_levenshtein(known, name), letters(known) != letters(name), known))
            .min()
            .filter(|(distance, ..)| *distance <= 2)
            .map(|(.., known)| known)
    }
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    /// Bytes of the expression.
    pub at: Range<usize>,
    pub message: String,
    text: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text.get(..self.at.start).unwrap_or(&self.text).chars().count();
        let under = self.text.get(self.at.clone()).map_or(1, |part| part.chars().count().max(1));
        writeln!(f, "filter: {}", self.message)?;
        writeln!(f, "  {}", crate::records::Shown::own(&self.text).as_str())?;
        write!(f, "  {}{}", " ".repeat(before), "^".repeat(under))
    }
}

/// A parsed expression.
pub struct Filter {
    tree: Expr,
    /// Keys in the order in which the terms name them.
    keys: Vec<&'static str>,
    /// Columns of each key, by kind of row; found once per kind.
    resolved: RwLock<Vec<Resolved>>,
}

/// A kind of row, by where its infos lie, and the columns of each key in it.
type Resolved = (usize, Arc<Vec<Vec<usize>>>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({self})")
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Bare(Word, String),
    /// Key by its position in `keys`; the text as it was written.
    Key(usize, Test, String),
}

impl Filter {
    pub fn parse(text: &str, known: &Keys) -> Result<Self, FilterError> {
        parse::parse(text, known)
    }

    /// Does the row match? `event` is the name of the event that the row belongs to, if it does.
    pub fn matches(&self, row: &dyn Facts, event: Option<&str>) -> bool {
        let columns = self.resolve(row.infos());
        self.tree.matches(&Seen { row, event, infos: row.infos(), columns: &columns, keys: &self.keys })
    }

    /// A term of it has this key.
    pub fn names(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }

    /// A term of it is a bare word, which any column of text may have.
    pub fn has_words(&self) -> bool {
        self.tree.has_words()
    }

    /// What the kernel side may leave out without changing what is shown.
    pub fn push_down(&self, uids: impl Fn(&dyn Fn(&str) -> bool) -> Vec<u32>) -> PushDown {
        push::push_down(self, &uids)
    }

    /// No process in the cgroup at `path` can match.
    pub fn excludes_cgroup(&self, path: &Outside) -> bool {
        push::excludes_cgroup(self, path)
    }

    fn resolve(&self, infos: &'static [Info]) -> Arc<Vec<Vec<usize>>> {
        let row_kind = infos.as_ptr() as usize;
        let found = |list: &[Resolved]| {
            list.iter().find(|(kind, _)| *kind == row_kind).map(|(_, columns)| Arc::clone(columns))
        };
        if let Some(columns) = found(&self.resolved.read().unwrap_or_else(PoisonError::into_inner)) {
            return columns;
        }
        let columns: Arc<Vec<Vec<usize>>> = Arc::new(
            self.keys
                .iter()
                .map(|&key| {
                    let carries = |info: &Info| {
                        info.keys.contains(&key) || (info.kind == Kind::Number && info.id == key)
                    };
                    infos
                        .iter()
                        .enumerate()
                        .filter(|(_, info)| carries(info))
                        .map(|(index, _)| index)
                        .collect()
                })
                .collect(),
        );
        self.resolved.write().unwrap_or_else(PoisonError::into_inner).push((row_kind, Arc::clone(&columns)));
        columns
    }
}

/// One row under test.
struct Seen<'a> {
    row: &'a dyn Facts,
    event: Option<&'a str>,
    infos: &'static [Info],
    columns: &'a [Vec<usize>],
    keys: &'a [&'static str],
}

impl Expr {
    fn has_words(&self) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::has_words),
            Self::Not(inner) => inner.has_words(),
            Self::Bare(..) => true,
            Self::Key(..) => false,
        }
    }

    fn matches(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::And(all) => all.iter().all(|expr| expr.matches(seen)),
            Self::Or(any) => any.iter().any(|expr| expr.matches(seen)),
            Self::Not(expr) => !expr.matches(seen),
            Self::Bare(word, _) => {
                seen.event.is_some_and(|event| word.is_in(event.as_bytes()))
                    || seen.infos.iter().enumerate().any(|(index, info)| {
                        matches!(info.kind, Kind::Text | Kind::Word)
                            && word.is_in_value(&seen.row.value(index))
                    })
            }
            Self::Key(key, test, _) => {
                if seen.keys.get(*key) == Some(&EVENT) {
                    return seen.event.is_some_and(|event| test.word(event.as_bytes()));
                }
                seen.columns.get(*key).into_iter().flatten().any(|&column| {
                    seen.infos
                        .get(column)
                        .is_some_and(|info| test.matches(&seen.row.value(column), info.kind))
                })
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tree.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], between: &str| {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                match part {
                    Self::And(_) | Self::Or(_) => write!(f, "({part})")?,
                    _ => part.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::And(parts) => list(f, parts, " "),
            Self::Or(parts) => list(f, parts, " or "),
            Self::Not(inner) => match inner.as_ref() {
                Self::And(_) | Self::Or(_) => write!(f, "!({inner})"),
                _ => write!(f, "!{inner}"),
            },
            Self::Bare(_, text) | Self::Key(_, _, text) => f.write_str(text),
        }
    }
}

/// Keys that the word before the cursor may become, each with its colon.
pub fn complete(text: &str, cursor: usize, known: &Keys) -> Vec<String> {
    let before = text.get(..cursor).unwrap_or(text);
    let word = before.rsplit([' ', '(', '!']).next().unwrap_or_default();
    known.names().filter(|name| name.starts_with(word)).map(|name| format!("{name}:")).collect()
}

/// Its letters in order: two words with the same ones are a slip of the fingers apart.
fn letters(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().collect();
    letters.sort_unstable();
    letters
}

#[cfg(test)]
mod tests;
