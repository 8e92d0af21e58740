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
/// after its login, in order.
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
