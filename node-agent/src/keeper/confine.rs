//! What a worker gives up before it hears anybody: first its privileges, then the ways to get any.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, geteuid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// The user and group that workers of a keeper started by root run as. A number and no name, so that
/// no account must exist, also not in a container's image. This one is handed out by nobody:
/// systemd leaves 65520 to 65533 free, Debian reserves them, and the smallest user namespaces
/// still have them.
pub const WORKER_ID: u32 = 65_529;

/// Which user a worker of this process runs as; `None`: the same, for only root can become another.
pub fn worker_id() -> Option<u32> {
    geteuid().is_root().then_some(WORKER_ID)
}

/// Makes this process a worker: another user without groups, no capability and no way to one, no
/// dump of its memory and no tracing by its own user, an end when its keeper ends.
///
/// Call it before any thread is started: a user is a thread's.
///
/// # Errors
/// Any of it cannot be had; nothing may be served then.
pub fn confine(user: Option<u32>) -> io::Result<()> {
    if let Some(user) = user {
        for one in CapabilitySet::all().iter() {
            // Unknown to this kernel: nobody has it.
            if capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one)?;
            }
        }
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    set_no_new_privs(true)?;
    let zero = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, zero)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // After the change of user, which forgets it. Without a keeper nobody reads tokens and nobody
    // hands over connections.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}
