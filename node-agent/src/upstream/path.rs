//! Where the unqualified names of a session that was just opened are looked for: the server is asked, since
//! the path may be set for the role, the database, both, or in a file, and may differ by tomorrow.

use std::time::Duration;

use tokio::time::timeout;

use crate::model::Dialect;
use crate::sql::{Analysis, Scope};
use crate::wire::Wire;

use super::dial::{Dialled, UpstreamError};
use super::probe::{self, Probe};
use super::renew::Settings;
use super::{CatalogueError, Endpoint, own};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a session begins with.
#[derive(Debug)]
pub struct Begun {
    /// Where its unqualified names are looked for.
    pub scope: Scope,
    /// What its settings were made of; `None`: nobody asked, or the server does not say.
    pub settings: Option<Settings>,
}

impl Begun {
    /// That of a session whose connection will not be kept.
    pub fn of_scope(scope: Scope) -> Self {
        Begun {
            scope,
            settings: None,
        }
    }
}

/// What a session that was just opened as `role` begins with; of its settings only where it may be kept for
/// another. One question to the server, and none where it reports its path by itself (PostgreSQL 18) and
/// nothing else is to be known.
///
/// # Errors
/// The connection failed.
pub async fn begun<W: Wire>(
    endpoint: &Endpoint,
    dialled: Dialled,
    role: &str,
    keeps: bool,
) -> Result<(Dialled, Begun), UpstreamError> {
    if W::DIALECT != Dialect::Postgres {
        return Ok((dialled, Begun::of_scope(Scope::unknown())));
    }
    let mut reported = dialled.greeted.parameters.iter();
    let reported = reported.find(|(name, _)| name == "search_path");
    if !keeps && let Some((_, path)) = reported {
        let scope = Scope::of_path(path, role);
        return Ok((dialled, Begun::of_scope(scope)));
    }
    let greeted = dialled.greeted.clone();
    let mut connection = Probe::<W>::new(dialled, endpoint.address);
    let (mut path, mut settings) = (None, None);
    let asked = async {
        if keeps {
            let asked = connection.each(probe::BEGINS, |cells| {
                path = cells.first().copied().flatten().map(str::to_owned);
                settings = cells.get(1).copied().flatten().map(Settings::of);
            });
            match asked.await {
                // A server that does not show the settings of roles is asked for the path alone.
                Err(CatalogueError::Refused(_)) => {}
                other => return other,
            }
        }
        let asked = connection.each(probe::PATH, |cells| {
            path = cells.first().copied().flatten().map(str::to_owned);
        });
        asked.await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Err(UpstreamError::Broken {
                address: endpoint.address,
                source: std::io::Error::other(error.to_string()),
            });
        }
        Err(_elapsed) => {
            return Err(UpstreamError::Slow {
                address: endpoint.address,
                seconds: PATIENCE.as_secs(),
            });
        }
    }
    let (leg, rest) = connection.into_parts();
    let scope = path.map_or_else(Scope::unknown, |path| Scope::of_path(&path, role));
    let dialled = Dialled { leg, greeted, rest };
    Ok((dialled, Begun { scope, settings }))
}

/// Whether a text calls anything whose name the server has to look for.
pub fn names_are_used(analysis: &Analysis) -> bool {
    analysis.judged().any(own::calls)
}
