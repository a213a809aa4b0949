//! Everything a program can do to the file system, by raw system calls, each with what must be seen of it.

pub mod activity;
pub mod mkdir;
pub mod raw;
pub mod uring;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Words, voice};
use raw::{call, compat};

/// What was done, in order: an event each.
struct Log {
    done: Vec<Value>,
    /// Requests of io_uring that asked for no completion.
    silent: usize,
}

/// One operation as an event must show it.
struct Done<'a> {
    event: &'a str,
    path: &'a [u8],
    old_path: Option<&'a [u8]>,
    target: Option<&'a [u8]>,
    created: bool,
    /// By io_uring, without completion: by a worker or at once.
    silent: Option<&'a str>,
    /// The path and the old one as they were passed, where the kernel's own are others.
    passed: Option<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Done<'a> {
    const fn of(event: &'a str, path: &'a [u8]) -> Self {
        Self { event, path, old_path: None, target: None, created: false, silent: None, passed: None }
    }

    const fn passed(mut self, path: &'a [u8], old_path: Option<&'a [u8]>) -> Self {
        self.passed = Some((path, old_path));
        self
    }

    const fn from(mut self, old: &'a [u8]) -> Self {
        self.old_path = Some(old);
        self
    }

    const fn to(mut self, target: &'a [u8]) -> Self {
        self.target = Some(target);
        self
    }

    const fn silently(mut self, how: &'a str) -> Self {
        self.silent = Some(how);
        self
    }

    const fn creating(mut self) -> Self {
        self.created = true;
        self
    }
}

impl Log {
    /// Notes an operation with its result; the result again.
    fn note(&mut self, done: &Done<'_>, result: i64) -> i64 {
        let coded = |bytes: &[u8]| BASE64.encode(bytes);
        self.done.push(json!({
            "event": done.event,
            "path": coded(done.path),
            "old_path": done.old_path.map(coded),
            "target": done.target.map(coded),
            "passed": done.passed.map(|(path, _)| coded(path)),
            "old_passed": done.passed.and_then(|(_, old_path)| old_path).map(coded),
            "created": done.created && result >= 0,
            "silent": done.silent,
            "result": result,
        }));
        result
    }
}

/// Names that a file may have and a tool may choke on.
fn names() -> Vec<Vec<u8>> {
    vec![
        b"plain".to_vec(),
        b"new\nline".to_vec(),
        b"\x1b[2J\x1b]0;gone\x07".to_vec(),
        b"not \xff\xfe utf-8".to_vec(),
        b" spaces \" and \\ quotes ".to_vec(),
        "\u{202e}right to left \u{1f600}".as_bytes().to_vec(),
        vec![b'n'; 255],
    ]
}

const DEPTH: usize = 600;

/// Does everything in a directory of its own below DIR when told `go`, and says what it did.
pub fn play(words: &mut Words) -> Result<()> {
    let below = words.text("DIR")?;
    let rounds: u32 = words.parse("ROUNDS")?;
    let root = format!("{below}/fluoro-files-{}", std::process::id());
    std::fs::create_dir(&root).with_context(|| format!("create {root}"))?;
    // What must be there beforehand, so that nothing else than what is noted happens afterwards.
    let deep = vec!["d"; DEPTH].join("/");
    std::fs::create_dir_all(Path::new(&root).join(&deep))?;
    let has_32_bits = compat::is_there()?;
    voice::say(&json!({"pid": std::process::id()}))?;
    voice::wait_for("go")?;
    let mut log = Log { done: Vec::new(), silent: 0 };
    for _ in 0..rounds {
        for name in names() {
            everything(&mut log, root.as_bytes(), &name)?;
        }
        everything(&mut log, format!("{root}/{deep}").as_bytes(), b"deep")?;
    }
    roundabout(&mut log, root.as_bytes())?;
    failures(&mut log, root.as_bytes())?;
    let before = log.done.len();
    if has_32_bits {
        by_32_bits(&mut log, root.as_bytes())?;
    }
    let by_32_bits = log.done.len() - before;
    let before = log.done.len();
    let alike = by_uring(&mut log, root.as_bytes())?;
    voice::say(&json!({
        "pid": std::process::id(), "done": log.done, "by_uring": log.done.len() - before, "alike": alike,
        "by_32_bits": by_32_bits, "without_completion": log.silent,
    }))?;
    std::fs::remove_dir_all(&root).with_context(|| format!("remove {root}"))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

fn text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).context("a NUL in a path")
}

/// Every operation on the name `name` in `directory`.
fn everything(log: &mut Log, directory: &[u8], name: &[u8]) -> Result<()> {
    let here = join(directory, name);
    let other_name = b"other".as_slice();
    let other = join(directory, other_name);
    let (path, name_text, other_text, other_path) =
        (text(&here)?, text(name)?, text(other_name)?, text(&other)?);
    let base = text(directory)?;
    let at = log.note(
        &Done::of("file.open", directory),
        call::open(&base, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC, 0),
    );

    // Made, changed, and gone again.
    let file = log.note(
        &Done::of("file.open", &here).creating(),
        call::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC, 0o640),
    );
    log.note(&Done::of("file.truncate", &here), call::ftruncate(file, 4096));
    log.note(&Done::of("file.chmod", &here), call::fchmod(file, 0o600));
    log.note(&Done::of("file.chown", &here), call::fchown(file, 0, 0));
    call::close(file);
    log.note(&Done::of("file.truncate", &here), call::truncate(&path, 100));
    log.note(&Done::of("file.chmod", &here), call::chmod(&path, 0o644));
    log.note(&Done::of("file.chmod", &here), call::fchmodat(at, &name_text, 0o644));
    log.note(&Done::of("file.chown", &here), call::chown(&path, 0, 0));
    log.note(&Done::of("file.chown", &here), call::lchown(&path, 0, 0));
    log.note(&Done::of("file.chown", &here), call::fchownat(at, &name_text, 0, 0));
    for flags in [libc::O_RDONLY, libc::O_WRONLY | libc::O_CREAT, libc::O_RDWR | libc::O_APPEND] {
        let opened = log.note(&Done::of("file.open", &here), call::openat(at, &name_text, flags, 0o600));
        call::close(opened);
    }
    let opened = call::openat2(at, &name_text, libc::O_RDONLY as u64);
    // Kernels before 5.6 and some sandboxes have no openat2.
    if opened != -i64::from(libc::ENOSYS) {
        log.note(&Done::of("file.open", &here), opened);
        call::close(opened);
    }
    let opened = log.note(&Done::of("file.open", &here), call::creat(&path, 0o600));
    call::close(opened);

    log.note(&Done::of("file.link", &other).from(&here), call::link(&path, &other_path));
    log.note(&Done::of("file.unlink", &other), call::unlink(&other_path));
    log.note(&Done::of("file.link", &other).from(&here), call::linkat(at, &name_text, at, &other_text));
    log.note(&Done::of("file.unlink", &other), call::unlinkat(at, &other_text, 0));
    log.note(&Done::of("file.symlink", &other).to(name), call::symlink(&name_text, &other_path));
    log.note(&Done::of("file.unlink", &other), call::unlinkat(at, &other_text, 0));
    log.note(&Done::of("file.symlink", &other).to(&here), call::symlinkat(&path, at, &other_text));
    log.note(&Done::of("file.unlink", &other), call::unlink(&other_path));

    log.note(&Done::of("file.rename", &other).from(&here), call::rename(&path, &other_path));
    log.note(&Done::of("file.rename", &here).from(&other), call::renameat(at, &other_text, at, &name_text));
    log.note(
        &Done::of("file.rename", &other).from(&here),
        call::renameat2(at, &name_text, at, &other_text, libc::RENAME_NOREPLACE),
    );
    log.note(&Done::of("file.create", &here), call::mknod(&path, libc::S_IFIFO | 0o600));
    log.note(
        &Done::of("file.rename", &here).from(&other),
        call::renameat2(at, &other_text, at, &name_text, libc::RENAME_EXCHANGE),
    );
    log.note(&Done::of("file.unlink", &other), call::unlink(&other_path));
    log.note(&Done::of("file.create", &other), call::mknodat(at, &other_text, libc::S_IFREG | 0o600));
    log.note(&Done::of("file.unlink", &other), call::unlink(&other_path));

    // Gone while it is open: then it is opened by its descriptor.
    let held = log.note(&Done::of("file.open", &here), call::open(&path, libc::O_RDONLY, 0));
    log.note(&Done::of("file.unlink", &here), call::unlink(&path));
    let again = text(format!("/proc/self/fd/{held}").as_bytes())?;
    let gone = [here.as_slice(), b" (deleted)"].concat();
    let reopened = log.note(&Done::of("file.open", &gone), call::open(&again, libc::O_RDONLY, 0));
    call::close(reopened);
    call::close(held);

    log.note(&Done::of("file.mkdir", &here), call::mkdir(&path, 0o755));
    log.note(&Done::of("file.rmdir", &here), call::rmdir(&path));
    log.note(&Done::of("file.mkdir", &here), call::mkdirat(at, &name_text, 0o755));
    log.note(&Done::of("file.rmdir", &here), call::unlinkat(at, &name_text, libc::AT_REMOVEDIR));
    call::close(at);
    Ok(())
}

/// By paths that are not those of what they lead to: through a symbolic link, `.` and `..`.
fn roundabout(log: &mut Log, root: &[u8]) -> Result<()> {
    let (real, way) = (join(root, b"real"), join(root, b"way"));
    log.note(&Done::of("file.mkdir", &real), call::mkdir(&text(&real)?, 0o700));
    log.note(&Done::of("file.symlink", &way).to(b"real"), call::symlink(&text(b"real")?, &text(&way)?));
    let (there, further) = (join(&real, b"made"), join(&real, b"further"));
    let (passed, on) = (join(&way, b".//made"), join(&way, b"../real/further"));
    let (from, to) = (text(&passed)?, text(&on)?);
    log.note(
        &Done::of("file.create", &there).passed(&passed, None),
        call::mknod(&from, libc::S_IFREG | 0o600),
    );
    log.note(
        &Done::of("file.link", &further).from(&there).passed(&on, Some(&passed)),
        call::link(&from, &to),
    );
    log.note(&Done::of("file.unlink", &further).passed(&on, None), call::unlink(&to));
    log.note(
        &Done::of("file.rename", &further).from(&there).passed(&on, Some(&passed)),
        call::rename(&from, &to),
    );
    log.note(&Done::of("file.chmod", &further).passed(&on, None), call::chmod(&to, 0o640));
    log.note(&Done::of("file.chown", &further).passed(&on, None), call::chown(&to, 0, 0));
    log.note(&Done::of("file.truncate", &further).passed(&on, None), call::truncate(&to, 10));
    log.note(&Done::of("file.unlink", &further).passed(&on, None), call::unlink(&to));
    log.note(&Done::of("file.mkdir", &there).passed(&passed, None), call::mkdir(&from, 0o700));
    log.note(&Done::of("file.rmdir", &there).passed(&passed, None), call::rmdir(&from));
    log.note(&Done::of("file.unlink", &way), call::unlink(&text(&way)?));
    log.note(&Done::of("file.rmdir", &real), call::rmdir(&text(&real)?));
    Ok(())
}

/// What a 32-bit program does.
fn by_32_bits(log: &mut Log, root: &[u8]) -> Result<()> {
    let (here, other) = (join(root, b"by 32 bits"), join(root, b"other by 32 bits"));
    let (path, other_path) = (text(&here)?, text(&other)?);
    log.note(&Done::of("file.open", &here), compat::open(&path, libc::O_RDONLY, 0)?);
    let made = compat::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600)?;
    call::close(log.note(&Done::of("file.open", &here).creating(), made));
    log.note(&Done::of("file.rename", &other).from(&here), compat::rename(&path, &other_path)?);
    log.note(&Done::of("file.unlink", &other), compat::unlink(&other_path)?);
    log.note(&Done::of("file.mkdir", &here), compat::mkdir(&path, 0o700)?);
    log.note(&Done::of("file.mkdir", &here), compat::mkdir(&path, 0o700)?);
    log.note(&Done::of("file.rmdir", &here), compat::rmdir(&path)?);
    Ok(())
}

/// What io_uring can do by path. How many of the last requests were under way together and are told apart by nothing.
fn by_uring(log: &mut Log, root: &[u8]) -> Result<usize> {
    use uring::op;
    let Some(ring) = uring::Ring::new()? else { return Ok(0) };
    let (name, other) = (text(b"by uring\xff")?, text(b"other by uring")?);
    let (path, other_path) = (join(root, name.as_bytes()), join(root, other.as_bytes()));
    let at = log
        .note(&Done::of("file.open", root), call::open(&text(root)?, libc::O_RDONLY | libc::O_DIRECTORY, 0));
    let missing = text(&join(root, b"missing"))?;
    for flags in [0, uring::ASYNC] {
        let result = ring.at(op::OPENAT, at, &missing, 0, libc::O_RDONLY, flags)?;
        log.note(&Done::of("file.open", missing.to_bytes()), result);
        let made = ring.at(op::OPENAT, at, &name, 0o600, libc::O_RDWR | libc::O_CREAT, flags)?;
        call::close(log.note(&Done::of("file.open", &path).creating(), made));
        log.note(&Done::of("file.unlink", &path), ring.at(op::UNLINKAT, at, &name, 0, 0, flags)?);
    }
    // Since 5.15.
    let made = ring.at(op::MKDIRAT, at, &name, 0o700, 0, 0)?;
    if made != -i64::from(libc::EINVAL) {
        log.note(&Done::of("file.mkdir", &path), made);
        log.note(&Done::of("file.mkdir", &path), ring.at(op::MKDIRAT, at, &name, 0o700, 0, 0)?);
        let renamed = ring.both(op::RENAMEAT, at, &name, &other)?;
        log.note(&Done::of("file.rename", &other_path).from(&path), renamed);
        let removed = ring.at(op::UNLINKAT, at, &other, 0, libc::AT_REMOVEDIR, 0)?;
        log.note(&Done::of("file.rmdir", &other_path), removed);
        let linked = ring.run(uring::Request {
            opcode: op::SYMLINKAT,
            fd: at as i32,
            address: other.as_ptr() as u64,
            offset: name.as_ptr() as u64,
            ..uring::Request::default()
        })?;
        log.note(&Done::of("file.symlink", &path).to(other.as_bytes()), linked);
        let linked = ring.both(op::LINKAT, at, &name, &other)?;
        log.note(&Done::of("file.link", &other_path).from(&path), linked);
        roundabout_by_uring(log, &ring, root)?;
        into_slot(log, &ring, root)?;
    }
    if ring.may_be_silent() {
        silently(log, &ring, root)?;
    }
    call::close(at);
    together_by_uring(log, &ring, root, [1, 2, 3])?;
    together_by_uring(log, &ring, root, [9; ALIKE])?;
    Ok(ALIKE)
}

const ALIKE: usize = 3;

/// Last of the path of what is opened without a descriptor.
pub const SLOT: &[u8] = b"into a slot";
/// How a request is done that does not complete.
pub const BY_WORKER: &str = "by a worker";
pub const AT_ONCE: &str = "at once";

/// Opens one after the other, all submitted before the first is over.
fn together_by_uring(log: &mut Log, ring: &uring::Ring, root: &[u8], user_data: [u64; ALIKE]) -> Result<()> {
    let path = text(root)?;
    let requests = user_data.map(|user_data| uring::Request {
        opcode: uring::op::OPENAT,
        flags: uring::LINK,
        fd: libc::AT_FDCWD,
        address: path.as_ptr() as u64,
        call_flags: libc::O_DIRECTORY.cast_unsigned(),
        user_data,
        ..uring::Request::default()
    });
    for opened in ring.run_all(&requests)? {
        call::close(log.note(&Done::of("file.open", root), opened));
    }
    Ok(())
}

/// An open that gives no descriptor.
fn into_slot(log: &mut Log, ring: &uring::Ring, root: &[u8]) -> Result<()> {
    let path = join(root, SLOT);
    let made = call::open(&text(&path)?, libc::O_CREAT | libc::O_RDONLY, 0o600);
    call::close(log.note(&Done::of("file.open", &path).creating(), made));
    ring.register_slot()?;
    let opened = ring.run(uring::Request::into_slot(&text(&path)?))?;
    log.note(&Done::of("file.open", &path), opened);
    Ok(())
}

/// What does not complete, but for opens that fail. The next request may be over before what this one did is told.
fn silently(log: &mut Log, ring: &uring::Ring, root: &[u8]) -> Result<()> {
    use uring::{Request, op};
    let cwd = i64::from(libc::AT_FDCWD);
    let (path, moved) = (join(root, b"silent"), join(root, b"silently moved"));
    let (from, to) = (text(&path)?, text(&moved)?);
    let asked = std::cell::Cell::new(0);
    let run = |request| {
        asked.set(asked.get() + 1);
        let result = ring.run_silently(request);
        std::thread::sleep(std::time::Duration::from_millis(20));
        result
    };
    let make = Request::at(op::MKDIRAT, cwd, &from, 0o700, 0);
    log.note(&Done::of("file.mkdir", &path).silently(BY_WORKER), run(make)?);
    // Of what failed so the kernel tells nothing either.
    run(make)?;
    log.note(&Done::of("file.mkdir", &path).silently(BY_WORKER), -i64::from(libc::EEXIST));
    let renamed = run(Request::both(op::RENAMEAT, cwd, &from, &to))?;
    log.note(&Done::of("file.rename", &moved).from(&path).silently(BY_WORKER), renamed);
    let removed = run(Request::at(op::UNLINKAT, cwd, &to, 0, libc::AT_REMOVEDIR))?;
    log.note(&Done::of("file.rmdir", &moved).silently(BY_WORKER), removed);
    let failed = run(Request::at(op::OPENAT, cwd, &from, 0, libc::O_RDONLY))?;
    log.note(&Done::of("file.open", &path), failed);
    // The kernel gives the lowest descriptor that is free.
    let next = next_descriptor();
    let result = run(Request::at(op::OPENAT, cwd, &from, 0o600, libc::O_CREAT | libc::O_RDWR))?;
    ensure!(result == 0, "open without completion: {result}");
    call::close(log.note(&Done::of("file.open", &path).creating().silently(BY_WORKER), next));
    let result = run(Request::at(op::OPENAT, cwd, &from, 0, libc::O_RDONLY))?;
    ensure!(result == 0, "open without completion: {result}");
    call::close(log.note(&Done::of("file.open", &path).silently(AT_ONCE), next));
    let removed = run(Request::at(op::UNLINKAT, cwd, &from, 0, 0))?;
    log.note(&Done::of("file.unlink", &path).silently(BY_WORKER), removed);
    log.silent = asked.get();
    Ok(())
}

fn next_descriptor() -> i64 {
    // SAFETY: no pointers; closed at once.
    unsafe {
        let next = libc::dup(0);
        libc::close(next);
        i64::from(next)
    }
}

/// The same directory by a symbolic link, by requests that the kernel has its workers do.
fn roundabout_by_uring(log: &mut Log, ring: &uring::Ring, root: &[u8]) -> Result<()> {
    use uring::op;
    let (real, way) = (join(root, b"real by uring"), join(root, b"way by uring"));
    log.note(&Done::of("file.mkdir", &real), call::mkdir(&text(&real)?, 0o700));
    let to = b"real by uring";
    log.note(&Done::of("file.symlink", &way).to(to), call::symlink(&text(to)?, &text(&way)?));
    let (made, moved) = (join(&real, b"made"), join(&real, b"moved"));
    let (made_passed, moved_passed) = (join(&way, b"made"), join(&way, b".//moved"));
    let (from, onto, cwd) = (text(&made_passed)?, text(&moved_passed)?, i64::from(libc::AT_FDCWD));
    let result = ring.at(op::MKDIRAT, cwd, &from, 0o700, 0, 0)?;
    log.note(&Done::of("file.mkdir", &made).passed(&made_passed, None), result);
    let result = ring.at(op::MKDIRAT, cwd, &from, 0o700, 0, 0)?;
    log.note(&Done::of("file.mkdir", &made).passed(&made_passed, None), result);
    let result = ring.both(op::RENAMEAT, cwd, &from, &onto)?;
    log.note(&Done::of("file.rename", &moved).from(&made).passed(&moved_passed, Some(&made_passed)), result);
    let result = ring.at(op::UNLINKAT, cwd, &onto, 0, libc::AT_REMOVEDIR, 0)?;
    log.note(&Done::of("file.rmdir", &moved).passed(&moved_passed, None), result);
    Ok(())
}

/// One of each failure.
fn failures(log: &mut Log, root: &[u8]) -> Result<()> {
    let (missing, file, directory, looping) =
        (join(root, b"missing"), join(root, b"file"), join(root, b"directory"), join(root, b"loop"));
    let below_missing = join(&missing, b"x");
    let below_file = join(&file, b"x");
    let long = join(root, &[b'l'; 256]);
    let made = log.note(
        &Done::of("file.open", &file).creating(),
        call::open(&text(&file)?, libc::O_CREAT | libc::O_WRONLY, 0o600),
    );
    call::close(made);
    log.note(&Done::of("file.mkdir", &directory), call::mkdir(&text(&directory)?, 0o700));
    log.note(
        &Done::of("file.symlink", &looping).to(b"loop"),
        call::symlink(&text(b"loop")?, &text(&looping)?),
    );
    for path in [&missing, &below_missing, &below_file, &looping, &long] {
        log.note(&Done::of("file.open", path), call::open(&text(path)?, libc::O_RDONLY, 0));
    }
    log.note(&Done::of("file.open", &directory), call::open(&text(&directory)?, libc::O_WRONLY, 0));
    log.note(
        &Done::of("file.open", &file),
        call::open(&text(&file)?, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o600),
    );
    log.note(&Done::of("file.mkdir", &directory), call::mkdir(&text(&directory)?, 0o700));
    log.note(&Done::of("file.mkdir", &below_missing), call::mkdir(&text(&below_missing)?, 0o700));
    log.note(&Done::of("file.rmdir", &file), call::rmdir(&text(&file)?));
    log.note(&Done::of("file.rmdir", root), call::rmdir(&text(root)?));
    log.note(&Done::of("file.unlink", &directory), call::unlink(&text(&directory)?));
    log.note(&Done::of("file.unlink", &missing), call::unlink(&text(&missing)?));
    log.note(&Done::of("file.rename", &file).from(&missing), call::rename(&text(&missing)?, &text(&file)?));
    log.note(
        &Done::of("file.rename", &file).from(&directory),
        call::renameat2(
            i64::from(libc::AT_FDCWD),
            &text(&directory)?,
            i64::from(libc::AT_FDCWD),
            &text(&file)?,
            libc::RENAME_NOREPLACE,
        ),
    );
    log.note(&Done::of("file.link", &file).from(&missing), call::link(&text(&missing)?, &text(&file)?));
    log.note(&Done::of("file.symlink", &file).to(b"x"), call::symlink(&text(b"x")?, &text(&file)?));
    log.note(&Done::of("file.truncate", &missing), call::truncate(&text(&missing)?, 1));
    log.note(&Done::of("file.truncate", &directory), call::truncate(&text(&directory)?, 1));
    log.note(&Done::of("file.chmod", &missing), call::chmod(&text(&missing)?, 0o600));
    log.note(&Done::of("file.chown", &missing), call::chown(&text(&missing)?, 0, 0));
    log.note(&Done::of("file.create", &file), call::mknod(&text(&file)?, libc::S_IFIFO | 0o600));
    Ok(())
}

/// Path as bytes.
pub fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
