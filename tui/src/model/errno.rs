//! Errors by name.

/// `ECONNREFUSED` and the like; what the kernel says to itself when a call is to be restarted has a name, too.
pub fn errno_name(code: i32) -> &'static str {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, OnceLock, PoisonError};
    static NAMES: OnceLock<Mutex<BTreeMap<i32, &'static str>>> = OnceLock::new();
    match code {
        512 => return "ERESTARTSYS",
        513 => return "ERESTARTNOINTR",
        514 => return "ERESTARTNOHAND",
        515 => return "ENOIOCTLCMD",
        516 => return "ERESTART_RESTARTBLOCK",
        _ => {}
    }
    let mut names = NAMES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(code).or_insert_with(|| {
        // Leaked once per errno, of which there are about 130.
        format!("{:?}", nix::errno::Errno::from_raw(code)).leak()
    })
}
