//! Attaching: for each program the alternatives are tried in order, by loading **and** attaching; the first that works
//! stays, the reasons of the others are kept. Never a panic, never a silent blank.

use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{
    BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint, SocketFilter,
    TracePoint,
};
use aya::util::KernelVersion;

use crate::collect::bpf::{self, ProgramInfo};
use crate::collect::ground::Ground;
use crate::collect::iterator;
use crate::collect::loader::{Standing, Trial};
use crate::collect::machine;
use crate::collect::packets;
use crate::collect::program::{Alternative, Hook, Program as Spec, TOLD};
use crate::collect::socket_group;
use crate::collect::tools::Tools;
use crate::model::Status;

/// The alternatives, best first on this kernel.
fn in_order(program: &'static Spec) -> Vec<&'static Alternative> {
    let mut alternatives: Vec<_> = program.alternatives.iter().collect();
    if is_preempted() {
        alternatives.sort_by_key(|alternative| !alternative.is_unpreempted());
    }
    alternatives
}

/// Whether this kernel preempts the programs of raw tracepoints.
fn is_preempted() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(7, 0, 0))
}

pub(super) fn settle(
    bpf: &mut Ebpf,
    program: &'static Spec,
    tools: &mut Tools<'_>,
    sockets: &mut Vec<OwnedFd>,
) -> Standing {
    let ground = tools.ground;
    let forced = ground.forced.get(program.name);
    let mut trials = Vec::new();
    let alternatives = in_order(program);
    for &alternative in &alternatives {
        if forced.is_some_and(|name| name != alternative.name) {
            continue;
        }
        let outcome = try_one_and_keep(bpf, alternative, tools, sockets);
        let works = outcome.is_ok();
        trials.push(Trial { alternative: alternative.name, outcome });
        if works {
            if let Some((_, map)) = TOLD.iter().find(|(told, _)| *told == program.name) {
                tell(bpf, map, 1);
            }
            let hook = alternative.hook.describe();
            let mut reasons: Vec<String> =
                trials.iter().filter_map(|t| t.outcome.as_ref().err()).cloned().collect();
            reasons.extend(alternative.blind.map(str::to_owned));
            let unread = ground.refusals.read_kernel.as_ref().zip(alternative.without_helper());
            reasons.extend(unread.map(|(why, what)| format!("{what}: {why}")));
            let status = match (forced, reasons.is_empty()) {
                (None, false) => Status::Degraded { hook, reason: reasons.join("; ") },
                (Some(_), _) if alternatives.first() != Some(&alternative) => {
                    reasons.insert(0, "forced by --hook".to_owned());
                    Status::Degraded { hook, reason: reasons.join("; ") }
                }
                _ => Status::Live { hook },
            };
            return Standing { program, status, alternative: Some(alternative), trials };
        }
    }
    let reasons: Vec<_> =
        trials.iter().filter_map(|t| t.outcome.as_ref().err()).map(String::as_str).collect();
    let reason = format!("{}: {}", program.without, reasons.join("; "));
    Standing { program, status: Status::Unsupported { reason }, alternative: None, trials }
}

pub(super) fn try_one(
    bpf: &mut Ebpf,
    alternative: &Alternative,
    tools: &mut Tools<'_>,
) -> Result<Option<u32>, String> {
    let outcome = try_one_and_keep(bpf, alternative, tools, &mut Vec::new());
    unload(bpf, alternative.entries());
    outcome
}

fn try_one_and_keep(
    bpf: &mut Ebpf,
    alternative: &Alternative,
    tools: &mut Tools<'_>,
    sockets: &mut Vec<OwnedFd>,
) -> Result<Option<u32>, String> {
    load_and_attach(bpf, alternative.entry, alternative.hook, tools)
        .map(|socket| {
            sockets.extend(socket);
            spare(bpf, alternative, tools);
            info_of(bpf, alternative.entry).and_then(|info| info.verified_insns)
        })
        .map_err(|why| {
            // A half-attached alternative must not stay.
            unload(bpf, alternative.entries());
            format!("{}: {why}", alternative.hook.describe())
        })
}

/// Attaches an alternative's spares, after the program: the kernel runs them in the order of attaching. The program is
/// told first, so that it leaves a trace of what it did. Without spares what the kernel skips stays in `missed`.
fn spare(bpf: &mut Ebpf, alternative: &Alternative, tools: &mut Tools<'_>) {
    if alternative.spares.is_empty() || !is_skipped(alternative.hook) || tell(bpf, "SPARED", 1).is_none() {
        return;
    }
    let spares = needed(alternative.spares, is_preempted());
    let mut attached = spares.iter().map(|entry| load_and_attach(bpf, entry, alternative.hook, tools));
    if attached.any(|outcome| outcome.is_err()) {
        tell(bpf, "SPARED", 0);
        unload(bpf, alternative.spares.iter().copied());
    }
}

/// Tells the programs by a map of one number.
fn tell(bpf: &mut Ebpf, map: &str, number: u32) -> Option<()> {
    let mut map: Array<_, u32> = bpf.map_mut(map)?.try_into().ok()?;
    map.set(0, number, 0).ok()
}

/// Before 7.0 only an interrupt comes between, which nothing but another would: one spare does what was skipped for it.
/// Each is verified anew, which takes as long as for the program. The last one also forgets what is over, so that it is
/// always there.
const fn needed<'a>(spares: &'a [&'static str], preempted: bool) -> &'a [&'static str] {
    match spares {
        [.., last] if !preempted => std::slice::from_ref(last),
        all => all,
    }
}

/// Whether this kernel skips runs on such a hook. No interrupt makes a system call: there only preemption skips, from 7.0
/// on, and a spare would cost every call of the machine. (The program of a function may be preempted on any kernel.)
fn is_skipped(hook: Hook) -> bool {
    match hook {
        Hook::BtfTracepoint("sys_exit") | Hook::RawTracepoint("sys_exit") => is_preempted(),
        _ => true,
    }
}

/// Closes links and the programs themselves; one that never loaded has nothing to give back.
fn unload(bpf: &mut Ebpf, entries: impl Iterator<Item = &'static str>) {
    for entry in entries {
        let _ = match bpf.program_mut(entry) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            Some(Program::TracePoint(program)) => program.unload(),
            Some(Program::SocketFilter(program)) => program.unload(),
            Some(Program::CgroupSkb(program)) => program.unload(),
            Some(Program::Iter(program)) => program.unload(),
            _ => Ok(()),
        };
    }
}

pub(super) fn info_of(bpf: &Ebpf, entry: &str) -> Option<ProgramInfo> {
    let fd = bpf.program(entry)?.fd().ok()?.try_clone().ok()?;
    bpf::program_info(fd.as_fd()).ok()
}

/// What the alternative's iterator is read by, if it is one.
pub(super) fn iterator_of(bpf: &Ebpf, alternative: &Alternative) -> Option<OwnedFd> {
    let Hook::Iterator(_) = alternative.hook else { return None };
    let program = bpf.program(alternative.entry)?.fd().ok()?;
    iterator::link(program.as_fd())
        .inspect_err(|error| crate::log::line(&format!("{}: no link: {error}", alternative.entry)))
        .ok()
}

/// The socket that the program is attached to must be kept, where it is attached to one.
fn load_and_attach(
    bpf: &mut Ebpf,
    entry: &str,
    hook: Hook,
    tools: &mut Tools<'_>,
) -> Result<Option<OwnedFd>, String> {
    let ground = tools.ground;
    match hook {
        Hook::Fentries(entries) => {
            for (entry, function) in entries {
                load_and_attach(bpf, entry, Hook::Fentry(function), tools)?;
            }
            return Ok(None);
        }
        Hook::Fexits(entries) => {
            for (entry, function) in entries {
                load_and_attach(bpf, entry, Hook::Fexit(function), tools)?;
            }
            return Ok(None);
        }
        Hook::Kprobes(entries) => {
            for (entry, functions) in entries {
                load_and_attach(bpf, entry, Hook::Kprobe(functions), tools)?;
            }
            return Ok(None);
        }
        _ => {}
    }
    let explain = |error: &ProgramError| explain(error, hook, ground);
    if hook == Hook::PacketSocket {
        let program: &mut SocketFilter =
            bpf.program_mut(entry).ok_or("not in the object")?.try_into().map_err(|e| explain(&e))?;
        program.load().map_err(|e| explain(&e))?;
        let socket = packets::socket().map_err(|error| packets::explain(&error))?;
        program.attach(&socket).map_err(|e| explain(&e))?;
        packets::listen(&socket).map_err(|error| packets::explain(&error))?;
        return Ok(Some(socket));
    }
    if let Hook::SocketGroup { egress, ingress } = hook {
        socket_group::attach(bpf, egress, ingress, explain)?;
        return Ok(None);
    }
    if ground.btf.is_none() {
        return Err(ground.btf_reason.clone());
    }
    let direct = matches!(hook, Hook::BtfTracepoint(_) | Hook::Fentry(_) | Hook::Iterator(_));
    if !direct && let Some(reason) = &ground.refusals.read_kernel {
        return Err(reason.clone());
    }
    if let Some(reason) = machine::unfit(hook, &ground.machine, &ground.offsets) {
        return Err(reason.to_owned());
    }
    let program = bpf.program_mut(entry).ok_or("not in the object")?;
    /// aya has no trait for what is attached by a type of the kernel.
    macro_rules! by_type {
        ($kind:ty, $target:expr) => {{
            let program: &mut $kind = program.try_into().map_err(|e| explain(&e))?;
            program.load($target, tools.types()?).map_err(|e| explain(&e))?;
            program.attach().map_err(|e| explain(&e))?;
        }};
    }
    match hook {
        Hook::BtfTracepoint(name) => by_type!(BtfTracePoint, name),
        Hook::Fentry(function) => by_type!(FEntry, function),
        Hook::Fexit(function) => by_type!(FExit, function),
        // Whoever reads makes a link of its own.
        Hook::Iterator(of) => by_type!(Iter, of),
        Hook::RawTracepoint(name) => {
            let program: &mut RawTracePoint = program.try_into().map_err(|e| explain(&e))?;
            program.load().map_err(|e| explain(&e))?;
            program.attach(name).map_err(|e| explain(&e))?;
        }
        Hook::Kprobe(functions) => {
            if let Some(reason) = &ground.refusals.kprobe {
                return Err(reason.clone());
            }
            let program: &mut KProbe = program.try_into().map_err(|e| explain(&e))?;
            program.load().map_err(|e| explain(&e))?;
            for function in functions {
                program.attach(function, 0).map_err(|e| format!("{function}: {}", explain(&e)))?;
            }
        }
        Hook::Tracepoint(events) => {
            if !ground.tracefs {
                return Err("tracefs cannot be mounted: run as root (CAP_SYS_ADMIN)".to_owned());
            }
            let program: &mut TracePoint = program.try_into().map_err(|e| explain(&e))?;
            program.load().map_err(|e| explain(&e))?;
            let mut refused = None;
            let mut attached = 0;
            for (category, name) in events {
                match program.attach(category, name) {
                    Ok(_) => attached += 1,
                    Err(error) => refused = Some(format!("{category}:{name}: {}", explain(&error))),
                }
            }
            if attached == 0 {
                return Err(refused.unwrap_or_else(|| "no tracepoint named".to_owned()));
            }
        }
        Hook::PacketSocket
        | Hook::SocketGroup { .. }
        | Hook::Fentries(_)
        | Hook::Fexits(_)
        | Hook::Kprobes(_) => {}
    }
    Ok(None)
}

/// One sentence a sysadmin can act on, instead of a stack of wrapped errors.
fn explain(error: &ProgramError, hook: Hook, ground: &Ground) -> String {
    let errno = errno(error);
    let refused = matches!(errno, Some(libc::EPERM | libc::EACCES));
    if refused && let Some(reason) = &ground.refusals.privilege {
        return reason.clone();
    }
    let complains = matches!(error, ProgramError::LoadError { verifier_log, .. }
        if complaint(&verifier_log.to_string()).is_some());
    if refused
        && !complains
        && matches!(hook, Hook::Fentry(_) | Hook::Fexit(_))
        && let Some(reason) = &ground.refusals.trampoline
    {
        return reason.clone();
    }
    match (errno, error) {
        (Some(code), ProgramError::LoadError { verifier_log, .. }) => {
            let refused =
                format!("the kernel refused the program ({})", nix::errno::Errno::from_raw(code).desc());
            match complaint(&verifier_log.to_string()) {
                Some(why) => format!("{refused}: {why}"),
                None => refused,
            }
        }
        (Some(code), _) => {
            format!("the kernel refused to attach ({})", nix::errno::Errno::from_raw(code).desc())
        }
        (None, other) => other.to_string(),
    }
}

/// What the verifier ended with, without its statistics.
fn complaint(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "peak_states "];
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|begin| line.starts_with(begin)))
}

fn errno(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(code) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return Some(code);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{complaint, needed};

    #[test]
    fn the_last_spare_is_always_there() {
        let spares = ["first", "second", "last"];
        assert_eq!(needed(&spares, true), spares);
        assert_eq!(needed(&spares, false), ["last"]);
        assert!(needed(&[], false).is_empty());
    }

    #[test]
    fn the_complaint_of_a_verifier_is_its_last_line_that_is_no_statistic() {
        let log = "func 'f' arg0 has btf_id 5\nunknown func bpf_x#158\nverification time 60 usec\nstack depth 0\n\
                   processed 9 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(complaint(log), Some("unknown func bpf_x#158"));
        assert_eq!(complaint("processed 9 insns\n"), None);
        assert_eq!(complaint(""), None);
    }
}
