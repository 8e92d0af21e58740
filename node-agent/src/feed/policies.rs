//! Policy files: read, compiled as a whole, published only when all of it is good.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::interval;

use crate::policy::{PolicySet, parse};
use crate::telemetry::Metrics;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// The largest policy file, bytes.
const LARGEST: u64 = 4 << 20;
/// Files that are read at most.
const FILES: usize = 4096;

/// The newest good policies.
pub type Policies = Arc<ArcSwap<PolicySet>>;

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
    let mut documents = Vec::new();
    let mut wrong = Vec::new();
    for path in files(paths)? {
        let unreadable = |source| PolicyFault::Read { path: path.clone(), source };
        if fs::metadata(&path).map_err(unreadable)?.len() > LARGEST {
            wrong.push(format!("{}: larger than {LARGEST} bytes", path.display()));
            continue;
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        match parse(&text, &path.display().to_string()) {
            Ok(found) => documents.extend(found),
            Err(errors) => wrong.extend(errors.iter().map(ToString::to_string)),
        }
    }
    if !wrong.is_empty() {
        return Err(PolicyFault::Wrong(wrong));
    }
    PolicySet::compile(documents)
        .map_err(|errors| PolicyFault::Wrong(errors.iter().map(ToString::to_string).collect()))
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PolicyFault> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |source| PolicyFault::Read { path: path.clone(), source };
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
        return Err(PolicyFault::Wrong(vec![format!("more than {FILES} policy files")]));
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

/// Follows the files until the task is dropped. `again` forces a reading (SIGHUP).
pub async fn follow_policies(
    paths: Vec<PathBuf>,
    current: Policies,
    metrics: Arc<Metrics>,
    again: Arc<Notify>,
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
        reload(&paths, &current, &metrics);
    }
}

fn reload(paths: &[PathBuf], current: &Policies, metrics: &Metrics) {
    match load_policies(paths) {
        Ok(set) => {
            let version = set.version();
            metrics.policies_reloaded(true);
            if *version != *current.load().version() {
                tracing::info!(%version, "policies changed");
                current.store(Arc::new(set));
            }
        }
        Err(fault) => {
            metrics.policies_reloaded(false);
            tracing::error!(%fault, "policies are wrong; the last good ones go on");
        }
    }
}

