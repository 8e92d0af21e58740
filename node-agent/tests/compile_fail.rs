//! The proof values cannot be forged: each file of testdata/compile_fail is compiled against the
//! library as it was just built, and must fail with the very error its first line names. One of
//! them must compile, so that the others cannot fail for want of something else.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, also outside its test function"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Where cargo put the libraries: this test lies beside them.
fn deps() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}

/// The newest build of a library.
fn library(deps: &Path, name: &str) -> PathBuf {
    let prefix = format!("lib{name}-");
    let mut found: Vec<(SystemTime, PathBuf)> = fs::read_dir(deps)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rlib"))
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&prefix)
        })
        .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path))
        .collect();
    found.sort();
    found
        .pop()
        .unwrap_or_else(|| panic!("no {prefix}*.rlib in {}", deps.display()))
        .1
}

/// The error codes that compiling a file gives.
fn compile(file: &Path, deps: &Path, out: &Path) -> (bool, Vec<String>, String) {
    let with = |name: &str| format!("{name}={}", library(deps, name).display());
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let result = Command::new(rustc)
        .args([
            "--edition=2024",
            "--crate-type=lib",
            "--emit=metadata",
            "--error-format=json",
        ])
        .args(["--cap-lints=allow", "--extern", &with("node_agent")])
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--out-dir")
        .arg(out)
        .arg(file)
        .output()
        .expect("rustc runs");
    let said = String::from_utf8(result.stderr).unwrap();
    let codes = said
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["level"] == "error")
        .filter_map(|message| Some(message["code"]["code"].as_str()?.to_owned()))
        .collect();
    (result.status.success(), codes, said)
}

#[test]
fn proof_values_cannot_be_forged() {
    let deps = deps();
    let out = tempfile::tempdir().unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compile_fail");
    let mut files: Vec<_> = fs::read_dir(cases)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    let mut compiled = 0;
    for file in &files {
        let source = fs::read_to_string(file).unwrap();
        let first = source.lines().next().unwrap().strip_prefix("//! ").unwrap();
        let (expected, _) = first.split_once(": ").unwrap();
        let (good, codes, said) = compile(file, &deps, out.path());
        if expected == "ok" {
            assert!(good, "{} must compile:\n{said}", file.display());
            compiled += 1;
        } else {
            assert!(!good, "{} compiles: {first}", file.display());
            assert!(
                codes.iter().all(|code| code == expected),
                "{}: {codes:?}\n{said}",
                file.display()
            );
            assert!(
                !codes.is_empty(),
                "{}: no error code\n{said}",
                file.display()
            );
        }
    }
    assert!(compiled >= 1 && files.len() > compiled);
}
