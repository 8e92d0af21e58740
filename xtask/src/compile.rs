//! One build for all that follows: cargo compiles a crate anew for each choice of packages and targets
//! that gives it other features, so there is one choice.

use anyhow::Result;

use crate::{ground, run};

/// Whether cargo's own words are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Shown,
    /// Only where it fails.
    Kept,
}

/// The workspace's programs and tests, for development.
pub(crate) fn everything(said: Said) -> Result<()> {
    let mut command = ground::cargo();
    command.args(["build", "--locked", "--workspace", "--bins", "--tests"]);
    match said {
        Said::Shown => run::shown(&mut command),
        Said::Kept => run::quiet("build", &mut command),
    }
}
