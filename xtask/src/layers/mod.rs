//! `cargo xtask layers`: the rooms' import order and purity, read from the source itself.
//!
//! `node-agent/src/lib.rs` declares the rooms in import order, and each room's doc begins with *Pure*
//! or *IO*: there is no second list to drift from. The source is parsed, not searched, so a name in
//! a comment or a string is no import, and a renamed import is still one.

mod names;
mod rooms;
mod rules;

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;

use crate::ground;

#[derive(Args)]
#[command(after_help = "Example:\n  cargo xtask layers")]
pub(crate) struct Arguments {}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    file: String,
    line: usize,
    says: String,
}

pub(crate) fn main(_: &Arguments) -> Result<()> {
    check(&ground::root())
}

/// Checks every file of the agent and of the kernel ABI.
pub(crate) fn check(root: &Path) -> Result<()> {
    let agent = rooms::read(&root.join("node-agent/src"), "node-agent/src")?;
    let mut faults = rules::judge(&agent);
    let common = rooms::read_files(&root.join("node-agent-common/src"), "node-agent-common/src")?;
    faults.extend(rules::judge_unsafe_outside(
        &common,
        "node-agent-common/src/pod.rs",
    ));
    for fault in &faults {
        println!("{}:{}: {}", fault.file, fault.line, fault.says);
    }
    if !faults.is_empty() {
        bail!("layers: {} broken", faults.len());
    }
    println!(
        "layers: {} rooms, {} files, in order",
        agent.rooms.len(),
        agent.files.len()
    );
    Ok(())
}
