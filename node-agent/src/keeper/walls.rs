//! IO. What of the file system a worker reaches, whatever its user may: landlock, where the kernel
//! has it.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::config::{Config, PasswordSource, SealTo};

/// The newest form of it that was looked at. A kernel with a newer one takes this one too.
const KNOWN: ABI = ABI::V9;

/// What resolving a name and telling a time zone read, whenever they do: these files are replaced
/// by renaming, so that the directories count. What is secret in there is by its mode.
const SYSTEM: [&str; 2] = ["/etc", "/usr/share"];
const RESOLVER: &str = "/etc/resolv.conf";

/// The files that a confined process may use at all. The empty one reaches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// To be read, with all below them.
    pub reads: Vec<PathBuf>,
    /// To be read and written, with all below them.
    pub writes: Vec<PathBuf>,
}

impl Reach {
    /// What serving by this configuration takes, beside the node's own keys. Its paths are absolute.
    ///
    /// What is replaced while the agent runs, policies and passwords, is given with its directory:
    /// a rule is on the directory that was there and not on its name.
    pub fn of(config: &Config, keys: impl IntoIterator<Item = PathBuf>) -> Reach {
        let mut reads: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        if let Ok(resolver) = std::fs::canonicalize(RESOLVER) {
            reads.extend(resolver.parent().map(Path::to_owned));
        }
        // Read once, at the start.
        reads.extend(keys);
        let given = [&config.tls.ca_cert, &config.tls.ca_key];
        reads.extend(given.into_iter().flatten().cloned());
        let issuers = config.issuers.iter();
        reads.extend(issuers.filter_map(|issuer| issuer.ca_file.clone()));
        for target in &config.targets {
            reads.extend(target.upstream.ca_file.clone());
        }
        if let Some(archive) = &config.recording.archive {
            reads.extend(archive.ca_file.clone());
        }
        for seal_to in &config.recording.encrypt_to {
            if let SealTo::File(path) = seal_to {
                reads.push(path.clone());
            }
        }
        let console = config.approvals.console.iter();
        reads.extend(console.clone().filter_map(|it| it.issuer.ca_file.clone()));
        // Read again and again.
        for secret in console.filter_map(|it| it.client_secret_file.as_ref()) {
            reads.extend(kept(secret));
        }
        if let Some(archive) = &config.recording.archive {
            reads.extend(archive.credentials_file.iter().flat_map(|path| kept(path)));
        }
        for path in &config.policies {
            reads.extend(kept(path));
        }
        for target in &config.targets {
            let groups = target.credentials.by_group.iter().map(|(_, own)| own);
            for credential in std::iter::once(&target.credentials.default).chain(groups) {
                if let PasswordSource::File(path) = &credential.password {
                    reads.extend(kept(path));
                }
            }
        }
        for hook in &config.approvals.webhooks {
            reads.extend(hook.ca_file.clone());
            reads.extend(hook.secrets().flat_map(|path| kept(path)));
        }
        reads.sort();
        reads.dedup();
        Reach {
            reads,
            writes: vec![
                config.recording.dir.clone(),
                config.recording.journal.clone(),
                config.approvals.dir.clone(),
            ],
        }
    }

    /// The same as words of a command line.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let word = |name: &'static str| {
            move |path: &PathBuf| format!("--{name}={}", path.to_string_lossy())
        };
        let reads = self.reads.iter().map(word("read"));
        reads.chain(self.writes.iter().map(word("write")))
    }
}

/// What must be reached for a path to be read after it was replaced, also one that is a link. Never
/// the whole file system: what lies right below the root is reached as it is now.
fn kept(path: &Path) -> Vec<PathBuf> {
    let one = |path: &Path| {
        if path.is_dir() {
            return path.to_owned();
        }
        // What is not there yet may come.
        let parents = path.ancestors().skip(1).find(|above| above.is_dir());
        match parents {
            Some(above) if above.parent().is_some() => above.to_owned(),
            Some(_) | None => path.to_owned(),
        }
    };
    let mut all = vec![one(path)];
    if let Ok(really) = std::fs::canonicalize(path) {
        all.push(one(&really));
    }
    all
}

/// What the kernel's landlock does not keep from a worker, a sentence each; empty: it has all that is
/// known of it here. Found by asking for it, never from a version.
pub fn gaps() -> Vec<&'static str> {
    let has = |wanted: Result<Ruleset, RulesetError>| wanted.is_ok();
    let hard = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    gaps_of(
        has(hard().handle_access(AccessFs::ReadFile)),
        &[
            has(hard().handle_access(AccessFs::Truncate)),
            has(hard().handle_access(AccessNet::BindTcp)),
            has(hard().handle_access(AccessFs::IoctlDev)),
            has(hard().scope(Scope::AbstractUnixSocket | Scope::Signal)),
        ],
    )
}

fn gaps_of(any: bool, has: &[bool; 4]) -> Vec<&'static str> {
    if !any {
        return vec![
            "this kernel has no landlock: a worker that was taken over reads every file that its \
             user may; only its user and its list of system calls hold it",
        ];
    }
    let [truncate, bind, device, scope] = has;
    [
        (
            truncate,
            "landlock of this kernel does not keep files from being truncated: only their modes do",
        ),
        (
            bind,
            "landlock of this kernel knows no ports: only the worker's list of system calls keeps \
             it from listening",
        ),
        (
            device,
            "landlock of this kernel knows no devices: only the worker's list of system calls keeps \
             it from giving them orders",
        ),
        (
            scope,
            "landlock of this kernel knows no signals and no abstract sockets: only the worker's \
             user and its list of system calls keep it from them",
        ),
    ]
    .into_iter()
    .filter_map(|(has, gap)| (!has).then_some(gap))
    .collect()
}

/// Lets this thread, and every one it starts, use nothing else from now on: no other files, no port to
/// listen on, no signal to others, no abstract socket of others. It cannot be undone.
///
/// Where the kernel has less of it, or none, less holds: `gaps` says what.
///
/// # Errors
/// The kernel has it and will not do it; nothing may be served then.
pub(super) fn close(reach: &Reach) -> io::Result<()> {
    wall(reach).map_err(io::Error::other)
}

fn wall(reach: &Reach) -> Result<(), RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(rules(&reach.reads, read))?
        .add_rules(rules(&reach.writes, write))?
        .restrict_self()
        .map(drop)
}

/// What is not there, or may not be reached by this user anyway, needs no rule.
fn rules(
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    paths.iter().filter_map(move |path| {
        let there = PathFd::new(path).ok()?;
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(KNOWN)
        };
        Some(Ok(PathBeneath::new(there, access)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_s_landlock_lacks_is_said_and_an_older_one_lacks_more() {
        assert_eq!(gaps_of(true, &[true; 4]), [""; 0]);
        let none = gaps_of(false, &[false; 4]);
        assert!(
            none.len() == 1 && none[0].contains("no landlock"),
            "{none:?}"
        );
        for (has, said) in [
            ([false; 4], 4),
            ([true, false, false, false], 3),
            ([true, true, true, false], 1),
        ] {
            assert_eq!(gaps_of(true, &has).len(), said, "{has:?}");
        }
    }

    #[test]
    fn a_file_that_may_be_replaced_is_reached_by_its_directory_and_a_link_by_both() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let at = |name: &str| home.join(name);
        std::fs::create_dir_all(at("real/deep")).unwrap();
        std::fs::create_dir(at("links")).unwrap();
        std::fs::write(at("real/deep/file"), "").unwrap();
        std::os::unix::fs::symlink(at("real/deep/file"), at("links/file")).unwrap();
        for (path, expected) in [
            ("real/deep", vec!["real/deep", "real/deep"]),
            ("real/deep/file", vec!["real/deep", "real/deep"]),
            ("links/file", vec!["links", "real/deep"]),
            ("real/later", vec!["real"]),
            ("real/later/file", vec!["real"]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(at).collect();
            assert_eq!(kept(&at(path)), expected, "{path}");
        }
        assert_eq!(
            kept(Path::new("/nothing-here")),
            [Path::new("/nothing-here")]
        );
    }
}
