//! Pure. What passed over a connection, counted twice.

use serde::{Deserialize, Serialize};

/// What passed over a client's connection, bytes as on the wire (of TLS: its records).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Read by the agent.
    pub read: u64,
    /// Written by the agent.
    pub written: u64,
    /// The kernel's own count, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelCount>,
}

/// What the kernel counted on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCount {
    /// Bytes that came and were taken by who reads.
    pub received: u64,
    /// Bytes that were given to it to be sent, once each.
    pub sent: u64,
}

impl Carried {
    /// Where the two counts differ first, in a sentence; `None`: they agree, or there is but one.
    pub fn disagreement(&self) -> Option<String> {
        let kernel = self.kernel?;
        let told = |what, kernel: u64, agent: u64| {
            let (by, than) = (kernel.abs_diff(agent), kernel > agent);
            let (bytes, more) = (
                if by == 1 { "byte" } else { "bytes" },
                if than { "more" } else { "less" },
            );
            (by > 0).then(|| {
                format!(
                    "the kernel counted {by} {bytes} {more} {what} than the record ({kernel} and {agent})"
                )
            })
        };
        told("from the client", kernel.received, self.read)
            .or_else(|| told("to the client", kernel.sent, self.written))
    }
}
