//! `cargo xtask vm`: the kernel tests in kernels that do not run here. By itself it is Debian's 6.1
//! kernel under qemu's software emulation, which needs neither root nor /dev/kvm; `--vagrant` takes
//! a virtual machine for each kernel line that is supported. Both run vagrant/inside.sh in one and
//! the same root directory.

mod archive;
mod emulated;
mod outcome;
mod tree;
mod vagrant;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::{ground, install};

pub(crate) use outcome::Outcome;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask vm                         Debian's 6.1 kernel under qemu\n  \
    cargo xtask vm -- pins                 only the tests whose name holds `pins`\n  \
    cargo xtask vm --vagrant               all kernel lines of vagrant/Vagrantfile\n  \
    cargo xtask vm --vagrant 5.15 6.12     these two\n  \
    cargo xtask vm --vagrant --keep 6.1    leave the machine running afterwards")]
pub(crate) struct Arguments {
    /// Virtual machines by vagrant, not qemu's emulation
    #[arg(long)]
    vagrant: bool,
    /// Kernel lines of vagrant's machines; all when none is named
    #[arg(value_enum, requires = "vagrant")]
    kernels: Vec<vagrant::Kernel>,
    /// Leave vagrant's machines running
    #[arg(long, requires = "vagrant")]
    keep: bool,
    /// Only tests whose name holds one of these
    #[arg(last = true)]
    names: Vec<String>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if arguments.vagrant {
        install::need(install::For::Build)?;
        return vagrant::main(&arguments.kernels, arguments.keep, &arguments.names);
    }
    if let Some(reason) = cannot() {
        bail!("{reason}");
    }
    install::need(install::For::Vm)?;
    let outcome = older_kernel(&arguments.names)?;
    for reason in &outcome.skipped {
        println!("  skipped  {reason}");
    }
    if !outcome.passed() {
        bail!("the kernel tests failed: {}", outcome.told());
    }
    Ok(())
}

/// Why no machine like this one can emulate the older kernel.
pub(crate) fn cannot() -> Option<&'static str> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the 6.1 kernel for these tests is one for x86_64");
    }
    if ground::program("apt-get").is_none() {
        return Some("the 6.1 kernel for these tests comes by apt-get, which is not here");
    }
    None
}

/// Builds the tests and runs them in Debian's 6.1 kernel under emulation.
pub(crate) fn older_kernel(names: &[String]) -> Result<Outcome> {
    let root = tree::make(names)?;
    let begun = Instant::now();
    let outcome = emulated::boot(&root)?;
    println!(
        "vm: kernel 6.1 under emulation: {} in {:.0} s",
        outcome.told(),
        begun.elapsed().as_secs_f64()
    );
    Ok(outcome)
}
