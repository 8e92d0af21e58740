//! The directories of the hierarchy, watched and read.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::ATTRIBUTE;

/// What happened to a directory, by its path below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It appeared.
    Made(PathBuf),
    /// It went.
    Gone(PathBuf),
    /// Its attributes changed.
    Attributes(PathBuf),
    /// It became empty of processes, or no longer is.
    Populated(PathBuf),
    /// Changes were lost: everything is to be read again.
    Lost,
}

#[derive(Debug)]
enum Watched {
    Directory(PathBuf),
    Events(PathBuf),
}

/// The watches.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    notify: OwnedFd,
    watched: HashMap<i32, Watched>,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let notify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Tree { root: root.to_owned(), notify, watched: HashMap::new() })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.notify.as_fd()
    }

    /// Watches a directory and everything below it, each before it is read, and gives all their
    /// paths, from above to below. What is gone by now is left out.
    pub(super) fn grow(&mut self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let full = self.root.join(&path);
            let flags = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR
                | WatchFlags::DONT_FOLLOW;
            match inotify::add_watch(&self.notify, &full, flags) {
                Ok(watch) => {
                    self.watched.insert(watch, Watched::Directory(path.clone()));
                }
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
                Err(e) => return Err(e.into()),
            }
            found.push(path.clone());
            open.extend(children(&full).into_iter().map(|name| path.join(name)));
        }
        Ok(found)
    }

    /// Also tells when the cgroup becomes empty.
    pub(super) fn watch_events(&mut self, path: &Path) {
        let full = self.root.join(path).join("cgroup.events");
        if let Ok(watch) = inotify::add_watch(&self.notify, &full, WatchFlags::MODIFY) {
            self.watched.insert(watch, Watched::Events(path.to_owned()));
        }
    }

    /// All changes there are, without waiting.
    pub(super) fn changes(&mut self) -> io::Result<Vec<Change>> {
        let mut buffer = [MaybeUninit::uninit(); 8_192];
        let mut reader = inotify::Reader::new(self.notify.as_fd(), &mut buffer);
        let mut changes = Vec::new();
        let mut ended = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.push(Change::Lost);
                continue;
            }
            if what.contains(ReadFlags::IGNORED) {
                ended.push(event.wd());
                continue;
            }
            let name = event.file_name().map(|name| {
                use std::os::unix::ffi::OsStrExt;
                std::ffi::OsStr::from_bytes(name.to_bytes())
            });
            match (self.watched.get(&event.wd()), name) {
                (Some(Watched::Events(path)), _) => changes.push(Change::Populated(path.clone())),
                (Some(Watched::Directory(path)), Some(name))
                    if what.contains(ReadFlags::ISDIR) =>
                {
                    if what.contains(ReadFlags::CREATE) {
                        changes.push(Change::Made(path.join(name)));
                    } else if what.contains(ReadFlags::DELETE) {
                        changes.push(Change::Gone(path.join(name)));
                    }
                }
                (Some(Watched::Directory(path)), None) => {
                    changes.push(Change::Attributes(path.clone()));
                }
                (Some(Watched::Directory(_)), Some(_)) | (None, _) => {}
            }
        }
        for watch in ended {
            self.watched.remove(&watch);
        }
        Ok(changes)
    }

    /// The name the attribute gives. Where the directory belongs to neither root nor the agent's
    /// user, whoever owns it could call himself anything: then it does not count.
    pub(super) fn attribute(&self, path: &Path) -> Option<String> {
        let full = self.root.join(path);
        let mut value = [0; 256];
        let length = rustix::fs::getxattr(&full, ATTRIBUTE, &mut value[..]).ok()?;
        let name = std::str::from_utf8(value.get(..length)?).ok()?.trim();
        let owner = fs::metadata(&full).ok()?.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            tracing::warn!(
                cgroup = %full.display(), owner, workload = name,
                "the workload attribute is ignored: the cgroup belongs to neither root nor the agent"
            );
            return None;
        }
        Some(name.to_owned())
    }
}

/// The directories in a directory; none when it is gone.
pub(super) fn children(path: &Path) -> Vec<std::ffi::OsString> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name())
        .collect()
}
