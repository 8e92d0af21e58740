//! `cargo xtask check`: what must be clean before a merge. Every step runs, so that one run shows
//! everything there is to mend.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::{r#gen, ground, install, interrupt, layers, run};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask check                    everything\n  \
    cargo xtask check format clippy      only these steps")]
pub(crate) struct Arguments {
    /// Only these steps: format, layers, links, deny, advisories, clippy, kernel, references, docs
    steps: Vec<String>,
}

/// How a step ended.
enum End {
    Clean,
    /// It could not be done here; why.
    Skipped(String),
}

struct Step {
    name: &'static str,
    run: fn() -> Result<End>,
}

/// Quick ones first.
const STEPS: [Step; 9] = [
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "layers",
        run: || layers::check(&ground::root()).map(clean),
    },
    Step {
        name: "links",
        run: || links(&ground::root()).map(clean),
    },
    Step {
        name: "deny",
        run: deny,
    },
    Step {
        name: "advisories",
        run: advisories,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "kernel",
        run: kernel,
    },
    Step {
        name: "references",
        run: || r#gen::generate(r#gen::Mode::Check).map(clean),
    },
    Step {
        name: "docs",
        run: docs,
    },
];

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments
        .steps
        .iter()
        .find(|name| !STEPS.iter().any(|step| step.name == *name))
    {
        bail!("there is no step {unknown:?}; `cargo xtask check --help` lists them");
    }
    install::need(install::For::Check)?;
    let chosen = |step: &&Step| {
        arguments.steps.is_empty() || arguments.steps.iter().any(|name| name == step.name)
    };
    let mut lines: Vec<String> = Vec::new();
    let mut failed = 0;
    let mut skipped = 0;
    for step in STEPS.iter().filter(chosen) {
        interrupt::check()?;
        println!("check: {} …", step.name);
        let begun = Instant::now();
        let end = (step.run)();
        let word = match &end {
            Ok(End::Clean) => "clean".to_owned(),
            Ok(End::Skipped(why)) => {
                skipped += 1;
                format!("SKIPPED: {why}")
            }
            Err(error) => {
                failed += 1;
                println!("{error:#}");
                "FAILED".to_owned()
            }
        };
        lines.push(line(step.name, begun.elapsed(), &word));
    }
    println!("\ncheck:");
    for line in &lines {
        println!("{line}");
    }
    println!("{} steps, {failed} failed, {skipped} skipped", lines.len());
    if failed > 0 {
        bail!("{failed} of {} steps failed", lines.len());
    }
    Ok(())
}

fn line(name: &str, took: Duration, word: &str) -> String {
    format!("  {name:<11} {:>6.1} s  {word}", took.as_secs_f64())
}

fn clean(_: ()) -> End {
    End::Clean
}

fn kernel_crate() -> PathBuf {
    ground::root().join("node-agent-ebpf")
}

fn format() -> Result<End> {
    run::shown(ground::cargo().args(["fmt", "--all", "--check"]))?;
    if kernel_crate().is_dir() {
        run::shown(
            ground::cargo()
                .current_dir(kernel_crate())
                .args(["fmt", "--all", "--check"]),
        )?;
    }
    Ok(End::Clean)
}

fn clippy() -> Result<End> {
    run::shown(ground::cargo().args([
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(End::Clean)
}

/// The kernel programs with warnings denied, by the compiler that node-agent/build.rs uses. Debian's
/// compiler comes without clippy; a nightly toolchain's clippy is used when it is there.
fn kernel() -> Result<End> {
    let dir = kernel_crate();
    if !dir.is_dir() {
        bail!("no {}", dir.display());
    }
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let flags = [
        arch.as_str(),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Dwarnings",
    ]
    .join("\x1f");
    let mut command = ground::cargo();
    command.current_dir(&dir);
    for name in [
        "RUSTUP_TOOLCHAIN",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    command.env("CARGO_TARGET_DIR", ground::target().join("bpf-check"));
    if Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib").is_dir() {
        command
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .arg("check");
    } else if run::succeeds(
        Command::new("cargo")
            .current_dir(&dir)
            .args(["+nightly", "clippy", "-V"]),
    ) {
        command
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .args(["clippy", "-Zbuild-std=core"]);
    } else {
        return Ok(End::Skipped(
            "no compiler for eBPF that can also check".to_owned(),
        ));
    }
    command.args(["--quiet", "--locked", "--target", "bpfel-unknown-none"]);
    run::shown(&mut command)?;
    Ok(End::Clean)
}

fn cargo_deny() -> Command {
    let mut command =
        Command::new(ground::program("cargo-deny").unwrap_or_else(|| "cargo-deny".into()));
    command.current_dir(ground::root());
    command.args([
        "--log-level",
        "warn",
        "--locked",
        "--all-features",
        "--config",
        ".deny.toml",
    ]);
    command
}

fn deny() -> Result<End> {
    let mut command = cargo_deny();
    run::shown(command.args([
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))?;
    Ok(End::Clean)
}

/// Known vulnerabilities; the list is fetched anew, and a stale one is worth little.
fn advisories() -> Result<End> {
    if let Err(error) = run::quiet("advisories", cargo_deny().args(["fetch", "db"])) {
        // Only a database that cannot be reached excuses; a wrong setting does not.
        let text = error.to_string();
        if text.contains("failed to fetch advisory database") {
            return Ok(End::Skipped(
                "the advisory database cannot be fetched from here".into(),
            ));
        }
        return Err(error);
    }
    run::shown(cargo_deny().args(["--offline", "check", "advisories"]))?;
    Ok(End::Clean)
}

fn docs() -> Result<End> {
    let mut command = ground::cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    run::shown(command.args(["doc", "--quiet", "--locked", "--workspace", "--no-deps"]))?;
    Ok(End::Clean)
}

/// Every relative link in the project's Markdown leads to a file.
fn links(root: &Path) -> Result<()> {
    let mut pages = vec![root.join("README.md")];
    for dir in ["docs", "policies", "tests", "deploy", "vagrant"] {
        markdown(&root.join(dir), &mut pages);
    }
    let mut broken = 0;
    for page in pages.iter().filter(|page| page.is_file()) {
        let text = fs::read_to_string(page)?;
        for (number, target) in targets(&text) {
            let dir = page.parent().unwrap_or(root);
            if !dir.join(target).exists() {
                println!("{}:{number}: leads nowhere: {target}", page.display());
                broken += 1;
            }
        }
    }
    if broken > 0 {
        bail!("{broken} links lead nowhere");
    }
    Ok(())
}

fn markdown(dir: &Path, pages: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            markdown(&path, pages);
        } else if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
}

/// The relative link targets of a page, with their line numbers (from 1), without anchors. Code
/// blocks hold no links.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, tail)) = after.split_once(')') else {
                break;
            };
            rest = tail;
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((index + 1, target));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found_and_others_are_not() {
        let text = "see [a](docs/a.md#part) and [b](https://example.com)\n```\n[c](no.md)\n```\n\
                    [d](#here) [e](e.md) [f](f.md)\n";
        assert_eq!(targets(text), [(1, "docs/a.md"), (5, "e.md"), (5, "f.md")]);
    }

    #[test]
    fn a_link_that_leads_nowhere_fails() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("README.md"), "[x](docs/x.md)").unwrap();
        assert!(links(dir.path()).is_err());
        fs::create_dir(dir.path().join("docs")).unwrap();
        fs::write(dir.path().join("docs/x.md"), "[up](../README.md)").unwrap();
        assert!(links(dir.path()).is_ok());
    }
}
