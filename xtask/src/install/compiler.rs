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

/// Links to an LLVM that it is given: with Debian's compiler that is the compiler's own.
const LINKER: &str = "0.13.0";
/// Loads whichever LLVM the calling rustc has: what suits a toolchain from rustup.
const LINKER_FOR_RUSTUP: &str = "0.10.3";

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
    Path::new(DEBIAN_RUSTC).is_file()
        && apt::under(lib).iter().any(|file| {
            file.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("libcore-"))
        })
}

/// The nightly toolchain that node-agent-ebpf/rust-toolchain.toml names.
fn nightly() -> String {
    let file = ground::root().join("node-agent-ebpf/rust-toolchain.toml");
    let text = fs::read_to_string(file).unwrap_or_default();
    channel(&text).unwrap_or("nightly").to_owned()
}

/// The channel in a rust-toolchain.toml.
fn channel(text: &str) -> Option<&str> {
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("channel"))?;
    let value = value
        .trim_start()
        .strip_prefix('=')?
        .trim()
        .trim_matches('"');
    (!value.is_empty()).then_some(value)
}

fn nightly_sources() -> bool {
    let Ok(sysroot) = run::captured(
        Command::new("rustc")
            .arg(format!("+{}", nightly()))
            .args(["--print", "sysroot"]),
    ) else {
        return false;
    };
    Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

pub(super) fn get_rustc() -> Result<()> {
    if ground::program("apt-get").is_some() {
        apt::update()?;
        if DEBIAN_PACKAGES.iter().all(|package| apt::offers(package)) {
            return apt::install(&DEBIAN_PACKAGES);
        }
    }
    println!(
        "  this distribution packages no compiler for eBPF; taking {} with rust-src from rustup",
        nightly()
    );
    let Some(rustup) = ground::program("rustup") else {
        bail!("rustup is needed for this: https://rustup.rs");
    };
    twice(|| {
        let mut command = Command::new(&rustup);
        command.args(["toolchain", "install", &nightly(), "--profile", "minimal"]);
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
    let mut command = ground::cargo();
    command
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env_remove("CARGO_TARGET_DIR");
    command.args(["install", "bpf-linker", "--locked", "--version"]);
    if debian_core() {
        let major = llvm_major()?;
        command.env("LLVM_PREFIX", llvm_shim(major)?);
        command.args([LINKER, "--no-default-features", "--features"]);
        command.arg(format!("llvm-{major}"));
    } else {
        command.arg(LINKER_FOR_RUSTUP);
    }
    println!("  compiling bpf-linker takes one to three minutes");
    twice(|| run::quiet("bpf-linker", &mut command)).context("bpf-linker could not be installed")
}

/// The LLVM that Debian's rustc brought.
fn llvm_major() -> Result<u32> {
    let text = run::captured(Command::new(DEBIAN_RUSTC).arg("-vV"))?;
    llvm_in(&text).with_context(|| format!("{DEBIAN_RUSTC} does not say which LLVM it uses"))
}

fn llvm_in(verbose_version: &str) -> Option<u32> {
    let version = verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// A directory that stays: it becomes the linker's run path. It holds one link, so that neither
/// LLVM's headers nor its tools need to be installed.
fn llvm_shim(major: u32) -> Result<PathBuf> {
    let library = llvm_library(major)
        .with_context(|| format!("no libLLVM {major} under /usr/lib; reinstall rustc-web"))?;
    let shim = ground::cargo_home().join("node-agent-llvm");
    let dir = shim.join("lib");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let link = dir.join("libLLVM.so");
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    symlink(&library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    Ok(shim)
}

fn llvm_library(major: u32) -> Option<PathBuf> {
    let names = [format!("libLLVM.so.{major}"), format!("libLLVM-{major}.so")];
    apt::under("/usr/lib")
        .into_iter()
        .filter(|dir| dir.to_string_lossy().ends_with("-linux-gnu"))
        .flat_map(apt::under)
        .find(|file| {
            let name = file
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| names.iter().any(|known| name.starts_with(known.as_str())))
        })
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
    fn the_channel_is_read_from_the_toolchain_file() {
        let table = [
            (
                "[toolchain]\nchannel = \"nightly-2026-05-01\"\n",
                Some("nightly-2026-05-01"),
            ),
            ("[toolchain]\nchannel=\"nightly\"\n", Some("nightly")),
            ("[toolchain]\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(channel(text), expected);
        }
    }
}
