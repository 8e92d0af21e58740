//! `exec`: run a command inside a labelled cgroup.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::Context;

use node_agent::keeper::enter;

use super::{Answer, WithConfig};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The daemon moves this process into a fresh cgroup of the workload; the command \
                  then runs as yourself.\n\nExample:\n  \
                  node-agent exec --workload claude -- psql -h orders.db.internal orders"
)]
pub(crate) struct Exec {
    #[command(flatten)]
    with: WithConfig,
    /// The daemon's admin socket (default: the configuration's)
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Which workload to be
    #[arg(long, value_name = "NAME")]
    workload: String,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

impl Exec {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let socket = match self.socket {
            Some(socket) => socket,
            None => self.with.load()?.listen.admin_socket,
        };
        enter(&socket, &self.workload)?;
        let mut words = self.command.into_iter();
        let program = words.next().context("no command")?;
        let error = std::process::Command::new(&program).args(words).exec();
        Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
    }
}
