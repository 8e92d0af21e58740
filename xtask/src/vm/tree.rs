//! The root directory in which the kernel tests run: the tests, the programs that they start at the
//! very paths that are compiled into them, shared libraries, a shell, kernel modules, the script.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::install::kernel61;
use crate::{ground, install, run};

/// What they need of this machine: the shell and its tools, those of iproute2, and those of
/// util-linux that busybox has less of.
const TOOLS: [(&str, &str); 6] = [
    ("busybox", "bin/busybox"),
    ("ip", "usr/sbin/ip"),
    ("tc", "usr/sbin/tc"),
    ("nsenter", "usr/bin/nsenter"),
    ("setpriv", "usr/bin/setpriv"),
    ("unshare", "usr/bin/unshare"),
];

/// The distribution's, which is not somebody's wrapper in front of another one.
const PYTHON: &str = "/usr/bin/python3";
/// Parts of Python's library that no test needs: two thirds of it.
const PYTHON_WITHOUT: [&str; 12] = [
    "dist-packages",
    "site-packages",
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "pydoc_data",
    "distutils",
    "unittest",
    "xml",
];

/// Builds the tests and puts the directory together.
pub(super) fn make(names: &[String]) -> Result<PathBuf> {
    let built = built()?;
    let root = ground::target().join("vm/root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    let mut libraries = BTreeSet::new();
    for Built { name, file } in &built {
        let place = if name == "kernel" {
            root.join("tests/kernel")
        } else {
            below(&root, file)
        };
        stripped(file, &place)?;
        libraries.extend(libraries_of(file)?);
    }
    for (name, place) in TOOLS {
        let file = ground::program(name).with_context(|| format!("{name} is not installed"))?;
        copy(&file, &root.join(place))?;
        libraries.extend(libraries_of(&file)?);
    }
    if Path::new(PYTHON).is_file() {
        libraries.extend(python(&root)?);
    }
    for library in libraries {
        copy(&library, &below(&root, &library))?;
    }
    let script = ground::root().join("vagrant/inside.sh");
    copy(&script, &root.join("init"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let lines = |words: &[String]| words.iter().map(|word| format!("{word}\n")).collect();
    let order: String = lines(&kernel61::MODULES.map(str::to_owned));
    write(&root.join("modules/order"), &order)?;
    let names: String = lines(names);
    write(&root.join("tests/names"), &names)?;
    Ok(root)
}

/// Puts Python there, and gives the shared libraries that it needs. Without it the tests with a part
/// in Python say that they skip it.
fn python(root: &Path) -> Result<Vec<PathBuf>> {
    copy(Path::new(PYTHON), &below(root, Path::new(PYTHON)))?;
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let said = run::captured(Command::new(PYTHON).args(["-c", ask]))?;
    let mut places = vec![PathBuf::from(said.trim_end())];
    let mut needed = libraries_of(Path::new(PYTHON))?;
    while let Some(dir) = places.pop() {
        for path in install::under(&dir) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                let unwanted = PYTHON_WITHOUT.contains(&&*name) || name.starts_with("config-");
                if !unwanted {
                    places.push(path);
                }
            } else if path.is_file() {
                if name.ends_with(".so") {
                    needed.extend(libraries_of(&path)?);
                }
                copy(&path, &below(root, &path))?;
            }
        }
    }
    Ok(needed)
}

/// Adds the modules of Debian's 6.1 kernel: a virtual machine with another kernel has its own.
pub(super) fn add_modules(root: &Path) -> Result<()> {
    for name in kernel61::MODULES {
        let file = Path::new("modules").join(name).with_extension("ko");
        copy(&kernel61::home().join(&file), &root.join(&file))?;
    }
    Ok(())
}

/// A program that cargo built.
struct Built {
    name: String,
    file: PathBuf,
}

/// The part of cargo's messages that is of interest.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the kernel tests, and with them the programs of their package.
fn built() -> Result<Vec<Built>> {
    println!("vm: building the kernel tests …");
    let mut cargo = ground::cargo();
    // All of the workspace, so that features are as for any other run and nothing is built twice.
    cargo.args(["test", "--locked", "--workspace", "--no-run"]);
    cargo.args([
        "--test",
        "kernel",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let built = programs(&run::captured(&mut cargo)?);
    if !built.iter().any(|one| one.name == "kernel") {
        bail!("cargo built no test named kernel");
    }
    Ok(built)
}

fn programs(messages: &str) -> Vec<Built> {
    let program = |line: &str| {
        let message: Message = serde_json::from_str(line).ok()?;
        Some(Built {
            name: message.target?.name,
            file: message.executable?,
        })
    };
    messages.lines().filter_map(program).collect()
}

/// Where an absolute path lies below another root.
fn below(root: &Path, file: &Path) -> PathBuf {
    root.join(file.strip_prefix("/").unwrap_or(file))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("a file without a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::copy(from, to)
        .and_then(|_| fs::metadata(from)?.modified())
        .and_then(|time| fs::File::open(to)?.set_modified(time))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let dir = file.parent().context("a file without a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// A copy without debugging information: that is two thirds of what would be loaded.
fn stripped(from: &Path, to: &Path) -> Result<()> {
    copy(from, to)?;
    if let Some(strip) = ground::program("strip") {
        run::captured(Command::new(strip).arg("-g").arg(to))?;
    }
    Ok(())
}

/// The shared libraries of a program, and its loader.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot start ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    // A static program has none; ldd then fails.
    if said.contains("not found") {
        bail!("{}: {}", program.display(), said.trim_end());
    }
    Ok(libraries(&said))
}

/// Reads `NAME => PATH (ADDRESS)` and `PATH (ADDRESS)`; what has no path is inside the kernel.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    ldd.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(OsStr::new)
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let said = "\tlinux-vdso.so.1 (0x00007fe454700000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fe453c1e000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fe454702000)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(said), expected.map(PathBuf::from));
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn programs_are_read_from_cargo_s_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"libc"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":"/t/kernel-1"}
{"reason":"build-finished","success":true}
"#;
        let found = programs(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "kernel");
        assert_eq!(found[0].file, Path::new("/t/kernel-1"));
    }
}
