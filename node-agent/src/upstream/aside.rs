//! A connection of the agent's own beside a session's: as the session's role, in its database, with its settings.
//! Dropped before it is closed, what it is at is cancelled.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::wire::pg::aside::{Exchange, cells, goodbye, say};
use crate::wire::{BackLogin, Garbled, Text, Wire};

use super::Leg;
use super::dial::{Dialled, Endpoint, UpstreamError, cancel, dial};

/// Bytes of rows of one answer to the agent's own question.
const ROOM: usize = 1 << 20;
/// How long the last word may take.
const PARTING: Duration = Duration::from_secs(1);

/// Where and as whom a session's own connection was opened, and what it has set since.
#[derive(Clone, Debug)]
pub struct Double {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom, with the settings of its login.
    pub login: BackLogin,
    /// The SETs that it has sent since, in order.
    pub since: Vec<Text>,
}

/// Why nothing came of a connection beside a session's.
#[derive(Debug, thiserror::Error)]
pub(super) enum AsideError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error(transparent)]
    Garbled(#[from] Garbled),
    /// By its SQLSTATE.
    #[error("the database said no (SQLSTATE {0})")]
    Refused(String),
}

/// A connection of the agent's own.
pub(super) struct Aside<W: Wire> {
    leg: Leg,
    input: BytesMut,
    endpoint: Endpoint,
    process: u32,
    secret: Vec<u8>,
    over: bool,
    lost: bool,
    wire: PhantomData<fn() -> W>,
}

impl<W: Wire> Aside<W> {
    /// Opens one that is as the session's is: what that has set is set here too.
    pub(super) async fn open(double: &Double) -> Result<Self, AsideError> {
        let endpoint = &double.endpoint;
        let Dialled { leg, greeted, rest } =
            dial::<W::Back>(endpoint, double.login.clone()).await?;
        let mut aside = Aside {
            leg,
            input: rest,
            endpoint: endpoint.clone(),
            process: greeted.process,
            secret: greeted.secret,
            over: false,
            lost: false,
            wire: PhantomData,
        };
        for set in &double.since {
            let mut up = BytesMut::new();
            crate::wire::pg::aside::run(set.as_str(), None, &mut up);
            done(aside.talk(&up, ROOM).await?)?;
        }
        Ok(aside)
    }

    /// Asks texts of the agent's own.
    ///
    /// # Errors
    /// The connection broke, or the database said no.
    pub(super) async fn ask(&mut self, text: &str) -> Result<Exchange, AsideError> {
        let mut up = BytesMut::new();
        say(text, &mut up);
        done(self.talk(&up, ROOM).await?)
    }

    /// Sends frames, and hears what comes until the server is ready. Rows take `room` bytes at most.
    pub(super) async fn talk(&mut self, up: &[u8], room: usize) -> Result<Exchange, AsideError> {
        if self.lost {
            return Err(std::io::Error::other("it is not as it should be").into());
        }
        self.leg.write_all(up).await?;
        self.leg.flush().await?;
        let mut exchange = Exchange::new(room);
        while !exchange.hear(&mut self.input)? {
            if self.leg.read_buf(&mut self.input).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(exchange)
    }

    /// It is not as it should be: nothing more is asked on it.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether it is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Closes it; what was not committed is gone.
    pub(super) async fn close(mut self) {
        self.over = true;
        let mut up = BytesMut::new();
        goodbye(&mut up);
        let parting = async {
            // A failure to say goodbye changes nothing: the answers are complete.
            let _ = self.leg.write_all(&up).await;
            let _ = self.leg.shutdown().await;
        };
        let _ = timeout(PARTING, parting).await;
    }
}

impl<W: Wire> Drop for Aside<W> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A server that is at a statement does not look whether its client is there.
        let (endpoint, process) = (self.endpoint.clone(), self.process);
        let secret = std::mem::take(&mut self.secret);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = cancel::<W::Back>(&endpoint, process, &secret).await {
                    tracing::warn!(%error, "a connection of the agent's own was not cancelled");
                }
            });
        }
    }
}

fn done(exchange: Exchange) -> Result<Exchange, AsideError> {
    match exchange.failed {
        Some(code) => Err(AsideError::Refused(code)),
        None => Ok(exchange),
    }
}

/// The rows as texts; what is none is none.
pub(super) fn texts(exchange: &Exchange) -> Result<Vec<Vec<Option<String>>>, AsideError> {
    let text = |cell: &Option<&[u8]>| {
        let cell = (*cell)?;
        std::str::from_utf8(cell).ok().map(str::to_owned)
    };
    let mut rows = Vec::new();
    cells(&exchange.rows, |cells| {
        rows.push(cells.iter().map(text).collect())
    })?;
    Ok(rows)
}

/// Object ids as an array. Numbers only: nothing of it can be anything else.
pub(super) fn ids(relations: &[u32]) -> String {
    let ids: Vec<String> = relations.iter().map(u32::to_string).collect();
    format!("'{{{}}}'::oid[]", ids.join(","))
}
