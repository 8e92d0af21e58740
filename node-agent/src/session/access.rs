//! Policies that are granted for a time: which are in force for this session, which would let a refused
//! statement run, and how its client asks for one.
//!
//! A client asks in its own SQL, in a comment, and is always answered by an error: what asks with a
//! reference never runs, so that nobody takes its answer for one of the database.

use std::sync::Arc;

use crate::approval::{ACCESS, Desk, Refused, Requester, Waits, Wanted, Wants, time};
use crate::clock;
use crate::model::{
    ApprovalId, Outcome, Particulars, Reference, Refusal, RefusalCode, StatementSeq, UnixMillis,
};
use crate::policy::{Allow, Granted, OnRequest, PolicySet, RuleRef};
use crate::record::{ApprovalStep, Why};
use crate::wire::{Asked, Wire};

use super::pump::Session;
use super::shown::shown;
use super::verdict::{Prepared, Verdict};

/// What asks for the statement beside which it stands.
const THIS: &str = "ask";
/// Policies that a refusal names.
const NAMED: usize = 8;

/// How a comment asks.
#[derive(Debug, PartialEq, Eq)]
enum Asks<'a> {
    /// For the statement itself, if it is refused.
    This,
    /// For one that was refused.
    For(Reference),
    /// Not in a way that can be understood: why.
    Unread(&'a str),
}

/// Reads what `access` says: which statement, and which of the policies.
fn asks(said: &str) -> (Asks<'_>, Option<&str>) {
    let (what, policy) = match said.split_once('/') {
        Some((what, policy)) => (what, Some(policy)),
        None => (said, None),
    };
    if what == THIS {
        return (Asks::This, policy);
    }
    let reference = what.split_once('#').and_then(|(session, seq)| {
        // `parse` also takes a sign.
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        Some(Reference {
            session: session.parse().ok()?,
            seq: StatementSeq(digits.then(|| seq.parse().ok())??),
        })
    });
    match reference {
        Some(reference) => (Asks::For(reference), policy),
        None => (
            Asks::Unread("it is neither `ask` nor the reference of a refused statement"),
            None,
        ),
    }
}

/// A refusal of the agent's that is about access.
fn about(message: String, policy: Option<&str>) -> Refusal {
    Refusal::new(RefusalCode::Approval, message).because(Particulars {
        outcome: Outcome::Hold,
        access: policy.map(str::to_owned).into_iter().collect(),
        ..Particulars::default()
    })
}

/// Adds a sentence to the hint.
fn hinted(mut refusal: Refusal, more: &str) -> Refusal {
    refusal.hint = Some(match refusal.hint.take() {
        Some(hint) => format!("{hint} {more}"),
        None => more.to_owned(),
    });
    refusal
}

impl<W: Wire> Session<W> {
    /// The policies that were granted to who this is, and are in force at a moment.
    pub(super) fn in_force(&self, policies: &PolicySet, now: UnixMillis) -> Vec<Granted> {
        let access = self.shared.desk.access();
        access.granted(&self.principal, policies, now)
    }

    /// Whether a statement asks for another one, and so does not run itself. Where nothing can be granted,
    /// nothing asks: `access` is a word of somebody else's.
    pub(super) fn only_asks(&self, prepared: &Prepared) -> bool {
        let said = prepared.purpose.as_ref();
        let said = said.and_then(|purpose| purpose.access.as_deref());
        said.is_some_and(|said| {
            asks(said).0 != Asks::This && self.policies().all_on_request().next().is_some()
        })
    }

    /// A statement runs: the desk learns of the first that does by access.
    pub(super) fn used_access(&self, granted: &[Granted], allow: &Allow) {
        if granted.is_empty() {
            return;
        }
        let access = self.shared.desk.access();
        for one in granted {
            let speaks = allow.rules.iter().any(|rule| rule.policy == one.policy);
            if let Some(id) = one.by.filter(|_| speaks)
                && access.first_use(&self.principal, id)
            {
                self.shared.desk.access_used(id, self.reference());
            }
        }
    }

    /// What a refused client is told of policies that it could ask for; it has asked already where the
    /// statement says so. With the name of the request.
    pub(super) async fn offer(
        &mut self,
        asked: &Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        verdict: &Verdict,
        refusal: Refusal,
    ) -> (Refusal, Option<(ApprovalId, UnixMillis)>) {
        let said = prepared.purpose.as_ref();
        let said = said.and_then(|purpose| purpose.access.as_deref());
        let [first, others @ ..] = &*verdict.offered else {
            let refusal = match said {
                Some(said) if asks(said).0 == Asks::This => {
                    hinted(refusal, "No policy that can be granted would let it run.")
                }
                Some(_) | None => refusal,
            };
            return (refusal, None);
        };
        let statement = shown(asked, prepared, verdict).map_err(str::to_owned);
        let refused = Refused {
            target: self.arrived.reachable.target.name.clone(),
            database: self.database.clone(),
            role: self.role.clone(),
            policies: verdict
                .offered
                .iter()
                .map(|one| one.policy.clone())
                .collect(),
            statement,
        };
        if let Some(said) = said {
            let (_, policy) = asks(said);
            let policies = self.policies();
            let wish = refused
                .wish(policy)
                .and_then(|name| policies.on_request(name));
            let Some(wish) = wish.cloned() else {
                let names = refused.policies.join(", ");
                let more = format!("It can be granted by one of these policies: {names}.");
                return (hinted(refusal, &more), None);
            };
            let (told, id) = self.want(prepared, &wish, &refused, self.reference()).await;
            let mut refusal = refusal;
            refusal.message = format!("{}; {}", refusal.message, told.message);
            refusal.detail = match (refusal.detail.take(), told.detail) {
                (Some(own), Some(more)) => Some(format!("{own}; {more}")),
                (own, more) => own.or(more),
            };
            // How it becomes allowed is what counts now.
            refusal.hint = told.hint;
            return (listing(refusal, &verdict.offered), id);
        }
        let reference = self.reference();
        let desk = &self.shared.desk;
        desk.refusals().keep(&self.principal, reference, refused);
        let written = format!("{}%23{}", reference.session, reference.seq);
        let or = match others {
            [] => String::new(),
            others => {
                let others = others.iter().take(NAMED);
                let others: Vec<&str> = others.map(|one| &*one.policy).collect();
                format!(
                    " ({} too: write access='{written}/NAME')",
                    others.join(", ")
                )
            }
        };
        let more = format!(
            "Policy {}{or} would let it run, and is granted on request: send \
             /*access='{written}',reason='why'*/ select 1 to ask for it, and this statement again once \
             it is granted.",
            first.policy
        );
        (listing(hinted(refusal, &more), &verdict.offered), None)
    }

    /// A statement that asks for access by a reference. It does not run.
    pub(super) async fn asks_for(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
    ) -> Result<(), Why> {
        self.seq += 1;
        let (refusal, id) = self.answer_to(&prepared).await;
        let policies = self.policies();
        let verdict = self.denied(policies.version(), refusal.clone());
        self.refuse_asking(asked, &prepared, &verdict, refusal, id)
            .await
    }

    async fn answer_to(
        &mut self,
        prepared: &Arc<Prepared>,
    ) -> (Refusal, Option<(ApprovalId, UnixMillis)>) {
        let purpose = prepared.purpose.as_deref();
        let said = purpose.and_then(|purpose| purpose.access.as_deref());
        let (what, policy) = asks(said.unwrap_or_default());
        let example = "Write /*access='s-…%23N',reason='why'*/ beside any statement, with the reference of \
                       one of your own that was refused, or /*access='ask',reason='why'*/ beside that \
                       statement itself.";
        let reference = match what {
            Asks::For(reference) => reference,
            Asks::This => return (about("nothing was asked".to_owned(), None), None),
            Asks::Unread(why) => {
                let why = purpose
                    .and_then(|said| said.unread.as_deref())
                    .unwrap_or(why);
                let message = format!(
                    "what asks for access cannot be read, and the statement did not run: {why}"
                );
                return (about(message, None).hint(example), None);
            }
        };
        let refused = self.shared.desk.refusals().of(&self.principal, reference);
        // Whether it is somebody else's or nobody's is not said.
        let Some(refused) = refused else {
            let message = format!(
                "nothing can be asked for by {reference}, and this statement did not run: no statement of \
                 yours was refused under it lately that could be granted"
            );
            let hint =
                "Send the statement that is refused again, with /*access='ask',reason='why'*/.";
            return (about(message, None).hint(hint), None);
        };
        let policies = self.policies();
        let wish = refused
            .wish(policy)
            .and_then(|name| policies.on_request(name));
        let Some(wish) = wish.cloned() else {
            let message = format!(
                "it cannot be asked for, and this statement did not run: {reference} can be granted by {}",
                refused.policies.join(", ")
            );
            return (about(message, None).hint(example), None);
        };
        let (told, id) = self.want(prepared, &wish, &refused, reference).await;
        let refusal = Refusal {
            message: format!("{}; this statement did not run", told.message),
            ..told
        };
        (refusal, id)
    }

    /// Asks the desk. What is told has no reference yet.
    async fn want(
        &mut self,
        prepared: &Arc<Prepared>,
        wish: &OnRequest,
        refused: &Refused,
        reference: Reference,
    ) -> (Refusal, Option<(ApprovalId, UnixMillis)>) {
        let policy = &wish.policy;
        let mut requester = Requester::of(
            &self.principal,
            &self.arrived.flow.process,
            self.arrived.client,
        );
        requester.application = self.application.clone();
        requester.purpose = prepared.purpose.as_deref().cloned();
        let mut wanted = Wanted::of(wish, Some(self.principal.workload.name.clone()));
        match &refused.statement {
            Ok(shown) => wanted.refused = Some(shown.clone()),
            Err(why) => wanted.unshown = Some(why.clone()),
        }
        let Some(id) = Desk::new_name() else {
            let message = "access cannot be asked for: the system gives no randomness".to_owned();
            return (about(message, Some(policy)), None);
        };
        let at = clock::now();
        let waits = i64::try_from(wish.waits).unwrap_or(0);
        let request = crate::approval::Request {
            id,
            reference,
            at,
            lapses: UnixMillis(at.0.saturating_add(waits)),
            waits: Waits::Retry,
            binding: wanted.binding(&requester),
            requester,
            target: refused.target.clone(),
            database: refused.database.clone(),
            role: refused.role.clone(),
            matter: crate::approval::Matter::Access(wanted),
            rule: RuleRef {
                policy: policy.clone(),
                rule: ACCESS.into(),
            },
            asks: wish.asks.clone(),
            policy_version: self.policies().version(),
            shape: None,
        };
        let left = |until: UnixMillis| {
            time(u64::try_from(until.0.saturating_sub(clock::now().0)).unwrap_or(0))
        };
        let again = "Send the statement that was refused again once it is granted; ask again to hear how it \
                     stands.";
        let whom = format!(
            "asked: {}, {} of them must agree; granted, it is in force for you in this workload for at most {}",
            wish.asks.reviewers,
            wish.asks.quorum,
            time(wish.longest)
        );
        match self.shared.desk.want(request).await {
            Wants::Asked(id, lapses) => {
                let message = format!(
                    "access was asked for as {id}: policy {policy}; reviewers decide within {}",
                    left(lapses)
                );
                let told = about(message, Some(policy)).detail(whom).hint(again);
                (told, Some((id, lapses)))
            }
            Wants::Waits(id, lapses) => {
                let message = format!(
                    "access was asked for as {id}: policy {policy}; nobody has decided yet, for another {}",
                    left(lapses)
                );
                (about(message, Some(policy)).detail(whom).hint(again), None)
            }
            Wants::Granted(id, until) => {
                let message = format!(
                    "policy {policy} is granted to you as {id}, for another {}",
                    left(until)
                );
                let hint = "Send the statement that was refused itself.";
                (about(message, Some(policy)).hint(hint), None)
            }
            Wants::Refused(id, told) => {
                let message = format!("access as {id} to policy {policy} was {told}");
                let hint = "It can be asked for again ten minutes after that.";
                (about(message, Some(policy)).hint(hint), None)
            }
            Wants::No(why) => {
                let message = format!("access to policy {policy} cannot be asked for: {why}");
                (about(message, Some(policy)), None)
            }
        }
    }

    /// Refuses a statement that asks, with what was asked beside it on the record.
    pub(super) async fn refuse_asking(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        verdict: &Verdict,
        refusal: Refusal,
        id: Option<(ApprovalId, UnixMillis)>,
    ) -> Result<(), Why> {
        let Some((id, lapses)) = id else {
            return self.refuse(asked, prepared, verdict, refusal).await;
        };
        let refusal = refusal.at(self.reference());
        let decided = self.decided(&asked, prepared, verdict);
        // A refusal that cannot be recorded is a refusal all the same; that it was asked is in the ledger.
        if let Err(error) = self.recorder.decided(decided).await {
            tracing::error!(session = %self.id, %error, "a refusal is not on the record");
        } else if let Err(error) = self.step(Some(id), ApprovalStep::Asked { lapses }).await {
            tracing::error!(session = %self.id, %error, "that access was asked for is not on the record");
        }
        self.refuse_decided(asked, refusal);
        Ok(())
    }
}

impl Refused {
    /// The policy that is asked for: the one that is named, if it is among those that were offered, else the
    /// first.
    fn wish(&self, named: Option<&str>) -> Option<&str> {
        match named {
            None => self.policies.first().map(|first| &**first),
            Some(named) => {
                let mut all = self.policies.iter();
                all.find(|one| ***one == *named).map(|one| &**one)
            }
        }
    }
}

/// For programs.
fn listing(mut refusal: Refusal, offered: &[Arc<OnRequest>]) -> Refusal {
    let mut particulars = refusal.particulars.take().unwrap_or_default();
    particulars.access = offered.iter().map(|one| one.policy.to_string()).collect();
    refusal.particulars = Some(particulars);
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;

    #[test]
    fn a_comment_names_a_statement_and_a_policy() {
        let reference = Reference {
            session: SessionId(0xc0ffee),
            seq: StatementSeq(20),
        };
        for (said, what, policy) in [
            ("ask", Asks::This, None),
            ("ask/oncall", Asks::This, Some("oncall")),
            ("s-0000000000c0ffee#20", Asks::For(reference), None),
            (
                "s-0000000000c0ffee#20/on/call",
                Asks::For(reference),
                Some("on/call"),
            ),
        ] {
            assert_eq!(asks(said), (what, policy), "{said}");
        }
        for said in [
            "",
            "Ask",
            "s-0000000000c0ffee",
            "s-0000000000c0ffee#",
            "s-0000000000c0ffee#+1",
            "s-0000000000c0ffee#99999999999999999999",
            "s-c0ffee#1",
            "#1",
        ] {
            assert!(matches!(asks(said).0, Asks::Unread(_)), "{said}");
        }
    }
}
