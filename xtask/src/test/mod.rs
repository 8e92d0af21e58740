//! `cargo xtask test`: installs what the tests need, builds once, runs, and counts what was skipped.

mod skips;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{compile, fuzz, ground, install, interrupt, run, vm};
use skips::Skips;

/// Which tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Unit, golden and property tests: no root, no servers
    Unit,
    /// Real clients, the agent, real servers
    E2e,
    /// Kernel programs, namespaces, cgroups: needs root; here, and in a 6.1 kernel under qemu
    Kernel,
    /// All three, and the examples in the documentation
    All,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask test                      everything\n  \
    cargo xtask test unit                 quick; no root, no servers\n  \
    cargo xtask test e2e -- masking       only the end-to-end tests whose name holds `masking`\n  \
    sudo -E cargo xtask test kernel       what needs root")]
pub(crate) struct Arguments {
    /// Which tests
    #[arg(value_enum, default_value = "all")]
    suite: Suite,
    /// Do not look for missing parts first
    #[arg(long)]
    no_install: bool,
    /// Passed on: names of tests to run
    #[arg(last = true)]
    names: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    if !arguments.no_install {
        install::need(match arguments.suite {
            Suite::Unit => install::For::Build,
            Suite::E2e | Suite::Kernel | Suite::All => install::For::Test,
        })?;
    }
    compile::everything(compile::Said::Shown)?;
    let mut skips = Skips::default();
    let passed = if install::has_nextest() {
        with_nextest(arguments, &mut skips)?
    } else {
        println!("test: cargo-nextest is not installed; using cargo test, one suite at a time");
        with_cargo(arguments, &mut skips)?
    };
    let documented = match arguments.suite {
        Suite::All if arguments.names.is_empty() => doc_tests()?,
        _ => true,
    };
    let older = match arguments.suite {
        Suite::Kernel | Suite::All if arguments.names.is_empty() => {
            older_kernel(arguments.no_install, &mut skips)?
        }
        _ => true,
    };
    let passed = passed && documented && older;
    println!(
        "\ntest: {} in {:.0} s",
        told(passed),
        begun.elapsed().as_secs_f64()
    );
    let excused = skips.report();
    if !passed {
        bail!("tests failed");
    }
    if !excused && ground::in_ci() {
        bail!("a test that this machine can run was skipped");
    }
    Ok(())
}

fn told(good: bool) -> &'static str {
    if good { "passed" } else { "FAILED" }
}

/// The kernel tests once more, in an older kernel under emulation. What this machine cannot have is
/// a skip with its reason, which is judged like any other.
fn older_kernel(no_install: bool, skips: &mut Skips) -> Result<bool> {
    println!("\ntest: the kernel tests in a 6.1 kernel");
    if let Some(reason) = vm::cannot() {
        skips.add(reason);
        return Ok(true);
    }
    if no_install && !install::has(install::For::Vm) {
        skips.add("a 6.1 kernel and qemu are not installed: `cargo xtask install vm`");
        return Ok(true);
    }
    if let Err(error) = install::need(install::For::Vm) {
        interrupt::check()?;
        println!("{error:#}");
        skips.add("a 6.1 kernel and qemu could not be installed");
        return Ok(true);
    }
    let outcome = match vm::older_kernel(&[]) {
        Ok(outcome) => outcome,
        Err(error) => {
            // Of what ran before, the results are still told.
            interrupt::check()?;
            println!("{error:#}");
            return Ok(false);
        }
    };
    for reason in &outcome.skipped {
        skips.add(&format!("in the 6.1 kernel: {reason}"));
    }
    Ok(outcome.passed())
}

/// The nextest filter of a suite.
fn filter(suite: Suite) -> &'static str {
    match suite {
        Suite::Unit => "not package(node-agent-tests) and not binary(kernel)",
        Suite::E2e => "package(node-agent-tests) and not binary(kernel)",
        Suite::Kernel => "binary(kernel)",
        Suite::All => "all()",
    }
}

fn with_nextest(arguments: &Arguments, skips: &mut Skips) -> Result<bool> {
    let suites: &[Suite] = match arguments.suite {
        // As an ordinary user only the suites that need root run through sudo.
        Suite::All if !ground::is_root() => &[Suite::Unit, Suite::E2e, Suite::Kernel],
        Suite::All => &[Suite::All],
        ref one => std::slice::from_ref(one),
    };
    let mut passed = true;
    for suite in suites {
        interrupt::check()?;
        let report = ground::target().join("nextest/xtask/junit.xml");
        let _ = fs::remove_file(&report);
        let mut command = ground::cargo();
        command.args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--profile",
            "xtask",
        ]);
        command.args(["--no-fail-fast", "--no-tests", "pass", "-E", filter(*suite)]);
        // Two places a core, and one for what mostly waits: .config/nextest.toml says who takes how many.
        let places = 2 * thread::available_parallelism().map_or(1, usize::from) + 1;
        command.args(["--test-threads", &places.to_string()]);
        command.args(&arguments.names);
        prepare(&mut command, *suite)?;
        passed &= command.stdin(Stdio::null()).status()?.success();
        interrupt::check()?;
        let text = fs::read_to_string(&report).unwrap_or_default();
        skips.read(&unescaped(&text));
        skips.ignored(ignored(*suite)?);
    }
    Ok(passed)
}

/// The tests marked `#[ignore]`: nothing runs them, so each is a skip.
fn ignored(suite: Suite) -> Result<Vec<String>> {
    let text = run::captured(ground::cargo().args([
        "nextest",
        "list",
        "--locked",
        "--workspace",
        "--profile",
        "xtask",
        "--run-ignored",
        "only",
        "--message-format",
        "oneline",
        "-E",
        filter(suite),
    ]))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// JUnit text is escaped.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// The environment of a suite: time for random inputs, and root where it is needed.
fn prepare(command: &mut Command, suite: Suite) -> Result<()> {
    command.env(fuzz::TIME, fuzz::SMOKE_MILLIS);
    command.env("NODE_AGENT_TEST_PARTS", ground::test_parts());
    // A test run by itself fails when it cannot run; here it may say so, and is counted and judged.
    command.env("NODE_AGENT_TEST_ALLOW_SKIP", "1");
    if suite == Suite::Unit || ground::is_root() {
        return Ok(());
    }
    if ground::program("sudo").is_none() {
        bail!("{suite:?} tests need root: run as root, or install sudo");
    }
    let version = run::captured(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say for which machine it compiles")?;
    let name = host.to_uppercase().replace('-', "_");
    command.env(format!("CARGO_TARGET_{name}_RUNNER"), "sudo -E");
    Ok(())
}

/// Without nextest: kernel tests one at a time, since they share one kernel.
fn with_cargo(arguments: &Arguments, skips: &mut Skips) -> Result<bool> {
    let unit: &[&str] = &[
        "--workspace",
        "--exclude",
        "node-agent-tests",
        "--lib",
        "--bins",
        "--tests",
    ];
    let e2e: &[&str] = &[
        "--package",
        "node-agent-tests",
        "--lib",
        "--bins",
        "--test",
        "e2e",
        "--test",
        "corpus",
        "--test",
        "witness",
    ];
    let kernel: &[&str] = &["--package", "node-agent-tests", "--test", "kernel"];
    let runs: &[(Suite, &[&str])] = match arguments.suite {
        Suite::Unit => &[(Suite::Unit, unit)],
        Suite::E2e => &[(Suite::E2e, e2e)],
        Suite::Kernel => &[(Suite::Kernel, kernel)],
        Suite::All => &[
            (Suite::Unit, unit),
            (Suite::E2e, e2e),
            (Suite::Kernel, kernel),
        ],
    };
    let mut passed = true;
    for (suite, choice) in runs {
        interrupt::check()?;
        let mut command = ground::cargo();
        command
            .args(["test", "--locked", "--no-fail-fast"])
            .args(*choice)
            .arg("--");
        command.arg("--show-output").args(&arguments.names);
        if *suite == Suite::Kernel {
            command.arg("--test-threads=1");
        }
        prepare(&mut command, *suite)?;
        let (good, text) = shown_and_kept(&mut command)?;
        passed &= good;
        skips.read(&text);
        let ignored = |line: &str| {
            let name = line.strip_prefix("test ")?.strip_suffix("... ignored")?;
            Some(name.trim().to_owned())
        };
        skips.ignored(text.lines().filter_map(ignored).collect());
    }
    Ok(passed)
}

/// Runs with standard output both shown and kept.
fn shown_and_kept(command: &mut Command) -> Result<(bool, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", run::line(command)))?;
    let out = child.stdout.take().context("no standard output")?;
    let reader = thread::spawn(move || -> io::Result<String> {
        let mut text = String::new();
        let mut reader = BufReader::new(out);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            io::stdout().write_all(&line)?;
            text.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(text)
    });
    let good = child.wait()?.success();
    interrupt::check()?;
    let text = reader
        .join()
        .map_err(|_| anyhow::anyhow!("reading test output failed"))??;
    Ok((good, text))
}

fn doc_tests() -> Result<bool> {
    println!("test: examples in the documentation");
    let mut command = ground::cargo();
    // All of the workspace, so that features are as for the rest and nothing is built twice.
    command.args(["test", "--locked", "--doc", "--workspace"]);
    let good = command.stdin(Stdio::null()).status()?.success();
    interrupt::check()?;
    Ok(good)
}
