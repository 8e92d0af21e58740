//! What the kernel side and enrolment are started with, from the configuration.

use std::path::{Path, PathBuf};

use super::keep::{KeeperError, own};
use crate::config::{self, CgroupRoot, Config, Egress, Place, Undeclared, UnixSockets};
use crate::enrol;
use crate::intercept::{
    Allowed, InterceptError, NodeWide, OnUndeclared, Prefix, Settings, UnixPath, WorkloadIndex,
    cgroup_id, cgroup_root,
};

/// Where the kernel programs' links and maps are pinned, so that a dead agent means "connection
/// refused" and not "no gateway".
pub fn pin_directory(config: &Config) -> PathBuf {
    config.state_dir.join("bpf")
}

/// Where cgroup2 is mounted, and the directory at and below which this agent governs: globs are
/// relative to it and the kernel programs are attached to it.
///
/// # Errors
/// None is mounted.
pub fn cgroup2(config: &Config) -> Result<(PathBuf, PathBuf), InterceptError> {
    let mount = match &config.cgroup_root {
        CgroupRoot::Auto => cgroup_root()?,
        // A directory of the usual mount narrows what is governed; any other path is a mount.
        CgroupRoot::Path(path) => match cgroup_root() {
            Ok(mount) if path.starts_with(&mount) => mount,
            Ok(_) | Err(_) => path.clone(),
        },
    };
    let base = match (&config.attach, &config.cgroup_root) {
        // A relative path is below the mount; joining an absolute one leaves it as it is.
        (Some(attach), _) => mount.join(attach),
        (None, CgroupRoot::Path(path)) => path.clone(),
        (None, CgroupRoot::Auto) => mount.clone(),
    };
    Ok((mount, base))
}

/// A port that is guarded whatever else is: the canary dials it.
pub(super) fn dialled_port(config: &Config) -> u16 {
    let declared = config.targets.iter().map(|target| target.port);
    let guarded = config.guard.ports.iter().copied();
    guarded.chain(declared).next().unwrap_or(5432)
}

/// Whom enrolment labels as what.
pub(super) fn enrol_rules(config: &Config) -> Vec<enrol::WorkloadRule> {
    let rules = config.workloads.iter().zip(0_u32..);
    rules
        .map(|(rule, index)| enrol::WorkloadRule {
            name: rule.name.clone(),
            globs: rule.cgroups.clone(),
            index: WorkloadIndex(index),
        })
        .collect()
}

/// The paths of unix sockets that stay open to workloads. Abstract names are none.
pub(super) fn unix_names(config: &Config) -> Vec<PathBuf> {
    let names = match &config.guard.unix {
        UnixSockets::Open => return Vec::new(),
        UnixSockets::AllowOnly(names) => names,
    };
    let paths = names.iter().filter(|name| name.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

/// Refuses names that every workload could put another socket at, as far as this host's own files
/// tell: a list of what is allowed would allow all.
fn judge(names: &[PathBuf]) -> Result<(), KeeperError> {
    for name in names {
        let found = enrol::open_to_anybody(name).map_err(own(name.display().to_string()))?;
        if let Some(at) = found {
            let why = format!(
                "guard.unix_allow: anybody can put another socket at this name, in {}: allow one in \
                 directories that only root writes to",
                at.display()
            );
            return Err(own(name.display().to_string())(std::io::Error::other(why)));
        }
    }
    Ok(())
}

/// What the kernel programs go by.
pub(super) fn settings(
    config: &Config,
    mount: &Path,
    base: &Path,
) -> Result<Settings, KeeperError> {
    judge(&unix_names(config))?;
    let agents = own_cgroup(mount)?;
    let mut settings = Settings::new(base, config.listen.port, cgroup_id(&agents)?);
    settings.ports = config.guard.ports.clone();
    for target in &config.targets {
        if !settings.ports.contains(&target.port) {
            settings.ports.push(target.port);
        }
    }
    settings.allowed = match &config.guard.egress {
        Egress::Open => None,
        Egress::DatabasesOnly(places) => Some(places.iter().filter_map(allowed).collect()),
    };
    settings.unix = match &config.guard.unix {
        UnixSockets::Open => None,
        UnixSockets::AllowOnly(paths) => Some(
            paths
                .iter()
                .filter_map(|path| path.parse::<UnixPath>().ok())
                .collect(),
        ),
    };
    settings.undeclared = match config.guard.undeclared {
        Undeclared::Refuse => OnUndeclared::Refuse,
        Undeclared::Report => OnUndeclared::Report,
        Undeclared::Ignore => OnUndeclared::Ignore,
    };
    settings.node_wide = match config.guard.node_wide {
        config::NodeWide::Off => NodeWide::Off,
        config::NodeWide::On => NodeWide::On,
    };
    settings.pin = Some(pin_directory(config));
    Ok(settings)
}

/// A place as the kernel side takes it. Every checked prefix is one there too.
fn allowed(place: &Place) -> Option<Allowed> {
    let prefix = Prefix::new(place.prefix.addr, place.prefix.len)?;
    Some(Allowed {
        prefix,
        port: place.port,
    })
}

/// The directory of the agent's own cgroup: the one exemption from the redirect.
fn own_cgroup(root: &Path) -> Result<PathBuf, KeeperError> {
    let path = "/proc/self/cgroup";
    let text = std::fs::read_to_string(path).map_err(own(path))?;
    let inside = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    Ok(root.join(inside))
}

#[cfg(test)]
mod tests {
    /// What the keeper takes besides the calls of any service.
    const CALLS: [&str; 8] = [
        "@mount",
        "bpf",
        "setns",
        "perf_event_open",
        // A cgroup by its number.
        "open_by_handle_at",
        // A labelled process's sockets.
        "pidfd_getfd",
        "seccomp",
        "landlock_restrict_self",
    ];
    /// The last is tried, to see whether the kernel refuses it to workloads.
    const FAMILIES: [&str; 5] = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"];

    #[test]
    fn the_service_may_make_every_call_that_governing_takes() {
        let unit = include_str!("../../../deploy/node-agent.service");
        for (setting, wanted) in [
            ("SystemCallFilter=", &CALLS[..]),
            ("RestrictAddressFamilies=", &FAMILIES[..]),
        ] {
            let lines = unit.lines().filter_map(|line| line.strip_prefix(setting));
            let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
            for one in wanted {
                assert!(words.contains(one), "{setting}{one}");
            }
        }
    }
}
