//! What the reader narrows everything to: a process, an owner, a user, a peer, a port, a path or a call. Reads columns
//! by their ids, so that the rows of every family obey.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::columns::{Facts, Finder, Info, Value};
use crate::records::{Outside, WallTime};

/// One narrowing. Several are joined by AND.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Process {
        pid: u64,
        created: Option<WallTime>,
        comm: Outside,
    },
    Owner(Outside),
    User {
        uid: u64,
        name: Option<Outside>,
    },
    Peer(IpAddr),
    /// Of either side.
    Port(u64),
    Path(Outside),
    Syscall(Outside),
}

/// The clock of the wall may have been set between two looks at one process; a pid does not come back so soon.
const CLOCK_MOVES_NS: u64 = 1_000_000_000;

fn bytes<'a>(value: &'a Value<'a>) -> Option<&'a [u8]> {
    match value {
        Value::Text(text) => Some(text.bytes()),
        Value::Word(word) => Some(word.as_bytes()),
        _ => None,
    }
}

impl Scope {
    /// What this row can be narrowed to, the most natural first.
    pub fn offers(facts: &dyn Facts) -> Vec<Self> {
        let text = |id: &str| bytes(&facts.named(id)).map(Outside::new);
        let number = |id: &str| match facts.named(id) {
            Value::Uint(n) => Some(n),
            _ => None,
        };
        let mut offers = vec![];
        if let (Value::Process(comm, _), Some(pid)) = (facts.named("process"), number("pid")) {
            let created = match facts.named("created") {
                Value::Time(at) => Some(at),
                _ => None,
            };
            offers.push(Self::Process { pid, created, comm: comm.clone() });
        }
        offers.extend(text("owner").map(Self::Owner));
        offers.extend(number("uid").map(|uid| Self::User { uid, name: text("user") }));
        if let Value::Ip(address) = facts.named("peer_address") {
            offers.push(Self::Peer(address));
        }
        let inbound = bytes(&facts.named("direction")) == Some(b"inbound");
        let ports = if inbound { ["lport", "rport"] } else { ["rport", "lport"] };
        offers.extend(ports.iter().find_map(|id| number(id)).map(Self::Port));
        offers.extend(text("path").map(Self::Path));
        offers.extend(text("syscall").map(Self::Syscall));
        offers
    }

    /// What kind of thing it is.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Process { .. } => "process",
            Self::Owner(_) => "owner",
            Self::User { .. } => "user",
            Self::Peer(_) => "peer",
            Self::Port(_) => "port",
            Self::Path(_) => "path",
            Self::Syscall(_) => "syscall",
        }
    }

    /// Which one, for the screen.
    pub fn label(&self) -> String {
        match self {
            Self::Process { pid, comm, .. } => format!("{}({pid})", comm.shown().as_str()),
            Self::Owner(text) | Self::Path(text) | Self::Syscall(text) => text.shown().into_string(),
            Self::User { uid, name } => {
                name.as_ref().map_or_else(|| uid.to_string(), |name| name.shown().into_string())
            }
            Self::Peer(address) => address.to_string(),
            Self::Port(port) => port.to_string(),
        }
    }

    /// Ids of the columns that tell, of which one suffices (`Process`: of the first, refined by the second).
    const fn ids(&self) -> [&'static str; 2] {
        match self {
            Self::Process { .. } => ["pid", "created"],
            Self::Owner(_) => ["owner", ""],
            Self::User { .. } => ["uid", ""],
            Self::Peer(_) => ["peer_address", ""],
            Self::Port(_) => ["lport", "rport"],
            Self::Path(_) => ["path", ""],
            Self::Syscall(_) => ["syscall", ""],
        }
    }

    fn holds(&self, facts: &dyn Facts, [first, second]: [Option<usize>; 2]) -> bool {
        let at = |column: Option<usize>| column.map_or(Value::Missing, |column| facts.value(column));
        match self {
            Self::Process { pid, created, .. } => {
                let same = |told: WallTime, wanted: WallTime| told.0.abs_diff(wanted.0) < CLOCK_MOVES_NS;
                at(first) == Value::Uint(*pid)
                    && match (at(second), created) {
                        (Value::Time(told), Some(wanted)) => same(told, *wanted),
                        _ => true,
                    }
            }
            Self::Owner(text) | Self::Path(text) | Self::Syscall(text) => {
                bytes(&at(first)) == Some(text.bytes())
            }
            Self::User { uid, .. } => at(first) == Value::Uint(*uid),
            Self::Peer(address) => at(first) == Value::Ip(*address),
            Self::Port(port) => [first, second].into_iter().any(|column| at(column) == Value::Uint(*port)),
        }
    }
}

/// Scopes made ready for many rows.
pub struct Narrow {
    terms: Vec<Term>,
    pid: Finder<1>,
}

struct Term {
    scope: Scope,
    columns: Finder<2>,
    /// Whose rows are in scope, for rows that lack the column: the processes that talk to that peer.
    processes: HashSet<u64>,
}

impl Narrow {
    /// `all` shows every row of the moment, for those kinds of rows that a scope cannot be read off.
    pub fn new(scopes: &[Scope], all: impl Fn(&mut dyn FnMut(&dyn Facts))) -> Self {
        let pid = Finder::new(["pid"]);
        let term = |scope: &Scope| {
            let columns = Finder::new(scope.ids());
            let mut processes = HashSet::new();
            if !matches!(scope, Scope::Process { .. } | Scope::Owner(_) | Scope::User { .. }) {
                all(&mut |facts| {
                    let places = columns.of(facts.infos());
                    if places.iter().any(Option::is_some)
                        && scope.holds(facts, places)
                        && let [Some(column)] = pid.of(facts.infos())
                        && let Value::Uint(pid) = facts.value(column)
                    {
                        processes.insert(pid);
                    }
                });
            }
            Term { scope: scope.clone(), columns, processes }
        };
        let terms = scopes.iter().map(term).collect();
        Self { terms, pid }
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Is the row in every scope? What belongs to no process, such as a kernel program of fluoro's, always is.
    pub fn admits(&self, facts: &dyn Facts) -> bool {
        let infos: &'static [Info] = facts.infos();
        self.terms.iter().all(|term| {
            let places = term.columns.of(infos);
            if places.iter().any(Option::is_some) {
                return term.scope.holds(facts, places);
            }
            match self.pid.of(infos) {
                [Some(column)] => {
                    matches!(facts.value(column), Value::Uint(pid) if term.processes.contains(&pid))
                }
                [None] => true,
            }
        })
    }
}
