//! IO. The record: one append-only, hash-chained file per session. Mints `Receipt`, without which
//! nothing runs.
//!
//! A session pushes its events into a bounded lane (`lane.rs`), and its decisions into a journal as
//! well (`journal/`), which outlives the process; one thread (`writer.rs`) takes them from all
//! lanes, encodes (`codec.rs`), packs and chains them (`chain.rs`) and writes them to disk
//! (`shelf.rs`). Nothing is ever dropped: a full lane makes its session wait, a disk that fails makes
//! every further statement a refusal until it works again, and what a killed agent had in its
//! journal the next one adds to the recordings (`recover/`).

mod basis;
mod blocks;
mod cell;
mod chain;
mod codec;
mod copies;
mod event;
mod frames;
mod journal;
mod lane;
pub mod ledger;
mod quota;
mod receipt;
mod recorder;
mod recover;
mod retention;
mod sealed;
mod sealer;
mod shelf;
mod skim;
mod standing;
mod writer;

pub use basis::{Basis, Names, Sent, Types};
pub use blocks::{BlockError, Blocks, Ending, Reached, Step};
pub use cell::{TEXT_CAP, TextKey};
pub use chain::{
    BLOCK_CAP, BLOCK_HEAD, BLOCK_TAIL, Body, Chain, Damage, HEADER, Head, Header, Kind, Wrong,
};
pub use codec::Decoder;
pub use copies::{Copied, Copies, Note as ArchiveNote, Stamp};
pub use event::EVENTS;
pub use event::{
    Approval, ApprovalStep, Began, Beyond, Closed, Decided, Delivered, End, Event, Finished, Found,
    KeptFrom, LoggedIn, Login, Note, NoteFrom, RecordedCell, RecordedText, Rows, Totals, Unknown,
    Why,
};
pub use journal::lies_in_memory;
pub use receipt::{Receipt, Stepped};
pub use recorder::{
    Health, OnFailure, Pushed, Recorder, RecorderSettings, SessionRecorder, Settle, Stats,
};
#[cfg(test)]
pub(crate) use retention::prune_wanting;
pub use retention::{Keep, KeepArchived, Pruned, Tombstones, prune};
pub use sealed::{Identities, Identity, IdentityError, Recipients, RecipientsError};
pub use shelf::{is_live, path_of, recordings, session_of};
pub use skim::{Base, Held, LineKind, Passed, Skim};
pub use standing::Standing;

#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzzing::fuzz_recording;
#[cfg(test)]
mod made;
#[cfg(test)]
mod tests;
/// What tests of later rooms record with.
#[cfg(test)]
pub(crate) mod fixtures {
    pub(crate) use super::frames::tests::data_row;
    pub(crate) use super::made::made;
    pub(crate) use super::tests::{allow, began, decided, delivered, finished, head};

    use std::sync::Arc;

    /// A recorder whose ledger begins a segment whenever this many bytes are in one.
    pub(crate) fn rolling(settings: super::RecorderSettings, bytes: u64) -> super::Recorder {
        use super::ledger::{By, Ledger, Writing};
        let shelf = super::shelf::FileShelf::open(&settings.dir, settings.settle).unwrap();
        let key = Arc::clone(settings.key.as_ref().unwrap());
        let writing = Writing::new(&settings.dir, key, By::Agent)
            .through(shelf.volumes())
            .rolling_at(bytes);
        let ledger = Ledger::open(writing).unwrap();
        super::Recorder::on(Box::new(shelf), settings, None, Some(ledger)).unwrap()
    }

    /// A step that was not recorded, for tests of what hangs on one.
    pub(crate) fn stepped(
        reference: crate::model::Reference,
        approval: Option<crate::model::ApprovalId>,
    ) -> super::Stepped {
        super::Stepped::new(reference, approval)
    }

    /// A receipt for a decision that was not recorded, for tests of what hangs on one.
    pub(crate) fn receipt(
        reference: crate::model::Reference,
        decision: Arc<crate::policy::Decision>,
    ) -> super::Receipt {
        super::Receipt::new(reference, decision)
    }
}

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Refusal, RefusalCode};

/// The agent cannot record. Whatever was to be recorded must not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordError {
    /// No space, or a quota is reached.
    #[error("the disk of the record is full: {0}")]
    Full(Arc<str>),
    /// Any other fault.
    #[error("the record cannot be written: {0}")]
    Fault(Arc<str>),
    /// Writing works, or says nothing, but takes too long.
    #[error("the record was not written within {0:?}")]
    Slow(Duration),
    /// The workload's open recordings take more than its quota.
    #[error("the open recordings of this workload take more than recording.workload_max_bytes")]
    Quota,
    /// The session's recording was already closed.
    #[error("the recording of this session is closed")]
    Closed,
}

impl RecordError {
    /// The words for the client. They name no path.
    pub fn refusal(&self) -> Refusal {
        if let RecordError::Quota = self {
            return Refusal::new(
                RefusalCode::RecordFull,
                "this workload's open sessions fill all that its recordings may take, and what is \
                 not recorded is not run",
            )
            .hint("end a session of this workload that recorded much; the quota is recording.workload_max_bytes");
        }
        let code = match self {
            RecordError::Full(_) | RecordError::Quota => RefusalCode::RecordFull,
            RecordError::Fault(_) | RecordError::Slow(_) | RecordError::Closed => {
                RefusalCode::RecordFault
            }
        };
        Refusal::new(
            code,
            "this statement cannot be recorded, and what is not recorded is not run",
        )
        .hint("the operator of the agent finds the cause in its log and in `node-agent status`")
    }
}

/// The directory of the recordings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep recordings in {}: {source}", dir.display())]
pub struct OpenError {
    /// Which.
    pub dir: PathBuf,
    /// Why.
    pub source: io::Error,
}
