//! The old agent's side of a succession: gives the next one all that it has, and from then on only
//! serves the sessions that it has.

use std::future::pending;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::{ChannelError, Mouth};
use super::governing::Governing;
use super::hatch::{Hatch, WithNext, refuse};
use super::inherit::{Before, Operators};
use super::succession::{ToNext, VERSION};
use crate::model::CgroupId;

/// How long connections that are on their way to the worker are waited for.
const SETTLES: Duration = Duration::from_secs(1);
/// How long the next agent may take to hear all of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is to give besides listeners and the right to the pins.
pub(super) struct Succession {
    /// Where the next agent asks; `None` once one has all.
    pub(super) hatch: Option<Hatch>,
    /// Open as long as they are this agent's: between two workers whoever asks waits.
    pub(super) operators: Option<Operators>,
    /// The agents before, as far as they may still serve.
    pub(super) before: Arc<Vec<Before>>,
    pub(super) cgroup: CgroupId,
    pub(super) workloads: Vec<String>,
    /// The agent that has all now. This end of it closes when this process does.
    pub(super) _next: Option<WithNext>,
}

impl Succession {
    /// Somebody who asks for all.
    pub(super) async fn asked(&mut self) -> WithNext {
        loop {
            match &mut self.hatch {
                Some(hatch) => match hatch.asked.recv().await {
                    Some(asked) => return asked,
                    None => self.hatch = None,
                },
                None => pending().await,
            }
        }
    }
}

/// What an agent has when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// All.
    All,
    /// What is left after it was told to stop: the operators' sockets.
    Rest,
}

impl Governing {
    /// Gives all, or nothing. False: this agent goes on as before.
    ///
    /// Connections that come meanwhile wait in the kernel. Up to the last message there is a way back;
    /// a next agent that dies after it leaves connects refused, as any that dies does.
    pub(super) async fn give(&mut self, next: WithNext, from: &mut Succession, has: Has) -> bool {
        let held = match has {
            Has::Rest => None,
            Has::All => match timeout(SETTLES, self.answers.door.inlets.hold()).await {
                Ok(held) => Some(held),
                Err(_) => {
                    let why = "its worker is just being replaced: ask again in a moment";
                    refuse(&next, why.to_owned()).await;
                    return false;
                }
            },
        };
        let right = match self.answers.interceptor.right() {
            Ok(right) => right,
            Err(error) => {
                refuse(&next, format!("the right to what is pinned: {error}")).await;
                return false;
            }
        };
        match timeout(PATIENCE, self.offer(&next.mouth, from, has)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "an agent that wanted to take over is gone: this one goes on");
                return false;
            }
            Err(_) => {
                tracing::warn!(
                    "an agent that wanted to take over does not listen: this one goes on"
                );
                return false;
            }
        }
        // From here on there is no way back: two that change what is pinned would be worse.
        self.rest().await;
        self.stop_listening(held);
        let beside: Vec<_> = right.iter().map(AsFd::as_fd).collect();
        match timeout(PATIENCE, next.mouth.say(&ToNext::All, &beside)).await {
            Ok(Ok(())) => tracing::info!("another agent took over"),
            Ok(Err(_)) | Err(_) => tracing::error!(
                "the agent that took over died meanwhile: connects are refused until one is started"
            ),
        }
        *from = Succession {
            hatch: None,
            operators: None,
            _next: Some(next),
            before: Arc::default(),
            cgroup: from.cgroup,
            workloads: Vec::new(),
        };
        true
    }

    async fn offer(
        &self,
        next: &Mouth<ToNext>,
        from: &Succession,
        has: Has,
    ) -> Result<(), ChannelError> {
        let yes = ToNext::Yes {
            version: VERSION,
            cgroup: from.cgroup,
            workloads: from.workloads.clone(),
        };
        next.say(&yes, &[]).await?;
        for Before { cgroup, talk } in from.before.iter() {
            let before = ToNext::Before { cgroup: *cgroup };
            next.say(&before, &[talk.as_fd()]).await?;
        }
        if has == Has::All {
            for socket in self.answers.door.inlets.open() {
                next.say(&ToNext::Listening, &[socket.get_ref().as_fd()])
                    .await?;
            }
        }
        if let Some(Operators { admin, pages }) = &from.operators {
            let beside = [admin.as_fd(), pages.as_fd()];
            next.say(&ToNext::Operators, &beside).await?;
        }
        Ok(())
    }
}
