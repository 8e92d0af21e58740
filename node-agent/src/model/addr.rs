//! Addresses that must never be swapped for one another.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub SocketAddr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address! {
    /// Where the accepted socket says its peer is. Not an identity: ports repeat between network
    /// namespaces.
    ClientAddr
}
address! {
    /// Where the workload was going when the kernel redirected it. IPv4-mapped addresses are
    /// already IPv4 here.
    OriginalDst
}
address! {
    /// Where the agent dials the real database.
    UpstreamAddr
}
