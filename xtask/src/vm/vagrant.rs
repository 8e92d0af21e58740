//! One virtual machine for each kernel line that is supported (vagrant/Vagrantfile). The tests come
//! as built here, in their own root directory: a machine needs no compiler.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::tree;
use crate::{ground, interrupt, run};

/// A kernel line, by the box that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kernel {
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

/// As the first process under emulation: the same script, in the same directory, with mounts that
/// go away with it. Loopback is up there already.
const INSIDE: &str = "sudo unshare --mount chroot /node-agent /init";

/// The tests on these lines, or on all when none is named.
pub(super) fn main(kernels: &[Kernel], keep: bool, names: &[String]) -> Result<()> {
    if ground::program("vagrant").is_none() {
        bail!(
            "vagrant is not installed, so no other kernel was tried. Install vagrant with the \
             libvirt or VirtualBox provider (https://developer.hashicorp.com/vagrant); \
             `cargo xtask vm` tries Debian's 6.1 kernel without it"
        );
    }
    for tool in ["busybox", "ip", "tc", "setpriv"] {
        if ground::program(tool).is_none() {
            bail!(
                "the machines are given {tool} from here: install busybox-static, iproute2 and util-linux"
            );
        }
    }
    tree::make(names)?;
    let all = [Kernel::K5_15, Kernel::K6_1, Kernel::K6_8, Kernel::K6_12];
    let chosen = if kernels.is_empty() { &all } else { kernels };
    let mut failed = Vec::new();
    for kernel in chosen {
        interrupt::check()?;
        println!("vm: {} …", kernel.machine());
        if let Err(error) = one(*kernel) {
            println!("{error:#}");
            failed.push(kernel.machine());
        }
        if !keep {
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
    command.env(
        "NODE_AGENT_ROOT",
        Path::new(&ground::target()).join("vm/root"),
    );
    command
}

fn one(kernel: Kernel) -> Result<()> {
    run::shown(vagrant().args(["up", kernel.machine()]))?;
    run::shown(vagrant().args(["rsync", kernel.machine()]))?;
    run::shown(vagrant().args(["ssh", kernel.machine(), "-c", INSIDE]))
}
