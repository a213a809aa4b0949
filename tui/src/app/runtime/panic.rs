//! A panic anywhere gives the terminal back before its message is printed, and ends the console.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::app::terminal::restore_now;

/// Installs the hook once; the value completes when some thread has panicked.
pub fn restore_terminal_on_panic() -> Arc<Notify> {
    static PANICKED: OnceLock<Arc<Notify>> = OnceLock::new();
    let panicked = PANICKED.get_or_init(|| {
        let panicked = Arc::new(Notify::new());
        let tell = Arc::clone(&panicked);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore_now();
            before(panic);
            tell.notify_one();
        }));
        panicked
    });
    Arc::clone(panicked)
}

/// A hook for tests: with `FLUORO_TEST_PANIC=1` in the environment the console panics after its first picture, which
/// proves on the shipped binary that terminal and kernel are left clean.
pub fn if_asked_for() {
    let asked = std::env::var_os("FLUORO_TEST_PANIC").is_some_and(|value| value == "1");
    assert!(!asked, "FLUORO_TEST_PANIC asks for a panic");
}
