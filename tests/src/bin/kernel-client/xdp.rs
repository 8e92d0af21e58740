//! AF_XDP (Documentation/networking/af_xdp.rst), the sending half: frames go from shared memory to
//! the device's driver, past every queue and filter of the host's own side.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::calls;
use super::routes::PATIENCE;

const AF_XDP: i32 = 44;
const SOL_XDP: i32 = 283;
const MMAP_OFFSETS: i32 = 1;
const TX_RING: i32 = 3;
const UMEM_REG: i32 = 4;
const FILL_RING: i32 = 5;
const COMPLETION_RING: i32 = 6;
const TX_PAGE: i64 = 0x8000_0000;
const COPY: u16 = 1 << 1;

const CHUNK: usize = 4_096;
/// More than one connection's worth, so that no completion has to be awaited.
const CHUNKS: u32 = 16;

pub(super) struct Transmit {
    socket: OwnedFd,
    length: usize,
    memory: *mut u8,
    ring: *mut u8,
    producer: usize,
    descriptors: usize,
    sent: u32,
}

#[repr(C)]
struct Address {
    family: u16,
    flags: u16,
    index: u32,
    queue: u32,
    shared: u32,
}

impl Transmit {
    /// On the first queue of that device, by copy, which every driver has.
    pub(super) fn new(index: u32) -> io::Result<Transmit> {
        let socket = calls::socket(AF_XDP, libc::SOCK_RAW, 0)?;
        let memory = map(-1, CHUNK * CHUNKS as usize, 0)?;
        // Address, length, size of a chunk and headroom, flags.
        let area = [
            memory as u64,
            (CHUNK * CHUNKS as usize) as u64,
            CHUNK as u64,
            0,
        ];
        let area: Vec<u8> = area.iter().flat_map(|word| word.to_ne_bytes()).collect();
        calls::set(&socket, SOL_XDP, UMEM_REG, &area)?;
        for ring in [FILL_RING, COMPLETION_RING, TX_RING] {
            calls::set(&socket, SOL_XDP, ring, &CHUNKS.to_ne_bytes())?;
        }
        // Four numbers for each ring: receive, transmit, fill, completion.
        let mut offsets = [0_u8; 128];
        calls::get(&socket, SOL_XDP, MMAP_OFFSETS, &mut offsets)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&offsets[at * 8..at * 8 + 8]);
            u64::from_ne_bytes(bytes) as usize
        };
        let (producer, descriptors) = (number(4), number(6));
        let length = descriptors + CHUNKS as usize * 16;
        let ring = map(socket.as_raw_fd(), length, TX_PAGE)?;
        let address = Address {
            family: AF_XDP as u16,
            flags: COPY,
            index,
            queue: 0,
            shared: 0,
        };
        let until = Instant::now() + PATIENCE;
        loop {
            // SAFETY: the address lives until the call returns.
            let bound = unsafe {
                let at = ptr::from_ref(&address).cast();
                let length = size_of::<Address>() as libc::socklen_t;
                libc::bind(socket.as_raw_fd(), at, length)
            };
            if bound == 0 {
                break;
            }
            let error = io::Error::last_os_error();
            // The kernel takes a queue from who had it before a moment after his end.
            if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() > until {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Transmit {
            socket,
            length,
            memory,
            ring,
            producer,
            descriptors,
            sent: 0,
        })
    }

    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.sent == CHUNKS || frame.len() > CHUNK {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let at = u64::from(self.sent) * CHUNK as u64;
        // SAFETY: the chunk and the descriptor are within their mappings and used once; the kernel
        // reads them after the producer's number says so.
        unsafe {
            let chunk = self.memory.add(at as usize);
            ptr::copy_nonoverlapping(frame.as_ptr(), chunk, frame.len());
            let slot = self.ring.add(self.descriptors + self.sent as usize * 16);
            slot.cast::<u64>().write(at);
            slot.add(8).cast::<u32>().write(frame.len() as u32);
            slot.add(12).cast::<u32>().write(0);
            self.sent += 1;
            let producer = &*self.ring.add(self.producer).cast::<AtomicU32>();
            producer.store(self.sent, Ordering::Release);
            let kicked = libc::sendto(
                self.socket.as_raw_fd(),
                ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                ptr::null(),
                0,
            );
            if kicked < 0 {
                let error = io::Error::last_os_error();
                // Busy: it is sent with the next one.
                if error.raw_os_error() != Some(libc::EBUSY) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Transmit {
    fn drop(&mut self) {
        // Mapped, they keep the socket, and that the device's queue.
        // SAFETY: our own mappings, used no more.
        unsafe {
            libc::munmap(self.ring.cast(), self.length);
            libc::munmap(self.memory.cast(), CHUNK * CHUNKS as usize);
        }
    }
}

/// Memory of that file, or of nobody; it ends with the process.
fn map(fd: i32, length: usize, offset: i64) -> io::Result<*mut u8> {
    let mut flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    if fd < 0 {
        flags |= libc::MAP_ANONYMOUS;
    }
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, rights, flags, fd, offset) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(at.cast())
}
