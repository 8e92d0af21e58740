//! Walks the Markdown that doubles as tests: the cases of the shipped policies; and the commands
//! that policies are written with.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod commands;

use std::fs;
use std::path::{Path, PathBuf};

use node_agent::policy::{PolicySet, cases, check, parse};

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
fn every_policy_in_the_guide_compiles_and_says_nothing_in_vain() {
    let text = fs::read_to_string(root().join("docs/policy-language.md")).expect("readable");
    let mut seen = 0;
    for block in text.split("\n```yaml\n").skip(1) {
        let policy = block.split("\n```\n").next().expect("an end");
        if !policy.contains("kind: Policy") {
            continue;
        }
        seen += 1;
        let documents = parse(policy, "policy-language.md").unwrap_or_else(|e| panic!("{e:?}"));
        PolicySet::compile(documents.clone()).unwrap_or_else(|e| panic!("{e:?}"));
        let found = check(&documents);
        assert!(found.is_empty(), "{found:#?}");
    }
    assert!(seen > 0);
}

#[test]
fn every_shipped_policy_is_tried_by_cases() {
    let policies = root().join("policies");
    let cases: String = files(&policies.join("cases"), "md")
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    let dirs = ["", "guardrails/", "masking/"];
    // Tried by hundreds of statements through the agent: tests/tests/statements.
    let elsewhere = "policies/read-write.yaml";
    for dir in dirs {
        for path in files(&policies.join(dir), "yaml") {
            let name = path.file_name().expect("a name").to_string_lossy();
            let named = format!("policies/{dir}{name}");
            if named == elsewhere {
                continue;
            }
            assert!(cases.contains(&named), "no case tries {named}");
        }
    }
}

#[test]
fn no_shipped_policy_says_anything_in_vain() {
    let root = root().join("policies");
    let dirs = [root.clone(), root.join("guardrails"), root.join("masking")];
    for path in dirs.iter().flat_map(|dir| files(dir, "yaml")) {
        let text = fs::read_to_string(&path).expect("readable");
        let documents = parse(&text, &path.display().to_string()).expect("it reads");
        let found = check(&documents);
        assert!(found.is_empty(), "{found:#?}");
    }
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
