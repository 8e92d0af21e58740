//! Pure. The shared words: who, where, which database, what was asked, what was refused.
//!
//! Every other room imports this one; it imports none.

mod addr;
mod carried;
mod ids;
mod recipient;
mod secret;
mod target;
mod who;
mod result;
mod refusal;
mod particulars;
mod moment;
pub(crate) mod visible;

pub use addr::{ClientAddr, OriginalDst, UpstreamAddr};
pub use carried::{Carried, KernelCount};
pub use ids::{
    ApprovalId, CgroupId, NetnsCookie, NotASession, NotAnApproval, Pid, Reference, SessionId,
    StatementSeq,
};
pub use moment::UnixMillis;
pub use particulars::{
    CAUSES, CHANGES, Cause, Change, LINE_KEYS, LINE_VERSION, LONGEST_LINE, Outcome, Particulars,
    Suggestion, Then, cut_name,
};
pub use recipient::{IDENTITY, NotARecipient, RECIPIENT, Recipient, RecipientId, summed, unsummed};
pub use refusal::{Refusal, RefusalCode};
pub use result::{ColumnHead, ColumnOrigin, Format, ResultHead};
pub use secret::Secret;
pub use target::{Dialect, TargetName};
pub use visible::{visible, visible_json};
pub use who::{Digest, NotTaken, Principal, ProcessFacts, User, Workload};
