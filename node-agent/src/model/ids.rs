//! Identifiers, each its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The kernel's 64-bit cgroup2 id (the inode of its directory). Never reused while it lives.
    CgroupId(u64)
}
number! {
    /// The kernel's cookie of a network namespace (`SO_NETNS_COOKIE`).
    NetnsCookie(u64)
}
number! {
    /// A process id in the agent's own pid namespace. Reused by the kernel: never an identity alone.
    Pid(u32)
}
number! {
    /// The position of a statement within its session, from 1.
    StatementSeq(u64)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $wrong:ident, $words:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:016x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[doc = concat!("The text was not `", $prefix, "` and sixteen hex digits.")]
        #[derive(Debug, thiserror::Error)]
        #[error($words)]
        pub struct $wrong;

        impl FromStr for $name {
            type Err = $wrong;

            fn from_str(text: &str) -> Result<Self, $wrong> {
                let hex = text.strip_prefix($prefix).unwrap_or(text);
                // `from_str_radix` also takes a sign.
                if hex.len() != 16 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err($wrong);
                }
                u64::from_str_radix(hex, 16).map($name).map_err(|_| $wrong)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A session's name: 64 random bits, printed `s-` and sixteen hex digits.
    SessionId, "s-", NotASession,
    "a session is named s- and sixteen hex digits, such as s-00c0ffee00c0ffee"
}
name! {
    /// A request for approval: 64 random bits, printed `a-` and sixteen hex digits.
    ApprovalId, "a-", NotAnApproval,
    "an approval is named a- and sixteen hex digits, such as a-00c0ffee00c0ffee"
}

/// What a client is told so that the recorded event can be found: `s-…#12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The session.
    pub session: SessionId,
    /// The statement in it; 0 stands for the session itself (login refused, for example).
    pub seq: StatementSeq,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.session, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reads_back_as_it_prints() {
        let id = SessionId(0x00c0_ffee);
        assert_eq!(id.to_string().parse::<SessionId>().ok(), Some(id));
        assert!("s-12".parse::<SessionId>().is_err());
        assert!("../../etc/passwd".parse::<SessionId>().is_err());
        assert!("s-+0c0ffee00c0ffee".parse::<SessionId>().is_err());
        assert_eq!(ApprovalId(7).to_string(), "a-0000000000000007");
    }
}
