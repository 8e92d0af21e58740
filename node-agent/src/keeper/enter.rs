//! Who asks to be put under the gateway. The keeper hears this itself: were it the worker's to pass
//! on, one that was taken over could name any process whose socket it gets hold of.
//!
//! A caller says the name of a workload and a newline. The kernel says which process it is, and that
//! process alone is moved; only in, never out (enrol refuses).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::attend::Answers;
use crate::model::Pid;

/// The longest name, bytes, with its newline.
const LONGEST: u64 = 128;
/// How long a caller may take to say it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Callers heard at once; the others wait.
const AT_ONCE: usize = 64;
/// The pause after accept() fails for want of descriptors.
const BACKOFF: Duration = Duration::from_millis(50);
/// The first byte of an answer: what follows is the path of the cgroup.
const DONE: u8 = b'+';
/// The same: what follows says why not.
const REFUSED: u8 = b'-';

/// Where callers are heard: beside the socket for the command line.
pub(super) fn socket(admin: &Path) -> PathBuf {
    admin.with_extension("exec")
}

/// Hears callers until it is dropped.
pub(super) async fn hear(answers: Arc<Answers>, listener: UnixListener) {
    let mut hearing = JoinSet::new();
    loop {
        while hearing.try_join_next().is_some() {}
        if hearing.len() >= AT_ONCE {
            hearing.join_next().await;
        }
        match listener.accept().await {
            Ok((caller, _)) => {
                hearing.spawn(attend(answers.clone(), caller));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a caller of exec failed");
                sleep(BACKOFF).await;
            }
        }
    }
}

async fn attend(answers: Arc<Answers>, mut caller: UnixStream) {
    let answer = match timeout(PATIENCE, said(&mut caller)).await {
        Ok(Ok(workload)) => moved(answers, &caller, workload).await,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no workload was named in time".to_owned()),
    };
    let (mark, text) = match answer {
        Ok(cgroup) => (DONE, cgroup),
        Err(why) => (REFUSED, why),
    };
    let mut bytes = vec![mark];
    bytes.extend(text.into_bytes());
    // A caller that is gone needs no answer.
    let _ = timeout(PATIENCE, caller.write_all(&bytes)).await;
}

async fn said(caller: &mut UnixStream) -> io::Result<String> {
    let mut said = Vec::new();
    let mut taken = caller.take(LONGEST);
    while !said.ends_with(b"\n") {
        if taken.read_buf(&mut said).await? == 0 {
            return Err(io::Error::other("that is no workload's name"));
        }
    }
    said.pop();
    String::from_utf8(said).map_err(io::Error::other)
}

async fn moved(
    answers: Arc<Answers>,
    caller: &UnixStream,
    workload: String,
) -> Result<String, String> {
    let peer = caller.peer_cred().map_err(|error| error.to_string())?;
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let pid = pid
        .filter(|pid| *pid != 0)
        .ok_or("the kernel does not say which process asks")?;
    let user = peer.uid();
    let moved = tokio::task::spawn_blocking(move || put(&answers, &workload, Pid(pid), user));
    moved.await.unwrap_or_else(|died| Err(died.to_string()))
}

fn put(answers: &Answers, workload: &str, pid: Pid, user: u32) -> Result<String, String> {
    // It ended, and its number is another's: then at least it is no other user's process.
    let owner = std::fs::metadata(format!("/proc/{pid}")).map(|about| about.uid());
    if owner.ok() != Some(user) {
        return Err(format!("process {pid} is not the one that asked"));
    }
    let enrolment = answers.enrolment().ok_or("the agent is still starting")?;
    let cgroup = enrolment
        .create_for_exec(workload)
        .map_err(|error| error.to_string())?;
    enrolment
        .move_pid(&cgroup, pid)
        .map_err(|error| error.to_string())?;
    Ok(cgroup.path.display().to_string())
}

/// The daemon did not move this process.
#[derive(Debug, thiserror::Error)]
pub enum NotMoved {
    /// It cannot be asked.
    #[error("{path}: {source} (does the agent run, and may you use its socket?)")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
}

/// Has the daemon with this socket for the command line move the calling process into a fresh
/// cgroup of the workload, and gives the cgroup's path.
///
/// # Errors
/// It cannot be asked, or says no.
pub fn enter(admin: &Path, workload: &str) -> Result<String, NotMoved> {
    /// Labelling waits for what enrolment is at.
    const ANSWER: Duration = Duration::from_secs(30);
    const LONGEST_ANSWER: u64 = 64 << 10;
    use std::io::{Read, Write};
    let path = socket(admin);
    let talk = || {
        let mut daemon = std::os::unix::net::UnixStream::connect(&path)?;
        daemon.set_read_timeout(Some(ANSWER))?;
        daemon.write_all(format!("{workload}\n").as_bytes())?;
        let mut answer = String::new();
        daemon.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: String = match talk() {
        Ok(answer) => answer,
        Err(source) => return Err(NotMoved::Socket { path, source }),
    };
    match (answer.as_bytes().first(), answer.get(1..)) {
        (Some(&DONE), Some(cgroup)) => Ok(cgroup.to_owned()),
        (Some(&REFUSED), Some(why)) => Err(NotMoved::Refused(why.to_owned())),
        (Some(_) | None, _) => Err(NotMoved::Refused("the agent gave no answer".to_owned())),
    }
}
