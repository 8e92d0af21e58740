//! A subtree of the cgroup2 hierarchy for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// A subtree of its own; all in it is killed, and it is removed, when dropped.
pub struct Tree {
    mount: PathBuf,
    path: PathBuf,
}

/// Where cgroup2 is mounted; on hybrid hosts it stands beside the old hierarchies.
pub fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    });
    found.context("this machine has no cgroup2 mount, which labelling needs")
}

impl Tree {
    /// A new subtree directly under the mount.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mount = mount()?;
        let path = mount.join(format!("node-agent-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { mount, path })
    }

    /// Its path in the file system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path below the cgroup2 mount, as configuration names it.
    pub fn name(&self) -> String {
        self.path
            .strip_prefix(&self.mount)
            .expect("it was made below the mount")
            .to_string_lossy()
            .into_owned()
    }

    /// A cgroup below it, made when it is missing.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A process that was just killed leaves its cgroup a moment later.
        for _ in 0..400 {
            if remove(&self.path) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        println!(
            "{} could not be removed: something runs in it",
            self.path.display()
        );
    }
}

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
