//! Programs of the control group at the root of the unified hierarchy, which see what the sockets of every process send
//! and get: what does where there are no packet sockets.

use std::fs::File;
use std::path::Path;

use aya::Ebpf;
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError};

use crate::kernel::cgroup;

/// Loads and attaches both. The links keep them: nothing stays when they are dropped.
pub fn attach(
    bpf: &mut Ebpf,
    egress: &str,
    ingress: &str,
    explain: impl Fn(&ProgramError) -> String,
) -> Result<(), String> {
    let root = cgroup::unified(Path::new("/"))
        .ok_or("no unified hierarchy of control groups (cgroup2) is mounted")?;
    let root = File::open(&root).map_err(|error| format!("cannot open {}: {error}", root.display()))?;
    for (entry, way) in [(egress, CgroupSkbAttachType::Egress), (ingress, CgroupSkbAttachType::Ingress)] {
        let program: &mut CgroupSkb =
            bpf.program_mut(entry).ok_or("not in the object")?.try_into().map_err(|e| explain(&e))?;
        program.load().map_err(|e| explain(&e))?;
        // A link lets others be attached beside it, whatever is asked for.
        program.attach(&root, way, CgroupAttachMode::Single).map_err(|e| explain(&e))?;
    }
    Ok(())
}
