//! A place in the cgroup2 hierarchy for one world: a subtree of its own, so that nothing else on
//! this machine is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// A cgroup that goes, with all that is below it, when dropped.
pub(crate) struct Cgroup {
    path: PathBuf,
    kept: bool,
}

/// Where cgroup2 is mounted; also on hybrid hosts, where it stands beside the old hierarchies.
pub(crate) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    found(&mounts).context(
        "this machine has no cgroup2 mount, which labelling needs: \
         `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`",
    )
}

fn found(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

impl Cgroup {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = mount()?.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, kept: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // A process that just ended leaves its cgroup a moment later.
        for _ in 0..50 {
            if remove(&self.path) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!(
            "xtask: {} could not be removed: something runs in it",
            self.path.display()
        );
    }
}

/// Removes a cgroup and those below it; processes in them are ended first.
fn remove(path: &Path) -> bool {
    if !path.exists() {
        return true;
    }
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    fs::remove_dir(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_on_hybrid_hosts_too() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(found(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(found("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}
