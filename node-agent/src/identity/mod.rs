//! IO. Who is calling: workload token reading and OIDC.
//!
//! The kernel's word comes first: `ProcessFacts` name the cgroup that dialled, and a token is read
//! only for a process that is still in it (`TokenFiles`). The issuer's word comes second: a token
//! is verified whole (`Issuers::authenticate`) or nothing of it counts. `bind_workload` ties the
//! two together where the configuration says which subject a workload must have.
//!
//! Tokens here are bearer tokens: whoever holds one can use it until it expires. What narrows that
//! is the audience (one per agent), a short life, and the subject bound to the workload.

mod binding;
mod oidc;
mod workload;

use crate::model::{Refusal, RefusalCode};

pub use binding::bind_workload;
pub use oidc::{
    Algorithm, BadKeys, Begun, Finished, IssuerRules, Issuers, KeySet, KeyTimes, SignIn,
    SignInError, TokenRefused, UnknownAlgorithm, verify,
};
pub use workload::{TokenFileError, TokenFiles};

#[cfg(any(test, feature = "fuzzing"))]
pub use oidc::fuzz_token;

/// Why nobody was authenticated. No variant holds a token, whole or in part.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The token was read and refused.
    #[error(transparent)]
    Refused(#[from] TokenRefused),
    /// The token file of the workload cannot be read.
    #[error(transparent)]
    File(#[from] TokenFileError),
    /// The token is from somebody that the configuration does not trust.
    #[error("the token's issuer is none of those configured")]
    UnknownIssuer,
    /// The issuer's keys are not at hand, so no token of its can be checked.
    #[error("the keys of the issuer {issuer} are not available: {why}")]
    NoKeys {
        /// Its URL, from the configuration.
        issuer: String,
        /// Why.
        why: String,
    },
    /// The token is good, but belongs to another workload.
    #[error("the token is good, but its subject is not the one that this workload must have")]
    OtherWorkload,
    /// The configuration of an issuer cannot be used.
    #[error("the issuer {issuer} cannot be used: {what}")]
    Setup {
        /// Its URL.
        issuer: String,
        /// What is wrong, with the mend.
        what: String,
    },
}

impl IdentityError {
    /// The sentence for the client. The same as `Display`: no variant holds anything that must
    /// stay inside, and the sources' words (URLs, paths) come from the configuration.
    pub fn outside(&self) -> String {
        self.to_string()
    }

    /// What the client is told. Identity errors end the session: there is no session without one.
    pub fn refusal(&self) -> Refusal {
        let hint = match self {
            IdentityError::Refused(why) => why.hint(),
            IdentityError::File(_) => {
                "the token file is named in the agent's configuration, under workloads"
            }
            IdentityError::UnknownIssuer => "present a token of an issuer that the agent trusts",
            IdentityError::NoKeys { .. } => {
                "the agent cannot reach the issuer; this is for its operator to mend"
            }
            IdentityError::OtherWorkload => "present the token that was made for this workload",
            IdentityError::Setup { .. } => "this is for the agent's operator to mend",
        };
        Refusal::fatal(RefusalCode::Identity, self.to_string()).hint(hint)
    }
}
