//! System calls by their numbers: what libc would make of them is not wanted here.

/// Each returns what the kernel did: a negative errno where it failed.
pub mod call {
    use std::ffi::CStr;

    macro_rules! calls {
        ($($name:ident($($argument:ident: $kind:ident),*) = $number:ident;)+) => {
            $(pub fn $name($($argument: calls!(@type $kind)),*) -> i64 {
                // SAFETY: the arguments are numbers, or texts that end with a NUL and live until the call returns.
                let result = unsafe { libc::syscall(libc::$number, $(calls!(@value $kind $argument)),*) };
                if result < 0 { -i64::from(nix::errno::Errno::last_raw()) } else { result }
            })+
        };
        (@type text) => { &CStr };
        (@type number) => { impl Into<i64> };
        (@value text $argument:ident) => { $argument.as_ptr() };
        (@value number $argument:ident) => { $argument.into() };
    }

    calls! {
        open(path: text, flags: number, mode: number) = SYS_open;
        openat(at: number, path: text, flags: number, mode: number) = SYS_openat;
        creat(path: text, mode: number) = SYS_creat;
        close(file: number) = SYS_close;
        ftruncate(file: number, length: number) = SYS_ftruncate;
        truncate(path: text, length: number) = SYS_truncate;
        fchmod(file: number, mode: number) = SYS_fchmod;
        chmod(path: text, mode: number) = SYS_chmod;
        fchmodat(at: number, path: text, mode: number) = SYS_fchmodat;
        fchown(file: number, owner: number, group: number) = SYS_fchown;
        chown(path: text, owner: number, group: number) = SYS_chown;
        lchown(path: text, owner: number, group: number) = SYS_lchown;
        mknod(path: text, mode: number) = SYS_mknod;
        mknodat(at: number, path: text, mode: number) = SYS_mknodat;
        mkdir(path: text, mode: number) = SYS_mkdir;
        mkdirat(at: number, path: text, mode: number) = SYS_mkdirat;
        rmdir(path: text) = SYS_rmdir;
        unlink(path: text) = SYS_unlink;
        unlinkat(at: number, path: text, flags: number) = SYS_unlinkat;
        rename(from: text, to: text) = SYS_rename;
        renameat(from_at: number, from: text, to_at: number, to: text) = SYS_renameat;
        renameat2(from_at: number, from: text, to_at: number, to: text, flags: number) = SYS_renameat2;
        link(from: text, to: text) = SYS_link;
        symlink(target: text, path: text) = SYS_symlink;
        symlinkat(target: text, at: number, path: text) = SYS_symlinkat;
    }

    pub fn linkat(from_at: i64, from: &CStr, to_at: i64, to: &CStr) -> i64 {
        // SAFETY: as above.
        let result =
            unsafe { libc::syscall(libc::SYS_linkat, from_at, from.as_ptr(), to_at, to.as_ptr(), 0_i64) };
        if result < 0 { -i64::from(nix::errno::Errno::last_raw()) } else { result }
    }

    pub fn fchownat(at: i64, path: &CStr, owner: i64, group: i64) -> i64 {
        // SAFETY: as above.
        let result = unsafe { libc::syscall(libc::SYS_fchownat, at, path.as_ptr(), owner, group, 0_i64) };
        if result < 0 { -i64::from(nix::errno::Errno::last_raw()) } else { result }
    }

    pub fn openat2(at: i64, path: &CStr, flags: u64) -> i64 {
        // `struct open_how`.
        let how = [flags, 0, 0];
        // SAFETY: as above, and `how` is as large as is said.
        let result =
            unsafe { libc::syscall(libc::SYS_openat2, at, path.as_ptr(), how.as_ptr(), size_of_val(&how)) };
        if result < 0 { -i64::from(nix::errno::Errno::last_raw()) } else { result }
    }
}

/// Calls by the 32-bit ABI, which a 64-bit program may make, too.
pub mod compat {
    use std::ffi::CStr;

    use anyhow::{Result, ensure};
    use nix::errno::Errno;

    const OPEN: i32 = 5;
    const UNLINK: i32 = 10;
    const GETPID: i32 = 20;
    const RENAME: i32 = 38;
    const MKDIR: i32 = 39;
    const RMDIR: i32 = 40;

    /// False: the kernel has none, and would kill who calls.
    pub fn is_there() -> Result<bool> {
        // SAFETY: the child makes two system calls and nothing else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: no pointers.
            unsafe {
                let answered = call(GETPID, 0, 0, 0);
                libc::_exit(i32::from(answered <= 0));
            }
        }
        ensure!(child > 0, "fork: {}", Errno::last());
        let mut status = 0;
        // SAFETY: an own child, and room for its status.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        ensure!(waited == child, "waitpid: {}", Errno::last());
        Ok(status == 0)
    }

    pub fn open(path: &CStr, flags: i32, mode: i32) -> Result<i64> {
        by_path(OPEN, path, None, flags, mode)
    }

    pub fn unlink(path: &CStr) -> Result<i64> {
        by_path(UNLINK, path, None, 0, 0)
    }

    pub fn mkdir(path: &CStr, mode: i32) -> Result<i64> {
        by_path(MKDIR, path, None, mode, 0)
    }

    pub fn rmdir(path: &CStr) -> Result<i64> {
        by_path(RMDIR, path, None, 0, 0)
    }

    pub fn rename(from: &CStr, to: &CStr) -> Result<i64> {
        by_path(RENAME, from, Some(to), 0, 0)
    }

    /// Texts are copied to where 32 bits reach.
    fn by_path(number: i32, path: &CStr, other: Option<&CStr>, second: i32, third: i32) -> Result<i64> {
        const ROOM: usize = 2 * 4096;
        // SAFETY: a new mapping, large enough for two paths, which are copied into it and given back after the call.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                ROOM,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            );
            ensure!(at != libc::MAP_FAILED, "mmap: {}", Errno::last());
            let put = |text: &CStr, offset: usize| {
                let bytes = text.to_bytes_with_nul();
                assert!(bytes.len() <= ROOM / 2, "a path that is too long");
                let to = at.cast::<u8>().add(offset);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                to as usize as i32
            };
            let first = put(path, 0);
            let second = other.map_or(second, |other| put(other, ROOM / 2));
            let result = call(number, first, second, third);
            libc::munmap(at, ROOM);
            Ok(i64::from(result))
        }
    }

    /// # Safety
    /// As of the system call.
    unsafe fn call(number: i32, first: i32, second: i32, third: i32) -> i32 {
        let result: i64;
        // SAFETY: the caller's. rbx belongs to the compiler: its value is put aside meanwhile.
        unsafe {
            std::arch::asm!(
                "xchg {first}, rbx",
                "int 0x80",
                "xchg {first}, rbx",
                first = inout(reg) i64::from(first) => _,
                inlateout("rax") i64::from(number) => result,
                in("rcx") i64::from(second),
                in("rdx") i64::from(third),
                lateout("r8") _,
                lateout("r9") _,
                lateout("r10") _,
                lateout("r11") _,
            );
        }
        result as i32
    }
}
