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
