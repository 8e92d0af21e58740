//! IO. The ledger: what this node says, signed, of the recordings that it made.
//!
//! A recording's chain shows that it was changed; it cannot show that it is gone, was cut, or was
//! made anew as a whole by somebody who knows the layout. The ledger shows it: a session's name is in
//! it before its file is, its head while it grows, and its end before its last block is. When a
//! recording is removed for its age or size a tombstone stays (docs/decisions/0026).
//!
//! It lies in `ledger/` beside the recordings, in segments of the same layout as a recording
//! (`chain.rs`), each written by one process at a time and continued by the next. The first line of
//! a block signs the block and all before it (`entry.rs`).

mod entry;
mod key;
mod known;
mod look;
mod read;
mod retire;
mod segment;
mod witness;
mod write;

pub use entry::{Archived, By, Entry, Mark, Rule, SegmentId, Sum};
pub use key::{Fingerprint, KeyError, NodeKey, PublicKey};
pub use known::{Known, KnownEnd, Ledgered};
pub use look::{Looked, look};
pub use read::{Place, Stretch, StretchEnd, read_segment, segments};
pub(super) use retire::retire;
pub(super) use segment::{extent, give_to_owner};
pub use segment::{ledger_dir, segment_path};
pub(super) use witness::{Flushed, Told, Witness};
pub use write::{Ledger, Ticket, Writing};

#[cfg(test)]
mod tests;
