//! Which values are signals: the few that a reader scanning a table must not miss.

use crate::columns::{Info, Value};
use crate::theme::Role;

/// How much a value calls for attention.
pub fn signal(info: &Info, value: &Value<'_>) -> Role {
    match (info.id, value) {
        ("lost" | "missed", Value::Uint(n)) if *n > 0 => Role::Bad,
        ("retransmits" | "retr", Value::Uint(n)) if *n > 0 => Role::Warn,
        // What finds no room is counted as untracked.
        ("fill", Value::Real(share)) if *share >= 0.9 => Role::Warn,
        ("state", Value::Word("live")) => Role::Good,
        ("state", Value::Word("degraded")) => Role::Warn,
        ("state", Value::Word("unsupported" | "failed")) | ("error", Value::Word(_)) => Role::Bad,
        ("event", Value::Word(name)) if name.rsplit_once('.').is_some_and(|(_, what)| what == "fail") => {
            Role::Bad
        }
        _ => Role::Text,
    }
}
