//! Pure. One session before the judge again, event by event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::again::{Asker, again};
use super::limits::{Passed, passed};
use super::purse::{Purse, Spending};
use super::tally::{Brief, Tally, beginning};
use super::turn::{Comes, Word, enforced, other, reason, same_set};
use super::{BacktestOptions, Spot};
use crate::model::{Cause, RefusalCode, SessionId, StatementSeq};
use crate::policy::{Allow, Decision, Denial, PolicySet, decide};
use crate::record::{Began, Decided, Event, Finished, Login, Names};
use crate::sql::{Analysis, Purpose};

/// Decisions that are kept, for statements that are executed again and again.
const KEPT: usize = 512;

/// One session.
pub(super) struct Sitting<'a> {
    set: &'a PolicySet,
    options: &'a BacktestOptions,
    session: SessionId,
    began: Option<Box<Began>>,
    asker: Option<Arc<Asker>>,
    /// Allowed then and now, and not over: what was recorded of the answer decides about limits.
    running: BTreeMap<StatementSeq, Running>,
    kept: HashMap<[usize; 4], Kept>,
}

/// A statement whose answer is awaited.
struct Running {
    brief: Brief,
    old: Arc<Decision>,
    new: Arc<Decision>,
}

/// A new decision, with what it was made of: held, so that nothing else comes to lie there.
struct Kept {
    _analysis: Arc<Analysis>,
    _decision: Arc<Decision>,
    _names: Names,
    _purpose: Option<Arc<Purpose>>,
    new: Arc<Decision>,
    blind_to_observers: bool,
}

impl<'a> Sitting<'a> {
    pub(super) fn new(
        set: &'a PolicySet,
        options: &'a BacktestOptions,
        session: SessionId,
    ) -> Self {
        Sitting {
            set,
            options,
            session,
            began: None,
            asker: None,
            running: BTreeMap::new(),
            kept: HashMap::new(),
        }
    }

    /// Takes the next event. False: the session is not wanted.
    pub(super) fn hear(&mut self, event: Event, tally: &mut Tally, purse: &mut Purse) -> bool {
        match event {
            Event::Began(began) => {
                if !self.wants(&began) {
                    return false;
                }
                self.began = Some(began);
            }
            Event::Login(login) => match login.login {
                Login::Admitted {
                    principal,
                    database,
                    role,
                    application,
                    ..
                } => {
                    let wanted = self.options.wanted.user.as_ref();
                    if wanted.is_some_and(|user| *user != principal.user.subject) {
                        return false;
                    }
                    tally.session();
                    self.asker = self.began.as_ref().map(|began| {
                        Arc::new(Asker {
                            principal: Arc::new(principal),
                            target: began.target.clone(),
                            dialect: began.dialect,
                            database,
                            role,
                            application,
                        })
                    });
                }
                Login::Refused(refusal) => {
                    if self.options.wanted.user.is_none() {
                        tally.session();
                        let word = login_refused(refusal.code);
                        tally.not_policy(word, None);
                    }
                }
            },
            Event::Decided(decided) => self.decided(*decided, tally, purse),
            Event::Finished(finished) => self.finished(&finished, tally, purse),
            Event::Rows(_) | Event::Note(_) | Event::Closed(_) => {}
            Event::Unknown(unknown) => {
                if matches!(unknown.kind.as_str(), "decided" | "again" | "like") {
                    tally.unjudged("the event is of a version that is not known here", None);
                }
            }
        }
        true
    }

    /// The recording is over.
    pub(super) fn end(self, tally: &mut Tally) {
        for running in self.running.into_values() {
            if limits_differ(&running.old, &running.new) {
                tally.unjudged(
                    "the recording ends before its answer: limits cannot be judged",
                    Some(running.brief.spot),
                );
            }
        }
    }

    fn wants(&self, began: &Began) -> bool {
        let wanted = &self.options.wanted;
        let is = |wanted: &Option<String>, have: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == have)
        };
        is(&wanted.workload, &began.workload.name)
            && is(&wanted.target, &began.target.0)
            && wanted.since.is_none_or(|since| began.at >= since)
            && wanted.until.is_none_or(|until| began.at < until)
    }

    fn decided(&mut self, decided: Decided, tally: &mut Tally, purse: &mut Purse) {
        let spot = Spot {
            session: self.session,
            seq: decided.seq,
        };
        let Some(asker) = self.asker.clone() else {
            tally.unjudged("the recording does not say who asked", Some(spot));
            return;
        };
        let by_agent = by_agent(&decided);
        if let Some(word) = by_agent {
            tally.not_policy(word, Some(spot));
            if decided.basis.policy.is_none() {
                // Policy was not asked, or the recording does not say what it said.
                return;
            }
        }
        let brief = Brief {
            spot,
            at: decided.at,
            workload: asker.principal.workload.name.to_string(),
            user: asker.principal.user.subject.clone(),
            target: asker.target.to_string(),
            statement: beginning(&decided.text),
        };
        let (new, blind) = match self.judge(&asker, &decided) {
            Ok(judged) => judged,
            Err(why) => {
                tally.unjudged(why, Some(spot));
                return;
            }
        };
        tally.judged();
        let old = decided.basis.policy.as_ref().unwrap_or(&decided.decision);
        if by_agent.is_some() {
            self.overruled(&decided, old.clone(), new, brief, tally, purse);
            return;
        }
        let (was, is) = match self.options.observed {
            true => (enforced(old), enforced(&new)),
            false => (&**old, &*new),
        };
        let (from, to) = (Word::of(was), Word::of(is));
        if from.decision != to.decision {
            if self.options.observed && blind {
                tally.unjudged(OBSERVERS, Some(spot));
                return;
            }
            let why = reason(is).or_else(|| reason(was));
            tally.flip(&brief, from, to, why);
            return;
        }
        let (then, now) = (enforced(old), enforced(&new));
        let (said, says) = (Word::of(then), Word::of(now));
        if blind {
            tally.unjudged(OBSERVERS, Some(spot));
        } else if !self.options.observed && said.decision != says.decision {
            let why = reason(now).or_else(|| reason(then));
            tally.observed(&brief, said, says, why);
        }
        let what = other(was, is);
        let allowed = from.decision == Comes::Allow;
        if !what.is_empty() {
            tally.other(&brief, from, to, what);
        }
        if allowed && limits_differ(old, &new) {
            if let Some(spending) = Spending::of(&asker, &decided, old, &new) {
                purse.begins(&brief, &spending, None, tally);
            }
            let running = Running {
                brief,
                old: old.clone(),
                new,
            };
            self.running.insert(decided.seq, running);
        }
    }

    /// The decision under the policies that are tried.
    fn judge(
        &mut self,
        asker: &Asker,
        decided: &Decided,
    ) -> Result<(Arc<Decision>, bool), &'static str> {
        let key = lies(decided);
        if let Some(kept) = self.kept.get(&key) {
            return Ok((kept.new.clone(), kept.blind_to_observers));
        }
        let again = again(asker, decided, self.set)?;
        let new = Arc::new(decide(self.set, &again.question));
        let fleeting = match &*new {
            Decision::Allow(allow) => allow.fleeting,
            Decision::Deny(denial) => denial.fleeting,
            Decision::Hold(_) => true,
        };
        if !fleeting {
            if self.kept.len() >= KEPT {
                self.kept.clear();
            }
            let kept = Kept {
                _analysis: decided.analysis.clone(),
                _decision: decided.decision.clone(),
                _names: decided.basis.names.clone(),
                _purpose: decided.purpose.clone(),
                new: new.clone(),
                blind_to_observers: again.blind_to_observers,
            };
            self.kept.insert(key, kept);
        }
        Ok((new, again.blind_to_observers))
    }

    /// Policy allowed it, and the agent refused all the same.
    fn overruled(
        &mut self,
        decided: &Decided,
        old: Arc<Decision>,
        new: Arc<Decision>,
        brief: Brief,
        tally: &mut Tally,
        purse: &mut Purse,
    ) {
        let (Decision::Deny(denial), Decision::Allow(was)) = (&*decided.decision, &*old) else {
            return;
        };
        let from = Word {
            decision: Comes::Deny,
            by: overruled_by(denial),
        };
        let Decision::Allow(is) = &*new else {
            let to = Word::of(&new);
            if to.decision == Comes::Deny {
                tally.other(&brief, from, to, vec!["rule"]);
            } else {
                let why = reason(&new);
                tally.flip(&brief, from, to, why);
            }
            return;
        };
        if cause(denial) == Some(Cause::Budget) {
            let still = is.obligations.budgets.iter().any(|budget| {
                format!("policy \"{}\", budgets.{budget}", budget.policy)
                    == denial.refusal.detail.as_deref().unwrap_or_default()
                    && was.obligations.budgets.contains(budget)
            });
            if still {
                return;
            }
            match self
                .asker
                .as_ref()
                .and_then(|asker| Spending::of(asker, decided, &old, &new))
            {
                Some(spending) => purse.begins(&brief, &spending, Some(from), tally),
                None => tally.flip(
                    &brief,
                    from,
                    Word::of(&new),
                    Some(denial.refusal.message.clone()),
                ),
            }
            return;
        }
        let same = was.obligations.limits == is.obligations.limits
            && same_set(&was.obligations.budgets, &is.obligations.budgets)
            && same_set(&was.obligations.masks, &is.obligations.masks)
            && same_set(&was.obligations.content, &is.obligations.content);
        if !same {
            tally.unjudged(
                "policy allowed it and the agent could not do what that asked for; whether it could \
                 do what is asked for now is not in the recording",
                Some(brief.spot),
            );
        }
    }

    fn finished(&mut self, finished: &Finished, tally: &mut Tally, purse: &mut Purse) {
        let Some(running) = self.running.remove(&finished.seq) else {
            return;
        };
        let (Decision::Allow(old), Decision::Allow(new)) = (&*running.old, &*running.new) else {
            return;
        };
        let Running { brief, .. } = &running;
        purse.ends(brief.spot, finished);
        let limits = |allow: &Allow| match (&allow.watched, self.options.observed) {
            (Some(watched), true) => watched.limits,
            (Some(_) | None, _) => allow.obligations.limits,
        };
        match passed(finished, limits(old), limits(new)) {
            Passed::Nothing => {}
            Passed::Limit(key, why) => {
                let to = Word {
                    decision: Comes::Stop,
                    by: match (&new.obligations.rows_rule, key) {
                        (Some(by), "rows_affected") => super::turn::rule(by),
                        (_, key) => format!("limits.{key}"),
                    },
                };
                tally.flip(brief, Word::of(&running.old), to, Some(why));
            }
            Passed::Unknown => tally.unjudged(
                "a limit stopped it then, and how far it would have gone under other limits is not \
                 in the recording",
                Some(brief.spot),
            ),
        }
    }
}

const OBSERVERS: &str = "its names were not looked up when it ran: what policies that only observe \
                         would say is not known";

/// Where the things lie that a decision was made of. Statements that are executed again share them.
fn lies(decided: &Decided) -> [usize; 4] {
    let names = match &decided.basis.names {
        Names::Found(names) => Arc::as_ptr(names).addr(),
        Names::NotLookedUp => 1,
        Names::Unrecorded => 0,
    };
    let purpose = decided.purpose.as_ref();
    [
        Arc::as_ptr(&decided.analysis).addr(),
        Arc::as_ptr(&decided.decision).addr(),
        names,
        purpose.map_or(0, |purpose| Arc::as_ptr(purpose).addr()),
    ]
}

fn limits_differ(old: &Decision, new: &Decision) -> bool {
    match (old, new) {
        (Decision::Allow(old), Decision::Allow(new)) => {
            old.obligations.limits != new.obligations.limits
                || !same_set(&old.obligations.budgets, &new.obligations.budgets)
                || old.watched != new.watched
        }
        (Decision::Allow(_) | Decision::Hold(_) | Decision::Deny(_), _) => false,
    }
}

fn cause(denial: &Denial) -> Option<Cause> {
    denial
        .refusal
        .particulars
        .as_ref()
        .and_then(|said| said.cause)
}

fn overruled_by(denial: &Denial) -> String {
    match &denial.refusal.detail {
        Some(detail) if cause(denial) == Some(Cause::Budget) => detail.clone(),
        Some(_) | None => "the agent".to_owned(),
    }
}

/// Who refused, where it was not policy.
fn by_agent(decided: &Decided) -> Option<&'static str> {
    let Decision::Deny(denial) = &*decided.decision else {
        return None;
    };
    match (denial.refusal.code, &decided.basis.policy) {
        (_, Some(_)) if cause(denial) == Some(Cause::Budget) => Some("a budget was spent"),
        (_, Some(_)) => Some("policy allowed it, and what that asks for could not be done"),
        (RefusalCode::Policy, None) => None,
        (RefusalCode::Limit, None) => Some("a budget was spent, or a limit could not be kept"),
        (RefusalCode::Upstream, None) => Some("the database's catalogue could not be read"),
        (RefusalCode::Unsupported, None) => Some("the agent does not support it"),
        (
            RefusalCode::Identity
            | RefusalCode::Approval
            | RefusalCode::RecordFull
            | RefusalCode::RecordFault
            | RefusalCode::Draining
            | RefusalCode::Protocol,
            None,
        ) => Some("the agent refused it"),
    }
}

fn login_refused(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Identity => "login refused: identity",
        RefusalCode::Upstream => "login refused: the database could not be opened",
        RefusalCode::Draining => "login refused: the agent was stopping",
        RefusalCode::RecordFull | RefusalCode::RecordFault => {
            "login refused: it could not be recorded"
        }
        RefusalCode::Policy
        | RefusalCode::Limit
        | RefusalCode::Approval
        | RefusalCode::Protocol
        | RefusalCode::Unsupported => "login refused",
    }
}
