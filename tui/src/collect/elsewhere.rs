//! Packet sockets in the other network namespaces (`--all-netns`), all with the one filter: in each a program of a few
//! instructions notes where it is and goes on there. A socket keeps its namespace alive, so it is closed when the last
//! process has left that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::MapData;

use crate::collect::{bpf, packets};
use crate::kernel::addresses;
use crate::kernel::proc::Proc;

/// The sockets, for who reads; see [`Guard`].
#[derive(Clone)]
pub struct Elsewhere(Arc<Mutex<Places>>);

/// Closes the sockets when it is dropped, whoever else still knows of them.
pub struct Guard(Elsewhere);

struct Places {
    proc: Proc,
    own: u32,
    /// Where all of them go on. The kernel empties it when nobody has it open.
    here: MapData,
    sockets: BTreeMap<u32, OwnedFd>,
    /// Namespaces that could not be entered or refused the socket: said once.
    refused: BTreeSet<u32>,
    closed: bool,
}

impl Elsewhere {
    pub fn new(here: MapData, own: u32) -> (Self, Guard) {
        let places = Places {
            proc: Proc::new(Path::new("/")),
            own,
            here,
            sockets: BTreeMap::new(),
            refused: BTreeSet::new(),
            closed: false,
        };
        let elsewhere = Self(Arc::new(Mutex::new(places)));
        (elsewhere.clone(), Guard(elsewhere))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens sockets where there is none yet and closes those of namespaces without a process. The addresses of each.
    pub fn refresh(&self) -> Vec<(u32, Vec<IpAddr>)> {
        let mut places = self.places();
        if places.closed {
            return Vec::new();
        }
        let there = places.proc.namespaces();
        places.sockets.retain(|netns, _| there.contains_key(netns));
        places.refused.retain(|netns| there.contains_key(netns));
        let mut known = Vec::new();
        for (netns, pid) in there {
            if netns == places.own || places.refused.contains(&netns) {
                continue;
            }
            match places.visit(netns, pid) {
                Ok((socket, addresses)) => {
                    places.sockets.extend(socket.map(|socket| (netns, socket)));
                    known.push((netns, addresses));
                }
                // The process ended, and may have been the last one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    crate::log::line(&format!("dns: network namespace {netns} is not seen: {error}"));
                    places.refused.insert(netns);
                }
            }
        }
        known
    }
}

impl Places {
    /// Enters a namespace, on a thread of its own, which ends there.
    fn visit(&self, netns: u32, pid: u32) -> io::Result<(Option<OwnedFd>, Vec<IpAddr>)> {
        let namespace = std::fs::File::open(self.proc.netns_file(pid))?;
        let is_new = !self.sockets.contains_key(&netns);
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                    let addresses = addresses::of_this_namespace()?;
                    if !is_new {
                        return Ok((None, addresses));
                    }
                    let socket = packets::socket()?;
                    let program = bpf::load_noting(netns, self.here.fd().as_fd())?;
                    packets::attach(&socket, &program)?;
                    packets::listen(&socket)?;
                    Ok((Some(socket), addresses))
                })
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut places = self.0.places();
        places.closed = true;
        places.sockets.clear();
    }
}
