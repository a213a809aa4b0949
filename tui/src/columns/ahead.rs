//! Rows are looked at in order but lie anywhere: a crowd's are more than a processor's caches hold. Each is asked of the
//! memory a while before its turn.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::sync::Arc;

/// How many turns before.
pub const AHEAD: usize = 8;

/// The same rows, each fetched before its turn.
pub fn ahead<'a, R: 'a>(
    rows: impl Iterator<Item = &'a Arc<R>> + Clone,
) -> impl Iterator<Item = &'a Arc<R>> + Clone {
    let mut later = rows.clone().skip(AHEAD);
    rows.inspect(move |_| {
        if let Some(row) = later.next() {
            fetch(Arc::as_ptr(row));
        }
    })
}

/// Has the processor read the beginning of what lies there while it does something else. What is counted of an `Arc`
/// lies before it, in the same line or the one that comes with it.
#[inline]
pub fn fetch<R>(row: *const R) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..2 {
        // SAFETY: nothing is read that the program sees, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.cast::<i8>().wrapping_add(line * 64)) };
    }
}
