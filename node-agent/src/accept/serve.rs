//! Serves what was handed over until the agent drains, and that to its end.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::connection::{Gate, serve};
use crate::keeper::Handed;
use crate::session::Drain;

use super::strands::Strands;

/// Serves each connection in a task of its own until the agent drains, then waits until the last
/// is over. How many there can be at once, the keeper sees to.
pub async fn serve_all(
    gate: Arc<Gate>,
    strands: Arc<Strands>,
    mut handed: mpsc::Receiver<Handed>,
    mut drain: watch::Receiver<Drain>,
) {
    let mut serving = JoinSet::new();
    loop {
        let one = tokio::select! {
            biased;
            _ = drain.wait_for(|drain| *drain != Drain::Running) => break,
            Some(_) = serving.join_next() => continue,
            one = handed.recv() => match one {
                Some(one) => one,
                None => break,
            },
        };
        strands.serve(&mut serving, serve(gate.clone(), one));
    }
    // What was handed over and not begun is closed unread.
    drop(handed);
    // Sessions end by themselves: when idle, or at the drain's deadline.
    while serving.join_next().await.is_some() {}
}
