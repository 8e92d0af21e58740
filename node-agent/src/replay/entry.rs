//! IO. What one session came to, read from its recording without parsing what repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::filter::Ruling;
use super::raw::{Piece, Raw};
use super::{ReplayError, touched, words};
use crate::model::{SessionId, TargetName, UnixMillis};
use crate::record::{
    Closed, Decided, Event, Finished, Identities, LineKind, Login, Skim, Totals, Why,
};
use crate::sql::Touch;

/// How many different rules, tables and errors of one session are kept, each.
const NAMES: usize = 4096;
/// The longest name that is kept, bytes.
const NAME: usize = 1024;

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The session.
    pub session: SessionId,
    /// When it began.
    pub began: UnixMillis,
    /// The workload's name.
    pub workload: String,
    /// The user's subject, once logged in.
    pub user: Option<String>,
    /// The user's issuer.
    pub issuer: Option<String>,
    /// The user's groups.
    pub groups: Vec<String>,
    /// The target.
    pub target: Option<TargetName>,
    /// The database.
    pub database: Option<String>,
    /// The role at the database.
    pub role: Option<String>,
    /// Sums up to now.
    pub totals: Totals,
    /// The most rows that one statement delivered.
    pub most_rows: u64,
    /// Statements by the rule that spoke of them, or whose mask was applied: `policy/rule`.
    pub rules: BTreeMap<String, u64>,
    /// The tables that were named, and how they were to be touched, whether or not it was allowed.
    pub tables: BTreeMap<String, BTreeSet<Touch>>,
    /// Errors by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
    /// There are more rules, tables or errors than are kept here: it fits any question about them.
    pub beyond: bool,
    /// When its last block was written.
    pub last: UnixMillis,
    /// When it ended.
    pub ended: Option<UnixMillis>,
    /// The one reason.
    pub why: Option<Why>,
    /// It is open now.
    pub live: bool,
    /// Something in the file was changed.
    pub damaged: bool,
    /// The login was refused.
    pub login_refused: bool,
    /// To whom it is sealed; empty: to nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed_to: Vec<String>,
    /// It was not opened, or not all of it: what was said in it is not known here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unopened: bool,
}

impl Entry {
    /// Reads one recording, verifying it. Of what is sealed to others it knows what that says in clear.
    pub fn of(path: &Path, identities: &Identities) -> Result<Self, ReplayError> {
        let mut raw = Raw::open(path, identities)?;
        let header = raw.header();
        let mut entry = Entry {
            session: header.session,
            began: header.began,
            workload: String::new(),
            user: None,
            issuer: None,
            groups: Vec::new(),
            target: None,
            database: None,
            role: None,
            totals: Totals::default(),
            most_rows: 0,
            rules: BTreeMap::new(),
            tables: BTreeMap::new(),
            errors: BTreeMap::new(),
            beyond: false,
            last: header.began,
            ended: None,
            why: None,
            live: false,
            damaged: false,
            login_refused: false,
            sealed_to: Vec::new(),
            unopened: false,
        };
        let mut skim = Skim::default();
        while let Some((head, piece)) = raw.piece()? {
            entry.last = entry.last.max(head.at);
            let lines = match piece {
                Piece::Lines(lines) => lines,
                Piece::Sealed(standing) => {
                    entry.unopened = true;
                    entry.totals = standing.totals;
                    entry.ended = head.last.then_some(head.at);
                    continue;
                }
            };
            for line in super::raw::lines(&lines) {
                entry.line(&mut skim, line);
            }
        }
        entry.sealed_to = raw.recipients().iter().map(ToString::to_string).collect();
        entry.live = raw.open_now();
        entry.damaged = raw.damage().is_some();
        Ok(entry)
    }

    fn line(&mut self, skim: &mut Skim, line: &[u8]) {
        let passed = skim.pass(line);
        match (passed.kind, &passed.base) {
            // What it touches was counted when it was first decided.
            (LineKind::Again | LineKind::Like, Some(base)) => {
                if let Some(decided) = base.decided() {
                    self.judged(decided);
                }
            }
            (LineKind::Decided, Some(base)) => {
                if let Some(decided) = base.decided() {
                    self.judged(decided);
                    self.touched(decided);
                }
            }
            (LineKind::Rows | LineKind::Note, _) => {}
            (
                LineKind::Began
                | LineKind::Login
                | LineKind::Decided
                | LineKind::Again
                | LineKind::Like
                | LineKind::Finished
                | LineKind::Closed
                | LineKind::Other,
                _,
            ) => self.event(passed.event()),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Began(began) => {
                self.began = began.at;
                self.workload = began.workload.name.to_string();
                self.target = Some(began.target);
            }
            Event::Login(login) => match login.login {
                Login::Admitted {
                    principal,
                    database,
                    role,
                    ..
                } => {
                    self.user = Some(principal.user.subject);
                    self.issuer = Some(principal.user.issuer);
                    self.groups = principal.user.groups;
                    self.database = Some(database);
                    self.role = Some(role);
                }
                Login::Refused(_) => self.login_refused = true,
            },
            Event::Decided(decided) => {
                self.judged(&decided);
                self.touched(&decided);
            }
            Event::Finished(finished) => self.finished(&finished),
            Event::Closed(Closed { at, why, .. }) => {
                self.ended = Some(at);
                self.why = Some(why);
            }
            Event::Rows(_) | Event::Note(_) | Event::Unknown(_) => {}
        }
    }

    fn judged(&mut self, decided: &Decided) {
        self.totals.decided(&decided.decision);
        touched::rules(&decided.decision, &mut |rule| {
            count(&mut self.rules, touched::rule_name(rule), &mut self.beyond);
        });
    }

    fn touched(&mut self, decided: &Decided) {
        touched::relations(&decided.analysis, &mut |used| {
            let name = touched::name(&used.relation);
            if let Some(touches) = self.tables.get_mut(&*name) {
                touches.insert(used.touch);
            } else if self.tables.len() < NAMES && name.len() <= NAME {
                self.tables
                    .insert(name.into_owned(), BTreeSet::from([used.touch]));
            } else {
                self.beyond = true;
            }
        });
    }

    fn finished(&mut self, finished: &Finished) {
        self.totals.finished(finished);
        self.most_rows = self.most_rows.max(finished.rows);
        if let Some((code, _)) = &finished.error {
            count(&mut self.errors, code.clone(), &mut self.beyond);
        }
        let mut masks: Vec<_> = finished.masked.iter().map(|(_, mask)| mask).collect();
        masks.dedup();
        for mask in masks {
            count(&mut self.rules, touched::rule_name(mask), &mut self.beyond);
        }
    }

    /// Is there a statement of which this was decided?
    pub(super) fn has(&self, ruling: Ruling) -> bool {
        let Totals {
            statements,
            denied,
            held,
            ..
        } = self.totals;
        match ruling {
            Ruling::Allow => statements > denied.saturating_add(held),
            Ruling::Hold => held > 0,
            Ruling::Deny => denied > 0 || self.login_refused,
        }
    }

    /// How it ended, in a word or two.
    pub(super) fn end(&self) -> &'static str {
        match (&self.why, self.damaged, self.live) {
            (_, true, _) => "DAMAGED",
            (_, false, false) if self.unopened => "sealed",
            (_, false, true) if self.unopened => "sealed, open",
            (Some(why), false, _) => words::why_short(why),
            (None, false, true) => "open",
            (None, false, false) => "no close",
        }
    }
}

fn count(names: &mut BTreeMap<String, u64>, name: String, beyond: &mut bool) {
    if let Some(known) = names.get_mut(&name) {
        *known += 1;
    } else if names.len() < NAMES && name.len() <= NAME {
        names.insert(name, 1);
    } else {
        *beyond = true;
    }
}
