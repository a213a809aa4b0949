#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

/// BTF written by hand, type after type.
struct Build {
    types: Vec<u8>,
    strings: Vec<u8>,
    last: u32,
}

impl Build {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], last: 0 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// One type with its own data; its id.
    fn add(
        &mut self,
        name: &str,
        kind: u32,
        vlen: usize,
        flag: bool,
        size_or_type: u32,
        data: &[u32],
    ) -> u32 {
        let info = u32::from(flag) << 31 | kind << 24 | vlen as u32;
        for word in [self.name(name), info, size_or_type].iter().chain(data) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.last += 1;
        self.last
    }

    /// A structure or union; members are name, type and offset as the format has it.
    fn compound(&mut self, name: &str, kind: u32, flag: bool, members: &[(&str, u32, u32)]) -> u32 {
        let data: Vec<u32> = members.iter().flat_map(|&(name, of, at)| [self.name(name), of, at]).collect();
        self.add(name, kind, members.len(), flag, 64, &data)
    }

    fn bytes(&self, header: usize) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [header as u32, 0, types, types, strings] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.resize(header, 0);
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// A small kernel: a socket with anonymous parts, a bit field, a function, a tracepoint and enums.
fn small() -> Build {
    let mut b = Build::new();
    let int = b.add("int", kind::INT, 0, false, 4, &[32]);
    let inner = b.compound("", kind::STRUCT, false, &[("skc_daddr", int, 0), ("skc_rcv_saddr", int, 32)]);
    let choice = b.compound("", kind::UNION, false, &[("skc_addrpair", int, 0), ("", inner, 0)]);
    let common = b.compound("sock_common", kind::STRUCT, false, &[("skc_hash", int, 0), ("", choice, 64)]);
    let volatile = b.add("", kind::VOLATILE, 0, false, common, &[]);
    let typedef = b.add("common_t", kind::TYPEDEF, 0, false, volatile, &[]);
    let sock = b.compound("sock", kind::STRUCT, false, &[("pad", int, 0), ("__sk_common", typedef, 128)]);
    b.compound("flags", kind::STRUCT, true, &[("plain", int, 0), ("bits", int, 3 << 24 | 0x25)]);
    let ptr = b.add("", kind::PTR, 0, false, sock, &[]);
    let (ctx, arg) = (b.name("__data"), b.name("sk"));
    let proto = b.add("", kind::FUNC_PROTO, 2, false, int, &[ctx, 0, arg, ptr]);
    b.add("tcp_close", kind::FUNC, 1, false, proto, &[]);
    let pointer = b.add("", kind::PTR, 0, false, proto, &[]);
    b.add("btf_trace_sock_state", kind::TYPEDEF, 0, false, pointer, &[]);
    let (a, z) = (b.name("SOCK_DEAD"), b.name("SOCK_DONE"));
    b.add("sock_flags", kind::ENUM, 2, false, 4, &[a, 0, z, 1]);
    let big = b.name("BIG");
    b.add("wide", kind::ENUM64, 1, false, 8, &[big, 1, 2]);
    b.add("", kind::ARRAY, 0, false, 0, &[int, int, 4]);
    let label = b.name("label");
    b.add("", kind::DECL_TAG, 0, false, sock, &[label]);
    b
}

#[test]
fn members_are_found_through_anonymous_parts_and_modifiers() {
    for header in [24, 32] {
        let bytes = small().bytes(header);
        let btf = Btf::parse(&bytes).unwrap();
        let at = |outer, path| btf.member_offset(outer, path).map(|m| (m.byte_offset, m.bit_offset, m.bits));
        assert_eq!(at("sock", "__sk_common"), Some((16, 0, 0)));
        assert_eq!(at("sock_common", "skc_rcv_saddr"), Some((12, 0, 0)));
        assert_eq!(at("sock", "__sk_common.skc_rcv_saddr"), Some((28, 0, 0)));
        assert_eq!(at("flags", "bits"), Some((4, 5, 3)));
        assert_eq!((at("sock", "skc_rcv_saddr"), at("sock", "pad.x"), at("absent", "x")), (None, None, None));
        assert_eq!(btf.size_of("sock"), Some(64));
    }
}

#[test]
fn prototypes_are_found_by_function_and_by_tracepoint() {
    let bytes = small().bytes(24);
    let btf = Btf::parse(&bytes).unwrap();
    let names = |name| {
        let proto = btf.func_proto(name).unwrap();
        proto.params.into_iter().map(|param| param.name).collect::<Vec<_>>()
    };
    assert_eq!(names("tcp_close"), ["__data", "sk"]);
    assert_eq!(names("btf_trace_sock_state"), ["__data", "sk"]);
    assert!(btf.func_proto("sock").is_none() && btf.func_proto("common_t").is_none());
    assert!(btf.has_func("tcp_close") && !btf.has_func("btf_trace_sock_state"));
    assert_eq!((btf.id("tcp_close"), btf.id("sock")), (Some(11), None));
}

#[test]
fn what_programs_attach_to_keeps_its_number_alone() {
    let bytes = small().bytes(32);
    let btf = Btf::parse(&bytes).unwrap();
    let names = ["tcp_close", "btf_trace_sock_state", "sock", "absent"];
    let targets: Vec<_> = names.iter().flat_map(|name| btf.targets(name)).collect();
    let few = sparse(&targets);
    let few = Btf::parse(&few).unwrap();
    assert_eq!(names.map(|name| few.id(name)), names.map(|name| btf.id(name)));
    assert_eq!((few.id("tcp_close"), few.size_of("sock")), (Some(11), None));
    assert!(few.has_func("tcp_close") && Btf::parse(&sparse(&[])).is_ok());
}

#[test]
fn enums_of_both_widths_give_their_values() {
    let bytes = small().bytes(24);
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.enum_value("sock_flags", "SOCK_DONE"), Some(1));
    assert_eq!(btf.enum_value("wide", "BIG"), Some(2 << 32 | 1));
    assert_eq!(btf.enum_value("sock_flags", "BIG"), None);
}

#[test]
fn what_is_no_btf_is_refused_with_its_reason() {
    let good = small().bytes(24);
    let refused = |bytes: &[u8]| Btf::parse(bytes).err();
    assert_eq!(refused(b""), Some(BtfError::Magic));
    assert_eq!(refused(b"\xeb\x9f"), Some(BtfError::ByteOrder));
    assert_eq!(refused(&good[..14]), Some(BtfError::Truncated("header")));
    assert_eq!(refused(&good[..40]), Some(BtfError::Truncated("types")));
    assert_eq!(refused(&good[..good.len() - 1]), Some(BtfError::Truncated("strings")));
    let mut strange = Build::new();
    strange.add("new", 30, 0, false, 0, &[]);
    assert_eq!(refused(&strange.bytes(24)), Some(BtfError::Kind { id: 1, kind: 30 }));
    assert_eq!(extract(b"\x7fELF and nothing more".to_vec()), Err(BtfError::NoSection));
}

#[test]
fn a_structure_that_holds_itself_is_given_up_soon() {
    let mut b = Build::new();
    b.compound("loop", kind::STRUCT, false, &[("", 1, 0), ("", 1, 0), ("", 1, 0)]);
    b.add("turn", kind::TYPEDEF, 0, false, 2, &[]);
    let bytes = b.bytes(24);
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.member_offset("loop", "x"), None);
    assert!(btf.func_proto("turn").is_none());
}

/// Asks everything that can be asked.
fn ask(bytes: &[u8]) {
    let Ok(raw) = extract(bytes.to_vec()) else { return };
    let Ok(btf) = Btf::parse(&raw) else { return };
    for name in
        ["sock", "sock_common", "flags", "tcp_close", "btf_trace_sock_state", "sock_flags", "wide", ""]
    {
        let _ = btf.member_offset(name, "__sk_common.skc_rcv_saddr");
        let _ = btf.member_offset(name, "bits");
        let _ = (btf.size_of(name), btf.func_proto(name), btf.id(name), btf.has_func(name));
        let _ = btf.enum_values(name);
    }
}

/// An ELF file of one section.
fn elf(btf: &[u8]) -> Vec<u8> {
    let names = b"\0.BTF\0.shstrtab\0";
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(b"\x7fELF");
    let table = 64 + btf.len() + names.len();
    bytes[0x28..0x30].copy_from_slice(&(table as u64).to_ne_bytes());
    for (at, half) in [(0x3a, 64u16), (0x3c, 2), (0x3e, 1)] {
        bytes[at..at + 2].copy_from_slice(&half.to_ne_bytes());
    }
    bytes.extend_from_slice(btf);
    bytes.extend_from_slice(names);
    for (name, offset, len) in [(1u32, 64, btf.len()), (6, 64 + btf.len(), names.len())] {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(&name.to_ne_bytes());
        header[0x18..0x20].copy_from_slice(&(offset as u64).to_ne_bytes());
        header[0x20..0x28].copy_from_slice(&(len as u64).to_ne_bytes());
        bytes.extend_from_slice(&header);
    }
    bytes
}

#[test]
fn the_section_of_an_elf_file_is_taken_out() {
    let btf = small().bytes(24);
    assert_eq!(extract(elf(&btf)), Ok(btf.clone()));
    assert_eq!(extract(btf.clone()), Ok(btf));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        ask(&bytes);
        ask(&[b"\x9f\xeb\x01\x00", bytes.as_slice()].concat());
        ask(&[b"\x7fELF", bytes.as_slice()].concat());
    }

    #[test]
    fn any_types_behind_a_good_header_are_survived(
        types in proptest::collection::vec(any::<u8>(), 0..400),
        strings in "[a-z_\0]{0,60}",
    ) {
        ask(&Build { types, strings: strings.into_bytes(), last: 0 }.bytes(24));
    }

    #[test]
    fn damage_to_good_bytes_is_survived(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<proptest::sample::Index>(),
        in_elf in any::<bool>(),
    ) {
        let mut bytes = small().bytes(24);
        if in_elf {
            bytes = elf(&bytes);
        }
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        ask(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        ask(&bytes);
    }
}
