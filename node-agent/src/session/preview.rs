//! A preview of a held statement, at the wish of a reviewer: begun once that is on the record, done by a task of its
//! own while the session waits as before, and told once what came of it is on the record too.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::approval::{Leave, Preview, Wish, Wishes};
use crate::clock;
use crate::mask::plan;
use crate::model::{ApprovalId, ResultHead};
use crate::policy::{Decision, Hold, Obligations, Sources, Trace};
use crate::record::{ApprovalStep, Stepped};
use crate::sql::Lineage;
use crate::upstream::{NotRehearsed, Rehearsal};
use crate::wire::{Asked, Transaction, Wire};

use super::Shared;
use super::beside::{Beside, changes};
use super::pump::Session;
use super::verdict::Prepared;

/// How long a preview may take, with all that is done for it.
const PREVIEW: Duration = Duration::from_secs(10);

/// What a session that holds a statement does for reviewers who want to see more of it.
pub(super) struct Shows {
    wishes: Wishes,
    now: Now,
}

/// How far it is.
enum Now {
    Nothing,
    /// Somebody wants a preview.
    Wished(Wish),
    /// It is under way.
    Going(Going),
    /// It came to this.
    Done(Going, Result<Preview, String>),
}

struct Going {
    by: String,
    answer: oneshot::Sender<Result<Preview, String>>,
    task: Task,
}

/// A task that ends with who waits for it.
struct Task(JoinHandle<Result<Preview, String>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shows {
    pub(super) fn new(wishes: Wishes) -> Self {
        Shows {
            wishes,
            now: Now::Nothing,
        }
    }

    /// Whether there is something to do. Wakes the task when there is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        match std::mem::replace(&mut self.now, Now::Nothing) {
            Now::Nothing => match pin!(self.wishes.next()).poll(cx) {
                Poll::Ready(Some(wish)) => self.now = Now::Wished(wish),
                Poll::Ready(None) | Poll::Pending => {}
            },
            Now::Going(mut going) => match Pin::new(&mut going.task.0).poll(cx) {
                Poll::Ready(done) => {
                    let lost = |_| Err("it did not come to an end".to_owned());
                    let done = done.unwrap_or_else(lost);
                    self.now = Now::Done(going, done);
                }
                Poll::Pending => self.now = Now::Going(going),
            },
            due @ (Now::Wished(_) | Now::Done(..)) => self.now = due,
        }
        matches!(self.now, Now::Wished(_) | Now::Done(..))
    }
}

impl Beside {
    async fn preview<W: Wire>(
        self,
        shared: Arc<Shared>,
        held: Arc<Obligations>,
        leave: Leave,
        stepped: Stepped,
    ) -> Result<Preview, String> {
        let id = leave.id();
        let same_by = |path: &str| self.same_by(path);
        // As a `select *` of the table would be masked: by where each column comes from, and nothing else.
        let obligations = Obligations {
            masks: held.masks.clone(),
            content: held.content.clone(),
            touches_masked: true,
            sources: Sources::Any,
            trace: Trace::Nothing,
            ..Obligations::default()
        };
        let mask = |head: &Arc<ResultHead>| {
            let nobody = Lineage::unknown();
            plan(
                head,
                &obligations,
                &nobody,
                &*self.catalogue,
                &shared.mask_key,
            )
        };
        let rehearsal = Rehearsal {
            text: &self.text,
            params: self.params.as_ref(),
            relations: &self.relations,
            same_by: &same_by,
            mask: &mask,
        };
        let ran = timeout(PREVIEW, rehearsal.run::<W>(leave, stepped, &self.double)).await;
        let (failed, tables) = match ran {
            Ok(Ok(tables)) => (None, tables),
            Ok(Err(NotRehearsed::Failed(why))) => (Some(why), Vec::new()),
            Ok(Err(NotRehearsed::Unfit(why))) => return Err(why),
            Err(_elapsed) => {
                let seconds = PREVIEW.as_secs();
                let why = format!("it took longer than {seconds} s, and was cancelled");
                (Some(why), Vec::new())
            }
        };
        Ok(Preview {
            id,
            at: clock::now(),
            failed,
            tables,
        })
    }
}

impl<W: Wire> Session<W> {
    /// Does what is due for reviewers who want to see more of the statement that is held.
    pub(super) async fn show_more(&mut self) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        let shows = &mut held.shows;
        match std::mem::replace(&mut shows.now, Now::Nothing) {
            Now::Wished(wish) => {
                let id = wish.leave.id();
                let Wish { leave, answer } = wish;
                let by = leave.by().to_owned();
                match self
                    .preview(id, &held.asked, &held.prepared, &held.hold, leave)
                    .await
                {
                    Ok(task) => {
                        held.shows.now = Now::Going(Going {
                            by,
                            answer,
                            task: Task(task),
                        });
                    }
                    Err(why) => {
                        let _ = answer.send(Err(why)); // who asked may be gone
                    }
                }
            }
            Now::Done(going, done) => {
                let done = self.previewed(held.pending.id(), &going.by, done).await;
                let _ = going.answer.send(done); // who asked may be gone
            }
            now @ (Now::Nothing | Now::Going(_)) => shows.now = now,
        }
        self.held = Some(held);
    }

    /// Begins a preview, once that is on the record.
    async fn preview(
        &mut self,
        id: ApprovalId,
        asked: &Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        hold: &Hold,
        leave: Leave,
    ) -> Result<JoinHandle<Result<Preview, String>>, String> {
        if self.link.transaction() != Transaction::Idle || self.settings_made.unended {
            return Err(
                "its session has a transaction open, and the preview would not see what that has done"
                    .to_owned(),
            );
        }
        // Masks as they are by now, and the offer too.
        let verdict = self.decide(prepared).await;
        let verdict = verdict.map_err(|_| "it cannot be judged now".to_owned())?;
        let obligations = match &*verdict.decision {
            Decision::Hold(now)
                if now.rule == hold.rule && now.asks == hold.asks && now.asks.offers.preview =>
            {
                now.obligations.clone()
            }
            _ => return Err("the policies changed while it was held".to_owned()),
        };
        // As the database is from this moment on, so that no column is masked by the name that it had.
        self.lookup.changed();
        let beside = self.beside(asked, prepared).await?;
        let analysis = &prepared.analysis;
        if !analysis
            .judged()
            .any(|facts| facts.kinds.iter().any(changes))
        {
            return Err("it changes no rows".to_owned());
        }
        let by = leave.by().to_owned();
        let step = ApprovalStep::Previewing { by };
        let stepped = self.step(Some(id), step).await;
        let stepped = stepped.map_err(|_| "that it is done cannot be recorded".to_owned())?;
        let shared = self.shared.clone();
        Ok(tokio::spawn(beside.preview::<W>(
            shared,
            obligations,
            leave,
            stepped,
        )))
    }

    /// What came of a preview goes on the record before anybody sees it: how many rows, and none of them.
    async fn previewed(
        &mut self,
        id: ApprovalId,
        by: &str,
        done: Result<Preview, String>,
    ) -> Result<Preview, String> {
        let outcome = match &done {
            Ok(preview) => preview.words(),
            Err(why) => format!("it was not run: {why}"),
        };
        let by = by.to_owned();
        let step = ApprovalStep::Previewed { by, outcome };
        match self.step(Some(id), step).await {
            Ok(_) => done,
            Err(_) => Err("what came of it cannot be recorded".to_owned()),
        }
    }
}
