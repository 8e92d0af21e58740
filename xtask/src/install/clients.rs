//! Drivers of other languages, which the tests run untouched. Versions are pinned.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::twice;
use crate::{ground, run};

const PYTHON_DRIVERS: [&str; 2] = ["psycopg[binary]==3.3.9", "asyncpg==0.32.0"];
/// What drives the distribution's Chromium, and what looks for pages that some cannot use.
const BROWSER_DRIVERS: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];
const NODE_DRIVER: &str = "pg@8.23.1";

fn venv() -> PathBuf {
    ground::test_parts().join("venv")
}

pub(super) fn has_python() -> bool {
    run::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

pub(super) fn has_python_drivers() -> bool {
    run::succeeds(Command::new(venv().join("bin/python")).args(["-c", "import psycopg, asyncpg"]))
}

pub(super) fn get_python_drivers() -> Result<()> {
    let venv = venv();
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run::quiet("python-venv", &mut make)?;
    twice(|| {
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        pip.args(["--only-binary", ":all:"]).args(PYTHON_DRIVERS);
        run::quiet("python-drivers", &mut pip)
    })
    .context("psycopg and asyncpg could not be installed")
}

pub(super) fn has_node() -> bool {
    ["node", "npm"]
        .iter()
        .all(|name| run::succeeds(Command::new(name).arg("--version")))
}

fn node_home() -> PathBuf {
    ground::test_parts().join("node")
}

pub(super) fn has_node_driver() -> bool {
    node_home().join("node_modules/pg/package.json").is_file()
}

pub(super) fn get_node_driver() -> Result<()> {
    npm_install(&node_home(), "node-driver", &[NODE_DRIVER])
        .context("node-postgres could not be installed")
}

fn browser_home() -> PathBuf {
    ground::test_parts().join("browser")
}

pub(super) fn has_browser_driver() -> bool {
    let has = |package: &str| {
        let manifest = format!("node_modules/{package}/package.json");
        browser_home().join(manifest).is_file()
    };
    has("playwright-core") && has("axe-core")
}

pub(super) fn get_browser_driver() -> Result<()> {
    npm_install(&browser_home(), "browser-driver", &BROWSER_DRIVERS)
        .context("playwright-core and axe-core could not be installed")
}

fn npm_install(home: &Path, log: &str, packages: &[&str]) -> Result<()> {
    fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
    let manifest = home.join("package.json");
    fs::write(&manifest, "{ \"private\": true }\n")?;
    twice(|| {
        let mut npm = Command::new("npm");
        npm.current_dir(home);
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]);
        npm.args(packages);
        run::quiet(log, &mut npm)
    })
}
