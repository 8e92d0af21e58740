//! What a database says to somebody who dials it directly and holds no credential. Asked by an
//! operator from where a workload is, so as to see that the database takes nobody but the agent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::model::UpstreamAddr;
use crate::tls::{TlsError, UpstreamConnector, UpstreamTls};
use crate::wire::{Back, BackLogin};

use super::dial::{Endpoint, UpstreamError, dial};

/// How long a connection may take to come about. A filter that drops is told from one that refuses
/// only by waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of it, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// There is no way: the network refuses, or drops.
    Unreachable,
    /// The redirect took the connection: the agent decides.
    LedToAgent,
    /// The database refuses this address, whatever the password (`pg_hba.conf`).
    Refused,
    /// It is not known. Never taken for closed: the next attempt may be let in.
    Unclear,
    /// Whoever has a password is let in.
    AsksPassword,
    /// Anybody is let in.
    Open,
}

impl Seen {
    /// Whether nobody but the agent is let in from here.
    pub fn is_closed(self) -> bool {
        match self {
            Seen::Unreachable | Seen::LedToAgent | Seen::Refused => true,
            Seen::Unclear | Seen::AsksPassword | Seen::Open => false,
        }
    }
}

/// What came of one address, and the database's words or the network's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// The address.
    pub address: SocketAddr,
    /// What came of it.
    pub seen: Seen,
    /// Why.
    pub told: String,
}

/// Dials a database as a role, without a credential: in clear and by TLS, since a database may tell
/// the two apart. The worse of the two counts. Certificates are not looked at: nothing is sent that
/// would have to be kept from an impostor.
///
/// # Errors
/// TLS cannot be set up on this machine.
pub async fn outsider<B: Back>(
    address: UpstreamAddr,
    user: &str,
    database: &str,
) -> Result<Outside, TlsError> {
    let outside = |(seen, told)| Outside {
        address: address.0,
        seen,
        told,
    };
    if let Some(before) = reach(address.0).await {
        return Ok(outside(before));
    }
    let mut worst: Option<(Seen, String)> = None;
    for mode in [UpstreamTls::Disable, UpstreamTls::Require] {
        let tls = UpstreamConnector::new(mode, None)?.map(std::sync::Arc::new);
        let login = BackLogin {
            user: user.to_owned(),
            password: None,
            database: database.to_owned(),
            settings: Vec::new(),
            tls: tls.is_some(),
            proven: false,
        };
        let endpoint = Endpoint {
            address,
            tls,
            server_name: address.0.ip().to_string(),
        };
        let way = match mode {
            UpstreamTls::Disable => "in clear",
            UpstreamTls::Require | UpstreamTls::VerifyFull => "by TLS",
        };
        let came = match dial::<B>(&endpoint, login).await {
            Ok(_logged_in) => Some((Seen::Open, "logged in without a password".to_owned())),
            Err(error) => judged(&error),
        };
        if let Some((seen, told)) = came
            && worst.as_ref().is_none_or(|(worst, _)| *worst < seen)
        {
            worst = Some((seen, format!("{way}: {told}")));
        }
    }
    let nothing = || {
        (
            Seen::Unclear,
            "it talks neither in clear nor by TLS".to_owned(),
        )
    };
    Ok(outside(worst.unwrap_or_else(nothing)))
}

/// Only a connection: `None` when it came about, and goes where it was dialled to.
async fn reach(address: SocketAddr) -> Option<(Seen, String)> {
    let stream = match timeout(PATIENCE, TcpStream::connect(address)).await {
        Err(_) => {
            let told = format!("no connection within {} s", PATIENCE.as_secs());
            return Some((Seen::Unreachable, told));
        }
        Ok(Err(error)) => return Some((Seen::Unreachable, error.to_string())),
        Ok(Ok(stream)) => stream,
    };
    match stream.local_addr() {
        Ok(local) if led_away(address.ip(), local.ip()) => Some((
            Seen::LedToAgent,
            "the connection was led to the agent: this process is labelled".to_owned(),
        )),
        Ok(_) => None,
        Err(error) => Some((Seen::Unclear, error.to_string())),
    }
}

/// A redirected connection has loopback's address on its near side, whatever was dialled. For a
/// database on loopback itself the two look alike.
fn led_away(dialled: IpAddr, local: IpAddr) -> bool {
    local.to_canonical().is_loopback() && !dialled.to_canonical().is_loopback()
}

/// What a failed login says. `None`: this way is not offered at all.
fn judged(error: &UpstreamError) -> Option<(Seen, String)> {
    let told = error.to_string();
    let (code, message) = match error {
        UpstreamError::Connect { .. } => return Some((Seen::Unreachable, told)),
        UpstreamError::Refused { code, message } => (code.as_str(), message.as_str()),
        UpstreamError::Slow { .. }
        | UpstreamError::Tls { .. }
        | UpstreamError::Order { .. }
        | UpstreamError::Broken { .. }
        | UpstreamError::Garbled(_) => return Some((Seen::Unclear, told)),
    };
    let seen = match code {
        // By our own half: the database has no TLS.
        "08006" => return None,
        // The file's name stands in the message in every language. Without it 28000 is said of a
        // role or of another method, which is behind the question for the address.
        "28000" if message.contains("pg_hba.conf") => Seen::Refused,
        "28000" | "28P01" => Seen::AsksPassword,
        // No such database, no right to connect to it, not accepting connections, an encoding
        // that the agent would not take: all said to who was let in.
        "3D000" | "42501" | "55000" | "0A000" => Seen::Open,
        _ => Seen::Unclear,
    };
    if code == "28P01" {
        // Of a password that is not configured only a session needs to know.
        return Some((seen, "it asks for a password".to_owned()));
    }
    Some((seen, format!("{message} (SQLSTATE {code})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_says_is_judged_by_its_code_and_never_taken_for_closed_when_unknown() {
        let table = [
            (
                "28000",
                "no pg_hba.conf entry for host \"10.0.0.1\"",
                Some(Seen::Refused),
            ),
            (
                "28000",
                "pg_hba.conf verweist die Verbindung",
                Some(Seen::Refused),
            ),
            (
                "28000",
                "role \"x\" does not exist",
                Some(Seen::AsksPassword),
            ),
            (
                "28P01",
                "the database asks for a password",
                Some(Seen::AsksPassword),
            ),
            ("3D000", "database \"x\" does not exist", Some(Seen::Open)),
            ("42501", "permission denied for database", Some(Seen::Open)),
            ("53300", "too many clients already", Some(Seen::Unclear)),
            (
                "57P03",
                "the database system is starting up",
                Some(Seen::Unclear),
            ),
            ("08006", "the database does not offer TLS", None),
        ];
        for (code, message, expected) in table {
            let error = UpstreamError::Refused {
                code: code.to_owned(),
                message: message.to_owned(),
            };
            assert_eq!(judged(&error).map(|(seen, _)| seen), expected, "{message}");
        }
    }

    #[test]
    fn only_what_is_certain_counts_as_closed() {
        let closed = [Seen::Unreachable, Seen::LedToAgent, Seen::Refused];
        for seen in [Seen::Unclear, Seen::AsksPassword, Seen::Open] {
            assert!(!seen.is_closed());
            // The worst of several decides, so what is not closed must outweigh what is.
            assert!(closed.iter().all(|one| one.is_closed() && *one < seen));
        }
    }

    #[test]
    fn a_connection_that_was_led_away_comes_from_loopback() {
        let table = [
            ("192.0.2.7", "127.0.0.1", true),
            ("2001:db8::7", "::1", true),
            ("::ffff:192.0.2.7", "::ffff:127.0.0.1", true),
            ("192.0.2.7", "192.0.2.1", false),
            ("127.0.0.9", "127.0.0.1", false),
        ];
        for (dialled, local, expected) in table {
            let led = led_away(dialled.parse().unwrap(), local.parse().unwrap());
            assert_eq!(led, expected, "{dialled}");
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_there_is_no_way() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let seen = outsider::<crate::wire::pg::Back>(UpstreamAddr(address), "svc", "app").await;
        assert_eq!(seen.unwrap().seen, Seen::Unreachable);
    }

    #[tokio::test]
    async fn what_closes_without_a_word_is_not_known_to_be_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for _ in 0..3 {
                drop(listener.accept().await.unwrap());
            }
        });
        let seen = outsider::<crate::wire::pg::Back>(UpstreamAddr(address), "svc", "app").await;
        assert_eq!(seen.unwrap().seen, Seen::Unclear);
        server.await.unwrap();
    }
}
