//! The end of a gated transaction: what the database is asked before its COMMIT is brought to the desk, the COMMIT
//! that runs by a grant, and the ROLLBACK where there is none.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::approval::{Binding, Changed, Grant, Lapse, Matter, Pending, Request, of_commit};
use crate::clock;
use crate::model::{ApprovalId, Refusal, RefusalCode, UnixMillis};
use crate::permit::Cleared;
use crate::policy::{Decision, Hold};
use crate::record::{ApprovalStep, End, Finished, Receipt, Why};
use crate::wire::{Asked, Own, OwnAnswer, Talk, Transaction, TransactionWork, Wire};

use super::answer::Fate;
use super::execution::Execution;
use super::hold::{Brought, Held};
use super::pump::Session;
use super::verdict::{Prepared, Verdict};

/// How often a ROLLBACK of ours may be cancelled before the session is given up.
const ROLLBACKS: u8 = 16;

/// The COMMIT that is on its way to a human, or back; or the first statement that is noted.
pub(super) struct Closing {
    asked: Asked<Arc<Prepared>>,
    /// What it takes to run it; `None`: the transaction is being undone.
    runs: Option<(Arc<Prepared>, Verdict, Receipt)>,
    /// It is the first statement that is noted, and this is its clearance.
    opens: Option<Cleared>,
    /// The question that is out, or was answered last.
    put: Option<Own>,
    heard: Option<OwnAnswer>,
    /// What the client is told once nothing is left of the transaction.
    told: Bytes,
    rollbacks: u8,
}

impl Closing {
    /// The first statement that is noted, before it is sent.
    pub(super) fn opening(
        asked: Asked<Arc<Prepared>>,
        runs: (Arc<Prepared>, Verdict, Receipt),
        cleared: Cleared,
    ) -> Closing {
        Closing {
            opens: Some(cleared),
            ..Closing::of(asked, Some(runs))
        }
    }

    fn of(asked: Asked<Arc<Prepared>>, runs: Option<(Arc<Prepared>, Verdict, Receipt)>) -> Closing {
        Closing {
            asked,
            runs,
            opens: None,
            put: None,
            heard: None,
            told: Bytes::new(),
            rollbacks: 0,
        }
    }
}

impl<W: Wire> Session<W> {
    /// A COMMIT that policy lets through, of a transaction whose COMMIT a rule holds.
    pub(super) async fn close(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
    ) -> Result<(), Why> {
        let decided = self.decided(&asked, &prepared, &verdict);
        match self.recorder.decided(decided).await {
            Ok(receipt) => self.close_with(asked, prepared, verdict, receipt).await,
            // Record or refuse.
            Err(error) => {
                let refusal = error.refusal().at(self.reference());
                self.link.refuse(asked, &refusal, &mut self.out);
                Ok(())
            }
        }
    }

    /// The same, where the decision is on record.
    pub(super) async fn close_with(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
        receipt: Receipt,
    ) -> Result<(), Why> {
        let closing = Closing::of(asked, Some((prepared, verdict, receipt)));
        self.closing = Some(Box::new(closing));
        self.closes().await
    }

    /// Takes the answer to a question of ours. The client sees nothing of it.
    pub(super) fn own_answer(&mut self, answer: &OwnAnswer, frame: &[u8]) -> Fate {
        let mut told = BytesMut::new();
        if let OwnAnswer::Failed(error) = answer {
            let fate = self.failed(error, &mut told);
            if let Fate::Verbatim = fate {
                told.extend_from_slice(frame);
            }
        }
        if let Some(closing) = &mut self.closing {
            closing.heard = Some(answer.clone());
            if !told.is_empty() {
                closing.told = told.freeze();
            }
        }
        Fate::Replaced
    }

    /// Does what comes next for the COMMIT, once everything that was sent is answered.
    pub(super) async fn closes(&mut self) -> Result<(), Why> {
        if self.closing.is_none() || !self.link.drained() {
            return Ok(());
        }
        let Some(mut closing) = self.closing.take() else {
            return Ok(());
        };
        match (closing.put, closing.heard.take()) {
            // Something before it failed: to the server it would be skipped.
            (None, _) if closing.runs.is_some() && self.link.skips() => {
                self.not_committed(End::Skipped, None);
                let refusal =
                    Refusal::new(RefusalCode::Approval, "something before the COMMIT failed");
                // The client has the error of what failed; this one drops the message.
                self.link.refuse(closing.asked, &refusal, &mut self.out);
                Ok(())
            }
            (None, _) if closing.opens.is_some() => {
                self.put(closing, Own::Rows);
                Ok(())
            }
            (Some(Own::Rows), Some(OwnAnswer::Work(work))) => {
                self.gate.before(tables(work.tables));
                self.opens(*closing).await
            }
            // In a transaction that has failed it fails in the database's own words.
            (Some(Own::Rows), Some(OwnAnswer::Failed(error))) if error.code == "25P02" => {
                self.opens(*closing).await
            }
            (Some(Own::Rows), Some(OwnAnswer::Failed(error))) => {
                let why = format!(
                    "the database does not say what its transaction has changed so far ({})",
                    error.code
                );
                let rule = self.gate.holds().map(|(hold, _)| hold.clone());
                let Some(hold) = rule else {
                    return Err(Why::Fault("a statement without its gate".to_owned()));
                };
                let refusal = crate::approval::refusal(&hold.rule, &why);
                self.not_granted(closing.asked, &hold, None, refusal).await
            }
            (None, _) if closing.runs.is_some() => {
                self.put(closing, Own::Stands);
                Ok(())
            }
            (None, _) => {
                self.put(closing, Own::RollBack);
                Ok(())
            }
            (Some(Own::Stands), Some(OwnAnswer::Stands(Transaction::Open))) => {
                self.put(closing, Own::Work);
                Ok(())
            }
            // The transaction has failed, or is over: nothing can be made durable by it.
            (Some(Own::Stands), Some(OwnAnswer::Stands(_))) => self.commits_nothing(*closing).await,
            (Some(Own::Work), Some(OwnAnswer::Work(work))) => {
                self.ask_to_commit(*closing, work).await
            }
            // As the COMMIT would have: the client gets the database's own error.
            (Some(Own::Stands | Own::Work), Some(OwnAnswer::Failed(error))) => {
                let words = match self.touched || self.known.masks {
                    true => "withheld, since the transaction touches masked data".to_owned(),
                    false => error.message,
                };
                self.not_committed(End::Failed, Some((error.code, words)));
                closing.runs = None;
                self.put(closing, Own::RollBack);
                Ok(())
            }
            (Some(Own::RollBack), Some(OwnAnswer::RolledBack)) => {
                self.out.extend_from_slice(&closing.told);
                self.link.commit_failed(closing.asked, &mut self.out);
                Ok(())
            }
            (Some(Own::RollBack), Some(OwnAnswer::Stands(_))) if closing.rollbacks < ROLLBACKS => {
                closing.rollbacks += 1;
                self.put(closing, Own::RollBack);
                Ok(())
            }
            // Nothing more is asked of such a connection: the database undoes what is open when it is closed.
            (Some(_), _) => Err(Why::UpstreamGarbled(
                "the database did not say how a transaction stands".to_owned(),
            )),
        }
    }

    /// The first statement that is noted runs.
    async fn opens(&mut self, closing: Closing) -> Result<(), Why> {
        let (Some((prepared, verdict, receipt)), Some(cleared)) = (closing.runs, closing.opens)
        else {
            return Err(Why::Fault("a statement without its clearance".to_owned()));
        };
        // Boxed: it leads back here for a COMMIT, which this is not.
        Box::pin(self.run(closing.asked, prepared, verdict, cleared, Some(receipt))).await
    }

    fn put(&mut self, mut closing: Box<Closing>, own: Own) {
        closing.put = Some(own);
        self.link.put(own);
        self.closing = Some(closing);
    }

    /// The COMMIT goes to the database as it is, which has nothing to commit.
    async fn commits_nothing(&mut self, closing: Closing) -> Result<(), Why> {
        let Some((prepared, verdict, receipt)) = closing.runs else {
            return Err(Why::Fault("a COMMIT that is undone was to run".to_owned()));
        };
        let cleared = match receipt.decision() {
            Decision::Allow(allow) => Cleared::Allowed(allow.clone()),
            Decision::Hold(hold) => {
                let hold = hold.clone();
                match self.step(None, ApprovalStep::Gated).await {
                    Ok(stepped) => {
                        Cleared::Gated(self.gate.control(self.reference(), &hold), stepped)
                    }
                    Err(error) => {
                        return self.undo(closing.asked, error.refusal().at(self.reference()));
                    }
                }
            }
            Decision::Deny(_) => return Err(Why::Fault("a refused COMMIT was to run".to_owned())),
        };
        self.run_cleared(closing.asked, prepared, verdict, cleared, Some(receipt))
            .await
    }

    /// Reviewers are asked.
    async fn ask_to_commit(&mut self, closing: Closing, work: TransactionWork) -> Result<(), Why> {
        let Closing { asked, runs, .. } = closing;
        let (Some((prepared, verdict, receipt)), Some((hold, version))) = (runs, self.gate.holds())
        else {
            return Err(Why::Fault("a COMMIT without its gate".to_owned()));
        };
        let (hold, version) = (hold.clone(), version.clone());
        let cannot = |why: &str| crate::approval::refusal(&hold.rule, why);
        if version != verdict.policy_version {
            let refusal = cannot(Lapse::PolicyChanged.words());
            return self.uncommitted(asked, &hold, None, refusal).await;
        }
        if work.more > 0 {
            let refusal = cannot("it has changed rows of more tables than anybody reads (256)");
            return self.uncommitted(asked, &hold, None, refusal).await;
        }
        if prepared.purpose.as_ref().is_some_and(|said| said.later) {
            let refusal = cannot("its client does not wait, and a COMMIT cannot come again");
            return self.uncommitted(asked, &hold, None, refusal).await;
        }
        let at = clock::now();
        let since = i64::try_from(work.age).unwrap_or(i64::MAX);
        let since = UnixMillis(at.0.saturating_sub(since));
        let seen = self
            .gate
            .work(tables(work.tables), self.in_transaction, since);
        let (Some(seen), Some(binding)) = (seen, self.bound_to_commit(&hold, &prepared, &verdict))
        else {
            return Err(Why::Fault("a COMMIT without its gate".to_owned()));
        };
        let request: Result<Request, Box<Refusal>> = self.asking(
            &prepared,
            &hold,
            &verdict,
            Matter::Commit(seen),
            (binding, None),
        );
        let request = match request {
            Ok(request) => request,
            Err(refusal) => return self.uncommitted(asked, &hold, None, *refusal).await,
        };
        let brought = Brought {
            asked,
            prepared,
            verdict,
            hold,
            receipt,
            commit: true,
            itself: None,
        };
        self.bring(brought, request).await
    }

    /// What a grant for this COMMIT is bound to: the very statements that were noted, in this session.
    fn bound_to_commit(
        &self,
        hold: &Hold,
        prepared: &Prepared,
        verdict: &Verdict,
    ) -> Option<Binding> {
        let exact = self
            .place(hold, verdict)
            .with("session", self.id.to_string())
            .with("commit", prepared.text.as_str())
            .with("statements", self.gate.bound()?.to_string());
        Some(exact.bound())
    }

    /// The COMMIT is approved. The policies must be the same still; then the approval is taken, and it runs.
    pub(super) async fn approved_commit(&mut self, held: Held) -> Result<(), Why> {
        let Held {
            asked,
            prepared,
            hold,
            policy_version,
            receipt,
            mut pending,
            ..
        } = held;
        let id = Some(pending.id());
        if self.client.peer_closed() {
            return Err(Why::ClientGone);
        }
        let verdict = self.decide(&prepared).await?;
        let same = match (&*verdict.decision, receipt.decision()) {
            (Decision::Allow(now), Decision::Allow(then)) => now.obligations == then.obligations,
            (Decision::Hold(now), Decision::Hold(then)) => {
                now.rule == then.rule && now.asks == then.asks
            }
            _ => false,
        };
        let gate = self.gate.holds();
        let gated = gate.is_some_and(|(own, version)| {
            own.rule == hold.rule && own.asks == hold.asks && *version == policy_version
        });
        let bound = self.bound_to_commit(&hold, &prepared, &verdict);
        let bound = bound.filter(|_| same && gated && verdict.policy_version == policy_version);
        let Some(bound) = bound else {
            pending.gone(Lapse::PolicyChanged);
            let refusal = crate::approval::refusal(&hold.rule, Lapse::PolicyChanged.words());
            return self.uncommitted(asked, &hold, id, refusal).await;
        };
        self.take_commit(
            Brought {
                asked,
                prepared,
                verdict,
                hold,
                receipt,
                commit: true,
                itself: None,
            },
            pending,
            bound,
        )
        .await
    }

    async fn take_commit(
        &mut self,
        brought: Brought,
        pending: Box<Pending>,
        bound: Binding,
    ) -> Result<(), Why> {
        let id = Some(pending.id());
        let obligations = brought.hold.obligations.clone();
        match pending.take(bound, obligations).await {
            Ok(grant) => self.committed(brought, grant).await,
            Err(refusal) => {
                self.uncommitted(brought.asked, &brought.hold, id, refusal)
                    .await
            }
        }
    }

    /// The COMMIT runs, by a grant that is used from here on.
    pub(super) async fn committed(&mut self, brought: Brought, grant: Grant) -> Result<(), Why> {
        let step = ApprovalStep::Granted {
            by: grant.by().to_vec(),
            terms: grant.terms().to_string(),
        };
        let stepped = match self.step(Some(grant.id()), step).await {
            Ok(stepped) => stepped,
            // Record or refuse: a grant that is not on the record is worth nothing.
            Err(error) => {
                self.recorder.not_run(self.reference().seq, &error);
                return self.undo(brought.asked, error.refusal().at(self.reference()));
            }
        };
        self.tell_granted(&grant);
        let allow = match brought.receipt.decision() {
            Decision::Allow(allow) => Some(allow.clone()),
            Decision::Hold(_) | Decision::Deny(_) => None,
        };
        let cleared = Cleared::Committed(allow, grant, stepped);
        self.run_cleared(
            brought.asked,
            brought.prepared,
            brought.verdict,
            cleared,
            Some(brought.receipt),
        )
        .await
    }

    /// The COMMIT does not run: the transaction is undone, and then the client is told.
    pub(super) async fn uncommitted(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        hold: &Hold,
        id: Option<ApprovalId>,
        refusal: Refusal,
    ) -> Result<(), Why> {
        let refusal = of_commit(&hold.rule, refusal).at(self.reference());
        tracing::info!(session = %self.id, rule = %hold.rule.rule, %refusal, "not committed");
        let step = ApprovalStep::Ended {
            why: refusal.message.clone(),
        };
        // A refusal that cannot be recorded is a refusal all the same.
        if let Err(error) = self.step(id, step).await {
            tracing::error!(session = %self.id, %error, "a refusal is not on the record");
        }
        let code = "57014".to_owned();
        self.not_committed(End::Undone, Some((code, refusal.message.clone())));
        self.live.denied();
        self.shared.metrics.statement_refused();
        self.charge_refusal(&refusal);
        self.undo(asked, refusal)
    }

    /// Undoes the transaction; then the client gets this in place of its COMMIT's end.
    fn undo(&mut self, asked: Asked<Arc<Prepared>>, refusal: Refusal) -> Result<(), Why> {
        let mut told = BytesMut::new();
        W::Talk::<Arc<Prepared>, Execution>::write_refusal(&refusal, &mut told);
        let closing = Closing {
            told: told.freeze(),
            ..Closing::of(asked, None)
        };
        self.put(Box::new(closing), Own::RollBack);
        Ok(())
    }

    /// How the COMMIT ended, for the record, where it did not run.
    fn not_committed(&mut self, end: End, error: Option<(String, String)>) {
        self.recorder.finished(Finished {
            seq: self.reference().seq,
            at: clock::now(),
            micros: 0,
            tags: Vec::new(),
            rows: 0,
            bytes: 0,
            error,
            masked: Vec::new(),
            found: Vec::new(),
            observed: Vec::new(),
            changed: None,
            end,
        });
    }
}

type Counted = (String, String, [u64; 3]);

fn tables(counted: Option<Vec<Counted>>) -> Option<Vec<Changed>> {
    let named = |(schema, table, [inserted, updated, deleted]): Counted| Changed {
        table: format!("{schema}.{table}"),
        inserted,
        updated,
        deleted,
    };
    Some(counted?.into_iter().map(named).collect())
}
