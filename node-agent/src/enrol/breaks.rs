//! IO. The redirect's parts are watched, and put back when somebody takes one away: the alarm
//! first, then the mend, and the memory of it for an operator.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::canary::{Verdict, locked};
use crate::clock;
use crate::intercept::{Fault, Interceptor};
use crate::model::UnixMillis;

/// What was found broken since the agent started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// How often.
    pub times: u64,
    /// What it was, the last time.
    pub what: String,
    /// When it was noticed, the last time.
    pub at: UnixMillis,
    /// When all stood again. `None`: it does not.
    pub healed: Option<UnixMillis>,
    /// For how long a part was missing, at most. `None`: only pins were, and the redirect held all
    /// the while; or it is missing yet.
    pub missing_at_most_ms: Option<u64>,
    /// Whether what got through the last time goes on, because nobody can end it: a layer for
    /// other sockets than those of IP was missing.
    pub lasts: bool,
}

/// Who could do it, and what an operator does about it.
const FIND: &str = "find out who did it: it takes root who can open the agent's state_dir, or \
                    CAP_SYS_ADMIN; no workload should have either";
const HEALING: &str = "the agent puts it back by itself and looks for what got through; if it \
                       goes on, find out who takes it away (bpftool link; root or CAP_SYS_ADMIN)";
const HOPELESS: &str = "the agent tries again each second; restart it if it goes on, and find out \
                        who took it away";

impl Broken {
    /// For a reader: what, when, for how long, and what to do.
    pub fn text(&self, now: UnixMillis) -> String {
        let ago = |at: UnixMillis| now.0.saturating_sub(at.0).max(0) / 1_000;
        let times = match self.times {
            1 => "once".to_owned(),
            more => format!("{more} times"),
        };
        let then = match (self.healed, self.missing_at_most_ms) {
            (None, _) => "not put back yet".to_owned(),
            (Some(at), None) => {
                format!(
                    "put back {} s ago; the redirect held all the while",
                    ago(at)
                )
            }
            (Some(at), Some(open)) if self.lasts => format!(
                "put back {} s ago; it was missing for {open} ms at most, and unix sockets that \
                 were reached meanwhile stay connected: restart the workloads",
                ago(at)
            ),
            (Some(at), Some(open)) => format!(
                "put back {} s ago; it was missing for {open} ms at most, and connections past the \
                 agent that were made meanwhile were ended",
                ago(at)
            ),
        };
        format!(
            "{times} since the agent started, last noticed {} s ago: {}; {then}: {FIND}",
            ago(self.at),
            self.what
        )
    }
}

/// How the parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// As they were made.
    Whole,
    /// They do again since this look.
    Healed,
    /// What got through while they did not is still being looked for.
    Searched,
    /// They do not.
    Broken(Verdict),
}

/// The watch.
#[derive(Debug)]
pub(super) struct Watch {
    /// When all was last seen to stand.
    whole: Mutex<Instant>,
    broken: Mutex<Option<Broken>>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Watch {
            whole: Mutex::new(Instant::now()),
            broken: Mutex::default(),
        }
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        locked(&self.broken).clone()
    }

    /// Looks, tells, mends.
    pub(super) fn look(&self, interceptor: &Interceptor, tell: impl Fn(Verdict)) -> Parts {
        let seen = Instant::now();
        let no = |why: String, mend| Verdict::NotGoverning { why, mend };
        let faults = match interceptor.faults() {
            Ok(faults) => faults,
            Err(why) => return Parts::Broken(no(why, HOPELESS)),
        };
        if faults.is_empty() {
            if interceptor.unaudited() {
                return Parts::Searched;
            }
            *locked(&self.whole) = seen;
            return Parts::Whole;
        }
        let what = words(&faults);
        let opened = faults.iter().any(Fault::opened);
        // The alarm first: whatever becomes of the mend, nobody reads "governed" meanwhile.
        tell(no(what.clone(), HEALING));
        self.note(&what, faults.iter().any(Fault::lasts));
        if let Err(error) = interceptor.put_back(&faults) {
            let why = format!("{what}, and it cannot be put back: {error}");
            return Parts::Broken(no(why, HOPELESS));
        }
        let since = std::mem::replace(&mut *locked(&self.whole), Instant::now()).elapsed();
        let open = opened.then(|| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        if let Some(broken) = locked(&self.broken).as_mut() {
            broken.healed = Some(clock::now());
            broken.missing_at_most_ms = open;
        }
        match open {
            Some(missing_at_most_ms) => tracing::warn!(
                what,
                missing_at_most_ms,
                mend = FIND,
                "put back what was taken away; looking for connections that were made meanwhile"
            ),
            None => tracing::warn!(
                what,
                mend = FIND,
                "put back what was taken away; the redirect held all the while"
            ),
        }
        Parts::Healed
    }

    /// Counts it, unless it is the one that could not be put back the last time.
    fn note(&self, what: &str, lasts: bool) {
        let mut broken = locked(&self.broken);
        let times = match broken.as_ref() {
            Some(before) if before.healed.is_none() && before.what == what => return,
            Some(before) => before.times.saturating_add(1),
            None => 1,
        };
        *broken = Some(Broken {
            times,
            what: what.to_owned(),
            at: clock::now(),
            healed: None,
            missing_at_most_ms: None,
            lasts,
        });
    }
}

/// How long connections that got through are looked for before the next look.
pub(super) const SEARCH: Duration = Duration::from_secs(2);

/// The first few, and how many more.
fn words(faults: &[Fault]) -> String {
    const SAID: usize = 3;
    let said: Vec<String> = faults.iter().take(SAID).map(Fault::to_string).collect();
    let said = said.join("; ");
    match faults.len().saturating_sub(SAID) {
        0 => said,
        more => format!("{said}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_is_told_with_its_time_its_length_and_the_mend() {
        let mut broken = Broken {
            times: 1,
            what: "the link of on_connect4 is detached".to_owned(),
            at: UnixMillis(10_000),
            healed: None,
            missing_at_most_ms: None,
            lasts: false,
        };
        let now = UnixMillis(15_000);
        assert!(broken.text(now).contains("not put back yet"));
        broken.healed = Some(UnixMillis(11_000));
        assert!(broken.text(now).contains("held all the while"));
        broken.missing_at_most_ms = Some(900);
        broken.times = 2;
        assert_eq!(
            broken.text(now),
            format!(
                "2 times since the agent started, last noticed 5 s ago: the link of on_connect4 is \
                 detached; put back 4 s ago; it was missing for 900 ms at most, and connections past \
                 the agent that were made meanwhile were ended: {FIND}"
            )
        );
        broken.lasts = true;
        assert!(broken.text(now).contains("stay connected"));
    }
}
