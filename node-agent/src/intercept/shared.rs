//! IO. Memory that a file keeps: what one process wrote there is there for the next, however the
//! first one ended. Here because mapping takes `unsafe`, which stands in no other room.

#![expect(unsafe_code, reason = "mmap(2) and munmap(2)")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file's first words, mapped and shared. They are atomic, so that another process that maps the
/// same file can do no harm here but write nonsense.
#[derive(Debug)]
pub struct SharedWords {
    first: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through atomics only.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the file's first `count` words of eight bytes. The file must have them, and keep them:
    /// reading or writing what a file lost ends the process (SIGBUS), so it is one that nobody
    /// else may change.
    ///
    /// # Errors
    /// The file is shorter, or the system refuses.
    pub fn map(file: &File, count: usize) -> io::Result<Self> {
        let bytes = count
            .checked_mul(size_of::<AtomicU64>())
            .filter(|bytes| *bytes > 0)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let first = unsafe {
            mmap(
                null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let first = NonNull::new(first.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords { first, count })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is at least this long, page-aligned, readable and writable until it is
        // dropped, and any bytes are a valid AtomicU64.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: what was mapped, once; nothing borrows it any more.
        // It cannot fail for a mapping that is there, and nothing could be done about it.
        let _ = unsafe {
            munmap(
                self.first.as_ptr().cast(),
                self.count * size_of::<AtomicU64>(),
            )
        };
    }
}
