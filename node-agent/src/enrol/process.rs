//! IO. What /proc says of one process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::Pid;

/// The capabilities of capabilities(7), by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities(pub(super) u64);

impl Capabilities {
    pub(super) fn has(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }
}

/// What a process is allowed, as `/proc/PID/status` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    /// What it has, or may take for itself at any moment.
    pub(super) permitted: Capabilities,
    /// The user whose rights count for files.
    pub(super) fsuid: u32,
    /// A seccomp filter is installed.
    pub(super) filtered: bool,
}

/// When a process started, in clock ticks since boot: with its number, its identity. `None` for
/// one that has ended, also when nobody took note yet: it holds nothing and does nothing.
pub(super) fn started(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    read_started(&stat)
}

fn read_started(stat: &str) -> Option<u64> {
    // The name may hold anything; what follows its last parenthesis is fixed.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

pub(super) fn name(pid: Pid) -> String {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let text = String::from_utf8_lossy(&comm);
    // The workload's own to choose: nothing of it may steer a terminal or a log.
    text.trim_end()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Its place in the cgroup2 hierarchy, absolute.
pub(super) fn cgroup(pid: Pid) -> Option<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = table.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A cgroup that was removed under its processes is shown with this mark.
    Some(PathBuf::from(path.trim_end_matches(" (deleted)")))
}

/// The inode of one of its namespaces: `net`, `pid`, `user`, `mnt`.
pub(super) fn namespace(pid: Pid, which: &str) -> Option<u64> {
    inode(&format!("/proc/{pid}/ns/{which}"))
}

/// The same of this process.
pub(super) fn own_namespace(which: &str) -> Option<u64> {
    inode(&format!("/proc/self/ns/{which}"))
}

fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|facts| facts.ino())
}

/// Its threads, the process itself among them.
pub(super) fn threads(pid: Pid) -> Vec<u32> {
    numbers(Path::new(&format!("/proc/{pid}/task")))
}

/// Its children.
pub(super) fn children(pid: Pid) -> Vec<Pid> {
    threads(pid)
        .into_iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace()
                .filter_map(|n| n.parse().ok().map(Pid))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The entries of a directory that are numbers.
pub(super) fn numbers(directory: &Path) -> Vec<u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Of all its threads together: any of them can act for the process.
pub(super) fn credentials(pid: Pid) -> Option<Credentials> {
    let mut all: Option<Credentials> = None;
    for tid in threads(pid) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")) else {
            continue;
        };
        let one = read_status(&text);
        all = Some(match all {
            None => one,
            Some(all) => Credentials {
                permitted: Capabilities(all.permitted.0 | one.permitted.0),
                fsuid: all.fsuid.min(one.fsuid),
                filtered: all.filtered && one.filtered,
            },
        });
    }
    all
}

fn read_status(text: &str) -> Credentials {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let capabilities = |name| {
        field(name)
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            // What cannot be read may be anything.
            .unwrap_or(u64::MAX)
    };
    Credentials {
        permitted: Capabilities(capabilities("CapPrm") | capabilities("CapEff")),
        fsuid: field("Uid")
            .and_then(|line| line.split_ascii_whitespace().last()?.parse().ok())
            .unwrap_or(0),
        filtered: field("Seccomp") == Some("2"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_what_is_missing_is_taken_for_everything() {
        let text = "Name:\tx\nUid:\t1\t2\t3\t4\nCapPrm:\t00000000a80425fb\nCapEff:\t0000000000000000\nSeccomp:\t2\n";
        let read = read_status(text);
        assert_eq!((read.fsuid, read.filtered), (4, true));
        assert!(read.permitted.has(13) && !read.permitted.has(21));
        let nothing = read_status("");
        assert!(nothing.permitted.has(21) && nothing.fsuid == 0 && !nothing.filtered);
    }

    #[test]
    fn a_process_starts_where_its_name_cannot_say_so() {
        let stat = |state: &str| {
            format!("7 (a) Z 1 (b) {state} 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9")
        };
        assert_eq!(read_started(&stat("S")), Some(4_242));
        assert_eq!(read_started(&stat("Z")), None);
        assert_eq!(read_started("7 (cut"), None);
    }

    #[test]
    fn this_process_is_read() {
        let own = Pid(std::process::id());
        assert!(started(own).is_some_and(|ticks| ticks > 0));
        assert!(!name(own).is_empty());
        assert_eq!(namespace(own, "net"), own_namespace("net"));
        assert!(credentials(own).is_some());
        assert!(threads(own).contains(&own.0));
    }
}
