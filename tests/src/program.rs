//! A program run to its end or to a deadline, with what it said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a program may take unless it is told otherwise.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at again.
const LOOK: Duration = Duration::from_millis(5);

/// A command to be.
pub struct Program {
    command: Command,
    name: String,
    input: Option<PathBuf>,
    limit: Duration,
}

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

/// A program that runs; it is killed when dropped.
pub struct Running {
    child: Child,
    name: String,
    stdout: File,
    stderr: File,
    begun: Instant,
    limit: Duration,
}

impl Program {
    /// A program in the caller's own place, with no settings that would lead a client elsewhere.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::of(&[], program.as_ref())
    }

    /// A program that first moves into a cgroup: the shell writes its own id, then becomes it.
    pub fn in_cgroup(cgroup: &Path, program: impl AsRef<OsStr>) -> Self {
        const MOVE: &str = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        Self::of(
            &[
                "sh".as_ref(),
                "-c".as_ref(),
                MOVE.as_ref(),
                cgroup.as_os_str(),
            ],
            program.as_ref(),
        )
    }

    fn of(before: &[&OsStr], program: &OsStr) -> Self {
        let name = Path::new(program)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        // It ends with the test, however the test ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(before)
            .arg(program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        command
            .env("PGPASSFILE", "/dev/null")
            .env("PSQL_HISTORY", "/dev/null")
            .env("PGCONNECT_TIMEOUT", "15");
        Self {
            command,
            name,
            input: None,
            limit: LIMIT,
        }
    }

    /// With these arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    /// With this argument.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// In this directory.
    #[must_use]
    pub fn at(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Reading this file.
    #[must_use]
    pub fn reading(mut self, file: &Path) -> Self {
        self.input = Some(file.to_path_buf());
        self
    }

    /// For at most this long.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Result<Running> {
        let stdout = tempfile::tempfile()?;
        let stderr = tempfile::tempfile()?;
        let stdin = match &self.input {
            Some(file) => File::open(file)
                .with_context(|| format!("no {}", file.display()))?
                .into(),
            None => Stdio::null(),
        };
        let child = self
            .command
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        Ok(Running {
            child,
            name: self.name,
            stdout,
            stderr,
            begun: Instant::now(),
            limit: self.limit,
        })
    }

    /// Runs it to its end; a program that does not end in time is killed, which is an error.
    pub fn run(self) -> Result<Finished> {
        self.spawn()?.finish()
    }

    /// Runs it and gives its output; an error with all it said when it fails.
    pub fn output(self) -> Result<String> {
        Ok(self.run()?.good()?.stdout)
    }
}

impl Running {
    /// Its process id. The program itself, not the steps before it: those became it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has said on standard output so far.
    pub fn said(&self) -> String {
        read(&self.stdout)
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(
            pid(self.child.id())?,
            signal,
        )?)
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Finished> {
        let begun = self.begun;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if begun.elapsed() > self.limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                bail!(
                    "{} did not end in {:?}; it said:\n{}{}",
                    self.name,
                    self.limit,
                    read(&self.stdout),
                    read(&self.stderr)
                );
            }
            thread::sleep(LOOK);
        };
        Ok(Finished {
            status,
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            took: begun.elapsed(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// Itself when the program succeeded.
    pub fn good(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{}\n{}\n{}", self.status, self.stdout, self.stderr)
    }

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A process id as rustix has it.
pub fn pid(id: u32) -> Result<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(id)?).context("0 is no process")
}

/// Looks until `found` gives something, at most for `limit`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut found: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = found()? {
            return Ok(found);
        }
        if begun.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(LOOK);
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn read(file: &File) -> String {
    let mut bytes = Vec::new();
    // By position: the child writes at the place that both share.
    let mut block = [0; 1 << 16];
    while let Ok(count @ 1..) = file.read_at(&mut block, bytes.len() as u64) {
        bytes.extend_from_slice(&block[..count]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
