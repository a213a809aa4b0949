//! A ring buffer of the kernel (`BPF_MAP_TYPE_RINGBUF`), laid out as in `kernel/bpf/ringbuf.c`: a page with the reader's
//! position, one with the writers', and the records, each behind a head with its length.
//!
//! The kernel offers the records twice in a row, so that none is torn at the end. Of the second copy only as much is mapped
//! as one record can reach into: what is mapped counts as this process's memory.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::libc::c_void;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};

/// More than any record has, its head included.
const RECORD_MAX: usize = 64 << 10;

/// `BPF_RINGBUF_HDR_SZ`; records are padded to as much.
const HEAD: u64 = 8;

/// `BPF_RINGBUF_BUSY_BIT`: the record is still being written.
const BUSY: u32 = 1 << 31;

/// `BPF_RINGBUF_DISCARD_BIT`: its writer thought better of it.
const DISCARDED: u32 = 1 << 30;

/// The reader's end. There is one a ring.
pub struct Ring {
    reader: Mapping,
    /// The writers' position, then the records.
    writers: Mapping,
    page: usize,
    /// Bytes of records; a power of two.
    size: u64,
    /// Bytes taken out since the ring was made, modulo 2^64.
    position: u64,
}

impl Ring {
    /// Of the map `ring` with room for `size` bytes, a power of two and of whole pages.
    pub fn open(ring: impl AsFd, size: u32) -> nix::Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.map_or(4096, |bytes| bytes as usize);
        let copied = RECORD_MAX.min(size as usize);
        let reader = Mapping::new(&ring, page, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, 0)?;
        let writers = Mapping::new(&ring, page + size as usize + copied, ProtFlags::PROT_READ, page)?;
        let mut ring = Self { reader, writers, page, size: u64::from(size), position: 0 };
        ring.position = ring.read().load(Ordering::Acquire);
        Ok(ring)
    }

    /// Bytes that wait, heads included.
    pub fn waiting(&self) -> u64 {
        self.written().load(Ordering::Acquire).wrapping_sub(self.position)
    }

    /// Hands the records that are there, and those that come meanwhile, to `sink`. How many.
    pub fn drain(&mut self, mut sink: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        while self.waiting() > 0 {
            let at = (self.position & (self.size - 1)) as usize;
            // SAFETY: heads are aligned to eight bytes, inside the mapping, and written atomically.
            let head = unsafe { self.record(at).cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if head & BUSY != 0 {
                break;
            }
            let len = (head & !DISCARDED) as usize;
            if head & DISCARDED == 0 {
                assert!(len + HEAD as usize <= RECORD_MAX, "a record of {len} bytes");
                // SAFETY: inside the mapping, as just seen, and in a ring smaller than that no record is larger than the
                // ring; nobody writes to it until the position is past it.
                sink(unsafe { std::slice::from_raw_parts(self.record(at + HEAD as usize).as_ptr(), len) });
                records += 1;
            }
            self.position = self.position.wrapping_add((len as u64).next_multiple_of(HEAD) + HEAD);
            self.read().store(self.position, Ordering::Release);
        }
        records
    }

    fn read(&self) -> &AtomicU64 {
        // SAFETY: the page begins with this position, and its mapping lives as long as self.
        unsafe { self.reader.start.cast().as_ref() }
    }

    fn written(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { self.writers.start.cast().as_ref() }
    }

    /// Where the record that begins so many bytes behind the first lies.
    fn record(&self, at: usize) -> NonNull<u8> {
        // SAFETY: positions are smaller than the size, and more than that is mapped behind the page.
        unsafe { self.writers.start.cast::<u8>().add(self.page + at) }
    }
}

struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: nothing but this owns it, and it is the same on all threads.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(of: &impl AsFd, bytes: usize, access: ProtFlags, offset: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(bytes).ok_or(nix::Error::EINVAL)?;
        // SAFETY: a new mapping where the kernel has room for it.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, of, offset as i64)? };
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    const SIZE: u64 = 128 << 10;

    /// A file with the layout of a ring, its position so far before the end of the first round.
    fn file(before_end: u64) -> (File, u64) {
        let page = sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64;
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * page + 2 * SIZE).unwrap();
        for position in [0, page] {
            file.write_all_at(&(SIZE - before_end).to_ne_bytes(), position).unwrap();
        }
        (file, page)
    }

    /// Writes as the kernel does: what lies behind the end of the records lies at their beginning, too.
    fn put(file: &File, page: u64, position: u64, head: u32, content: &[u8]) {
        let mut bytes = head.to_ne_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(content);
        let at = 2 * page + position % SIZE;
        file.write_all_at(&bytes, at).unwrap();
        let end = position + (content.len() as u64).next_multiple_of(HEAD) + HEAD;
        file.write_all_at(&end.to_ne_bytes(), page).unwrap();
    }

    fn taken(ring: &mut Ring) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        ring.drain(|record| all.push(record.to_vec()));
        all
    }

    #[test]
    fn a_record_that_reaches_over_the_end_is_whole() {
        let (file, page) = file(24);
        let mut ring = Ring::open(&file, SIZE as u32).unwrap();
        assert_eq!((ring.waiting(), taken(&mut ring)), (0, vec![]));
        put(&file, page, SIZE - 24, 40, &[7; 40]);
        assert_eq!(ring.waiting(), 48);
        assert_eq!(taken(&mut ring), [vec![7; 40]]);
        put(&file, page, SIZE + 24, 5, b"first");
        put(&file, page, SIZE + 40, 6, b"second");
        assert_eq!(taken(&mut ring), [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!((ring.waiting(), taken(&mut ring)), (0, vec![]));
    }

    #[test]
    fn what_is_being_written_is_waited_for_and_what_was_given_up_is_passed_over() {
        let (file, page) = file(SIZE);
        let mut ring = Ring::open(&file, SIZE as u32).unwrap();
        put(&file, page, 0, 3 | DISCARDED, b"not");
        put(&file, page, 16, 3 | BUSY, b"yet");
        put(&file, page, 32, 5, b"later");
        assert_eq!(taken(&mut ring), Vec::<Vec<u8>>::new());
        file.write_all_at(&3_u32.to_ne_bytes(), 2 * page + 16).unwrap();
        assert_eq!(taken(&mut ring), [b"yet".to_vec(), b"later".to_vec()]);
    }
}
