//! One statement, top to bottom: judge, record, permit, run; or refuse, and say why.

use std::sync::Arc;

use bytes::Bytes;

use crate::approval::Binder;
use crate::clock;
use crate::model::{Format, Refusal, StatementSeq};
use crate::permit::{Cleared, Permit};
use crate::policy::Decision;
use crate::record::{
    Basis, Decided, End, Finished, Note, NoteFrom, Receipt, RecordedCell, RecordedText, Sent,
    Types, Why,
};
use crate::sql::{Analysis, Effect, StatementKind, Sureness, Turn, may_set};
use crate::wire::{Asked, Heard, Params, Phase, Transaction, Turned, Wants, Wire};

use super::copied::{Copying, instead};
use super::count::{Counting, estimable};
use super::execution::Execution;
use super::pump::Session;
use super::shown::parts;
use super::verdict::{Prepared, Verdict};

/// Parameters longer than this are recorded by their length.
const PARAM_CAP: usize = 4096;
/// Parameters of one execution that are recorded.
const PARAMS_CAP: usize = 256;

impl<W: Wire> Session<W> {
    /// Acts on one message of the client.
    pub(super) async fn heard(&mut self, heard: Heard<Arc<Prepared>>) -> Result<(), Why> {
        match heard {
            Heard::Chore => Ok(()),
            Heard::Quit => Err(Why::ClientQuit),
            Heard::Refused(refusal) => {
                self.live.denied();
                self.shared.metrics.statement_refused();
                tracing::info!(session = %self.id, %refusal, "refused");
                let note = Note {
                    at: clock::now(),
                    seq: None,
                    from: NoteFrom::Agent,
                    code: None,
                    text: refusal.message.clone(),
                    approval: None,
                };
                // A refusal that cannot be recorded is a refusal all the same.
                if let Err(error) = self.recorder.note(note).await {
                    tracing::error!(session = %self.id, %error, "a refusal is not on the record");
                }
                if refusal.fatal {
                    Err(Why::LimitReached(refusal.message))
                } else {
                    Ok(())
                }
            }
            Heard::Asked(asked) => self.statement(asked).await,
        }
    }

    async fn statement(&mut self, asked: Asked<Arc<Prepared>>) -> Result<(), Why> {
        let prepared = match &asked.phase {
            Phase::Run { text } | Phase::Prepare { text, .. } => self.prepared(text).await,
            Phase::Execute { statement, .. } => self.at_execution(statement),
        };
        if self.only_asks(&prepared) {
            // Comes seldom, as what is held.
            return Box::pin(self.asks_for(asked, prepared)).await;
        }
        let verdict = self.decide(&prepared).await?;
        if let Phase::Prepare { .. } = &asked.phase {
            return self.prepare(asked, prepared, verdict).await;
        }
        self.seq += 1;
        if let Phase::Execute {
            resumed: false,
            portal,
            ..
        } = &asked.phase
        {
            // What is begun under a portal's name has nothing of what was granted under it before.
            self.rests.remove(portal);
        }
        let cleared = match &*verdict.decision {
            Decision::Allow(allow) => Cleared::Allowed(allow.clone()),
            Decision::Hold(hold) => {
                let hold = hold.clone();
                // Needs more room than a statement that runs, and comes seldom.
                return Box::pin(self.hold(asked, prepared, verdict, hold)).await;
            }
            Decision::Deny(denial) => {
                let refusal = denial.refusal.clone();
                return self.refuse_or_ask(asked, prepared, verdict, refusal).await;
            }
        };
        self.run(asked, prepared, verdict, cleared, None).await
    }

    /// Runs what is cleared, unless it may end a transaction whose COMMIT is held. `receipt`: the decision is
    /// on record already.
    pub(super) async fn run(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
        cleared: Cleared,
        receipt: Option<Receipt>,
    ) -> Result<(), Why> {
        if let Some(refusal) = self.past_the_gate(&prepared) {
            return match (prepared.turn, &cleared) {
                (Turn::Commits, Cleared::Allowed(_)) if receipt.is_none() => {
                    Box::pin(self.close(asked, prepared, verdict)).await
                }
                _ => {
                    self.stop(asked, &prepared, &verdict, refusal, receipt)
                        .await
                }
            };
        }
        self.run_cleared(asked, prepared, verdict, cleared, receipt)
            .await
    }

    /// Runs what is cleared, also the COMMIT that the gate lets through.
    pub(super) async fn run_cleared(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
        cleared: Cleared,
        receipt: Option<Receipt>,
    ) -> Result<(), Why> {
        let counted = match self.counting(&asked, &prepared.analysis, cleared.obligations()) {
            Counting::Unneeded => false,
            Counting::Needed => true,
            // A limit that cannot be enforced is not waved through.
            Counting::Impossible(refusal) => {
                return self
                    .stop(asked, &prepared, &verdict, refusal, receipt)
                    .await;
            }
        };
        let instead = match instead(&prepared.analysis, cleared.obligations(), counted) {
            Ok(instead) => instead,
            Err(refusal) => {
                return self
                    .stop(asked, &prepared, &verdict, refusal, receipt)
                    .await;
            }
        };
        if let Err(refusal) = self.afford(cleared.obligations(), &prepared.analysis) {
            return self
                .stop(asked, &prepared, &verdict, refusal, receipt)
                .await;
        }
        let receipt = match receipt {
            Some(receipt) => Ok(receipt),
            None => {
                let decided = self.decided(&asked, &prepared, &verdict);
                self.recorder.decided(decided).await
            }
        };
        let receipt = match receipt {
            Ok(receipt) => receipt,
            // Record or refuse: nothing runs that is not on the record.
            Err(error) => {
                let refusal = error.refusal().at(self.reference());
                self.link.refuse(asked, &refusal, &mut self.out);
                return Ok(());
            }
        };
        if let Some(rows) = &instead
            && let Err(error) = self
                .recorder
                .note(self.instead(&prepared, &rows.query))
                .await
        {
            self.recorder.not_run(StatementSeq(self.seq), &error);
            self.link
                .refuse(asked, &error.refusal().at(self.reference()), &mut self.out);
            return Ok(());
        }
        self.ran(verdict.leaves_no_trace);
        if let Decision::Allow(allow) = &*verdict.decision {
            self.used_access(&verdict.granted, allow);
        }
        self.remember(&asked, &prepared, &verdict);
        // Of a text by itself nothing that follows undoes it.
        let alone = matches!(asked.phase, Phase::Run { .. })
            && self.link.transaction() == Transaction::Idle
            && self.link.running().is_none();
        self.settings_made.runs(&prepared, alone);
        let mut obligations = cleared.obligations().clone();
        if prepared.touched && !obligations.touches_masked {
            // Of a cursor's rows nothing shows any more what they were made of.
            Arc::make_mut(&mut obligations).touches_masked = true;
        }
        let wants = Wants {
            head: obligations.plans(),
            whole: obligations.covers(),
            names: makes_names(&prepared.analysis),
            count: counted,
            estimate: counted.then(|| estimable(&prepared)).flatten(),
            instead: instead.as_ref().map(|rows| rows.query.clone().into()),
            turn: match prepared.turn {
                Turn::Stays => Turned::Stays,
                Turn::Begins => Turned::Begins,
                Turn::Commits | Turn::RollsBack | Turn::MayEnd => Turned::MayEnd,
            },
        };
        let commits = prepared.turn == Turn::Commits;
        self.touched |= obligations.touches_masked;
        self.timed |= obligations.limits.statement_timeout_ms.is_some();
        // From when it is sent, not from when it is answered: what follows may be judged in between.
        self.scope
            .grow(&prepared.analysis, &verdict.names.attributes);
        let mut execution = Execution::new(StatementSeq(self.seq), prepared, obligations);
        execution.counted = counted;
        execution.catalogue = verdict.catalogue;
        execution.watched = verdict.watched();
        execution.copying = instead.map(|rows| Box::new(Copying::new(rows)));
        self.live.statement();
        self.shared.metrics.statement_allowed();
        let permit = Permit::new(cleared, receipt)
            .map_err(|not_cleared| Why::Fault(not_cleared.to_string()))?;
        // What is skipped behind an error is not sent.
        let commits = commits && !self.link.skips();
        self.link.execute(permit, asked, execution, wants);
        if commits {
            // Only now: had it been refused, the transaction could be revived.
            self.gate.over();
        }
        self.skipped();
        Ok(())
    }

    /// How many statements have run that end with this one: of the open transaction, or in a group of the
    /// extended protocol that no Sync has ended. What is not answered yet counts too: more is the safer side.
    pub(super) fn before(&self, asked: &Asked<Arc<Prepared>>) -> u64 {
        let grouped = self.settings_made.unended && matches!(asked.phase, Phase::Execute { .. });
        match self.link.transaction() {
            Transaction::Idle if !grouped => 0,
            _ => self.in_transaction,
        }
    }

    /// What an approval that comes later is bound to: whatever may have changed settings, with its values; and
    /// how many statements of the open transaction ran, which reviewers are told.
    fn remember(&mut self, asked: &Asked<Arc<Prepared>>, prepared: &Prepared, verdict: &Verdict) {
        self.in_transaction = self.before(asked).saturating_add(1);
        if may_set(&prepared.analysis, &verdict.names.attributes) {
            let next = Binder::default()
                .with("before", self.settings)
                .with("text", prepared.text.as_str());
            self.settings = parts(asked, next).bound();
        }
    }

    /// What is cleared cannot run all the same.
    async fn stop(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        verdict: &Verdict,
        refusal: Refusal,
        receipt: Option<Receipt>,
    ) -> Result<(), Why> {
        if receipt.is_some() {
            // The decision is on record; that it did not run is added to it.
            let note = Note {
                at: clock::now(),
                seq: Some(StatementSeq(self.seq)),
                from: NoteFrom::Agent,
                code: None,
                text: refusal.message.clone(),
                approval: None,
            };
            if let Err(error) = self.recorder.note(note).await {
                tracing::error!(session = %self.id, %error, "a refusal is not on the record");
            }
            let refusal = refusal.at(self.reference());
            self.refuse_decided(asked, refusal);
            return Ok(());
        }
        let verdict = verdict.refused(&refusal);
        self.refuse(asked, prepared, &verdict, refusal).await
    }

    /// The record has what was sent, where that is not what was asked. It holds nothing that the
    /// statement's own text does not.
    fn instead(&self, prepared: &Prepared, query: &str) -> Note {
        let text = match prepared.analysis.is_secret() {
            true => "its rows were asked for in its place".to_owned(),
            false => format!("its rows were asked for in its place: {}", query.trim()),
        };
        Note {
            at: clock::now(),
            seq: Some(StatementSeq(self.seq)),
            from: NoteFrom::Agent,
            code: None,
            text,
            approval: None,
        }
    }

    /// A text is prepared unless nothing could allow its execution; each execution is judged then.
    async fn prepare(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
    ) -> Result<(), Why> {
        match &*verdict.decision {
            Decision::Allow(_) | Decision::Hold(_) => {
                // The database evaluates constants of a text when it reads it.
                self.ran(verdict.leaves_no_trace);
                self.link.prepare(asked, prepared);
                Ok(())
            }
            Decision::Deny(denial) => {
                self.seq += 1;
                let refusal = denial.refusal.clone();
                self.refuse_or_ask(asked, prepared, verdict, refusal).await
            }
        }
    }

    /// Refuses what policy denies, and says what could be asked for, or asks.
    async fn refuse_or_ask(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: Arc<Prepared>,
        verdict: Verdict,
        refusal: Refusal,
    ) -> Result<(), Why> {
        if verdict.offered.is_empty() && !prepared.asks_access() {
            return self.refuse(asked, &prepared, &verdict, refusal).await;
        }
        Box::pin(async move {
            let (refusal, id) = self.offer(&asked, &prepared, &verdict, refusal).await;
            self.refuse_asking(asked, &prepared, &verdict, refusal, id)
                .await
        })
        .await
    }

    /// Refuses one statement; the session goes on.
    pub(super) async fn refuse(
        &mut self,
        asked: Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        verdict: &Verdict,
        refusal: Refusal,
    ) -> Result<(), Why> {
        let refusal = refusal.at(self.reference());
        self.live.denied();
        self.shared.metrics.statement_refused();
        self.charge_refusal(&refusal);
        let decided = self.decided(&asked, prepared, verdict);
        // A refusal that cannot be recorded is a refusal all the same.
        if let Err(error) = self.recorder.decided(decided).await {
            tracing::error!(session = %self.id, %error, "a refusal is not on the record");
        }
        self.link.refuse(asked, &refusal, &mut self.out);
        Ok(())
    }

    pub(super) fn decided(
        &self,
        asked: &Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        verdict: &Verdict,
    ) -> Decided {
        self.shared.metrics.witnessed(&prepared.analysis.second);
        let understood = !matches!(prepared.analysis.sureness, Sureness::Opaque(_));
        let secret = prepared.analysis.is_secret();
        let params = match &asked.phase {
            Phase::Execute { params, .. } if secret => {
                // A secret's parameters are as secret as its text.
                vec![RecordedCell::Long(0); params.values.len().min(PARAMS_CAP)]
            }
            Phase::Execute { params, .. } => recorded(params),
            Phase::Run { .. } | Phase::Prepare { .. } => Vec::new(),
        };
        let (sent, resumed) = match &asked.phase {
            Phase::Run { .. } => (Sent::Text, false),
            Phase::Prepare { .. } => (Sent::Prepared(Types::default()), false),
            Phase::Execute {
                params, resumed, ..
            } => (Sent::Prepared(Types::of(params.types.clone())), *resumed),
        };
        let at = clock::now();
        Decided {
            seq: StatementSeq(self.seq),
            at,
            text: RecordedText::from(
                prepared.text.as_str(),
                secret,
                understood,
                &self.shared.text_key,
            ),
            params,
            purpose: prepared.purpose.clone(),
            analysis: prepared.analysis.clone(),
            decision: verdict.decision.clone(),
            policy_version: verdict.policy_version.clone(),
            basis: Basis {
                names: verdict.names_for_record(),
                judged: verdict.judged.filter(|judged| *judged != at),
                policy: verdict.policy.clone(),
                access: verdict.granted.clone(),
                sent,
                resumed,
            },
        }
    }

    /// Records how an execution ended.
    pub(super) fn record_end(&mut self, mut execution: Execution, end: End) {
        execution.end_result();
        self.report(&execution.found);
        let micros = u64::try_from(execution.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let observed = self.beyond(&execution, micros);
        self.shared
            .metrics
            .answered(execution.rows, execution.bytes);
        self.recorder.finished(Finished {
            seq: execution.seq,
            at: clock::now(),
            micros,
            tags: execution.tags,
            rows: execution.rows,
            bytes: execution.bytes,
            error: execution.error,
            masked: execution.masked,
            found: execution.found,
            observed,
            changed: execution.changed,
            end: execution.end.unwrap_or(end),
        });
    }

    /// The session ends with executions under way: the record says that they were cut.
    pub(super) fn close_executions(&mut self) {
        while let Some(execution) = self.link.abandoned() {
            self.record_end(execution, End::Cut);
        }
    }
}

/// Whether a text can change what names stand for.
fn makes_names(analysis: &Analysis) -> bool {
    if analysis.sureness != Sureness::Complete {
        return true;
    }
    let effects = analysis.statements.iter().flat_map(|facts| &facts.effects);
    let kinds = analysis.statements.iter().flat_map(|facts| &facts.kinds);
    effects.into_iter().any(|effect| match effect {
        Effect::Prepares { .. }
        | Effect::Declares { .. }
        | Effect::Deallocates(_)
        | Effect::Closes(_)
        | Effect::ForgetsNames => true,
        Effect::Executes(_) | Effect::Fetches(_) | Effect::Sets { .. } | Effect::Defines => false,
    }) || kinds.into_iter().any(|kind| {
        // Code can prepare and declare by itself.
        matches!(
            kind,
            StatementKind::Do | StatementKind::Call | StatementKind::Discard
        )
    })
}

fn recorded(params: &Params) -> Vec<RecordedCell> {
    let cell = |(format, value): &(Format, Option<Bytes>)| {
        RecordedCell::from(*format, value.as_deref(), PARAM_CAP)
    };
    params.values.iter().take(PARAMS_CAP).map(cell).collect()
}
