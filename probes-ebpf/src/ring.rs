//! The way out: one ring buffer per CPU, up to eight.

use aya_ebpf::{
    helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    macros::map,
    maps::RingBuf,
};

use crate::machine;

/// `BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP`, `BPF_RB_AVAIL_DATA`.
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
const WAITING: u64 = 0;

macro_rules! rings {
    ($($name:ident)+) => {
        $(#[map]
        static $name: RingBuf = RingBuf::with_byte_size(4096, 0);)+
    };
}

rings!(RING0 RING1 RING2 RING3 RING4 RING5 RING6 RING7);

/// Copies `len` bytes at `record` into the ring of `cpu`. False: the ring is full.
///
/// The reader looks by itself, the oftener the more there is, and is woken only by the record with which a ring becomes
/// fuller than it should. A wakeup is an interrupt that comes while the program still runs; pending packets are handled
/// on its way out, and what they would trigger of the same program is skipped as recursion (3 in 100 closes on an
/// emulated machine, when every record woke).
#[inline(always)]
pub fn send(record: *const u8, len: u64, cpu: u32) -> bool {
    macro_rules! to {
        ($ring:ident) => {{
            let ring = (&raw const $ring).cast_mut().cast();
            let bell = u64::from(machine::ring_bell());
            // SAFETY: a map; the caller's record is readable for len bytes, which the verifier checks.
            unsafe {
                let waiting = bpf_ringbuf_query(ring, WAITING);
                let rings = waiting < bell && waiting + len >= bell;
                let flags = if rings { FORCE_WAKEUP } else { NO_WAKEUP };
                bpf_ringbuf_output(ring, record.cast_mut().cast(), len, flags) == 0
            }
        }};
    }
    match cpu & machine::ring_mask() & 7 {
        0 => to!(RING0),
        1 => to!(RING1),
        2 => to!(RING2),
        3 => to!(RING3),
        4 => to!(RING4),
        5 => to!(RING5),
        6 => to!(RING6),
        _ => to!(RING7),
    }
}
