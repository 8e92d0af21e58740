//! Pure. What a ledger says, as lines of JSON; the first line of a block signs it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::key::{Fingerprint, NodeKey, PublicKey};
use crate::model::{ApprovalId, Reference, SessionId, UnixMillis};
use crate::record::chain::Chain;

/// What is signed begins with this, so that it is never a signature of anything else.
const DOMAIN: &[u8] = b"node-agent ledger, block\0";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The first of a segment.
    Opened {
        /// Its own name.
        segment: SegmentId,
        /// The key that signs it.
        key: Fingerprint,
    },
    /// A process began to write here.
    Started {
        /// Who.
        by: By,
        /// The program's version.
        version: String,
        /// Bytes behind the last whole block, left by a writer that was killed, and taken away.
        #[serde(default, skip_serializing_if = "is_zero")]
        torn: u64,
    },
    /// When the block was sealed, by both clocks. The first of every block.
    Clock {
        /// The wall clock.
        at: UnixMillis,
        /// Milliseconds since the machine was started.
        boot: u64,
    },
    /// How far another segment, which nobody wrote at that moment, had come.
    Sees {
        /// Which.
        segment: SegmentId,
        /// Its head.
        #[serde(flatten)]
        mark: Mark,
    },
    /// A session's recording is about to be made.
    Began {
        /// Whose.
        session: SessionId,
        /// Of which workload.
        workload: Arc<str>,
    },
    /// An open recording grew.
    Head {
        /// Whose.
        session: SessionId,
        /// Its head, as written.
        #[serde(flatten)]
        mark: Mark,
    },
    /// A recording is about to be closed.
    Closed {
        /// Whose.
        session: SessionId,
        /// Its last head, with the block that closes it.
        #[serde(flatten)]
        mark: Mark,
    },
    /// A recording could not go on. What is there stays.
    GivenUp {
        /// Whose.
        session: SessionId,
        /// Its last head; none: nothing was ever written.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<Mark>,
    },
    /// A recording that a killed agent left was taken up by the next one.
    Recovered {
        /// Whose.
        session: SessionId,
        /// Its head from now on.
        #[serde(flatten)]
        mark: Mark,
        /// Bytes of a torn block that were taken away.
        torn: u64,
    },
    /// A tombstone: a recording is about to be removed.
    Pruned {
        /// Whose.
        session: SessionId,
        /// For what.
        rule: Rule,
        /// By whom.
        by: By,
        /// Its last head.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<Mark>,
        /// Whether it lies in the archive too; none: there was no archive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        archived: Option<Archived>,
    },
    /// A tombstone: a segment is about to be removed, of whose sessions no recording is left.
    Retired {
        /// Which.
        segment: SegmentId,
        /// Its last head.
        #[serde(flatten)]
        mark: Mark,
    },
    /// A step of a request for approval. Nothing hangs on it in the ledger: it is here so that it can
    /// be neither changed nor left out.
    Approval {
        /// Which request.
        approval: ApprovalId,
        /// Of which statement.
        of: Reference,
        /// What happened.
        step: serde_json::Value,
    },
    /// What was announced before this is written.
    Written,
    /// The segment is full; another one follows.
    Rolled,
    /// The process stopped in order.
    Stopped,
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What became of a copy in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Archived {
    /// It lies there.
    Copy {
        /// Since when.
        at: UnixMillis,
        /// Under which name.
        object: Arc<str>,
    },
    /// There is none.
    Not,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The agent itself.
    Agent,
    /// A command of an operator.
    Operator,
}

/// Why a recording was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `recording.retention`.
    Age,
    /// `recording.max_bytes`.
    Size,
    /// `recording.workload_max_bytes`.
    Quota,
    /// `recording.archive.keep_local`.
    Archive,
    /// The disk was nearly full.
    Space,
}

impl Rule {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Rule::Age => "recording.retention",
            Rule::Size => "recording.max_bytes",
            Rule::Quota => "recording.workload_max_bytes",
            Rule::Archive => "recording.archive.keep_local",
            Rule::Space => "a disk that was nearly full",
        }
    }
}

/// How far a file had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Blocks.
    pub blocks: u64,
    /// Bytes up to the end of the last of them.
    pub bytes: u64,
    /// The hash that stands for all of it.
    pub hash: Sum,
}

impl Mark {
    /// A chain's head.
    pub fn of(chain: &Chain) -> Mark {
        Mark {
            blocks: chain.blocks(),
            bytes: chain.offset(),
            hash: Sum(*chain.hash()),
        }
    }
}

/// A hash of a chain, hex in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum(pub [u8; 32]);

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sum {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        let hash = blake3::Hash::from_hex(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Sum(*hash.as_bytes()))
    }
}

/// A segment's name: 64 random bits, printed `l-` and sixteen hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l-{:016x}", self.0)
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SegmentId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("l-")
            .filter(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(SegmentId)
            .ok_or("a segment is named l- and sixteen hex digits")
    }
}

impl Serialize for SegmentId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SegmentId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The first line of a block.
#[derive(Serialize, Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    signature: std::borrow::Cow<'a, str>,
}

/// Where a block stands in its segment; what its signature binds its lines to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// The chain's hash before it: header and all blocks before.
    pub(super) previous: [u8; 32],
    pub(super) number: u64,
    pub(super) at: UnixMillis,
    pub(super) last: bool,
}

impl Seat {
    fn message(&self, lines: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(DOMAIN.len() + 32 + 17 + lines.len());
        message.extend_from_slice(DOMAIN);
        message.extend_from_slice(&self.previous);
        message.extend_from_slice(&self.number.to_le_bytes());
        message.extend_from_slice(&self.at.0.to_le_bytes());
        message.push(u8::from(self.last));
        message.extend_from_slice(lines);
        message
    }

    /// The lines with the line that signs them before them.
    pub(super) fn sign(&self, key: &NodeKey, lines: &[u8]) -> Vec<u8> {
        let signature = key.sign(&self.message(lines));
        let mut signed = format!("{{\"signature\":\"{signature}\"}}\n").into_bytes();
        signed.extend_from_slice(lines);
        signed
    }

    /// The lines behind the signature, if it is by this key.
    pub(super) fn verify<'a>(&self, key: &PublicKey, block: &'a [u8]) -> Option<&'a [u8]> {
        let (signed, lines) = split(block)?;
        key.signed(&self.message(lines), &signed.signature)
            .then_some(lines)
    }
}

/// The lines behind the signature, whoever it is by.
pub(super) fn unverified(block: &[u8]) -> Option<&[u8]> {
    Some(split(block)?.1)
}

fn split(block: &[u8]) -> Option<(Signed<'_>, &[u8])> {
    let end = memchr::memchr(b'\n', block)?;
    let (first, rest) = block.split_at_checked(end)?;
    Some((serde_json::from_slice(first).ok()?, rest.get(1..)?))
}

/// The entries of lines. One that cannot be read at all counts as unknown: it is signed.
pub(super) fn entries(lines: &[u8]) -> impl Iterator<Item = Entry> {
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or(Entry::Unknown))
}
