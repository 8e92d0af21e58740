//! `run`, `config check`, `uninstall`.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use node_agent::agent::{Agent, fits, keys, prepare};
use node_agent::config::{Config, PasswordSource, TokenSource};
use node_agent::enrol::Canary;
use node_agent::feed::load_policies;
use node_agent::intercept::Interceptor;
use node_agent::keeper::{
    Account, Claim, Configured, Keeper, Link, Reach, Start, account, cgroup2, confine,
    pin_directory, processes, see_all_cgroups, stand_apart,
};
use node_agent::telemetry::start_log;

use super::{Answer, Run, WithConfig, out};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a file; errors come with file, line, column and the mend
    Check {
        /// The file
        file: PathBuf,
    },
}

impl ConfigCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let ConfigCommand::Check { file } = self;
        let text = read(&file)?;
        match Config::parse(&text, &file.display().to_string()) {
            Ok(mut config) => {
                resolve_paths(&mut config, &file);
                let faults = missing(&config);
                for fault in &faults {
                    out::line(format!("{}: {fault}", file.display()))?;
                }
                if !faults.is_empty() {
                    return Ok(Answer::No);
                }
                let (targets, workloads) = (config.targets.len(), config.workloads.len());
                out::line(format!(
                    "{}: good ({targets} targets, {workloads} workloads)",
                    file.display()
                ))?;
                Ok(Answer::Good)
            }
            Err(errors) => {
                for error in errors {
                    out::line(error)?;
                }
                Ok(Answer::No)
            }
        }
    }
}

/// Files that the configuration names and that are not there, and policies that are wrong.
fn missing(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let mut exists = |what: &str, path: &Path| {
        if let Err(error) = std::fs::metadata(path) {
            faults.push(format!("{what} {}: {error}", path.display()));
        }
    };
    for issuer in &config.issuers {
        if let Some(path) = &issuer.ca_file {
            exists("ca_file", path);
        }
    }
    if let Some(console) = &config.approvals.console {
        if let Some(path) = &console.issuer.ca_file {
            exists("ca_file", path);
        }
        if let Some(path) = &console.client_secret_file {
            exists("client_secret_file", path);
        }
    }
    for target in &config.targets {
        if let Some(path) = &target.upstream.ca_file {
            exists("ca_file", path);
        }
        let groups = target
            .credentials
            .by_group
            .iter()
            .map(|(_, credential)| credential);
        for credential in std::iter::once(&target.credentials.default).chain(groups) {
            if let PasswordSource::File(path) = &credential.password {
                exists("password_file", path);
            }
        }
    }
    if let Some(archive) = &config.recording.archive {
        for (what, path) in [
            ("credentials_file", &archive.credentials_file),
            ("ca_file", &archive.ca_file),
        ] {
            if let Some(path) = path {
                exists(what, path);
            }
        }
    }
    if let Err(fault) = load_policies(&config.policies) {
        faults.extend(fault.to_string().lines().map(str::to_owned));
    }
    faults
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {}; give --config FILE, or make it",
            file.display()
        )
    })
}

/// Reads and checks a configuration file.
pub(crate) fn load(file: &Path) -> anyhow::Result<Config> {
    parse(file, &read(file)?)
}

fn parse(file: &Path, text: &str) -> anyhow::Result<Config> {
    let mut config = match Config::parse(text, &file.display().to_string()) {
        Ok(config) => config,
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            bail!("the configuration is wrong:\n{}", lines.join("\n"));
        }
    };
    resolve_paths(&mut config, file);
    Ok(config)
}

/// Paths in the file are relative to the file, not to wherever the command was given. The token
/// file is the workload's, and stays as it is.
fn resolve_paths(config: &mut Config, file: &Path) {
    let base = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let base = base.parent().unwrap_or(Path::new("/")).to_owned();
    let resolve = |path: &mut PathBuf| *path = base.join(&*path);
    let Config {
        state_dir,
        issuers,
        targets,
        workloads,
        policies,
        recording,
        approvals,
        tls,
        ..
    } = config;
    resolve(state_dir);
    resolve(&mut recording.dir);
    resolve(&mut recording.journal);
    if let Some(archive) = &mut recording.archive {
        archive.credentials_file.iter_mut().for_each(resolve);
        archive.ca_file.iter_mut().for_each(resolve);
    }
    policies.iter_mut().for_each(resolve);
    issuers
        .iter_mut()
        .filter_map(|issuer| issuer.ca_file.as_mut())
        .for_each(resolve);
    [&mut tls.ca_cert, &mut tls.ca_key]
        .into_iter()
        .flatten()
        .for_each(resolve);
    if let Some(console) = &mut approvals.console {
        let files = [&mut console.issuer.ca_file, &mut console.client_secret_file];
        files.into_iter().flatten().for_each(resolve);
    }
    for target in targets {
        target.upstream.ca_file.iter_mut().for_each(resolve);
        let groups = target
            .credentials
            .by_group
            .iter_mut()
            .map(|(_, credential)| credential);
        for credential in std::iter::once(&mut target.credentials.default).chain(groups) {
            if let PasswordSource::File(path) = &mut credential.password {
                resolve(path);
            }
        }
    }
    debug_assert!(
        workloads
            .iter()
            .flat_map(|workload| &workload.tokens)
            .all(|token| match token {
                TokenSource::File(path) => !path.as_os_str().is_empty(),
                TokenSource::Password | TokenSource::Bearer => true,
            }),
        "a token file has a name"
    );
}

/// The daemon: the keeper, which starts workers.
pub(crate) fn run(arguments: &Run) -> anyhow::Result<Answer> {
    let with = &arguments.with;
    let start = if arguments.take_over {
        Start::TakeOver
    } else {
        Start::Alone
    };
    let text = read(&with.config)?;
    let config = parse(&with.config, &text)?;
    see_all_cgroups().context(
        "the agent is in a cgroup namespace of its own, from which the cgroups of workloads have other \
         paths: start it in the node's (in a pod: hostPID and SYS_ADMIN)",
    )?;
    let apart = stand_apart();
    start_log(config.log.json, &config.log.level)?;
    if let Err(error) = apart {
        tracing::warn!(%error, "the keeper has no user of its own: any root here may end it");
    }
    let file = std::path::absolute(&with.config)?;
    let account = account(config.worker.user.as_ref())?;
    // Before anything is touched: it may be another agent's.
    let claim = Claim::make(&config, start)?;
    if claim.is_another_s() && !fits(&config, account) {
        bail!(
            "worker.user is another than that of the agent that governs, which still writes its \
             recordings: stop it first (systemctl stop node-agent), and start this one then"
        );
    }
    prepare(&config, account)?;
    let mut words = vec!["worker".to_owned()];
    if let Some(Account { user, group }) = account {
        words.extend([format!("--user={user}"), format!("--group={group}")]);
    }
    words.extend(Reach::of(&config, keys(&config)).words());
    let runtime = runtime(available_parallelism()?)?;
    let ran = runtime.block_on(async {
        let keeper = Keeper::new(config, file, text, processes(words), claim)?;
        keeper.run().await
    });
    runtime.shutdown_timeout(LEAVE);
    Ok(ran.map(|()| Answer::Good)?)
}

/// The canary. It hears what others say, so it has no more privilege than a worker.
pub(crate) fn canary() -> anyhow::Result<Answer> {
    confine(account(None)?, &Reach::default())
        .context("the canary cannot give up its privileges")?;
    node_agent::enrol::sing()?;
    Ok(Answer::Good)
}

/// A worker. Its standard input is the keeper's socket.
pub(crate) fn worker(account: Option<Account>, reach: &Reach) -> anyhow::Result<Answer> {
    // Asked of files that it does not reach later.
    let threads = available_parallelism()?;
    confine(account, reach).context("the worker cannot give up its privileges")?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    // What serves has threads of its own; all else is little, and needs but one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(async {
        // They come to all processes of a terminal or a service; what they mean, the keeper says.
        for kind in [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ] {
            // Once heard of, a signal does nothing by itself any more.
            let _heard = signal(kind)?;
        }
        let (keeper, mut inbox) =
            Link::start(socket).context("this command is the keeper's: give `run` instead")?;
        let Configured { file, text } = inbox.configured().await?;
        let started = async {
            let config = parse(&file, &text)?;
            start_log(config.log.json, &config.log.level)?;
            anyhow::Ok(Agent::start(config, keeper.clone(), inbox, threads).await?)
        };
        match started.await {
            Ok(agent) => {
                agent.run().await;
                anyhow::Ok(Answer::Good)
            }
            Err(error) => {
                // The keeper says it to the operator.
                keeper.failed(format!("{error:#}")).await?;
                Ok(Answer::No)
            }
        }
    });
    runtime.shutdown_timeout(LEAVE);
    answer
}

/// Blocking work that hangs (a lookup, a dead disk) does not hold up the end any longer.
const LEAVE: std::time::Duration = std::time::Duration::from_secs(1);

fn runtime(threads: NonZeroUsize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.get())
        .enable_all()
        .build()
}

/// Takes the redirect away.
pub(crate) fn uninstall(with: &WithConfig) -> anyhow::Result<Answer> {
    let config = with.load()?;
    let pins = pin_directory(&config);
    Interceptor::uninstall_pinned(&pins)?;
    if let Ok((_, base)) = cgroup2(&config) {
        Canary::remove(&base);
    }
    out::line(format!("the redirect pinned at {} is gone", pins.display()))?;
    Ok(Answer::Good)
}
