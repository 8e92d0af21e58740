//! IO. The canary: a process in a labelled cgroup of the agent's own that dials a guarded address
//! again and again. Only when the agent itself answers, with a word nobody else knows, does the
//! redirect hold at this moment.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::breaks::{Broken, Parts, SEARCH, Watch};
use crate::intercept::{InterceptError, Interceptor, WorkloadIndex, cgroup_id};
use crate::model::CgroupId;

/// The number of the canary's label. No configuration is that long.
pub const CANARY: WorkloadIndex = WorkloadIndex(u32::MAX - 1);

/// Its cgroup, below the one that the agent governs.
pub(super) const NAME: &str = "node-agent.canary";

/// How long a dial may take, from the question to the word that came back.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a peer may say at most.
const SAID: u64 = 256;

/// Why there is no canary. The agent does not start then: nobody could say that it governs.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// Its cgroup.
    #[error("the cgroup of the canary, {}: {source}; may the agent make cgroups there?", .path.display())]
    Cgroup {
        /// Which.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Its label.
    #[error(transparent)]
    Label(#[from] InterceptError),
}

/// What the canary says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was not asked yet.
    NotYet,
    /// The agent answered.
    Governing,
    /// It did not.
    NotGoverning {
        /// What happened instead.
        why: String,
        /// What to do.
        mend: &'static str,
    },
}

impl Verdict {
    /// Why nothing counts as governed; `None`: it does.
    pub fn fault(&self) -> Option<String> {
        match self {
            Verdict::NotYet => Some("the canary has not dialled yet: wait a moment".to_owned()),
            Verdict::Governing => None,
            Verdict::NotGoverning { why, mend } => Some(format!("not governing: {why}: {mend}")),
        }
    }
}

const RESTART: &str = "restart the agent, which attaches anew, and find out who took it away";
/// How often the redirect's parts are looked at, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK: &str = "see the agent's log; restart the agent if it goes on";

/// The canary.
#[derive(Debug)]
pub struct Canary {
    directory: PathBuf,
    cgroup: CgroupId,
    interceptor: Arc<Interceptor>,
    parts: Watch,
    /// What the agent answers to the dial that is under way.
    word: Mutex<Option<String>>,
    verdict: watch::Sender<Verdict>,
    heard: AtomicU64,
    failures: AtomicU64,
}

impl Canary {
    /// Makes and labels its cgroup below `base`. One that an earlier agent left is used again,
    /// after whatever ran in it was ended.
    ///
    /// # Errors
    /// The cgroup cannot be made or labelled.
    pub fn make(base: &Path, interceptor: Arc<Interceptor>) -> Result<Self, CanaryError> {
        let directory = base.join(NAME);
        let failed = |source| CanaryError::Cgroup {
            path: directory.clone(),
            source,
        };
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::write(directory.join("cgroup.kill"), "1").map_err(failed)?;
            }
            Err(e) => return Err(failed(e)),
        }
        let cgroup = cgroup_id(&directory)?;
        for (id, index) in interceptor.labelled()? {
            // Of a directory that went while no agent ran.
            if index == CANARY && id != cgroup {
                interceptor.unlabel(id)?;
            }
        }
        interceptor.label(cgroup, CANARY)?;
        Ok(Canary {
            directory,
            cgroup,
            interceptor,
            parts: Watch::new(),
            word: Mutex::default(),
            verdict: watch::Sender::new(Verdict::NotYet),
            heard: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Removes the cgroup that a dead agent's canary left. One that is in use stays.
    pub fn remove(base: &Path) {
        let _ = fs::remove_dir(base.join(NAME));
    }

    /// What it says now.
    pub fn verdict(&self) -> Verdict {
        self.verdict.borrow().clone()
    }

    /// How many of its dials reached the agent, and how often it said no.
    pub fn totals(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.heard), of(&self.failures))
    }

    /// What of the redirect was ever found broken.
    pub fn broken(&self) -> Option<Broken> {
        self.parts.broken()
    }

    /// What to answer a connection with the canary's label: the word, once, when it is the
    /// canary's own.
    pub fn answer(&self, from: CgroupId) -> Option<String> {
        if from != self.cgroup {
            return None;
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        self.word().take()
    }

    fn word(&self) -> MutexGuard<'_, Option<String>> {
        locked(&self.word)
    }

    /// Asks it at once and then so often, until `stop` resolves. `port` is a guarded one. `taken`
    /// says whether somebody takes connections at this moment; else they wait in the kernel, which
    /// says nothing of the redirect. The redirect's parts are looked at more often than that, and put
    /// back.
    pub async fn watch(
        self: Arc<Self>,
        every: Duration,
        port: u16,
        mut taken: watch::Receiver<bool>,
        stop: impl Future<Output = ()>,
    ) {
        let watching = async {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut looks = interval(every.min(LOOK_EVERY));
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut bird = None;
            let mut whole = true;
            // It was due while nobody took connections: then it is asked as soon as somebody does.
            let mut owed = false;
            loop {
                let due = tokio::select! {
                    biased;
                    _ = ticks.tick() => true,
                    Ok(()) = taken.changed(), if owed => true,
                    _ = looks.tick() => false,
                };
                let parts = self.look().await;
                if !due && whole && parts == Parts::Whole {
                    continue;
                }
                whole = parts == Parts::Whole;
                let verdict = match self.hindered(parts).await {
                    Some(hindered) => hindered,
                    None => match self.ask_when_taken(&mut bird, port, &mut taken).await {
                        Some(verdict) => verdict,
                        None => {
                            owed = true;
                            continue;
                        }
                    },
                };
                owed = false;
                self.tell(verdict);
            }
        };
        tokio::select! {
            biased;
            // First: with its listeners closed the agent does not answer, as it should not.
            () = stop => {}
            () = watching => {}
        }
    }

    /// Asks while somebody takes connections; `None` when nobody does.
    async fn ask_when_taken(
        &self,
        bird: &mut Option<Bird>,
        port: u16,
        taken: &mut watch::Receiver<bool>,
    ) -> Option<Verdict> {
        loop {
            if !*taken.borrow_and_update() {
                return None;
            }
            let verdict = self.ask(bird, port).await;
            let changed = taken.has_changed().unwrap_or(false);
            if verdict == Verdict::Governing || !changed {
                return Some(verdict);
            }
            // It may have waited between two who take. That one may still wait.
            *bird = None;
        }
    }

    /// Looks at the redirect's parts, and puts back what was taken away.
    async fn look(self: &Arc<Self>) -> Parts {
        let this = Arc::clone(self);
        let looking = move || {
            this.parts
                .look(&this.interceptor, |verdict| this.tell(verdict))
        };
        match tokio::task::spawn_blocking(looking).await {
            Ok(parts) => parts,
            // Only while the runtime ends.
            Err(_) => Parts::Searched,
        }
    }

    /// Why a dial would prove nothing; `None`: it would.
    async fn hindered(&self, parts: Parts) -> Option<Verdict> {
        match parts {
            Parts::Whole => return None,
            Parts::Broken(verdict) => return Some(verdict),
            Parts::Searched => self.interceptor.ask_for_audit(),
            Parts::Healed => {}
        }
        let searched = async {
            while self.interceptor.unaudited() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        match timeout(SEARCH, searched).await {
            Ok(()) => None,
            Err(_) => Some(Verdict::NotGoverning {
                why: "a part of the redirect was put back, and connections that were made \
                      meanwhile are still being looked for"
                    .to_owned(),
                mend: LOOK,
            }),
        }
    }

    fn tell(&self, verdict: Verdict) {
        let before = self.verdict();
        if let Verdict::NotGoverning { why, mend } = &verdict {
            self.failures.fetch_add(1, Ordering::Relaxed);
            if before != verdict {
                tracing::error!(
                    why,
                    mend,
                    "NOT GOVERNING: labelled workloads may reach databases past the agent"
                );
            }
        } else if before != verdict && before != Verdict::NotYet {
            tracing::info!("governing again: the canary's dials reach the agent");
        }
        self.verdict.send_replace(verdict);
    }

    async fn ask(&self, bird: &mut Option<Bird>, port: u16) -> Verdict {
        let no = |why: String, mend| Verdict::NotGoverning { why, mend };
        for to in [
            SocketAddr::from((DOCUMENTATION_V4, port)),
            SocketAddr::from((DOCUMENTATION_V6, port)),
        ] {
            if to.is_ipv6() && !has_ipv6() {
                continue;
            }
            match self.dial(bird, to).await {
                Ok(Heard::Word) => {}
                Ok(Heard::Other(said)) => {
                    let why =
                        format!("a labelled dial to {to} was not answered by the agent: {said}");
                    return no(why, RESTART);
                }
                Err(error) => {
                    // Whatever it is, its next answer would be to an old question.
                    *bird = None;
                    return no(format!("the canary gives no answer: {error}"), LOOK);
                }
            }
        }
        Verdict::Governing
    }

    async fn dial(&self, bird: &mut Option<Bird>, to: SocketAddr) -> io::Result<Heard> {
        let bird = match bird {
            Some(bird) => bird,
            None => bird.insert(Bird::start(&self.directory)?),
        };
        let word = fresh_word()?;
        *self.word() = Some(word.clone());
        let heard = timeout(PATIENCE, bird.dial(to)).await;
        *self.word() = None;
        let heard = heard.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(match heard.strip_prefix("heard ") {
            Some(said) if said == word => Heard::Word,
            Some("") => Heard::Other("somebody accepted and said nothing".to_owned()),
            Some(_) => Heard::Other("somebody else answered".to_owned()),
            None => Heard::Other(heard),
        })
    }
}

/// The lock, also after a panic elsewhere.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Canary {
    fn drop(&mut self) {
        // The cgroup and its label are the next agent's by now.
        if !self.interceptor.governs() {
            return;
        }
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        for _ in 0..50 {
            match fs::remove_dir(&self.directory) {
                // The kernel is not done with what ran in it.
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(()) | Err(_) => break,
            }
        }
        let _ = self.interceptor.unlabel(self.cgroup);
    }
}

/// RFC 5737 and RFC 3849: addresses nobody has. Were the redirect gone, no server would be bothered.
const DOCUMENTATION_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DOCUMENTATION_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

enum Heard {
    Word,
    Other(String),
}

fn has_ipv6() -> bool {
    fs::read_to_string("/proc/self/net/if_inet6").is_ok_and(|table| !table.is_empty())
}

fn fresh_word() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// The process. It ends with its standard input, so with the agent.
#[derive(Debug)]
struct Bird {
    _child: Child,
    tell: ChildStdin,
    hear: tokio::io::BufReader<ChildStdout>,
}

impl Bird {
    fn start(directory: &Path) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg("canary")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
        // Before it is asked anything: it makes its sockets in there.
        fs::write(directory.join("cgroup.procs"), pid.to_string())?;
        let (Some(tell), Some(hear)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Bird {
            _child: child,
            tell,
            hear: tokio::io::BufReader::new(hear),
        })
    }

    async fn dial(&mut self, to: SocketAddr) -> io::Result<String> {
        self.tell.write_all(format!("{to}\n").as_bytes()).await?;
        let mut line = String::new();
        if self.hear.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches('\n').to_owned())
    }
}

/// The canary's own side: reads an address a line, dials it, writes what it heard. Ends with its
/// input.
///
/// # Errors
/// Its input or output breaks.
pub fn sing() -> io::Result<()> {
    let mut out = io::stdout();
    for line in io::stdin().lock().lines() {
        let answer = match hear(&line?) {
            Ok(said) => format!("heard {said}"),
            Err(error) => error.to_string(),
        };
        writeln!(out, "{}", answer.replace('\n', " "))?;
        out.flush()?;
    }
    Ok(())
}

fn hear(address: &str) -> io::Result<String> {
    let to: SocketAddr = address.parse().map_err(io::Error::other)?;
    let patience = PATIENCE.mul_f32(0.8);
    let stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut said = String::new();
    BufReader::new(stream.take(SAID)).read_line(&mut said)?;
    Ok(said.trim_end().to_owned())
}
