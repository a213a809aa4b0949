//! The BTF reader over bytes that nobody checked: `cargo fuzz run btf` in `tui/`. The kernel's own, for a start:
//! `cp /sys/kernel/btf/vmlinux tui/fuzz/corpus/btf/`.
#![no_main]

use fluoro::collect::machine;
use fluoro::kernel::btf::{Btf, extract};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    ask(data);
    // Behind a good header, so that the types are reached at once: the first byte says where the strings begin.
    let Some((&share, rest)) = data.split_first() else { return };
    let types = rest.len() * usize::from(share) / 256;
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types, types, rest.len() - types] {
        bytes.extend_from_slice(&(word as u32).to_ne_bytes());
    }
    bytes.extend_from_slice(rest);
    ask(&bytes);
});

/// Everything that fluoro asks of a kernel's types.
fn ask(bytes: &[u8]) {
    let Ok(raw) = extract(bytes.to_vec()) else { return };
    let Ok(btf) = Btf::parse(&raw) else { return };
    let _ = machine::offsets(Some(&btf));
    let _ = machine::machine(Some(&btf), None, 2, 1024, true, 0);
    let _ = fluoro::kernel::drop_reasons::read(&btf);
    for name in ["s", "e", "f", "btf_trace_f"] {
        let _ = (btf.member_offset(name, "a.b"), btf.size_of(name), btf.func_proto(name), btf.id(name));
        let _ = btf.enum_values(name);
    }
}
