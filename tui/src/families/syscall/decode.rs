//! Calls as people write them: names, and the arguments of the common ones. Pure.

mod flags;

use std::borrow::Cow;
use std::io::Write;

use flags::{Flags, Word};
use syscalls::{x86, x86_64};

use crate::records::Outside;
use crate::records::syscall::Abi;

/// What an argument is.
#[derive(Debug, Clone, Copy)]
enum Arg {
    Int,
    Size,
    Address,
    Fd,
    /// Not known what it is.
    Raw,
    /// A directory that paths begin from.
    Dir,
    Octal,
    Flags(&'static Flags),
}

use Arg::{Address, Dir, Fd, Flags as F, Int, Octal, Raw, Size};

/// Name of a call; of one that this table does not have, its number.
pub fn name(abi: Abi, number: u32) -> Cow<'static, str> {
    let known = match abi {
        Abi::X86_64 => x86_64::Sysno::new(number as usize).map(|call| call.name()),
        Abi::I386 => x86::Sysno::new(number as usize).map(|call| call.name()),
        Abi::X32 => {
            x86_64::Sysno::new((number & !fluoro_shared::syscall::X32_BIT) as usize).map(|call| call.name())
        }
    };
    known.map_or_else(|| Cow::Owned(format!("syscall_{}", number.cast_signed())), Cow::Borrowed)
}

/// The arguments, separated by commas. Of a call that is not described below, all six registers.
pub fn arguments(name: &str, args: &[u64; 6], texts: &[(u8, Outside)]) -> Outside {
    let mut described = describe(name);
    // The mode counts only where a file may be made.
    if let Some(&[.., Arg::Flags(_), Octal]) = described
        && let Some(&flags) = described.and_then(|all| args.get(all.len() - 2))
        && flags & (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64 == 0
    {
        described = described.and_then(<[Arg]>::split_last).map(|(_, before)| before);
    }
    let mut out = Vec::new();
    for (index, &value) in args.iter().enumerate().take(described.map_or(args.len(), <[Arg]>::len)) {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        if let Some((_, text)) = texts.iter().find(|(arg, _)| usize::from(*arg) == index) {
            out.push(b'"');
            out.extend_from_slice(text.bytes());
            out.push(b'"');
            continue;
        }
        put(&mut out, described.and_then(|described| described.get(index)).copied().unwrap_or(Raw), value);
    }
    Outside::new(&out)
}

/// `openat(AT_FDCWD, "/etc/hostname", O_RDONLY) = 3`
pub fn whole(name: &str, arguments: Option<&Outside>, result: Option<i64>, error: Option<&str>) -> Outside {
    let mut out = name.as_bytes().to_vec();
    out.push(b'(');
    out.extend_from_slice(arguments.map_or(b"?", Outside::bytes));
    out.extend_from_slice(b") = ");
    match (result, error) {
        (None, _) => out.push(b'?'),
        (_, Some(error)) => out.extend_from_slice(error.as_bytes()),
        (Some(result), None) if returns_address(name) => write(&mut out, format_args!("{result:#x}")),
        (Some(result), None) => write(&mut out, format_args!("{result}")),
    }
    Outside::new(&out)
}

fn returns_address(name: &str) -> bool {
    matches!(name, "mmap" | "mmap2" | "mremap" | "brk" | "shmat")
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = out.write_fmt(text);
}

fn put(out: &mut Vec<u8>, arg: Arg, value: u64) {
    match arg {
        Size => write(out, format_args!("{value}")),
        Dir if value as i32 == libc::AT_FDCWD => out.extend_from_slice(b"AT_FDCWD"),
        Int | Fd | Dir => write(out, format_args!("{}", value as i32)),
        Octal => write(out, format_args!("{:#05o}", value & 0xffff)),
        Address if value == 0 => out.extend_from_slice(b"NULL"),
        Address | Raw => write(out, format_args!("{value:#x}")),
        F(flags) => put_flags(out, flags, value),
    }
}

fn put_flags(out: &mut Vec<u8>, flags: &Flags, value: u64) {
    // What is passed as an int may have anything in its upper half.
    let mut left = value & 0xffff_ffff;
    let mut first = true;
    let mut name = |out: &mut Vec<u8>, name: &str| {
        if !std::mem::take(&mut first) {
            out.push(b'|');
        }
        out.extend_from_slice(name.as_bytes());
    };
    let base = left & flags.base;
    if flags.base != 0
        && let Some(Word(_, text)) = flags.values.iter().find(|Word(value, _)| *value == base)
    {
        name(out, text);
        left &= !flags.base;
    }
    for Word(bits, text) in flags.bits {
        if left & bits == *bits {
            name(out, text);
            left &= !bits;
        }
    }
    if left != 0 {
        name(out, &format!("{left:#x}"));
    } else if first {
        out.push(b'0');
    }
}

/// The arguments of the common calls, by name; 32-bit variants beside the native ones.
#[expect(clippy::match_same_arms, reason = "a table: what belongs together stands together")]
fn describe(name: &str) -> Option<&'static [Arg]> {
    use flags::{
        ACCESS, AT, CLOCK, CLONE, DOMAIN, EPOLL_OP, FCNTL, FUTEX, HOW, MADVISE, MAP, MSG, OPEN, PROT, RENAME,
        SHUT, SIGNAL, SOCKET, WAIT, WHENCE,
    };
    Some(match name {
        "read" | "write" | "getdents64" => &[Fd, Address, Size],
        "pread64" | "pwrite64" => &[Fd, Address, Size, Size],
        "readv" | "writev" => &[Fd, Address, Int],
        "open" => &[Address, F(&OPEN), Octal],
        "openat" => &[Dir, Address, F(&OPEN), Octal],
        "openat2" => &[Dir, Address, Address, Size],
        "creat" | "mkdir" | "chmod" => &[Address, Octal],
        "mkdirat" | "fchmodat" => &[Dir, Address, Octal],
        "close" | "fsync" | "fdatasync" | "fchdir" | "dup" | "epoll_create1" => &[Fd],
        "stat" | "lstat" | "stat64" | "lstat64" | "statfs" => &[Address, Address],
        "fstat" | "fstat64" | "fstatfs" => &[Fd, Address],
        "newfstatat" | "fstatat64" => &[Dir, Address, Address, F(&AT)],
        "statx" => &[Dir, Address, F(&AT), Address, Address],
        "access" => &[Address, F(&ACCESS)],
        "faccessat" => &[Dir, Address, F(&ACCESS)],
        "faccessat2" => &[Dir, Address, F(&ACCESS), F(&AT)],
        "readlink" => &[Address, Address, Size],
        "readlinkat" => &[Dir, Address, Address, Size],
        "unlink" | "rmdir" | "chdir" | "chroot" => &[Address],
        "unlinkat" => &[Dir, Address, F(&AT)],
        "rename" | "link" | "symlink" => &[Address, Address],
        "renameat" => &[Dir, Address, Dir, Address],
        "renameat2" => &[Dir, Address, Dir, Address, F(&RENAME)],
        "linkat" => &[Dir, Address, Dir, Address, F(&AT)],
        "symlinkat" => &[Address, Dir, Address],
        "fchownat" => &[Dir, Address, Int, Int, F(&AT)],
        "chown" | "lchown" => &[Address, Int, Int],
        "truncate" => &[Address, Size],
        "ftruncate" => &[Fd, Size],
        "utimensat" => &[Dir, Address, Address, F(&AT)],
        "lseek" => &[Fd, Size, F(&WHENCE)],
        "fcntl" | "fcntl64" => &[Fd, F(&FCNTL), Address],
        "ioctl" => &[Fd, Address, Address],
        "dup2" => &[Fd, Fd],
        "dup3" => &[Fd, Fd, F(&OPEN)],
        "pipe" => &[Address],
        "pipe2" => &[Address, F(&HOW)],
        "eventfd2" => &[Int, F(&HOW)],
        "mmap" | "mmap2" => &[Address, Size, F(&PROT), F(&MAP), Fd, Size],
        "mprotect" => &[Address, Size, F(&PROT)],
        "munmap" => &[Address, Size],
        "madvise" => &[Address, Size, F(&MADVISE)],
        "brk" => &[Address],
        "socket" | "socketpair" => &[F(&DOMAIN), F(&SOCKET), Int],
        "connect" | "bind" => &[Fd, Address, Size],
        "listen" => &[Fd, Int],
        "accept" => &[Fd, Address, Address],
        "accept4" => &[Fd, Address, Address, F(&SOCKET)],
        "shutdown" => &[Fd, F(&SHUT)],
        "sendto" | "recvfrom" => &[Fd, Address, Size, F(&MSG), Address, Size],
        "sendmsg" | "recvmsg" => &[Fd, Address, F(&MSG)],
        "getsockopt" | "setsockopt" => &[Fd, Int, Int, Address, Size],
        "getsockname" | "getpeername" => &[Fd, Address, Address],
        "poll" => &[Address, Size, Int],
        "ppoll" => &[Address, Size, Address, Address, Size],
        "select" => &[Int, Address, Address, Address, Address],
        "epoll_ctl" => &[Fd, F(&EPOLL_OP), Fd, Address],
        "epoll_wait" => &[Fd, Address, Int, Int],
        "epoll_pwait" => &[Fd, Address, Int, Int, Address, Size],
        "futex" => &[Address, F(&FUTEX), Int, Address, Address, Int],
        "nanosleep" => &[Address, Address],
        "clock_nanosleep" => &[F(&CLOCK), Int, Address, Address],
        "clock_gettime" => &[F(&CLOCK), Address],
        "getpid" | "getppid" | "gettid" | "getuid" | "geteuid" | "getgid" | "getegid" | "sched_yield"
        | "fork" | "vfork" | "rt_sigreturn" | "pause" | "sync" => &[],
        "kill" => &[Int, F(&SIGNAL)],
        "tgkill" => &[Int, Int, F(&SIGNAL)],
        "rt_sigaction" => &[F(&SIGNAL), Address, Address, Size],
        "rt_sigprocmask" => &[Int, Address, Address, Size],
        "clone" => &[F(&CLONE), Address, Address, Address, Address],
        "clone3" => &[Address, Size],
        "execve" => &[Address, Address, Address],
        "execveat" => &[Dir, Address, Address, Address, F(&AT)],
        "exit" | "exit_group" => &[Int],
        "wait4" | "waitpid" => &[Int, Address, F(&WAIT), Address],
        "waitid" => &[Int, Int, Address, F(&WAIT), Address],
        "getrandom" => &[Address, Size, Int],
        "memfd_create" => &[Address, Int],
        "inotify_add_watch" => &[Fd, Address, Address],
        "arch_prctl" | "set_robust_list" | "getcwd" => &[Address, Address],
        "set_tid_address" => &[Address],
        "prlimit64" => &[Int, Int, Address, Address],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, args: [u64; 6], texts: &[(u8, &str)]) -> String {
        let texts: Vec<_> = texts.iter().map(|(arg, text)| (*arg, Outside::from(*text))).collect();
        arguments(name, &args, &texts).shown().into_string()
    }

    #[test]
    fn names_are_of_their_own_table() {
        assert_eq!(name(Abi::X86_64, 3), "close");
        assert_eq!(name(Abi::I386, 3), "read");
        assert_eq!(name(Abi::X86_64, u32::MAX), "syscall_-1");
    }

    #[test]
    fn flags_are_named_and_what_has_no_name_is_kept() {
        let at = 0x1_0000_0000 - 100;
        let flags = u64::from((libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC) as u32);
        assert_eq!(
            call("openat", [at, 1, flags, 0o644, 0, 0], &[(1, "/tmp/x")]),
            "AT_FDCWD, \"/tmp/x\", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0o644"
        );
        assert_eq!(call("open", [1, 0, 0, 0, 0, 0], &[(0, "/a")]), "\"/a\", O_RDONLY");
        assert_eq!(call("mprotect", [0x1000, 4096, 0, 0, 0, 0], &[]), "0x1000, 4096, PROT_NONE");
        assert_eq!(
            call("mmap", [0, 8, 3, 0x22, u64::MAX, 0], &[]),
            "NULL, 8, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"
        );
        assert_eq!(
            call("unlinkat", [5, 0x7f00, 0x8000_0200, 0, 0, 0], &[]),
            "5, 0x7f00, AT_REMOVEDIR|0x80000000"
        );
    }

    #[test]
    fn a_call_ends_with_what_it_returned() {
        let text =
            |result, error| whole("close", Some(&Outside::from("3")), result, error).shown().into_string();
        assert_eq!(text(Some(0), None), "close(3) = 0");
        assert_eq!(text(Some(-9), Some("EBADF")), "close(3) = EBADF");
        assert_eq!(text(None, None), "close(3) = ?");
    }
}
