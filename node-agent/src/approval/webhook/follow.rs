//! IO. Follows the desk's changes for one webhook, and stays at each until it is delivered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::post::Post;
use super::said::{Said, Sender, is_told};
use super::standing::Standing;
use super::template::body;
use super::wait::wait;
use crate::approval::{Change, Desk};
use crate::config::Webhook;

/// Changes that are read at once.
const AT_ONCE: usize = 64;
/// How often the desk is asked without being moved: while its store cannot be read it does not say so.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is asked where this webhook has come, until it can say.
const RETRY: Duration = Duration::from_millis(200);

/// What tells one receiver.
pub(super) struct Follower {
    pub(super) hook: Webhook,
    pub(super) post: Post,
    pub(super) desk: Desk,
    pub(super) sender: Arc<Sender>,
    pub(super) standing: Arc<Standing>,
    /// Changes that were not kept until now, not told of yet.
    pub(super) missed: u64,
}

impl Follower {
    /// Never over.
    pub(super) async fn run(mut self) {
        let mut moved = self.desk.moved();
        let reader = format!("webhook:{}", self.hook.name);
        let mut at = loop {
            match self.desk.follow(&reader).await {
                Some(at) => break at,
                None => sleep(RETRY).await,
            }
        };
        self.standing.at(at);
        loop {
            moved.mark_unchanged();
            let changes = self.desk.changes(at, AT_ONCE).await;
            if changes.is_empty() {
                match timeout(LOOK, moved.changed()).await {
                    Ok(Ok(())) | Err(_) => {}
                    // The desk ends with the agent.
                    Ok(Err(_)) => return,
                }
                continue;
            }
            for change in changes {
                let before = change.seq.saturating_sub(at).saturating_sub(1);
                if before > 0 {
                    tracing::warn!(
                        webhook = self.hook.name,
                        before,
                        "changes of approvals were not kept until they could be delivered"
                    );
                    self.standing.missed(before);
                    self.missed += before;
                }
                if is_told(&change.step, &self.hook.steps) {
                    self.deliver(&change).await;
                    self.missed = 0;
                }
                at = change.seq;
                self.standing.at(at);
                self.desk.set_cursor(&reader, at).await;
            }
        }
    }

    /// Until it has arrived.
    async fn deliver(&self, change: &Change) {
        let mut times: u32 = 0;
        loop {
            // As it stands now: what is decided already is not asked for again as if it were not.
            let case = self.desk.find(change.id).await;
            let said = Said::new(
                &self.sender,
                change,
                case.as_ref(),
                self.hook.console_url.as_deref(),
                self.missed,
            );
            let made = |secret: Option<&str>| body(&self.hook.template, &said, secret);
            let Err(fault) = self.post.send(&said.delivery, made).await else {
                self.standing.sent();
                return;
            };
            times = times.saturating_add(1);
            self.standing.failed(&fault.why);
            let pause = wait(fault.failed, times, random());
            tracing::warn!(
                webhook = self.hook.name,
                approval = %change.id,
                why = fault.why,
                times,
                again_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "a step of an approval could not be delivered"
            );
            sleep(pause).await;
        }
    }
}

/// Any number; without randomness the longest wait is as good as any.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes),
        Err(_) => u32::MAX,
    }
}
