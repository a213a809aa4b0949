//! Functions of the running kernel by address, as far as /proc/kallsyms tells addresses.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Where offsets count from.
const BASE: &[u8] = b"_stext";

/// Addresses are zero for who may not see them (`kernel.kptr_restrict`).
pub const HIDDEN: &str =
    "/proc/kallsyms hides addresses: `sysctl kernel.kptr_restrict=0`, or CAP_SYSLOG where it is 1";

/// Address of `_stext`; `None` where addresses are hidden.
pub fn base(root: &Path) -> Option<u64> {
    lines(root)?.find_map(|line| {
        let (address, _, name) = split(&line)?;
        (name == BASE && address != 0).then_some(address)
    })
}

/// Functions in the order of their distance from `_stext`.
pub struct Symbols {
    starts: Vec<(i64, u32)>,
    /// Names one behind the other, each with a NUL.
    names: Vec<u8>,
}

impl Symbols {
    /// Reads all of them; `base` is where `_stext` lies.
    pub fn read(root: &Path, base: u64) -> Self {
        let mut symbols = Self { starts: Vec::new(), names: Vec::new() };
        for line in lines(root).into_iter().flatten() {
            let Some((address, kind, name)) = split(&line) else { continue };
            if !matches!(kind, b't' | b'T' | b'w' | b'W') || address == 0 {
                continue;
            }
            symbols.starts.push((address.wrapping_sub(base).cast_signed(), symbols.names.len() as u32));
            symbols.names.extend_from_slice(name);
            symbols.names.push(0);
        }
        symbols.starts.sort_unstable();
        symbols
    }

    /// The function that an offset lies in, and how far.
    pub fn find(&self, offset: i64) -> Option<(&str, u64)> {
        let after = self.starts.partition_point(|&(start, _)| start <= offset);
        let &(start, name) = self.starts.get(after.checked_sub(1)?)?;
        let name = self.names.get(name as usize..)?.split(|&b| b == 0).next()?;
        Some((std::str::from_utf8(name).ok()?, offset.abs_diff(start)))
    }
}

fn lines(root: &Path) -> Option<impl Iterator<Item = Vec<u8>>> {
    let file = File::open(root.join("proc/kallsyms")).ok()?;
    Some(BufReader::with_capacity(1 << 16, file).split(b'\n').map_while(Result::ok))
}

/// Address, kind and name of `ffffffff81000000 T _stext [module]`.
fn split(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    let mut words = line.split(|&b| b == b' ' || b == b'\t');
    let address = u64::from_str_radix(std::str::from_utf8(words.next()?).ok()?, 16).ok()?;
    let &[kind] = words.next()? else { return None };
    Some((address, kind, words.next()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn root(text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/kallsyms"), text).unwrap();
        root
    }

    #[test]
    fn an_offset_is_in_the_function_before_it() {
        let root = root(
            "0000000000001000 D data\nffffffff81000000 T _stext\nffffffff81000100 t kfree\n\
             ffffffffc0000000 t nft_do_chain\t[nf_tables]\nnonsense\n",
        );
        let base = base(root.path()).unwrap();
        assert_eq!(base, 0xffff_ffff_8100_0000);
        let symbols = Symbols::read(root.path(), base);
        assert_eq!(symbols.find(0x102), Some(("kfree", 2)));
        assert_eq!(symbols.find(0x3f00_0005), Some(("nft_do_chain", 5)));
        assert_eq!(symbols.find(-1), None);
    }

    #[test]
    fn hidden_addresses_give_no_base() {
        let root = root("0000000000000000 T _stext\n0000000000000000 t kfree\n");
        assert_eq!(base(root.path()), None);
        assert_eq!(Symbols::read(root.path(), 0).find(5), None);
    }
}
