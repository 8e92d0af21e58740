//! IO. Between two sessions of one connection: it is made as new behind the first, and asked behind the second's
//! login whether a new one would be the same.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::model::Dialect;
use crate::sql::Scope;
use crate::wire::{Reset, ResetNeed, Wire};

use super::dial::Dialled;
use super::kept::{Parked, Warm};
use super::path::Begun;
use super::probe::{self, Probe};
use super::{Endpoint, Leg};

/// How long the reset may take.
const RESET: Duration = Duration::from_secs(2);
/// How long the answer of a kept connection is waited for: a server that is gone without a word must not
/// keep a client waiting that a new connection would have served.
const ANSWER: Duration = Duration::from_secs(1);

/// What the settings of a connection were made of when it began: its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings([u8; 32]);

impl Settings {
    /// That of what the server says.
    pub fn of(said: &str) -> Self {
        Settings(*blake3::hash(said.as_bytes()).as_bytes())
    }
}

/// Makes a connection as new, and keeps it; one that does not become so is closed. `since`: what it reported
/// after its login, the last of each.
pub async fn park<W: Wire>(
    warm: &Warm,
    mut parked: Parked,
    since: &[(String, String)],
    keep: Duration,
) {
    let reset = reset::<W>(&mut parked.leg, &parked.greeted.parameters, since);
    let clean = matches!(timeout(RESET, reset).await, Ok(true));
    let unfit = match clean {
        true => warm.put(parked, keep),
        false => Some(parked),
    };
    if let Some(unfit) = unfit {
        unfit.close().await;
    }
}

async fn reset<W: Wire>(
    leg: &mut Leg,
    greeted: &[(String, String)],
    since: &[(String, String)],
) -> bool {
    let mut reset = W::Reset::new(greeted, since);
    let (mut input, mut out) = (BytesMut::with_capacity(512), BytesMut::with_capacity(32));
    loop {
        match reset.step(&mut input, &mut out) {
            Ok(ResetNeed::Clean) => return true,
            Ok(ResetNeed::More) => {}
            Err(garbled) => {
                tracing::debug!(%garbled, "a connection is not kept");
                return false;
            }
        }
        if !out.is_empty() {
            if leg.write_all(&out).await.is_err() || leg.flush().await.is_err() {
                return false;
            }
            out.clear();
        }
        // What is held is bounded by the machine: it takes whole messages, and no long ones.
        match leg.read_buf(&mut input).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// A kept connection for a new session, if it is alive and as a new one would be: of this role, in this
/// database, with settings made of the same, and let in. `None`: it is not, and is closed; a new one is to be
/// dialled, which says why if there is a why.
pub async fn resume<W: Wire>(
    endpoint: &Endpoint,
    mut parked: Parked,
    role: &str,
    database: &str,
) -> Option<(Dialled, Begun)> {
    // Nothing is understood of other databases' settings.
    if W::DIALECT != Dialect::Postgres {
        return None;
    }
    if !parked.leg.is_quiet() || parked.leg.rehome().is_err() {
        return None;
    }
    let Parked {
        leg,
        greeted,
        settings,
        ..
    } = parked;
    let dialled = Dialled {
        leg,
        greeted: greeted.clone(),
        rest: BytesMut::new(),
    };
    let mut connection = Probe::<W>::new(dialled, endpoint.address).answers_only();
    let mut path = None;
    let asked = connection.each(probe::STANDS, |cells| {
        let [said, made_of, as_whom, where_, let_in] = cells else {
            return;
        };
        let same = made_of.map(Settings::of) == Some(settings)
            && *as_whom == Some(role)
            && *where_ == Some(database)
            && *let_in == Some("t");
        path = said.filter(|_| same).map(str::to_owned);
    });
    let answered = timeout(ANSWER, asked).await;
    let Some(path) = path.filter(|_| matches!(answered, Ok(Ok(())))) else {
        let _ = timeout(ANSWER, connection.close()).await;
        return None;
    };
    let (leg, rest) = connection.into_parts();
    // Bytes behind the answer are no answer.
    if !rest.is_empty() {
        return None;
    }
    let begun = Begun {
        scope: Scope::of_path(&path, role),
        settings: Some(settings),
    };
    Some((Dialled { leg, greeted, rest }, begun))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::super::kept::tests::{parked, said, somebody};
    use super::*;
    use crate::model::UpstreamAddr;
    use crate::wire::pg::Pg;

    const LONG: Duration = Duration::from_secs(60);
    const ASKED: &[u8] = b"Q\0\0\0\x10DISCARD ALL\0";
    const DONE: &[u8] = b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05I";
    const GOODBYE: &[u8] = b"X\0\0\0\x04";

    async fn hears(server: &mut TcpStream, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, expected);
    }

    #[tokio::test]
    async fn a_connection_is_kept_only_behind_a_clean_reset() {
        let no = b"E\0\0\0\x1aSERROR\0VERROR\0C25001\0\0Z\0\0\0\x05I";
        for (what, answer, kept) in [
            ("clean", DONE.to_vec(), true),
            ("refused", no.to_vec(), false),
            ("in a transaction", [&DONE[..22], b"T"].concat(), false),
            ("more behind it", [DONE, b"N"].concat(), false),
            ("no protocol", b"HTTP/1.1 200 OK".to_vec(), false),
        ] {
            let warm = Warm::default();
            let key = somebody(&warm);
            let (one, mut server) = parked(&key, 1).await;
            let serve = async {
                hears(&mut server, ASKED).await;
                server.write_all(&answer).await.unwrap();
                server
            };
            let (server, ()) = tokio::join!(serve, park::<Pg>(&warm, one, &[], LONG));
            assert_eq!(warm.count() == 1, kept, "{what}");
            let (said, ()) = tokio::join!(said(server), warm.end());
            assert_eq!(said, GOODBYE, "{what}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_gone_or_silent_is_not_waited_for() {
        let warm = Warm::default();
        let key = somebody(&warm);
        let (one, server) = parked(&key, 1).await;
        drop(server);
        park::<Pg>(&warm, one, &[], LONG).await;
        let (two, server) = parked(&key, 2).await;
        let begun = std::time::Instant::now();
        let (said, ()) = tokio::join!(said(server), park::<Pg>(&warm, two, &[], LONG));
        assert!(begun.elapsed() < RESET * 2);
        assert_eq!(said, [ASKED, GOODBYE].concat());
        assert_eq!(warm.count(), 0);
    }

    /// The answer to the question whether a connection is as a new one would be.
    fn answer(cells: [&str; 5]) -> Vec<u8> {
        let mut head = b"\0\x05".to_vec();
        let mut row = b"\0\x05".to_vec();
        for cell in cells {
            head.extend(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
            row.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
            row.extend(cell.as_bytes());
        }
        let frame = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[kind], &length[..], body].concat()
        };
        let tag = frame(b'C', b"SELECT 1\0");
        [
            frame(b'T', &head),
            frame(b'D', &row),
            tag,
            frame(b'Z', b"I"),
        ]
        .concat()
    }

    #[tokio::test]
    async fn a_kept_connection_is_taken_only_if_a_new_one_would_be_the_same() {
        let good = ["public", "", "svc", "app", "t"];
        let with = |at: usize, cell: &'static str| {
            let mut cells = good;
            cells[at] = cell;
            answer(cells)
        };
        let notice = b"N\0\0\0\x1cSNOTICE\0VNOTICE\0C00000\0\0";
        let report = b"S\0\0\0\x11TimeZone\0CET\0";
        for (what, said, taken) in [
            ("the same", answer(good), true),
            ("other settings", with(1, "1 0/0/7/{work_mem=7MB}"), false),
            ("another role", with(2, "other"), false),
            ("another database", with(3, "other"), false),
            ("not let in", with(4, "f"), false),
            ("nobody knows", with(4, ""), false),
            ("a notice", [&notice[..], &answer(good)].concat(), false),
            (
                "a setting that changed",
                [&report[..], &answer(good)].concat(),
                false,
            ),
            (
                "more behind it",
                [&answer(good)[..], notice].concat(),
                false,
            ),
            (
                "an error",
                b"E\0\0\0\x1aSERROR\0VERROR\0C42501\0\0Z\0\0\0\x05I".to_vec(),
                false,
            ),
            ("half of it", answer(good)[..40].to_vec(), false),
        ] {
            let warm = Warm::default();
            let key = somebody(&warm);
            let (one, mut server) = parked(&key, 1).await;
            let endpoint = Endpoint {
                address: UpstreamAddr("127.0.0.1:5432".parse().unwrap()),
                tls: None,
                server_name: String::new(),
            };
            let serve = async {
                let mut asked = [0; 64];
                assert!(server.read(&mut asked).await.unwrap() > 0);
                server.write_all(&said).await.unwrap();
                if what == "half of it" {
                    server.shutdown().await.unwrap();
                }
            };
            let resume = resume::<Pg>(&endpoint, one, "svc", "app");
            let ((), resumed) = tokio::join!(serve, resume);
            assert_eq!(resumed.is_some(), taken, "{what}");
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_has_said_anything_is_not_asked() {
        let warm = Warm::default();
        let key = somebody(&warm);
        let endpoint = Endpoint {
            address: UpstreamAddr("127.0.0.1:5432".parse().unwrap()),
            tls: None,
            server_name: String::new(),
        };
        let (mut one, mut server) = parked(&key, 1).await;
        server.write_all(b"N").await.unwrap();
        while one.leg.is_quiet() {
            tokio::task::yield_now().await;
        }
        server.write_all(b"N").await.unwrap();
        drop(server);
        assert!(resume::<Pg>(&endpoint, one, "svc", "app").await.is_none());
    }
}
