//! IO. Names of unix sockets that are open to workloads: who can put another socket at one.
//!
//! The kernel's hook sees the name a workload writes into its call, and not the socket behind it. So
//! a name is as good as the directories that lead to it, as the workload sees them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, StatVfsMountFlags, fstat, fstatfs, fstatvfs,
    openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::process::{self, Capabilities};
use super::reason::Reason;
use crate::model::Pid;

/// Symbolic links followed on the way to one name, as the kernel's own limit.
const LINKS: usize = 40;
/// How long the directories of one process may take. They can be on a file system that its own user
/// serves, and never answers.
const PATIENCE: Duration = Duration::from_millis(500);
/// Looks that did not come back. With so many no other is begun.
const HANGING: usize = 8;
/// `PROC_SUPER_MAGIC`: what is in there is another thing for each process.
const PROC: i64 = 0x9fa0;

/// `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`: any of them writes to any directory, in the end.
const OVER_FILES: [u32; 3] = [0, 1, 3];
/// `CAP_SYS_CHROOT`, `CAP_SYS_ADMIN`: another root, or another mount, gives all names another meaning.
const OVER_NAMES: [u32; 2] = [18, 21];

/// Who would put something at a name.
#[derive(Clone, Debug, Default)]
struct Hand {
    user: u32,
    groups: Vec<u32>,
    /// It has a capability over files.
    over: bool,
}

/// A directory on the way.
struct Directory {
    owner: u32,
    group: u32,
    mode: RawMode,
    read_only: bool,
    /// Lists of access rights beside the mode: what they give to the group may be anybody's.
    listed: bool,
}

impl Hand {
    /// Nobody in particular: what is open to them is open to every workload.
    fn anybody() -> Self {
        Hand {
            user: u32::MAX - 1,
            ..Hand::default()
        }
    }

    /// May it put something else in the place of an entry, which belongs to `entry` if it is there?
    fn replaces(&self, directory: &Directory, entry: Option<u32>) -> bool {
        const STICKY: RawMode = 0o1000;
        if directory.read_only {
            return false;
        }
        // An owner can give itself any right.
        if self.over || directory.owner == self.user {
            return true;
        }
        let group = directory.listed || self.groups.contains(&directory.group);
        let writes = directory.mode & 0o002 != 0 || (group && directory.mode & 0o020 != 0);
        let kept = directory.mode & STICKY != 0 && entry.is_some_and(|owner| owner != self.user);
        writes && !kept
    }
}

/// The first directory on the way to a name in which the hand can put something else; `None`: there
/// is none.
fn replaceable(root: OwnedFd, name: &Path, hand: &Hand) -> io::Result<Option<PathBuf>> {
    let mut todo = parts(name);
    let mut at: Vec<(OwnedFd, OsString)> = vec![(root, OsString::new())];
    let mut links = 0_usize;
    while let Some(part) = todo.pop() {
        if part == ".." {
            if at.len() > 1 {
                at.pop();
            }
            continue;
        }
        let Some((here, _)) = at.last() else {
            return Ok(None);
        };
        let place = || at.iter().map(|(_, name)| name).collect::<PathBuf>();
        let place = || Path::new("/").join(place());
        let Some(directory) = facts(here.as_fd())? else {
            return Ok(Some(place()));
        };
        let entry = match statat(here, &part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(entry) => Some(entry),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        if hand.replaces(&directory, entry.as_ref().map(|entry| entry.st_uid)) {
            return Ok(Some(place()));
        }
        // Who makes what is missing must write here, and that is not this hand.
        let Some(entry) = entry else {
            return Ok(None);
        };
        match FileType::from_raw_mode(entry.st_mode) {
            FileType::Symlink => {
                links = links.saturating_add(1);
                if links > LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = readlinkat(here, &part, Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    at.truncate(1);
                }
                todo.extend(parts(&target));
            }
            FileType::Directory => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let next = openat(here, &part, flags, Mode::empty())?;
                at.push((next, part));
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

/// What is known of a directory; `None`: names in it stand for another thing for each who asks.
fn facts(directory: BorrowedFd<'_>) -> io::Result<Option<Directory>> {
    use std::os::fd::AsRawFd;
    let kind = i64::try_from(fstatfs(directory)?.f_type).unwrap_or_default();
    if kind == PROC {
        return Ok(None);
    }
    let about = fstat(directory)?;
    let mounted = fstatvfs(directory)?;
    // It is open by its path alone, and such lists are read by another.
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let listed = match rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0]) {
        Ok(length) => length > 0,
        Err(Errno::NODATA | Errno::OPNOTSUPP) => false,
        Err(_) => true,
    };
    Ok(Some(Directory {
        owner: about.st_uid,
        group: about.st_gid,
        mode: about.st_mode,
        read_only: mounted.f_flag.contains(StatVfsMountFlags::RDONLY),
        listed,
    }))
}

fn root(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Names that anybody of this host can put another socket at, with the directory where.
///
/// # Errors
/// A directory cannot be looked at; then nothing is known of that name.
pub fn open_to_anybody(name: &Path) -> io::Result<Option<PathBuf>> {
    replaceable(root("/")?, name, &Hand::anybody())
}

/// The names that are open to workloads, and the looks that hang.
#[derive(Debug, Default)]
pub(super) struct Names {
    paths: Arc<[PathBuf]>,
    hanging: Arc<AtomicUsize>,
}

impl Names {
    /// Abstract names belong to a network namespace, and to whoever is first there.
    pub(super) fn new(names: Vec<PathBuf>) -> Self {
        Names {
            paths: names.into(),
            hanging: Arc::default(),
        }
    }

    /// What this process could do about the names.
    pub(super) fn reasons(&self, pid: Pid) -> Vec<Reason> {
        if self.paths.is_empty() {
            return Vec::new();
        }
        let unjudged = |because: &str| {
            vec![Reason::UnixNames {
                name: "what guard.unix_allow names".to_owned(),
                because: because.to_owned(),
            }]
        };
        let Some(may) = process::credentials(pid) else {
            return Vec::new(); // it ended
        };
        if OVER_NAMES.iter().any(|one| may.permitted.has(*one)) {
            return unjudged("it may mount or take another root");
        }
        if !may.filtered && namespaces_are_open() {
            return unjudged("it may make a user namespace and mount there");
        }
        if self.hanging.load(Ordering::Acquire) >= HANGING {
            return unjudged("earlier looks at file systems of workloads still hang");
        }
        let hand = hand(pid, may.permitted);
        let (paths, hanging) = (Arc::clone(&self.paths), Arc::clone(&self.hanging));
        let (tell, told) = mpsc::sync_channel(1);
        hanging.fetch_add(1, Ordering::AcqRel);
        let looks = std::thread::Builder::new()
            .name("unix-names".into())
            .spawn(move || {
                let found = paths.iter().filter_map(|name| judge(pid, name, &hand));
                let found: Vec<Reason> = found.collect();
                hanging.fetch_sub(1, Ordering::AcqRel);
                // Nobody waits any more.
                let _ = tell.send(found);
            });
        if let Err(error) = looks {
            self.hanging.fetch_sub(1, Ordering::AcqRel);
            return unjudged(&error.to_string());
        }
        told.recv_timeout(PATIENCE)
            .unwrap_or_else(|_| unjudged("a file system on the way to it does not answer"))
    }
}

fn judge(pid: Pid, name: &Path, hand: &Hand) -> Option<Reason> {
    let found = root(&format!("/proc/{pid}/root")).and_then(|at| replaceable(at, name, hand));
    let because = match found {
        Ok(None) => return None,
        Ok(Some(at)) => format!("it can put something else in {}", at.display()),
        // A process that ends is not looked at again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => format!("what leads to it cannot be looked at ({error})"),
    };
    Some(Reason::UnixNames {
        name: name.display().to_string(),
        because,
    })
}

/// Whose rights count for its files.
fn hand(pid: Pid, permitted: Capabilities) -> Hand {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = |name: &str| -> Vec<u32> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let words = line.unwrap_or_default().split_ascii_whitespace();
        words.filter_map(|number| number.parse().ok()).collect()
    };
    let mut groups = numbers("Groups");
    groups.extend(numbers("Gid"));
    Hand {
        // What cannot be read is taken for root.
        user: numbers("Uid").last().copied().unwrap_or(0),
        groups,
        over: OVER_FILES.iter().any(|one| permitted.has(*one)),
    }
}

/// May whoever asks make user namespaces? A filter of system calls may still forbid it.
fn namespaces_are_open() -> bool {
    let says = |name: &str, shut: &str| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|value| value.trim() == shut)
    };
    !(says("user/max_user_namespaces", "0")
        || says("kernel/unprivileged_userns_clone", "0")
        || says("kernel/apparmor_restrict_unprivileged_userns", "1"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// The directories of a test, as if they began at a root.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Place(tempfile::tempdir().unwrap());
            place.mode("", 0o755);
            place
        }

        fn directory(&self, name: &str, mode: u32) {
            fs::create_dir(self.0.path().join(name)).unwrap();
            self.mode(name, mode);
        }

        fn mode(&self, name: &str, mode: u32) {
            let at = self.0.path().join(name);
            fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn by(&self, hand: &Hand, name: &str) -> Option<String> {
            let at = root(self.0.path().to_str().unwrap()).unwrap();
            let found = replaceable(at, Path::new(name), hand).unwrap();
            found.map(|at| at.display().to_string())
        }
    }

    #[test]
    fn a_name_is_as_good_as_every_directory_on_the_way_to_it() {
        let place = Place::new();
        place.directory("run", 0o755);
        place.directory("run/app", 0o755);
        place.directory("run/open", 0o777);
        place.directory("run/open/deep", 0o755);
        place.directory("tmp", 0o1777);
        place.directory("tmp/kept", 0o755);
        let at = |name: &str| place.0.path().join(name);
        fs::write(at("run/app/sock"), "").unwrap();
        symlink("run", at("var")).unwrap();
        symlink("/run/open", at("run/app/link")).unwrap();
        symlink("../open/x", at("run/app/up")).unwrap();
        symlink("round", at("run/round")).unwrap();
        let anybody = Hand::anybody();
        for (name, want) in [
            ("/run/app/sock", None),
            ("/run/app/missing", None),
            ("/run/nowhere/sock", None),
            ("/var/app/sock", None),
            ("/run/open/sock", Some("/run/open")),
            ("/run/open/deep/sock", Some("/run/open")),
            // Whither a link leads counts, not where it lies.
            ("/run/app/link/sock", Some("/run/open")),
            ("/run/app/up", Some("/run/open")),
            ("/var/open/sock", Some("/run/open")),
            // What is there belongs to another, and what is not is anybody's.
            ("/tmp/kept/sock", None),
            ("/tmp/sock", Some("/tmp")),
            ("/run/app/../../tmp/sock", Some("/tmp")),
            ("/../../run/app/sock", None),
        ] {
            assert_eq!(place.by(&anybody, name).as_deref(), want, "{name}");
        }
        let at_root = root(place.0.path().to_str().unwrap()).unwrap();
        let round = replaceable(at_root, Path::new("/run/round/x"), &anybody);
        assert!(round.is_err(), "{round:?}");
    }

    #[test]
    fn an_owner_a_group_and_who_has_power_over_files_put_what_they_like() {
        let place = Place::new();
        place.directory("run", 0o775);
        let about = fs::metadata(place.0.path().join("run")).unwrap();
        let owner = Hand {
            user: about.uid(),
            ..Hand::default()
        };
        let member = Hand {
            groups: vec![about.gid()],
            ..Hand::anybody()
        };
        let over = Hand {
            over: true,
            ..Hand::anybody()
        };
        assert_eq!(place.by(&owner, "/run/x").as_deref(), Some("/"));
        assert_eq!(place.by(&member, "/run/x").as_deref(), Some("/run"));
        assert_eq!(place.by(&over, "/run/x").as_deref(), Some("/"));
        assert_eq!(place.by(&Hand::anybody(), "/run/x"), None);
        // Its names are another's in each process.
        let proc = replaceable(
            root("/").unwrap(),
            Path::new("/proc/self/x"),
            &Hand::anybody(),
        );
        assert_eq!(proc.unwrap(), Some(PathBuf::from("/proc")));
    }
}
