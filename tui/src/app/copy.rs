//! What can be copied: a row as text, and commands that are ready to be run. Commands hold numbers and addresses only,
//! so that no name from outside can put words into somebody's shell.

use crate::app::state::{Choice, Chosen};
use crate::columns::{Facts, Info, Value};
use crate::fmt;
use crate::records::Shown;

/// The cells of a row as they are shown, one blank apart from the next.
pub fn row(facts: &dyn Facts, columns: &[&'static Info]) -> String {
    let cells = columns.iter().map(|info| {
        let text = fmt::value(&facts.named(info.id), info.unit);
        Shown::own(&text).into_string().trim().to_owned()
    });
    cells.collect::<Vec<_>>().join("\t")
}

/// Commands about what the row is about.
pub fn commands(facts: &dyn Facts, ended: bool) -> Vec<Choice> {
    let mut choices = vec![];
    let mut add =
        |title, text: String| choices.push(Choice { title, does: Chosen::Copy(text.clone()), text });
    let pid = match facts.named("pid") {
        Value::Uint(pid) if pid > 0 => Some(pid),
        _ => None,
    };
    if let (Value::Ip(peer), Value::Uint(port), Value::Uint(local)) =
        (facts.named("peer_address"), facts.named("rport"), facts.named("lport"))
    {
        let peer = if peer.is_ipv6() { format!("[{peer}]") } else { peer.to_string() };
        add("this socket", format!("ss -tinp dst {peer} dport = {port} sport = {local}"));
    } else if let Value::Uint(local) = facts.named("lport") {
        add("this listener", format!("ss -tlnp sport = {local}"));
    }
    // The pid of what has ended may be another's by the time the command is run.
    if let Some(pid) = pid.filter(|_| !ended) {
        add("its files", format!("lsof -nP -p {pid}"));
        add("its calls", format!("strace -f -p {pid}"));
        add("end it", format!("kill {pid}"));
    }
    choices
}
