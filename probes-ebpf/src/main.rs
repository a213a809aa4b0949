//! fluoro's kernel programs. Each family is a file of thin entry points over shared bodies; the machinery that
//! they share stands beside them. Kernel addresses never leave this side.
#![no_std]
#![no_main]
// The target has no compare-and-swap, so `AtomicU64` offers no additions; the intrinsic compiles to one instruction.
#![allow(internal_features)]
#![feature(core_intrinsics)]

mod access;
mod dns;
mod drop;
mod file;
mod filter;
mod flow;
mod histogram;
mod inflight;
mod ledger;
mod machine;
mod path;
mod process;
mod ring;
mod syscall;
mod task;

/// The kernel's licence check reads this section.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A loop: the verifier refuses any program that could reach it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
