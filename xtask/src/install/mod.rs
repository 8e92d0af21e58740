//! Whatever a machine needs, the project's own files install: each part is checked first, skipped
//! when present, and named with its progress when not.

mod apt;
mod clients;
mod compiler;
pub(crate) mod kernel61;
mod postgres18;
mod regress;
mod tools;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::interrupt;

pub(crate) use apt::{postgres_bin, under};
pub(crate) use tools::{has_deny, has_nextest};

/// What the parts are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    /// Compiling the agent and its kernel programs
    Build,
    /// The demonstration: build, and a PostgreSQL server
    Demo,
    /// The tests: demo, and the drivers and servers that the tests talk to
    Test,
    /// `cargo xtask vm`: build, qemu, and Debian's 6.1 kernel
    Vm,
    /// `cargo xtask check`: build, and cargo-deny
    Check,
    /// The benchmark: demo, and PgBouncer
    Bench,
    /// All of them
    All,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask install              everything\n  \
    cargo xtask install build        only what compiling needs\n  \
    cargo xtask install --list       what is present and what is missing; installs nothing")]
pub(crate) struct Arguments {
    /// What the parts are for
    #[arg(value_enum, default_value = "all")]
    what: For,
    /// Say what is present and what is missing, and install nothing
    #[arg(long)]
    list: bool,
}

/// One thing that a machine has or lacks.
struct Part {
    name: &'static str,
    present: fn() -> bool,
    get: Get,
}

/// How a missing part comes.
enum Get {
    /// Packages of the distribution; all missing ones come in one transaction.
    Packages(&'static [&'static str]),
    /// Steps of our own.
    Steps(fn() -> Result<()>),
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if !arguments.list {
        return need(arguments.what);
    }
    let mut missing = 0;
    for part in parts(arguments.what) {
        let present = (part.present)();
        missing += usize::from(!present);
        println!(
            "{:>8}  {}",
            if present { "present" } else { "missing" },
            part.name
        );
    }
    if missing > 0 {
        bail!("{missing} missing; `cargo xtask install` gets them");
    }
    Ok(())
}

/// Whether nothing is missing for `what`.
pub(crate) fn has(what: For) -> bool {
    parts(what).iter().all(|part| (part.present)())
}

/// Installs what is missing for `what`; silent about the rest but for one line.
pub(crate) fn need(what: For) -> Result<()> {
    let parts = parts(what);
    let count = parts.len();
    let missing: Vec<(usize, &Part)> = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| !(part.present)())
        .collect();
    if missing.is_empty() {
        println!("install: all {count} parts are present");
        return Ok(());
    }
    for (index, part) in parts.iter().enumerate() {
        if !missing.iter().any(|(at, _)| *at == index) {
            println!("[{}/{count}] {}: present, skipped", index + 1, part.name);
        }
    }
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|(_, part)| match part.get {
            Get::Packages(names) => Some(names),
            Get::Steps(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    if !packages.is_empty() {
        timed(&format!("packages {}", packages.join(" ")), || {
            apt::install(&packages)
        })?;
    }
    for (index, part) in missing {
        interrupt::check()?;
        let label = format!("[{}/{count}] {}", index + 1, part.name);
        match part.get {
            Get::Packages(_) => println!("{label}: installed"),
            Get::Steps(get) => timed(&label, get)?,
        }
        if !(part.present)() {
            bail!(
                "{}: installed, and still not found; see target/xtask/*.log",
                part.name
            );
        }
    }
    Ok(())
}

fn timed(label: &str, get: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("{label}: installing …");
    let begun = Instant::now();
    get()?;
    println!("{label}: done in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The parts, in the order in which they are installed.
fn parts(what: For) -> Vec<Part> {
    let mut parts = vec![
        Part {
            name: "C compiler",
            present: apt::has_c_compiler,
            get: Get::Packages(&["build-essential"]),
        },
        Part {
            name: "libclang (reads PostgreSQL's grammar headers)",
            present: apt::has_libclang,
            get: Get::Packages(&["libclang-dev"]),
        },
        Part {
            name: "eBPF compiler",
            present: compiler::has_rustc,
            get: Get::Steps(compiler::get_rustc),
        },
        Part {
            name: "eBPF linker",
            present: compiler::has_linker,
            get: Get::Steps(compiler::get_linker),
        },
    ];
    let all = what == For::All;
    if all || matches!(what, For::Demo | For::Test | For::Bench) {
        parts.push(Part {
            name: "PostgreSQL server and psql",
            present: apt::has_postgres,
            get: Get::Packages(&["postgresql"]),
        });
    }
    if all || matches!(what, For::Demo | For::Test | For::Bench | For::Vm) {
        parts.push(Part {
            name: "iproute2",
            present: || crate::ground::program("ip").is_some(),
            get: Get::Packages(&["iproute2"]),
        });
    }
    if all || what == For::Test {
        parts.extend(test_parts());
    }
    if all || what == For::Vm {
        parts.extend(vm_parts());
    }
    if all || what == For::Bench {
        parts.push(Part {
            name: "PgBouncer",
            present: || crate::ground::program("pgbouncer").is_some(),
            get: Get::Packages(&["pgbouncer"]),
        });
    }
    if all || what == For::Check {
        parts.push(Part {
            name: "cargo-deny",
            present: has_deny,
            get: Get::Steps(tools::get_deny),
        });
    }
    parts
}

fn test_parts() -> Vec<Part> {
    vec![
        Part {
            name: "Python with venv",
            present: clients::has_python,
            get: Get::Packages(&["python3", "python3-venv"]),
        },
        Part {
            name: "psycopg 3 and asyncpg",
            present: clients::has_python_drivers,
            get: Get::Steps(clients::get_python_drivers),
        },
        Part {
            name: "Node.js and npm",
            present: clients::has_node,
            get: Get::Packages(&["nodejs", "npm"]),
        },
        Part {
            name: "node-postgres",
            present: clients::has_node_driver,
            get: Get::Steps(clients::get_node_driver),
        },
        Part {
            name: "Chromium",
            present: || crate::ground::program("chromium").is_some(),
            get: Get::Packages(&["chromium", "fonts-dejavu-core"]),
        },
        Part {
            name: "playwright-core and axe-core",
            present: clients::has_browser_driver,
            get: Get::Steps(clients::get_browser_driver),
        },
        Part {
            name: "PostgreSQL 18 server",
            present: postgres18::is_present,
            get: Get::Steps(postgres18::get),
        },
        Part {
            name: "bzip2 (unpacks the next)",
            present: || crate::ground::program("bzip2").is_some(),
            get: Get::Packages(&["bzip2"]),
        },
        Part {
            name: "PostgreSQL's regression suite",
            present: regress::is_present,
            get: Get::Steps(regress::get),
        },
    ]
}

fn vm_parts() -> Vec<Part> {
    vec![
        Part {
            name: "util-linux",
            present: || crate::ground::program("setpriv").is_some(),
            get: Get::Packages(&["util-linux"]),
        },
        Part {
            name: "qemu",
            present: || crate::ground::program("qemu-system-x86_64").is_some(),
            get: Get::Packages(&["qemu-system-x86"]),
        },
        Part {
            name: "busybox",
            present: || crate::ground::program("busybox").is_some(),
            get: Get::Packages(&["busybox-static"]),
        },
        Part {
            name: "Debian's 6.1 kernel",
            present: kernel61::is_present,
            get: Get::Steps(kernel61::get),
        },
    ]
}

/// Tries once more when a registry or a mirror did not answer the first time.
fn twice(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    match attempt() {
        Ok(()) => Ok(()),
        Err(first) => {
            interrupt::check()?;
            println!(
                "  failed once, trying again: {}",
                first.to_string().lines().next().unwrap_or("")
            );
            attempt()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_is_forgiven_and_two_are_not() {
        let mut left = 1;
        let mut attempt = || {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            bail!("passing fault")
        };
        assert!(twice(&mut attempt).is_ok());
        assert!(twice(|| bail!("lasting fault")).is_err());
    }

    #[test]
    fn all_holds_every_part_of_every_purpose() {
        let all: Vec<&str> = parts(For::All).iter().map(|part| part.name).collect();
        for what in [
            For::Build,
            For::Demo,
            For::Test,
            For::Vm,
            For::Check,
            For::Bench,
        ] {
            for part in parts(what) {
                assert!(all.contains(&part.name), "{} of {what:?}", part.name);
            }
        }
    }
}
