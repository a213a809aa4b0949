//! One line of text being edited, with the keys that a shell has taught hands.

/// Text and a cursor, which stands on a character boundary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Editor {
    text: String,
    cursor: usize,
}

/// Longer input is refused: nobody reads a filter of this length, and a paste may be anything.
const LONGEST: usize = 1024;

/// What can be done to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    Left,
    Right,
    Home,
    End,
    Backspace,
    Delete,
    DeleteWord,
    Clear,
}

impl Editor {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub const fn cursor(&self) -> usize {
        self.cursor
    }

    pub fn replace(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    /// Types a character; control characters, which only a paste can bring, become spaces.
    pub fn insert(&mut self, c: char) {
        if self.text.len() + c.len_utf8() > LONGEST {
            return;
        }
        let c = if c.is_control() { ' ' } else { c };
        self.text.insert(self.cursor, c);
        self.cursor += c.len_utf8();
    }

    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Left => self.cursor = self.before(),
            Edit::Right => self.cursor = self.after(),
            Edit::Home => self.cursor = 0,
            Edit::End => self.cursor = self.text.len(),
            Edit::Backspace => self.cut(self.before(), self.cursor),
            Edit::Delete => self.cut(self.cursor, self.after()),
            Edit::DeleteWord => {
                let head = self.head().trim_end();
                let start = head.rfind(char::is_whitespace).map_or(0, |at| at + 1);
                self.cut(start, self.cursor);
            }
            Edit::Clear => self.cut(0, self.cursor),
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }

    fn head(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or_default()
    }

    fn before(&self) -> usize {
        self.head().char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let tail = self.text.get(self.cursor..).unwrap_or_default();
        self.cursor + tail.chars().next().map_or(0, char::len_utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editing_keeps_whole_characters() {
        let mut editor = Editor::new("é日x");
        editor.apply(Edit::Left);
        editor.apply(Edit::Backspace);
        editor.insert('→');
        assert_eq!(editor.text(), "é→x");
        editor.apply(Edit::Home);
        editor.apply(Edit::Delete);
        assert_eq!((editor.text(), editor.cursor()), ("→x", 0));
        editor.apply(Edit::Backspace);
        assert_eq!(editor.text(), "→x");
    }

    #[test]
    fn a_word_is_deleted_with_the_blanks_behind_it() {
        let mut editor = Editor::new("port:443 tx>1M  ");
        editor.apply(Edit::DeleteWord);
        assert_eq!(editor.text(), "port:443 ");
        editor.apply(Edit::Clear);
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn a_paste_brings_neither_control_characters_nor_endless_text() {
        let mut editor = Editor::default();
        "a\x1b\n".chars().for_each(|c| editor.insert(c));
        assert_eq!(editor.text(), "a  ");
        (0..5000).for_each(|_| editor.insert('x'));
        assert_eq!(editor.text().len(), LONGEST);
    }
}
