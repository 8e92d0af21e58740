//! IO. One session: log in, hear the client, judge, run, relay the answer, end for exactly one
//! reason. Names no message of any database's protocol; `wire` speaks those.

mod access;
mod answer;
mod asking;
mod beside;
mod budget;
mod cancel;
mod close;
mod copied;
mod count;
mod database;
mod ending;
mod errors;
mod execution;
mod found;
mod gate;
mod hold;
mod judge;
mod keep;
mod limits;
mod login;
mod names;
mod parting;
mod preview;
mod pump;
mod shown;
mod statement;
mod trace;
mod verdict;
mod watch;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch as signal};

use crate::approval::Desk;
use crate::config::{Target, WorkloadRule};
use crate::identity::Issuers;
use crate::keeper::{Link, Ticket};
use crate::mask::MaskKey;
use crate::model::{ClientAddr, Refusal, SessionId, UpstreamAddr, Workload};
use crate::origin::Flow;
use crate::policy::PolicySet;
use crate::record::{Recorder, TextKey, Why};
use crate::telemetry::{Metrics, Registry};
use crate::tls::{ClientTls, UpstreamConnector};
use crate::upstream::{Catalogues, Endpoint, Warm};
use crate::wire::Wire;

pub use budget::Budgets;
pub(crate) use budget::{only_ends, reads};
pub use cancel::Cancels;
pub use judge::Analyses;
pub use parting::Partings;

/// What all sessions share. Built once, by `agent.rs`.
#[derive(Debug)]
pub struct Shared {
    /// The newest good policies.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// The record.
    pub recorder: Arc<Recorder>,
    /// Who may vouch for a user.
    pub issuers: Issuers,
    /// Reads tokens in workloads' mount namespaces.
    pub keeper: Arc<Link>,
    /// Asks humans.
    pub desk: Desk,
    /// The databases' names.
    pub catalogues: Catalogues,
    /// Texts analysed before.
    pub analyses: Analyses,
    /// What identities have spent.
    pub budgets: Budgets,
    /// Our cancel keys.
    pub cancels: Cancels,
    /// Databases that sessions still say goodbye to.
    pub partings: Partings,
    /// Connections that are kept for the next session.
    pub warm: Arc<Warm>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Live sessions.
    pub live: Arc<Registry>,
    /// Keys hashes and tokens of masks.
    pub mask_key: MaskKey,
    /// The key under which withheld texts are hashed.
    pub text_key: TextKey,
    /// Certificates for clients.
    pub client_tls: ClientTls,
    /// Whether delivered rows are recorded.
    pub rows: bool,
    /// Set once, when the agent drains: `None` runs on.
    pub drain: signal::Receiver<Drain>,
}

/// How far the agent is on its way to a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Not at all.
    Running,
    /// Sessions end at their next idle moment.
    Soon,
    /// Sessions end now.
    Now,
}

/// A target with what was made of it once: TLS and addresses.
#[derive(Debug)]
pub struct Reachable {
    /// As configured.
    pub target: Target,
    /// `None`: `tls: disable`.
    pub tls: Option<Arc<UpstreamConnector>>,
}

/// A connection whose origin, target and workload are known, and of which no byte was read.
#[derive(Debug)]
pub struct Arrived {
    /// The session's name from here on.
    pub session: SessionId,
    /// The accepted socket; taken by the login.
    pub stream: Option<TcpStream>,
    /// What the keeper knows it by.
    pub ticket: Arc<Ticket>,
    /// Its place among the workload's logins; given back once it is known who it is.
    pub half_open: Option<OwnedSemaphorePermit>,
    /// Its peer.
    pub client: ClientAddr,
    /// The kernel's word.
    pub flow: Flow,
    /// Who it is, in words.
    pub workload: Workload,
    /// The workload's rule (token sources).
    pub rule: Arc<WorkloadRule>,
    /// Where it is let to.
    pub reachable: Arc<Reachable>,
    /// The target's own address, looked up, where it names one.
    pub upstream: Option<UpstreamAddr>,
}

impl Arrived {
    /// Where to dial, and as what: the target's own address if it names one, else where the client
    /// was going. The certificate must carry the configured name, or that address.
    fn endpoint(&self) -> Endpoint {
        let upstream = &self.reachable.target.upstream;
        let address = self
            .upstream
            .unwrap_or(UpstreamAddr(self.flow.destination.0));
        let named = upstream.server_name.clone().or_else(|| {
            upstream
                .address
                .as_ref()
                .map(|address| address.host.clone())
        });
        let server_name = named
            .or_else(|| self.reachable.target.hosts.first().cloned())
            .unwrap_or_else(|| address.0.ip().to_string());
        Endpoint {
            address,
            tls: self.reachable.tls.clone(),
            server_name,
        }
    }
}

/// Serves one connection from its first byte to its close.
///
/// The reason returned is the one in the record. Nothing here panics on input; a panic all the
/// same ends this task alone, and the record says so.
pub async fn run<W: Wire>(shared: Arc<Shared>, arrived: Arrived) -> Why {
    // A login needs more room than the session after it, which lasts.
    let opened = match Box::pin(login::open::<W>(&shared, arrived)).await {
        login::Outcome::Opened(opened) => opened,
        login::Outcome::Ended(why) => return why,
    };
    let mut session = pump::Session::<W>::new(shared, *opened);
    session.serve().await
}

/// Tells a client, in its own language, why it cannot come in.
pub async fn turn_away<W: Wire>(
    shared: &Arc<Shared>,
    stream: TcpStream,
    flow: &Flow,
    refusal: &Refusal,
) {
    login::turn_away::<W>(shared, stream, flow, refusal).await;
}
