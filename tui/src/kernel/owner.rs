//! Whose process it is, read off a cgroup path alone: systemd unit, container with its runtime, Kubernetes pod. No
//! daemon is asked. Pure.

/// What a cgroup path says. Names are bytes: anybody with a cgroup may choose them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    pub unit: Option<Vec<u8>>,
    pub container: Option<(Vec<u8>, &'static str)>,
    pub pod: Option<Vec<u8>>,
}

/// Scope prefixes of runtimes that let systemd make the cgroup: `docker-<id>.scope`.
const SCOPES: &[(&[u8], &str)] = &[
    (b"docker-", "docker"),
    (b"cri-containerd-", "containerd"),
    (b"containerd-", "containerd"),
    (b"nerdctl-", "containerd"),
    (b"crio-", "cri-o"),
    (b"libpod-", "podman"),
];

/// Parent directories of runtimes that make it themselves: `/docker/<id>`.
const FOLDERS: &[(&[u8], &str)] = &[
    (b"docker", "docker"),
    (b"libpod_parent", "podman"),
    (b"containerd", "containerd"),
    (b"default", "containerd"),
    (b"k8s.io", "containerd"),
    (b"crio", "cri-o"),
];

/// Reads a path. The innermost container wins: what runs inside it belongs to it.
pub fn read(path: &[u8]) -> Group {
    let mut group = Group::default();
    let parts: Vec<&[u8]> = path.split(|&b| b == b'/').filter(|part| !part.is_empty()).collect();
    let mut previous: &[u8] = b"";
    for &part in &parts {
        if let Some(pod) = pod(part) {
            group.pod = Some(pod);
        }
        if let Some(found) = container(part, previous, group.pod.is_some()) {
            group.container = Some(found);
            // Units of the host end where a container begins; those inside it are its own.
            group.unit = None;
        } else if is_unit(part) {
            group.unit = Some(unescape(part));
        }
        previous = part;
    }
    group
}

fn container(part: &[u8], parent: &[u8], in_pod: bool) -> Option<(Vec<u8>, &'static str)> {
    if let Some(name) = part.strip_suffix(b".scope") {
        if let Some(id) = name.strip_prefix(b"machine-") {
            return Some((unescape(id), "nspawn"));
        }
        return SCOPES.iter().find_map(|(prefix, runtime)| {
            let id = name.strip_prefix(*prefix)?;
            is_id(id).then(|| (id.to_vec(), *runtime))
        });
    }
    if let Some(name) = part.strip_prefix(b"systemd-nspawn@").and_then(|rest| rest.strip_suffix(b".service"))
    {
        return Some((unescape(name), "nspawn"));
    }
    if let Some(name) = part.strip_prefix(b"lxc.payload.") {
        return (!name.is_empty()).then(|| (name.to_vec(), "lxc"));
    }
    if parent == b"lxc" || parent == b"lxc.payload" {
        return Some((part.to_vec(), "lxc"));
    }
    // `crio-<id>` and `libpod-<id>` also appear as plain directories.
    if let Some(found) = SCOPES.iter().find_map(|(prefix, runtime)| {
        let id = part.strip_prefix(*prefix)?;
        (is_id(id)).then(|| (id.to_vec(), *runtime))
    }) {
        return Some(found);
    }
    if !is_id(part) {
        return None;
    }
    FOLDERS
        .iter()
        .find(|(folder, _)| *folder == parent)
        .map(|(_, runtime)| (part.to_vec(), *runtime))
        // Below a pod's directory only its containers have such names; who made them is not written there.
        .or_else(|| in_pod.then(|| (part.to_vec(), "containerd")))
}

/// 64 hexadecimal digits.
fn is_id(text: &[u8]) -> bool {
    text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit)
}

/// `kubepods-burstable-pod<uid with underscores>.slice` or `pod<uid>` below `kubepods`.
fn pod(part: &[u8]) -> Option<Vec<u8>> {
    let name = part.strip_suffix(b".slice").unwrap_or(part);
    let rest = match name.strip_prefix(b"kubepods") {
        Some(rest) => rest.get(rest.windows(4).position(|four| four == b"-pod")? + 1..)?,
        None => name,
    };
    let uid: Vec<u8> = rest.strip_prefix(b"pod")?.iter().map(|&b| if b == b'_' { b'-' } else { b }).collect();
    let dashed = uid.len() == 36 && uid.iter().filter(|&&b| b == b'-').count() == 4;
    // Static pods carry a hash of 32 digits.
    let plain = uid.len() == 32;
    ((dashed || plain) && uid.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-')).then_some(uid)
}

fn is_unit(part: &[u8]) -> bool {
    [&b".service"[..], b".scope", b".socket", b".mount", b".swap"]
        .iter()
        .any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
}

/// systemd writes awkward bytes as `\xNN`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [b'x', high, low, after @ ..] if *first == b'\\' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                digit(*high).zip(digit(*low)).map(|(high, low)| ((high * 16 + low) as u8, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const INNER: &str = "ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abffff";
    const UID: &str = "2d3f8c1a-9a4e-4b6e-8f0a-1c2d3e4f5a6b";

    /// path, unit, container and runtime, pod; `{id}`, `{inner}`, `{uid}`, `{uid_}` are replaced.
    const PATHS: &[(&str, &str, &str, &str)] = &[
        ("/", "", "", ""),
        ("", "", "", ""),
        ("/init.scope", "init.scope", "", ""),
        ("/system.slice/ssh.service", "ssh.service", "", ""),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "", ""),
        ("/system.slice/dev-disk-by\\x2dlabel-swap.swap", "dev-disk-by-label-swap.swap", "", ""),
        ("/system.slice/postgresql@15-main.service", "postgresql@15-main.service", "", ""),
        ("/system.slice/nginx.service/worker", "nginx.service", "", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", ""),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope", "", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox.scope",
            "app-firefox.scope",
            "",
            "",
        ),
        ("/user.slice/user-0.slice/user@0.service/session.slice/dbus.service", "dbus.service", "", ""),
        ("/user.slice", "", "", ""),
        ("/system.slice/cloud\\x2dinit.service", "cloud-init.service", "", ""),
        ("/system.slice/bad\\xzz.service", "bad\\xzz.service", "", ""),
        ("/docker/{id}", "", "docker {id}", ""),
        ("/system.slice/docker-{id}.scope", "", "docker {id}", ""),
        ("/system.slice/docker.service", "docker.service", "", ""),
        ("/system.slice/containerd.service", "containerd.service", "", ""),
        ("/docker/{id}/docker/{inner}", "", "docker {inner}", ""),
        ("/docker/{id}/system.slice/nginx.service", "nginx.service", "docker {id}", ""),
        ("/system.slice/docker-{id}.scope/init.scope", "init.scope", "docker {id}", ""),
        ("/system.slice/docker-short.scope", "docker-short.scope", "", ""),
        ("/actions_job/{id}", "", "", ""),
        ("/containerd/{id}", "", "containerd {id}", ""),
        ("/default/{id}", "", "containerd {id}", ""),
        ("/system.slice/nerdctl-{id}.scope", "", "containerd {id}", ""),
        ("/k8s.io/{id}", "", "containerd {id}", ""),
        ("/machine.slice/libpod-{id}.scope", "", "podman {id}", ""),
        ("/machine.slice/libpod-{id}.scope/container", "", "podman {id}", ""),
        ("/machine.slice/libpod-conmon-{id}.scope", "libpod-conmon-{id}.scope", "", ""),
        ("/libpod_parent/libpod-{id}", "", "podman {id}", ""),
        ("/libpod_parent/{id}", "", "podman {id}", ""),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope", "", "podman {id}", ""),
        ("/lxc/web", "", "lxc web", ""),
        ("/lxc.payload.web", "", "lxc web", ""),
        ("/lxc.payload/web/system.slice/cron.service", "cron.service", "lxc web", ""),
        ("/lxc.monitor.web", "", "", ""),
        ("/machine.slice/systemd-nspawn@deb.service/payload", "", "nspawn deb", ""),
        ("/machine.slice/machine-deb\\x2d12.scope", "", "nspawn deb-12", ""),
        ("/kubepods/burstable/pod{uid}/{id}", "", "containerd {id}", "{uid}"),
        ("/kubepods/besteffort/pod{uid}", "", "", "{uid}"),
        ("/kubepods/pod{uid}/crio-{id}", "", "cri-o {id}", "{uid}"),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
            "",
            "containerd {id}",
            "{uid}",
        ),
        ("/kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope", "", "cri-o {id}", "{uid}"),
        ("/kubepods.slice/kubepods-pod{uid_}.slice/docker-{id}.scope", "", "docker {id}", "{uid}"),
        (
            "/kubepods.slice/kubepods-pod{uid_}.slice/crio-conmon-{id}.scope",
            "crio-conmon-{id}.scope",
            "",
            "{uid}",
        ),
        ("/system.slice/podman.service", "podman.service", "", ""),
        ("/podcast", "", "", ""),
    ];

    #[test]
    fn paths_of_real_machines_are_read_as_their_owners() {
        let underscored = UID.replace('-', "_");
        let fill = |text: &str| {
            text.replace("{id}", ID)
                .replace("{inner}", INNER)
                .replace("{uid}", UID)
                .replace("{uid_}", &underscored)
        };
        let shown = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        for (path, unit, container, pod) in PATHS {
            let group = read(fill(path).as_bytes());
            assert_eq!(group.unit.map(shown).unwrap_or_default(), fill(unit), "unit of {path}");
            let found =
                group.container.map(|(id, runtime)| format!("{runtime} {}", shown(id))).unwrap_or_default();
            assert_eq!(found, fill(container), "container of {path}");
            assert_eq!(group.pod.map(shown).unwrap_or_default(), fill(pod), "pod of {path}");
        }
    }

    #[test]
    fn hostile_names_stay_bytes() {
        let group = read(b"/system.slice/\x1b[2J\xff.service");
        assert_eq!(group.unit, Some(b"\x1b[2J\xff.service".to_vec()));
    }
}
