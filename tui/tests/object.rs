//! The committed object, read without a kernel: what the registry names is in it, and nothing else; its maps are as
//! wide as the shared types; its licence opens the helpers; no instruction leads into the panic handler; there is stack
//! for it on the oldest kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use fluoro::collect::object::OBJECT;
use fluoro::collect::program::{Alternative, Hook};
use fluoro::families::Family;
use fluoro_shared::drop::{DropFlowKey, DropKey};
use fluoro_shared::file::{FileCell, FileKey, RequestKey, Requests, Submitted};
use fluoro_shared::filter::{Config, Member};
use fluoro_shared::flow::FlowEntry;
use fluoro_shared::flow::udp::{DatagramCount, DatagramKey, DatagramOther, DatagramSocket};
use fluoro_shared::histogram::HistogramKey;
use fluoro_shared::inflight::Stamp;
use fluoro_shared::ledger::Counts;
use fluoro_shared::process::ProcessRecord;
use fluoro_shared::syscall::{Cell, CellKey, Control};
use fluoro_shared::wire::{LocalKey, WireCount, WireKey};

fn object() -> Object {
    Object::parse(OBJECT).expect("the object is one")
}

#[test]
fn registry_and_object_name_the_same_programs() {
    let listed: Vec<&str> = Family::ALL
        .iter()
        .flat_map(|family| family.programs())
        .flat_map(|program| {
            program.alternatives.iter().flat_map(Alternative::entries).collect::<BTreeSet<_>>()
        })
        .collect();
    let names: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(names.len(), listed.len(), "two programs share an entry point");
    let object = object();
    let present: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
    assert_eq!(names, present);
}

#[test]
fn each_entry_is_in_the_section_of_its_hook() {
    use aya_obj::ProgramSection as Section;
    let object = object();
    for alternative in Family::ALL.iter().flat_map(|f| f.programs()).flat_map(|p| p.alternatives) {
        for entry in alternative.entries() {
            let section = &object.programs.get(entry).unwrap().section;
            let fits = match alternative.hook {
                Hook::BtfTracepoint(_) => matches!(section, Section::BtfTracePoint),
                Hook::RawTracepoint(_) => matches!(section, Section::RawTracePoint),
                Hook::Fentry(_) | Hook::Fentries(_) => matches!(section, Section::FEntry { .. }),
                Hook::Fexit(_) | Hook::Fexits(_) => matches!(section, Section::FExit { .. }),
                Hook::Kprobe(_) | Hook::Kprobes(_) => matches!(section, Section::KProbe),
                Hook::Tracepoint(_) => matches!(section, Section::TracePoint),
                Hook::Iterator(_) => matches!(section, Section::Iter { sleepable: false }),
                Hook::PacketSocket => matches!(section, Section::SocketFilter),
                Hook::SocketGroup { .. } => matches!(section, Section::CgroupSkb { .. }),
            };
            assert!(fits, "{entry} is in {section:?}");
        }
    }
}

#[test]
fn maps_are_as_wide_as_the_shared_types() {
    let mut widths = vec![
        ("FILTER", 4, size_of::<Config>()),
        ("MEMBERS", size_of::<Member>(), 1),
        ("LEDGER", 4, size_of::<Counts>()),
        ("FLOWS", 8, size_of::<FlowEntry>()),
        ("FILES", size_of::<FileKey>(), size_of::<FileCell>()),
        ("URING", 8, size_of::<Submitted>()),
        ("REQUESTS", size_of::<RequestKey>(), size_of::<Requests>()),
        ("HISTOGRAMS", size_of::<HistogramKey>(), 8),
        ("DROPS", size_of::<DropKey>(), 8),
        ("DROPPED_FLOWS", size_of::<DropFlowKey>(), 8),
        ("WIRES", size_of::<WireKey>(), size_of::<WireCount>()),
        ("LOCALS", size_of::<LocalKey>(), 1),
        ("MINT", 4, 8),
        ("CELLS", size_of::<CellKey>(), size_of::<Cell>()),
        ("BLANK", 4, size_of::<Cell>()),
        ("CONTROL", 4, size_of::<Control>()),
        ("WINDOW", 4, 16),
        ("STAMPS", 4, size_of::<Stamp>()),
        ("COLLISIONS", 4, 8),
        ("RECOVERED", 4, 8),
        ("SPARED", 4, 4),
        ("SILENT_SEEN", 4, 4),
        ("DATAGRAMS", size_of::<DatagramKey>(), size_of::<DatagramCount>()),
        ("DATAGRAM_SOCKETS", 8, size_of::<DatagramSocket>()),
        ("DATAGRAMS_OTHER", 4, size_of::<DatagramOther>()),
    ];
    let rings: Vec<String> = (0..fluoro_shared::RINGS).map(|index| format!("RING{index}")).collect();
    widths.extend(rings.iter().map(|name| (name.as_str(), 0, 0)));
    let object = object();
    let mut seen = BTreeSet::new();
    for (name, key, value) in widths {
        let map = object.maps.get(name).unwrap_or_else(|| panic!("no map {name}"));
        assert_eq!((map.key_size() as usize, map.value_size() as usize), (key, value), "{name}");
        seen.insert(name);
    }
    // Scratch space holds any record; the rest are constants and what only the kernel side looks into.
    assert!(object.maps.get("SCRATCH").unwrap().value_size() as usize >= size_of::<ProcessRecord>());
    let others: BTreeSet<&str> = object
        .maps
        .keys()
        .map(String::as_str)
        .filter(|name| !seen.contains(name) && !name.starts_with(".rodata"))
        .collect();
    assert_eq!(
        others,
        BTreeSet::from([
            "CLOSED", "EXITED", "HANDED", "HERE", "LAST", "OWNERS", "PACKET", "REFUSED", "SCRATCH",
            "SENDERS", "SENT", "SIGHTS"
        ])
    );
}

#[test]
fn the_licence_opens_the_helpers() {
    assert_eq!(object().license.to_bytes(), b"Dual MIT/GPL");
}

/// The panic handler is a loop of one instruction, `goto -1`: the linker drops it unless something leads there.
#[test]
fn no_instruction_leads_into_the_panic_handler() {
    const GOTO: u8 = 0x05;
    let object = object();
    assert!(!object.functions.is_empty());
    for function in object.functions.values() {
        let stuck = function.instructions.iter().position(|i| i.code == GOTO && i.off == -1);
        assert_eq!(stuck, None, "{} loops for ever at that instruction", function.name);
    }
}

/// `MAX_BPF_STACK`: for a program and the functions that it is in at a time, each rounded up
/// (`check_max_stack_depth` in kernel/bpf/verifier.c). Newer kernels give some programs a stack of their own.
const STACK_MAX: u64 = 512;
const ROUNDED_TO: u64 = 32;

#[test]
fn no_program_needs_more_stack_than_the_oldest_kernel_has() {
    let mut object = object();
    let sections = object.functions.keys().map(|&(section, _)| section).collect();
    object.relocate_calls(&sections).unwrap();
    let mut deepest = 0;
    for (name, program) in &object.programs {
        let code = &object.functions.get(&program.function_key()).unwrap().instructions;
        let starts: BTreeSet<usize> =
            std::iter::once(0).chain((0..code.len()).filter_map(|at| callee(code, at))).collect();
        let depth = depth_of(code, &starts, 0);
        assert!(depth <= STACK_MAX, "{name} needs {depth} bytes of stack");
        deepest = deepest.max(depth);
    }
    assert!(deepest > STACK_MAX / 2, "only {deepest}: the frames are not found");
}

/// Where the function begins that this instruction calls.
fn callee(code: &[bpf_insn], at: usize) -> Option<usize> {
    const CALL: u8 = 0x85;
    const PSEUDO_CALL: u8 = 1;
    let call = code.get(at)?;
    (call.code == CALL && call.src_reg() == PSEUDO_CALL)
        .then(|| at.checked_add_signed(call.imm as isize + 1).unwrap())
}

/// Bytes of stack of the function that begins there and of what it calls.
fn depth_of(code: &[bpf_insn], starts: &BTreeSet<usize>, start: usize) -> u64 {
    const FRAME: u8 = 10;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let end = starts.range(start + 1..).next().copied().unwrap_or(code.len());
    let (mut lowest, mut below, mut copies) = (0_i64, 0, BTreeSet::new());
    for (at, i) in code.iter().enumerate().take(end).skip(start) {
        // Loads are of class 1, stores of 2 and 3.
        let touches = match i.code & 7 {
            1 => i.src_reg() == FRAME,
            2 | 3 => i.dst_reg() == FRAME,
            _ => false,
        };
        if touches {
            lowest = lowest.min(i64::from(i.off));
        } else if i.code == MOVE && i.src_reg() == FRAME {
            copies.insert(i.dst_reg());
        } else if i.code == ADD && copies.contains(&i.dst_reg()) {
            lowest = lowest.min(i64::from(i.imm));
        }
        if let Some(callee) = callee(code, at) {
            below = below.max(depth_of(code, starts, callee));
        }
    }
    lowest.unsigned_abs().max(1).next_multiple_of(ROUNDED_TO) + below
}
