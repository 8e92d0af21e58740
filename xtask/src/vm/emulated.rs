//! Debian's 6.1 kernel under qemu's software emulation: no /dev/kvm, no root, no network, no disk.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::outcome::Outcome;
use super::{archive, tree};
use crate::install::kernel61;
use crate::{ground, interrupt, run};

/// A machine that runs longer than this is ended: twice what it needs where nothing else runs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Boots with `root` as the only file system, shows what is said, and reads the results.
pub(super) fn boot(root: &Path) -> Result<Outcome> {
    tree::add_modules(root)?;
    let home = ground::target().join("vm");
    let first = home.join("root.cpio");
    archive::write(root, &first)?;
    let report = home.join("report");
    let _ = fs::remove_file(&report);
    println!("vm: starting Debian's 6.1 kernel under emulation …");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1G"]);
    qemu.args(["-no-reboot", "-nic", "none"]);
    // The first serial line is the console, the second one carries nothing but the results, so
    // that no word of the kernel can get between.
    qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    qemu.arg("-serial")
        .arg(format!("file:{}", report.display()));
    qemu.arg("-kernel").arg(kernel61::home().join("vmlinuz"));
    qemu.arg("-initrd").arg(&first);
    // An emulated timer is late on a busy machine; the kernel's check of it would end the boot.
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet no_timer_check"]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = qemu
        .spawn()
        .with_context(|| format!("cannot start {}", run::line(&qemu)))?;
    let mut machine = Machine(child);
    let out = machine.0.stdout.take().context("no standard output")?;
    let shown = thread::spawn(move || show(BufReader::new(out)));
    let ended = interrupt::wait_until(LIMIT, || Ok(machine.0.try_wait()?.is_some()))?;
    drop(machine);
    shown
        .join()
        .map_err(|_| anyhow::anyhow!("reading the console failed"))??;
    if !ended {
        bail!(
            "the machine was not done after {} minutes and was ended",
            LIMIT.as_secs() / 60
        );
    }
    let report = fs::read_to_string(&report).unwrap_or_default();
    Ok(Outcome::read(&report))
}

/// Ends with its guard.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Shows each line as it comes, without what would move the cursor of a terminal.
fn show(mut console: impl BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    while console.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let plain: String = text.chars().filter(|c| !c.is_control()).collect();
        writeln!(io::stdout(), "6.1 | {plain}")?;
        line.clear();
    }
    Ok(())
}
