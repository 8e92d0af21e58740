//! Policy files: read, compiled as a whole, published only when all of it is good.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;
use tokio::time::interval;

use crate::policy::{Document, PolicyError, PolicySet, parse};
use crate::telemetry::Metrics;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// The largest policy file, bytes.
const LARGEST: u64 = 4 << 20;
/// Files that are read at most.
const FILES: usize = 4096;

/// The newest good policies.
pub type Policies = Arc<ArcSwap<PolicySet>>;

/// Why the newest files are not in force; empty while they are.
pub type PolicyTrouble = Arc<ArcSwapOption<String>>;

/// Policies that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    /// A path cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Documents are wrong; each line says which and where.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
}

/// Reads and compiles all files that the paths name (directories: their `.yaml` and `.yml`).
///
/// # Errors
/// Everything that is wrong.
pub fn load_policies(paths: &[PathBuf]) -> Result<PolicySet, PolicyFault> {
    let (documents, wrong) = read_policies(paths)?;
    let lines = |errors: &[PolicyError]| errors.iter().map(ToString::to_string).collect();
    if !wrong.is_empty() {
        return Err(PolicyFault::Wrong(lines(&wrong)));
    }
    PolicySet::compile(documents).map_err(|errors| PolicyFault::Wrong(lines(&errors)))
}

/// Reads all files that the paths name: the documents that read, and what is wrong with the others.
///
/// # Errors
/// A path that cannot be read.
pub fn read_policies(paths: &[PathBuf]) -> Result<(Vec<Document>, Vec<PolicyError>), PolicyFault> {
    let mut documents = Vec::new();
    let mut wrong = Vec::new();
    for path in files(paths)? {
        let unreadable = |source| PolicyFault::Read {
            path: path.clone(),
            source,
        };
        if fs::metadata(&path).map_err(unreadable)?.len() > LARGEST {
            wrong.push(PolicyError {
                source_name: path.display().to_string(),
                line: 0,
                column: 0,
                message: format!("larger than {LARGEST} bytes"),
            });
            continue;
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        match parse(&text, &path.display().to_string()) {
            Ok(found) => documents.extend(found),
            Err(errors) => wrong.extend(errors),
        }
    }
    Ok((documents, wrong))
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PolicyFault> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |source| PolicyFault::Read {
            path: path.clone(),
            source,
        };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let found = entry.map_err(unreadable)?.path();
            let named = found.extension().and_then(|ending| ending.to_str());
            if matches!(named, Some("yaml" | "yml")) {
                inside.push(found);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    if files.len() > FILES {
        return Err(PolicyFault::Wrong(vec![format!(
            "more than {FILES} policy files"
        )]));
    }
    Ok(files)
}

/// What the files look like from outside: a change of it means reading them again.
fn stamp(paths: &[PathBuf]) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
    let stamped = |path: PathBuf| {
        let facts = fs::metadata(&path).ok();
        let facts = facts.and_then(|facts| Some((facts.modified().ok()?, facts.len())));
        (path, facts)
    };
    match files(paths) {
        Ok(files) => files.into_iter().map(stamped).collect(),
        Err(_) => paths.iter().cloned().map(stamped).collect(),
    }
}

/// Follows the files until the task is dropped. `again` forces a reading (SIGHUP); `changed` is told of
/// policies that are new.
pub async fn follow_policies(
    paths: Vec<PathBuf>,
    current: Policies,
    trouble: PolicyTrouble,
    metrics: Arc<Metrics>,
    again: Arc<Notify>,
    changed: impl Fn(&PolicySet),
) {
    let mut ticks = interval(EVERY);
    let mut seen = stamp(&paths);
    loop {
        let forced = tokio::select! {
            () = again.notified() => true,
            _ = ticks.tick() => false,
        };
        let now = stamp(&paths);
        if now == seen && !forced {
            continue;
        }
        seen = now;
        if reload(&paths, &current, &trouble, &metrics) {
            changed(&current.load());
        }
    }
}

/// Whether other policies are in force now.
fn reload(
    paths: &[PathBuf],
    current: &Policies,
    trouble: &PolicyTrouble,
    metrics: &Metrics,
) -> bool {
    match load_policies(paths) {
        Ok(set) => {
            let version = set.version();
            metrics.policies_reloaded(true);
            trouble.store(None);
            if *version != *current.load().version() {
                tracing::info!(%version, "policies changed");
                current.store(Arc::new(set));
                return true;
            }
        }
        Err(fault) => {
            metrics.policies_reloaded(false);
            trouble.store(Some(Arc::new(fault.to_string())));
            tracing::error!(%fault, "policies are wrong; the last good ones go on");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Scraped;

    const GOOD: &str = "
apiVersion: node-agent/v1
kind: Policy
metadata: { name: first }
mode: enforce
subjects: [ { groups: [ai-agents] } ]
targets: [ orders ]
rules:
  - { name: read, effect: allow, statements: [select], tables: ['sales.*'] }
";

    fn counted(metrics: &Metrics, result: &str) -> bool {
        let line = format!("node_agent_policy_reloads_total{{result=\"{result}\"}} 1");
        metrics.encode(Scraped::default()).contains(&line)
    }

    #[test]
    fn wrong_policies_leave_the_last_good_ones_running() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.yaml");
        let paths = [place.path().to_owned()];
        fs::write(&file, GOOD).unwrap();
        let current: Policies = Arc::new(ArcSwap::from_pointee(load_policies(&paths).unwrap()));
        let trouble = PolicyTrouble::default();
        let first = current.load_full();

        for wrong in [
            "rules: [",
            "kind: Policy\n",
            &GOOD.replace("allow", "allwo"),
        ] {
            let metrics = Metrics::new();
            fs::write(&file, wrong).unwrap();
            reload(&paths, &current, &trouble, &metrics);
            assert!(trouble.load().is_some(), "{wrong}");
            assert!(Arc::ptr_eq(&first, &current.load_full()), "{wrong}");
            assert!(counted(&metrics, "bad"), "{wrong}");
        }

        // A file that went away is a fault too: a directory that is not mounted yet must not look
        // like a wish to refuse everything, nor like one to allow it.
        let metrics = Metrics::new();
        reload(&[place.path().join("gone")], &current, &trouble, &metrics);
        assert!(Arc::ptr_eq(&first, &current.load_full()));
        assert!(counted(&metrics, "bad"));

        let metrics = Metrics::new();
        fs::write(&file, GOOD.replace("select", "update")).unwrap();
        reload(&paths, &current, &trouble, &metrics);
        assert!(trouble.load().is_none());
        assert!(counted(&metrics, "good"));
        assert_ne!(first.version(), current.load().version());
    }

    #[test]
    fn one_wrong_file_keeps_all_of_a_directory_out() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a.yaml"), GOOD).unwrap();
        fs::write(place.path().join("b.yml"), "kind: [").unwrap();
        fs::write(place.path().join("notes.md"), "not a policy").unwrap();
        let fault = load_policies(&[place.path().to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("b.yml") && !fault.contains("notes.md"),
            "{fault}"
        );
    }

    #[test]
    fn a_change_of_a_file_is_seen_from_outside() {
        let place = tempfile::tempdir().unwrap();
        let paths = [place.path().to_owned()];
        let empty = stamp(&paths);
        fs::write(place.path().join("a.yaml"), GOOD).unwrap();
        let one = stamp(&paths);
        assert_ne!(empty, one);
        assert_eq!(one, stamp(&paths));
        fs::write(place.path().join("a.yaml"), format!("{GOOD}# longer\n")).unwrap();
        assert_ne!(one, stamp(&paths));
        fs::remove_file(place.path().join("a.yaml")).unwrap();
        assert_eq!(empty, stamp(&paths));
    }
}
