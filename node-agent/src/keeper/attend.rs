//! One worker, from the moment it can serve until it is gone: its questions answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::accept::Inlets;
use super::channel::{ChannelError, Ear, Mouth};
use super::message::{Answer, Ask, AskNumber, Carried, Report, TicketNumber, ToKeeper, ToWorker};
use super::named::{Named, NotHeld};
use super::pulse::Pulse;
use super::tickets::{Dialled, Tickets};
use crate::config::{TokenSource, WorkloadRule};
use crate::enrol::{Canary, Enrolment};
use crate::identity::{TokenFileError, TokenFiles};
use crate::intercept::{InterceptError, Interceptor, Prefix, WorkloadIndex};
use crate::model::{ClientAddr, NetnsCookie};
use crate::origin::{NoOrigin, Origins};

/// Questions answered at once; further ones wait in the socket, and then in the worker.
const QUESTIONS: usize = 1_024;

/// What the listeners share.
#[derive(Debug)]
pub(super) struct Door {
    /// Where connections were going.
    pub(super) origins: Origins,
    /// All listeners, and whether what comes there is taken just now.
    pub(super) inlets: Inlets,
    /// Places for connections, over all listeners.
    pub(super) places: Arc<Semaphore>,
    /// The worker of this moment.
    pub(super) worker: watch::Sender<Option<Arc<Present>>>,
    /// How many workloads the configuration has.
    pub(super) workloads: usize,
    /// What tries the redirect.
    pub(super) canary: Arc<Canary>,
    /// Connections closed unread.
    pub(super) unread: AtomicU64,
    /// Of these, those whose origin was not confirmed.
    pub(super) unconfirmed: AtomicU64,
}

impl Door {
    /// Is there a workload of this number?
    pub(super) fn knows(&self, workload: WorkloadIndex) -> bool {
        usize::try_from(workload.0).is_ok_and(|at| at < self.workloads)
    }

    /// No origin, or one that does not fit: whoever dialled the agent itself, or won a race,
    /// learns nothing. Dropping the socket unread sends a reset.
    pub(super) fn close_unread(&self, client: ClientAddr, netns: NetnsCookie, why: &NoOrigin) {
        self.unread.fetch_add(1, Ordering::Relaxed);
        match why {
            NoOrigin::Unconfirmed { .. } | NoOrigin::Unasked { .. } => {
                self.unconfirmed.fetch_add(1, Ordering::Relaxed);
            }
            NoOrigin::NoEntry { .. } | NoOrigin::OwnAddress(_) | NoOrigin::NotAnAddress(_) => {}
        }
        tracing::warn!(%client, %netns, reason = %why, "closed unread");
    }
}

/// A worker that can serve.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) mouth: Mouth<ToWorker>,
    pub(super) tickets: Arc<Tickets>,
}

/// What answers are made of.
pub(super) struct Answers {
    pub(super) door: Arc<Door>,
    pub(super) interceptor: Arc<Interceptor>,
    /// `None` until the first worker can serve.
    pub(super) enrolment: RwLock<Option<Arc<Enrolment>>>,
    pub(super) tokens: TokenFiles,
    pub(super) workloads: Vec<WorkloadRule>,
    /// Protected whatever the worker says.
    pub(super) declared: Vec<Prefix>,
    /// Protected because a worker said so, this one or another.
    pub(super) named: Mutex<Named>,
    /// How many workers there were before this one.
    pub(super) replaced: AtomicU64,
}

impl Answers {
    /// Protects what the configuration declares, what the worker found and what workers found
    /// within a day. Gives what of it is not protected: that is told of in the log, too.
    pub(super) fn protect(&self, found: &[Prefix]) -> Result<Option<NotHeld>, InterceptError> {
        // Held until the kernel has it: else an older set could replace a newer one.
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let not_held = named.name(found, Instant::now()).err();
        let all: Vec<Prefix> = self.declared.iter().copied().chain(named.all()).collect();
        self.interceptor.set_protected(&all)?;
        if let Some(why) = &not_held {
            tracing::error!(%why, "addresses are not protected");
        }
        Ok(not_held)
    }

    pub(super) fn enrolment(&self) -> Option<Arc<Enrolment>> {
        self.enrolment
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Attends to one worker until it is gone.
    ///
    /// # Errors
    /// It says what is not understood: whoever says that is not trusted with another word. Or it
    /// hangs.
    pub(super) async fn attend(
        self: &Arc<Self>,
        present: &Arc<Present>,
        ear: &mut Ear<ToKeeper>,
    ) -> Result<(), ChannelError> {
        let pulse = Pulse::default();
        tokio::select! {
            heard = self.listen(present, ear, &pulse) => heard,
            () = pulse.stops(&present.mouth) => Err(ChannelError::Hangs),
        }
    }

    async fn listen(
        self: &Arc<Self>,
        present: &Arc<Present>,
        ear: &mut Ear<ToKeeper>,
        pulse: &Pulse,
    ) -> Result<(), ChannelError> {
        let mut answering = JoinSet::new();
        loop {
            while answering.try_join_next().is_some() {}
            if answering.len() >= QUESTIONS {
                answering.join_next().await;
            }
            // It has nothing to hand over: whatever came beside is closed.
            let Some((said, _)) = ear.hear().await? else {
                return Ok(());
            };
            match said {
                ToKeeper::Ended { tickets } => present.tickets.give_back(&tickets),
                ToKeeper::Ask { number, ask } => {
                    let (answers, present) = (self.clone(), present.clone());
                    answering.spawn(answers.answer(present, number, ask));
                }
                ToKeeper::Beat { number } => pulse.heard(number),
                ToKeeper::Ready { .. } | ToKeeper::Failed { .. } => {
                    return Err(ChannelError::Malformed("it started twice".to_owned()));
                }
            }
        }
    }

    async fn answer(self: Arc<Self>, present: Arc<Present>, to: AskNumber, ask: Ask) {
        let answer = match ask {
            Ask::Token { ticket, source } => {
                Answer::Token(self.token(&present, ticket, source).await.map(Carried))
            }
            Ask::Report => Answer::Report(Box::new(
                // Enrolment may be at work, behind its lock.
                tokio::task::spawn_blocking(move || self.report())
                    .await
                    .unwrap_or_else(|died| Report {
                        // Nobody can say that anything holds.
                        fault: Some(died.to_string()),
                        ..Report::default()
                    }),
            )),
            Ask::Whose { pid, user } => {
                let told = tokio::task::spawn_blocking(move || {
                    let enrolment = self.enrolment().ok_or("the agent is still starting")?;
                    let whose = enrolment.workload_of(pid, user)?;
                    Ok(whose.map(|workload| workload.to_string()))
                });
                Answer::Whose(told.await.unwrap_or_else(|died| Err(died.to_string())))
            }
            Ask::Protect { prefixes } => {
                let protected =
                    tokio::task::spawn_blocking(move || match self.protect(&prefixes) {
                        Ok(None) => Ok(()),
                        Ok(Some(not_held)) => Err(not_held.to_string()),
                        Err(error) => Err(error.to_string()),
                    });
                Answer::Protect(protected.await.unwrap_or_else(|died| Err(died.to_string())))
            }
        };
        // A worker that is gone needs no answer.
        let _ = present
            .mouth
            .say(&ToWorker::Answer { to, answer }, &[])
            .await;
    }

    /// Only for a connection that the worker has and that is logging in, whose client is there, and
    /// only in a file that the configuration names for that connection's workload.
    async fn token(
        &self,
        present: &Present,
        ticket: TicketNumber,
        source: usize,
    ) -> Result<crate::model::Secret<String>, TokenFileError> {
        let dialled = present.tickets.logging_in(ticket, Instant::now());
        let dialled = dialled.ok_or(TokenFileError::Gone)?;
        // The kernel's word and not the worker's, which may hold its end of a connection for good.
        let Dialled {
            netns,
            client,
            socket,
            ..
        } = dialled;
        match self.interceptor.is_open(netns, client.0, socket) {
            Ok(true) => {}
            Ok(false) => return Err(TokenFileError::Gone),
            Err(error) => {
                tracing::warn!(%error, %client, %netns, "a token is not read: whether its client is there is not known");
                return Err(TokenFileError::Gone);
            }
        }
        let rule = usize::try_from(dialled.workload.0)
            .ok()
            .and_then(|at| self.workloads.get(at));
        let source = rule.and_then(|rule| rule.tokens.get(source));
        match source {
            Some(TokenSource::File(path)) => {
                self.tokens.read(dialled.pid, dialled.cgroup, path).await
            }
            Some(TokenSource::Password | TokenSource::Bearer) | None => {
                Err(TokenFileError::NotConfigured)
            }
        }
    }
}
