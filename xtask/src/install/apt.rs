//! The distribution's packages. Installing a server package must not start a service: while it
//! runs, `policy-rc.d` forbids that and PostgreSQL's packages make no cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::twice;
use crate::{ground, run};

/// Runs as root. Removes what it put down for the time of the installation, on every way out.
const INSTALL: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
made=
archives=$(mktemp -d)
clean() { rm -rf "$archives" $made; }
trap clean EXIT
chmod 755 "$archives"
mkdir -p "$archives/partial"
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    made="$made /usr/sbin/policy-rc.d"
fi
no_cluster=/etc/postgresql-common/createcluster.d/99-node-agent.conf
if [ ! -e "$no_cluster" ]; then
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' > "$no_cluster"
    made="$made $no_cluster"
fi
# A private archive directory: some images delete the common one after every dpkg run, also a
# run that another installation is in the middle of.
apt-get -o DPkg::Lock::Timeout=300 -o Dir::Cache::archives="$archives" \
    install -y -q --no-install-recommends "$@"
"#;

/// Installs packages in one transaction.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    update()?;
    twice(|| {
        let mut command = ground::as_root("sh")?;
        command.args(["-c", INSTALL, "install"]).args(packages);
        run::quiet("apt-install", &mut command)
    })
    .with_context(|| format!("the packages {} could not be installed", packages.join(" ")))
}

/// Fetches the lists of packages, once in a run.
pub(super) fn update() -> Result<()> {
    static DONE: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    if DONE.get().is_some() {
        return Ok(());
    }
    if ground::program("apt-get").is_none() {
        bail!(
            "this distribution has no apt-get. Install by hand: a C compiler, libclang, a \
             PostgreSQL server with psql and pgbench, iproute2, python3 with venv, nodejs with \
             npm, pgbouncer; then run this again"
        );
    }
    let update = || {
        let mut command = ground::as_root("apt-get")?;
        command.args(["-o", "DPkg::Lock::Timeout=300", "-q", "update"]);
        run::quiet("apt-update", &mut command)
    };
    twice(update).context("the lists of packages could not be fetched")?;
    let _ = DONE.set(());
    Ok(())
}

/// Whether the distribution offers a package.
pub(super) fn offers(package: &str) -> bool {
    run::captured(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|text| candidate(&text).is_some())
}

/// The candidate version in `apt-cache policy`'s answer.
fn candidate(policy: &str) -> Option<&str> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then_some(version)
}

pub(super) fn has_c_compiler() -> bool {
    ["cc", "c++", "make"]
        .iter()
        .all(|name| ground::program(name).is_some())
        && Path::new("/usr/include/stdlib.h").is_file()
}

/// libclang's library and its own headers, where bindgen looks for them.
pub(super) fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let library = |file: &PathBuf| {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| {
            let rest = name.strip_prefix("libclang").unwrap_or_default();
            rest.starts_with(".so") || rest.starts_with("-1") || rest.starts_with("-2")
        })
    };
    let places = under("/usr/lib");
    let libraries = places
        .iter()
        .flat_map(|dir| [dir.clone(), dir.join("lib")])
        .flat_map(under);
    let headers = places
        .iter()
        .flat_map(|dir| [dir.clone(), dir.join("lib/clang")])
        .filter(|dir| dir.ends_with("clang"))
        .flat_map(under)
        .any(|version| version.join("include/stddef.h").is_file());
    headers && libraries.into_iter().any(|file| library(&file))
}

/// The newest directory of PostgreSQL server programs that the distribution installed.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = under("/usr/lib/postgresql")
        .into_iter()
        .filter_map(|dir| {
            let version = dir.file_name()?.to_string_lossy().parse().ok()?;
            let bin = dir.join("bin");
            bin.join("postgres").is_file().then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

pub(super) fn has_postgres() -> bool {
    postgres_bin().is_some_and(|bin| {
        ["initdb", "pg_ctl", "psql", "pgbench", "pg_dump"]
            .iter()
            .all(|n| bin.join(n).is_file())
    })
}

/// The entries of a directory; nothing when it is not there.
pub(crate) fn under(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_candidate_is_not_offered() {
        let table = [
            ("x:\n  Installed: (none)\n  Candidate: (none)\n", None),
            (
                "x:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n",
                Some("1.96.0+dfsg1-1"),
            ),
            ("", None),
        ];
        for (policy, expected) in table {
            assert_eq!(candidate(policy), expected, "{policy}");
        }
    }
}
