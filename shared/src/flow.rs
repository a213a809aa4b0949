//! `flow`: connections of the machine's sockets.

pub mod udp;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{Header, Task};

pub const KIND_OPEN: u16 = 1;
pub const KIND_CLOSE: u16 = 2;
pub const KIND_FAIL: u16 = 3;
pub const KIND_LISTEN: u16 = 4;
/// Not an event: the owner of an inbound connection that was announced before it was accepted.
pub const KIND_OWNER: u16 = 5;
pub const KIND_RETRANSMIT: u16 = 6;
pub const KIND_RESET: u16 = 7;
/// Not an event: who moves data now, and how long the first byte took.
pub const KIND_DATA: u16 = 8;

/// Records that are candidate output lines; the others supplement them.
pub const fn is_event(kind: u16) -> bool {
    kind != KIND_OWNER && kind != KIND_DATA && kind != udp::KIND_SOCKET_CLOSED
}

/// The kernel side had not seen the socket before this record.
pub const FLAG_UNTRACKED: u16 = 1 << 0;
/// Of a reset: this side sent it.
pub const FLAG_SENT: u16 = 1 << 1;
/// Bytes, round-trip time and retransmits are not filled in.
pub const FLAG_BARE: u16 = 1 << 2;

pub const DIRECTION_UNKNOWN: u8 = 0;
pub const DIRECTION_OUTBOUND: u8 = 1;
pub const DIRECTION_INBOUND: u8 = 2;
/// A listening socket.
pub const DIRECTION_NONE: u8 = 3;

/// Of a histogram: SYN_SENT to ESTABLISHED.
pub const WHAT_CONNECT: u16 = 1;
/// Of a histogram: ESTABLISHED to when the program took the first byte.
pub const WHAT_FIRST_BYTE: u16 = 2;
/// Of a histogram: the smoothed round-trip time that a connection had when it closed.
pub const WHAT_RTT: u16 = 3;
/// How a connection ended, as far as the hook can tell.
pub mod end {
    pub const UNKNOWN: u8 = 0;
    /// This side's FIN went first.
    pub const LOCAL: u8 = 1;
    /// The peer's FIN came first.
    pub const PEER: u8 = 2;
    pub const RESET_SENT: u8 = 3;
    pub const RESET_RECEIVED: u8 = 4;
    /// The kernel gave up: no answer to what it sent.
    pub const TIMEOUT: u8 = 5;
}

/// Ids minted by the kernel side have this bit; the kernel's own cookies never reach it.
pub const MINTED: u64 = 1 << 63;

/// One transition of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowRecord {
    pub header: Header,
    /// Who connected, accepted or listens; `start_ns` 0 when not known.
    pub owner: Task,
    pub id: u64,
    /// Application bytes acknowledged by the peer and received from it (SYN and FIN taken out).
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    /// ESTABLISHED to this record, ns; 0 when the beginning was not seen.
    pub duration_ns: u64,
    /// SYN_SENT to ESTABLISHED or failure, ns; 0 for inbound.
    pub connect_ns: u64,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: u32,
    pub retransmits: u32,
    pub netns: u32,
    /// Of a failure: errno. Of others: ESTABLISHED to when the program took the first byte, microseconds; 0 while it
    /// has not. One member for both: the stack of the kernel's programs is full.
    pub error_or_first_byte_us: u32,
    /// IPv6, or IPv4 as `::ffff:a.b.c.d`.
    pub local_address: [u8; 16],
    pub peer_address: [u8; 16],
    pub local_port: u16,
    pub peer_port: u16,
    pub direction: u8,
    /// The state left, as in `include/net/tcp_states.h`; of what is no transition, the state it is in.
    pub old_state: u8,
    /// Of a close: one of [`end`].
    pub end: u8,
    pub pad: u8,
}

const _: () = assert!(size_of::<FlowRecord>() == 168);

/// What the kernel side remembers of a socket, keyed by its address (which never leaves).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowEntry {
    pub owner: Task,
    pub id: u64,
    pub connect_at_ns: u64,
    pub established_at_ns: u64,
    /// As in [`FlowRecord`].
    pub first_byte_us: u32,
    /// When the last record told who moves data: `CLOCK_BOOTTIME` / 2^27 ns, modulo 2^32.
    pub told_at: u32,
    /// The process that it named.
    pub mover: u32,
    pub direction: u8,
    /// The state that the socket took with the last transition; an entry is of this socket only if it leaves that one.
    pub state: u8,
    pub flags: u8,
    /// Whose FIN went first, of [`end`].
    pub end: u8,
}

const _: () = assert!(size_of::<FlowEntry>() == 88);

impl FlowEntry {
    /// Of `flags`: the socket is older than the kernel side.
    pub const UNTRACKED: u8 = 1 << 0;
}

/// States of `include/net/tcp_states.h` that the bodies name.
pub mod state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
    pub const NEW_SYN_RECV: u8 = 12;
}
