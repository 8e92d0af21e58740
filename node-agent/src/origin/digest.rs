//! IO. What a process runs, by its content: BLAKE3 of the file that it was started from.
//!
//! Read through `/proc/PID/exe`, which is that file and no path: one that was replaced, renamed or
//! deleted since is still the one that runs. A file that was seen is known by device, inode, size and
//! both its times, so that each is read once. Nobody waits long for it: accepting waits a few
//! milliseconds at most, and a connection that comes meanwhile says that it was not taken.
//!
//! The file may lie on a file system that the workload serves itself. Nothing is asked of that while
//! a connection is accepted; reading it is done by a thread that may hang, of which there are one a
//! cgroup and a few in all. What such a file system gives to read need not be what it gave to run.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags, StatxTimestamp, statx};

use crate::model::{CgroupId, Digest, NotTaken, Pid};

/// The largest file that is read, bytes.
const LARGEST: u64 = 1 << 30;
/// How long accepting a connection waits for a file that is new.
const PATIENCE: Duration = Duration::from_millis(3);
/// How many files are remembered.
const KNOWN: usize = 1024;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// Read at once, bytes.
const PIECE: usize = 256 << 10;

/// A file as it is. What is written to it anew has other times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    device: (u32, u32),
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

/// Digests of the files that were seen.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    ready: HashMap<Stamp, Digest>,
    /// In the order in which they came.
    order: VecDeque<Stamp>,
    /// Whose file is being read.
    reading: HashSet<CgroupId>,
}

impl Digests {
    /// The digest of what this process runs. Waits a few milliseconds at most.
    ///
    /// Whether the process still is the one that is meant is the caller's to see, afterwards: a
    /// number that was given again is then noticed.
    pub(super) fn of(&self, pid: Pid, cgroup: CgroupId) -> Digest {
        let exe = format!("/proc/{pid}/exe");
        let Ok(stamp) = Stamp::of(CWD, &exe) else {
            return Digest::NotTaken(NotTaken::Unreadable);
        };
        if stamp.size > LARGEST {
            return Digest::NotTaken(NotTaken::Large);
        }
        {
            let mut known = self.lock();
            if let Some(digest) = known.ready.get(&stamp) {
                return digest.clone();
            }
            if known.reading.len() >= AT_ONCE || !known.reading.insert(cgroup) {
                return Digest::NotTaken(NotTaken::Late);
            }
        }
        let (tell, told) = sync_channel(1);
        let all = self.clone();
        let started = thread::Builder::new()
            .name("executable-digest".to_owned())
            .spawn(move || all.read(&exe, stamp, cgroup, &tell));
        if started.is_err() {
            self.lock().reading.remove(&cgroup);
            return Digest::NotTaken(NotTaken::Unreadable);
        }
        match told.recv_timeout(PATIENCE) {
            Ok(digest) => digest,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Digest::NotTaken(NotTaken::Late)
            }
        }
    }

    fn read(&self, exe: &str, stamp: Stamp, cgroup: CgroupId, tell: &SyncSender<Digest>) {
        let digest = match digest(exe, stamp) {
            Ok(Some(digest)) => digest,
            Ok(None) => Digest::NotTaken(NotTaken::Changed),
            Err(_) => Digest::NotTaken(NotTaken::Unreadable),
        };
        let mut known = self.lock();
        known.reading.remove(&cgroup);
        if matches!(digest, Digest::Blake3(_)) {
            known.keep(stamp, digest.clone());
        }
        drop(known);
        let _ = tell.send(digest); // who asked may have gone on
    }

    /// Nothing it guards is left half done by a panic.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn keep(&mut self, stamp: Stamp, digest: Digest) {
        if self.ready.insert(stamp, digest).is_none() {
            self.order.push_back(stamp);
        }
        while self.order.len() > KNOWN {
            if let Some(oldest) = self.order.pop_front() {
                self.ready.remove(&oldest);
            }
        }
    }
}

impl Stamp {
    /// Asks the kernel alone: a file system that is served by a process is not asked.
    fn of(dir: impl AsFd, path: &str) -> rustix::io::Result<Stamp> {
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::EMPTY_PATH;
        let about = statx(dir, path, flags, StatxFlags::BASIC_STATS)?;
        let time = |at: StatxTimestamp| (at.tv_sec, at.tv_nsec);
        Ok(Stamp {
            device: (about.stx_dev_major, about.stx_dev_minor),
            inode: about.stx_ino,
            size: about.stx_size,
            modified: time(about.stx_mtime),
            changed: time(about.stx_ctime),
        })
    }
}

/// `None`: it is another file by now, or was changed while it was read.
fn digest(exe: &str, stamp: Stamp) -> io::Result<Option<Digest>> {
    let file = File::open(exe)?;
    if Stamp::of(&file, "")? != stamp {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut read = 0;
    let mut source = (&file).take(LARGEST + 1);
    loop {
        let count = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(piece.get(..count).unwrap_or_default());
        read += count as u64;
    }
    let same = read == stamp.size && Stamp::of(&file, "")? == stamp;
    Ok(same.then(|| Digest::Blake3(hasher.finalize().to_hex().as_str().into())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command};
    use std::time::Instant;

    use super::*;

    struct Running(Child);

    impl Running {
        fn of(program: &Path, words: &[&str]) -> Running {
            let child = Command::new(program).args(words).spawn().unwrap();
            let running = Running(child);
            let exe = format!("/proc/{}/exe", running.0.id());
            let deadline = Instant::now() + Duration::from_secs(10);
            // Until it is what it was told to be.
            while fs::read_link(&exe).ok() == fs::read_link("/proc/self/exe").ok() {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(1));
            }
            running
        }

        /// Asked until it was not late.
        fn digest(&self, digests: &Digests) -> Digest {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let begun = Instant::now();
                let digest = digests.of(Pid(self.0.id()), CgroupId(1));
                assert!(begun.elapsed() < Duration::from_secs(1), "it waited");
                if digest != Digest::NotTaken(NotTaken::Late) || Instant::now() > deadline {
                    return digest;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn of_file(path: &Path) -> Digest {
        let hash = blake3::hash(&fs::read(path).unwrap());
        Digest::Blake3(hash.to_hex().as_str().into())
    }

    fn sleep() -> PathBuf {
        ["/usr/bin/sleep", "/bin/sleep"]
            .iter()
            .map(|path| fs::canonicalize(path).unwrap())
            .next()
            .unwrap()
    }

    #[test]
    fn it_is_of_what_runs_whatever_became_of_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let digests = Digests::default();
        let here = dir.path().join("tool");
        fs::copy(sleep(), &here).unwrap();
        let expected = of_file(&sleep());
        let running = Running::of(&here, &["60"]);
        assert_eq!(running.digest(&digests), expected);
        // Another program takes the path, and runs beside it.
        let other = dir.path().join("other");
        let mut bytes = fs::read(sleep()).unwrap();
        bytes.extend_from_slice(b"something else");
        fs::write(&other, bytes).unwrap();
        fs::set_permissions(&other, fs::metadata(&here).unwrap().permissions()).unwrap();
        fs::rename(&other, &here).unwrap();
        let second = Running::of(&here, &["60"]);
        assert_eq!(running.digest(&digests), expected);
        assert_eq!(second.digest(&digests), of_file(&here));
        assert_ne!(second.digest(&digests), expected);
        // Gone altogether, with nothing remembered.
        let replaced = of_file(&here);
        fs::remove_file(&here).unwrap();
        assert_eq!(second.digest(&Digests::default()), replaced);
        assert_eq!(running.digest(&Digests::default()), expected);
        // One that has ended has none.
        let pid = Pid(running.0.id());
        drop(running);
        assert_eq!(
            digests.of(pid, CgroupId(1)),
            Digest::NotTaken(NotTaken::Unreadable)
        );
    }

    #[test]
    fn of_a_script_it_is_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#!/bin/sh\nread line\n").unwrap();
        let mode = fs::metadata(sleep()).unwrap().permissions();
        fs::set_permissions(&script, mode).unwrap();
        let (input, _held) = io::pipe().unwrap();
        let child = Command::new(&script).stdin(input).spawn().unwrap();
        let running = Running(child);
        let shell = fs::canonicalize("/bin/sh").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_link(format!("/proc/{}/exe", running.0.id())).ok() != Some(shell.clone()) {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(running.digest(&Digests::default()), of_file(&shell));
    }

    #[test]
    fn what_is_large_is_late_or_too_large_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        fs::copy(sleep(), &large).unwrap();
        let digests = Digests::default();
        let file = File::options().write(true).open(&large).unwrap();
        // Sparse: what is behind the program is never loaded.
        file.set_len(LARGEST + 1).unwrap();
        drop(file);
        let running = Running::of(&large, &["60"]);
        assert_eq!(
            digests.of(Pid(running.0.id()), CgroupId(1)),
            Digest::NotTaken(NotTaken::Large)
        );
        drop(running);
        let file = File::options().write(true).open(&large).unwrap();
        file.set_len(256 << 20).unwrap();
        drop(file);
        let running = Running::of(&large, &["60"]);
        let begun = Instant::now();
        let first = digests.of(Pid(running.0.id()), CgroupId(1));
        assert!(begun.elapsed() < Duration::from_millis(500), "it waited");
        assert_eq!(first, Digest::NotTaken(NotTaken::Late));
        // Another one of the same workload is late while that is read.
        let small = Running::of(&sleep(), &["60"]);
        let other = digests.of(Pid(small.0.id()), CgroupId(1));
        assert_eq!(other, Digest::NotTaken(NotTaken::Late));
        assert_eq!(running.digest(&digests), of_file(&large));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut known = Known::default();
        for inode in 0..3 * KNOWN as u64 {
            let stamp = Stamp {
                device: (1, 1),
                inode,
                size: 1,
                modified: (0, 0),
                changed: (0, 0),
            };
            known.keep(stamp, Digest::Blake3("00".into()));
            known.keep(stamp, Digest::Blake3("00".into()));
        }
        assert_eq!((known.ready.len(), known.order.len()), (KNOWN, KNOWN));
    }
}
