//! Pure. `plan(head, obligations, lineage, catalogue, key) -> MaskPlan`; applying it gives `MaskedRows`, the
//! only rows that the recorder and the client's side accept.
//!
//! A column is masked by where its values come from, as the wire proves it (table and attribute
//! number), never by its output name: `SELECT id AS ssn` is left alone and `SELECT ssn AS id` is
//! masked. Where the wire proves nothing and the statement touches a masked column, the text says what
//! the value is made of (`traced`, `carries.rs`): it passes if that is nothing masked, and is masked
//! whole if it is, or if nobody knows. Where text and wire disagree, it is masked whole.
//!
//! What a masker yields is valid for the column's type in the column's format, so that typed
//! clients can read it. Where a masker has nothing valid to offer, it yields NULL, also for a column
//! that is declared NOT NULL: a client must be ready for that. A NULL stays NULL, except under
//! `redact` where the type has a constant: then even "there is none" is not shown.
//!
//! | type | `redact` | `keep_last`, `keep_first` | `hash` | `token` | `date_trunc` | `json` |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | text, varchar, bpchar, name | `***` | `***` and n characters | 32 hex digits | same shape | NULL | by path |
//! | json, jsonb | `null` | NULL | NULL | NULL | NULL | by path |
//! | int2, int4, int8 | NULL | NULL | NULL | a number of the type from 0 | NULL | NULL |
//! | numeric | NULL | NULL | NULL | a whole number below 10^15 | NULL | NULL |
//! | uuid | NULL | NULL | NULL | of version 8 | NULL | NULL |
//! | bytea | NULL | NULL | 16 bytes | 16 bytes | NULL | NULL |
//! | bit, varbit | NULL | NULL | NULL | as many bits | NULL | NULL |
//! | inet, cidr | NULL | NULL | NULL | one host of 10.0.0.0/8 or 2001:db8::/32 | NULL | NULL |
//! | macaddr, macaddr8 | NULL | NULL | NULL | locally administered | NULL | NULL |
//! | date, timestamp(tz), interval | NULL | NULL | NULL | NULL | cut | NULL |
//! | time(tz) | NULL | NULL | NULL | NULL | midnight, UTC | NULL |
//! | xml | `***` | NULL | 32 hex digits | NULL | NULL | NULL |
//! | an array of these | NULL | by element | by element | by element | by element | by element |
//! | all else | NULL | NULL | NULL | NULL | NULL | NULL |
//!
//! The masker `null` gives NULL for all. Hashes and tokens are keyed.
//!
//! What each still says: `keep_*` the kept characters, and (as `***` alone) that a value has at most
//! twice as many; `hash` and `token` which values are equal, within and across columns and
//! sessions; `token` of a text also its length and punctuation, of bits how many, of an inet whether it
//! is of version 4 or 6, and of no other type anything more; `date_trunc` the kept part; `json`
//! everything but the values at its paths, also names, and how many elements and members there are.
//! By element an array also says its dimensions, and which elements are NULL.
//!
//! A value at a path becomes `"***"` under `redact` and `null` under `null`; of a string the other
//! maskers give a string, as of a text (`date_trunc` of one that begins as a date does), and `token`
//! of a number a number; all else becomes `null`. A column of text that is masked by path holds
//! documents; what is none, is nested more than 64 deep or larger than 8 MiB is redacted whole.
//!
//! A domain is masked as the type under it. All else, which NULL alone stands for, are bool, "char",
//! oid, money, enums, composites, ranges, and every type of an extension (citext too): either they
//! have too few values to hide one among, or the wire does not say what they are.

mod array;
mod bytea;
mod carries;
mod cell;
mod date;
mod json;
mod key;
mod net;
mod net_address;
mod numeric;
mod pattern;
mod plan;
mod rows;
mod span;
mod tagged;
mod token;
mod types;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::policy::Classified;
use crate::sql::Base;

pub use carries::{shape, sources};
pub use key::MaskKey;
pub use net::{Find, Finds, detected};
pub use plan::{MaskPlan, plan, traced};
pub use rows::{Undecodable, apply};
pub use tagged::doubtful;

/// Whole row frames, in the dialect's own encoding, that went through a plan (even when the plan
/// is "leave alone"). Built only in this room, by a plan:
///
/// ```
/// use node_agent::mask::{MaskPlan, MaskedRows};
/// let raw = bytes::Bytes::from_static(b"raw");
/// assert!(MaskedRows::pass(&MaskPlan::passing(), raw).is_some());
/// ```
///
/// and by nothing else:
///
/// ```compile_fail
/// let forged = node_agent::mask::MaskedRows(bytes::Bytes::from_static(b"raw"));
/// ```
///
/// ```compile_fail
/// let raw = bytes::Bytes::from_static(b"raw");
/// let forged: node_agent::mask::MaskedRows = raw.into();
/// ```
///
/// ```compile_fail
/// let forged = node_agent::mask::MaskedRows::default();
/// ```
#[derive(Clone, Debug)]
pub struct MaskedRows(Bytes);

impl MaskedRows {
    /// Rows as they came, under a plan that leaves every cell alone; `None` under any other.
    pub fn pass(plan: &MaskPlan, run: Bytes) -> Option<MaskedRows> {
        plan.passes().then_some(MaskedRows(run))
    }

    /// Rows after the plan.
    ///
    /// # Errors
    /// The rows do not fit the plan: nothing of them may be passed on.
    pub fn mask(plan: &MaskPlan, run: &[u8]) -> Result<MaskedRows, Undecodable> {
        let mut out = BytesMut::with_capacity(run.len());
        apply(plan, run, &mut out)?;
        Ok(MaskedRows(out.freeze()))
    }

    /// Rows after the plan, and not copied where it changes none of them. What the content net finds
    /// is counted.
    ///
    /// # Errors
    /// As `mask`.
    pub fn treat<'a>(
        plan: &MaskPlan,
        run: &'a [u8],
        finds: &mut Finds,
    ) -> Result<Treated<'a>, Undecodable> {
        let mut out = BytesMut::new();
        Ok(match rows::work(plan, run, &mut out, finds)? {
            rows::Went::Same => Treated::Same(Unchanged(run)),
            rows::Went::Written => Treated::Changed(MaskedRows(out.freeze())),
        })
    }

    /// The frames.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// What a plan made of a run of rows.
#[derive(Debug)]
pub enum Treated<'a> {
    /// It changes none of them.
    Same(Unchanged<'a>),
    /// Other rows.
    Changed(MaskedRows),
}

/// Rows that went through a plan which changed none of them. Built only by `MaskedRows::treat`.
#[derive(Debug)]
pub struct Unchanged<'a>(&'a [u8]);

impl Unchanged<'_> {
    /// A copy, for the record.
    pub fn kept(&self) -> MaskedRows {
        MaskedRows(Bytes::copy_from_slice(self.0))
    }
}

/// What a catalogue can say about a relation, for origins on the wire.
pub trait Relations {
    /// The table OID's schema, name and kind, and the attribute's name; `None`: not known.
    fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>>;

    /// Schema and name of everything that the relation's rows can come from or that states masks
    /// for it: a view's sources, a parent's children, a child's parents, transitively.
    fn ancestors(&self, relation: u32) -> Vec<(&str, &str)> {
        let _ = relation;
        Vec::new()
    }

    /// Whether an attribute is computed from others of its row. A copy of the table leaves it out.
    fn generated(&self, relation: u32, number: i16) -> bool {
        let _ = (relation, number);
        false
    }

    /// What is said besides names of columns of the relation and of its ancestors.
    fn classified(&self, relation: u32) -> Vec<&Classified> {
        let _ = relation;
        Vec::new()
    }

    /// Whether code makes the relation's rows, or those of a view that it reads: they can come
    /// from anywhere.
    fn opaque(&self, relation: u32) -> bool {
        let _ = relation;
        false
    }

    /// The relation of that name in that schema.
    fn relation(&self, schema: &str, name: &str) -> Option<u32> {
        let _ = (schema, name);
        None
    }

    /// A relation's schema and name.
    fn name(&self, relation: u32) -> Option<(&str, &str)> {
        let _ = relation;
        None
    }

    /// The names of a relation's columns in their order; `None`: not known.
    fn columns(&self, relation: u32) -> Option<Vec<Arc<str>>> {
        let _ = relation;
        None
    }

    /// A relation's rows are stored data.
    fn stored(&self, relation: u32) -> bool {
        let _ = relation;
        false
    }

    /// Rules may say what a change of the relation gives back.
    fn ruled(&self, relation: u32) -> bool {
        let _ = relation;
        false
    }

    /// What a column's values are made of.
    fn made(&self, relation: u32, column: &str) -> Made {
        let _ = (relation, column);
        Made::Unknown
    }
}

/// What the values of a relation's column are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// Of nothing else: they were written there. So say columns that the relation does not have.
    Stored,
    /// Of these columns, whose relations are named with their schemas: a view's, a generated one.
    Of(Vec<Base>),
    /// Nobody knows.
    Unknown,
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

#[cfg(any(test, feature = "fuzzing"))]
pub use net::fuzz_content_net;
#[cfg(any(test, feature = "fuzzing"))]
pub use rows::fuzz_mask_rows;

#[cfg(test)]
mod forms;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tracing;
