//! Newtypes for everything that identifies or dates a fact.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype!(
    /// Thread group id (what user space calls a pid), in the host's pid namespace.
    Tgid(u32)
);
newtype!(
    /// Thread id, in the host's pid namespace.
    Tid(u32)
);
newtype!(
    /// Real user id.
    Uid(u32)
);
newtype!(
    /// Real group id.
    Gid(u32)
);
newtype!(
    /// Identity of a socket: the kernel's cookie, or an id minted by the kernel side (top bit set).
    FlowId(u64)
);
newtype!(
    /// kernfs node id of a cgroup directory, equal to the directory's inode number.
    CgroupId(u64)
);
newtype!(
    /// Inode number of a network namespace.
    NetnsId(u32)
);
newtype!(
    /// Nanoseconds of `CLOCK_BOOTTIME`: the clock of every event.
    BootTime(u64)
);
newtype!(
    /// Nanoseconds since the Unix epoch, UTC.
    WallTime(u64)
);

/// When a process started, in units of 10 ms since boot: the precision that /proc shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StartTime(pub u64);

impl StartTime {
    /// One unit in nanoseconds.
    pub const UNIT_NS: u64 = 10_000_000;

    /// The start time that /proc would show for `start_boottime` nanoseconds.
    pub const fn from_boot_ns(ns: u64) -> Self {
        Self(ns / Self::UNIT_NS)
    }

    /// As a point on the event clock.
    pub const fn boot_time(self) -> BootTime {
        BootTime(self.0.saturating_mul(Self::UNIT_NS))
    }
}

/// A process, told apart from every other that had or will have the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProcKey {
    pub tgid: Tgid,
    pub start: StartTime,
}

/// By the id of a connection. The kernel counts ids up: nobody chooses them so that they collide.
pub type ById<V> = HashMap<FlowId, V, BuildHasherDefault<Spread>>;

/// Spreads numbers that are counted up: by the golden ratio, the upper half folded down.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl BootTime {
    /// Nanoseconds from `earlier` to `self`, 0 when the clock seems to have gone backwards.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`, refreshed at each tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WallOffset(pub i64);

impl WallOffset {
    /// The wall time of a moment of the event clock.
    pub const fn wall(self, at: BootTime) -> WallTime {
        WallTime(at.0.saturating_add_signed(self.0))
    }
}
