//! What user space asked to leave out, asked per event. What is not known passes: user space decides it.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use fluoro_shared::{
    filter::{Config, MEMBERS_MAX, Member, OUT_CGROUPS, SET_PIDS, SET_PORTS, SET_UIDS},
    record::Task,
};

#[map]
static FILTER: Array<Config> = Array::with_max_entries(1, 0);

#[map]
static MEMBERS: HashMap<Member, u8> = HashMap::with_max_entries(MEMBERS_MAX, 0);

pub enum Verdict {
    Wanted,
    Filtered,
    /// Passes, but nobody wants the stream now.
    Muted,
}

#[inline(always)]
fn is_member(set: u32, value: u64) -> bool {
    let key = Member { value, set, pad: 0 };
    // SAFETY: presence alone is asked.
    unsafe { MEMBERS.get(&key) }.is_some()
}

/// Protocols whose packets count whosever they are: bits `PACKETS_*`.
#[inline(always)]
pub fn packets() -> u32 {
    FILTER.get(0).map_or(0, |config| config.packets)
}

/// What can be said of an event before its task is described, which takes longer than a call.
#[inline(always)]
pub fn stance(tgid: u32) -> Verdict {
    let Some(config) = FILTER.get(0) else { return Verdict::Wanted };
    if (config.own_tgid != 0 && config.own_tgid == tgid)
        || (config.sets & SET_PIDS != 0 && !is_member(SET_PIDS, u64::from(tgid)))
    {
        Verdict::Filtered
    } else if config.muted != 0 {
        Verdict::Muted
    } else {
        Verdict::Wanted
    }
}

/// `ports`: local and peer port of a flow, `None` where the family has none.
#[inline(always)]
pub fn verdict(task: &Task, ports: Option<(u16, u16)>) -> Verdict {
    let Some(config) = FILTER.get(0) else { return Verdict::Wanted };
    let (sets, own, muted) = (config.sets, config.own_tgid, config.muted);
    if task.is_known() {
        if own != 0 && task.tgid == own {
            return Verdict::Filtered;
        }
        if sets & SET_PIDS != 0 && !is_member(SET_PIDS, u64::from(task.tgid)) {
            return Verdict::Filtered;
        }
        if sets & SET_UIDS != 0 && !is_member(SET_UIDS, u64::from(task.uid)) {
            return Verdict::Filtered;
        }
        if sets & OUT_CGROUPS != 0 && is_member(OUT_CGROUPS, task.cgroup) {
            return Verdict::Filtered;
        }
    }
    if let Some((local, peer)) = ports
        && sets & SET_PORTS != 0
        && !is_member(SET_PORTS, u64::from(local))
        && !is_member(SET_PORTS, u64::from(peer))
    {
        return Verdict::Filtered;
    }
    if muted != 0 { Verdict::Muted } else { Verdict::Wanted }
}
