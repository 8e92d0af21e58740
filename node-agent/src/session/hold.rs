//! A statement that a rule holds: reviewers are asked, it waits, and it runs by a grant for exactly this
//! statement, or it does not. The bytes that were judged are kept here and are the ones that are sent.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::approval::{Asked as Answer, Grant, Lapse, Matter, Pending, Request, Told};
use crate::clock;
use crate::model::{ApprovalId, Refusal, RefusalCode, UnixMillis};
use crate::permit::Cleared;
use crate::policy::{Decision, Hold};
use crate::record::{Approval, ApprovalStep, Receipt, Why};
use crate::wire::{Asked, Phase, Wire};

use super::gate::{ByGate, gates};
use super::preview::Shows;
use super::pump::Session;
use super::verdict::{Prepared, Verdict};

/// How often a client that waits is told so.
const REMIND: Duration = Duration::from_secs(60);
/// How much longer than the desk the session waits for its word: a desk that hangs grants nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Portals whose answer may be read on by the grant that began it.
const MOST_PORTALS: usize = 64;

/// A statement that is brought to the desk.
pub(super) struct Brought {
    pub(super) asked: Asked<Arc<Prepared>>,
    pub(super) prepared: Arc<Prepared>,
    pub(super) verdict: Verdict,
    pub(super) hold: Hold,
    pub(super) receipt: Receipt,
    /// It is the COMMIT of a transaction that the rule is about.
    pub(super) commit: bool,
    /// Why it is held itself, where the rule would hold its COMMIT.
    pub(super) itself: Option<&'static str>,
}

/// A statement that waits for a human.
pub(super) struct Held {
    pub(super) asked: Asked<Arc<Prepared>>,
    pub(super) prepared: Arc<Prepared>,
    pub(super) hold: Hold,
    pub(super) policy_version: Arc<str>,
    pub(super) receipt: Receipt,
    pub(super) pending: Box<Pending>,
    /// What reviewers want to see of it beside its text.
    pub(super) shows: Shows,
    pub(super) commit: bool,
    pub(super) itself: Option<&'static str>,
    /// What came for it, and was not acted on yet.
    told: Option<Told>,
    pub(super) lapses: UnixMillis,
    remind: Pin<Box<Sleep>>,
    late: Pin<Box<Sleep>>,
    cancelled: oneshot::Receiver<()>,
}

impl Held {
    /// Whether something came for it. Wakes the task when something does.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.told.is_some() {
            return true;
        }
        // A sender that is gone has said nothing.
        if let Poll::Ready(Ok(())) = pin!(&mut self.cancelled).poll(cx) {
            self.pending.gone(Lapse::Cancelled);
            self.told = Some(Told::Refused(self.refused(Lapse::Cancelled)));
        } else if let Poll::Ready(told) = pin!(self.pending.told()).poll(cx) {
            self.told = Some(told);
        } else if self.late.as_mut().poll(cx).is_ready() {
            self.pending.gone(Lapse::TimedOut);
            self.told = Some(Told::Refused(self.refused(Lapse::TimedOut)));
        }
        self.told.is_some()
    }

    fn refused(&self, why: Lapse) -> Refusal {
        crate::approval::refusal(&self.hold.rule, why.words())
    }

    /// Why it is withdrawn, when its session ends for this reason.
    pub(super) fn gone(&mut self, why: &Why) {
        self.pending.gone(match why {
            Why::ClientGone | Why::ClientQuit => Lapse::ClientGone,
            Why::Drained => Lapse::AgentStopped,
            _ => Lapse::SessionOver,
        });
    }
}

impl<W: Wire> Session<W> {
    /// Brings a statement to the desk. What can be approved by nobody is refused at once.
    pub(super) async fn hold(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
        hold: Hold,
    ) -> Result<(), Why> {
        let decided = self.decided(&asked, &prepared, &verdict);
        let receipt = match self.recorder.decided(decided).await {
            Ok(receipt) => receipt,
            // Record or refuse: nobody is asked about what is not on the record.
            Err(error) => {
                let refusal = error.refusal().at(self.reference());
                self.link.refuse(asked, &refusal, &mut self.out);
                return Ok(());
            }
        };
        if let Phase::Execute {
            resumed: true,
            portal,
            ..
        } = &asked.phase
            && let Some((rest, policy_version)) = self.rests.get(portal)
            && rest.rule() == &hold.rule
            && *policy_version == verdict.policy_version
        {
            let grant = rest.resume(self.reference());
            return self.granted(asked, prepared, verdict, receipt, grant).await;
        }
        let mut brought = Brought {
            asked,
            prepared,
            verdict,
            hold,
            receipt,
            commit: false,
            itself: None,
        };
        if gates(&brought.hold) {
            match self.by_gate(&brought) {
                ByGate::Runs { gated, first } => return self.gated(brought, gated, first).await,
                ByGate::Closes => {
                    let Brought {
                        asked,
                        prepared,
                        verdict,
                        receipt,
                        ..
                    } = brought;
                    return self.close_with(asked, prepared, verdict, receipt).await;
                }
                ByGate::Refused { why, hint } => {
                    let refusal = crate::approval::refusal(&brought.hold.rule, &why).hint(hint);
                    let Brought { asked, hold, .. } = brought;
                    return self.not_granted(asked, &hold, None, refusal).await;
                }
                ByGate::Held(why) => brought.itself = Some(why),
            }
        } else if let Some(refusal) = self.past_the_gate(&brought.prepared) {
            // One approval cannot answer both, and nobody is asked in vain.
            let Brought { asked, hold, .. } = brought;
            return self.not_granted(asked, &hold, None, refusal).await;
        }
        match self.request(&brought).await {
            Ok(request) => self.bring(brought, request).await,
            Err(refusal) => {
                let Brought { asked, hold, .. } = brought;
                self.not_granted(asked, &hold, None, *refusal).await
            }
        }
    }

    /// Brings what is asked for to the desk, where it waits unless it was decided on before.
    pub(super) async fn bring(&mut self, brought: Brought, request: Request) -> Result<(), Why> {
        let mut request = request;
        let (id, lapses) = (request.id, request.lapses);
        let obligations = brought.hold.obligations.clone();
        let desk = self.shared.desk.clone();
        // From here on a cancel request is for what waits.
        let cancelled = self.cancel.held();
        if !brought.commit
            && let Some(_room) = desk.would_ask(&request).await
            && let Matter::Statement(shown) = &mut request.matter
        {
            shown.estimate = self.expected(&brought.asked, &brought.prepared).await;
        }
        // Before anybody can see the request: who asks for a preview at once is heard.
        let shows = Shows::new(desk.holds(id));
        match desk.ask(request, obligations).await {
            Answer::Granted(grant) if brought.commit => {
                drop(cancelled);
                self.committed(brought, grant).await
            }
            Answer::Granted(grant) => {
                drop(cancelled);
                let Brought {
                    asked,
                    prepared,
                    verdict,
                    receipt,
                    ..
                } = brought;
                self.granted(asked, prepared, verdict, receipt, grant).await
            }
            Answer::Refused(refusal) => self.not_brought(brought, id, refusal).await,
            Answer::Waiting(mut pending) => {
                let step = ApprovalStep::Asked { lapses };
                if let Err(error) = self.step(Some(id), step).await {
                    pending.gone(Lapse::Unrecorded);
                    return self.not_brought(brought, id, error.refusal()).await;
                }
                let Brought {
                    asked,
                    prepared,
                    verdict,
                    hold,
                    receipt,
                    commit,
                    itself,
                } = brought;
                self.asked_reviewers = true;
                let left = Duration::from_millis(
                    u64::try_from(lapses.0.saturating_sub(clock::now().0)).unwrap_or(0),
                );
                let now = Instant::now();
                let held = Held {
                    asked,
                    prepared,
                    policy_version: verdict.policy_version.clone(),
                    receipt,
                    pending,
                    commit,
                    itself,
                    told: None,
                    lapses,
                    remind: Box::pin(sleep_until(now + REMIND)),
                    late: Box::pin(sleep_until(now + left + PATIENCE)),
                    cancelled,
                    shows,
                    hold,
                };
                self.tell_held(&held, "is held");
                self.held = Some(Box::new(held));
                Ok(())
            }
        }
    }

    async fn not_brought(
        &mut self,
        brought: Brought,
        id: ApprovalId,
        refusal: Refusal,
    ) -> Result<(), Why> {
        let Brought {
            asked,
            hold,
            commit,
            ..
        } = brought;
        match commit {
            true => self.uncommitted(asked, &hold, Some(id), refusal).await,
            false => self.not_granted(asked, &hold, Some(id), refusal).await,
        }
    }

    /// Whether something came for the statement that waits.
    ///
    /// `blind`: so much came behind it that no more is read, and that its client goes would not be seen.
    pub(super) fn poll_held(&mut self, blind: bool, cx: &mut Context<'_>) -> bool {
        let Some(mut held) = self.held.take() else {
            return false;
        };
        if blind && held.told.is_none() {
            held.pending.gone(Lapse::ClientGone);
            let why = "too much was sent behind it to tell whether its client is still there";
            let refusal = crate::approval::refusal(&held.hold.rule, why)
                .hint("Send at most 256 KiB behind a statement that may be held.");
            held.told = Some(Told::Refused(refusal));
        }
        let mut moved = held.poll(cx) | held.shows.poll(cx);
        if !moved && held.remind.as_mut().poll(cx).is_ready() {
            self.tell_held(&held, "is still held");
            held.remind.as_mut().reset(Instant::now() + REMIND);
            moved = true;
        }
        self.held = Some(held);
        moved
    }

    /// Acts on what came for the statement that waits.
    pub(super) async fn ruled(&mut self) -> Result<(), Why> {
        let ready = |held: &mut Box<Held>| held.told.is_some();
        let Some(mut held) = self.held.take_if(ready) else {
            self.show_more().await;
            return Ok(());
        };
        let id = held.pending.id();
        match held.told.take() {
            Some(Told::Refused(refusal)) => {
                let Held {
                    asked,
                    hold,
                    commit,
                    ..
                } = *held;
                match commit {
                    true => self.uncommitted(asked, &hold, Some(id), refusal).await,
                    false => self.not_granted(asked, &hold, Some(id), refusal).await,
                }
            }
            Some(Told::Approved) if held.commit => self.approved_commit(*held).await,
            Some(Told::Approved) => self.approved(*held).await,
            None => Ok(()),
        }
    }

    /// It is approved. Whatever it was approved by must be the same still; then it is taken, and runs.
    async fn approved(&mut self, held: Held) -> Result<(), Why> {
        let Held {
            asked,
            prepared,
            hold,
            policy_version,
            receipt,
            mut pending,
            mut cancelled,
            ..
        } = held;
        let id = Some(pending.id());
        // A client that has closed its side while more of it was unread than is read ahead.
        if self.client.peer_closed() {
            pending.gone(Lapse::ClientGone);
            return Err(Why::ClientGone);
        }
        let verdict = self.decide(&prepared).await?;
        let same = match &*verdict.decision {
            Decision::Hold(now) => {
                now.rule == hold.rule
                    && now.asks == hold.asks
                    && now.obligations == hold.obligations
                    && verdict.policy_version == policy_version
            }
            Decision::Allow(_) | Decision::Deny(_) => false,
        };
        if !same {
            pending.gone(Lapse::PolicyChanged);
            let refusal = crate::approval::refusal(&hold.rule, Lapse::PolicyChanged.words());
            return self.not_granted(asked, &hold, id, refusal).await;
        }
        let bound = match self.bound(&asked, &prepared, &hold, &verdict).await {
            Ok((bound, _)) => bound,
            Err(refusal) => {
                pending.gone(Lapse::NamesChanged);
                return self.not_granted(asked, &hold, id, *refusal).await;
            }
        };
        // Nothing was heard while the catalogue was read, which a lock in the database can make long.
        let gone = match (self.client.peer_closed(), cancelled.try_recv()) {
            (true, _) => Some(Lapse::ClientGone),
            (false, Ok(())) => Some(Lapse::Cancelled),
            (false, Err(_)) => None,
        };
        if let Some(why) = gone {
            pending.gone(why);
            let refusal = crate::approval::refusal(&hold.rule, why.words());
            return self.not_granted(asked, &hold, id, refusal).await;
        }
        match pending.take(bound, hold.obligations.clone()).await {
            // Nor while it was written down that it is used.
            Ok(_) if self.client.peer_closed() || cancelled.try_recv().is_ok() => {
                let why = "its client went away or cancelled it while it was being taken";
                let refusal = crate::approval::refusal(&hold.rule, why);
                self.not_granted(asked, &hold, id, refusal).await
            }
            Ok(grant) => {
                // From here on a cancel request is the database's.
                drop(cancelled);
                self.granted(asked, prepared, verdict, receipt, grant).await
            }
            Err(refusal) => self.not_granted(asked, &hold, id, refusal).await,
        }
    }

    /// It runs, by a grant that is used from here on.
    async fn granted(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
        receipt: Receipt,
        grant: Grant,
    ) -> Result<(), Why> {
        let step = ApprovalStep::Granted {
            by: grant.by().to_vec(),
            terms: grant.terms().to_string(),
        };
        let stepped = match self.step(Some(grant.id()), step).await {
            Ok(stepped) => stepped,
            // Record or refuse: a grant that is not on the record is worth nothing.
            Err(error) => {
                self.recorder.not_run(self.reference().seq, &error);
                let refusal = error.refusal().at(self.reference());
                self.link.refuse(asked, &refusal, &mut self.out);
                return Ok(());
            }
        };
        if let Phase::Execute { portal, .. } = &asked.phase {
            self.may_be_read_on(portal.clone(), &grant, verdict.policy_version.clone());
        }
        self.tell_granted(&grant);
        let cleared = Cleared::Granted(grant, stepped);
        self.run(asked, prepared, verdict, cleared, Some(receipt))
            .await
    }

    /// What a client reads of one answer in several turns is one run.
    fn may_be_read_on(&mut self, portal: Bytes, grant: &Grant, policy_version: Arc<str>) {
        if self.rests.len() >= MOST_PORTALS && !self.rests.contains_key(&portal) {
            // Whoever opens so many asks again for the rest of each.
            self.rests.clear();
        }
        self.rests.insert(portal, (grant.rest(), policy_version));
    }

    /// It does not run: the client is told, and the record.
    pub(super) async fn not_granted(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        hold: &Hold,
        id: Option<ApprovalId>,
        refusal: Refusal,
    ) -> Result<(), Why> {
        let refusal = refusal.at(self.reference());
        tracing::info!(session = %self.id, rule = %hold.rule.rule, %refusal, "not approved");
        let step = ApprovalStep::Ended {
            why: refusal.message.clone(),
        };
        // A refusal that cannot be recorded is a refusal all the same.
        if let Err(error) = self.step(id, step).await {
            tracing::error!(session = %self.id, %error, "a refusal is not on the record");
        }
        self.refuse_decided(asked, refusal);
        Ok(())
    }

    pub(super) async fn step(
        &mut self,
        id: Option<ApprovalId>,
        step: ApprovalStep,
    ) -> Result<crate::record::Stepped, crate::record::RecordError> {
        let seq = self.reference().seq;
        self.recorder.stepped(seq, Approval { id, step }).await
    }

    /// The statement can never be approved, or is over: refused where its decision is on record.
    pub(super) fn refuse_decided(&mut self, asked: Asked<Arc<Prepared>>, refusal: Refusal) {
        debug_assert!(refusal.code != RefusalCode::Policy || refusal.reference.is_some());
        self.live.denied();
        self.shared.metrics.statement_refused();
        self.charge_refusal(&refusal);
        self.link.refuse(asked, &refusal, &mut self.out);
    }
}
