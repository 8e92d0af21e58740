//! The kernel programs' own compiler and linker. Debian packages a rustc with a prebuilt `core` for
//! eBPF; elsewhere a nightly toolchain builds `core` from source.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{apt, twice};
use crate::{ground, run};

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
const KERNEL_TARGET: &str = "bpfel-unknown-none";

/// The toolchain that node-agent/build.rs takes where the distribution packages none.
const NIGHTLY: &str = "nightly";

/// Links to the LLVM that it is given: the compiler's own, so that no LLVM package is needed and the
/// two always fit.
const LINKER: &str = "0.13.0";

/// The object may be given ready-made; node-agent/build.rs then compiles nothing.
const READY_OBJECT: &str = "NODE_AGENT_EBPF_OBJECT";

/// Whether something here can compile the kernel programs.
pub(super) fn has_rustc() -> bool {
    std::env::var_os(READY_OBJECT).is_some() || debian_core() || nightly_sources()
}

/// Debian's rustc with its prebuilt `core`.
fn debian_core() -> bool {
    let lib = Path::new("/usr/lib/rustlib")
        .join(KERNEL_TARGET)
        .join("lib");
    let is_core = |file: &PathBuf| named(file, |name| name.starts_with("libcore-"));
    Path::new(DEBIAN_RUSTC).is_file() && apt::under(lib).iter().any(is_core)
}

fn named(file: &Path, fits: impl Fn(&str) -> bool) -> bool {
    file.file_name()
        .is_some_and(|name| fits(&name.to_string_lossy()))
}

/// Where the nightly toolchain lives, when it is there.
fn nightly_home() -> Option<PathBuf> {
    let mut ask = Command::new("rustup");
    ask.args(["run", NIGHTLY, "rustc", "--print", "sysroot"]);
    ask.env_remove("RUSTUP_TOOLCHAIN");
    run::captured(&mut ask)
        .ok()
        .map(|home| PathBuf::from(home.trim()))
}

fn nightly_sources() -> bool {
    nightly_home().is_some_and(|home| home.join("lib/rustlib/src/rust/library/core").is_dir())
}

pub(super) fn get_rustc() -> Result<()> {
    if ground::program("apt-get").is_some() {
        apt::update()?;
        if DEBIAN_PACKAGES.iter().all(|package| apt::offers(package)) {
            return apt::install(&DEBIAN_PACKAGES);
        }
    }
    println!(
        "  this distribution packages no compiler for eBPF; taking rustup's {NIGHTLY} with rust-src"
    );
    let Some(rustup) = ground::program("rustup") else {
        bail!("rustup is needed for this: https://rustup.rs");
    };
    twice(|| {
        let mut command = Command::new(&rustup);
        command.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
        command.args(["--component", "rust-src"]);
        run::quiet("rustup-nightly", &mut command)
    })
    .context("the nightly toolchain could not be installed")
}

pub(super) fn has_linker() -> bool {
    std::env::var_os(READY_OBJECT).is_some()
        || ground::program("bpf-linker")
            .is_some_and(|linker| run::succeeds(Command::new(linker).arg("--version")))
}

pub(super) fn get_linker() -> Result<()> {
    let (major, library) = llvm()?;
    let mut command = ground::cargo();
    command
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env_remove("CARGO_TARGET_DIR");
    command.env("LLVM_PREFIX", llvm_shim(&library)?);
    command.args([
        "install",
        "bpf-linker",
        "--locked",
        "--force",
        "--version",
        LINKER,
    ]);
    command.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{major}"),
    ]);
    println!("  compiling bpf-linker against LLVM {major}: one to three minutes");
    twice(|| run::quiet("bpf-linker", &mut command)).context("bpf-linker could not be installed")
}

/// The LLVM inside the compiler for the kernel programs: its major version and its library.
fn llvm() -> Result<(u32, PathBuf)> {
    let (rustc, places) = if debian_core() {
        let mut places = apt::under("/usr/lib");
        places.retain(|dir| named(dir, |name| name.ends_with("-linux-gnu")));
        (PathBuf::from(DEBIAN_RUSTC), places)
    } else {
        let home = nightly_home().context("there is no compiler for the kernel programs")?;
        (home.join("bin/rustc"), vec![home.join("lib")])
    };
    let said = run::captured(Command::new(&rustc).arg("-vV"))?;
    let major = llvm_in(&said)
        .with_context(|| format!("{} does not say which LLVM it uses", rustc.display()))?;
    let library = places
        .into_iter()
        .flat_map(apt::under)
        .find(|file| named(file, |name| is_llvm(name, major)))
        .with_context(|| format!("no libLLVM {major} beside {}", rustc.display()))?;
    Ok((major, library))
}

fn is_llvm(name: &str, major: u32) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
    name.strip_prefix(&format!("libLLVM.so.{major}"))
        .is_some_and(ends)
        || name
            .strip_prefix(&format!("libLLVM-{major}"))
            .is_some_and(ends)
}

fn llvm_in(verbose_version: &str) -> Option<u32> {
    let version = verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// A directory that stays: it becomes the linker's run path. It holds links only, so that neither
/// LLVM's headers nor its tools need to be installed: one under the name that is linked to, one
/// under the library's own name, which is what is looked for when the linker runs.
fn llvm_shim(library: &Path) -> Result<PathBuf> {
    let shim = ground::cargo_home().join("node-agent-llvm");
    let dir = shim.join("lib");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for old in apt::under(&dir) {
        fs::remove_file(old)?;
    }
    let own = library.file_name().context("a library without a name")?;
    for link in [dir.join("libLLVM.so"), dir.join(own)] {
        symlink(library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(shim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_version() {
        assert_eq!(
            llvm_in("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(llvm_in("rustc 1.96.0\n"), None);
    }

    #[test]
    fn the_library_of_an_llvm_is_known_by_its_name() {
        let table = [
            ("libLLVM.so.22.1", true),
            ("libLLVM.so.22.1-rust-1.95.0-stable", true),
            ("libLLVM-22.so", true),
            ("libLLVM-22-rust-1.98.0-nightly.so", true),
            ("libLLVM-2.so", false),
            ("libLLVM.so.221", false),
            ("libLLVM-15.so.1", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_llvm(name, 22), expected, "{name}");
        }
    }
}
