//! Names that try to drive a terminal, break a line or stand wider than they are: as paths, as the name of the process,
//! as arguments. The same ones for the same number.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Words, voice};

/// What has driven terminals before, or is shown in other widths than its number of characters.
const TEETH: [&[u8]; 20] = [
    b"\x1b[2J",
    b"\x1b[H",
    b"\x1b]0;title\x07",
    b"\x1b]52;c;cm0gLXJm\x07",
    b"\x1bP+q544e\x1b\\",
    b"\x1b[?1049l",
    b"\x9b31m",
    b"\xc2\x9b31m",
    b"\xc2\x85",
    b"\r\n",
    b"\t",
    b"\x7f\x08",
    b"\xe2\x80\xae",
    b"\xe2\x80\x8b\xe2\x80\x8d",
    b"\xe2\x81\xa6",
    b"\xef\xbb\xbf",
    "日本語".as_bytes(),
    "e\u{301}\u{300}\u{302}\u{303}".as_bytes(),
    "👩\u{200d}👩\u{200d}👧\u{fe0f}".as_bytes(),
    b"\xff\xfe\xf0\x9f",
];

/// The `number`th name, of one to `most` bytes and a bit, without NUL and slash.
pub fn name(number: u64, most: usize) -> Vec<u8> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = 1 + next() as usize % most;
    let mut name = Vec::with_capacity(length + 24);
    while name.len() < length {
        let random = next();
        match random % 4 {
            0 => name.extend_from_slice(
                TEETH.get((random >> 8) as usize % TEETH.len()).copied().unwrap_or_default(),
            ),
            1 => name.extend(random.to_le_bytes().iter().skip(1).take(4)),
            2 => {
                let c = char::from_u32((random >> 8) as u32 % 0x11_0000).unwrap_or('x');
                name.extend_from_slice(c.to_string().as_bytes());
            }
            _ => name.extend_from_slice(b"letters"),
        }
    }
    name.iter_mut().filter(|byte| matches!(byte, 0 | b'/')).for_each(|byte| *byte = b'_');
    name
}

/// Opens COUNT files that are not there, each by another name, and calls itself something else every now and then, at
/// PER_MS a millisecond, when told `go`; then starts CHILDREN with such arguments.
pub fn play(words: &mut Words) -> Result<()> {
    let count: u64 = words.parse("COUNT")?;
    let per_ms: u64 = words.parse("PER_MS")?;
    let children: u64 = words.parse("CHILDREN")?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let begin = Instant::now();
    for number in 0..count {
        let mut path = b"/proc/none/".to_vec();
        path.extend(name(number, 120));
        let path = CString::new(path).context("a name with a NUL")?;
        if number % 64 == 0 {
            let comm = CString::new(name(number, 15)).context("a name with a NUL")?;
            // SAFETY: the kernel copies at most 16 bytes of the string, which lives through the call.
            unsafe { libc::prctl(libc::PR_SET_NAME, comm.as_ptr()) };
        }
        // SAFETY: the path lives through the call.
        let opened = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
        ensure!(opened == -1, "{path:?} is there");
        if number % 256 == 0 {
            std::thread::sleep(Duration::from_millis(number / per_ms).saturating_sub(begin.elapsed()));
        }
    }
    let program = super::actor::own_program()?;
    for number in 0..children {
        let argument = |part: u64| name(number * 3 + part, 200);
        let mut command = Command::new(&program);
        command.arg0(OsStr::from_bytes(&argument(0))).args(["workload", "exit", "0", "0"]);
        command.args([OsStr::from_bytes(&argument(1)), OsStr::from_bytes(&argument(2))]);
        command.stdin(Stdio::null()).status().context("start a child")?;
    }
    voice::say(&json!({"opens": count, "elapsed_ns": begin.elapsed().as_nanos() as u64}))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_of_any_kind_and_could_be_names() {
        let all: Vec<Vec<u8>> = (0..10_000).map(|number| name(number, 120)).collect();
        assert!(all.iter().all(|name| !name.is_empty() && !name.contains(&0) && !name.contains(&b'/')));
        assert!(all.iter().any(|name| name.contains(&0x1b)));
        assert!(all.iter().any(|name| std::str::from_utf8(name).is_err()));
        assert_eq!(name(7, 120), all.into_iter().nth(7).unwrap_or_default());
    }
}
