//! Where the real parts are: what `cargo xtask test` installed, and the programs cargo built.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Cargo's target directory: the one this test was built into.
pub fn target() -> PathBuf {
    profile_dir()
        .parent()
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// `target/debug` or `target/release`: the directory of the programs cargo built.
fn profile_dir() -> PathBuf {
    let this = env::current_exe().expect("a running program has a path");
    let dir = this.parent().expect("a program is in a directory");
    match dir.file_name() {
        Some(name) if name == "deps" || name == "examples" => {
            dir.parent().expect("deps has a parent").to_path_buf()
        }
        _ => dir.to_path_buf(),
    }
}

/// A program of this workspace, by name, beside the test.
pub fn built(name: &str) -> Result<PathBuf> {
    let place = profile_dir().join(name);
    if !place.is_file() {
        bail!(
            "{} is not built: run `cargo build --workspace --bins` first (`cargo xtask test` does)",
            place.display()
        );
    }
    Ok(place)
}

/// The directory of parts that tests use and no package manager puts on the path.
pub fn test_parts() -> PathBuf {
    env::var_os("NODE_AGENT_TEST_PARTS").map_or_else(|| target().join("test-parts"), PathBuf::from)
}

/// A part by its path below the parts directory.
pub fn part(path: &str) -> Result<PathBuf> {
    let place = test_parts().join(path);
    if !place.exists() {
        bail!(
            "{} is missing: `cargo xtask test` installs it",
            place.display()
        );
    }
    Ok(place)
}

/// The Python that has the drivers.
pub fn python() -> Result<PathBuf> {
    part("venv/bin/python")
}

/// The directory whose `node_modules` has the drivers.
pub fn node_home() -> Result<PathBuf> {
    part("node/node_modules/pg/package.json")?;
    Ok(test_parts().join("node"))
}

/// The directory whose `node_modules` has what drives a browser.
pub fn browser_home() -> Result<PathBuf> {
    part("browser/node_modules/playwright-core/package.json")?;
    part("browser/node_modules/axe-core/package.json")?;
    Ok(test_parts().join("browser"))
}

/// A driver script of this crate.
pub fn driver(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers")
        .join(name)
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is in the repository")
        .to_path_buf()
}

/// A program on the path.
pub fn on_path(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: `cargo xtask test` installs it"))
}

/// Says why a test cannot run here. A test that calls this must return at once after it; unless
/// skipping was allowed by `NODE_AGENT_TEST_ALLOW_SKIP=1`, it fails.
pub fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    assert!(
        env::var("NODE_AGENT_TEST_ALLOW_SKIP").is_ok_and(|value| value == "1"),
        "this test cannot run here ({reason}); set NODE_AGENT_TEST_ALLOW_SKIP=1 to skip it"
    );
}
