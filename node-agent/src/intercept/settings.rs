//! What interception is set up with.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use node_agent_common::watch;
use serde::{Deserialize, Serialize};

use super::UnixPath;
use crate::model::CgroupId;

/// How interception is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cgroup2 directory the programs are attached to: the hierarchy's root, or the lowest
    /// directory that holds all workloads.
    pub attach: PathBuf,
    /// Ports guarded at any address.
    pub ports: Vec<u16>,
    /// Addresses protected at any port. Added to those already pinned; `set_protected` replaces.
    pub protected: Vec<Prefix>,
    /// The port the agent listens on in every network namespace.
    pub listen_port: u16,
    /// The cgroup the agent runs in, the one exemption. Nothing else may run in it.
    pub agent_cgroup: CgroupId,
    /// A directory of a bpffs for the links and maps. Made when missing; when the path is not on
    /// a bpffs, one is mounted there. `None`: everything ends with this process.
    pub pin: Option<PathBuf>,
    /// How many redirected connections can wait for the agent at once.
    pub flows: u32,
    /// How many of them may be of one workload. Below the length of a listener's queue, so that one
    /// workload does not fill that either.
    pub quota: u32,
    /// What becomes of a connection to a database that nobody declared.
    pub undeclared: OnUndeclared,
    /// Which unix sockets labelled workloads reach. `None`: all.
    pub unix: Option<Vec<UnixPath>>,
    /// What labelled workloads reach besides databases, when all else is refused. `None`: all.
    pub allowed: Option<Vec<Allowed>>,
    /// Who else of this node sends to protected addresses.
    pub node_wide: NodeWide,
}

/// Who sends to protected addresses, besides labelled workloads, which never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeWide {
    /// Everybody without a label.
    #[default]
    Off,
    /// The agent's own cgroup and nobody else of this node, nor what is forwarded over it.
    On,
}

/// What becomes of a connection whose first bytes are a database's, though it is not guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUndeclared {
    /// It is ended, and told of.
    Refuse,
    /// It is told of.
    Report,
    /// Nobody looks.
    Ignore,
}

impl OnUndeclared {
    /// As the kernel programs have it.
    pub(super) fn word(self) -> u32 {
        match self {
            OnUndeclared::Refuse => watch::UNDECLARED_REFUSE,
            OnUndeclared::Report => watch::UNDECLARED_REPORT,
            OnUndeclared::Ignore => watch::UNDECLARED_IGNORE,
        }
    }
}

/// A place that stays open where everything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allowed {
    /// The addresses.
    pub prefix: Prefix,
    /// The port; `None` for every port.
    pub port: Option<NonZeroU16>,
}

impl Settings {
    /// Nothing guarded yet, nothing pinned, room for 65,536 waiting
    /// connections, 1,024 of them of one workload; everything that is not guarded is open, but for
    /// databases by their first bytes.
    pub fn new(attach: impl Into<PathBuf>, listen_port: u16, agent_cgroup: CgroupId) -> Self {
        Settings {
            attach: attach.into(),
            ports: Vec::new(),
            protected: Vec::new(),
            listen_port,
            agent_cgroup,
            pin: None,
            flows: 65_536,
            quota: 1_024,
            allowed: None,
            node_wide: NodeWide::Off,
            undeclared: OnUndeclared::Refuse,
            unix: None,
        }
    }
}

/// An address with a prefix length. IPv4-mapped addresses are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// A prefix, `None` when the length is larger than the address.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (address, length) = match address {
            IpAddr::V4(_) => (address, length),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => (IpAddr::V4(v4), length.checked_sub(96)?),
                None => (address, length),
            },
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Prefix { address, length })
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Prefix {
            address,
            length: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// The address as written.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The text was neither an address nor an address, a slash and a length.
#[derive(Debug, thiserror::Error)]
#[error("a prefix is an address or ADDRESS/LENGTH, such as 10.0.7.0/24")]
pub struct NotAPrefix;

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        match text.split_once('/') {
            None => text.parse().map(Prefix::host).map_err(|_| NotAPrefix),
            Some((address, length)) => {
                let address = address.parse().map_err(|_| NotAPrefix)?;
                let length = length.parse().map_err(|_| NotAPrefix)?;
                Prefix::new(address, length).ok_or(NotAPrefix)
            }
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_and_mapped_ones_become_ipv4() {
        for (text, want) in [
            ("10.0.7.0/24", Some("10.0.7.0/24")),
            ("10.0.7.1", Some("10.0.7.1/32")),
            ("::ffff:10.0.7.1", Some("10.0.7.1/32")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::ffff:10.0.0.0/8", None),
            ("10.0.0.0/33", None),
            ("db.internal", None),
            ("10.0.0.0/", None),
        ] {
            let got = text.parse::<Prefix>().ok().map(|p| p.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
