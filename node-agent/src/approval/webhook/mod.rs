//! IO. Webhooks: the steps of requests for approval are told to where reviewers look.
//!
//! A follower of the desk's changes for each receiver, with its own place in the desk's store: nothing
//! is lost over restarts, what arrives is in order, and may arrive twice. Nothing waits for a
//! receiver: not the desk, not a session, not another receiver. No ruling comes this way.

mod follow;
mod post;
mod said;
mod sign;
mod standing;
mod template;
#[cfg(test)]
mod tests;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;

use rustix::system::uname;
use tokio::task::{AbortHandle, JoinSet};

use crate::approval::Desk;
use crate::config::Webhook;

use follow::Follower;
use post::Post;
use said::Sender;
use standing::Standing;

pub use standing::Counts;

/// A webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// What its deliveries take.
    #[error("approvals.webhooks, {name}: {why}")]
    Unusable {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// A file may not be read.
    #[error("{0}")]
    Unreadable(PathBuf),
}

/// All webhooks of an agent. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    standings: Arc<Vec<Arc<Standing>>>,
    followers: Arc<Vec<AbortHandle>>,
}

impl Webhooks {
    /// Starts a follower for each. `node` is the fingerprint of the node's key, by which receivers tell
    /// deliveries of several nodes apart.
    ///
    /// # Errors
    /// One cannot be set up; whatever can fail later is tried again, and told of in `status`.
    pub fn start(
        hooks: &[Webhook],
        node: &str,
        desk: &Desk,
        tasks: &mut JoinSet<()>,
    ) -> Result<Webhooks, WebhookError> {
        let sender = Arc::new(Sender::new(&uname().nodename().to_string_lossy(), node));
        let mut standings = Vec::new();
        let mut followers = Vec::new();
        for hook in hooks {
            for path in hook.secrets() {
                // Any other fault may be over at the next delivery, which reads it again.
                if let Err(error) = std::fs::File::open(path)
                    && error.kind() == std::io::ErrorKind::PermissionDenied
                {
                    return Err(WebhookError::Unreadable(path.clone()));
                }
            }
            let post = Post::new(hook).map_err(|why| WebhookError::Unusable {
                name: hook.name.clone(),
                why,
            })?;
            let standing = Arc::new(Standing::new(&hook.name, desk.moved()));
            let follower = Follower {
                hook: hook.clone(),
                post,
                desk: desk.clone(),
                sender: sender.clone(),
                standing: standing.clone(),
                missed: 0,
            };
            followers.push(tasks.spawn(follower.run()));
            standings.push(standing);
        }
        Ok(Webhooks {
            standings: Arc::new(standings),
            followers: Arc::new(followers),
        })
    }

    /// Another agent goes on from where each has come.
    pub fn stop(&self) {
        self.followers.iter().for_each(AbortHandle::abort);
    }

    /// What is not delivered now, a sentence each.
    pub fn degraded(&self) -> Vec<String> {
        self.standings
            .iter()
            .filter_map(|one| one.trouble())
            .collect()
    }

    /// What was delivered, and what was not.
    pub fn counts(&self) -> Vec<Counts> {
        self.standings.iter().map(|one| one.counts()).collect()
    }
}
