pub use std::path::PathBuf;
#[derive(Debug)]
pub enum Verdict { Passed, Failed(String), Skipped(String) }
pub struct Outcome { pub name: String, pub verdict: Verdict, pub lines: Vec<String> }
pub struct Place { pub fluoro: PathBuf, pub xtask: PathBuf, pub divide: u32, pub hooks: Vec<String>, pub guest: Option<String> }
pub fn run(_: &[String], _: &Place) -> Vec<Outcome> { vec![] }
