//! The stage: a private mount namespace in which the database's name resolves. The machine's own
//! /etc/hosts is not touched, and the namespace goes with its last process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{DATABASE, HOST, Place};
use crate::{ground, run};

/// Set once we are inside.
const INSIDE: &str = "NODE_AGENT_XTASK_STAGE";

/// Whether this process is on the stage.
pub(crate) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Starts this program again, as root, on a stage of its own. Does not return but with an error.
pub(crate) fn enter() -> Result<()> {
    let me = std::env::current_exe().context("cannot find this program")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = if ground::is_root() {
        Command::new("unshare")
    } else {
        println!("The kernel programs need root; going on through sudo.");
        ground::as_root("unshare")?
    };
    command.args(["--mount", "--propagation", "private", "--", "env"]);
    // sudo may drop these.
    for name in [
        "PATH",
        "CARGO",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "CARGO_TARGET_DIR",
        "HOME",
    ] {
        if let Some(value) = std::env::var_os(name) {
            let mut pair = OsString::from(name);
            pair.push("=");
            pair.push(value);
            command.arg(pair);
        }
    }
    command.arg(format!("{INSIDE}=1")).arg(me).args(arguments);
    bail!("cannot start {}: {}", run::line(&command), command.exec())
}

/// Makes the database's name resolve, for everything on this stage.
pub(crate) fn set_hosts(place: &Place) -> Result<()> {
    if !inside() {
        bail!("not on the stage: /etc/hosts would be changed for everybody");
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let file = place.write("hosts", &format!("{hosts}\n{DATABASE} {HOST}\n"))?;
    bind(&file, Path::new("/etc/hosts"))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    run::captured(Command::new("mount").arg("--bind").arg(from).arg(to))
        .with_context(|| format!("cannot put {} in place", to.display()))?;
    Ok(())
}
