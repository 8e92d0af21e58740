//! `cargo xtask fuzz`: random inputs against every test whose name begins with `fuzz_`. The bodies
//! live with the code they attack; a failure prints the seed that repeats it.

use std::process::Stdio;

use anyhow::{Result, bail};
use clap::Args;

use crate::{ground, install, interrupt};

/// How long one target runs, in milliseconds; read by the fuzz bodies' engine.
pub(crate) const TIME: &str = "BOLERO_RANDOM_TEST_TIME_MS";
/// The time of one target inside `cargo xtask test`.
pub(crate) const SMOKE_MILLIS: &str = "5000";

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask fuzz                          ten seconds for each target\n  \
    cargo xtask fuzz --seconds 600 frame      ten minutes for each target named like `frame`\n  \
    BOLERO_RANDOM_SEED=… cargo xtask fuzz frame    repeat a failure")]
pub(crate) struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Only targets whose name holds this
    target: Option<String>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    install::need(install::For::Build)?;
    let mut command = ground::cargo();
    command.env(TIME, (arguments.seconds * 1000).to_string());
    if install::has_nextest() {
        command.args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--profile",
            "fuzz",
        ]);
        command.args(["--no-fail-fast", "-E", "test(/(^|::)fuzz_/)"]);
    } else {
        command.args([
            "test",
            "--locked",
            "--workspace",
            "--lib",
            "--no-fail-fast",
            "--",
        ]);
        if arguments.target.is_none() {
            command.arg("fuzz_");
        }
    }
    command.args(&arguments.target);
    let good = command.stdin(Stdio::null()).status()?.success();
    interrupt::check()?;
    if !good {
        bail!("a fuzz target failed; the seed above repeats it");
    }
    Ok(())
}
