//! Packet sockets in the other network namespaces (`--all-netns`), all with the one filter: in each a program of a few
//! instructions notes where it is and goes on there. A socket keeps its namespace alive, so it is closed when no process is
//! in that and nothing holds it mounted. What is not seen is kept to be said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::MapData;

use crate::collect::{bpf, packets};
use crate::kernel::addresses;
use crate::kernel::proc::Proc;

/// A namespace that refused is asked again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// The sockets, for who reads; see [`Guard`].
#[derive(Clone)]
pub struct Elsewhere(Arc<Mutex<Places>>);

/// Closes the sockets when it is dropped, whoever else still knows of them.
pub struct Guard(Elsewhere);

struct Places {
    proc: Proc,
    own: u32,
    /// Where all of them go on; why there is no such place; `None`: other namespaces are not wanted. The kernel empties it
    /// when nobody has it open.
    here: Option<Result<MapData, String>>,
    sockets: BTreeMap<u32, OwnedFd>,
    /// Namespaces that could not be entered or refused the socket: when, and why.
    refused: BTreeMap<u32, (Instant, String)>,
    /// Namespaces with more addresses than the kernel side can be told.
    crowded: Vec<u32>,
    closed: bool,
}

/// Why a namespace has no socket.
enum Unseen {
    /// The process that was in it ended, and may have been the last one.
    Gone,
    Refused(String),
}

impl Elsewhere {
    /// `here`: a map with the filter in it; `own`: the namespace that has a socket already, 0 where that is not known.
    pub fn new(here: Option<Result<MapData, String>>, own: u32) -> (Self, Guard) {
        let unknown = || Err("fluoro's own namespace cannot be told from them".to_owned());
        let places = Places {
            proc: Proc::new(Path::new("/")),
            own,
            here: if own == 0 { here.map(|_| unknown()) } else { here },
            sockets: BTreeMap::new(),
            refused: BTreeMap::new(),
            crowded: Vec::new(),
            closed: false,
        };
        let elsewhere = Self(Arc::new(Mutex::new(places)));
        (elsewhere.clone(), Guard(elsewhere))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens sockets where there is none yet and closes those of namespaces that nobody is in. The addresses of each.
    pub fn refresh(&self) -> Vec<(u32, Vec<IpAddr>)> {
        let mut places = self.places();
        if places.closed || !matches!(places.here, Some(Ok(_))) {
            return Vec::new();
        }
        let there = places.proc.namespace_files();
        places.sockets.retain(|netns, _| there.contains_key(netns));
        places.refused.retain(|netns, _| there.contains_key(netns));
        let mut known = Vec::new();
        for (netns, file) in there {
            let waits = places.refused.get(&netns).is_some_and(|(at, _)| at.elapsed() < AGAIN);
            if netns == places.own || waits {
                continue;
            }
            match places.visit(netns, &file) {
                Ok((socket, addresses)) => {
                    places.sockets.extend(socket.map(|socket| (netns, socket)));
                    places.refused.remove(&netns);
                    known.push((netns, addresses));
                }
                Err(Unseen::Gone) => {}
                Err(Unseen::Refused(why)) => {
                    crate::log::line(&format!("dns: network namespace {netns} is not seen: {why}"));
                    places.refused.insert(netns, (Instant::now(), why));
                }
            }
        }
        known
    }

    /// Says in which namespaces nothing that passes through is counted: they have too many addresses.
    pub fn crowded(&self, namespaces: Vec<u32>) {
        self.places().crowded = namespaces;
    }
}

impl Places {
    /// Enters a namespace, on a thread of its own, which ends there.
    fn visit(&self, netns: u32, file: &Path) -> Result<(Option<OwnedFd>, Vec<IpAddr>), Unseen> {
        let Some(Ok(here)) = &self.here else { return Err(Unseen::Gone) };
        let namespace = File::open(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unseen::Gone,
            _ => Unseen::Refused(format!("{}: {error}", file.display())),
        })?;
        // The process may have gone elsewhere, or another has its number.
        if namespace.metadata().is_ok_and(|found| found.ino() != u64::from(netns)) {
            return Err(Unseen::Gone);
        }
        let is_new = !self.sockets.contains_key(&netns);
        let enter = || {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(|error| Unseen::Refused(format!("it cannot be entered: {}", error.desc())))?;
            let refused = |error: &io::Error| Unseen::Refused(packets::explain(error));
            let addresses = addresses::of_this_namespace().map_err(|error| refused(&error))?;
            let open = || {
                let socket = packets::socket()?;
                let program = bpf::load_noting(netns, here.fd().as_fd())?;
                packets::attach(&socket, &program)?;
                packets::listen(&socket)?;
                Ok(socket)
            };
            Ok((is_new.then(open).transpose().map_err(|error| refused(&error))?, addresses))
        };
        std::thread::scope(|scope| {
            let early = |_| Err(Unseen::Refused("the thread that entered it ended early".to_owned()));
            scope.spawn(enter).join().unwrap_or_else(early)
        })
    }

    /// What is not seen, if anything.
    fn unseen(&self) -> Option<String> {
        let mut said = Vec::new();
        if let Some(Err(why)) = &self.here {
            said.push(format!("other network namespaces are not seen: {why}"));
        }
        said.extend(
            self.refused
                .iter()
                .map(|(netns, (_, why))| format!("network namespace {netns} is not seen: {why}")),
        );
        said.extend(self.crowded.iter().map(|netns| {
            format!("what passes through network namespace {netns} is not counted: it has too many addresses")
        }));
        (!said.is_empty()).then(|| said.join("; "))
    }
}

impl Guard {
    /// What is not seen, for whoever asks how the program stands.
    pub fn unseen(&self) -> Option<String> {
        self.0.places().unseen()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut places = self.0.places();
        places.closed = true;
        places.sockets.clear();
    }
}
