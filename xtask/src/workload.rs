//! Workloads whose every figure is known: programs that do something bounded to the machine and say, one JSON object
//! a line, what they did. They run as children of `prove` and `bench` (and as each other's children), so that a
//! guest needs no other program than this one. They know nothing of fluoro.

pub mod actor;
pub mod burn;
pub mod calls;
pub mod crowd;
pub mod datagrams;
pub mod deeds;
pub mod dns;
pub mod drops;
pub mod exchange;
pub mod failing;
pub mod files;
pub mod hold;
pub mod hostile;
pub mod http;
pub mod island;
pub mod namespace;
pub mod nft;
pub mod program;
pub mod routine;
pub mod spawner;
pub mod storm;
pub mod trouble;
pub mod uring;
pub mod voice;
pub mod ways;
pub mod wire;

use std::collections::VecDeque;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::{prctl, signal::Signal};

type Play = fn(&mut Words) -> Result<()>;

/// Name, arguments, what it does, body.
const WORKLOADS: &[(&str, &str, &str, Play)] = &[
    (
        "exchange",
        "KIND FAMILY COUNT PORT here|apart",
        "requests and responses, server and client",
        exchange::pair,
    ),
    ("serve", "KIND FAMILY COUNT PORT", "the server of an exchange", exchange::server::play),
    ("fetch", "KIND FAMILY COUNT PORT", "the client of an exchange", exchange::client::play),
    ("storm-serve", "COUNT PORT", "accepts and closes", storm::serve),
    ("storm-connect", "COUNT PORT", "connects and closes at full speed", storm::connect),
    ("spawner", "COUNT EXECUTABLE ..", "starts short programs and waits for each", spawner::play),
    ("exit", "CODE|signal:N [MILLISECONDS]", "ends as told", spawner::exit),
    ("connect-failing", "REFUSED TIMED-OUT CANCELLED", "connections that never come about", failing::play),
    ("drops", "COUNT", "packets that never arrive, for known reasons", drops::play),
    ("datagrams", "COUNT", "datagrams in every way, in a namespace of its own, when told", datagrams::play),
    ("datagram-bulk", "COUNT", "datagrams over one flow as fast as they go, when told", datagrams::bulk),
    ("dns-serve", "ADDRESS PORT", "a name server that is not always honest", dns::serve),
    ("dns-ask", "ADDRESS PORT WORD ROUNDS", "asks it everything when told, and connects", dns::ask),
    ("hold", "COUNT BYTES [apart]", "connections that stay open until told", hold::pair),
    ("hold-serve", "COUNT BYTES PORT", "the accepting side of held connections", hold::serve),
    ("hold-connect", "COUNT BYTES PORT", "the connecting side of held connections", hold::connect),
    ("calls", "THREADS COUNT", "known calls into the kernel, each time it is told", calls::play),
    ("parents", "SECONDS", "one known call as fast as it goes, when told", calls::parents),
    ("wait", "THREADS MILLISECONDS APART", "threads that block in read, all for as long", calls::wait),
    ("steady", "CHUNK PAUSE_MS COUNT", "one transfer at an even rate, when told", hold::steady),
    ("bulk", "BYTES", "one transfer as fast as it goes", hold::bulk),
    ("http-serve", "PORT", "answers every HTTP request with the same", http::serve),
    ("crowd", "COUNT [TALKING]", "many connections, few of them talking, until told", crowd::play),
    ("trouble", "COUNT", "everything that goes wrong, in a namespace of its own", trouble::play),
    ("ways", "WAY BYTES COUNT", "transfers by write, sendfile, splice, zerocopy or io_uring", ways::play),
    ("wire", "COUNT", "two containers that talk over a bridge, when told", wire::play),
    ("island", "COUNT NEAR_PORT", "questions and packets in a namespace of its own, when told", island::play),
    ("wire-end", "talk|serve NUMBER COUNT", "one of the two", wire::end),
    ("files", "DIR ROUNDS", "everything that can be done to files, when told", files::play),
    ("activity", "DIR ROUNDS", "known bytes by every call, when told", files::activity::play),
    (
        "file-storm",
        "COUNT PATH [SECONDS]",
        "opens and closes at full speed, when told",
        files::activity::storm,
    ),
    ("mkdir", "WAY DIR", "a folder made twice in one of the ways, when told", files::mkdir::play),
    ("mkdirs", "DIR", "a folder each time it is told", files::mkdir::many),
    ("deeds", "DIR COUNT SPIN_MS", "something of every family, when told", deeds::play),
    ("devour", "MIB", "takes memory, when told", deeds::devour),
    ("launch", "PROGRAM", "starts a program with one call, when told", program::launch),
    ("exec", "PROGRAM ARG ..", "becomes another program when told", spawner::exec),
    ("hostile", "COUNT PER_MS CHILDREN", "names that try to drive a terminal, when told", hostile::play),
    ("service", "DIR WAIT_MS", "requests that wait for one file, until told", routine::service),
    ("refused", "PAUSE_MS", "connections that a port refuses, until told", routine::refused),
    ("errands", "DIR PAUSE_MS", "short-lived children, until told", routine::errands),
    ("errand", "DIR PORT", "a file and a refused connection, at once over", routine::errand),
    ("reads", "PATH PAUSE_MS", "reads a file, until told", routine::reads),
    ("burn", "THREADS MILLISECONDS", "threads that use so much of a CPU, when told", burn::play),
    ("sleepers", "COUNT", "children that do nothing, until told", burn::sleepers),
    ("sleep", "[UID]", "waits to be told to end, as another user if told", spawner::sleep),
];

pub fn main(args: &[String]) -> Result<()> {
    // Nothing that is started here outlives the one who started it.
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl PR_SET_PDEATHSIG")?;
    let mut words = Words(args.iter().cloned().collect());
    let name = words.text("workload")?;
    let Some((_, usage, _, play)) = WORKLOADS.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<String> =
            WORKLOADS.iter().map(|(name, usage, what, _)| format!("  {name} {usage}: {what}")).collect();
        bail!("workload {name}: unknown; there are\n{}", known.join("\n"));
    };
    play(&mut words).with_context(|| format!("workload {name} {usage}"))
}

/// The arguments of a workload, taken one after the other.
pub struct Words(VecDeque<String>);

impl Words {
    pub fn text(&mut self, what: &str) -> Result<String> {
        self.0.pop_front().with_context(|| format!("argument {what} is missing"))
    }

    pub fn parse<T: FromStr>(&mut self, what: &str) -> Result<T> {
        let text = self.text(what)?;
        text.parse().map_err(|_| anyhow!("argument {what}: {text:?} does not parse"))
    }

    pub fn optional<T: FromStr>(&mut self, what: &str) -> Result<Option<T>> {
        if self.0.is_empty() { Ok(None) } else { self.parse(what).map(Some) }
    }

    pub fn rest(&mut self) -> Vec<String> {
        self.0.drain(..).collect()
    }
}
