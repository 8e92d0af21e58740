//! Dial the database, TLS, log in.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::model::UpstreamAddr;
use crate::tls::{TlsError, UpstreamConnector};
use crate::wire::{Back, BackLogin, BackNeed, Garbled, Greeted};

use super::{Leg, Socket};

/// How long dialling and logging in may take, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest login answer a database may send before it is ready.
const LOGIN_BYTES: usize = 256 << 10;

/// Where a target's database is and how to reach it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address.
    pub address: UpstreamAddr,
    /// `None`: `tls: disable`, which the target must have said.
    pub tls: Option<Arc<UpstreamConnector>>,
    /// The name its certificate must carry.
    pub server_name: String,
}

/// A database connection, logged in.
#[derive(Debug)]
pub struct Dialled {
    /// The stream.
    pub leg: Leg,
    /// What the database said at login.
    pub greeted: Greeted,
    /// Bytes behind the login (none from an honest database).
    pub rest: BytesMut,
}

/// The database could not be reached, or refused the agent.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("cannot connect to the database at {address}: {source}")]
    Connect {
        /// Where.
        address: UpstreamAddr,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("the database at {address} did not answer within {seconds} s")]
    Slow {
        /// Where.
        address: UpstreamAddr,
        /// How long was waited.
        seconds: u64,
    },
    /// TLS failed, or the database does not offer it.
    #[error("TLS to the database at {address} failed: {source}")]
    Tls {
        /// Where.
        address: UpstreamAddr,
        /// Why.
        source: TlsError,
    },
    /// The database asked for TLS out of turn.
    #[error("the database at {address} does not fit `tls` of its target: {what}")]
    Order {
        /// Where.
        address: UpstreamAddr,
        /// What it did.
        what: &'static str,
    },
    /// The stream broke in the middle of the login.
    #[error("the database at {address} closed the connection during login: {source}")]
    Broken {
        /// Where.
        address: UpstreamAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database broke the protocol.
    #[error(transparent)]
    Garbled(#[from] Garbled),
    /// The database said no.
    #[error("the database refused the agent's login: {message} (SQLSTATE {code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// Its words, for the agent's log.
        message: String,
    },
}

impl UpstreamError {
    /// The database takes no more sessions, of this role or at all (SQLSTATE 53300).
    pub fn is_full(&self) -> bool {
        matches!(self, UpstreamError::Refused { code, .. } if code == "53300")
    }
}

/// Dials and logs in, within `PATIENCE` for each of the two.
pub async fn dial<B: Back>(
    endpoint: &Endpoint,
    login: BackLogin,
) -> Result<Dialled, UpstreamError> {
    let address = endpoint.address;
    let slow = |_| UpstreamError::Slow {
        address,
        seconds: PATIENCE.as_secs(),
    };
    let stream = connect(address).await?;
    timeout(PATIENCE, log_in::<B>(endpoint, stream, login))
        .await
        .map_err(slow)?
}

async fn connect(address: UpstreamAddr) -> Result<Socket, UpstreamError> {
    let stream = timeout(PATIENCE, TcpStream::connect(address.0))
        .await
        .map_err(|_| UpstreamError::Slow {
            address,
            seconds: PATIENCE.as_secs(),
        })?
        .map_err(|source| UpstreamError::Connect { address, source })?;
    stream
        .set_nodelay(true)
        .map_err(|source| UpstreamError::Connect { address, source })?;
    Ok(stream.into())
}

async fn log_in<B: Back>(
    endpoint: &Endpoint,
    stream: Socket,
    login: BackLogin,
) -> Result<Dialled, UpstreamError> {
    let address = endpoint.address;
    let broken = |source| UpstreamError::Broken { address, source };
    let mut back = B::new(login);
    let mut input = BytesMut::with_capacity(2048);
    let mut out = BytesMut::with_capacity(512);
    let mut leg = Leg::Plain(stream);
    loop {
        let need = back.greet(&mut input, &mut out)?;
        if !out.is_empty() {
            leg.write_all(&out).await.map_err(broken)?;
            leg.flush().await.map_err(broken)?;
            out.clear();
        }
        match need {
            BackNeed::More => {
                // The largest legal login answer is far smaller; more is an attack on our memory.
                if input.len() > LOGIN_BYTES {
                    return Err(broken(std::io::Error::other("the login answer has no end")));
                }
                let read = leg.read_buf(&mut input).await.map_err(broken)?;
                if read == 0 {
                    return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
            BackNeed::Tls => {
                let Some(connector) = &endpoint.tls else {
                    return Err(UpstreamError::Order {
                        address,
                        what: "TLS was not asked for",
                    });
                };
                let Leg::Plain(plain) = leg else {
                    return Err(UpstreamError::Order {
                        address,
                        what: "TLS was asked for twice",
                    });
                };
                let secured = connector
                    .connect(plain, &endpoint.server_name)
                    .await
                    .map_err(|source| UpstreamError::Tls { address, source })?;
                back.secured(UpstreamConnector::end_point(&secured));
                leg = Leg::Client(Box::new(secured));
            }
            BackNeed::Ready(greeted) => {
                return Ok(Dialled {
                    leg,
                    greeted,
                    rest: input,
                });
            }
            BackNeed::Failed { code, message } => {
                return Err(UpstreamError::Refused { code, message });
            }
        }
    }
}

/// Sends a cancel request for a server's own key, on a connection of its own, over the same kind
/// of leg as the session (a cancel key in clear beside a TLS session would give it away).
pub async fn cancel<B: Back>(
    endpoint: &Endpoint,
    process: u32,
    secret: &[u8],
) -> Result<(), UpstreamError> {
    let address = endpoint.address;
    let broken = |source| UpstreamError::Broken { address, source };
    let stream = connect(address).await?;
    let mut leg = match &endpoint.tls {
        None => Leg::Plain(stream),
        Some(connector) => {
            let mut back = B::new(BackLogin {
                user: String::new(),
                password: None,
                database: String::new(),
                settings: Vec::new(),
                tls: true,
                proven: false,
            });
            let mut stream = stream;
            let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
            loop {
                match back.greet(&mut input, &mut out)? {
                    BackNeed::Tls => break,
                    BackNeed::More => {
                        stream.write_all_buf(&mut out).await.map_err(broken)?;
                        if stream.read_buf(&mut input).await.map_err(broken)? == 0 {
                            return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
                        }
                    }
                    BackNeed::Ready(_) | BackNeed::Failed { .. } => {
                        return Err(broken(std::io::Error::other("TLS was refused")));
                    }
                }
            }
            let secured = connector
                .connect(stream, &endpoint.server_name)
                .await
                .map_err(|source| UpstreamError::Tls { address, source })?;
            Leg::Client(Box::new(secured))
        }
    };
    leg.write_all(&B::cancel(process, secret))
        .await
        .map_err(broken)?;
    leg.flush().await.map_err(broken)?;
    // The server closes without a word; waiting for that keeps the request from being cut off.
    let mut nothing = [0_u8; 1];
    let _closed = timeout(PATIENCE, leg.read(&mut nothing)).await;
    Ok(())
}
