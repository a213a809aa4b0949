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
