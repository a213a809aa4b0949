//! The way out: one ring buffer per CPU, up to eight.

use aya_ebpf::{helpers::generated::bpf_ringbuf_output, macros::map, maps::RingBuf};

use crate::machine;

const NO_WAKEUP: u64 = 1;

macro_rules! rings {
    ($($name:ident)+) => {
        $(#[map]
        static $name: RingBuf = RingBuf::with_byte_size(4096, 0);)+
    };
}

rings!(RING0 RING1 RING2 RING3 RING4 RING5 RING6 RING7);

/// Copies `len` bytes at `record` into the ring of `cpu`. False: the ring is full.
///
/// Nobody is woken: the reader looks by itself many times a second. A wakeup is an interrupt that comes while the
/// program still runs; pending packets are handled on its way out, and what they would trigger of the same program is
/// skipped as recursion (3 in 100 closes on an emulated machine).
#[inline(always)]
pub fn send(record: *const u8, len: u64, cpu: u32) -> bool {
    macro_rules! to {
        ($ring:ident) => {
            // SAFETY: the caller's record is readable for len bytes, which the verifier checks.
            unsafe {
                bpf_ringbuf_output(
                    (&raw const $ring).cast_mut().cast(),
                    record.cast_mut().cast(),
                    len,
                    NO_WAKEUP,
                ) == 0
            }
        };
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
