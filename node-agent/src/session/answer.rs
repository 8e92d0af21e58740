//! The database's answers: plan the mask at each result's head, mask, record, pass on.
//!
//! Whatever is passed on unchanged is passed on as one slice, straight out of the read buffer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::mask::{MaskPlan, MaskedRows, Treated, Undecodable, doubtful};
use crate::model::{Refusal, ResultHead};
use crate::policy::{Decision, Obligations, Trace};
use crate::record::{Delivered, End, Why};
use crate::sql::{Lineage, StatementKind, Sureness, Turn};
use crate::upstream::Catalogue;
use crate::wire::{Answer, Garbled, OwnAnswer, Peer, Talk, Transaction, Wire};

use super::copied::Copying;
use super::execution::{Execution, Relaying};
use super::limits::Passed;
use super::pump::Session;
use super::trace::{Own, Planned, lineage};
use super::verdict::Prepared;

/// Relaying cannot go on.
pub(super) enum Broken {
    Garbled(Garbled),
    Ended(Why),
    /// The client is told first.
    Refused(Box<Refusal>, Why),
}

impl From<Garbled> for Broken {
    fn from(garbled: Garbled) -> Self {
        Broken::Garbled(garbled)
    }
}

impl From<Undecodable> for Broken {
    fn from(row: Undecodable) -> Self {
        // A row that does not fit its plan is passed to nobody, and nothing after it either.
        Broken::Ended(Why::MaskFailed(row.to_string()))
    }
}

/// What happens to the bytes of one answer.
pub(super) enum Fate {
    /// They go on as they are.
    Verbatim,
    /// They are dropped, or were replaced in `out` already.
    Replaced,
}

impl<W: Wire> Session<W> {
    /// Relays every whole answer that has come.
    pub(super) async fn relay(&mut self) -> Result<(), Broken> {
        // Taken out so that slices of it live beside `self`; put back with what is left.
        let mut buffer = std::mem::take(&mut self.answers.bytes);
        // [done, pending) is verbatim and not yet in `out`.
        let (mut done, mut pending) = (0, 0);
        let relayed = self.settle_all(&buffer, &mut done, &mut pending).await;
        // What was settled before goes out, whatever came after it.
        if done == 0 && self.out.is_empty() && pending >= WORTH_MOVING {
            // All of it verbatim, and much: the read buffer itself becomes the write buffer.
            let rest = buffer.split_off(pending);
            self.out = std::mem::replace(&mut buffer, rest);
        } else {
            self.out
                .extend_from_slice(buffer.get(done..pending).unwrap_or_default());
            bytes::Buf::advance(&mut buffer, pending);
        }
        self.answers.bytes = buffer;
        relayed
    }

    async fn settle_all(
        &mut self,
        buffer: &BytesMut,
        done: &mut usize,
        pending: &mut usize,
    ) -> Result<(), Broken> {
        loop {
            let unread = buffer.get(*pending..).unwrap_or_default();
            let Some((span, answer)) = self.link.listen(unread)? else {
                return Ok(());
            };
            let frame = unread.get(..span).unwrap_or_default();
            // The common case decides without waiting; the rest may have to ask the catalogue.
            let mut replacement = BytesMut::new();
            let fate = match self.settle(&answer, frame, &mut replacement)? {
                Settled::Fate(fate) => fate,
                Settled::NeedsPlan => {
                    self.plan().await.map_err(Broken::Ended)?;
                    match self.settle(&answer, frame, &mut replacement)? {
                        Settled::Fate(fate) => fate,
                        // Planned, and still no plan: nothing of this answer may pass.
                        Settled::NeedsPlan => {
                            let words = "a result without a plan".to_owned();
                            return Err(Broken::Ended(Why::MaskFailed(words)));
                        }
                    }
                }
            };
            if let Some(owed) = self.owed.take() {
                // On the record first: rows that cannot be recorded are not delivered.
                self.recorder
                    .delivered(owed)
                    .await
                    .map_err(|error| Broken::Ended(Why::RecordFailed(error.to_string())))?;
            }
            match fate {
                Fate::Verbatim => *pending += span,
                Fate::Replaced => {
                    self.out
                        .extend_from_slice(buffer.get(*done..*pending).unwrap_or_default());
                    self.out.extend_from_slice(&replacement);
                    *pending += span;
                    *done = *pending;
                }
            }
            self.after(&answer);
        }
    }

    /// Decides on one answer. Changes nothing when it needs a plan first.
    fn settle(
        &mut self,
        answer: &Answer,
        frame: &[u8],
        replacement: &mut BytesMut,
    ) -> Result<Settled, Broken> {
        let fate = match answer {
            Answer::Control | Answer::Ready { .. } => Fate::Verbatim,
            Answer::CopyIn => self.copy(StatementKind::CopyIn, "CopyInResponse")?,
            Answer::Hidden => Fate::Replaced,
            Answer::Own(answer) => self.own_answer(answer, frame),
            Answer::Head => {
                if let Some(execution) = self.link.current() {
                    if execution.stopped.is_some() {
                        return Ok(Settled::Fate(Fate::Replaced));
                    }
                    // The last result's plan ended with its `Done`.
                    return Ok(if execution.obligations.plans() {
                        self.plan_later(replacement)
                    } else {
                        Settled::Fate(Fate::Verbatim)
                    });
                }
                Fate::Verbatim
            }
            Answer::Rows { count } => return self.rows(*count, frame, replacement),
            Answer::Piece { first, row, .. } => return self.piece(*first, *row, frame),
            Answer::CopyOut => self.copy(StatementKind::CopyOut, "CopyOutResponse")?,
            Answer::CopyRows { count } => self.copied(*count, frame, replacement),
            // Before the count is known nobody is told that it is done.
            Answer::Done { .. } | Answer::Suspended if self.keeps_back(frame, replacement) => {
                Fate::Replaced
            }
            Answer::Estimated { rows } => self.settle_estimate(*rows, replacement),
            Answer::Counted { changed } => self.settle_count(*changed, replacement),
            Answer::Kept => {
                self.kept(replacement);
                Fate::Replaced
            }
            Answer::Done { .. } | Answer::Suspended => match self.link.current() {
                Some(execution) if execution.stopped.is_some() => self.cut_short(replacement)?,
                // A copy of no rows has a head all the same.
                Some(execution) if execution.unplanned_copy() => return Ok(Settled::NeedsPlan),
                Some(_) => self.copy_done(replacement)?,
                None => Fate::Verbatim,
            },
            Answer::Failed(error) => self.failed(error, replacement),
            Answer::Refused(refusal) => {
                write::<W>(refusal, replacement);
                Fate::Replaced
            }
            Answer::Notice(_) => self.notice(),
            // Channels and payloads can carry any value; with masks in force none passes.
            Answer::Notification if self.masks_in_force() => Fate::Replaced,
            Answer::Notification => Fate::Verbatim,
            // A setting's value can be made from data; only what the protocol itself reports passes
            // while masks are in force.
            Answer::Parameter { name, .. }
                if self.masks_in_force() && !HARMLESS.contains(&name.as_str()) =>
            {
                Fate::Replaced
            }
            Answer::Parameter { .. } => Fate::Verbatim,
        };
        Ok(Settled::Fate(fate))
    }

    fn plan_later(&mut self, replacement: &mut BytesMut) -> Settled {
        let Some(execution) = self.link.current() else {
            return Settled::Fate(Fate::Verbatim);
        };
        if execution.result.is_none() {
            return Settled::NeedsPlan;
        }
        // To the client of a copy its rows have no head, but the copy has.
        match &mut execution.copying {
            Some(copying) => {
                copying.begin::<W>(replacement);
                Settled::Fate(Fate::Replaced)
            }
            None => Settled::Fate(Fate::Verbatim),
        }
    }

    /// Any mask holds for this principal on this target, for the statement under way.
    fn masks_in_force(&mut self) -> bool {
        match self.link.current() {
            Some(execution) => !execution.obligations.masks.is_empty(),
            None => self.known.masks,
        }
    }

    fn rows(
        &mut self,
        count: u64,
        frames: &[u8],
        replacement: &mut BytesMut,
    ) -> Result<Settled, Broken> {
        let Some(execution) = self.link.current() else {
            let words = "rows that belong to no statement".to_owned();
            return Err(Broken::Ended(Why::UpstreamGarbled(words)));
        };
        if execution.stopped.is_some() {
            return Ok(Settled::Fate(Fate::Replaced));
        }
        if execution.result.is_none() {
            if execution.obligations.plans() {
                return Ok(Settled::NeedsPlan);
            }
            let head = self.link.head().cloned();
            if let Some(execution) = self.link.current() {
                execution.result = Some(Relaying::new(Arc::default(), head));
            }
        }
        // Of a run of rows, only as many as are allowed: not one row more goes out. Budgets are spent
        // here, where nothing is looked at twice.
        let (room, mut passed) = self.room(count);
        let (count, frames, over) = if count > room {
            let span = W::Talk::<Arc<Prepared>, Execution>::span_of(frames, room);
            (room, frames.get(..span).unwrap_or_default(), true)
        } else {
            (count, frames, false)
        };
        let Some(execution) = self.link.current() else {
            return Ok(Settled::NeedsPlan);
        };
        let (seq, charged) = (execution.seq, execution.charged());
        let Some(result) = execution.result.as_mut() else {
            return Ok(Settled::NeedsPlan);
        };
        let plan = result.plan.clone();
        // The recorder keeps the first rows of a statement; copying more would be for nothing.
        let keep = self.shared.rows && execution.bytes < KEPT_BYTES && count > 0;
        execution.rows += count;
        let before = execution.bytes;
        let (fate, rows) = if let Some(copying) = &mut execution.copying {
            let masked = match MaskedRows::treat(&plan, frames, &mut result.finds)? {
                Treated::Same(same) => same.kept(),
                Treated::Changed(masked) => masked,
            };
            copying.begin::<W>(replacement);
            let Some(copied) = copying.copied.clone() else {
                return Ok(Settled::NeedsPlan);
            };
            let start = replacement.len();
            W::Talk::<Arc<Prepared>, Execution>::copy_rows(&copied, &masked, replacement)?;
            execution.bytes += (replacement.len() - start) as u64;
            (Fate::Replaced, keep.then_some(masked))
        } else {
            match MaskedRows::treat(&plan, frames, &mut result.finds)? {
                Treated::Same(same) => {
                    execution.bytes += frames.len() as u64;
                    let fate = if over {
                        replacement.extend_from_slice(frames);
                        Fate::Replaced
                    } else {
                        Fate::Verbatim
                    };
                    (fate, keep.then(|| same.kept()))
                }
                Treated::Changed(masked) => {
                    execution.bytes += masked.bytes().len() as u64;
                    replacement.extend_from_slice(masked.bytes());
                    (Fate::Replaced, keep.then_some(masked))
                }
            }
        };
        if let Some(rows) = rows {
            let head = result.head.take();
            self.owed = Some(Delivered { seq, head, rows });
        }
        let bytes = self
            .link
            .current()
            .map_or(before, |execution| execution.bytes)
            - before;
        if let (Passed::Nothing, Some(exhausted)) =
            (&passed, self.afford_bytes(charged.as_ref(), bytes))
        {
            passed = Passed::Budget(exhausted);
        }
        self.live.rows(count);
        self.check_limits(passed);
        Ok(Settled::Fate(fate))
    }

    /// How many of so many rows may be delivered, and what they pass if not all. What the statement's own
    /// limit lets through is spent of the budgets.
    fn room(&mut self, count: u64) -> (u64, Passed) {
        let Some(execution) = self.link.current() else {
            return (0, Passed::Nothing);
        };
        let room = room(execution);
        let charged = execution.charged();
        let (granted, exhausted) = self.afford_rows(charged.as_ref(), count.min(room));
        match exhausted {
            Some(exhausted) => (granted, Passed::Budget(exhausted)),
            None if count > room => (room, Passed::Rows),
            None => (count, Passed::Nothing),
        }
    }

    fn piece(&mut self, first: bool, row: bool, frame: &[u8]) -> Result<Settled, Broken> {
        let Some(execution) = self.link.current() else {
            return Ok(Settled::Fate(Fate::Verbatim));
        };
        if first {
            let stopped = execution.stopped.is_some();
            let (room, passed) = if stopped {
                (0, Passed::Nothing)
            } else {
                self.room(1)
            };
            self.dropping = room == 0;
            if room == 0 && !stopped {
                self.check_limits(passed);
            }
        }
        let head = self.link.head().cloned();
        let Some(execution) = self.link.current() else {
            return Ok(Settled::Fate(Fate::Replaced));
        };
        if self.dropping {
            return Ok(Settled::Fate(Fate::Replaced));
        }
        let changes = match &execution.result {
            Some(result) => result.plan.changes(),
            None => execution.obligations.covers(),
        };
        if row && changes {
            // Only whole rows can be masked; the machine was told to hold them.
            let words = "a row in pieces under a mask".to_owned();
            return Err(Broken::Ended(Why::MaskFailed(words)));
        }
        // Of a row that is passed on as it comes, the beginning is on record, and the digest of the rest.
        if first {
            self.piece_kept = self.shared.rows && execution.bytes < KEPT_BYTES;
        }
        if self.piece_kept {
            if execution.result.is_none() && !execution.obligations.plans() {
                execution.result = Some(Relaying::new(Arc::default(), head));
            }
            let result = execution.result.as_mut();
            let plan = (result.as_ref()).map_or_else(Arc::default, |result| result.plan.clone());
            let head = result
                .filter(|_| row && first)
                .and_then(|result| result.head.take());
            let seq = execution.seq;
            self.owed = MaskedRows::pass(&plan, Bytes::copy_from_slice(frame))
                .map(|rows| Delivered { seq, head, rows });
        }
        let Some(execution) = self.link.current() else {
            return Ok(Settled::Fate(Fate::Replaced));
        };
        execution.bytes += frame.len() as u64;
        let charged = execution.charged();
        if first {
            execution.rows += 1;
            self.live.rows(1);
        }
        // A row that was begun is delivered to its end, also when its bytes are too many.
        let exhausted = self.afford_bytes(charged.as_ref(), frame.len() as u64);
        self.check_limits(exhausted.map_or(Passed::Nothing, Passed::Budget));
        Ok(Settled::Fate(Fate::Verbatim))
    }

    /// A copy begins: only where the text asked for one. A client would otherwise send whatever it
    /// reads from, and copied rows would pass that no plan was made for.
    fn copy(&mut self, kind: StatementKind, seen: &str) -> Result<Fate, Broken> {
        if let Some(execution) = self.link.current() {
            let analysis = &execution.statement.analysis;
            let mut kinds = analysis.statements.iter().flat_map(|facts| &facts.kinds);
            let asked =
                matches!(analysis.sureness, Sureness::Opaque(_)) || kinds.any(|seen| *seen == kind);
            let obligations = &execution.obligations;
            if kind == StatementKind::CopyOut && obligations.covers_copies() {
                // Copy data has no columns that a mask could follow. Policy refuses such a copy
                // before it runs; should one begin all the same, nothing of it passes.
                let words = "copy data of a relation with masks".to_owned();
                return Err(Broken::Ended(Why::MaskFailed(words)));
            }
            if asked {
                return Ok(Fate::Verbatim);
            }
        }
        Err(Broken::Garbled(Garbled {
            who: Peer::Server,
            expected: "no copy, since the statement is none",
            seen: seen.to_owned(),
        }))
    }

    fn copied(&mut self, count: u64, frames: &[u8], replacement: &mut BytesMut) -> Fate {
        let Some(execution) = self.link.current() else {
            return Fate::Verbatim;
        };
        if execution.stopped.is_some() {
            return Fate::Replaced;
        }
        let (allowed, mut passed) = self.room(count);
        let over = allowed < count;
        let span = W::Talk::<Arc<Prepared>, Execution>::span_of(frames, allowed);
        let Some(execution) = self.link.current() else {
            return Fate::Verbatim;
        };
        // As many as of any answer. No mask covers it: `copy` saw to that.
        let keep = self.shared.rows && execution.bytes < KEPT_BYTES && span > 0;
        execution.rows += allowed;
        execution.bytes += span as u64;
        let (seq, charged) = (execution.seq, execution.charged());
        if keep {
            let sent = Bytes::copy_from_slice(frames.get(..span).unwrap_or_default());
            self.owed = MaskedRows::pass(&MaskPlan::default(), sent).map(|rows| Delivered {
                seq,
                head: None,
                rows,
            });
        }
        if let (Passed::Nothing, Some(exhausted)) =
            (&passed, self.afford_bytes(charged.as_ref(), span as u64))
        {
            passed = Passed::Budget(exhausted);
        }
        if over {
            replacement.extend_from_slice(frames.get(..span).unwrap_or_default());
        }
        self.live.rows(allowed);
        self.check_limits(passed);
        if over { Fate::Replaced } else { Fate::Verbatim }
    }

    /// What follows from an answer once it was relayed: names, ends, the record.
    fn after(&mut self, answer: &Answer) {
        match answer {
            Answer::Done { tag, rows } => {
                let Some(execution) = self.link.current() else {
                    return;
                };
                let (statement, index) = (execution.statement.clone(), execution.done);
                execution.done += 1;
                execution.end_result();
                let told = match execution.copying {
                    Some(_) => Copying::tag(execution.rows),
                    None => tag.clone(),
                };
                if execution.tags.len() < 64 && !tag.is_empty() {
                    execution.tags.push(told);
                }
                let copied_out = statement.analysis.statements.get(index);
                let copied_out =
                    copied_out.is_some_and(|f| f.kinds.contains(&StatementKind::CopyOut));
                if changes_rows(tag) && !copied_out {
                    execution.tagged = execution.tagged.saturating_add(rows.unwrap_or(0));
                }
                self.undone |= tag == "ROLLBACK";
                if tag == "ROLLBACK" && statement.turn == Turn::RollsBack {
                    // Of what came behind it nothing was noted before its end was known.
                    self.gate.over();
                }
                if execution.stopped.is_none() {
                    self.effects(&statement, index);
                }
                self.finish(End::Done);
            }
            Answer::Suspended => {
                if let Some(execution) = self.link.current() {
                    execution.end = Some(End::Suspended);
                }
                self.finish(End::Suspended);
            }
            Answer::Counted { .. } | Answer::Kept => self.finish(End::Done),
            Answer::Estimated { .. } => self.finish(End::Stopped),
            Answer::Failed(_) | Answer::Refused(_) => {
                self.undone = true;
                self.finish(End::Failed);
                self.skipped();
            }
            Answer::Ready { transaction } => {
                self.skipped();
                self.finish(End::Done);
                self.settings_made.unended = false;
                if *transaction == Transaction::Idle {
                    self.outside();
                }
            }
            Answer::Own(OwnAnswer::RolledBack) => {
                self.undone = true;
                self.outside();
            }
            Answer::Own(OwnAnswer::Failed(_)) => self.undone = true,
            Answer::Own(OwnAnswer::Stands(_) | OwnAnswer::Work(_)) => {}
            Answer::Parameter { name, value } => {
                self.reported(name, value);
                // Newer servers say where they look for names, whoever changed it.
                if name == "search_path" {
                    self.scope.told(value);
                }
            }
            // Nobody listens in a session whose connection is kept.
            Answer::Notification => self.ran(false),
            Answer::Control
            | Answer::Hidden
            | Answer::Head
            | Answer::Rows { .. }
            | Answer::Piece { .. }
            | Answer::Notice(_)
            | Answer::CopyIn
            | Answer::CopyOut
            | Answer::CopyRows { .. } => {}
        }
    }

    /// No transaction is open.
    fn outside(&mut self) {
        self.known.committed(&self.lookup);
        if !self.undone && self.gate.holds().is_some() {
            // No way leads here: whoever finds one finds this in the log.
            tracing::error!(session = %self.id, "a transaction ended past its gate");
        }
        self.gate.over();
        if std::mem::take(&mut self.undone) {
            // A cursor that outlives its transaction does not outlive its undoing.
            self.link.forget_cursors();
        }
        // Nothing is outstanding whose constraints could still be checked.
        self.touched &= !self.link.idle();
    }

    fn finish(&mut self, end: End) {
        if let Some(execution) = self.link.finished() {
            self.record_end(execution, end);
        }
    }

    pub(super) fn skipped(&mut self) {
        while let Some(execution) = self.link.skipped() {
            self.record_end(execution, End::Skipped);
        }
    }

    /// The plan of the current result, from its head and the catalogue. An origin the catalogue
    /// does not know is looked up again before it counts as unknown.
    async fn plan(&mut self) -> Result<(), Why> {
        let Some(head) = self.link.head().cloned() else {
            return Err(Why::MaskFailed(
                "a result whose columns are not known".to_owned(),
            ));
        };
        let execution = self.link.current();
        let execution =
            execution.map(|e| (e.obligations.clone(), e.statement.clone(), e.catalogue));
        let Some((obligations, statement, catalogue)) = execution else {
            return Err(Why::MaskFailed(
                "a result that belongs to no statement".to_owned(),
            ));
        };
        let (plan, by) = self.plan_of(&head, &obligations, &statement).await?;
        let (plan, by) = match &by {
            // The statement was judged by another catalogue than the one that its result was planned by.
            Some(read) if catalogue != Some(read.version()) => {
                let mut anew = self.judged_anew(&obligations, &statement).await?;
                // Its rows may be of the time before: what the text would read now proves nothing of them.
                if catalogue.is_none_or(|judged| read.changed_since(judged)) {
                    anew.trace = Trace::Nothing;
                }
                self.plan_of(&head, &Arc::new(anew), &statement).await?
            }
            Some(_) | None => (plan, by),
        };
        self.shared.metrics.disagreed(plan.disagreements());
        let mut copies = false;
        if let Some(copying) = self.link.current().and_then(|e| e.copying.as_mut()) {
            let Some(by) = &by else {
                return Err(Why::MaskFailed("a copy without a catalogue".to_owned()));
            };
            copying.learn(&head, &**by)?;
            copies = true;
        }
        self.link.hold_rows(copies || plan.changes());
        if let Some(execution) = self.link.current() {
            execution.masked.extend(plan.applied());
            execution.masked.truncate(4096);
            let mut result = Relaying::new(plan, Some(head.clone()));
            result.named = (!obligations.content.is_empty()).then_some((head, by));
            execution.result = Some(result);
        }
        Ok(())
    }

    async fn plan_of(
        &mut self,
        head: &Arc<ResultHead>,
        obligations: &Arc<Obligations>,
        statement: &Prepared,
    ) -> Result<(Arc<MaskPlan>, Option<Arc<Catalogue>>), Why> {
        let failed = |error: crate::upstream::CatalogueError| Why::MaskFailed(error.to_string());
        let catalogue = match self.lookup.current::<W>().await {
            Ok(catalogue) => catalogue,
            // The content net looks into whatever cannot be placed: it can do without.
            Err(_) if obligations.masks.is_empty() => {
                let (none, nobody) = (Catalogue::default(), Lineage::unknown());
                let key = &self.shared.mask_key;
                let plan = crate::mask::plan(head, obligations, &nobody, &none, key);
                return Ok((Arc::new(plan), None));
            }
            Err(error) => return Err(failed(error)),
        };
        let own = self.known.own();
        // What a session made and has not committed, no catalogue shows: no plan of then holds.
        let memory = (own == Own::None).then_some(&statement.traced);
        let version = catalogue.version();
        if let Some(plan) = memory.and_then(|kept| kept.planned(version, obligations, head)) {
            return Ok((plan, Some(catalogue)));
        }
        let traced = lineage(W::DIALECT, statement, obligations, own, &catalogue).await;
        let key = &self.shared.mask_key;
        let plan = crate::mask::plan(head, obligations, &traced, &*catalogue, key);
        if !plan.met_unknown() && !doubtful(head, obligations, &*catalogue) {
            let plan = Arc::new(plan);
            if let Some(memory) = memory {
                memory.keep_plan(Planned {
                    catalogue: version,
                    obligations: obligations.clone(),
                    head: head.clone(),
                    plan: plan.clone(),
                });
            }
            return Ok((plan, Some(catalogue)));
        }
        let newer = self
            .lookup
            .newer::<W>(catalogue.version())
            .await
            .map_err(failed)?;
        let traced = lineage(W::DIALECT, statement, obligations, own, &newer).await;
        let key = &self.shared.mask_key;
        let plan = crate::mask::plan(head, obligations, &traced, &*newer, key);
        Ok((Arc::new(plan), Some(newer)))
    }

    /// What must be done with the answer of the statement under way by the catalogue as it is now, and by that
    /// of its judgement: a view may read something else since, a column may have got a tag.
    async fn judged_anew(
        &mut self,
        then: &Obligations,
        statement: &Arc<Prepared>,
    ) -> Result<Obligations, Why> {
        let verdict = self.decide(statement).await?;
        let now = match &*verdict.decision {
            Decision::Allow(allow) => Some(&allow.obligations),
            Decision::Hold(hold) => Some(&hold.obligations),
            // It would not have run: what no origin proves harmless is masked whole.
            Decision::Deny(_) => None,
        };
        let mut masks = then.masks.clone();
        for mask in now.into_iter().flat_map(|now| &now.masks) {
            if !masks.contains(mask) {
                masks.push(mask.clone());
            }
        }
        Ok(Obligations {
            masks,
            touches_masked: then.touches_masked || now.is_none_or(|now| now.touches_masked),
            sources: match now {
                Some(now) if now.touches_masked => now.sources.clone(),
                Some(_) | None => then.sources.clone(),
            },
            trace: now.map_or(Trace::Nothing, |now| now.trace.clone()),
            ..then.clone()
        })
    }
}

/// Rows that may still be delivered.
fn room(execution: &Execution) -> u64 {
    let limit = execution.obligations.limits.rows_returned;
    limit.map_or(u64::MAX, |limit| limit.saturating_sub(execution.rows))
}

/// What `settle` found.
enum Settled {
    Fate(Fate),
    NeedsPlan,
}

/// Rows of one statement that are given to the record, bytes.
pub(super) const KEPT_BYTES: u64 = 64 << 10;

/// Below this, copying is cheaper than giving a buffer away and growing another.
const WORTH_MOVING: usize = 8 << 10;

/// Parameters that the protocol itself reports, whose values a session cannot fill with data
/// without `SET` being judged first.
const HARMLESS: &[&str] = &[
    "server_version",
    "server_encoding",
    "client_encoding",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
    "in_hot_standby",
    "default_transaction_read_only",
];

/// Whether a tag's number is that of rows changed.
fn changes_rows(tag: &str) -> bool {
    let word = tag.split(' ').next().unwrap_or_default();
    matches!(word, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY")
}

pub(super) fn write<W: Wire>(refusal: &Refusal, out: &mut BytesMut) {
    W::Talk::<Arc<Prepared>, Execution>::write_refusal(refusal, out);
}
