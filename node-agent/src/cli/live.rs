//! `status`: a question to the running daemon.

use std::path::PathBuf;

use node_agent::admin::{Status, ask};

use super::{Answer, WithConfig, out};

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    with: WithConfig,
    /// The daemon's admin socket (default: the configuration's)
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Asks the daemon.
pub(crate) fn question<T: serde::de::DeserializeOwned>(
    with: &WithConfig,
    socket: Option<PathBuf>,
    method: hyper::Method,
    uri: &str,
) -> anyhow::Result<T> {
    let socket = match socket {
        Some(socket) => socket,
        None => with.load()?.listen.admin_socket,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(ask(&socket, method, uri, None))?)
}

impl StatusArguments {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let status: Status = question(&self.with, self.socket, hyper::Method::GET, "/v1/status")?;
        let ready = status.not_ready.is_empty();
        if self.json {
            out::json(&status)?;
        } else {
            let state = if ready { "ready" } else { "NOT READY" };
            out::line(format!(
                "node-agent {}: {state}, policies {}, {} live sessions",
                status.version, status.policy_version, status.sessions
            ))?;
            let governing = if status.governing { "yes" } else { "NO" };
            out::line(format!("  governing: {governing}"))?;
            out::line(format!(
                "  keeper {}, worker {} ({} before it died)",
                status.keeper, status.worker, status.workers_replaced
            ))?;
            if let Some(key) = &status.node_key {
                out::line(format!("  node key {key}"))?;
            }
            for reason in &status.not_ready {
                out::line(format!("  not ready: {reason}"))?;
            }
            if let Some(broken) = &status.broken {
                let text = broken.text(node_agent::clock::now());
                out::line(format!("  BROKEN: {text}"))?;
            }
            for lack in &status.degraded {
                out::line(format!("  degraded: {lack}"))?;
            }
            for layer in &status.layers {
                out::line(format!("  layer {layer}"))?;
            }
            let mut rows = vec![
                ["WORKLOAD", "CGROUP", "NAMESPACES", "STATE"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            for governed in &status.governed {
                rows.push(vec![
                    governed.workload.clone(),
                    governed.cgroup.clone(),
                    governed.namespaces.to_string(),
                    governed.state.clone(),
                ]);
            }
            out::table(&rows)?;
            for governed in &status.governed {
                for reason in &governed.reasons {
                    out::line(format!(
                        "  {} {}: {reason}",
                        governed.cgroup, governed.state
                    ))?;
                }
                for note in &governed.notes {
                    out::line(format!("  {} note: {note}", governed.cgroup))?;
                }
            }
            for left in &status.left {
                out::line(format!(
                    "  LEFT: process {} ({}) of {} moved from {} to {} and is not governed: end it, and mount cgroupfs read-only for its workload",
                    left.pid, left.program, left.workload, left.from, left.to
                ))?;
            }
        }
        Ok(if ready { Answer::Good } else { Answer::No })
    }
}
