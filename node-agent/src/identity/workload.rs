//! Reads a workload's token file, in the workload's own mount namespace.
//!
//! This needs privilege (another process's root directory), so it is one narrow function, `read`,
//! behind one type: facts the kernel stored and a path from the configuration go in, a secret comes
//! out. Everything the workload controls is treated as hostile: the directory tree (links that
//! point outside stay inside its root), the kind of file (a FIFO must not be waited for), its
//! size, and its speed (a filesystem in userspace may never answer).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, stat};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::model::{CgroupId, Pid, Secret};

/// The longest token anybody accepts, bytes (and one line end).
const LONGEST: u64 = 16 * 1024;
/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many reads one cgroup may have under way. A read that hangs keeps its place, so a workload
/// with a hanging filesystem locks out itself and nobody else. The next wait for a place.
const AT_ONCE: usize = 4;
/// How many of one cgroup may read or wait for it. More than any workload's logins at once.
const WAITING: usize = 256;

/// Why a token file gave no token.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenFileError {
    /// The process that dialled is gone.
    #[error("the process that dialled is gone, so its token file cannot be found; connect again")]
    Gone,
    /// The process is not in the cgroup that it dialled from.
    #[error(
        "the process that dialled is no longer in the cgroup it dialled from, so the token in its \
         files is not trusted; connect again"
    )]
    Moved,
    /// There is no such file.
    #[error("there is no token file {0} in the workload's filesystem; mount a token there")]
    Missing(PathBuf),
    /// It is not a regular file.
    #[error("{0} in the workload's filesystem is not a regular file; put the token in one")]
    NotAFile(PathBuf),
    /// It is too long.
    #[error("{0} in the workload's filesystem is longer than 16 KiB, which no token is")]
    TooLong(PathBuf),
    /// It is empty.
    #[error("{0} in the workload's filesystem is empty; its issuer has not written a token yet")]
    Empty(PathBuf),
    /// It is not text.
    #[error("{0} in the workload's filesystem is not text, so it is no token")]
    NotText(PathBuf),
    /// The path in the configuration is not absolute.
    #[error("{0} is not an absolute path; write the token file's path from the workload's root")]
    NotAbsolute(PathBuf),
    /// The agent may not look.
    #[error(
        "the agent may not look into the workload's files; it needs CAP_SYS_PTRACE and \
         CAP_DAC_READ_SEARCH"
    )]
    NotPermitted,
    /// The workload's filesystem does not answer.
    #[error("{0} was not read within 3 s: the filesystem that it is on does not answer")]
    Slow(PathBuf),
    /// Earlier reads for this workload hang.
    #[error("earlier reads of this workload's token are still waiting for its filesystem")]
    Busy,
    /// Anything else.
    #[error("{path} in the workload's filesystem cannot be read: {why}")]
    Io {
        /// The path in the workload's filesystem.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// The configuration names no file there.
    #[error("the configuration names no token file there; this is a mistake of the agent's own")]
    NotConfigured,
    /// The part of the agent that may look is gone.
    #[error("the part of the agent that reads token files does not answer; connect again")]
    NobodyToAsk,
}

/// Reads token files of workloads.
#[derive(Clone, Debug)]
pub struct TokenFiles {
    cgroup_root: PathBuf,
    under_way: Arc<Mutex<HashMap<CgroupId, Rows>>>,
}

/// One cgroup's reads.
#[derive(Clone, Debug)]
struct Rows {
    /// Those that read or wait.
    here: usize,
    /// Places to read.
    free: Arc<Semaphore>,
}

impl TokenFiles {
    /// `cgroup_root`: where cgroup2 is mounted, as the agent sees it.
    pub fn new(cgroup_root: PathBuf) -> Self {
        TokenFiles {
            cgroup_root,
            under_way: Arc::default(),
        }
    }

    /// The token in `path`, read in the mount namespace of the process that dialled, without its
    /// line end. `pid` and `cgroup` are what the connect hook stored: the process must still be in
    /// that cgroup.
    ///
    /// # Errors
    /// Each says what is wrong and the mend; none repeats what the file holds.
    pub async fn read(
        &self,
        pid: Pid,
        cgroup: CgroupId,
        path: &Path,
    ) -> Result<Secret<String>, TokenFileError> {
        let place = Place::take(Arc::clone(&self.under_way), cgroup).await?;
        let (cgroup_root, owned) = (self.cgroup_root.clone(), path.to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            let read = read(pid, cgroup, &owned, &cgroup_root);
            drop(place);
            read
        });
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(died)) => Err(TokenFileError::Io {
                path: path.to_owned(),
                why: died.to_string(),
            }),
            Err(_elapsed) => Err(TokenFileError::Slow(path.to_owned())),
        }
    }
}

/// One of the places that a cgroup has.
struct Place {
    _reads: OwnedSemaphorePermit,
    _here: Here,
}

/// That somebody of a cgroup reads or waits.
struct Here {
    under_way: Arc<Mutex<HashMap<CgroupId, Rows>>>,
    cgroup: CgroupId,
}

impl Place {
    /// A place as soon as one is free: many logins of one workload may come at once.
    async fn take(
        under_way: Arc<Mutex<HashMap<CgroupId, Rows>>>,
        cgroup: CgroupId,
    ) -> Result<Place, TokenFileError> {
        let free = {
            let mut all = under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = all.entry(cgroup).or_insert_with(|| Rows {
                here: 0,
                free: Arc::new(Semaphore::new(AT_ONCE)),
            });
            if rows.here >= WAITING {
                return Err(TokenFileError::Busy);
            }
            rows.here += 1;
            rows.free.clone()
        };
        let here = Here { under_way, cgroup };
        match tokio::time::timeout(PATIENCE, free.acquire_owned()).await {
            Ok(Ok(reads)) => Ok(Place {
                _reads: reads,
                _here: here,
            }),
            Ok(Err(_)) | Err(_) => Err(TokenFileError::Busy),
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = all.get_mut(&self.cgroup) {
            rows.here = rows.here.saturating_sub(1);
            if rows.here == 0 {
                all.remove(&self.cgroup);
            }
        }
    }
}

/// The privileged part. Blocks.
fn read(
    process: Pid,
    cgroup: CgroupId,
    path: &Path,
    cgroup_root: &Path,
) -> Result<Secret<String>, TokenFileError> {
    if !path.is_absolute() {
        return Err(TokenFileError::NotAbsolute(path.to_owned()));
    }
    let failed = |errno: Errno| match errno {
        Errno::SRCH => TokenFileError::Gone,
        Errno::NOENT | Errno::NOTDIR => TokenFileError::Missing(path.to_owned()),
        Errno::LOOP | Errno::NXIO => TokenFileError::NotAFile(path.to_owned()),
        Errno::ACCESS | Errno::PERM => TokenFileError::NotPermitted,
        other => TokenFileError::Io {
            path: path.to_owned(),
            why: io::Error::from(other).to_string(),
        },
    };

    // The pidfd pins the process; the directory opened after it is of the same process as long as
    // the pidfd says that it lives when all is done.
    let pid = i32::try_from(process.0)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(TokenFileError::Gone)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| match e {
        Errno::SRCH | Errno::INVAL => TokenFileError::Gone,
        other => failed(other),
    })?;
    let gone = |errno| match errno {
        Errno::NOENT => TokenFileError::Gone,
        other => failed(other),
    };
    let directory = format!("/proc/{process}");
    let directory = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(gone)?;
    still_in(&directory, cgroup, cgroup_root)?;
    let root = openat(
        &directory,
        "root",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(gone)?;
    let opened = openat2(
        &root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(failed)?;
    let token = read_opened(opened, path)?;
    // Again, because it may have moved while its files were read.
    still_in(&directory, cgroup, cgroup_root)?;
    if has_ended(&pidfd).map_err(failed)? {
        return Err(TokenFileError::Gone);
    }
    Ok(token)
}

fn read_opened(opened: OwnedFd, path: &Path) -> Result<Secret<String>, TokenFileError> {
    let named = || path.to_owned();
    let about = fstat(&opened).map_err(|errno| TokenFileError::Io {
        path: named(),
        why: io::Error::from(errno).to_string(),
    })?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(TokenFileError::NotAFile(named()));
    }
    // Room for all of it at once: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 3));
    File::from(opened)
        .take(LONGEST + 3)
        .read_to_end(&mut bytes)
        .map_err(|error| TokenFileError::Io {
            path: named(),
            why: error.to_string(),
        })?;
    let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let body = body.strip_suffix(b"\r").unwrap_or(body);
    if body.is_empty() {
        return Err(TokenFileError::Empty(named()));
    }
    if body.len() as u64 > LONGEST {
        return Err(TokenFileError::TooLong(named()));
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(TokenFileError::NotText(named())),
    }
}

/// Checks that the process is in the cgroup that the kernel stored when it dialled. Ids are
/// compared, not paths: a path can be made again.
fn still_in(
    directory: &OwnedFd,
    stored: CgroupId,
    cgroup_root: &Path,
) -> Result<(), TokenFileError> {
    let file = openat(
        directory,
        "cgroup",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|_| TokenFileError::Gone)?;
    let mut text = String::new();
    File::from(file)
        .take(64 * 1024)
        .read_to_string(&mut text)
        .map_err(|_| TokenFileError::Gone)?;
    let now = unified(&text)
        .and_then(|relative| stat(cgroup_root.join(relative)).ok())
        .map(|about| CgroupId(about.st_ino));
    // A cgroup that was removed or cannot be found is not the stored one.
    if now == Some(stored) {
        Ok(())
    } else {
        Err(TokenFileError::Moved)
    }
}

/// The cgroup2 path in the text of `/proc/PID/cgroup`, relative to the mount; also on hybrid
/// hosts. `None` when it lies outside what the agent sees.
fn unified(text: &str) -> Option<&Path> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = Path::new(path);
    let inside = path
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    inside.then_some(path)
}

fn has_ended(pidfd: &OwnedFd) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(poll(&mut fds, Some(&at_once))? > 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use tempfile::TempDir;

    use super::*;

    /// This process, as the connect hook would have stored it.
    #[derive(Clone, Copy)]
    struct Dialler {
        pid: Pid,
        cgroup: CgroupId,
    }

    /// A directory that stands for the cgroup2 mount, in which this process is in its real path.
    fn world() -> (TempDir, Dialler) {
        let root = tempfile::tempdir().unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let cgroup = root.path().join(unified(&own).unwrap());
        fs::create_dir_all(&cgroup).unwrap();
        let cgroup = CgroupId(fs::metadata(&cgroup).unwrap().ino());
        (
            root,
            Dialler {
                pid: Pid(std::process::id()),
                cgroup,
            },
        )
    }

    impl Dialler {
        async fn read(
            &self,
            files: &TokenFiles,
            path: &Path,
        ) -> Result<Secret<String>, TokenFileError> {
            files.read(self.pid, self.cgroup, path).await
        }
    }

    #[tokio::test]
    async fn a_token_is_read_without_its_line_end() {
        let (root, facts) = world();
        let files = TokenFiles::new(root.path().to_owned());
        let path = root.path().join("token");
        for (written, token) in [
            ("abc", "abc"),
            ("abc\n", "abc"),
            ("abc\r\n", "abc"),
            ("abc\n\n", "abc\n"),
        ] {
            fs::write(&path, written).unwrap();
            assert_eq!(facts.read(&files, &path).await.unwrap().expose(), token);
        }
        // As kubelet lays it out: the file is a link to a directory that is a link.
        fs::create_dir(root.path().join("..1")).unwrap();
        fs::write(root.path().join("..1/db"), "linked").unwrap();
        symlink("..1", root.path().join("..data")).unwrap();
        symlink("..data/db", root.path().join("db")).unwrap();
        let linked = facts.read(&files, &root.path().join("db")).await.unwrap();
        assert_eq!(linked.expose(), "linked");
    }

    #[tokio::test]
    async fn what_is_no_token_file_is_refused_and_never_waited_for() {
        let (root, facts) = world();
        let files = TokenFiles::new(root.path().to_owned());
        let at = |name: &str| root.path().join(name);
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("empty"), "\n").unwrap();
        fs::write(at("long"), vec![b'x'; LONGEST as usize + 1]).unwrap();
        fs::write(at("binary"), [0xff, 0xfe]).unwrap();
        symlink("/proc/self/root/etc/passwd", at("magic")).unwrap();
        let said = async |name: &str| facts.read(&files, &at(name)).await.unwrap_err();
        assert!(matches!(said("fifo").await, TokenFileError::NotAFile(_)));
        assert!(matches!(said("dir").await, TokenFileError::NotAFile(_)));
        assert!(matches!(said("empty").await, TokenFileError::Empty(_)));
        assert!(matches!(said("long").await, TokenFileError::TooLong(_)));
        assert!(matches!(said("binary").await, TokenFileError::NotText(_)));
        assert!(matches!(said("nothing").await, TokenFileError::Missing(_)));
        assert!(matches!(said("magic").await, TokenFileError::NotAFile(_)));
        let relative = facts.read(&files, Path::new("token")).await;
        assert!(matches!(relative, Err(TokenFileError::NotAbsolute(_))));
        assert!(
            files.under_way.lock().unwrap().is_empty(),
            "every place was given back"
        );
    }

    #[tokio::test]
    async fn a_process_that_moved_or_ended_has_no_token() {
        let (root, facts) = world();
        let files = TokenFiles::new(root.path().to_owned());
        let path = root.path().join("token");
        fs::write(&path, "abc").unwrap();
        let moved = Dialler {
            cgroup: CgroupId(facts.cgroup.0 + 1),
            ..facts
        };
        assert!(matches!(
            moved.read(&files, &path).await,
            Err(TokenFileError::Moved)
        ));

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = Dialler {
            pid: Pid(child.id()),
            ..facts
        };
        child.wait().unwrap();
        assert!(matches!(
            ended.read(&files, &path).await,
            Err(TokenFileError::Gone)
        ));
        let never = Dialler {
            pid: Pid(0),
            ..facts
        };
        assert!(matches!(
            never.read(&files, &path).await,
            Err(TokenFileError::Gone)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_workload_that_hangs_reads_locks_out_only_itself() {
        let (root, facts) = world();
        let files = TokenFiles::new(root.path().to_owned());
        let path = root.path().join("token");
        fs::write(&path, "abc").unwrap();
        let take = |cgroup| Place::take(Arc::clone(&files.under_way), cgroup);
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(take(facts.cgroup).await.unwrap());
        }
        assert!(matches!(
            facts.read(&files, &path).await,
            Err(TokenFileError::Busy)
        ));
        assert!(take(CgroupId(1)).await.is_ok());
        drop(held);
        assert!(facts.read(&files, &path).await.is_ok());
        assert!(files.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn many_logins_at_once_wait_for_each_other_but_not_without_end() {
        let (root, facts) = world();
        let files = TokenFiles::new(root.path().to_owned());
        let path = root.path().join("token");
        fs::write(&path, "abc").unwrap();
        let all = (0..WAITING).map(|_| {
            let (files, path) = (files.clone(), path.clone());
            tokio::spawn(async move { facts.read(&files, &path).await })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(one.await.unwrap().unwrap().expose(), "abc");
        }
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|_| Box::pin(Place::take(Arc::clone(&files.under_way), facts.cgroup)))
            .collect();
        let mut got = Vec::new();
        for one in &mut waiting {
            if let Ok(place) = tokio::time::timeout(Duration::from_millis(1), one).await {
                got.push(place.unwrap());
            }
        }
        assert_eq!(got.len(), AT_ONCE);
        let refused = facts.read(&files, &path).await;
        assert!(matches!(refused, Err(TokenFileError::Busy)), "{refused:?}");
    }

    #[test]
    fn the_cgroup2_line_is_found_also_on_hybrid_hosts() {
        for (text, path) in [
            ("0::/agents/claude\n", Some("agents/claude")),
            ("9:name=systemd:/x\n1:cpu:/y\n0::/z\n", Some("z")),
            ("0::/\n", Some("")),
            ("0::/../../other\n", None),
            ("1:cpu:/y\n", None),
            ("", None),
        ] {
            assert_eq!(unified(text), path.map(Path::new), "{text:?}");
        }
    }
}
