//! What every thread uses, written one behind the other into whoever reads the iterator. Nothing runs unless it is read.

use aya_ebpf::helpers::generated::bpf_seq_write;
use fluoro_shared::{
    offsets::ABSENT,
    process::{ThreadUse, UNKNOWN},
};

use crate::{
    access::{Access, Direct, Helper, Kptr},
    machine::{self, offset},
};

/// `struct bpf_iter__task`.
#[repr(C)]
pub struct Visit {
    meta: Kptr,
    task: Kptr,
}

/// Places of `MM_FILEPAGES`, `MM_ANONPAGES` and `MM_SHMEMPAGES` among the counters of pages; the third of four counts
/// what is swapped out.
const RESIDENT: [u32; 3] = [0, 1, 3];

// int bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task)
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn process_usage_iter(visit: *const Visit) -> i32 {
    // SAFETY: the kernel's context; the verifier knows both members.
    let (meta, task) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*visit).meta),
            core::ptr::read_volatile(&raw const (*visit).task),
        )
    };
    // After the last one.
    if task.is_null() {
        return 0;
    }
    let leader: Kptr = Direct::read(task, offset!(task_leader));
    let mut told = ThreadUse {
        start_ns: Direct::read(leader, offset!(task_start)),
        ran_ns: Direct::read(task, offset!(task_ran)),
        waited_ns: if offset!(task_waited) == ABSENT {
            UNKNOWN
        } else {
            Direct::read(task, offset!(task_waited))
        },
        tgid: Direct::read(task, offset!(task_tgid)),
        tid: Direct::read(task, offset!(task_pid)),
        ended_ran_ns: 0,
        resident_pages: 0,
        threads: 0,
    };
    if told.tid == told.tgid {
        let signal: Kptr = Direct::read(task, offset!(task_signal));
        told.ended_ran_ns = Direct::read(signal, offset!(signal_ended_ran));
        told.threads = u64::from(Direct::read::<u32>(signal, offset!(signal_threads)));
        told.resident_pages = resident(task);
    }
    // `meta` begins with the file.
    let file: Kptr = Direct::read(meta, 0);
    // SAFETY: so many bytes are there. Where they do not fit, the kernel has this thread visited again by the next read.
    unsafe {
        bpf_seq_write(
            file.cast_mut().cast(),
            (&raw const told).cast_mut().cast(),
            size_of::<ThreadUse>() as u32,
        )
    };
    0
}

/// As `/proc/PID/stat` adds them up: without what CPUs have not yet handed over.
#[inline(always)]
fn resident(task: Kptr) -> u64 {
    let (first, stride) = (machine::rss_first(), machine::rss_stride());
    // Of a kernel thread it is null, and what is read through it 0.
    let mm: Kptr = Direct::read(task, offset!(task_mm));
    let mut sum = 0;
    for place in RESIDENT {
        let at = first.wrapping_add(stride.wrapping_mul(place));
        // Before 6.2 they are an `atomic_long_t` each, which verifiers of that time do not follow into an array.
        let pages: i64 =
            if stride == size_of::<i64>() as u32 { Helper::read(mm, at) } else { Direct::read(mm, at) };
        if pages > 0 {
            sum += pages as u64;
        }
    }
    sum
}
