//! Where the unqualified names of a session that was just opened are looked for: the server is asked, since
//! the path may be set for the role, the database, both, or in a file, and may differ by tomorrow.

use std::time::Duration;

use tokio::time::timeout;

use crate::model::Dialect;
use crate::sql::{Analysis, Scope};
use crate::wire::Wire;

use super::dial::{Dialled, UpstreamError};
use super::probe::{self, Probe};
use super::{Endpoint, own};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The scope of the names of a session that was just opened as `role`. One question to the server, and
/// none where it reports its path by itself (PostgreSQL 18).
///
/// # Errors
/// The connection failed.
pub async fn begun<W: Wire>(
    endpoint: &Endpoint,
    dialled: Dialled,
    role: &str,
) -> Result<(Dialled, Scope), UpstreamError> {
    if W::DIALECT != Dialect::Postgres {
        return Ok((dialled, Scope::unknown()));
    }
    let mut reported = dialled.greeted.parameters.iter();
    if let Some((_, path)) = reported.find(|(name, _)| name == "search_path") {
        let scope = Scope::of_path(path, role);
        return Ok((dialled, scope));
    }
    let greeted = dialled.greeted.clone();
    let mut connection = Probe::<W>::new(dialled, endpoint.address);
    let mut path = None;
    let asked = connection.each(probe::PATH, |cells| {
        path = cells.first().copied().flatten().map(str::to_owned);
    });
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
    Ok((dialled, scope))
}

/// Whether a text calls anything whose name the server has to look for.
pub fn names_are_used(analysis: &Analysis) -> bool {
    analysis.judged().any(own::calls)
}
