//! Text to tree. Recursive descent over characters that remember their place and whether they were quoted.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::RwLock;

use globset::GlobBuilder;
use ipnet::IpNet;
use regex::bytes::RegexBuilder;

use super::test::{Item, Op, Test, Word};
use super::{Expr, Filter, FilterError, Key, Keys};
use crate::columns::{Kind, Unit};

/// Parentheses and negations nest so deep at most.
const DEPTH: usize = 64;

pub fn parse(text: &str, known: &Keys) -> Result<Filter, FilterError> {
    let mut parser = Parser { text, at: 0, depth: 0, known, keys: Vec::new() };
    let tree = parser.or()?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(Filter { tree, keys: parser.keys, resolved: RwLock::default() }),
        Some(_) => {
            Err(parser.error(parser.at..parser.at + 1, "this ) closes nothing; quote it to search for it"))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    known: &'a Keys,
    keys: Vec<&'static str>,
}

/// One character of a term.
#[derive(Clone, Copy)]
struct Letter {
    c: char,
    at: usize,
    quoted: bool,
}

impl Letter {
    fn is(self, c: char) -> bool {
        !self.quoted && self.c == c
    }
}

impl<'a> Parser<'a> {
    fn error(&self, at: Range<usize>, message: &str) -> FilterError {
        FilterError { at, message: message.to_owned(), text: self.text.to_owned() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// A keyword standing alone.
    fn keyword(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let Some(after) =
            rest.get(..word.len()).filter(|w| w.eq_ignore_ascii_case(word)).and(rest.get(word.len()..))
        else {
            return false;
        };
        let ends = after.chars().next().is_none_or(|c| c.is_whitespace() || c == '(' || c == ')');
        if ends {
            self.at += word.len();
        }
        ends
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.and()?];
        loop {
            self.skip_space();
            let start = self.at;
            if !self.keyword("or") {
                break;
            }
            self.skip_space();
            if self.peek().is_none_or(|c| c == ')') {
                return Err(self.error(start..self.at, "or needs a term on both sides"));
            }
            parts.push(self.and()?);
        }
        Ok(match parts.pop() {
            Some(only) if parts.is_empty() => only,
            Some(last) => {
                parts.push(last);
                Expr::Or(parts)
            }
            None => Expr::And(Vec::new()),
        })
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        let mut parts = Vec::new();
        loop {
            self.skip_space();
            if self.peek().is_none_or(|c| c == ')') {
                break;
            }
            let start = self.at;
            if self.keyword("or") {
                self.at = start;
                if parts.is_empty() {
                    return Err(self.error(start..start + 2, "or needs a term on both sides"));
                }
                break;
            }
            if self.keyword("and") {
                if parts.is_empty() {
                    return Err(self.error(start..start + 3, "and needs a term on both sides"));
                }
                continue;
            }
            parts.push(self.unary()?);
        }
        Ok(match parts.pop() {
            Some(only) if parts.is_empty() => only,
            Some(last) => {
                parts.push(last);
                Expr::And(parts)
            }
            None => Expr::And(parts),
        })
    }

    fn unary(&mut self) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error(self.at..self.at + 1, "nested too deep"));
        }
        let start = self.at;
        let expr = if self.peek() == Some('!') {
            self.at += 1;
            self.negated(start)?
        } else if self.keyword("not") {
            self.negated(start)?
        } else if self.peek() == Some('(') {
            self.at += 1;
            let inner = self.or()?;
            self.skip_space();
            if self.peek() != Some(')') {
                return Err(self.error(start..start + 1, "this ( is not closed"));
            }
            self.at += 1;
            inner
        } else {
            self.term()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn negated(&mut self, start: usize) -> Result<Expr, FilterError> {
        self.skip_space();
        if self.peek().is_none_or(|c| c == ')') {
            return Err(self.error(start..self.at.max(start + 1), "nothing to negate"));
        }
        Ok(Expr::Not(Box::new(self.unary()?)))
    }

    /// Letters up to a space or a parenthesis that closes a group.
    fn letters(&mut self) -> Result<Vec<Letter>, FilterError> {
        let mut letters = Vec::new();
        let mut quote: Option<usize> = None;
        let mut chars = self.rest().char_indices();
        let base = self.at;
        let mut end = self.text.len();
        // A term's own parentheses, as in `proc~(ng|ap)`: only one that none of them opened ends it.
        let mut open = 0_usize;
        while let Some((offset, c)) = chars.next() {
            let at = base + offset;
            match (c, quote) {
                ('"', None) => quote = Some(at),
                ('"', Some(_)) => quote = None,
                ('\\', Some(_)) => match chars.next() {
                    Some((_, escaped)) => letters.push(Letter { c: escaped, at, quoted: true }),
                    None => break,
                },
                (_, Some(_)) => letters.push(Letter { c, at, quoted: true }),
                (c, None) if c.is_whitespace() || (c == ')' && open == 0) => {
                    end = at;
                    break;
                }
                (_, None) => {
                    open += usize::from(c == '(');
                    open -= usize::from(c == ')');
                    letters.push(Letter { c, at, quoted: false });
                }
            }
        }
        if let Some(quote) = quote {
            return Err(self.error(quote..quote + 1, "this quote is not closed"));
        }
        self.at = end;
        Ok(letters)
    }

    fn term(&mut self) -> Result<Expr, FilterError> {
        let start = self.at;
        let letters = self.letters()?;
        let raw = self.text.get(start..self.at).unwrap_or_default().to_owned();
        let split =
            letters.iter().position(|l| [':', '~', '<', '>', '='].iter().any(|&c| l.is(c)) || l.is('!'));
        let name: Option<String> = split
            .and_then(|at| letters.get(..at))
            .filter(|name| {
                !name.is_empty() && name.iter().all(|l| !l.quoted && (l.c.is_ascii_lowercase() || l.c == '_'))
            })
            .map(|name| name.iter().map(|l| l.c).collect());
        let (Some(split), Some(name)) = (split, name) else {
            let word: String = letters.iter().map(|l| l.c).collect();
            return Ok(Expr::Bare(Word::new(&word), raw));
        };
        let Some(key) = self.known.get(&name) else {
            let hint = self.known.like(&name).map_or_else(
                || {
                    format!(
                        "known: {}; quote the word to search for it",
                        self.known.names().collect::<Vec<_>>().join(" ")
                    )
                },
                |like| format!("did you mean {like}?"),
            );
            return Err(self.error(start..start + name.len(), &format!("unknown key {name}: {hint}")));
        };
        let rest = letters.get(split..).unwrap_or_default();
        let test = self.test(key, rest)?;
        let index = self.keys.iter().position(|&k| k == key.name).unwrap_or_else(|| {
            self.keys.push(key.name);
            self.keys.len() - 1
        });
        Ok(Expr::Key(index, test, raw))
    }

    /// What follows the key: an operator and its value.
    fn test(&self, key: &Key, letters: &[Letter]) -> Result<Test, FilterError> {
        let is = |index: usize, c: char| letters.get(index).is_some_and(|l| l.is(c));
        let from = letters.first().map_or(self.at, |l| l.at);
        let (op, len) = match () {
            () if is(0, ':') => (None, 1),
            () if is(0, '~') => return self.regex(letters, from),
            () if is(0, '>') && is(1, '=') => (Some(Op::GreaterOrEqual), 2),
            () if is(0, '<') && is(1, '=') => (Some(Op::LessOrEqual), 2),
            () if is(0, '!') && is(1, '=') => (Some(Op::NotEqual), 2),
            () if is(0, '>') => (Some(Op::Greater), 1),
            () if is(0, '<') => (Some(Op::Less), 1),
            () if is(0, '=') => (Some(Op::Equal), 1),
            () => return Err(self.error(from..from + 1, "expected : ~ = != > >= < or <= after the key")),
        };
        let value = letters.get(len..).unwrap_or_default();
        if value.is_empty() {
            return Err(self.error(from..self.at, "a value is missing here"));
        }
        let span = || value.first().map_or(from, |l| l.at)..self.at;
        let Some(op) = op else {
            return value
                .split(|l| l.is(','))
                .map(|item| self.item(key, item, from))
                .collect::<Result<_, _>>()
                .map(Test::Any);
        };
        let text: String = value.iter().map(|l| l.c).collect();
        if !key.kinds.contains(&Kind::Number) {
            // `state=listen` and `state!=listen` are what hands type.
            let item = Test::Any(vec![self.item(key, value, from)?]);
            return match op {
                Op::Equal => Ok(item),
                _ => Err(self.error(
                    span(),
                    &format!("{} is no number: use {}:{text} or !{0}:{text}", key.name, key.name),
                )),
            };
        }
        number(&text, key.unit)
            .map_or_else(|| Err(self.error(span(), &expected(key))), |number| Ok(Test::Compare(op, number)))
    }

    fn regex(&self, letters: &[Letter], from: usize) -> Result<Test, FilterError> {
        let text: String = letters.iter().skip(1).map(|l| l.c).collect();
        RegexBuilder::new(&text).size_limit(1 << 20).build().map(Test::Regex).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            self.error(from..self.at, &format!("not a regular expression: {reason}"))
        })
    }

    fn item(&self, key: &Key, letters: &[Letter], from: usize) -> Result<Item, FilterError> {
        let at = letters.first().map_or(from, |l| l.at);
        let end = letters.last().map_or(from + 1, |l| l.at + l.c.len_utf8());
        if letters.is_empty() {
            return Err(self.error(at..end, "a member of the list is empty"));
        }
        let text: String = letters.iter().map(|l| l.c).collect();
        let has = |kind| key.kinds.contains(&kind);
        let number = if has(Kind::Number) { range(&text, key.unit) } else { None };
        let net = if has(Kind::Address) { net(&text) } else { None };
        let readable = has(Kind::Text) || has(Kind::Word);
        if !readable && number.is_none() && net.is_none() {
            return Err(self.error(at..end, &expected(key)));
        }
        let wild = letters.iter().any(|l| l.is('*') || l.is('?') || l.is('['));
        let glob = if wild && readable { Some(self.glob(letters, at..end)?) } else { None };
        // A number asks numbers: `user:0` is no part of a name.
        let word = if number.is_some() && has(Kind::Number) && readable {
            Word::new("\0")
        } else {
            Word::new(&text)
        };
        Ok(Item { word, glob, number, net })
    }

    fn glob(&self, letters: &[Letter], at: Range<usize>) -> Result<globset::GlobMatcher, FilterError> {
        let pattern: String = letters
            .iter()
            .map(|l| if l.quoted { globset::escape(&l.c.to_string()) } else { l.c.to_string() })
            .collect();
        GlobBuilder::new(&pattern).case_insensitive(true).build().map(|glob| glob.compile_matcher()).map_err(
            |error| self.error(at, &format!("not a glob: {}; quote it to search for it", error.kind())),
        )
    }
}

fn expected(key: &Key) -> String {
    let what = if key.kinds.contains(&Kind::Address) {
        "an address such as 10.0.0.1, ::1 or 10.0.0.0/8"
    } else {
        match key.unit {
            Unit::Nanos => "a time such as 20ms",
            Unit::Bytes | Unit::BytesPerSecond => "a number such as 1M",
            Unit::Share => "a share such as 5%",
            Unit::Plain | Unit::Count | Unit::PerSecond => "a number",
        }
    };
    format!("{} takes {what}", key.name)
}

/// `8000-9000`, or a number for both ends.
fn range(text: &str, unit: Unit) -> Option<(f64, f64)> {
    match text.split_once('-') {
        Some((first, last)) if !first.is_empty() => Some((number(first, unit)?, number(last, unit)?)),
        _ => number(text, unit).map(|n| (n, n)),
    }
}

/// A number with the suffixes that its unit takes; k, M and G are powers of ten.
fn number(text: &str, unit: Unit) -> Option<f64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let value: f64 = text.get(..digits)?.parse().ok()?;
    let suffix = text.get(digits..)?;
    let scale = match (suffix, unit) {
        ("" | "%", Unit::Share) => 0.01,
        ("", _) | ("ns", Unit::Nanos) => 1.0,
        ("us" | "\u{b5}s", Unit::Nanos) => 1e3,
        ("ms", Unit::Nanos) => 1e6,
        ("s", Unit::Nanos) => 1e9,
        ("m", Unit::Nanos) => 60e9,
        ("h", Unit::Nanos) => 3600e9,
        ("d", Unit::Nanos) => 86_400e9,
        (_, Unit::Nanos | Unit::Share) => return None,
        (suffix, _) => match suffix.trim_end_matches("/s").trim_end_matches('B') {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            _ => return None,
        },
    };
    Some(value * scale).filter(|n| n.is_finite())
}

/// An address or a network; IPv4-mapped ones are IPv4.
fn net(text: &str) -> Option<IpNet> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    bare.parse::<IpNet>().ok()
}
