//! Where file systems are mounted: /proc/PID/mountinfo.

use std::collections::HashMap;

/// Mount points by `dev_t` as the kernel keeps it. Of several of one device the whole file system goes before a part of
/// it, and then the shortest path.
pub fn by_device(mountinfo: &[u8]) -> HashMap<u32, Vec<u8>> {
    let mut found: HashMap<u32, (bool, Vec<u8>)> = HashMap::new();
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let Some((device, part, point)) = parse(line) else { continue };
        let better = found.get(&device).is_none_or(|(known_part, known)| {
            (part, point.len(), &point) < (*known_part, known.len(), known)
        });
        if better {
            found.insert(device, (part, point));
        }
    }
    found.into_iter().map(|(device, (_, point))| (device, point)).collect()
}

/// Network namespaces that are held by a mount, by inode, and where.
pub fn namespaces(mountinfo: &[u8]) -> HashMap<u32, Vec<u8>> {
    let one = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ').skip(3);
        let inode = fields.next()?.strip_prefix(b"net:[")?.strip_suffix(b"]")?;
        Some((std::str::from_utf8(inode).ok()?.parse().ok()?, plain(fields.next()?)))
    };
    mountinfo.split(|&byte| byte == b'\n').filter_map(one).collect()
}

/// Device, whether it is a part of the file system only, and mount point of a line such as
/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &[u8]) -> Option<(u32, bool, Vec<u8>)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()? & 0xf_ffff;
    let part = fields.next()? != b"/";
    Some((device, part, plain(fields.next()?)))
}

/// Space, tab, newline and backslash are written as three octal digits.
fn plain(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            out.push(code);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_namespace_is_held_by_its_mount() {
        let text = b"25 21 0:4 mnt:[4026531841] /run/m rw - nsfs nsfs rw\n\
            26 21 0:4 net:[4026532008] /run/netns/a\\040b rw shared:9 - nsfs nsfs rw\n";
        assert_eq!(namespaces(text), HashMap::from([(4_026_532_008, b"/run/netns/a b".to_vec())]));
    }

    #[test]
    fn the_whole_goes_before_a_part_and_then_the_shortest() {
        let text = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            22 21 8:1 /srv /a rw - ext4 /dev/sda1 rw\n\
            23 21 0:40 / /long/one rw - tmpfs tmpfs rw\n\
            24 21 0:40 / /my\\040tmp rw shared:1 - tmpfs tmpfs rw\n\
            garbage\n";
        let found = by_device(text);
        assert_eq!(found.get(&(8 << 20 | 1)).map(Vec::as_slice), Some(&b"/"[..]));
        assert_eq!(found.get(&40).map(Vec::as_slice), Some(&b"/my tmp"[..]));
        assert_eq!(found.len(), 2);
    }
}
