//! Stand-in until the filter language is merged.
use crate::columns::Info;
use std::ops::Range;

#[derive(Debug, PartialEq)]
pub struct Filter(pub String);
pub struct Keys(Vec<&'static str>);
#[derive(Debug)]
pub struct FilterError {
    pub at: Range<usize>,
    pub message: String,
}

impl Keys {
    pub fn of(infos: &[Info]) -> Self {
        Self(infos.iter().flat_map(|i| i.keys.iter().copied().chain([i.id])).collect())
    }
}
impl Filter {
    pub fn parse(text: &str, keys: &Keys) -> Result<Self, FilterError> {
        let mut at = 0;
        for word in text.split(' ') {
            if let Some((key, _)) = word.split_once(':') {
                if !keys.0.contains(&key) {
                    return Err(FilterError {
                        at: at..at + key.len(),
                        message: format!("unknown key {key:?}: did you mean \"port\"?"),
                    });
                }
            }
            at += word.len() + 1;
        }
        Ok(Self(text.to_owned()))
    }
}
pub fn complete(_: &str, _: usize, _: &Keys) -> Vec<String> {
    vec![]
}
