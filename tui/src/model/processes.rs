//! The identity table: who every pid is and was. Fed by the family `process`, asked by all.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::model::{Ancestor, Executable, Identity, Owner};
use crate::records::process::{Record, What};
use crate::records::{
    BootTime, CgroupId, Gid, NetnsId, Outside, ProcKey, StartTime, TaskFacts, Tgid, Uid, WallTime,
};

/// A process as somebody other than a record describes it (/proc, a fixture).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcFacts {
    pub key: ProcKey,
    pub parent: Tgid,
    pub comm: Outside,
    pub executable: Option<Outside>,
    pub uid: Uid,
    pub gid: Gid,
    /// Each argument with its NUL.
    pub args: Option<Outside>,
    /// Path in the hierarchy that identifies processes.
    pub cgroup: Option<Outside>,
    pub owner: Owner,
}

/// What records lack and the machine knows.
pub trait Lookup {
    fn process(&mut self, tgid: Tgid) -> Option<ProcFacts>;
    fn cgroup(&mut self, id: CgroupId) -> Option<Outside>;
    fn owner(&mut self, cgroup: &Outside) -> Owner;
    fn user(&mut self, uid: Uid) -> Option<Arc<str>>;
    /// The wall time of a moment of the event clock.
    fn wall(&self, at: BootTime) -> WallTime;

    /// The kernel's word for a value of its `enum skb_drop_reason`, if it has that.
    fn drop_reason(&self, _code: u32) -> Option<&str> {
        None
    }

    /// The function of the kernel that lies at this distance from `_stext`.
    fn function(&mut self, _offset: i64) -> Option<&str> {
        None
    }

    /// Where the file system of this device is mounted (`dev_t` as the kernel keeps it).
    fn mount(&mut self, _device: u32) -> Option<Outside> {
        None
    }

    /// Name of an interface.
    fn interface(&mut self, _netns: NetnsId, _index: u32) -> Option<Outside> {
        None
    }

    /// The process that holds the socket with this inode.
    fn socket_holder(&mut self, _inode: u64) -> Option<ProcKey> {
        None
    }

    /// The process that had a UDP socket at this port at that moment and still has it.
    fn port_holder(&mut self, _netns: NetnsId, _port: u16, _at: BootTime) -> Option<ProcKey> {
        None
    }
}

/// Identities by process.
#[derive(Default)]
pub struct Processes {
    known: foldhash::HashMap<ProcKey, Known>,
    /// The process that has a pid now.
    current: foldhash::HashMap<Tgid, ProcKey>,
    /// In order of their end.
    ended: VecDeque<(BootTime, ProcKey)>,
    /// Of them, those of the interval that runs, and of the interval before.
    ending: foldhash::HashSet<ProcKey>,
    just_ended: foldhash::HashSet<ProcKey>,
    /// Arguments are asked for: they may hold secrets.
    pub keeps_args: bool,
}

struct Known {
    identity: Arc<Identity>,
    cgroup: CgroupId,
}

/// How long an ended process stays known.
pub const LINGER_NS: u64 = 10_000_000_000;

/// Ended processes kept at most.
const ENDED_MAX: usize = 65_536;

impl Processes {
    pub fn get(&self, key: ProcKey) -> Option<&Arc<Identity>> {
        self.known.get(&key).map(|known| &known.identity)
    }

    /// The process, or all that can be said of one that is not known: it has ended.
    pub fn get_or_bare(&self, key: ProcKey, lookup: &dyn Lookup) -> Arc<Identity> {
        self.get(key).cloned().unwrap_or_else(|| {
            Arc::new(Identity { ended: true, ..Identity::bare(key, lookup.wall(started(key))) })
        })
    }

    /// Whether it lives, as far as is known; the machine is asked about one that was never seen.
    pub fn is_live(&mut self, key: ProcKey, lookup: &mut dyn Lookup) -> bool {
        if let Some(identity) = self.get(key) {
            return !identity.ended;
        }
        let found = lookup.process(key.tgid).filter(|facts| facts.key == key);
        found.is_some_and(|facts| {
            self.prime(facts, lookup);
            true
        })
    }

    /// The process that has this pid now.
    pub fn by_pid(&self, tgid: Tgid) -> Option<&Arc<Identity>> {
        self.current.get(&tgid).and_then(|&key| self.get(key))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.known.values().map(|known| &known.identity)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A process that existed already. What records have told is not overwritten.
    pub fn prime(&mut self, facts: ProcFacts, lookup: &mut dyn Lookup) -> ProcKey {
        let key = facts.key;
        if !self.known.contains_key(&key) {
            let user = lookup.user(facts.uid);
            self.insert(
                Identity {
                    key,
                    comm: facts.comm,
                    created: lookup.wall(started(key)),
                    executable: facts.executable.map(Executable::at),
                    parent: Some(facts.parent),
                    uid: Some(facts.uid),
                    user,
                    gid: Some(facts.gid),
                    args: facts.args.filter(|_| self.keeps_args),
                    line: None,
                    cgroup: facts.cgroup,
                    owner: facts.owner,
                    ended: false,
                },
                CgroupId(0),
            );
        }
        key
    }

    /// A process as it is now: where no record tells what it has become.
    pub fn reread(&mut self, facts: ProcFacts, lookup: &mut dyn Lookup) {
        let Some(known) = self.known.get(&facts.key) else {
            self.prime(facts, lookup);
            return;
        };
        let executable = facts.executable.map(Executable::at);
        let held = &known.identity;
        let is_same = held.comm == facts.comm
            && held.executable == executable
            && held.uid == Some(facts.uid)
            && held.cgroup == facts.cgroup;
        if !is_same {
            let cgroup = known.cgroup;
            let renewed = Identity {
                comm: facts.comm,
                executable,
                uid: Some(facts.uid),
                user: lookup.user(facts.uid),
                gid: Some(facts.gid),
                args: facts.args.filter(|_| self.keeps_args),
                cgroup: facts.cgroup,
                owner: facts.owner,
                ..(**held).clone()
            };
            self.insert(renewed, cgroup);
        }
    }

    /// Gives everybody who has none his line of descent, from the parents of now. After priming, when all are known.
    pub fn trace_lines(&mut self) {
        let without: Vec<ProcKey> =
            self.known.values().filter(|k| k.identity.line.is_none()).map(|k| k.identity.key).collect();
        for key in without {
            self.line_of(key, 0);
        }
    }

    fn line_of(&mut self, key: ProcKey, depth: usize) -> Option<Arc<Ancestor>> {
        let identity = Arc::clone(self.get(key)?);
        if identity.line.is_some() || depth > 64 {
            return identity.line.clone();
        }
        let parent = *self.current.get(&identity.parent?).filter(|parent| **parent != key)?;
        self.line_of(parent, depth + 1);
        let line = self.get(parent)?.begets();
        Arc::make_mut(&mut self.known.get_mut(&key)?.identity).line = Some(Arc::clone(&line));
        Some(line)
    }

    /// The identity behind a record's task. The machine is asked once for a process never seen before; then nothing
    /// is allocated unless a fact changed.
    pub fn identify(&mut self, task: &TaskFacts, lookup: &mut dyn Lookup) -> Arc<Identity> {
        if let Some(known) = self.known.get(&task.key) {
            let same_group = known.cgroup == task.cgroup || task.cgroup.0 == 0;
            if same_group && is_same(&known.identity, task) {
                return Arc::clone(&known.identity);
            }
            let mut identity = (*known.identity).clone();
            refresh(&mut identity, task, lookup);
            if !same_group {
                place(&mut identity, task.cgroup, lookup);
            }
            return self.insert(identity, task.cgroup);
        }
        let mut identity = Identity::bare(task.key, lookup.wall(started(task.key)));
        let seen = lookup.process(task.key.tgid).filter(|facts| facts.key == task.key);
        if let Some(facts) = seen {
            identity.executable = facts.executable.map(Executable::at);
            identity.gid = Some(facts.gid);
            identity.args = facts.args.filter(|_| self.keeps_args);
            identity.cgroup = facts.cgroup;
            identity.owner = facts.owner;
        }
        refresh(&mut identity, task, lookup);
        if identity.cgroup.is_none() {
            place(&mut identity, task.cgroup, lookup);
        }
        self.insert(identity, task.cgroup)
    }

    /// As [`Self::recall`], with the name, the user and the group that the task had then.
    pub fn recall_as_it_was(&mut self, task: &TaskFacts, lookup: &mut dyn Lookup) -> Arc<Identity> {
        let mut identity = self.recall(task, lookup);
        let same_group = self.known.get(&task.key).is_some_and(|known| known.cgroup == task.cgroup);
        let renamed = task.tid.0 == task.key.tgid.0 && !is_comm(&identity.comm, task);
        if identity.uid != Some(task.uid) || !same_group || renamed {
            let was = Arc::make_mut(&mut identity);
            if renamed {
                was.comm = Outside::from_padded(&task.comm);
            }
            if was.uid != Some(task.uid) {
                was.uid = Some(task.uid);
                was.user = lookup.user(task.uid);
            }
            place(was, task.cgroup, lookup);
        }
        identity
    }

    /// The identity behind a task that a record remembers from earlier: no news of a process, and what has been
    /// forgotten does not come back.
    pub fn recall(&mut self, task: &TaskFacts, lookup: &mut dyn Lookup) -> Arc<Identity> {
        if let Some(known) = self.get(task.key) {
            return Arc::clone(known);
        }
        if lookup.process(task.key.tgid).is_some_and(|facts| facts.key == task.key) {
            return self.identify(task, lookup);
        }
        let mut identity = Identity::bare(task.key, lookup.wall(started(task.key)));
        refresh(&mut identity, task, lookup);
        place(&mut identity, task.cgroup, lookup);
        identity.ended = true;
        Arc::new(identity)
    }

    /// Takes a record in and gives the identity after it.
    pub fn apply(&mut self, record: &Record, lookup: &mut dyn Lookup) -> Arc<Identity> {
        match &record.what {
            What::Fork => self.fork(record, lookup),
            What::Exec { executable, args, .. } => {
                let mut identity = (*self.identify(&record.task, lookup)).clone();
                identity.gid = Some(record.gid);
                identity.args = args.clone().filter(|_| self.keeps_args);
                // Without a path from the kernel the machine is asked, which may be too late: then none is told, not
                // the one before. A process that has another name by now may run another program.
                let path = executable.clone().or_else(|| {
                    let facts = lookup.process(record.task.key.tgid)?;
                    let same = facts.key == record.task.key && is_comm(&facts.comm, &record.task);
                    facts.executable.filter(|_| same)
                });
                identity.executable = path.map(Executable::at);
                self.insert(identity, record.task.cgroup)
            }
            What::Exit { .. } => {
                let mut identity = (*self.identify(&record.task, lookup)).clone();
                if !identity.ended {
                    identity.ended = true;
                    self.ended.push_back((record.at, record.task.key));
                    self.ending.insert(record.task.key);
                }
                self.insert(identity, record.task.cgroup)
            }
        }
    }

    /// A child begins as its parent: executable and, in the same group, owner.
    fn fork(&mut self, record: &Record, lookup: &mut dyn Lookup) -> Arc<Identity> {
        let task = &record.task;
        let Some(parent) = self.current.get(&task.parent).and_then(|key| self.known.get(key)) else {
            return self.identify(task, lookup);
        };
        let mut identity = Identity::bare(task.key, lookup.wall(started(task.key)));
        identity.executable.clone_from(&parent.identity.executable);
        identity.args.clone_from(&parent.identity.args);
        identity.gid = Some(record.gid);
        identity.line = Some(parent.identity.begets());
        if parent.cgroup == task.cgroup || parent.cgroup.0 == 0 {
            identity.cgroup.clone_from(&parent.identity.cgroup);
            identity.owner = parent.identity.owner.clone();
        }
        let inherited = parent.cgroup == task.cgroup && identity.cgroup.is_some();
        refresh(&mut identity, task, lookup);
        if !inherited {
            place(&mut identity, task.cgroup, lookup);
        }
        self.insert(identity, task.cgroup)
    }

    /// It lives, or ended in the interval that the last tick closed: a table of intervals shows it.
    pub fn is_of_interval(&self, identity: &Identity) -> bool {
        !identity.ended || self.just_ended.contains(&identity.key)
    }

    /// Ends an interval. Forgets what ended longer ago than the linger, and the oldest when there are too many.
    pub fn tick(&mut self, now: BootTime) {
        self.just_ended = std::mem::take(&mut self.ending);
        while let Some(&(at, key)) = self.ended.front() {
            if now.since(at) < LINGER_NS && self.ended.len() <= ENDED_MAX {
                return;
            }
            self.ended.pop_front();
            self.known.remove(&key);
            if self.current.get(&key.tgid) == Some(&key) {
                self.current.remove(&key.tgid);
            }
        }
    }

    /// Marks as ended what the machine no longer has, or has given the pid of to another: exits that were lost.
    pub fn sweep(&mut self, alive: &HashSet<Tgid>, now: BootTime) {
        let gone: Vec<ProcKey> = self
            .known
            .iter()
            .filter(|(key, known)| {
                let has_pid = alive.contains(&key.tgid) && self.current.get(&key.tgid) == Some(key);
                !known.identity.ended && !has_pid
            })
            .map(|(&key, _)| key)
            .collect();
        for key in gone {
            if let Some(known) = self.known.get_mut(&key) {
                Arc::make_mut(&mut known.identity).ended = true;
                self.ended.push_back((now, key));
                self.ending.insert(key);
            }
        }
    }

    fn insert(&mut self, identity: Identity, cgroup: CgroupId) -> Arc<Identity> {
        let identity = Arc::new(identity);
        let key = identity.key;
        if !identity.ended {
            let current = self.current.entry(key.tgid).or_insert(key);
            *current = key.max(*current);
        }
        self.known.insert(key, Known { identity: Arc::clone(&identity), cgroup });
        identity
    }
}

fn is_same(identity: &Identity, task: &TaskFacts) -> bool {
    identity.uid == Some(task.uid)
        && (task.tid.0 != task.key.tgid.0 || is_comm(&identity.comm, task))
        && (task.parent.0 == 0 || identity.parent == Some(task.parent) || identity.ended)
}

fn is_comm(comm: &Outside, task: &TaskFacts) -> bool {
    task.comm.split(|&b| b == 0).next() == Some(comm.bytes())
}

/// Takes over what the newest record says. Threads may have names of their own: the process has its leader's.
fn refresh(identity: &mut Identity, task: &TaskFacts, lookup: &mut dyn Lookup) {
    let leads = task.tid.0 == task.key.tgid.0;
    if (leads || identity.comm.is_empty()) && !is_comm(&identity.comm, task) {
        identity.comm = Outside::from_padded(&task.comm);
    }
    if task.parent.0 != 0 && !identity.ended {
        identity.parent = Some(task.parent);
    }
    if identity.uid != Some(task.uid) {
        identity.uid = Some(task.uid);
        identity.user = lookup.user(task.uid);
    }
}

/// Puts the process into its group. Where /proc has shown the same path already, what it said of the owner stays: it
/// may have known more hierarchies.
fn place(identity: &mut Identity, cgroup: CgroupId, lookup: &mut dyn Lookup) {
    if let Some(path) = lookup.cgroup(cgroup)
        && identity.cgroup.as_ref() != Some(&path)
    {
        identity.owner = lookup.owner(&path);
        identity.cgroup = Some(path);
    }
}

/// When a process started, on the event clock.
pub const fn started(key: ProcKey) -> BootTime {
    StartTime::boot_time(key.start)
}
