//! `approvals`: how long things wait, where they are kept, and who of this host may decide.

use std::path::Path;
use std::time::Duration;

use serde_saphyr::Location;

use super::Check;
use crate::config::raw::{RawApprovals, RawLocalReviewer};
use crate::config::resolved::{Approvals, Issuer, LocalReviewer};

const TIMEOUT: Duration = Duration::from_secs(10 * 60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
const TICKET: Duration = Duration::from_secs(15 * 60);
const LONGEST_TICKET: Duration = Duration::from_secs(60 * 60);
const PER_IDENTITY: u32 = 32;
const MOST_PER_IDENTITY: u32 = 1024;

impl Check<'_> {
    pub(super) fn approvals(
        &mut self,
        raw: &RawApprovals,
        state_dir: &Path,
        issuers: &[Issuer],
    ) -> Approvals {
        let timeout = self
            .duration("approvals.timeout", raw.timeout.as_ref())
            .unwrap_or(TIMEOUT);
        let ticket = self
            .duration("approvals.ticket", raw.ticket.as_ref())
            .unwrap_or(TICKET);
        for (key, value, most, given) in [
            ("approvals.timeout", timeout, LONGEST_TIMEOUT, &raw.timeout),
            ("approvals.ticket", ticket, LONGEST_TICKET, &raw.ticket),
        ] {
            if value > most {
                let at = given
                    .as_ref()
                    .map_or(Location::UNKNOWN, |text| text.referenced);
                self.fault(
                    at,
                    key,
                    format!("is longer than {} h", most.as_secs() / 3600),
                    "what is approved long before it runs was approved for another moment",
                );
            }
        }
        let dir = match raw.dir.as_ref() {
            None => state_dir.join("approvals"),
            Some(path) => {
                self.absolute_path("approvals.dir", path);
                path.value.clone()
            }
        };
        let per_identity = raw.per_identity.as_ref().map_or(PER_IDENTITY, |n| n.value);
        if let Some(given) = &raw.per_identity
            && !(1..=MOST_PER_IDENTITY).contains(&given.value)
        {
            self.fault(
                given.referenced,
                "approvals.per_identity",
                format!("is not between 1 and {MOST_PER_IDENTITY}"),
                "write how many requests of one user may be open at once",
            );
        }
        let mut local: Vec<LocalReviewer> = Vec::new();
        for one in &raw.local {
            let reviewer = self.local_reviewer(one.referenced, &one.value);
            if local.iter().any(|other| other.uid == reviewer.uid) {
                self.fault(
                    one.referenced,
                    "approvals.local[].uid",
                    format!("{} is here twice", reviewer.uid),
                    "one user is one reviewer",
                );
            }
            local.push(reviewer);
        }
        Approvals {
            timeout,
            dir,
            ticket,
            per_identity: per_identity as usize,
            local,
            webhooks: self.webhooks(&raw.webhooks),
            console: raw.console.as_ref().map(|raw| self.console(raw, issuers)),
        }
    }

    fn local_reviewer(&mut self, at: Location, raw: &RawLocalReviewer) -> LocalReviewer {
        let uid = raw.uid.as_ref().map(|uid| uid.value);
        if uid.is_none() {
            self.fault(
                at,
                "approvals.local[].uid",
                "is missing",
                "it is the number that `id -u` says of that user",
            );
        }
        LocalReviewer {
            uid: uid.unwrap_or(u32::MAX),
            name: self.required(at, "approvals.local[].name", raw.name.as_ref()),
            also: raw.also.iter().map(|name| name.value.clone()).collect(),
            groups: raw.groups.iter().map(|group| group.value.clone()).collect(),
        }
    }
}
