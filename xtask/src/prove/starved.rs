//! Where the machine let programs wait for a CPU: an opening that nobody has accepted within 200 ms is told without its
//! owner, so a scenario that failed while a thread slept that much too long has shown nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a thread that only sleeps may oversleep.
pub const MOST: Duration = Duration::from_millis(100);

const NAP: Duration = Duration::from_millis(5);

/// A thread that sleeps, and how much too long it did at worst.
pub struct Starved {
    over: Arc<AtomicBool>,
    sleeper: JoinHandle<Duration>,
}

impl Starved {
    pub fn watch() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let sleeper = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                let began = Instant::now();
                thread::sleep(NAP);
                worst = worst.max(began.elapsed().saturating_sub(NAP));
            }
            worst
        });
        Self { over, sleeper }
    }

    /// Ends it.
    pub fn worst(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.sleeper.join().unwrap_or_default()
    }
}
