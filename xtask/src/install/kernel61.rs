//! Debian's 6.1 kernel for the tests that run in another kernel: unpacked from its package, not
//! installed. What the distribution's own apt offers is taken; where that is another line, Debian's
//! archive is asked, with lists of its own that do not touch this machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{apt, twice};
use crate::{ground, run};

/// The modules that tests may need, each after those that it needs. The kernel programs themselves
/// need none: cgroup hooks, BTF and loopback are built in.
pub(crate) const MODULES: [&str; 34] = [
    "dummy",
    "veth",
    "llc",
    "stp",
    "bridge",
    "tun",
    "macvlan",
    "ipvlan",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "unix_diag",
    "af_packet_diag",
    "crc32c_generic",
    "libcrc32c",
    "udp_tunnel",
    "ip6_udp_tunnel",
    "vxlan",
    "sctp",
    "dccp",
    "dccp_ipv4",
    "vsock",
    "nfnetlink",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_nat",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
];

const PREFIX: &str = "linux-image-6.1.0-";
const SUFFIX: &str = "-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Holds `vmlinuz`, `modules/NAME.ko` and the package's name.
pub(crate) fn home() -> PathBuf {
    ground::test_parts().join("kernel-6.1")
}

pub(super) fn is_present() -> bool {
    let home = home();
    home.join("vmlinuz").is_file()
        && MODULES.iter().all(|name| {
            home.join("modules")
                .join(name)
                .with_extension("ko")
                .is_file()
        })
}

pub(super) fn get() -> Result<()> {
    let parts = ground::test_parts();
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let work = tempfile::tempdir_in(&parts)?;
    let archive = match newest(&own_names()?) {
        Some(package) => {
            let options = Vec::new();
            download(&package, &options, work.path())?
        }
        None => from_debian(work.path())?,
    };
    let tree = work.path().join("tree");
    let mut unpack = Command::new("dpkg");
    unpack.arg("-x").arg(&archive).arg(&tree);
    run::captured(&mut unpack)?;
    let ready = work.path().join("ready");
    pick(&tree, &ready)?;
    let package = archive.file_name().context("a package without a name")?;
    fs::write(ready.join("package"), package.as_encoded_bytes())?;
    let home = home();
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::rename(&ready, &home).with_context(|| format!("cannot put {}", home.display()))
}

/// The names that this machine's lists of packages hold.
fn own_names() -> Result<String> {
    apt::update()?;
    run::captured(Command::new("apt-cache").args(["pkgnames", PREFIX]))
}

/// The newest plain kernel among names of packages: no cloud, real-time or unsigned one.
fn newest(names: &str) -> Option<String> {
    let number = |name: &str| -> Option<u32> {
        let rest = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        rest.parse().ok()
    };
    names
        .lines()
        .filter_map(|name| Some((number(name)?, name)))
        .max()
        .map(|(_, name)| name.to_owned())
}

/// Downloads a package into `dir` and gives its file.
fn download(package: &str, options: &[String], dir: &Path) -> Result<PathBuf> {
    twice(|| {
        let mut get = Command::new("apt-get");
        get.current_dir(dir).args(options);
        get.args(["-q", "download", package]);
        run::quiet("kernel-6.1", &mut get)
    })
    .with_context(|| format!("{package} could not be fetched"))?;
    apt::under(dir)
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "deb"))
        .context("apt-get download gave no package")
}

/// From Debian's archive, on a distribution that has another kernel.
fn from_debian(work: &Path) -> Result<PathBuf> {
    println!("  this distribution has no 6.1 kernel; taking Debian 12's");
    if !Path::new(KEYRING).is_file() {
        apt::install(&["debian-archive-keyring"])?;
    }
    let lists = work.join("apt");
    for dir in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(lists.join(dir))?;
    }
    fs::write(lists.join("status"), "")?;
    let source = |path: &str, suite: &str| {
        format!("deb [arch=amd64 signed-by={KEYRING}] http://deb.debian.org/{path} {suite} main\n")
    };
    let sources = source("debian", "bookworm") + &source("debian-security", "bookworm-security");
    fs::write(lists.join("sources.list"), sources)?;
    let options = separate(&lists);
    twice(|| {
        let mut update = Command::new("apt-get");
        update.args(&options).args(["-q", "update"]);
        run::quiet("kernel-6.1-lists", &mut update)
    })
    .context("Debian's lists of packages could not be fetched")?;
    let names = run::captured(
        Command::new("apt-cache")
            .args(&options)
            .args(["pkgnames", PREFIX]),
    )?;
    let Some(package) = newest(&names) else {
        bail!("Debian's archive has no 6.1 kernel any more");
    };
    download(&package, &options, work)
}

/// Options that keep apt away from this machine's own lists and caches.
fn separate(lists: &Path) -> Vec<String> {
    let at = |name: &str| lists.join(name).display().to_string();
    [
        format!("Dir::State={}", at("state")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("cache")),
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Dir::Etc::preferencesparts=-".to_owned(),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

/// The kernel and the modules that may be needed, out of 400 MB.
fn pick(tree: &Path, to: &Path) -> Result<()> {
    let modules = to.join("modules");
    fs::create_dir_all(&modules)?;
    let kernel = apt::under(tree.join("boot"))
        .into_iter()
        .find(|file| {
            file.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .context("the package holds no kernel")?;
    fs::rename(kernel, to.join("vmlinuz"))?;
    let mut places = vec![tree.join("lib/modules"), tree.join("usr/lib/modules")];
    while let Some(dir) = places.pop() {
        for entry in apt::under(&dir) {
            if entry.is_symlink() {
                continue;
            }
            if entry.is_dir() {
                places.push(entry);
                continue;
            }
            let name = entry.file_name().context("a file without a name")?;
            if MODULES
                .iter()
                .any(|module| name.as_encoded_bytes() == format!("{module}.ko").as_bytes())
            {
                fs::rename(&entry, modules.join(name))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_plain_kernel_is_taken() {
        let names = "linux-image-6.1.0-9-amd64\nlinux-image-6.1.0-56-amd64\n\
                     linux-image-6.1.0-57-cloud-amd64\nlinux-image-6.1.0-58-amd64-unsigned\n\
                     linux-image-6.1.0-59-rt-amd64\nlinux-image-6.1.0-60-arm64\n";
        assert_eq!(newest(names).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest("linux-image-6.8.0-31-generic\n"), None);
    }
}
