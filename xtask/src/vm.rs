//! `cargo xtask vm`: the kernel tests inside one virtual machine for each kernel line that is
//! supported (vagrant/Vagrantfile).

use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{ground, interrupt, run};

/// A kernel line, by the box that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kernel {
    #[value(name = "5.15")]
    K5_15,
    #[value(name = "6.1")]
    K6_1,
    #[value(name = "6.8")]
    K6_8,
    #[value(name = "6.12")]
    K6_12,
}

impl Kernel {
    /// The machine's name in vagrant/Vagrantfile.
    fn machine(self) -> &'static str {
        match self {
            Self::K5_15 => "k5-15",
            Self::K6_1 => "k6-1",
            Self::K6_8 => "k6-8",
            Self::K6_12 => "k6-12",
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask vm                 all kernel lines\n  \
    cargo xtask vm 5.15 6.12       these two\n  \
    cargo xtask vm --keep 6.1      leave the machine running afterwards")]
pub(crate) struct Arguments {
    /// Kernel lines; all when none is named
    #[arg(value_enum)]
    kernels: Vec<Kernel>,
    /// Leave the machines running
    #[arg(long)]
    keep: bool,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if ground::program("vagrant").is_none() {
        bail!(
            "vagrant is not installed, so no other kernel was tried. Install vagrant with the \
             libvirt or VirtualBox provider (https://developer.hashicorp.com/vagrant); \
             `cargo xtask test kernel` tests the kernel that runs here"
        );
    }
    let all = [Kernel::K5_15, Kernel::K6_1, Kernel::K6_8, Kernel::K6_12];
    let chosen = if arguments.kernels.is_empty() {
        all.as_slice()
    } else {
        &arguments.kernels
    };
    let mut failed = Vec::new();
    for kernel in chosen {
        interrupt::check()?;
        println!("vm: {} …", kernel.machine());
        if let Err(error) = one(*kernel) {
            println!("{error:#}");
            failed.push(kernel.machine());
        }
        if !arguments.keep {
            run::shown(vagrant().args(["halt", kernel.machine()]))?;
        }
    }
    println!(
        "vm: {} kernel lines, {} failed {}",
        chosen.len(),
        failed.len(),
        failed.join(" ")
    );
    if !failed.is_empty() {
        bail!("the kernel tests failed on {}", failed.join(", "));
    }
    Ok(())
}

fn vagrant() -> Command {
    let mut command = Command::new("vagrant");
    command.current_dir(ground::root().join("vagrant"));
    command
}

fn one(kernel: Kernel) -> Result<()> {
    run::shown(vagrant().args(["up", kernel.machine()]))?;
    run::shown(vagrant().args(["rsync", kernel.machine()]))?;
    let test = "cd /node-agent && sudo -E env PATH=\"$PATH\" cargo xtask test kernel";
    run::shown(vagrant().args(["ssh", kernel.machine(), "-c", test]))
}
