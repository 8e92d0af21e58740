//! Walks the Markdown that doubles as tests: the cases of the shipped policies.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use node_agent::policy::{PolicySet, cases, parse};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
        .to_owned()
}

/// Files with an extension in a directory, sorted.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    list.sort();
    assert!(!list.is_empty(), "nothing in {}", dir.display());
    list
}

#[test]
fn every_policy_case_is_decided_as_its_prose_says() {
    let load = |path: &str| fs::read_to_string(root().join(path)).ok();
    let mut run = 0;
    let mut wrong = Vec::new();
    let dirs = [
        root().join("policies/cases"),
        root().join("node-agent/testdata/policy"),
    ];
    for path in dirs.iter().flat_map(|dir| files(dir, "md")) {
        let text = fs::read_to_string(&path).expect("readable");
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        for case in cases::run(&text, &name, &[], &load) {
            run += 1;
            if !case.passed {
                wrong.push(format!(
                    "{}:{} {}\n  expected: {}\n  decided:  {}",
                    case.source_name,
                    case.line,
                    case.name,
                    case.expected.replace('\n', "; "),
                    case.actual
                ));
            }
        }
    }
    assert!(run > 0);
    assert!(
        wrong.is_empty(),
        "{} of {run} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_shipped_policy_compiles_alone() {
    let root = root().join("policies");
    let dirs = [root.clone(), root.join("guardrails"), root.join("masking")];
    for path in dirs.iter().flat_map(|dir| files(dir, "yaml")) {
        let text = fs::read_to_string(&path).expect("readable");
        let name = path.display().to_string();
        let documents = parse(&text, &name).unwrap_or_else(|e| panic!("{e:?}"));
        PolicySet::compile(documents).unwrap_or_else(|e| panic!("{e:?}"));
    }
}
