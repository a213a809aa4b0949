//! Attempts to connect that fail before the kernel begins a handshake, for want of a route or a permission: no socket
//! changes its state, and only the caller is told.

use aya_ebpf::{
    helpers::{
        bpf_ktime_get_boot_ns,
        generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
    },
    macros::{fexit, tracepoint},
    programs::{FExitContext, TracePointContext},
};
use fluoro_shared::flow::{DIRECTION_OUTBOUND, KIND_FAIL, state};

use super::{
    AF_INET, AF_INET6, blank, id, is_tcp,
    line::{Ends, Peer, emit_small},
};
use crate::{
    access::{Access, Helper, Kptr},
    machine::offset,
    task,
};

const EADDRNOTAVAIL: i64 = 99;

// int __inet_stream_connect(struct socket *sock, struct sockaddr *uaddr, int addr_len, int flags, int is_sendmsg)
#[fexit(function = "__inet_stream_connect")]
pub fn flow_unstarted_fexit(ctx: FExitContext) -> i32 {
    // What is returned stands behind the arguments.
    let (socket, address, result): (Kptr, Kptr, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(5));
    on_unstarted(socket, i64::from(result as i32), &|offset, bytes| {
        *bytes = Helper::read(address, offset);
    })
}

// syscalls:sys_exit_connect: descriptor and address are in the registers with which the call was made. Does not see
// io_uring.
#[tracepoint]
pub fn flow_unstarted_syscall(ctx: TracePointContext) -> u32 {
    // Field `ret` of every syscalls:sys_exit_* record.
    const RET: usize = 16;
    const EBADF: i64 = 9;
    const EFAULT: i64 = 14;
    const ENOTSOCK: i64 = 88;
    // SAFETY: inside the tracepoint's record.
    let Ok(result) = (unsafe { ctx.read_at::<i64>(RET) }) else { return 0 };
    // The descriptor is of no socket, or nobody could read the address.
    if result >= 0 || matches!(-result, EBADF | EFAULT | ENOTSOCK) {
        return 0;
    }
    // SAFETY: the current task has registers.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as Kptr;
    let fd: u64 = Helper::read(registers, offset!(regs_di));
    let address: u64 = Helper::read(registers, offset!(regs_si));
    on_unstarted(task::open_socket(i64::from(fd as u32)), result, &|offset, bytes| {
        // SAFETY: the helper writes as many bytes as there are, zeroes when the address is bad.
        unsafe {
            bpf_probe_read_user(
                bytes.as_mut_ptr().cast(),
                bytes.len() as u32,
                (address as Kptr).wrapping_add(offset as usize).cast(),
            );
        }
    }) as u32
}

/// `read` copies a part of the address that was to be connected to.
#[inline(always)]
fn on_unstarted(socket: Kptr, result: i64, read: &impl Fn(u32, &mut [u8; 4])) -> i32 {
    let sk: Kptr = Helper::read(socket, offset!(socket_sk));
    // A socket that has begun once has a sequence number; what comes of it then is told by its states, and so is an
    // attempt that found no port.
    if result >= 0
        || result == -EADDRNOTAVAIL
        || sk.is_null()
        || !is_tcp::<Helper>(sk)
        || Helper::read::<u8>(sk, offset!(sock_state)) != state::CLOSE
        || Helper::read::<u32>(sk, offset!(tcp_write_seq)) != 0
    {
        return 0;
    }
    let mut peer = Peer { port: 0, address: [0; 16] };
    let mut word = [0; 4];
    read(0, &mut word);
    let family = u16::from_ne_bytes([word[0], word[1]]);
    peer.port = u16::from_be_bytes([word[2], word[3]]);
    if family == AF_INET {
        peer.address[10] = 0xff;
        peer.address[11] = 0xff;
        read(4, &mut word);
        peer.address[12..16].copy_from_slice(&word);
    } else if family == AF_INET6 {
        read(8, &mut word);
        peer.address[0..4].copy_from_slice(&word);
        read(12, &mut word);
        peer.address[4..8].copy_from_slice(&word);
        read(16, &mut word);
        peer.address[8..12].copy_from_slice(&word);
        read(20, &mut word);
        peer.address[12..16].copy_from_slice(&word);
    } else {
        return 0;
    }
    let mut entry = blank(state::CLOSE, state::CLOSE);
    entry.owner = task::current::<Helper>();
    entry.id = id::<Helper>(sk);
    entry.direction = DIRECTION_OUTBOUND;
    // The record has one member for both.
    entry.first_byte_us = -result as u32;
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    emit_small::<Helper>(Ends::Attempt(sk, &peer), sk, &entry, KIND_FAIL, 0, state::CLOSE, now);
    0
}
