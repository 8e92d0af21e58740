//! Listeners: one a network namespace, each with its own accept loop; limits. Whose a connection
//! is, is known before the worker hears of it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::net::{SendFlags, SocketFlags, acceptfrom_with, send};
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, Semaphore, watch};

use super::attend::{Door, Present};
use super::message::ToWorker;
use super::tickets::{Dialled, Places};
use crate::enrol::CANARY;
use crate::intercept::{Closed, waited};
use crate::model::{ClientAddr, NetnsCookie};
use crate::origin::{Flow, NoOrigin, Origin};

/// Connections served at once; above it the kernel's accept queue is the waiting room.
pub(super) const AT_ONCE: usize = 20_000;
/// Of these, those of one network namespace: one that floods its listener leaves room for others.
const OF_ONE: usize = 4_096;
/// The pause after accept() fails for want of descriptors or memory.
const BACKOFF: Duration = Duration::from_millis(50);

/// Accepts on one listener until its workloads are gone. Dropping the future closes the listener.
///
/// A place is taken, and a worker is there, before accept(): a flood, or the time between two
/// workers, waits in the kernel and not in memory.
pub(super) async fn accept(
    door: Arc<Door>,
    listener: TcpListener,
    netns: NetnsCookie,
    mut closed: Closed,
) {
    tokio::select! {
        biased;
        () = closed.wait() => {}
        ended = accept_all(&door, listener, netns) => {
            // Connects there are refused from now on; that is safe, and said.
            if let Err(error) = ended {
                tracing::error!(%error, %netns, "a listener cannot be used");
            }
        }
    }
}

/// All listeners of this moment, to be given to the next agent as they are.
#[derive(Debug, Default)]
pub(super) struct Inlets {
    sockets: Mutex<Vec<Weak<AsyncFd<OwnedFd>>>>,
    /// Whoever accepts has part in it until the worker has the connection.
    turn: Arc<RwLock<()>>,
}

impl Inlets {
    /// Waits until nothing is between accept() and the worker, and lets nothing in as long as the
    /// guard is there: what comes waits in the kernel.
    pub(super) async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        self.turn.clone().write_owned().await
    }

    /// Those that are open.
    pub(super) fn open(&self) -> Vec<Arc<AsyncFd<OwnedFd>>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().filter_map(Weak::upgrade).collect()
    }

    fn enter(&self, listener: &Arc<AsyncFd<OwnedFd>>) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(listener));
    }
}

async fn accept_all(door: &Door, listener: TcpListener, netns: NetnsCookie) -> io::Result<()> {
    let listener = Arc::new(waited(listener.into())?);
    door.inlets.enter(&listener);
    let own = Arc::new(Semaphore::new(OF_ONE));
    let mut worker = door.worker.subscribe();
    loop {
        if worker.wait_for(Option::is_some).await.is_err() {
            return Ok(()); // the keeper ends
        }
        let (Ok(of_all), Ok(of_one)) = (
            door.places.clone().acquire_owned().await,
            own.clone().acquire_owned().await,
        ) else {
            return Ok(());
        };
        let mut waits = listener.readable().await?;
        let _turn = door.inlets.turn.read().await;
        let accepted = waits.try_io(|listener| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            acceptfrom_with(listener.get_ref(), flags).map_err(io::Error::from)
        });
        let Ok(accepted) = accepted else {
            continue; // whoever came went again
        };
        match accepted {
            Ok((stream, client)) => {
                let client = client.and_then(|client| client.try_into().ok());
                if let Some(client) = client {
                    let places = (of_all, of_one);
                    hand_over(door, &mut worker, stream, ClientAddr(client), netns, places).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

/// Finds out whose the connection is, and hands it to the worker, or to the next one if that one
/// dies just now: nothing of it was read.
async fn hand_over(
    door: &Door,
    worker: &mut watch::Receiver<Option<Arc<Present>>>,
    stream: OwnedFd,
    client: ClientAddr,
    netns: NetnsCookie,
    places: Places,
) {
    let Origin { flow, socket } = match door.origins.take(netns, client) {
        Ok(origin) => origin,
        Err(reason) => return door.close_unread(client, netns, &reason),
    };
    if flow.workload == CANARY {
        return greet_canary(door, &stream, client, &flow);
    }
    if !door.knows(flow.workload) {
        // A label that an earlier configuration left: nobody by that number is known now.
        return door.close_unread(client, netns, &NoOrigin::NoEntry { netns, client });
    }
    let dialled = Dialled {
        pid: flow.process.pid,
        cgroup: flow.process.cgroup,
        workload: flow.workload,
        netns,
        client,
        socket,
    };
    let mut try_with = Some((flow, places));
    let mut tried: Option<Arc<Present>> = None;
    while let Some((flow, places)) = try_with.take() {
        let another = |now: &Option<Arc<Present>>| match (now, &tried) {
            (Some(now), Some(tried)) => !Arc::ptr_eq(now, tried),
            (Some(_), None) => true,
            (None, _) => false,
        };
        let present = match worker.wait_for(another).await {
            Ok(present) => present.clone(),
            Err(_) => return,
        };
        let Some(present) = present else { return };
        try_with = hand_to(&present, &stream, client, flow, dialled, places).await;
        tried = Some(present);
    }
}

/// The canary hears the word that proves who answers, and nobody else does. From the keeper: it
/// tries the redirect, whatever becomes of workers.
fn greet_canary(door: &Door, stream: &OwnedFd, client: ClientAddr, flow: &Flow) {
    let Some(word) = door.canary.answer(flow.process.cgroup) else {
        tracing::warn!(%client, cgroup = %flow.process.cgroup, "not the canary: closed unread");
        return;
    };
    // A fresh socket has room for a word. A canary that is gone by now hears nothing, and says so
    // itself.
    let _ = send(stream, format!("{word}\n").as_bytes(), SendFlags::NOSIGNAL);
}

/// Hands a connection to this worker. What was given comes back if it could not be reached.
async fn hand_to(
    present: &Present,
    stream: &OwnedFd,
    client: ClientAddr,
    flow: Flow,
    dialled: Dialled,
    places: Places,
) -> Option<(Flow, Places)> {
    let issued = present.tickets.issue(dialled, places);
    let message = ToWorker::Handed {
        ticket: issued.number,
        client,
        flow,
    };
    match present.mouth.say(&message, &[stream.as_fd()]).await {
        Ok(()) => {
            issued.handed();
            None
        }
        Err(error) => {
            tracing::warn!(%error, %client, "a connection waits for the next worker");
            let ToWorker::Handed { flow, .. } = message else {
                return None;
            };
            Some((flow, issued.back()?))
        }
    }
}
