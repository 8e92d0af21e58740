//! Cargo's own tools.

use std::process::Command;

use anyhow::{Context, Result};

use super::twice;
use crate::{ground, run};

const DENY: &str = "0.20.2";

pub(crate) fn has_deny() -> bool {
    ground::program("cargo-deny")
        .is_some_and(|deny| run::succeeds(Command::new(deny).arg("--version")))
}

pub(crate) fn has_nextest() -> bool {
    ground::program("cargo-nextest")
        .is_some_and(|nextest| run::succeeds(Command::new(nextest).args(["nextest", "--version"])))
}

/// Without optimisation: it runs for seconds and compiles four times as fast.
pub(super) fn get_deny() -> Result<()> {
    let mut command = ground::cargo();
    command.env_remove("CARGO_TARGET_DIR");
    command.args([
        "install",
        "cargo-deny",
        "--locked",
        "--debug",
        "--version",
        DENY,
    ]);
    twice(|| run::quiet("cargo-deny", &mut command)).context("cargo-deny could not be installed")
}
