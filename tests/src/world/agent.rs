//! The agent as a process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};

use super::config::Written;
use crate::metrics;
use crate::parts;
use crate::program::{pid, tail, until};

/// How long it may take to start, or to stop when it has nothing to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agent; killed when dropped, and its kernel programs go with it.
pub struct Agent {
    written: Written,
    child: Option<Child>,
}

impl Agent {
    pub(super) fn new(written: Written) -> Self {
        Self {
            written,
            child: None,
        }
    }

    /// Starts it, and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.child = Some(self.spawn(&[])?);
        self.ready()
    }

    /// Starts it where it may not get ready: on a full disk, say.
    pub fn begin(&mut self) -> Result<()> {
        self.child = Some(self.spawn(&[])?);
        Ok(())
    }

    /// Sends it away and starts the next one at once, as an upgrade does; the next one counts from
    /// then on, and may not be ready yet. Gives the one that drains.
    pub fn succeed(&mut self) -> Result<Drains> {
        self.signal(Signal::TERM)?;
        let next = self.spawn(&[])?;
        let before = self.child.replace(next).context("no agent to follow")?;
        Ok(Drains(before))
    }

    /// Starts the next one, which takes over from this one; it counts from then on, and may not be
    /// ready yet. Gives the one that only serves on.
    pub fn taken_over(&mut self) -> Result<Drains> {
        let next = self.spawn(&["--take-over"])?;
        let before = self.child.replace(next).context("no agent to follow")?;
        Ok(Drains(before))
    }

    /// Starts one to take over from whichever governs, after this one is gone.
    pub fn follow(&mut self) -> Result<()> {
        self.kill()?;
        self.child = Some(self.spawn(&["--take-over"])?);
        Ok(())
    }

    /// One more, though there is one, and what became of it.
    pub fn second(&self) -> Result<ExitStatus> {
        Ok(self.spawn(&[])?.wait()?)
    }

    fn spawn(&self, more: &[&str]) -> Result<Child> {
        let log = File::options().append(true).create(true).open(self.log())?;
        let mut command = Command::new("setpriv");
        command
            // No new privileges, as where it is installed.
            .args(["--pdeathsig", "KILL", "--no-new-privs", "--"])
            .arg(parts::built("node-agent")?);
        command.args(["run", "--config"]).arg(&self.written.config);
        command.args(more);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the agent")
    }

    /// Waits until it is ready.
    pub fn ready(&mut self) -> Result<()> {
        let started = until("the agent starts", PATIENCE, || {
            if let Some(status) = self.ended()? {
                bail!("the agent ended with {status}");
            }
            Ok(matches!(metrics::get(self.admin(), "/readyz"), Ok((200, _))).then_some(()))
        });
        started.with_context(|| format!("its log:\n{}", self.log_tail()))
    }

    /// The process that serves: the keeper's child that is not its canary.
    pub fn worker(&self) -> Result<u32> {
        let parent = format!("PPid:\t{}\n", self.id());
        let mut all = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let child = all.find(|id| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            status.contains(&parent)
                && !status.contains("State:\tZ")
                && words.split(|byte| *byte == 0).nth(1) == Some(b"worker")
        });
        child.context("the agent has no worker now")
    }

    /// Its process id: the keeper, which starts the worker.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the agent was started").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(pid(self.id())?, signal)?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Kills it, as a crash or the kernel's memory killer does; its kernel programs stay.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        until("the agent ends", limit, || self.ended())
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.written.config
    }

    /// Its state directory.
    pub fn state_dir(&self) -> &Path {
        &self.written.state_dir
    }

    /// Where its metrics and health are.
    pub fn admin(&self) -> SocketAddr {
        self.written.admin
    }

    /// The port of its listeners.
    pub fn port(&self) -> u16 {
        self.written.port
    }

    /// The authority that workloads are to trust.
    pub fn node_ca(&self) -> PathBuf {
        self.state_dir().join("ca.pem")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.written.config.with_file_name("agent.log")
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }

    /// The sum of all series of a metric, whatever their labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let all = metrics::scrape(self.admin())?;
        let of = |series: &str| series.split('{').next() == Some(name);
        Ok(all
            .iter()
            .filter(|(series, _)| of(series))
            .map(|(_, value)| value)
            .sum())
    }
}

/// An agent that was told to stop; killed when dropped.
pub struct Drains(Child);

impl Drains {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it is still there.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        until("the draining agent ends", limit, || {
            Ok(self.0.try_wait()?)
        })
    }
}

impl Drop for Drains {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.kill();
        // The pins outlive the agent on purpose; with the mount they go.
        let pins = self.state_dir().join("bpf");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.contains(&format!(" {} bpf ", pins.display())) {
            let _ = Command::new("umount").arg(&pins).status();
        }
    }
}
