//! The pin directory: links and maps that outlive the agent, so that its death refuses.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{MapData, MapInfo};

use super::object::{self, DEVICES, GATES, HOOKS, Hook, LAYERS, NODE, PINNED, WAIT};
use super::sys::{self, Link};
use super::{InterceptError, Right};
use crate::model::CgroupId;

/// Makes the directory ready: on a bpffs, entered by its owner only, holding nothing of others.
pub(super) fn prepare(directory: &Path) -> Result<(), InterceptError> {
    mounted(directory)?;
    check(directory)
}

/// Makes the directory, on a bpffs, entered by its owner only.
pub(super) fn mounted(directory: &Path) -> Result<(), InterceptError> {
    let name = directory.display();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(InterceptError::call(
            "mkdir",
            &name,
            "choose a directory the agent can make",
        ))?;
    let mend = "choose another pin directory";
    if !sys::is_bpffs(directory).map_err(InterceptError::call("statfs", &name, mend))? {
        let used = fs::read_dir(directory)
            .map_err(InterceptError::call("read", &name, mend))?
            .next()
            .is_some();
        if used {
            return Err(InterceptError::OtherPins {
                path: directory.to_owned(),
                found: "files, and is not on a bpffs".into(),
            });
        }
        // Else the pins go with a service's or container's own mounts, and all is let through.
        match mounts() {
            Mounts::Own => return Err(InterceptError::OwnMounts(directory.to_owned())),
            Mounts::First => {}
            Mounts::Unknown(error) => tracing::warn!(
                %error, pin = %name,
                "whether what is mounted here stays when this process's mounts end is not known: \
                 in a service or container with mounts of its own the redirect would end with the \
                 agent. Let it see the node's first process (its process namespace, CAP_SYS_PTRACE, /proc \
                 without hidepid), or mount a bpffs outside: mount -t bpf -o nosuid,nodev,noexec,mode=0700 bpf {name}"
            ),
        }
        sys::mount_bpffs(directory).map_err(InterceptError::call(
            "mount(bpf)",
            &name,
            "the agent needs CAP_SYS_ADMIN, or an existing bpffs as pin directory",
        ))?;
    }
    // Whoever opens a pinned link can detach it: the mode of this directory is the whole guard.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
        .map_err(InterceptError::call("chmod", &name, mend))
}

/// Whose mounts this process sees.
#[derive(Debug)]
pub(super) enum Mounts {
    /// Those of the first process, which stay.
    First,
    /// Others, which end with whoever has them.
    Own,
    /// The kernel does not say.
    Unknown(io::Error),
}

/// Which mounts are these?
pub(super) fn mounts() -> Mounts {
    let of = |name: &str| fs::read_link(format!("/proc/{name}"));
    match of("self/ns/pid") {
        // Another namespace's first process is no measure: it ends with the container, say.
        Ok(processes) if processes != Path::new(FIRST_PROCESSES) => Mounts::Unknown(
            io::Error::other("the node's first process is not seen from this process namespace"),
        ),
        Ok(_) => sorted(of("self/ns/mnt"), of("1/ns/mnt")),
        Err(error) => Mounts::Unknown(error),
    }
}

/// The process namespace that the kernel begins with (`PROC_PID_INIT_INO`).
const FIRST_PROCESSES: &str = "pid:[4026531836]";

fn sorted(own: io::Result<PathBuf>, first: io::Result<PathBuf>) -> Mounts {
    match (own, first) {
        (Ok(own), Ok(first)) if own == first => Mounts::First,
        (Ok(_), Ok(_)) => Mounts::Own,
        (Err(error), _) | (_, Err(error)) => Mounts::Unknown(error),
    }
}

/// Refuses a directory with pins of another version, whose bytes mean something else.
fn check(directory: &Path) -> Result<(), InterceptError> {
    let other = |found: String| InterceptError::OtherPins {
        path: directory.to_owned(),
        found,
    };
    // The kernel itself puts files into a new bpffs; it keeps dots in names for those.
    for file in list(directory)?
        .into_iter()
        .filter(|file| !file.contains('.'))
    {
        let known = PINNED.iter().any(|map| object::map_pin(map) == *file)
            || HOOKS
                .iter()
                .chain(&LAYERS)
                .any(|hook| hook.pin == file || fresh(hook) == file)
            || gate_of(&file).is_some()
            || of_a_device(&file)
            || file == NODE.pin;
        if !known {
            return Err(other(file));
        }
    }
    for (map, key, value) in SIZES {
        let path = directory.join(object::map_pin(map));
        if path.exists() {
            let info = MapInfo::from_pin(&path).map_err(InterceptError::map(map))?;
            if info.key_size() != key || info.value_size() != value {
                return Err(other(object::map_pin(map)));
            }
        }
    }
    Ok(())
}

/// Key and value sizes of the pinned maps, as this version has them.
const SIZES: [(&str, u32, u32); 11] = {
    use node_agent_common::flow::{FlowKey, Inward, OriginRecord, Share, SocketState, Wire};
    use node_agent_common::names;
    [
        (names::LABELS, 8, 4),
        (names::PORTS, 2, 1),
        (names::PREFIXES, 20, 1),
        (
            names::FLOWS,
            size_of::<FlowKey>() as u32,
            size_of::<OriginRecord>() as u32,
        ),
        (names::SOCKETS, 4, size_of::<SocketState>() as u32),
        (names::ALLOWED, 24, 1),
        (names::SHARES, 4, size_of::<Share>() as u32),
        (names::TAKEN, 4, 8),
        (names::HEARD, 8, 1),
        (names::WIRES, 4, size_of::<Wire>() as u32),
        (names::INWARD, size_of::<Inward>() as u32, 1),
    ]
};

fn list(directory: &Path) -> Result<Vec<String>, InterceptError> {
    let failed = |e| InterceptError::call("read", &directory.display(), "is it a bpffs?")(e);
    fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| {
            Ok(entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

/// The name a link has while it takes another's place.
fn fresh(hook: &Hook) -> String {
    format!("{}_new", hook.pin)
}

/// Attaches every hook. Without a directory the links end with the process. With one, a link that
/// is already there and fits gets the new program in the old one's place, in one step; one that
/// does not fit is replaced by a new one *before* it is detached.
pub(super) fn attach(
    ebpf: &Ebpf,
    cgroup: BorrowedFd<'_>,
    id: CgroupId,
    directory: Option<&Path>,
) -> Result<Vec<Link>, InterceptError> {
    HOOKS
        .iter()
        .map(|hook| {
            object::with_program(ebpf, hook.program, |program| match directory {
                None => create(hook, program, cgroup),
                Some(directory) => pinned(hook, program, cgroup, id, directory),
            })
        })
        .collect()
}

/// The file a gate's link is pinned as.
pub(super) fn gate_pin(gate: &Hook, cgroup: CgroupId) -> String {
    format!("{}_{}", gate.pin, cgroup.0)
}

/// Which gate of which cgroup a file is.
fn gate_of(file: &str) -> Option<(&'static Hook, CgroupId)> {
    GATES.iter().find_map(|gate| {
        let id = file.strip_prefix(gate.pin)?.strip_prefix('_')?;
        Some((gate, CgroupId(id.parse().ok()?)))
    })
}

/// Is it the link of a program on a device?
fn of_a_device(file: &str) -> bool {
    DEVICES.iter().any(|hook| {
        let number = file.strip_prefix(hook.pin);
        let number = number.and_then(|rest| rest.strip_prefix('_'));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

/// Attaches the second gate to a labelled cgroup. What of it is pinned already is replaced.
pub(super) fn close_gates(
    ebpf: &Ebpf,
    cgroup: BorrowedFd<'_>,
    id: CgroupId,
    directory: Option<&Path>,
) -> Result<Vec<Link>, InterceptError> {
    GATES
        .iter()
        .map(|gate| {
            let link =
                object::with_program(ebpf, gate.program, |program| create(gate, program, cgroup))?;
            if let Some(directory) = directory {
                let path = directory.join(gate_pin(gate, id));
                // The new one is attached: for a moment there are two, never none.
                remove_link(&path)?;
                link.pin(&path).map_err(InterceptError::call(
                    "bpf(BPF_OBJ_PIN)",
                    &path.display(),
                    "`node-agent uninstall`, then start again",
                ))?;
            }
            Ok(link)
        })
        .collect()
}

/// Takes the second gate away from a cgroup.
pub(super) fn open_gates(
    links: Vec<Link>,
    id: CgroupId,
    directory: Option<&Path>,
) -> Result<(), InterceptError> {
    for link in links {
        detach(&link).map_err(InterceptError::call(
            "bpf(BPF_LINK_DETACH)",
            &id,
            "unlabel the cgroup again",
        ))?;
    }
    if let Some(directory) = directory {
        for gate in &GATES {
            remove_link(&directory.join(gate_pin(gate, id)))?;
        }
    }
    Ok(())
}

/// The gates an earlier agent left, with this agent's programs put in the place of its own. A
/// cgroup that lacks one of the three is not among them, and one that is gone is forgotten.
pub(super) fn take_over_gates(
    ebpf: &Ebpf,
    directory: &Path,
) -> Result<HashMap<CgroupId, Vec<Link>>, InterceptError> {
    let mut gates: HashMap<CgroupId, Vec<(usize, Link)>> = HashMap::new();
    for file in list(directory)? {
        let Some((gate, id)) = gate_of(&file) else {
            continue;
        };
        let path = directory.join(&file);
        let at = |call: &'static str| {
            InterceptError::call(
                call,
                &path.display(),
                "`node-agent uninstall`, then start again",
            )
        };
        let Some(link) = Link::pinned(&path).map_err(at("bpf(BPF_OBJ_GET)"))? else {
            continue;
        };
        let facts = link.facts().map_err(at("bpf(BPF_OBJ_GET_INFO_BY_FD)"))?;
        if facts.cgroup != id || facts.attach_type != gate.attach_type {
            // Its cgroup is gone, and the attachment with it.
            remove_link(&path)?;
            continue;
        }
        object::with_program(ebpf, gate.program, |program| {
            link.update(program).map_err(at("bpf(BPF_LINK_UPDATE)"))
        })?;
        let place = GATES.iter().position(|one| one.pin == gate.pin);
        gates
            .entry(id)
            .or_default()
            .extend(place.map(|place| (place, link)));
    }
    gates.retain(|_, links| links.len() == GATES.len());
    // In the order of the gates, as those that are made anew; a directory has none.
    let ordered = |mut links: Vec<(usize, Link)>| {
        links.sort_by_key(|(place, _)| *place);
        links.into_iter().map(|(_, link)| link).collect()
    };
    Ok(gates
        .into_iter()
        .map(|(id, links)| (id, ordered(links)))
        .collect())
}

/// Lets connects of a labelled cgroup wait for the agent, for as long as the link is held.
pub(super) fn wait(ebpf: &Ebpf, cgroup: BorrowedFd<'_>) -> Result<Link, InterceptError> {
    object::with_program(ebpf, WAIT.program, |program| create(&WAIT, program, cgroup))
}

/// The pinned maps, to know them again and to pin them again.
pub(super) fn kept_maps(directory: &Path) -> Result<Vec<(&'static str, MapData)>, InterceptError> {
    PINNED
        .iter()
        .map(|map| {
            let kept = MapData::from_pin(directory.join(object::map_pin(map)));
            Ok((*map, kept.map_err(InterceptError::map(map))?))
        })
        .collect()
}

/// Attaches one program, for as long as the link is held.
pub(super) fn create(
    hook: &Hook,
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
) -> Result<Link, InterceptError> {
    Link::create(program, cgroup, hook.attach_type).map_err(InterceptError::call(
        "bpf(BPF_LINK_CREATE)",
        &hook.program,
        "an older tool may hold this cgroup exclusively: `bpftool cgroup tree` shows it",
    ))
}

pub(super) fn pinned(
    hook: &Hook,
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    id: CgroupId,
    directory: &Path,
) -> Result<Link, InterceptError> {
    let path = directory.join(hook.pin);
    let fresh = directory.join(fresh(hook));
    let at = |call: &'static str, path: &Path| {
        InterceptError::call(
            call,
            &path.display(),
            "`node-agent uninstall`, then start again",
        )
    };
    // Left by an agent that died in the middle of a replacement: it is one too many.
    remove_link(&fresh)?;
    let old = Link::pinned(&path).map_err(at("bpf(BPF_OBJ_GET)", &path))?;
    let old = match old {
        None => None,
        Some(link) => {
            let facts = link
                .facts()
                .map_err(at("bpf(BPF_OBJ_GET_INFO_BY_FD)", &path))?;
            if facts.cgroup == id && facts.attach_type == hook.attach_type {
                link.update(program)
                    .map_err(at("bpf(BPF_LINK_UPDATE)", &path))?;
                return Ok(link);
            }
            Some(link)
        }
    };
    let link = create(hook, program, cgroup)?;
    link.pin(&fresh).map_err(at("bpf(BPF_OBJ_PIN)", &fresh))?;
    if let Some(old) = old {
        detach(&old).map_err(at("bpf(BPF_LINK_DETACH)", &path))?;
        fs::remove_file(&path).map_err(at("unlink", &path))?;
    }
    fs::rename(&fresh, &path).map_err(at("rename", &path))?;
    Ok(link)
}

/// Attaches a program of an optional layer, as the hooks are.
pub(super) fn layer(
    hook: &Hook,
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    id: CgroupId,
    directory: Option<&Path>,
) -> Result<Link, InterceptError> {
    match directory {
        None => create(hook, program, cgroup),
        Some(directory) => pinned(hook, program, cgroup, id, directory),
    }
}

/// Pins a link that stands in no cgroup in the place of an earlier agent's, which ends with it.
pub(super) fn keep(hook: &Hook, link: &Link, directory: &Path) -> Result<(), InterceptError> {
    let (path, fresh) = (directory.join(hook.pin), directory.join(fresh(hook)));
    let at = |call: &'static str, path: &Path| {
        InterceptError::call(
            call,
            &path.display(),
            "`node-agent uninstall`, then start again",
        )
    };
    remove_link(&fresh)?;
    link.pin(&fresh).map_err(at("bpf(BPF_OBJ_PIN)", &fresh))?;
    remove_link(&path)?;
    fs::rename(&fresh, &path).map_err(at("rename", &path))
}

/// Takes a layer of an earlier agent away that this one does not have.
pub(super) fn drop_layer(hook: &Hook, directory: &Path) -> Result<(), InterceptError> {
    remove_link(&directory.join(fresh(hook)))?;
    remove_link(&directory.join(hook.pin))
}

/// Detaches; a link whose cgroup is gone is detached already, and one to a hook of the kernel's ends
/// with its last holder.
pub(super) fn detach(link: &Link) -> io::Result<()> {
    match link.detach() {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOLINK | libc::EOPNOTSUPP)) => Ok(()),
        done => done,
    }
}

pub(super) fn remove_link(path: &Path) -> Result<(), InterceptError> {
    let at =
        |call: &'static str| InterceptError::call(call, &path.display(), "remove the file by hand");
    if let Some(link) = Link::pinned(path).map_err(at("bpf(BPF_OBJ_GET)"))? {
        detach(&link).map_err(at("bpf(BPF_LINK_DETACH)"))?;
        fs::remove_file(path).map_err(at("unlink"))?;
    }
    Ok(())
}

/// Detaches every pinned link, removes the pinned maps and the directory. From here on labelled
/// workloads reach databases directly. A directory that is not there is as good as removed.
pub(super) fn remove(directory: &Path) -> Result<(), InterceptError> {
    let name = directory.display();
    let mend = "remove it by hand";
    if !directory.exists() {
        return Ok(());
    }
    if sys::is_bpffs(directory).map_err(InterceptError::call("statfs", &name, mend))? {
        // An agent that runs would put everything back.
        let owned =
            Right::now(directory)?.ok_or_else(|| InterceptError::Owned(directory.to_owned()))?;
        for file in list(directory)? {
            let path: PathBuf = directory.join(&file);
            if file.starts_with("link_") {
                remove_link(&path)?;
            } else if file.starts_with("map_") {
                fs::remove_file(&path).map_err(InterceptError::call(
                    "unlink",
                    &path.display(),
                    mend,
                ))?;
            }
        }
        drop(owned);
        if is_mount(directory) {
            sys::unmount(directory).map_err(InterceptError::call("umount", &name, mend))?;
        }
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(InterceptError::call("rmdir", &name, mend)(e)),
    }
}

/// Is the directory itself a mount point? Then this agent mounted it.
fn is_mount(directory: &Path) -> bool {
    let Some(parent) = directory.parent() else {
        return false;
    };
    if directory == Path::new("/sys/fs/bpf") || directory.file_name() == Some(OsStr::new("")) {
        return false;
    }
    match (fs::metadata(directory), fs::metadata(parent)) {
        (Ok(here), Ok(above)) => here.dev() != above.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_cannot_be_compared_are_not_taken_for_those_that_stay() {
        let of = |name: &str| Ok(PathBuf::from(name));
        let denied = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(matches!(
            sorted(of("mnt:[1]"), of("mnt:[1]")),
            Mounts::First
        ));
        assert!(matches!(sorted(of("mnt:[2]"), of("mnt:[1]")), Mounts::Own));
        assert!(matches!(
            sorted(of("mnt:[1]"), denied()),
            Mounts::Unknown(_)
        ));
        assert!(matches!(
            sorted(denied(), of("mnt:[1]")),
            Mounts::Unknown(_)
        ));
    }
}
