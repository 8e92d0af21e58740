//! The command line. Exit status 0: good, 1: the answer is no, 2: wrong use.

mod access;
mod against;
mod approvals;
mod catalogue;
mod daemon;
mod doctor;
mod exec;
mod live;
mod mask;
mod out;
mod outside;
mod policy;
mod preview;
mod reference;
mod replay;
mod search;
mod sessions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use node_agent::config::Config;
use node_agent::keeper::{Account, Reach};

/// The default configuration file.
const CONFIG: &str = "/etc/node-agent/config.yaml";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    No,
}

#[derive(Debug, Parser)]
#[command(
    name = "node-agent",
    version,
    about = "A database gateway that the kernel puts in the path of labelled workloads",
    after_help = "Examples:\n  node-agent config check config.yaml\n  node-agent run --config config.yaml\n  \
                  node-agent exec --workload claude -- psql -h orders.db.internal\n  \
                  node-agent sessions ls\n  node-agent replay s-00c0ffee00c0ffee"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: govern labelled workloads until told to stop
    Run(Run),
    /// Run a command inside a labelled cgroup, as yourself
    Exec(exec::Exec),
    /// What is governed at this moment, and how well
    Status(live::StatusArguments),
    /// What this kernel and host can do, or whether a database takes others than the agent
    Doctor(doctor::Doctor),
    /// Check a configuration file
    #[command(subcommand)]
    Config(daemon::ConfigCommand),
    /// What a database holds, for policies to be checked against
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueCommand),
    /// What masks protect in a database, and what they leave out
    #[command(subcommand)]
    Mask(mask::MaskCommand),
    /// Check, explain and test policies; their JSON Schema
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Recorded and live sessions
    #[command(subcommand)]
    Sessions(Box<sessions::SessionsCommand>),
    /// Play a recorded session
    Replay(replay::Replay),
    /// Statements held for a human
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// Take the redirect away: labelled workloads then reach databases directly
    Uninstall(WithConfig),
    /// Dial what standard input names: the daemon starts this, to try its own redirect
    #[command(hide = true)]
    Canary,
    /// The half of the daemon that needs no privilege; `run` starts it
    #[command(hide = true)]
    Worker {
        /// The user to become
        #[arg(long, requires = "group")]
        user: Option<u32>,
        /// Its only group
        #[arg(long, requires = "user")]
        group: Option<u32>,
        /// What it may read, with all below it
        #[arg(long)]
        read: Vec<PathBuf>,
        /// What it may read and write, with all below it
        #[arg(long)]
        write: Vec<PathBuf>,
    },
    /// Print a generated reference
    #[command(hide = true)]
    Reference(reference::Reference),
}

/// How to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) with: WithConfig,
    /// Take over from the agent that governs by the same state_dir, if there is one: its listeners
    /// and what is pinned at once, while it serves the sessions that it has to their end. Without
    /// this, and unless that one is stopping, a second agent refuses
    #[arg(long)]
    pub(crate) take_over: bool,
}

/// Which configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct WithConfig {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
}

impl WithConfig {
    /// Reads and checks it; paths in it are relative to its own directory.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        daemon::load(&self.config)
    }
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let answer = match arguments.command {
        Command::Run(run) => daemon::run(&run),
        Command::Exec(exec) => exec.run(),
        Command::Status(status) => status.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Config(config) => config.run(),
        Command::Catalogue(catalogue) => catalogue.run(),
        Command::Mask(mask) => mask.run(),
        Command::Policy(policy) => policy.run(),
        Command::Sessions(sessions) => sessions.run(),
        Command::Replay(replay) => replay.run(),
        Command::Approvals(approvals) => approvals.run(),
        Command::Uninstall(with) => daemon::uninstall(&with),
        Command::Canary => daemon::canary(),
        Command::Worker {
            user,
            group,
            read,
            write,
        } => {
            let pair = user.zip(group);
            let account = pair.map(|(user, group)| Account { user, group });
            let reach = Reach {
                reads: read,
                writes: write,
            };
            daemon::worker(account, &reach)
        }
        Command::Reference(reference) => reference.run(),
    };
    match answer {
        Ok(Answer::Good) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            out::error(&error);
            ExitCode::from(2)
        }
    }
}
