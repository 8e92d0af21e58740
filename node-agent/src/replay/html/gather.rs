//! IO. The first reading of a recording: verified whole, and what the top of its page says.

use std::collections::VecDeque;
use std::path::Path;

use super::timeline::Timeline;
use crate::model::UnixMillis;
use crate::policy::{Decision, RuleRef};
use crate::record::{Began, Event, Identities, LoggedIn, Login, Totals};
use crate::replay::read::{Recording, Said, State};
use crate::replay::told::Ruled;
use crate::replay::{ReplayError, list, verify, words};

/// How many refusals and errors are listed at the top of the page.
const LISTED: usize = 200;

/// A refusal, a hold or an error, with where it is in the page.
pub(super) struct Remarkable {
    pub(super) seq: u64,
    pub(super) at: UnixMillis,
    pub(super) kind: Kind,
    /// The rule, or the error's code and message.
    pub(super) why: String,
    /// How the statement begins.
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ruled(Ruled),
    Failed,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Ruled(ruled) => ruled.word(),
            Kind::Failed => "failed",
        }
    }
}

pub(super) struct Gathered {
    pub(super) state: State,
    pub(super) began: Option<Box<Began>>,
    pub(super) login: Option<Box<LoggedIn>>,
    pub(super) closed: Option<(UnixMillis, String)>,
    pub(super) totals: Totals,
    pub(super) observed: u64,
    pub(super) first: Option<UnixMillis>,
    pub(super) last: Option<UnixMillis>,
    pub(super) timeline: Timeline,
    pub(super) remarkable: Vec<Remarkable>,
    /// How many more there are.
    pub(super) more: u64,
    /// How the last few statements begin: an error says only which one it is of.
    recent: VecDeque<(u64, String)>,
}

/// How many beginnings are kept.
const RECENT: usize = 64;

impl Gathered {
    /// `Session s-… · claude · orders`.
    pub(super) fn title(&self) -> String {
        match &self.began {
            Some(began) => format!(
                "Session {} · {} · {}",
                self.state.session, began.workload.name, began.target.0
            ),
            None => format!("Session {}", self.state.session),
        }
    }

    fn take(&mut self, event: Event) {
        self.totals.count(&event);
        if let Some(at) = words::at(&event) {
            self.first.get_or_insert(at);
            self.last = self.last.max(Some(at));
        }
        match event {
            Event::Began(began) => self.began = Some(began),
            Event::Login(login) => {
                if let Login::Refused(refusal) = &login.login {
                    self.timeline
                        .add(login.at, Some(Kind::Ruled(Ruled::Denied)));
                    let why = refusal.message.clone();
                    self.remark(0, login.at, Kind::Ruled(Ruled::Denied), why, "login".into());
                }
                self.login = Some(login);
            }
            Event::Decided(decided) => {
                let ruled = Ruled::of(&decided.decision);
                let begins = list::first_words(&decided.text);
                self.recent.truncate(RECENT - 1);
                self.recent.push_front((decided.seq.0, begins.clone()));
                self.timeline.add(decided.at, Some(Kind::Ruled(ruled)));
                let by = |rule: Option<&RuleRef>| match rule {
                    Some(rule) => format!("{}/{}", rule.policy, rule.rule),
                    None => "no rule allows it".to_owned(),
                };
                let why = match &*decided.decision {
                    Decision::Deny(denial) => by(denial.rule.as_ref()),
                    Decision::Hold(hold) => by(Some(&hold.rule)),
                    Decision::Allow(allow) => match (&ruled, allow.observed.as_deref()) {
                        (Ruled::Observed, Some(Decision::Deny(denial))) => by(denial.rule.as_ref()),
                        (Ruled::Observed, Some(Decision::Hold(hold))) => by(Some(&hold.rule)),
                        _ => return,
                    },
                };
                self.observed += u64::from(ruled == Ruled::Observed);
                self.remark(decided.seq.0, decided.at, Kind::Ruled(ruled), why, begins);
            }
            Event::Finished(finished) => {
                if let Some((code, message)) = finished.error {
                    self.timeline.add(finished.at, Some(Kind::Failed));
                    let why = format!("{code}: {message}");
                    let seq = finished.seq.0;
                    let mut recent = self.recent.iter();
                    let begins = recent.find(|(of, _)| *of == seq);
                    let begins = begins.map(|(_, text)| text.clone()).unwrap_or_default();
                    self.remark(seq, finished.at, Kind::Failed, why, begins);
                } else {
                    self.timeline.add(finished.at, None);
                }
            }
            Event::Closed(closed) => {
                self.timeline.add(closed.at, None);
                self.closed = Some((closed.at, words::why(&closed.why)));
            }
            Event::Note(note) => self.timeline.add(note.at, None),
            Event::Rows(_) | Event::Unknown(_) => {}
        }
    }

    fn remark(&mut self, seq: u64, at: UnixMillis, kind: Kind, why: String, text: String) {
        if self.remarkable.len() >= LISTED {
            self.more += 1;
            return;
        }
        let why = match why.char_indices().nth(200) {
            Some((cut, _)) => format!("{}…", why.get(..cut).unwrap_or_default()),
            None => why,
        };
        self.remarkable.push(Remarkable {
            seq,
            at,
            kind,
            why,
            text,
        });
    }
}

/// Reads a recording to its end, or to the first damage.
pub(super) fn gather(path: &Path, identities: &Identities) -> Result<Gathered, ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let mut gathered = Gathered {
        state: recording.state(),
        began: None,
        login: None,
        closed: None,
        totals: Totals::default(),
        observed: 0,
        first: None,
        last: None,
        timeline: Timeline::new(recording.header().began),
        remarkable: Vec::new(),
        more: 0,
        recent: VecDeque::new(),
    };
    while let Said::Event(event) = recording.next()? {
        gathered.take(*event);
    }
    gathered.state = recording.state();
    verify::named(path, &mut gathered.state);
    Ok(gathered)
}
