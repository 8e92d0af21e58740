//! IO. The address of the admin pages, which an agent that drains still has.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// How often it is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// A draining agent has let go by then.
const PATIENCE: Duration = Duration::from_secs(45);

/// A listener, or the intention to have one.
#[derive(Debug)]
pub enum Claim {
    /// Bound.
    Had(TcpListener),
    /// Another process has it.
    Awaited(SocketAddr),
}

impl Claim {
    /// Takes the address when it is free.
    ///
    /// # Errors
    /// It can never be bound: taken is none.
    pub async fn on(address: SocketAddr) -> io::Result<Self> {
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Claim::Had(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::info!(%address, "the admin pages wait until the agent before this one is gone");
                Ok(Claim::Awaited(address))
            }
            Err(error) => Err(error),
        }
    }

    /// The listener, as soon as it can be had.
    ///
    /// # Errors
    /// As `on`.
    pub async fn listener(self) -> io::Result<TcpListener> {
        let address = match self {
            Claim::Had(listener) => return Ok(listener),
            Claim::Awaited(address) => address,
        };
        let begun = Instant::now();
        let mut said = false;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
            if !said && begun.elapsed() > PATIENCE {
                said = true;
                tracing::error!(
                    %address,
                    "no /readyz and no /metrics: another program has the admin address: stop it, or change listen.admin"
                );
            }
            sleep(AGAIN).await;
        }
    }
}
