//! A server that we started, and that we stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{interrupt, run};

/// How long a server may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server, in a process group of its own: a Ctrl-C at the terminal reaches us first, and
/// we stop it in order.
pub(crate) struct Server {
    name: &'static str,
    child: Option<Child>,
    log: PathBuf,
    stop: Signal,
}

impl Server {
    /// Starts it with its words in `log`. `stop` is the signal that ends it in good order.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        stop: Signal,
    ) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: {}", run::line(command)))?;
        Ok(Self {
            name,
            child: Some(child),
            log: log.to_path_buf(),
            stop,
        })
    }

    /// Waits until `ready` says yes; an error with the end of the log when it ends before that.
    pub(crate) fn wait_ready(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let done = interrupt::wait_until(limit, || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!(
                    "{} ended with {status}:\n{}",
                    self.name,
                    run::tail(&self.log)
                );
            }
            Ok(ready())
        })?;
        if !done {
            let limit = limit.as_secs();
            bail!(
                "{} is not ready after {limit} s:\n{}",
                self.name,
                run::tail(&self.log)
            );
        }
        Ok(())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Ends it at once and waits until it is gone, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// It goes on without us.
    pub(crate) fn keep(&mut self) {
        self.child = None;
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let Some(id) = pid(child.id()) else { return };
        let _ = kill_process(id, self.stop);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("xtask: {} does not stop; killing it", self.name);
        let _ = kill_process_group(id, Signal::KILL);
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// A command that ends when we do, however we end.
pub(crate) fn tied(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// A command run by the user who owns nothing; it ends when we do.
pub(crate) fn as_nobody(program: impl AsRef<std::ffi::OsStr>, tied: bool) -> Command {
    let mut command = Command::new("setpriv");
    let nobody = super::NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    command.args(["--inh-caps=-all", "--no-new-privs"]);
    if tied {
        command.args(["--pdeathsig", "INT"]);
    }
    command.arg("--").arg(program);
    // Where the caller stands may be closed to that user.
    command.current_dir("/").env("HOME", "/nonexistent");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_early_is_told_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the port is taken; exit 4"]);
        let log = dir.path().join("log");
        let mut server = Server::start("toy", &mut command, &log, Signal::TERM).unwrap();
        let error = server
            .wait_ready(Duration::from_secs(5), || false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the port is taken") && error.contains('4'),
            "{error}"
        );
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let server =
            Server::start("toy", Command::new("sleep").arg("600"), &log, Signal::TERM).unwrap();
        let id = pid(server.id()).unwrap();
        drop(server);
        assert!(rustix::process::test_kill_process(id).is_err());
    }
}
