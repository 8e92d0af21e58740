//! IO. Connections to the admin listeners. Any process of the node can open them: so many are served at once, none
//! that says nothing, and none for ever, or their files would be missing where databases are reached.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a question's head may take, the wait for it included.
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection may be there. A long recording is sent in less.
const LONGEST: Duration = Duration::from_mins(15);

/// Room for so many connections at once.
#[derive(Clone, Debug)]
pub(super) struct Rooms(Arc<Semaphore>);

impl Rooms {
    pub(super) fn of(connections: usize) -> Rooms {
        Rooms(Arc::new(Semaphore::new(connections)))
    }
}

/// Serves until the task is dropped. `who` says who is at the other end, and which rooms are theirs; a connection
/// for which there is none is closed.
pub(super) async fn serve<L: Listener, C: Clone + Send + Sync + 'static>(
    mut listener: L,
    router: Router,
    who: impl Fn(&L::Io) -> (C, Rooms),
) {
    loop {
        let (stream, _) = listener.accept().await;
        let (caller, rooms) = who(&stream);
        let Ok(room) = rooms.0.try_acquire_owned() else {
            continue;
        };
        let service =
            TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(caller))));
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(LONGEST, connection).await; // it concerns nobody but who called
            drop(room);
        });
    }
}
