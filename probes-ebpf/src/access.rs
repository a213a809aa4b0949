//! Reading kernel memory, generic over the two ways: a direct load that the verifier checks against BTF (no
//! helper call, allowed under lockdown=confidentiality) and the probe-read helper.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_get_socket_cookie, bpf_probe_read_kernel,
    bpf_skc_to_tcp_sock,
};
use fluoro_shared::offsets::ABSENT;

use crate::machine::{self, offset};

/// A kernel address. Under [`Direct`] the verifier knows what it points to.
pub type Kptr = *const u8;

pub trait Access {
    /// Which of two global functions to call: they are compiled once for each way.
    const IS_DIRECT: bool;

    /// How to read what is reached through a pointer, and that pointer.
    type Behind: Access;

    /// Reads the member at `offset` of `base`; zero where the kernel has no such member.
    fn read<T: Copy>(base: Kptr, offset: u32) -> T;

    fn current_task() -> Kptr;

    /// The `tcp_sock` that a socket known to be TCP is; null on failure.
    fn tcp(sk: Kptr) -> Kptr;

    /// The socket's cookie, 0 when this way cannot ask for one that was never given.
    fn cookie(sk: Kptr) -> u64;
}

/// For BTF tracepoints and fentry from 5.11.
pub struct Direct;

/// For everything else.
pub struct Helper;

/// Beside [`Direct`], for what is reached through pointers and need not be quick: by the helper where that is allowed.
/// For each pointer that is loaded from one it trusts, the verifier looks up to four names among all types of the
/// kernel, one type after the other (`btf_nested_type_is_trusted`, from 6.2): that was half of what loading took.
pub struct Behind;

impl Access for Direct {
    const IS_DIRECT: bool = true;
    type Behind = Behind;

    #[inline(always)]
    fn read<T: Copy>(base: Kptr, offset: u32) -> T {
        if offset == ABSENT {
            return zero();
        }
        // SAFETY: a load that the verifier has checked; it faults to zero.
        unsafe { core::ptr::read_volatile(base.add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn current_task() -> Kptr {
        // SAFETY: no arguments.
        unsafe { bpf_get_current_task_btf().cast() }
    }

    #[inline(always)]
    fn tcp(sk: Kptr) -> Kptr {
        // SAFETY: sk is a BTF pointer to a socket.
        unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()).cast() }
    }

    #[inline(always)]
    fn cookie(sk: Kptr) -> u64 {
        if machine::socket_cookie() == 0 {
            return Self::read(sk, offset!(sock_cookie));
        }
        // SAFETY: sk is a BTF pointer to a socket.
        unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) }
    }
}

impl Access for Behind {
    const IS_DIRECT: bool = true;
    type Behind = Self;

    #[inline(always)]
    fn read<T: Copy>(base: Kptr, offset: u32) -> T {
        if machine::read_kernel() == 0 { Direct::read(base, offset) } else { Helper::read(base, offset) }
    }

    #[inline(always)]
    fn current_task() -> Kptr {
        if machine::read_kernel() == 0 { Direct::current_task() } else { Helper::current_task() }
    }

    #[inline(always)]
    fn tcp(sk: Kptr) -> Kptr {
        Direct::tcp(sk)
    }

    #[inline(always)]
    fn cookie(sk: Kptr) -> u64 {
        Direct::cookie(sk)
    }
}

impl Access for Helper {
    const IS_DIRECT: bool = false;
    type Behind = Self;

    #[inline(always)]
    fn read<T: Copy>(base: Kptr, offset: u32) -> T {
        if offset == ABSENT {
            return zero();
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes size_of::<T>() bytes, zeroes when the address is bad.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                base.wrapping_add(offset as usize).cast(),
            );
            value.assume_init()
        }
    }

    #[inline(always)]
    fn current_task() -> Kptr {
        // SAFETY: no arguments.
        unsafe { bpf_get_current_task() as Kptr }
    }

    #[inline(always)]
    fn tcp(sk: Kptr) -> Kptr {
        sk
    }

    #[inline(always)]
    fn cookie(sk: Kptr) -> u64 {
        Self::read(sk, offset!(sock_cookie))
    }
}

#[inline(always)]
fn zero<T: Copy>() -> T {
    // SAFETY: used with integers and raw pointers only.
    unsafe { MaybeUninit::zeroed().assume_init() }
}
