//! What was skipped and why. A test that cannot run here prints `SKIPPED: why`; in CI that is only
//! accepted when this machine truly cannot run it, which is checked here and not believed.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::{ground, vm};

const MARK: &str = "SKIPPED: ";

/// A reason that a machine may have, and how to tell that it has it.
struct Excuse {
    /// What the test's reason contains.
    says: &'static str,
    /// Whether it is true here.
    holds: fn() -> bool,
}

const EXCUSES: &[Excuse] = &[
    // Distributions carry one version each; the tests also run against 18, which comes by itself.
    Excuse {
        says: "PostgreSQL 15 is not installed",
        holds: || !exists("/usr/lib/postgresql/15/bin/postgres"),
    },
    // What a kernel has not is asked of the program that was just built: it tries.
    Excuse {
        says: "in the 6.1 kernel: connect_unix is not loadable",
        holds: || true, // it came with 6.7
    },
    Excuse {
        says: "connect_unix is not loadable in this kernel",
        holds: || lacks("unix sockets"),
    },
    Excuse {
        says: "LSM programs are not loadable in this kernel",
        holds: || lacks("AF_PACKET"),
    },
    Excuse {
        says: "leaving the cgroup namespace takes root",
        holds: || !ground::is_root(),
    },
    Excuse {
        says: "the 6.1 kernel for these tests",
        holds: || vm::cannot().is_some(),
    },
    // Programs that a workload attaches to its device by a link came with 6.6.
    Excuse {
        says: "in the 6.1 kernel: 22 rewrite: this kernel cannot run it",
        holds: || true,
    },
];

/// Does `doctor` say that this kernel has not that optional layer?
fn lacks(layer: &str) -> bool {
    let program = ground::target().join("debug/node-agent");
    let said = Command::new(program).arg("doctor").output();
    said.is_ok_and(|said| {
        String::from_utf8_lossy(&said.stdout)
            .lines()
            .any(|line| line.contains("optional layer, absent") && line.contains(layer))
    })
}

fn exists(path: &str) -> bool {
    fs::exists(path).unwrap_or(false)
}

/// Reasons, and how many tests gave each.
#[derive(Default)]
pub(super) struct Skips {
    reasons: BTreeMap<String, usize>,
    ignored: Vec<String>,
}

impl Skips {
    /// Counts the marks in the tests' output.
    pub(super) fn read(&mut self, output: &str) {
        for line in output.lines() {
            let Some((_, reason)) = line.split_once(MARK) else {
                continue;
            };
            let reason = reason.split(']').next().unwrap_or(reason).trim();
            self.add(reason);
        }
    }

    /// Counts one that was not run, with the reason.
    pub(super) fn add(&mut self, reason: &str) {
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds tests that are marked `#[ignore]`.
    pub(super) fn ignored(&mut self, names: Vec<String>) {
        self.ignored.extend(names);
    }

    /// Prints them; `true` when each has a reason that holds on this machine.
    pub(super) fn report(&self) -> bool {
        let count = self.reasons.values().sum::<usize>() + self.ignored.len();
        println!("test: {count} skipped");
        let mut excused = self.ignored.is_empty();
        for (reason, count) in &self.reasons {
            let holds = excuse(reason);
            excused &= holds;
            let note = if holds {
                ""
            } else {
                "  (this machine could run it)"
            };
            println!("  {count:>4}  {reason}{note}");
        }
        for name in &self.ignored {
            println!("     1  #[ignore] {name}");
        }
        excused
    }
}

fn excuse(reason: &str) -> bool {
    EXCUSES
        .iter()
        .any(|excuse| reason.contains(excuse.says) && (excuse.holds)())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_counted_by_reason() {
        let mut skips = Skips::default();
        skips.read("running\nSKIPPED: not root\nx SKIPPED: not root\nok\nSKIPPED: no psql\n");
        assert_eq!(skips.reasons.get("not root"), Some(&2));
        assert_eq!(skips.reasons.get("no psql"), Some(&1));
        assert!(!skips.report());
    }

    #[test]
    fn nothing_skipped_needs_no_excuse_and_an_ignored_test_has_none() {
        let mut skips = Skips::default();
        assert!(skips.report());
        skips.ignored(vec!["slow".to_owned()]);
        assert!(!skips.report());
    }

    #[test]
    fn a_reason_is_checked_and_not_believed() {
        assert!(!excuse("it was late"));
        let reason = "the 6.1 kernel for these tests is one for x86_64";
        assert_eq!(excuse(reason), vm::cannot().is_some());
        let reason = "PostgreSQL 15 is not installed: `cargo xtask test` installs it";
        assert_eq!(
            excuse(reason),
            !exists("/usr/lib/postgresql/15/bin/postgres")
        );
    }
}
