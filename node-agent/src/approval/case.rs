//! Pure. One request from its asking to its end: states, votes, and who may give one.

use serde::{Deserialize, Serialize};

use super::{Matter, Request, Reviewer, Via, Waits};
use crate::model::{SessionId, UnixMillis};

/// A request and what has become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What was asked.
    pub request: Request,
    /// What has become of it.
    pub state: State,
    /// The votes so far.
    #[serde(default)]
    pub votes: Vec<Vote>,
    /// How often something ran by it.
    #[serde(default)]
    pub runs: u64,
    /// When it last changed.
    pub changed: UnixMillis,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits for reviewers.
    Pending,
    /// It was approved, and may be used until then.
    Approved {
        /// The end of it.
        until: UnixMillis,
    },
    /// It was approved and used; nothing more runs by it.
    Used,
    /// A reviewer said no.
    Refused,
    /// It ended without a ruling, or without being used.
    Over {
        /// Why.
        why: Lapse,
    },
}

/// Why something that was asked for did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lapse {
    /// Nobody decided in time.
    TimedOut,
    /// It was approved, and not used in time.
    Unused,
    /// The client went away.
    ClientGone,
    /// The client cancelled it.
    Cancelled,
    /// The session ended.
    SessionOver,
    /// Policies changed meanwhile.
    PolicyChanged,
    /// What the statement's names stand for changed meanwhile, or the circumstances it runs in.
    NamesChanged,
    /// The agent stopped, or another took over.
    AgentStopped,
    /// Somebody took the approval back.
    Revoked,
    /// The ruling could not be recorded.
    Unrecorded,
    /// The time that access was granted for is over.
    Ended,
}

impl Lapse {
    /// In words, after "it did not run: ".
    pub fn words(self) -> &'static str {
        match self {
            Lapse::TimedOut => "nobody decided in time",
            Lapse::Unused => "it was approved and not used in time",
            Lapse::ClientGone => "the client went away",
            Lapse::Cancelled => "the client cancelled it",
            Lapse::SessionOver => "the session ended",
            Lapse::PolicyChanged => "the policies changed while it was held",
            Lapse::NamesChanged => {
                "what its names stand for, or the settings it runs under, changed while it was held"
            }
            Lapse::AgentStopped => "the agent stopped",
            Lapse::Revoked => "the approval was taken back",
            Lapse::Unrecorded => "the ruling could not be recorded",
            Lapse::Ended => "the time that it was granted for is over",
        }
    }
}

/// How far a grant reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One run of exactly this statement.
    #[default]
    Once,
    /// Whatever the same rule holds in the same session.
    Session,
    /// Statements of the same shape by the same identity, for so many minutes.
    Shape(u32),
    /// A policy, in force for so many milliseconds.
    Access(u64),
}

/// What a reviewer grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// How far it reaches.
    pub scope: Scope,
    /// It is rolled back when it changes more rows than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// The answer is not masked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unmasked: bool,
}

/// One reviewer's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Whose, as recorded.
    pub by: String,
    /// All names of the same person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Where it was given.
    pub via: Via,
    /// When.
    pub at: UnixMillis,
    /// Yes or no.
    pub says: Says,
    /// In the reviewer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// Yes, on these terms.
    Approve(Terms),
    /// No.
    Refuse,
}

/// Why a reviewer's word does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// There is no such request, or it is long over.
    #[error("there is no request of that name; `node-agent approvals ls --all` lists them")]
    Unknown,
    /// It is over.
    #[error("it is decided already: {0}")]
    Over(String),
    /// The reviewer is the requester.
    #[error("{0} asked for it: nobody approves their own request")]
    Own(String),
    /// Not one of those whom the rule names.
    #[error("{who} may not decide it: the rule asks {asks}")]
    NotAsked {
        /// Who tried.
        who: String,
        /// Whom the rule names.
        asks: String,
    },
    /// Once is enough.
    #[error("{0} has approved it already; {1} of {2} different reviewers have")]
    Twice(String, usize, u32),
    /// The rule does not offer it.
    #[error("the rule does not offer {0}")]
    NotOffered(&'static str),
    /// Others agreed on other terms.
    #[error("the reviewers before agreed on other terms ({0}); agree on the same, or refuse")]
    OtherTerms(String),
    /// It can be taken back only while it is in force.
    #[error("only an approval in force can be taken back")]
    NotInForce,
    /// There is no room for another request.
    #[error("it cannot be asked for: {0}")]
    NoRoom(String),
    /// The state cannot be kept, so that nothing may hang on it.
    #[error("the ruling cannot be recorded, so it does not count: {0}")]
    Unrecorded(String),
}

/// The longest note of a reviewer that is kept, characters.
const LONGEST_NOTE: usize = 500;

impl Case {
    /// A new one.
    pub fn new(request: Request) -> Case {
        let changed = request.at;
        Case {
            request,
            state: State::Pending,
            votes: Vec::new(),
            runs: 0,
            changed,
        }
    }

    /// Whether it waits for a reviewer.
    pub fn pending(&self) -> bool {
        self.state == State::Pending
    }

    /// Whether anything can still come of it.
    pub fn open(&self) -> bool {
        match self.state {
            State::Pending | State::Approved { .. } => true,
            State::Used | State::Refused | State::Over { .. } => false,
        }
    }

    /// The terms that the reviewers agreed on.
    pub fn terms(&self) -> Option<Terms> {
        self.votes.iter().find_map(|vote| match vote.says {
            Says::Approve(terms) => Some(terms),
            Says::Refuse => None,
        })
    }

    /// How many reviewers have approved.
    pub fn agreed(&self) -> usize {
        let yes = |vote: &&Vote| matches!(vote.says, Says::Approve(_));
        self.votes.iter().filter(yes).count()
    }

    /// Counts a reviewer's word. `ticket` is how long an approval may wait to be used, ms.
    ///
    /// # Errors
    /// It does not count, and nothing changed.
    pub fn vote(
        &mut self,
        reviewer: &Reviewer,
        says: Says,
        note: Option<&str>,
        now: UnixMillis,
        ticket: i64,
    ) -> Result<(), NotCounted> {
        self.may_decide(reviewer, now)?;
        let by = reviewer.recorded();
        if let Says::Approve(terms) = says {
            self.offered(terms)?;
            if self.votes.iter().any(|vote| reviewer.gave(vote)) {
                let (agreed, quorum) = (self.agreed(), self.request.asks.quorum);
                return Err(NotCounted::Twice(by, agreed, quorum));
            }
            if let Some(agreed) = self.terms()
                && agreed != terms
            {
                return Err(NotCounted::OtherTerms(agreed.to_string()));
            }
        }
        self.votes.push(Vote {
            by,
            names: reviewer.known_as(),
            via: reviewer.via,
            at: now,
            says,
            note: note.map(|note| note.chars().take(LONGEST_NOTE).collect()),
        });
        self.changed = now;
        match says {
            Says::Refuse => self.state = State::Refused,
            Says::Approve(terms) if self.agreed() >= self.request.asks.quorum.max(1) as usize => {
                let until = match terms.scope {
                    Scope::Once => now.0.saturating_add(ticket),
                    Scope::Session => i64::MAX,
                    Scope::Shape(minutes) => now.0.saturating_add(i64::from(minutes) * 60_000),
                    Scope::Access(time) => now.0.saturating_add(i64::try_from(time).unwrap_or(0)),
                };
                self.state = State::Approved {
                    until: UnixMillis(until),
                };
            }
            Says::Approve(_) => {}
        }
        Ok(())
    }

    /// Whether this is still to be decided, and by this reviewer.
    pub(super) fn may_decide(
        &self,
        reviewer: &Reviewer,
        now: UnixMillis,
    ) -> Result<(), NotCounted> {
        if !self.pending() {
            return Err(NotCounted::Over(self.told()));
        }
        // Late is late, also where nobody has come to say so yet.
        if now >= self.request.lapses {
            return Err(NotCounted::Over(Lapse::TimedOut.words().to_owned()));
        }
        if reviewer.is(&self.request.requester) {
            return Err(NotCounted::Own(reviewer.name.clone()));
        }
        if !reviewer.belongs_to(&self.request.asks.reviewers) {
            return Err(NotCounted::NotAsked {
                who: reviewer.name.clone(),
                asks: self.request.asks.reviewers.to_string(),
            });
        }
        Ok(())
    }

    /// Whether the rule offers these terms.
    fn offered(&self, terms: Terms) -> Result<(), NotCounted> {
        if let Some(offered) = self.access_offered(terms) {
            return offered;
        }
        let asks = &self.request.asks;
        match terms.scope {
            Scope::Access(_) => return Err(NotCounted::NotOffered("a time of its own")),
            Scope::Once => {}
            Scope::Session if asks.offers.session && self.request.waits == Waits::Held => {}
            Scope::Session => return Err(NotCounted::NotOffered("the rest of the session")),
            Scope::Shape(_) if self.request.shape.is_none() => {
                return Err(NotCounted::NotOffered(
                    "a shape here: nothing of this statement may differ",
                ));
            }
            Scope::Shape(minutes) => {
                let most = asks.offers.shape.map_or(0, |span| span.0 / 60_000);
                if minutes == 0 || u64::from(minutes) > most {
                    return Err(NotCounted::NotOffered(
                        "so many minutes for statements of this shape",
                    ));
                }
            }
        }
        if let Matter::Commit(_) = self.request.matter {
            let nothing = match terms {
                Terms {
                    scope: Scope::Shape(_),
                    ..
                } => "statements of a shape: a COMMIT has none",
                Terms { unmasked: true, .. } => "an answer without masks: it was given already",
                Terms {
                    max_rows: Some(_), ..
                } => "a limit of rows: they are changed already",
                Terms { .. } => return Ok(()),
            };
            return Err(NotCounted::NotOffered(nothing));
        }
        if terms.unmasked && !asks.offers.unmasked {
            return Err(NotCounted::NotOffered("an answer without masks"));
        }
        Ok(())
    }

    /// Something ran by it. False: nothing may.
    pub fn used(&mut self, now: UnixMillis) -> bool {
        let State::Approved { until } = self.state else {
            return false;
        };
        if now >= until {
            return false;
        }
        self.runs += 1;
        self.changed = now;
        if self.terms().is_none_or(|terms| terms.scope == Scope::Once) {
            self.state = State::Used;
        }
        true
    }

    /// It ends without being used (further). False: it was over.
    pub fn lapse(&mut self, why: Lapse, now: UnixMillis) -> bool {
        if !self.open() {
            return false;
        }
        self.changed = now;
        self.state = match (self.state.clone(), self.runs) {
            // What was in force and did run was used.
            (State::Approved { .. }, 1..) if self.request.access().is_none() => State::Used,
            _ => State::Over { why },
        };
        true
    }

    /// Whether it should have lapsed by now, and why.
    pub fn overdue(&self, now: UnixMillis) -> Option<Lapse> {
        match self.state {
            State::Pending if now >= self.request.lapses => Some(Lapse::TimedOut),
            State::Approved { until } if now >= until => Some(match self.request.access() {
                Some(_) => Lapse::Ended,
                None => Lapse::Unused,
            }),
            _ => None,
        }
    }

    /// Whether it hangs on a session that is (or would be) live, and on which.
    pub fn hangs_on(&self) -> Option<SessionId> {
        let session = self.request.reference.session;
        match (&self.state, self.request.waits) {
            (State::Pending, Waits::Held) => Some(session),
            (State::Approved { .. }, Waits::Held) => match self.terms()?.scope {
                Scope::Once | Scope::Session => Some(session),
                Scope::Shape(_) | Scope::Access(_) => None,
            },
            _ => None,
        }
    }

    /// What has become of it, in words.
    pub fn told(&self) -> String {
        let names = |says: fn(&Says) -> bool| {
            let of = self.votes.iter().filter(|vote| says(&vote.says));
            of.map(|vote| vote.by.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let yes = names(|says| matches!(says, Says::Approve(_)));
        if let Some(told) = self.access_told(&yes) {
            return told;
        }
        match &self.state {
            State::Pending if yes.is_empty() => "pending".to_owned(),
            State::Pending => format!(
                "pending, {} of {} approved it ({yes})",
                self.agreed(),
                self.request.asks.quorum
            ),
            State::Approved { .. } => format!("approved by {yes}"),
            State::Used => format!("approved by {yes}, and used"),
            State::Refused => format!("refused by {}", names(|says| *says == Says::Refuse)),
            State::Over { why } => why.words().to_owned(),
        }
    }
}

impl std::fmt::Display for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.scope {
            Scope::Once => f.write_str("once")?,
            Scope::Session => f.write_str("whatever the rule holds in this session")?,
            Scope::Shape(minutes) => {
                write!(f, "statements of this shape for {minutes} minutes")?;
            }
            Scope::Access(time) => {
                return write!(f, "the policy is in force for {}", super::time(time));
            }
        }
        if let Some(rows) = self.max_rows {
            write!(f, ", at most {rows} rows changed")?;
        }
        f.write_str(match self.unmasked {
            true => ", the answer without masks",
            false => ", with masking",
        })
    }
}
