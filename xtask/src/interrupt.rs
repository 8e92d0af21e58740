//! Ctrl-C and termination become an ordinary error, so that every guard on the way out cleans up.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a signal only raises a flag; a second Ctrl-C ends the process at once. Not a second
/// SIGTERM: whoever ends a process group sends two (one to the group, one to its leader), and a labelled
/// cgroup that is left behind is found by every agent that starts later.
pub(crate) fn watch() -> Result<()> {
    let flag = Arc::clone(ASKED.get_or_init(Arc::default));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&flag))?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(())
}

/// An error once somebody asked us to stop.
pub(crate) fn check() -> Result<()> {
    if ASKED.get().is_some_and(|flag| flag.load(Ordering::SeqCst)) {
        bail!("interrupted");
    }
    Ok(())
}

/// Asks `ready` every few milliseconds until it says yes; `false` when `limit` has passed.
pub(crate) fn wait_until(limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begun = Instant::now();
    loop {
        check()?;
        if ready()? {
            return Ok(true);
        }
        if begun.elapsed() >= limit {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
