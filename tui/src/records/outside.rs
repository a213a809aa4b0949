//! Bytes that somebody else chose: comm, argv, paths, names, cgroups. They leave by two doors only:
//! [`Outside::shown`] for a screen and [`Outside::json`] for a line.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Untrusted bytes. Identity and filters use the bytes themselves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outside(Arc<[u8]>);

/// Text that cannot drive a terminal: what [`Outside::shown`] returns and widgets accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Text of fluoro's own (headings, numbers), neutralised like any other.
    pub fn own(text: &str) -> Self {
        Self(neutralise(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl Outside {
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// A fixed-size, NUL-padded kernel string such as comm.
    pub fn from_padded(bytes: &[u8]) -> Self {
        Self::new(bytes.split(|&b| b == 0).next().unwrap_or_default())
    }

    /// Arguments, each with its NUL, as one text.
    #[must_use]
    pub fn spaced(&self) -> Self {
        let text = self.0.strip_suffix(&[0]).unwrap_or(&self.0);
        Self(text.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the screen: control, bidirectional and zero-width characters neutralised.
    pub fn shown(&self) -> Shown {
        Shown(neutralise(&String::from_utf8_lossy(&self.0)))
    }

    /// For JSON: the text (lossy), and the bytes again when the text is not all of them.
    pub fn json(&self) -> (Cow<'_, str>, Option<&[u8]>) {
        match std::str::from_utf8(&self.0) {
            Ok(text) => (Cow::Borrowed(text), None),
            Err(_) => (String::from_utf8_lossy(&self.0), Some(&self.0)),
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outside({})", self.0.escape_ascii())
    }
}

impl Default for Outside {
    fn default() -> Self {
        Self::new(b"")
    }
}

impl From<&str> for Outside {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

/// Replaces what a terminal could act on or hide with one visible mark a character, so that columns keep
/// their width.
fn neutralise(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { '\u{b7}' } else { c }).collect()
}

/// C0, DEL, C1, bidirectional controls, zero-width and other invisible formatting characters; and what stands for bytes
/// that are no text: some terminals draw nothing for it, and what follows would stand in the wrong place.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{fffd}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_lose_their_power_and_keep_their_length() {
        let shown = Outside::new(b"\x1b[2Jx\x9b\n").shown();
        assert_eq!(shown.as_str(), "\u{b7}[2Jx\u{b7}\u{b7}");
    }

    #[test]
    fn c1_and_bidi_and_zero_width_are_neutralised() {
        let shown = Outside::from("a\u{9b}b\u{202e}c\u{200b}d\u{e0041}").shown();
        assert_eq!(shown.as_str(), "a\u{b7}b\u{b7}c\u{b7}d\u{b7}");
    }

    #[test]
    fn json_gives_the_bytes_again_only_when_text_is_lossy() {
        assert_eq!(Outside::from("é").json(), (Cow::Borrowed("é"), None));
        let raw = Outside::new(b"a\xff");
        assert_eq!(raw.json(), (Cow::Owned("a\u{fffd}".to_owned()), Some(&b"a\xff"[..])));
    }

    #[test]
    fn padded_strings_end_at_the_first_nul() {
        assert_eq!(Outside::from_padded(b"bash\0junk").bytes(), b"bash");
    }
}
