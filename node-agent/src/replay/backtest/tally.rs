//! Pure. What a backtest found, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::turn::{Comes, Word};
use super::{BacktestOptions, Spot};
use crate::model::{SessionId, UnixMillis};
use crate::policy::PolicySet;
use crate::record::RecordedText;

/// Characters of a statement that an example shows.
const SHOWN: usize = 200;
/// References that are kept for a reason of silence.
const SPOTS: usize = 5;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Tally {
    /// Which policies judged.
    pub policy_version: String,
    /// Numbers.
    pub summary: Summary,
    /// Decisions that flip, the most frequent first within each kind.
    #[serde(serialize_with = "listed")]
    pub(super) flips: Groups,
    /// What would flip if what only observes were enforced.
    #[serde(serialize_with = "listed")]
    pub(super) observed: Groups,
    /// The same decision by another rule, with other masks or limits.
    #[serde(serialize_with = "listed")]
    pub(super) others: Groups,
    /// Statements that could not be judged, by the reason.
    pub(super) unjudged: BTreeMap<String, Reason>,
    /// What was refused then, and by no policy.
    pub(super) not_policy: BTreeMap<String, Reason>,
    /// Recordings that could not be read to their end.
    pub unreadable: BTreeMap<String, String>,
    #[serde(skip)]
    options: BacktestOptions,
}

type Groups = BTreeMap<Key, Group>;

/// Numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Sessions that were judged.
    pub sessions: u64,
    /// Decisions that were judged.
    pub judged: u64,
    /// Decisions that flip.
    pub flips: u64,
    /// Of these, those that become stricter.
    pub stricter: u64,
    /// Of these, those that become freer.
    pub freer: u64,
    /// Decisions that would flip if what only observes were enforced.
    pub observed: u64,
    /// The same decision by another rule, with other masks or limits.
    pub others: u64,
    /// Decisions that could not be judged, wholly or in part.
    pub unjudged: u64,
    /// What was refused then, and by no policy.
    pub not_policy: u64,
}

/// What makes a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    from: Word,
    to: Word,
    workload: String,
    what: Vec<&'static str>,
}

/// Flips of one kind: the same rules, the same workload.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Group {
    /// How many statements.
    pub(super) statements: u64,
    /// In so many sessions.
    #[serde(serialize_with = "number")]
    pub(super) sessions: BTreeSet<SessionId>,
    /// The first few.
    pub(super) examples: Vec<Example>,
}

/// A statement that flips.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Example {
    /// Finds it.
    pub(super) reference: Spot,
    /// When.
    pub(super) at: UnixMillis,
    /// Whose.
    pub(super) user: String,
    /// Where.
    pub(super) target: String,
    /// Its beginning.
    pub(super) statement: String,
    /// Why, in the words of the stricter side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// Why nothing can be said, how often, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Reason {
    /// How often.
    pub(super) count: u64,
    /// The first few.
    pub(super) references: Vec<Spot>,
}

/// A statement, as examples tell of it.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    pub(super) spot: Spot,
    pub(super) at: UnixMillis,
    pub(super) workload: String,
    pub(super) user: String,
    pub(super) target: String,
    pub(super) statement: String,
}

/// A statement's beginning, in one line.
pub(in crate::replay) fn beginning(text: &RecordedText) -> String {
    let text = match text {
        RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => text,
        RecordedText::Withheld { length, .. } => return format!("(withheld, {length} bytes)"),
    };
    let mut short = String::new();
    for word in text.split_whitespace() {
        if short.chars().count() > SHOWN {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    match short.char_indices().nth(SHOWN) {
        Some((at, _)) => {
            short.truncate(at);
            short.push('…');
            short
        }
        None => short,
    }
}

impl Tally {
    pub(super) fn new(set: &PolicySet, options: &BacktestOptions) -> Self {
        Tally {
            policy_version: set.version().to_string(),
            summary: Summary::default(),
            flips: Groups::new(),
            observed: Groups::new(),
            others: Groups::new(),
            unjudged: BTreeMap::new(),
            not_policy: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            options: options.clone(),
        }
    }

    pub(super) fn unreadable(&mut self, path: &Path, why: &str) {
        let name = path.display().to_string();
        self.unreadable.insert(name, why.to_owned());
    }

    pub(super) fn session(&mut self) {
        self.summary.sessions += 1;
    }

    pub(super) fn judged(&mut self) {
        self.summary.judged += 1;
    }

    pub(super) fn unjudged(&mut self, why: &str, spot: Option<Spot>) {
        self.summary.unjudged += 1;
        note(&mut self.unjudged, why, spot);
    }

    pub(super) fn not_policy(&mut self, why: &str, spot: Option<Spot>) {
        self.summary.not_policy += 1;
        note(&mut self.not_policy, why, spot);
    }

    pub(super) fn flip(&mut self, brief: &Brief, from: Word, to: Word, reason: Option<String>) {
        self.summary.flips += 1;
        match to.decision > from.decision {
            true => self.summary.stricter += 1,
            false => self.summary.freer += 1,
        }
        let most = self.options.examples;
        add(&mut self.flips, brief, key(brief, from, to), reason, most);
    }

    pub(super) fn observed(&mut self, brief: &Brief, from: Word, to: Word, reason: Option<String>) {
        self.summary.observed += 1;
        let most = self.options.examples;
        add(
            &mut self.observed,
            brief,
            key(brief, from, to),
            reason,
            most,
        );
    }

    pub(super) fn other(&mut self, brief: &Brief, from: Word, to: Word, what: Vec<&'static str>) {
        if !self.options.all_changes {
            return;
        }
        self.summary.others += 1;
        let key = Key {
            what,
            ..key(brief, from, to)
        };
        let most = self.options.examples;
        add(&mut self.others, brief, key, None, most);
    }
}

fn key(brief: &Brief, from: Word, to: Word) -> Key {
    Key {
        from,
        to,
        workload: brief.workload.clone(),
        what: Vec::new(),
    }
}

fn note(reasons: &mut BTreeMap<String, Reason>, why: &str, spot: Option<Spot>) {
    let reason = reasons.entry(why.to_owned()).or_default();
    reason.count += 1;
    if reason.references.len() < SPOTS {
        reason.references.extend(spot);
    }
}

fn add(groups: &mut Groups, brief: &Brief, key: Key, reason: Option<String>, most: usize) {
    let group = groups.entry(key).or_default();
    group.statements += 1;
    group.sessions.insert(brief.spot.session);
    if group.examples.len() < most {
        group.examples.push(Example {
            reference: brief.spot,
            at: brief.at,
            user: brief.user.clone(),
            target: brief.target.clone(),
            statement: brief.statement.clone(),
            reason,
        });
    }
}

impl Key {
    pub(super) fn from(&self) -> &Word {
        &self.from
    }

    pub(super) fn to(&self) -> &Word {
        &self.to
    }

    pub(super) fn workload(&self) -> &str {
        &self.workload
    }

    pub(super) fn what(&self) -> &[&'static str] {
        &self.what
    }
}

/// Groups of one kind beside each other, the largest first.
pub(super) fn ordered(groups: &Groups) -> Vec<(&Key, &Group)> {
    let mut all: Vec<_> = groups.iter().collect();
    let kind = |key: &Key| (key.from.decision, key.to.decision);
    all.sort_by_key(|(key, group)| (kind(key), std::cmp::Reverse(group.statements)));
    all
}

/// From what to what, of a group: for headings.
pub(super) fn kind(key: &Key) -> (Comes, Comes) {
    (key.from.decision, key.to.decision)
}

fn listed<S: serde::Serializer>(groups: &Groups, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct One<'a> {
        from: &'a Word,
        to: &'a Word,
        workload: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        what: &'a [&'static str],
        #[serde(flatten)]
        group: &'a Group,
    }
    serializer.collect_seq(ordered(groups).into_iter().map(|(key, group)| One {
        from: &key.from,
        to: &key.to,
        workload: &key.workload,
        what: &key.what,
        group,
    }))
}

fn number<S: serde::Serializer>(
    sessions: &BTreeSet<SessionId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(sessions.len() as u64)
}
