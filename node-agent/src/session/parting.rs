//! Goodbyes that outlive their session: said off its task, and waited for before the agent ends.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the goodbyes that are being said.
#[derive(Clone, Debug, Default)]
pub struct Partings(Arc<watch::Sender<usize>>);

impl Partings {
    /// One more, until it is dropped.
    pub(super) fn begin(&self) -> Parting {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        Parting(self.clone())
    }

    /// Waits until none is left.
    pub async fn over(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A goodbye that is being said.
#[derive(Debug)]
pub(super) struct Parting(Partings);

impl Drop for Parting {
    fn drop(&mut self) {
        let Partings(count) = &self.0;
        count.send_modify(|count| *count = count.saturating_sub(1));
    }
}
