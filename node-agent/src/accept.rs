//! IO. Listeners: one a network namespace, each with its own accept loop; limits; drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::connection::{Accepted, Gate, serve};
use crate::intercept::Closed;
use crate::model::{ClientAddr, NetnsCookie};
use crate::session::Drain;

/// Connections served at once; above it the kernel's accept queue is the waiting room.
const AT_ONCE: usize = 20_000;
/// Of these, those of one network namespace: one that floods its listener leaves room for others.
const OF_ONE: usize = 4_096;
/// The pause after accept() fails for want of descriptors or memory.
const BACKOFF: Duration = Duration::from_millis(50);

/// Accepts on one listener until told to stop (its workloads are gone, or the agent drains).
///
/// A permit is taken before accept(), so that a flood waits in the kernel and not in memory.
pub async fn accept(
    gate: Arc<Gate>,
    listener: TcpListener,
    netns: NetnsCookie,
    permits: Arc<Semaphore>,
    mut closed: Closed,
    mut drain: watch::Receiver<Drain>,
) {
    let mut serving = JoinSet::new();
    loop {
        if serving.len() >= OF_ONE {
            tokio::select! {
                biased;
                () = closed.wait() => break,
                _ = drain.wait_for(|drain| *drain != Drain::Running) => break,
                Some(_) = serving.join_next() => continue,
            }
        }
        let permit = tokio::select! {
            biased;
            () = closed.wait() => break,
            _ = drain.wait_for(|drain| *drain != Drain::Running) => break,
            Some(_) = serving.join_next() => continue,
            permit = permits.clone().acquire_owned() => match permit {
                Ok(permit) => permit,
                Err(_closed) => break,
            },
        };
        let accepted = tokio::select! {
            biased;
            () = closed.wait() => break,
            _ = drain.wait_for(|drain| *drain != Drain::Running) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Small messages each way: waiting to fill a segment would add its delay to each.
                if stream.set_nodelay(true).is_err() {
                    continue; // already reset by its peer
                }
                let gate = gate.clone();
                let accepted = Accepted {
                    stream,
                    client: ClientAddr(peer),
                    netns,
                };
                serving.spawn(async move {
                    serve(gate, accepted).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
    drop(listener);
    // Sessions end by themselves: when idle, or at the drain's deadline.
    while serving.join_next().await.is_some() {}
}

/// The bound on connections, shared by all listeners.
pub fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE))
}
