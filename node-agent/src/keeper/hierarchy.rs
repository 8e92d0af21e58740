//! IO. The hierarchy of cgroups as the node sees it. From a cgroup namespace of its own, which a
//! container gets, a process reads other paths: of its own cgroup and of everybody's.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespace that the kernel begins with (`PROC_CGROUP_INIT_INO`).
const FIRST: &str = "cgroup:[4026531835]";
const OWN: &str = "/proc/thread-self/ns/cgroup";
const NODE: &str = "/proc/1/ns/cgroup";

/// Goes to the cgroup namespace of the node's first process, unless it is this one's already.
///
/// Call it before any thread is started: a namespace is a thread's.
///
/// # Errors
/// This is another one, and there is no way to that. Nothing may be governed then: the agent would take
/// another cgroup for its own, and processes for ones that left.
pub fn see_all_cgroups() -> io::Result<()> {
    let own = match fs::read_link(OWN) {
        Ok(own) => own,
        // A kernel that has no such namespaces.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if own == Path::new(FIRST) || fs::read_link(NODE)? == own {
        return Ok(());
    }
    let node = File::open(NODE)?;
    Ok(move_into_link_name_space(
        node.as_fd(),
        Some(LinkNameSpaceType::ControlGroup),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_on_with_a_hierarchy_that_is_not_the_node_s() {
        let elsewhere = std::thread::spawn(|| {
            #[allow(deprecated, reason = "the thread is this test's own")]
            let left = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWCGROUP);
            if let Err(error) = left {
                println!("SKIPPED: leaving the cgroup namespace takes root: {error}");
                return;
            }
            let own = fs::read_link(OWN).unwrap();
            assert_ne!(own, Path::new(FIRST));
            match see_all_cgroups() {
                Ok(()) => assert_eq!(fs::read_link(OWN).unwrap(), fs::read_link(NODE).unwrap()),
                // Who may not look at the first process stays, and says so.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
            }
        });
        elsewhere.join().unwrap();
        see_all_cgroups().unwrap();
    }
}
