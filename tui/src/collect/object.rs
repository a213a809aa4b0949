//! The kernel programs, compiled beforehand (`cargo xtask ebpf build`) and embedded.

use std::sync::OnceLock;

/// The ELF object.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../assets/bpf/fluoro.bpf.o");

/// FNV-1a of the object, in hexadecimal: names the object in `--version` and in bug reports. The manifest beside
/// the object holds its SHA-256.
pub fn fingerprint() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let hash = OBJECT.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{hash:016x}")
    })
}
