//! What a worker gives up before it hears anybody: first its privileges, then the ways to get any.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, geteuid, getuid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::filter;
use super::walls::{self, Reach};
use crate::config::User;

/// The user and group that workers of a keeper started by root run as. A number and no name, so that
/// no account must exist, also not in a container's image. This one is handed out by nobody:
/// systemd leaves 65520 to 65533 free, Debian reserves them, and the smallest user namespaces
/// still have them.
pub const WORKER_ID: u32 = 65_529;

/// The user that a keeper started by root is besides being root. Who may send it a signal is asked of
/// this one; which files it may use, still of root. Nobody else's, as the worker's.
pub const KEEPER_ID: u32 = 65_530;

/// As whom a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: u32,
    /// Its only group.
    pub group: u32,
}

/// The configured user cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NoAccount {
    /// This keeper is not root.
    #[error("worker.user: only root can start the worker as another user; leave it out")]
    NotRoot,
    /// There is no such user.
    #[error("worker.user: {0} is not in {PASSWD}; write its number")]
    Unknown(String),
    /// It is root by another name.
    #[error("worker.user: {0} is root, and the worker is to have no privilege")]
    Root(String),
    /// The table of users cannot be read.
    #[error("{PASSWD}: {0}")]
    Table(#[from] io::Error),
}

const PASSWD: &str = "/etc/passwd";

/// As whom a worker of this process runs; `None`: as the same user, for only root can become
/// another.
///
/// # Errors
/// The configuration names one that cannot be had.
pub fn account(configured: Option<&User>) -> Result<Option<Account>, NoAccount> {
    let table = || std::fs::read_to_string(PASSWD);
    match (configured, privileged()) {
        (None, true) => Ok(Some(Account {
            user: WORKER_ID,
            group: WORKER_ID,
        })),
        (None, false) => Ok(None),
        (Some(_), false) => Err(NoAccount::NotRoot),
        (Some(named), true) => match found(named, &table()?) {
            Some(account) if account.user == 0 => Err(NoAccount::Root(written(named))),
            Some(account) => Ok(Some(account)),
            None => Err(NoAccount::Unknown(written(named))),
        },
    }
}

/// A process that a keeper starts where no new privileges are to be had is no longer root, and has
/// its capabilities.
fn privileged() -> bool {
    let user = geteuid();
    user.is_root() || user.as_raw() == KEEPER_ID
}

/// Makes this process, the keeper, one that root without capabilities can neither signal nor trace:
/// its real and saved user, of which the kernel asks for signals, are its own. Whoever is not root
/// stays as it is.
///
/// Call it before any thread is started: a user is a thread's.
///
/// # Errors
/// This user namespace has no such user, or the process has not `CAP_SETUID`. The keeper can do its
/// work all the same.
pub fn stand_apart() -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let own = Uid::from_raw(KEEPER_ID);
    set_thread_res_uid(own, Uid::ROOT, own)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Has this process a user that no other one has by being root?
pub(super) fn stands_apart() -> bool {
    !getuid().is_root()
}

fn written(user: &User) -> String {
    match user {
        User::Number(number) => number.to_string(),
        User::Name(name) => name.clone(),
    }
}

/// A user in a table like `/etc/passwd` (passwd(5)). A number needs no line there: its group is
/// then the same number.
fn found(user: &User, table: &str) -> Option<Account> {
    let lines = table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let mut numbers = fields.skip(1).map_while(|field| field.parse::<u32>().ok());
        let (user, group) = (numbers.next()?, numbers.next()?);
        Some((name, Account { user, group }))
    });
    let mut lines = lines;
    match user {
        User::Name(wanted) => lines.find(|(name, _)| name == wanted).map(|(_, it)| it),
        User::Number(wanted) => Some(lines.find(|(_, it)| it.user == *wanted).map_or(
            Account {
                user: *wanted,
                group: *wanted,
            },
            |(_, it)| it,
        )),
    }
}

/// Makes this process a worker: another user without groups, no capability and no way to one, no
/// dump of its memory and no tracing by its own user, an end when its keeper ends, no files but those
/// within reach, and no system calls but those that serving takes.
///
/// Call it before any thread is started: a user is a thread's.
///
/// # Errors
/// Any of it cannot be had; nothing may be served then.
pub fn confine(account: Option<Account>, reach: &Reach) -> io::Result<()> {
    if let Some(Account { user, group }) = account {
        for one in CapabilitySet::all().iter() {
            // Unknown to this kernel: nobody has it.
            if capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one)?;
            }
        }
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
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
    // Before the calls for it are gone.
    walls::close(reach)?;
    filter::close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number_and_a_number_needs_no_line() {
        let table = "root:x:0:0:root:/root:/bin/sh\nodd\n\nnode-agent:x:994:993::/:/bin/false\n";
        let (both, none) = (Some((994, 993)), None);
        for (user, expected) in [
            (User::Name("node-agent".to_owned()), both),
            (User::Number(994), both),
            (User::Number(65_000), Some((65_000, 65_000))),
            (User::Name("odd".to_owned()), none),
            (User::Name("node".to_owned()), none),
            (User::Name("root".to_owned()), Some((0, 0))),
        ] {
            let found = found(&user, table).map(|it| (it.user, it.group));
            assert_eq!(found, expected, "{user:?}");
        }
    }
}
