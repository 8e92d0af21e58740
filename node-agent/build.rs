//! Builds the kernel programs of `node-agent-ebpf` and hands the object to the crate.
//!
//! Three ways, tried in this order:
//!
//! 1. `NODE_AGENT_EBPF_OBJECT` names an object that was built elsewhere;
//! 2. a `rustc` whose sysroot has a ready-made `core` for the BPF target (Debian's `rustc-web` with
//!    `libstd-rust-web-dev-bpf`; `NODE_AGENT_EBPF_RUSTC` names another);
//! 3. rustup's nightly with `rust-src`, building `core` itself.
//!
//! The last two need `bpf-linker`. Without the feature `kernel` nothing is built.
#![allow(clippy::print_stdout, reason = "cargo reads a build script's standard output")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

const INSTALL: &str = "The kernel programs cannot be built here. Either install a compiler for them \
    (Debian: `apt-get install rustc-web libstd-rust-web-dev-bpf`; elsewhere: `rustup toolchain install \
    nightly --component rust-src`) and `cargo install bpf-linker`, or name a ready-made object in \
    NODE_AGENT_EBPF_OBJECT, or build with `--no-default-features`.";

fn main() -> ExitCode {
    for name in ["NODE_AGENT_EBPF_OBJECT", "NODE_AGENT_EBPF_RUSTC", "PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_KERNEL").is_none() {
        return ExitCode::SUCCESS;
    }
    match object() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            for line in why.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn object() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = out.join("node-agent-ebpf.o");
    if let Some(ready) = env::var_os("NODE_AGENT_EBPF_OBJECT").filter(|v| !v.is_empty()) {
        println!("cargo::rerun-if-changed={}", Path::new(&ready).display());
        return copy(Path::new(&ready), &target);
    }

    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = root.parent().ok_or("the manifest has no parent directory")?;
    let programs = root.join("node-agent-ebpf");
    for path in ["node-agent-ebpf/src", "node-agent-ebpf/Cargo.toml", "node-agent-ebpf/Cargo.lock"]
        .iter()
        .chain(&["node-agent-common/src", "node-agent-common/Cargo.toml"])
    {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }

    let triple = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let build_dir = out.join("ebpf");
    let mut cargo = compiler(triple)?;
    // The parent's settings are for the host: none of them may reach the child.
    for name in [
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
    ] {
        cargo.env_remove(name);
    }
    let flags = format!(
        "--cfg=bpf_target_arch=\"{}\"\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf",
        variable("CARGO_CFG_TARGET_ARCH")?
    );
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .current_dir(&programs)
        .args(["build", "--release", "--locked", "--target", triple, "--target-dir"])
        .arg(&build_dir);
    if which("bpf-linker").is_none() {
        return Err(format!("bpf-linker is not on PATH. {INSTALL}"));
    }
    let done = cargo.output().map_err(|e| format!("running cargo: {e}. {INSTALL}"))?;
    if !done.status.success() {
        return Err(format!(
            "building the kernel programs failed:\n{}",
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    copy(&build_dir.join(triple).join("release/node-agent-ebpf"), &target)
}

/// The cargo that will build, set up with its compiler.
fn compiler(triple: &str) -> Result<Command, String> {
    let named = env::var_os("NODE_AGENT_EBPF_RUSTC").filter(|v| !v.is_empty()).map(PathBuf::from);
    let candidates = named.clone().into_iter().chain(
        named.is_none().then(|| PathBuf::from("/usr/bin/rustc")),
    );
    for rustc in candidates {
        if has_core(&rustc, triple) {
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // The BPF backend needs unstable features of `core::arch` and nothing else.
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
            return Ok(cargo);
        }
    }
    if let Some(named) = named {
        return Err(format!("{} has no core for {triple}. {INSTALL}", named.display()));
    }
    if nightly_has_source() {
        let mut cargo = Command::new("rustup");
        cargo.args(["run", "nightly", "cargo"]);
        cargo.env_remove("RUSTC").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        cargo.env("CARGO_UNSTABLE_BUILD_STD", "core");
        return Ok(cargo);
    }
    Err(INSTALL.to_owned())
}

fn has_core(rustc: &Path, triple: &str) -> bool {
    let Some(sysroot) = say(Command::new(rustc).args(["--print", "sysroot"])) else {
        return false;
    };
    let library = Path::new(&sysroot).join("lib/rustlib").join(triple).join("lib");
    fs::read_dir(library).is_ok_and(|files| {
        files.flatten().any(|f| f.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn nightly_has_source() -> bool {
    let mut ask = Command::new("rustup");
    ask.args(["run", "nightly", "rustc", "--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN");
    say(&mut ask)
        .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn say(command: &mut Command) -> Option<String> {
    let done = command.output().ok().filter(|done| done.status.success())?;
    Some(String::from_utf8(done.stdout).ok()?.trim().to_owned())
}

fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|p| p.is_file())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|e| format!("{name}: {e}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|e| format!("copying {} to {}: {e}", from.display(), to.display()))
}
