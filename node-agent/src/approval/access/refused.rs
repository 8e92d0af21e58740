//! What was refused lately and could be asked for, by the reference that the client was given: so that it
//! can ask from another connection. Bounded for each identity and in all; what falls out is asked for with
//! the statement itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::approval::Shown;
use crate::model::{Principal, Reference, TargetName};
use crate::record::RecordedCell;

/// Refusals of one identity in one workload.
const OWN: usize = 16;
/// Refusals in all.
const ALL: usize = 1024;
/// A longer statement is not kept, bytes: its reviewers see by its reference where it is recorded.
const LONGEST: usize = 8 << 10;

/// A refused statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Where.
    pub target: TargetName,
    /// In which database.
    pub database: String,
    /// As which role.
    pub role: String,
    /// The policies that could be asked for, in order.
    pub policies: Vec<Arc<str>>,
    /// The statement, or why it cannot be shown.
    pub statement: Result<Shown, String>,
}

/// Refusals that can be asked about.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    issuer: String,
    subject: String,
    workload: Arc<str>,
    reference: Reference,
    refused: Arc<Refused>,
}

impl Entry {
    fn is_of(&self, who: &Principal) -> bool {
        self.subject == who.user.subject
            && self.issuer == who.user.issuer
            && self.workload == who.workload.name
    }
}

impl Refusals {
    /// Keeps one. Its statement is left out where it is long.
    pub fn keep(&self, who: &Principal, reference: Reference, mut refused: Refused) {
        let long = |shown: &Shown| {
            let names = [&shown.tables, &shown.functions, &shown.kinds];
            let names = names.into_iter().flatten().map(String::len);
            let params = shown.params.iter().map(|cell| match cell {
                RecordedCell::Text(text) | RecordedCell::Binary(text) => text.len(),
                RecordedCell::Begins { text, .. } => text.len(),
                RecordedCell::Null | RecordedCell::Long(_) => 8,
            });
            shown.text.len() + names.sum::<usize>() + params.sum::<usize>() > LONGEST
        };
        if refused.statement.as_ref().is_ok_and(long) {
            refused.statement =
                Err("it is longer than what is kept of a refusal (8 KiB)".to_owned());
        }
        let entry = Entry {
            issuer: who.user.issuer.clone(),
            subject: who.user.subject.clone(),
            workload: who.workload.name.clone(),
            reference,
            refused: Arc::new(refused),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is refused often forgets what is their own first.
        if all.iter().filter(|entry| entry.is_of(who)).count() >= OWN
            && let Some(oldest) = all.iter().position(|entry| entry.is_of(who))
        {
            all.remove(oldest);
        }
        if all.len() >= ALL {
            all.pop_front();
        }
        all.push_back(entry);
    }

    /// What was refused under a reference, to the same identity in the same workload and to nobody else.
    pub fn of(&self, who: &Principal, reference: Reference) -> Option<Arc<Refused>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .iter()
            .find(|entry| entry.reference == reference && entry.is_of(who));
        found.map(|entry| entry.refused.clone())
    }
}
