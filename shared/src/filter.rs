//! What user space asks the kernel side to leave out. Membership is necessary, never sufficient: user space
//! applies the whole expression again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const SET_PIDS: u32 = 1 << 0;
pub const SET_UIDS: u32 = 1 << 1;
/// Members are left out: groups known not to match. Ids are never used twice, and a group made later passes.
pub const OUT_CGROUPS: u32 = 1 << 2;
pub const SET_PORTS: u32 = 1 << 3;

pub const PACKETS_TCP: u32 = 1 << 0;
pub const PACKETS_UDP: u32 = 1 << 1;

/// Members of all sets together.
pub const MEMBERS_MAX: u32 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// `SET_*` bits: only members of these sets pass; `OUT_*` bits: members of these do not.
    pub sets: u32,
    /// Leave out this process; 0: none.
    pub own_tgid: u32,
    /// Not 0: nobody wants the stream now.
    pub muted: u32,
    /// `PACKETS_*` bits: no hook tells of these; packets count for them, whosever they are.
    pub packets: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Member {
    pub value: u64,
    /// One bit of the above.
    pub set: u32,
    pub pad: u32,
}

const _: () = assert!(size_of::<Config>() == 16);
const _: () = assert!(size_of::<Member>() == 16);
