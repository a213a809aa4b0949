//! How a workload talks with whoever started it: JSON lines out, single words in.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One line in one write, so that lines of forked children do not mix.
pub fn say(fact: &Value) -> Result<()> {
    let mut line = fact.to_string();
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).context("write to stdout")
}

/// The next line on stdin.
pub fn hear() -> Result<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("read from stdin")?;
    if read == 0 {
        bail!("stdin has ended");
    }
    Ok(line.trim_end().to_owned())
}

/// Waits for a line with exactly this word on stdin.
pub fn wait_for(word: &str) -> Result<()> {
    let heard = hear().with_context(|| format!("nobody said {word:?}"))?;
    if heard != word {
        bail!("expected {word:?} on stdin, heard {heard:?}");
    }
    Ok(())
}
