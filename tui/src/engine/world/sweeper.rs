//! Reads the socket tables of all network namespaces on a thread of its own and hands them over in parts, so that whoever
//! asked can drain the rings meanwhile and the whole table is never in memory twice.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::time::{Duration, Instant};

use crate::engine::machine::SocketPart;
use crate::families::flow::model::{Live, Queue, SocketFacts, State};
use crate::kernel::proc::Proc;
use crate::kernel::sock_diag::{self, Socket};
use crate::records::{FlowId, NetnsId, ProcKey, StartTime, Tgid};

/// Sockets handed over together, and how many such parts may wait to be taken.
const PART: usize = 1024;
const WAITING: usize = 8;

/// Namespaces are looked up again this often.
const RELIST: Duration = Duration::from_secs(5);

/// The end of whoever asks.
pub struct Sweeper {
    proc: Proc,
    thread: Option<(Sender<bool>, Receiver<SocketPart>)>,
    /// A reading has been asked for, and its end has not been taken.
    under_way: bool,
}

impl Sweeper {
    pub fn new(root: &Path) -> Self {
        Self { proc: Proc::new(root), thread: None, under_way: false }
    }

    /// Begins a reading; with `holders`, who has each socket open is looked for.
    pub fn ask(&mut self, holders: bool) {
        self.under_way = true;
        let proc = &self.proc;
        let (asks, _) = self.thread.get_or_insert_with(|| {
            let (asks, asked) = channel();
            let (parts, taken) = sync_channel(WAITING);
            let reader = Reader::new(proc.clone());
            let spawned = std::thread::Builder::new()
                .name("sweeper".to_owned())
                .spawn(move || reader.run(&asked, &parts));
            if let Err(error) = spawned {
                crate::log::line(&format!("cannot start the thread that reads the socket tables: {error}"));
            }
            (asks, taken)
        });
        // A thread that is gone is noticed when its parts are asked for.
        let _ = asks.send(holders);
    }

    /// The next part, if it is there.
    pub fn next(&mut self) -> Option<SocketPart> {
        let (_, parts) = self.thread.as_ref().filter(|_| self.under_way)?;
        let part = match parts.try_recv() {
            Ok(part) => part,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                self.thread = None;
                SocketPart::End { whole: false }
            }
        };
        self.under_way = !matches!(part, SocketPart::End { .. });
        Some(part)
    }
}

/// What the thread works with.
struct Reader {
    proc: Proc,
    own_netns: Option<u32>,
    /// Network namespaces with a process in each, and when they were looked up.
    namespaces: HashMap<u32, u32>,
    listed: Option<Instant>,
}

/// Who holds sockets, by their inodes.
#[derive(Default)]
struct Holders {
    pids: HashMap<u64, u32>,
    keys: HashMap<u32, Option<ProcKey>>,
}

impl Reader {
    fn new(proc: Proc) -> Self {
        Self { own_netns: proc.netns(std::process::id()), proc, namespaces: HashMap::new(), listed: None }
    }

    fn run(mut self, asked: &Receiver<bool>, parts: &SyncSender<SocketPart>) {
        for holders in asked {
            let whole = self.read(holders, parts);
            if parts.send(SocketPart::End { whole }).is_err() {
                return;
            }
        }
    }

    /// False: something could not be read.
    fn read(&mut self, holders: bool, parts: &SyncSender<SocketPart>) -> bool {
        if self.listed.is_none_or(|at| at.elapsed() > RELIST) {
            self.namespaces = self.proc.namespaces();
            self.listed = Some(Instant::now());
        }
        let pids = if holders { self.proc.socket_holders() } else { HashMap::new() };
        let mut holders = Holders { pids, ..Holders::default() };
        let mut whole = true;
        for (&netns, &pid) in &self.namespaces {
            let mut part = Vec::new();
            let mut take = |socket: Socket| {
                if part.is_empty() {
                    part.reserve_exact(PART);
                }
                part.push(facts(NetnsId(netns), &socket, holders.of(&socket, &self.proc)));
                if part.len() == PART {
                    // Nobody waits for it any more: the thread ends with the reading.
                    let _ = parts.send(SocketPart::Some(std::mem::take(&mut part)));
                }
            };
            let asked = if Some(netns) == self.own_netns {
                sock_diag::dump(&mut take)
            } else {
                sock_diag::dump_in(&self.proc.netns_file(pid), &mut take)
            };
            if let Err(error) = asked {
                crate::log::line(&error.to_string());
                // The process that led into the namespace may have ended: look again next time.
                self.listed = None;
                whole = false;
            }
            let _ = parts.send(SocketPart::Some(part));
        }
        whole
    }
}

impl Holders {
    fn of(&mut self, socket: &Socket, proc: &Proc) -> Option<ProcKey> {
        let pid = *self.pids.get(&socket.inode)?;
        *self.keys.entry(pid).or_insert_with(|| {
            let process = proc.process(pid)?;
            Some(ProcKey { tgid: Tgid(process.tgid), start: StartTime(process.start) })
        })
    }
}

fn facts(netns: NetnsId, socket: &Socket, holder: Option<ProcKey>) -> SocketFacts {
    let state = State::from_kernel(socket.state);
    SocketFacts {
        id: FlowId(socket.cookie),
        netns,
        local: socket.local,
        peer: socket.peer,
        state,
        bytes_acked: socket.bytes_acked,
        bytes_received: socket.bytes_received,
        rtt_ns: socket.rtt_us.map(|us| u64::from(us) * 1000),
        retransmits: socket.retransmits,
        live: Live {
            min_rtt_ns: socket.min_rtt_us.map(|us| u64::from(us) * 1000),
            cwnd: socket.cwnd,
            out_of_order: socket.out_of_order,
            delivery_bytes_per_s: socket.delivery_rate,
        },
        queue: (state == State::Listen).then_some(Queue {
            waiting: socket.waiting,
            backlog: socket.backlog,
            half_open: 0,
            drops: socket.drops,
        }),
        holder,
    }
}
