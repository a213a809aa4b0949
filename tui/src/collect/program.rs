//! What a program is: an ordered list of ways to attach one body. The families list theirs in `probe.rs`; loader,
//! doctor, Probes and the kernel matrix read the same values.

/// One body with its ways in, best first.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// As `--hook` and doctor name it.
    pub name: &'static str,
    /// Without it the family is not observed at all.
    pub essential: bool,
    /// What is missing while no alternative works: the end of a sentence.
    pub without: &'static str,
    pub alternatives: &'static [Alternative],
}

/// One way in.
#[derive(Debug, Clone, Copy)]
pub struct Alternative {
    /// As `--hook PROGRAM=ALTERNATIVE` names it.
    pub name: &'static str,
    /// The entry point in the object.
    pub entry: &'static str,
    pub hook: Hook,
    /// Entry points that run after it on the same hook and do what the kernel skipped. From 6.2 on a raw tracepoint's
    /// program is not run while it runs already, as when softirq interrupts it.
    pub spares: &'static [&'static str],
    /// What it does not see that an earlier one does.
    pub blind: Option<&'static str>,
}

/// Where an entry point is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// BTF-typed raw tracepoint, kernel members by direct load.
    BtfTracepoint(&'static str),
    RawTracepoint(&'static str),
    /// Entry of a function through a trampoline, kernel members by direct load.
    Fentry(&'static str),
    /// Return of a function through a trampoline.
    Fexit(&'static str),
    /// Entries of functions by breakpoint or ftrace; every one is needed.
    Kprobe(&'static [&'static str]),
    /// As [`Self::Fentry`], [`Self::Fexit`] and [`Self::Kprobe`], by an entry point each; every one is needed.
    Fentries(&'static [(&'static str, &'static str)]),
    Fexits(&'static [(&'static str, &'static str)]),
    Kprobes(&'static [(&'static str, &'static [&'static str])]),
    /// Static tracepoints by perf event, as category and name; at least one is needed.
    Tracepoint(&'static [(&'static str, &'static str)]),
    /// Filter of a socket that sees the packets of every interface of fluoro's network namespace. It needs no kernel type.
    PacketSocket,
    /// What the sockets of every process send, and what they get, by an entry point each: programs of the control group at
    /// the root of the unified hierarchy. They need no kernel type.
    SocketGroup {
        egress: &'static str,
        ingress: &'static str,
    },
    /// Visits every one of these when it is read, and does nothing else.
    Iterator(&'static str),
}

/// Of entry points that do without the helper that reads kernel memory: what they then do not see.
pub const WITHOUT_HELPER: &[(&str, &str)] =
    &[("process_exec_btf", "executables are read from /proc, which is too late for short-lived processes")];

/// Programs of which others are told, by a map of one number, that they are attached: those count what would not be seen.
pub const TOLD: &[(&str, &str)] = &[("file_silent", "SILENT_SEEN")];

impl Alternative {
    /// What is not seen by it where kernel memory may not be read by helper.
    pub fn without_helper(&self) -> Option<&'static str> {
        WITHOUT_HELPER.iter().find(|(entry, _)| *entry == self.entry).map(|(_, what)| *what)
    }

    /// Every entry point in the object, in the order in which they run; the first is [`Self::entry`].
    pub fn entries(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.entry).chain(self.others()).chain(self.spares.iter().copied())
    }

    /// The entry points of its other functions.
    pub fn others(&self) -> impl Iterator<Item = &'static str> {
        let (fentries, kprobes): (&[_], &[_]) = match self.hook {
            Hook::Fentries(entries) | Hook::Fexits(entries) => (entries, &[]),
            Hook::Kprobes(entries) => (&[], entries),
            _ => (&[], &[]),
        };
        let entry = self.entry;
        let ingress = match self.hook {
            Hook::SocketGroup { ingress, .. } => Some(ingress),
            _ => None,
        };
        let fentries = fentries.iter().map(|&(entry, _)| entry);
        fentries
            .chain(kprobes.iter().map(|&(entry, _)| entry))
            .chain(ingress)
            .filter(move |&other| other != entry)
    }

    /// The kernel does not preempt its program, from 7.0 on alone of the hooks on system calls: elsewhere what the next
    /// task of that CPU does is skipped meanwhile.
    pub fn is_unpreempted(&self) -> bool {
        matches!(self.hook, Hook::Tracepoint([("raw_syscalls", _)]))
    }
}

impl Hook {
    /// The kind, as doctor lists attach types.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::BtfTracepoint(_) => "tp_btf",
            Self::RawTracepoint(_) => "raw_tp",
            Self::Fentry(_) | Self::Fentries(_) => "fentry",
            Self::Fexit(_) | Self::Fexits(_) => "fexit",
            Self::Kprobe(_) | Self::Kprobes(_) => "kprobe",
            Self::Tracepoint(_) => "tracepoint",
            Self::PacketSocket => "socket_filter",
            Self::SocketGroup { .. } => "cgroup",
            Self::Iterator(_) => "iter",
        }
    }

    /// Names of the kernel's functions and typedefs that its programs are attached to by BTF.
    pub fn targets(self) -> Vec<String> {
        match self {
            Self::BtfTracepoint(name) => vec![format!("btf_trace_{name}")],
            Self::Fentry(function) | Self::Fexit(function) => vec![function.to_owned()],
            Self::Fentries(entries) | Self::Fexits(entries) => {
                entries.iter().map(|&(_, function)| function.to_owned()).collect()
            }
            Self::Iterator(of) => vec![format!("bpf_iter_{of}")],
            Self::RawTracepoint(_)
            | Self::Kprobe(_)
            | Self::Kprobes(_)
            | Self::Tracepoint(_)
            | Self::PacketSocket
            | Self::SocketGroup { .. } => Vec::new(),
        }
    }

    /// Kind and target, as Probes shows it: `fentry security_sock_graft`.
    pub fn describe(self) -> String {
        let target = match self {
            Self::BtfTracepoint(name)
            | Self::RawTracepoint(name)
            | Self::Fentry(name)
            | Self::Fexit(name)
            | Self::Iterator(name) => name.to_owned(),
            Self::Kprobe(functions) => functions.join(" + "),
            Self::Fentries(entries) | Self::Fexits(entries) => {
                entries.iter().map(|&(_, function)| function).collect::<Vec<_>>().join(" + ")
            }
            Self::Kprobes(entries) => {
                entries.iter().flat_map(|&(_, functions)| functions).copied().collect::<Vec<_>>().join(" + ")
            }
            Self::Tracepoint(events) => events
                .iter()
                .map(|(category, name)| format!("{category}:{name}"))
                .collect::<Vec<_>>()
                .join(" + "),
            Self::PacketSocket => "AF_PACKET".to_owned(),
            Self::SocketGroup { .. } => "inet_egress + inet_ingress".to_owned(),
        };
        format!("{} {target}", self.kind())
    }
}
