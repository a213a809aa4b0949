//! A thread that reads the kernel's maps: while it is inside such a call, the kernel runs no program of a perf event or
//! kprobe on that CPU (`bpf_disable_instrumentation`). Where it can be preempted there, every other program on the CPU goes
//! unseen until its turn comes again, so that it must not be.

/// While it lives, ordinary programs do not preempt the thread. Where that is not allowed, it changes nothing.
pub struct Unpreempted {
    raised: bool,
}

impl Unpreempted {
    pub fn begin() -> Self {
        // SAFETY: no pointer; 0 is the calling thread.
        let ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        Self { raised: ordinary && schedule(libc::SCHED_FIFO, 1) }
    }
}

impl Drop for Unpreempted {
    fn drop(&mut self) {
        if self.raised {
            schedule(libc::SCHED_OTHER, 0);
        }
    }
}

/// False: it is not allowed.
fn schedule(policy: libc::c_int, priority: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters live through the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn afterwards_the_thread_is_an_ordinary_one() {
        // SAFETY: no pointer.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let unpreempted = Unpreempted::begin();
        assert_eq!(policy() == libc::SCHED_FIFO, unpreempted.raised);
        drop(unpreempted);
        assert_eq!(policy(), before);
    }
}
