//! A refusal, in neutral words. `wire::<dialect>::refusal` turns it into bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Particulars, Reference};

/// Why, as a client's program can tell. One table maps it to SQLSTATE or errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Policy says no (42501).
    Policy,
    /// Identity is missing, wrong or ended (28000).
    Identity,
    /// A limit was passed (54000).
    Limit,
    /// An approval was refused, lapsed, or nobody can give it (57014).
    Approval,
    /// The record cannot be written: disk full (53100).
    RecordFull,
    /// The record cannot be written: any other fault (58030).
    RecordFault,
    /// The agent is draining (57P03).
    Draining,
    /// The client broke the protocol (08P01).
    Protocol,
    /// The database cannot be reached or refused the agent (08006).
    Upstream,
    /// Not supported by the agent (0A000).
    Unsupported,
}

/// What the client is told. Holds nothing that came out of a masked column or a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind.
    pub code: RefusalCode,
    /// One sentence: what was refused and why.
    pub message: String,
    /// Policy and rule, or other particulars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What would be allowed, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Finds the recorded event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// The session ends with this refusal.
    #[serde(default)]
    pub fatal: bool,
    /// The same for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub particulars: Option<Box<Particulars>>,
}

impl Refusal {
    /// A refusal that leaves the session usable.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Refusal {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            reference: None,
            fatal: false,
            particulars: None,
        }
    }

    /// A refusal that ends the session.
    pub fn fatal(code: RefusalCode, message: impl Into<String>) -> Self {
        Refusal {
            fatal: true,
            ..Refusal::new(code, message)
        }
    }

    /// With particulars.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With the mend.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what programs can read of it.
    #[must_use]
    pub fn because(mut self, particulars: Particulars) -> Self {
        self.particulars = Some(Box::new(particulars));
        self
    }

    /// With the reference that finds the event.
    #[must_use]
    pub fn at(mut self, reference: Reference) -> Self {
        self.reference = Some(reference);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
