//! What one term asks of one value.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use globset::GlobMatcher;
use ipnet::IpNet;
use regex::bytes::Regex;

use crate::columns::{Kind, Value};

/// Text to look for, whatever its case.
#[derive(Debug)]
pub struct Word(Vec<u8>);

impl Word {
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase().into_bytes())
    }

    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.is_empty()
            || bytes.windows(self.0.len()).any(|window| window.eq_ignore_ascii_case(&self.0))
            // Beyond ASCII case folds in characters, not bytes.
            || (!self.0.is_ascii()
                && std::str::from_utf8(bytes)
                    .is_ok_and(|text| contains(text.to_lowercase().as_bytes(), &self.0)))
    }

    pub fn is_in_value(&self, value: &Value<'_>) -> bool {
        with_text(value, |bytes| self.is_in(bytes))
    }

    fn equals(&self, bytes: &[u8]) -> bool {
        bytes.eq_ignore_ascii_case(&self.0)
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The text of a value that has one.
fn with_text(value: &Value<'_>, ask: impl Fn(&[u8]) -> bool) -> bool {
    match value {
        Value::Text(text) | Value::Process(text, _) => ask(text.bytes()),
        Value::Word(word) => ask(word.as_bytes()),
        Value::Args(args) => ask(args.spaced().bytes()),
        Value::List(items) => {
            items.bytes().split(|&byte| byte == 0).any(|item| !item.is_empty() && ask(item))
        }
        Value::Counts(counts) => counts.iter().any(|(name, _)| ask(name.as_bytes())),
        Value::Socket(address) => ask(address.to_string().as_bytes()),
        Value::Ip(address) => ask(address.to_string().as_bytes()),
        _ => false,
    }
}

#[derive(Debug)]
pub enum Test {
    /// Any of a list.
    Any(Vec<Item>),
    Regex(Regex),
    Compare(Op, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

/// One member of a list: what it can be read as.
#[derive(Debug)]
pub struct Item {
    pub word: Word,
    pub glob: Option<GlobMatcher>,
    /// First and last of a range; a plain number is both.
    pub number: Option<(f64, f64)>,
    pub net: Option<IpNet>,
}

impl Test {
    pub fn matches(&self, value: &Value<'_>, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Any(items), Kind::Text) => {
                items.iter().any(|item| with_text(value, |bytes| item.is_in(bytes)))
            }
            (Self::Any(items), Kind::Word) => match value {
                Value::Bool(yes) => items.iter().any(|item| item.is(if *yes { b"true" } else { b"false" })),
                _ => items.iter().any(|item| with_text(value, |bytes| item.is(bytes))),
            },
            (Self::Any(items), Kind::Number) => number(value).is_some_and(|n| {
                items.iter().any(|item| item.number.is_some_and(|(first, last)| first <= n && n <= last))
            }),
            (Self::Any(items), Kind::Address) => address(value)
                .is_some_and(|ip| items.iter().any(|item| item.net.is_some_and(|net| net.contains(&ip)))),
            (Self::Regex(regex), _) => with_text(value, |bytes| regex.is_match(bytes)),
            (Self::Compare(op, than), _) => number(value).is_some_and(|n| op.holds(n, *than)),
        }
    }

    /// As [`Self::matches`] on a word of fluoro's own.
    pub fn word(&self, word: &[u8]) -> bool {
        match self {
            Self::Any(items) => items.iter().any(|item| item.is(word)),
            Self::Regex(regex) => regex.is_match(word),
            Self::Compare(..) => false,
        }
    }
}

impl Item {
    fn is_in(&self, bytes: &[u8]) -> bool {
        self.glob.as_ref().map_or_else(|| self.word.is_in(bytes), |glob| is_glob(glob, bytes))
    }

    fn is(&self, bytes: &[u8]) -> bool {
        self.glob.as_ref().map_or_else(|| self.word.equals(bytes), |glob| is_glob(glob, bytes))
    }
}

fn is_glob(glob: &GlobMatcher, bytes: &[u8]) -> bool {
    glob.is_match(OsStr::from_bytes(bytes))
}

impl Op {
    fn holds(self, value: f64, than: f64) -> bool {
        match self {
            Self::Greater => value > than,
            Self::GreaterOrEqual => value >= than,
            Self::Less => value < than,
            Self::LessOrEqual => value <= than,
            // Both sides come from integers or short decimals: bits compare as people expect.
            Self::Equal => value.to_bits() == than.to_bits() || (value - than).abs() < f64::EPSILON,
            Self::NotEqual => !Self::Equal.holds(value, than),
        }
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match *value {
        Value::Uint(n) | Value::Id(n) => Some(n as f64),
        Value::Int(n) => Some(n as f64),
        Value::Real(n) => Some(n),
        _ => None,
    }
}

fn address(value: &Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Ip(ip) => Some(ip.to_canonical()),
        Value::Socket(address) => Some(address.ip().to_canonical()),
        _ => None,
    }
}
