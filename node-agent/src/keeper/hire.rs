//! The worker as a process of its own.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use tokio::process::Command;

use super::keep::Hire;

/// The program that runs now, also when its file was replaced since: keeper and worker must speak
/// of the same things.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Workers that are this very program, started with these words, with the socket as their standard
/// input. Call it where it is called from the main thread: a worker ends with the thread that
/// started it.
pub fn processes(words: Vec<String>) -> Hire {
    Box::new(move |socket: OwnedFd| {
        let mut child = Command::new(THIS_PROGRAM)
            .arg0("node-agent")
            .args(&words)
            .stdin(Stdio::from(socket))
            .kill_on_drop(true)
            .spawn()?;
        Ok(tokio::spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("its process ended with {status}")),
                Err(error) => Err(format!("its process cannot be waited for: {error}")),
            }
        }))
    })
}
