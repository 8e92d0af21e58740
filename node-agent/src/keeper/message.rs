//! Pure. The words between keeper and worker. Each has a bound, and neither side is asked to trust
//! more than a message says.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::enrol::{Broken, Left, Standing};
use crate::identity::TokenFileError;
use crate::intercept::{Counters, Entries, Layer, Prefix};
use crate::model::{ClientAddr, Pid, Secret};
use crate::origin::Flow;

/// The longest message to the keeper, bytes: some tens of thousands of protected addresses.
pub(super) const TO_KEEPER: usize = 1 << 20;
/// The longest message to the worker, bytes: a report on some tens of thousands of cgroups.
pub(super) const TO_WORKER: usize = 8 << 20;

/// Which handed connection. Never given twice by one keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct TicketNumber(pub(super) u64);

/// Which question an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AskNumber(pub(super) u64);

/// What the keeper says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToWorker {
    /// The configuration that the keeper goes by. Said once, first: the file may be another by the
    /// time a later worker starts.
    Configured { file: PathBuf, text: String },
    /// Labels and listeners are in place. Beside it are the listening sockets for the command line
    /// and for the pages.
    Governing,
    /// A connection, beside this message as a descriptor. Nothing of it was read, and the kernel
    /// has confirmed whose it is.
    Handed {
        ticket: TicketNumber,
        client: ClientAddr,
        flow: Flow,
    },
    /// The answer to a question.
    Answer { to: AskNumber, answer: Answer },
    /// What the operator wants.
    Order(Order),
    /// To be answered with the same number, by a worker that lives.
    Beat { number: u64 },
}

/// What the operator wants of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Read the policies again.
    Reload,
    /// Another agent took over: the command line and the pages are its. Sessions go on.
    Retire,
    /// Stop: sessions end at their next idle moment, the rest after a grace.
    Drain,
    /// Stop now.
    Stop,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    Token(Result<Carried, TokenFileError>),
    Report(Box<Report>),
    Protect(Result<(), String>),
    Whose(Result<Option<String>, String>),
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToKeeper {
    /// It can serve; these addresses are the targets'. Said once, first.
    Ready { protect: Vec<Prefix> },
    /// It cannot: why, in words for the operator. Said instead.
    Failed { why: String },
    /// These connections are over.
    Ended { tickets: Vec<TicketNumber> },
    /// A question.
    Ask { number: AskNumber, ask: Ask },
    /// It lives.
    Beat { number: u64 },
}

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Ask {
    /// The token in the file that is this entry of the workload's configured sources, in the mount
    /// namespace of the process that dialled.
    Token { ticket: TicketNumber, source: usize },
    /// What is governed now.
    Report,
    /// Which workload the process of this number belongs to, that this user is said to run.
    Whose { pid: Pid, user: u32 },
    /// The targets' addresses have changed to these. Those that are no longer among them stay
    /// protected for a day.
    Protect { prefixes: Vec<Prefix> },
}

/// A token on its way from keeper to worker: the one secret that is ever serialised, into a buffer
/// that is overwritten after it was sent or read.
pub(super) struct Carried(pub(super) Secret<String>);

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Carried {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|token| Carried(Secret::new(token)))
    }
}

/// What the keeper knows of this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Labelled cgroups.
    pub governed: Vec<Governed>,
    /// How well each workload is governed: as its worst cgroup.
    pub standings: BTreeMap<String, Standing>,
    /// Why nothing counts as governed; `None`: the redirect holds.
    pub fault: Option<String>,
    /// What the canary did.
    pub canary: CanaryTotals,
    /// What of the redirect was found broken and put back since the keeper started.
    pub broken: Option<Broken>,
    /// Processes that left their labelled cgroups in the last hour.
    pub left: Vec<Left>,
    /// How many ever did.
    pub left_total: u64,
    /// How many connections past the agent were ended.
    pub cut: u64,
    /// What this kernel cannot do, a sentence each.
    pub degraded: Vec<String>,
    /// What not every kernel has, and whether this one does.
    pub layers: Vec<Layer>,
    /// The kernel programs' totals; `None` when they cannot be read.
    pub counters: Option<Counters>,
    /// The sizes of the maps; `None` when they cannot be read.
    pub entries: Option<Entries>,
    /// Connections closed unread, because nobody was redirected by their ends.
    pub unread: u64,
    /// Of these, those whose origin the kernel's table of sockets did not confirm.
    pub unconfirmed: u64,
    /// The keeper's process.
    pub keeper: u32,
    /// How many workers there were before this one.
    pub replaced: u64,
}

/// One labelled cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governed {
    /// Below the cgroup2 root.
    pub cgroup: String,
    /// Which workload.
    pub workload: String,
    /// How many network namespaces the agent listens in for it.
    pub namespaces: usize,
    /// `governed`, `partly governed` or `not governed`.
    pub state: String,
    /// Why it is less than governed, each with the mend; empty: governed.
    pub reasons: Vec<String>,
    /// What is open to it and does not lead round the agent.
    pub notes: Vec<String>,
}

/// What the canary did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryTotals {
    /// Its dials that reached the agent.
    pub dials: u64,
    /// How often it said that the redirect does not hold.
    pub failures: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_carried_whole_and_shown_nowhere() {
        let token = "ey.J\"\\\u{1f600}".to_owned();
        let said = ToWorker::Answer {
            to: AskNumber(7),
            answer: Answer::Token(Ok(Carried(Secret::new(token.clone())))),
        };
        assert!(!format!("{said:?}").contains("ey.J"), "{said:?}");
        let bytes = serde_json::to_vec(&said).unwrap();
        let heard: ToWorker = serde_json::from_slice(&bytes).unwrap();
        let ToWorker::Answer {
            answer: Answer::Token(Ok(carried)),
            ..
        } = heard
        else {
            panic!("another message came back");
        };
        assert_eq!(carried.0.expose(), &token);
    }

    #[test]
    fn a_message_with_more_in_it_than_is_known_is_none() {
        for text in [
            r#"{"ready":{"protect":[],"label":3}}"#,
            r#"{"ask":{"number":1,"ask":{"token":{"ticket":1,"source":0,"pid":1}}}}"#,
            r#"{"ask":{"number":1,"ask":"unlabel"}}"#,
            r#""governing""#,
            "",
            "null",
        ] {
            assert!(serde_json::from_str::<ToKeeper>(text).is_err(), "{text}");
        }
    }

    /// Whatever comes is understood to the last byte, or not at all.
    fn read<T: serde::de::DeserializeOwned + Serialize>(bytes: &[u8]) {
        if let Ok(message) = serde_json::from_slice::<T>(bytes) {
            let again = serde_json::to_vec(&message).unwrap();
            let heard: T = serde_json::from_slice(&again).unwrap();
            assert_eq!(serde_json::to_vec(&heard).unwrap(), again);
        }
    }

    #[test]
    fn fuzz_the_words_between_keeper_and_worker() {
        // Bytes alone rarely make a word: also words with bytes in them.
        let words = [
            r#"{"ready":{"protect":["10.0.0.0/8"]}}"#,
            r#"{"ended":{"tickets":[1,2]}}"#,
            r#"{"ask":{"number":1,"ask":{"token":{"ticket":1,"source":0}}}}"#,
            r#"{"ask":{"number":1,"ask":{"protect":{"prefixes":["::/0"]}}}}"#,
            r#"{"configured":{"file":"/a","text":"b"}}"#,
            r#"{"order":"retire"}"#,
            r#"{"answer":{"to":1,"answer":{"exec":{"Ok":"a"}}}}"#,
        ];
        bolero::check!()
            .with_type::<(u8, u8, Vec<u8>)>()
            .for_each(|(word, at, bytes)| {
                read::<ToKeeper>(bytes);
                read::<ToWorker>(bytes);
                let mut word = words[usize::from(*word) % words.len()].as_bytes().to_vec();
                let at = usize::from(*at) % word.len();
                word.splice(
                    at..(at + bytes.len()).min(word.len()),
                    bytes.iter().copied(),
                );
                read::<ToKeeper>(&word);
                read::<ToWorker>(&word);
            });
    }
}
