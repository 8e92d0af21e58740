//! Opening the database for a session: over a connection that was kept, or over a new one.

use std::time::Instant;

use crate::model::TargetName;
use crate::record::KeptFrom;
use crate::sql::Scope;
use crate::upstream::{Begun, Dialled, Endpoint, Key, UpstreamError, begun, dial, resume};
use crate::wire::{BackLogin, Wire};

use super::Shared;

/// A connection to the database that a session is to have.
pub(super) struct Wanted<'a> {
    pub(super) target: &'a TargetName,
    pub(super) endpoint: &'a Endpoint,
    pub(super) login: &'a BackLogin,
    /// It must be known where its unqualified names are looked for.
    pub(super) needs_path: bool,
    /// Whose it is, if it may be one that was kept.
    pub(super) key: Option<&'a Key>,
}

/// A connection to the database that a session has.
pub(super) struct Database {
    pub(super) dialled: Dialled,
    pub(super) begun: Begun,
    pub(super) opened: Instant,
    pub(super) kept: Option<KeptFrom>,
}

impl Wanted<'_> {
    /// Opens the database: over the connection of an earlier session of this identity, if one was kept and is
    /// as a new one would be, else over a new one.
    pub(super) async fn open<W: Wire>(&self, shared: &Shared) -> Result<Database, UpstreamError> {
        let Wanted {
            endpoint, login, ..
        } = *self;
        if let Some(parked) = self.key.and_then(|key| shared.warm.take(key)) {
            let (opened, from) = (parked.opened, parked.from);
            // One that is not fit is no reason to refuse anybody, and none to say a word.
            let resumed = resume::<W>(endpoint, parked, &login.user, &login.database).await;
            if let Some((dialled, begun)) = resumed {
                shared.metrics.upstream_taken();
                let kept = Some(KeptFrom {
                    session: from,
                    process: dialled.greeted.process,
                });
                return Ok(Database {
                    dialled,
                    begun,
                    opened,
                    kept,
                });
            }
        }
        let opened = Instant::now();
        let dialled = match dial::<W::Back>(endpoint, login.clone()).await {
            // What is kept for somebody who may come takes nobody's place who is here.
            Err(error) if error.is_full() && shared.warm.make_room(self.target).await => {
                dial::<W::Back>(endpoint, login.clone()).await
            }
            dialled => dialled,
        };
        let dialled = dialled?;
        let (dialled, begun) = match self.needs_path {
            true => begun::<W>(endpoint, dialled, &login.user, self.key.is_some()).await?,
            // Policies that come to need it later have names stand for whatever has them in any schema.
            false => (dialled, Begun::of_scope(Scope::unknown())),
        };
        Ok(Database {
            dialled,
            begun,
            opened,
            kept: None,
        })
    }
}
