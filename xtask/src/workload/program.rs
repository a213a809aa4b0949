//! Static programs that make known calls and no other: no library begins or ends them.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;

use super::{Words, voice};

/// What they end with.
pub const CODE: i32 = 7;

/// getppid of the 32-bit ABI.
pub const GETPPID_I386: u64 = 64;

/// Writes a 32-bit program that calls getppid COUNT times and exits.
pub fn write_i386(path: &Path, count: u32) -> Result<()> {
    let mut code = vec![0xbe]; // mov esi, COUNT
    code.extend_from_slice(&count.to_le_bytes());
    code.extend_from_slice(&[0xb8, GETPPID_I386 as u8, 0, 0, 0]); // again: mov eax, 64
    code.extend_from_slice(&[0xcd, 0x80]); // int 0x80
    code.extend_from_slice(&[0x4e, 0x75, 0xf6]); // dec esi; jnz again
    code.extend_from_slice(&[0xbb, CODE as u8, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // exit(7)
    write(path, Class::I386, &code)
}

/// Writes a program that calls getppid and dup2 of no descriptor COUNT times each, sleeps for a second in one call and
/// exits.
pub fn write_x86_64(path: &Path, count: u32) -> Result<()> {
    let mut code = vec![0xbb]; // mov ebx, COUNT
    code.extend_from_slice(&count.to_le_bytes());
    code.extend_from_slice(&[0xb8, 110, 0, 0, 0, 0x0f, 0x05]); // again: getppid
    code.extend_from_slice(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xbe, 100, 0, 0, 0]); // mov edi, -1; mov esi, 100
    code.extend_from_slice(&[0xb8, 33, 0, 0, 0, 0x0f, 0x05]); // dup2
    code.extend_from_slice(&[0xff, 0xcb, 0x75, 0xe4]); // dec ebx; jnz again
    code.extend_from_slice(&[0x6a, 0, 0x6a, 1, 0x48, 0x89, 0xe7, 0x31, 0xf6]); // {1 s, 0 ns}; mov rdi, rsp; xor esi, esi
    code.extend_from_slice(&[0xb8, 35, 0, 0, 0, 0x0f, 0x05]); // nanosleep
    code.extend_from_slice(&[0xbf, CODE as u8, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05]); // exit_group(7)
    write(path, Class::X86_64, &code)
}

#[derive(Clone, Copy)]
enum Class {
    I386,
    X86_64,
}

/// One segment with the whole file, readable and executable (System V ABI, object files).
fn write(path: &Path, class: Class, code: &[u8]) -> Result<()> {
    const BASE: u32 = 0x0804_8000;
    let wide = matches!(class, Class::X86_64);
    let (header, entry): (u16, u16) = if wide { (64, 56) } else { (52, 32) };
    let (ident, machine) = if wide { (2, 62) } else { (1, 3) };
    let headers = u32::from(header + entry);
    let size = headers + code.len() as u32;
    let mut file = vec![0x7f, b'E', b'L', b'F', ident, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, n: u16| file.extend_from_slice(&n.to_le_bytes());
    let word = |file: &mut Vec<u8>, n: u32| file.extend_from_slice(&n.to_le_bytes());
    // As wide as an address.
    let address = |file: &mut Vec<u8>, n: u32| {
        word(file, n);
        if wide {
            word(file, 0);
        }
    };
    half(&mut file, 2); // ET_EXEC
    half(&mut file, machine);
    word(&mut file, 1);
    address(&mut file, BASE + headers); // entry
    address(&mut file, u32::from(header)); // program headers
    address(&mut file, 0); // no sections
    word(&mut file, 0);
    for n in [header, entry, 1, 0, 0, 0] {
        half(&mut file, n);
    }
    word(&mut file, 1); // PT_LOAD
    if wide {
        word(&mut file, 5);
    }
    for n in [0, BASE, BASE, size, size] {
        address(&mut file, n);
    }
    if !wide {
        word(&mut file, 5);
    }
    address(&mut file, 0x1000);
    file.extend_from_slice(code);
    fs::write(path, &file).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("chmod")
}

/// Starts PROGRAM when told `go`, from a child that makes no other call before. Says `{"pid":..}` of it and
/// `{"code":..}`.
pub fn launch(words: &mut Words) -> Result<()> {
    let program = PathBuf::from(words.text("PROGRAM")?);
    let path = CString::new(program.as_os_str().as_bytes()).context("PROGRAM has a NUL in it")?;
    let (arguments, environment) = ([path.as_ptr(), std::ptr::null()], [std::ptr::null()]);
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    // SAFETY: the child does nothing but these two calls, with memory that was there before.
    let child = unsafe {
        let child = libc::syscall(libc::SYS_fork);
        if child == 0 {
            libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            libc::_exit(127);
        }
        Errno::result(child).context("fork")?
    };
    voice::say(&json!({"pid": child}))?;
    let code = match waitpid(Pid::from_raw(child as i32), None).context("wait")? {
        WaitStatus::Exited(_, code) => Some(code),
        _ => None,
    };
    voice::say(&json!({"code": code}))
}
